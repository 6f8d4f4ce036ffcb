"""References in files and arguments lead to Services, ports and files of the stack that the pod may reach."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import yaml

from components.programs import MOUNT
from tests.graph.stack import Object, Pod, Stack

SERVICE = re.compile(r"\b([a-z0-9-]+)\.([a-z0-9-]+)\.svc(?::(\d+))?\b")
PATH = re.compile(r"(?<![\w/.:$)])/(?:[\w.-]+/)*[\w.-]+")

FIXED_BY_IMAGE = {
    "storage": "/usr/share/signal/dev.yml",
    "localstack": "/etc/localstack/init/ready.d/seed.py",
}
"""Files that an image looks for by itself, so that nothing in the pod names them."""

IN_IMAGES = ("/app/", "/_localstack/", "/attachments", "/dev/")
"""Paths of arguments that are in an image, or are of URLs."""

PATTERNS = ("--read=", "--upload=")
"""Arguments that are patterns of keys."""


def words(container: Object) -> list[str]:
    """What a container's programs read: command, arguments, environment, commands of probes and hooks."""
    handlers = [container.get(name, {}) for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    handlers.append(container.get("lifecycle", {}).get("preStop", {}))
    return [
        *container.get("command", ()),
        *container.get("args", ()),
        *(entry.get("value", "") for entry in container.get("env", ())),
        *(word for handler in handlers for word in handler.get("exec", {}).get("command", ())),
    ]


OF_EVERY_CLUSTER = ("kubernetes", "default", None)
"""A name that is asked of DNS (programs/redis/nodes.mjs), and not connected to."""


def references(pod: Pod) -> Iterator[tuple[str, str, str | None]]:
    """(service, namespace, port) of everything that a pod names."""
    texts = [word for container in pod.containers() for word in words(container)]
    texts += [mounted.text for mounts in pod.files.values() for mounted in mounts]
    for text in texts:
        for match in SERVICE.finditer(text):
            yield match[1], match[2], match[3]


def services(stack: Stack) -> dict[tuple[str, str], Object]:
    return {(o["metadata"]["name"], o["metadata"]["namespace"]): o for o in stack.of("Service")}


def test_every_reference_resolves_to_a_service_and_a_port(stack: Stack) -> None:
    known = services(stack)
    for pod in stack.pods():
        for name, namespace, port in references(pod):
            if (name, namespace, port) == OF_EVERY_CLUSTER:
                continue
            if (name, namespace) not in known and any(
                name.startswith(f"{o['metadata']['name']}-") for o in stack.of("StatefulSet")
            ):
                continue
            assert (name, namespace) in known, f"{pod.name} names {name}.{namespace}"
            if port is not None:
                ports = {entry["port"] for entry in known[name, namespace]["spec"]["ports"]}
                assert int(port) in ports, f"{pod.name} names {name}.{namespace}:{port}, which has {ports}"


def test_references_are_found(emulated: Stack) -> None:
    """The tests here would pass on nothing."""
    assert sum(len(list(references(pod))) for pod in emulated.pods()) > 20


def test_every_service_selects_pods_that_have_its_ports(stack: Stack) -> None:
    own = {o["metadata"]["name"] for o in stack.of("Namespace")}
    for service in stack.of("Service"):
        if service["metadata"]["namespace"] not in own:
            continue
        selector = service["spec"]["selector"].items()
        (pod,) = (
            pod
            for pod in stack.pods()
            if selector <= dict(pod.labels).items() and pod.namespace == service["metadata"]["namespace"]
        )
        named = {
            port["name"]: (port["containerPort"], port["protocol"])
            for container in pod.spec["containers"]
            for port in container.get("ports", ())
        }
        for port in service["spec"]["ports"]:
            assert named[port["targetPort"]] == (port["port"], port["protocol"])


def test_every_mounted_file_is_read(stack: Stack) -> None:
    for pod in stack.pods():
        own = {container["name"]: container for container in pod.containers()}
        for name, mounts in pod.files.items():
            texts = words(own[name]) + [mounted.text for mounted in mounts]
            for mounted in mounts:
                if mounted.path != FIXED_BY_IMAGE.get(pod.labels["app.kubernetes.io/name"]):
                    path = PurePosixPath(mounted.path)
                    imported = (f"/{path.name}'", f'/{path.name}"', f".{path.stem} import ")
                    used = any(mounted.path in text or any(each in text for each in imported) for text in texts)
                    assert used, f"{pod.name} mounts {mounted.path} for nothing"


def test_every_path_is_mounted(stack: Stack) -> None:
    checked = 0
    for pod in stack.pods():
        for container in pod.containers():
            mounts = [mount["mountPath"] for mount in container.get("volumeMounts", ())]
            files = [PurePosixPath(mounted.path) for mounted in pod.files[container["name"]]]
            programs = {str(place) for file in files for place in (file, *file.parents[:-3])}
            for word in words(container):
                if word.startswith(PATTERNS):
                    continue
                for path in PATH.findall(word):
                    if path.startswith(IN_IMAGES) or ("://" in word and path in word.partition("://")[2]):
                        continue
                    checked += 1
                    places = programs if path.startswith(f"{MOUNT}/") else mounts
                    assert any(path == mount or path.startswith(f"{mount}/") for mount in places), (
                        f"{pod.name}/{container['name']} names {path}, which is not mounted"
                    )
    assert checked >= 2 * len(stack.of("Deployment"))


def test_every_volume_is_mounted_and_every_mount_has_a_volume(stack: Stack) -> None:
    for pod in stack.pods():
        claims = [o["metadata"]["name"] for o in pod.owner["spec"].get("volumeClaimTemplates", ())]
        volumes = {volume["name"] for volume in pod.spec.get("volumes", ())} | set(claims)
        mounted = {mount["name"] for container in pod.containers() for mount in container.get("volumeMounts", ())}
        assert volumes == mounted, pod.name


def test_what_a_pod_names_it_may_reach(stack: Stack) -> None:
    """Each `host:port` in a pod's files and arguments is an edge of its network policy, and of the other side's."""
    for pod in stack.pods():
        for name, namespace, port in references(pod):
            if port is None:
                continue
            selector = services(stack)[name, namespace]["spec"]["selector"]
            if selector.items() <= dict(pod.labels).items() and namespace == pod.namespace:
                continue
            assert allows(stack, pod.namespace, dict(pod.labels), "egress", namespace, selector, int(port)), (
                f"{pod.name} may not open {name}.{namespace}:{port}"
            )
            assert allows(stack, namespace, selector, "ingress", pod.namespace, dict(pod.labels), int(port))


def allows(
    stack: Stack, namespace: str, labels: Object, direction: str, other: str, other_labels: Object, port: int
) -> bool:
    """Whether the policies of some pods let them talk to others."""
    peers = "to" if direction == "egress" else "from"
    for policy in stack.of("NetworkPolicy"):
        wanted = policy["spec"]["podSelector"].get("matchLabels", {})
        if policy["metadata"]["namespace"] != namespace or not wanted.items() <= labels.items():
            continue
        for rule in policy["spec"].get(direction) or ():
            for peer in rule[peers]:
                place = peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name")
                pods = peer.get("podSelector", {}).get("matchLabels", {})
                ports = {entry["port"] for entry in rule["ports"]}
                if place == other and pods.items() <= other_labels.items() and port in ports:
                    return True
    return False


def test_whisper_has_every_block_that_its_parser_demands(stack: Stack) -> None:
    config = yaml.safe_load(stack.file("whisper", "/usr/share/signal/dev.yml"))
    assert set(config) == {*MANDATORY, "server"}
    assert "${" not in stack.file("whisper", "/usr/share/signal/dev.yml")


MANDATORY = {
    "logging",
    "metrics",
    "tlsKeyStore",
    "stripe",
    "braintree",
    "googlePlayBilling",
    "appleAppStore",
    "appleDeviceCheck",
    "deviceCheck",
    "dynamoDbClient",
    "dynamoDbTables",
    "pagedSingleUseKEMPreKeyStore",
    "cacheCluster",
    "pushSchedulerCluster",
    "rateLimitersCluster",
    "messageCache",
    "pubsub",
    "directoryV2",
    "svr2",
    "svrb",
    "gcpAttachments",
    "tus",
    "apn",
    "fcm",
    "cdn",
    "cdn3StorageManager",
    "dogstatsd",
    "openTelemetry",
    "unidentifiedDelivery",
    "shortCode",
    "storageService",
    "zkConfig",
    "callingZkConfig",
    "backupsZkConfig",
    "dynamicConfig",
    "remoteConfig",
    "paymentsService",
    "badges",
    "subscription",
    "oneTimeDonations",
    "registrationService",
    "keyTransparencyService",
    "turn",
    "linkDevice",
    "noiseTunnel",
    "externalRequestFilter",
    "idlePrimaryDeviceReminder",
}
