"""The throw-away pods: two that try the network of a cluster, and one that tries the stores of a stack."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cli.doctor.model import Evidence, Item, labels_of
from cli.doctor.throwaway import RUN_LABEL, Mounted, Pod, Run
from components.emulators import cbtemulator, localstack
from components.programs import DOCTOR_NETWORK, DOCTOR_STORES
from components.redis import PASSWORD_FILE, PORT
from components.versitygw import CREDENTIALS_FILE, REGION
from components.versitygw import PORT as OBJECTS_PORT
from config.schema import bigtable, dynamodb, objects
from config.settings import Settings
from errors import FlatlineError

OPEN_PORT, CLOSED_PORT = 8080, 8081
START_SECONDS, TRIAL_SECONDS, STORES_SECONDS = 18.0, 22.0, 35.0
NAME = "app.kubernetes.io/name"
TABLE = dynamodb.TABLES["pushChallenge.tableName"]
"""Its rows are a key and the time of their end, and nothing reads all of them."""
ROW = bigtable.TABLES["groupLogsTableId"]


def network(run: Run, settings: Settings) -> tuple[dict[str, Any], float]:
    """Asks one pod to reach another one, and by how many seconds the cluster's clock is ahead. Raises FlatlineError."""
    namespace, before = run.namespace(), datetime.now(UTC)
    listener = Pod(
        role="listener",
        program=DOCTOR_NETWORK,
        image=settings.images.reference("node"),
        arguments=["listen", "--port", str(OPEN_PORT), "--port", str(CLOSED_PORT)],
    )
    run.make(namespace, [listener], [_one_port(run, namespace)])
    made, after = run.pod(namespace, "listener"), datetime.now(UTC)
    created = datetime.fromisoformat(made["metadata"]["creationTimestamp"])
    # Kubernetes keeps whole seconds.
    clock = min(0.0, (created - before).total_seconds() + 1) + max(0.0, (created - after).total_seconds())
    address = run.wait(namespace, "listener", frozenset({"Running"}), START_SECONDS)["status"]["podIP"]
    images = [word for name in settings.used_images for word in ("--image", settings.images.reference(name))]
    words = ["call", "--to", address, "--open", str(OPEN_PORT), "--closed", str(CLOSED_PORT)]
    caller = Pod(
        role="caller",
        program=DOCTOR_NETWORK,
        image=settings.images.reference("node"),
        arguments=[*words, "--resolve", "kubernetes.default.svc", "--seconds", "8", *images],
    )
    run.make(namespace, [caller])
    return _parsed(run.answer(namespace, "caller", TRIAL_SECONDS)), clock


def stores(run: Run, evidence: Evidence) -> dict[str, Any]:
    """The answers of each store of a local stack to a pod that wrote to it and read from it. Raises FlatlineError."""
    settings = evidence.settings
    namespace, emulators = settings.namespace, settings.emulator_namespace
    nodes = [each["metadata"]["name"] for each in evidence.items("stack", "Pod") if _is(each, "redis")]
    domain = f"{namespace}.svc"
    redis = [word for name in sorted(nodes) for word in ("--redis", f"{name}={name}.redis-nodes.{domain}:{PORT}")]
    table_path = f"projects/{cbtemulator.PROJECT}/instances/{cbtemulator.INSTANCE}/tables/{ROW.name}"
    arguments = [
        *("--seconds", "12", "--region", REGION, "--redis-password-file", PASSWORD_FILE, *redis),
        *("--pubsub", f"redis-pubsub.{domain}:{PORT}"),
        *("--dynamodb", f"http://localstack.{emulators}.svc:{localstack.PORT}", "--table", TABLE.name),
        *("--hash", TABLE.hash.name, "--ttl", str(TABLE.ttl)),
        *("--objects", f"http://object-store.{domain}:{OBJECTS_PORT}", "--bucket", objects.BUCKETS["pre-keys"]),
        *("--bigtable", f"cbtemulator.{domain}:{cbtemulator.PORT}"),
        *("--bigtable-table", table_path, "--family", ROW.family),
    ]
    pod = Pod(
        role="stores",
        program=DOCTOR_STORES,
        image=settings.images.reference("node"),
        arguments=arguments,
        files=[
            Mounted(_secret(evidence, "redis-membership", "redis-password"), "redis-password", PASSWORD_FILE),
            Mounted(_secret(evidence, "whisper", "whisper-identity"), "aws-credentials", CREDENTIALS_FILE),
        ],
        env={"AWS_SHARED_CREDENTIALS_FILE": CREDENTIALS_FILE},
    )
    targets = {
        (namespace, "redis"): PORT,
        (namespace, "redis-pubsub"): PORT,
        (namespace, "object-store"): OBJECTS_PORT,
        (namespace, "cbtemulator"): cbtemulator.PORT,
        (emulators, "localstack"): localstack.PORT,
    }
    run.make(namespace, [pod], list(_policies(run, settings, targets)))
    return _parsed(run.answer(namespace, "stores", STORES_SECONDS))


def _parsed(line: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:
        raise FlatlineError("the doctor's pod said nothing that can be read") from None
    return found


def _one_port(run: Run, namespace: str) -> Item:
    """Lets the caller reach one port of the listener; nobody reaches anything else of it."""
    caller = {"podSelector": {"matchLabels": {RUN_LABEL: run.name, "role": "caller"}}}
    return _policy(
        run.metadata(namespace, "one-port"),
        {RUN_LABEL: run.name, "role": "listener"},
        ingress=[{"from": [caller], "ports": [{"port": OPEN_PORT, "protocol": "TCP"}]}],
    )


def _policies(run: Run, settings: Settings, targets: Mapping[tuple[str, str], int]) -> Iterator[Item]:
    """Lets the pod of this run, and nobody else, reach the stores and the name server."""
    dns = settings.cluster_dns
    ports = [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    servers = [_peer(dns.namespace, dns.pod_labels), *({"ipBlock": {"cidr": cidr}} for cidr in dns.networks)]
    egress = [
        {"to": [_peer(namespace, {NAME: name})], "ports": [{"port": port, "protocol": "TCP"}]}
        for (namespace, name), port in targets.items()
    ]
    own = {RUN_LABEL: run.name, "role": "stores"}
    yield _policy(run.metadata(settings.namespace, "stores"), own, egress=[{"to": servers, "ports": ports}, *egress])
    for (namespace, name), port in targets.items():
        ingress = [{"from": [_peer(settings.namespace, own)], "ports": [{"port": port, "protocol": "TCP"}]}]
        yield _policy(run.metadata(namespace, f"to-{name}"), {NAME: name}, ingress=ingress)


def _policy(metadata: Item, pods: Mapping[str, str], **rules: Sequence[Item]) -> Item:
    kinds = [kind.capitalize() for kind in rules]
    spec = {"podSelector": {"matchLabels": dict(pods)}, "policyTypes": kinds, **rules}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def _peer(namespace: str, pods: Mapping[str, str]) -> Item:
    where = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return {"namespaceSelector": where, "podSelector": {"matchLabels": dict(pods)}}


def _is(pod: Item, name: str) -> bool:
    return labels_of(pod).get(NAME) == name


def _secret(evidence: Evidence, workload: str, volume: str) -> str:
    """The Secret that a workload mounts now under a volume's name. Raises FlatlineError."""
    for each in evidence.items("stack", "Deployment"):
        if each["metadata"]["name"] == workload:
            for mounted in each["spec"]["template"]["spec"].get("volumes") or ():
                if mounted["name"] == volume:
                    return str(mounted["secret"]["secretName"])
    raise FlatlineError(f"the stores were not tried: there is no workload {workload} that has their credentials")
