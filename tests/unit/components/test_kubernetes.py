"""The building blocks of pods, with the arguments that our own stacks do not use too."""

from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import pytest

from components.capabilities import Access, Endpoint, Network, NetworkPeer, Pods, Volume, VolumeMount, Wait
from components.kubernetes.job import Job, JobArgs
from components.kubernetes.mounted_files import MountedFiles, MountedFilesArgs
from components.kubernetes.namespace import WorkloadNamespace, WorkloadNamespaceArgs
from components.kubernetes.network import NetworkPolicies, NetworkPoliciesArgs
from components.kubernetes.pod import (
    Container,
    Port,
    ProbeAction,
    Probes,
    Resources,
    Scale,
)
from components.kubernetes.workload import Workload, WorkloadArgs
from config.images import IMAGES
from render.recorder import record
from render.values import SeededValues

SMALL = Resources(cpu="10m", memory="16Mi", memory_limit="32Mi")
Object = dict[str, Any]


def objects(program: Callable[[WorkloadNamespace, pulumi.ResourceOptions], object]) -> list[Object]:
    """The Kubernetes objects that a program makes beside those of its platform."""

    def wrapped() -> None:
        provider = kubernetes.Provider("kubernetes")
        opts = pulumi.ResourceOptions(providers={"kubernetes": provider})
        images = {name: image.reference() for name, image in IMAGES.items()}
        args = WorkloadNamespaceArgs(namespace="test", pod_security="restricted", images=images)
        program(WorkloadNamespace("test", args, opts), opts)

    recording = record(wrapped, project="flatline", stack="unit", config={}, values=SeededValues("unit"))
    return [dict(r.outputs) for r in recording if r.type.startswith("kubernetes:")]


def only(found: list[Object], kind: str) -> Object:
    (one,) = (o for o in found if o["kind"] == kind)
    return one


def pod(namespace: WorkloadNamespace, **changes: Any) -> dict[str, Any]:
    container = Container(name="main", image="node", resources=SMALL, **changes.pop("container", {}))
    return {"namespace": namespace, "name": "app", "component": "app", "containers": (container,), **changes}


def workload(
    kind: str = "Deployment", options: dict[str, Any] | None = None, **changes: Any
) -> tuple[list[Object], Any]:
    """The objects of one workload, and the specification of the one of this kind."""
    found = objects(lambda p, o: Workload("app", WorkloadArgs(**pod(p, **changes), **(options or {})), o))
    return found, only(found, kind)["spec"]


def endpoint(name: str = "store", port: int = 9000) -> Endpoint:
    return Endpoint(service=name, pods=Pods.of("other", {"app": name}), port=port)


def test_a_pod_waits_for_what_it_uses() -> None:
    access = Access(
        egress=(endpoint(),), wait_for=(Wait(scheme="tcp", endpoint=endpoint()),), env={"STORE": "http://store"}
    )
    spec = workload(access=(access,))[1]["template"]["spec"]
    (wait,) = spec["initContainers"]
    assert wait["args"] == ["tcp://store.other.svc:9000"]
    assert wait["command"] == ["node", "/opt/flatline/wait.mjs"]
    assert spec["containers"][0]["env"] == [{"name": "STORE", "value": "http://store"}]


def test_a_pod_that_needs_nothing_waits_for_nothing() -> None:
    found, spec = workload()
    assert "initContainers" not in spec["template"]["spec"]
    assert "Service" not in {o["kind"] for o in found}


def test_a_password_reaches_the_wait_as_a_file() -> None:
    def program(namespace: WorkloadNamespace, opts: pulumi.ResourceOptions) -> None:
        secret = MountedFiles("pw", MountedFilesArgs(namespace="test", files={"/etc/pw": "x"}, secret=True), opts)
        waits = tuple(Wait(scheme="redis", endpoint=endpoint(name), password_file=secret) for name in ("b", "a"))
        access = tuple(Access(egress=(w.endpoint,), wait_for=(w,)) for w in waits)
        Workload("app", WorkloadArgs(**pod(namespace, access=access)), opts)

    (wait,) = only(objects(program), "Deployment")["spec"]["template"]["spec"]["initContainers"]
    assert wait["args"] == ["--redis-password-file", "/etc/pw", "redis://a.other.svc:9000", "redis://b.other.svc:9000"]
    assert {"mountPath": "/etc/pw", "name": "pw", "readOnly": True, "subPath": "pw"} in wait["volumeMounts"]


def test_changed_files_are_another_object() -> None:
    def names(text: str) -> set[str]:
        found = objects(lambda p, o: MountedFiles("f", MountedFilesArgs(namespace="test", files={"/a": text}), o))
        return {o["metadata"]["name"] for o in found if o["kind"] == "ConfigMap"}

    assert len(names("one")) == 1, "nothing waits, so no wait program is there"
    assert names("one") == names("one")
    assert names("one") != names("two")


def test_files_of_the_same_base_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same base name"):
        objects(lambda p, o: MountedFiles("f", MountedFilesArgs(namespace="test", files={"/a/x": "", "/b/x": ""}), o))


@pytest.mark.parametrize(("secret", "kind", "field"), [(True, "Secret", "stringData"), (False, "ConfigMap", "data")])
def test_secret_files_are_secrets(secret: bool, kind: str, field: str) -> None:
    found = objects(
        lambda p, o: MountedFiles("f", MountedFilesArgs(namespace="test", files={"/a": "t"}, secret=secret), o)
    )
    (files,) = (o for o in found if o["kind"] == kind and o["metadata"]["name"].startswith("f-"))
    assert files[field] == {"a": "t"}
    assert files["immutable"]


def test_images_choose_their_architecture() -> None:
    assert "affinity" not in workload()[1]["template"]["spec"]
    storage = Container(name="main", image="storage", resources=SMALL)
    required = workload(containers=(storage,))[1]["template"]["spec"]["affinity"]["nodeAffinity"]
    (term,) = required["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]


def test_replicas_are_spread_and_have_a_budget() -> None:
    found, spec = workload(scale=Scale(3))
    assert only(found, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    grown, growing = workload(scale=Scale(1, 4, 70))
    assert only(grown, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert "replicas" not in growing, "what scales it says how many"
    assert only(grown, "HorizontalPodAutoscaler")["spec"]["maxReplicas"] == 4
    spread = spec["template"]["spec"]["topologySpreadConstraints"]
    assert {constraint["topologyKey"] for constraint in spread} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }


DISK = {
    "volumes": (Volume(name="disk", size="1Gi"),),
    "container": {"volume_mounts": (VolumeMount(volume="disk", path="/data"),)},
}


def test_a_disk_of_a_deployment_is_a_protected_claim() -> None:
    found, spec = workload(options={"kind": "recreate"}, **DISK)
    assert only(found, "PersistentVolumeClaim")["spec"]["resources"]["requests"] == {"storage": "1Gi"}
    claim = {"name": "disk", "persistentVolumeClaim": {"claimName": "disk"}}
    assert claim in spec["template"]["spec"]["volumes"]


def test_a_disk_of_a_stateful_set_is_a_template_that_is_mounted() -> None:
    _, spec = workload("StatefulSet", {"kind": "stateful", "headless_service": "app-peers"}, **DISK)
    assert [claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]] == ["disk"]
    assert spec["serviceName"] == "app-peers"
    assert not spec["template"]["spec"].get("volumes")


def test_a_task_is_a_job_without_a_name_or_a_cron_job_with_one() -> None:
    found = objects(lambda p, o: Job("once", JobArgs(**pod(p), deadline=60), o))
    job = only(found, "Job")
    assert job["metadata"]["name"].startswith("once-")
    assert "ttlSecondsAfterFinished" not in job["spec"]
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "OnFailure"
    found = objects(lambda p, o: Job("daily", JobArgs(**pod(p), deadline=60, schedule="1 2 * * *"), o))
    assert only(found, "CronJob")["metadata"]["name"] == "daily"


def test_probe_budgets_are_rounded_up() -> None:
    check = ProbeAction(port="http", path="/")
    probes = Probes.all(check, startup_budget=121)
    _, spec = workload(container={"probes": probes, "ports": (Port(name="http", number=80),)})
    startup = spec["template"]["spec"]["containers"][0]["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 122


def test_policies_are_exactly_the_edges() -> None:
    def program(namespace: WorkloadNamespace, opts: pulumi.ResourceOptions) -> None:
        server = Pods.of("test", {"app": "server"})
        to = Endpoint(service="server", pods=server, port=80)
        network_peers = (
            NetworkPeer(name="server", pods=server),
            NetworkPeer(name="client", pods=Pods.of("test", {"app": "client"}), egress=(to,)),
            NetworkPeer(
                name="outgoing",
                pods=Pods.of("test", {"app": "out"}),
                external_egress=(Network("192.0.2.0/24", (443,)),),
            ),
        )
        external_peer = NetworkPeer(name="proxy", pods=Pods.of("edge", {"app": "proxy"}), egress=(to,))
        dns = Pods.of("kube-system", {"k8s-app": "kube-dns"})
        NetworkPolicies(
            "net",
            NetworkPoliciesArgs(
                namespaces=(namespace,), network_peers=network_peers, external_peers=(external_peer,), dns=dns
            ),
            opts,
        )

    policies = {o["metadata"]["name"]: o["spec"] for o in objects(program) if o["kind"] == "NetworkPolicy"}
    assert set(policies) == {"default-deny", "server", "client", "outgoing"}
    callers = [rule["from"][0]["podSelector"]["matchLabels"]["app"] for rule in policies["server"]["ingress"]]
    assert callers == ["client", "proxy"]
    assert not policies["server"].get("egress")
    assert [rule["ports"][0]["port"] for rule in policies["client"]["egress"]] == [53, 80]
    assert policies["outgoing"]["egress"][1]["to"] == [{"ipBlock": {"cidr": "192.0.2.0/24"}}]
