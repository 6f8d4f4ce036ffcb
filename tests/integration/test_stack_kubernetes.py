"""The whole rendered stack on a real API server with real controllers: applied, ready, upgraded, scaled."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from render import manifests
from render.recorder import record
from render.values import SeededValues
from tests.graph.stack import PROJECT, configuration, program
from tests.integration.deployed import NAMESPACES, Object, deploy, labels, rendered
from tests.lab.kubernetes import Kubernetes
from tests.lab.kubernetes_client import Changes, KubectlError
from tests.lab.process import wait_until

pytestmark = pytest.mark.integration

PREVIOUS = Path(__file__).parent / "golden" / "previous.yaml"
"""Stack dev as the version before rendered it, without the content of ConfigMaps and Secrets (their names hold it)."""


def pods(cluster: Kubernetes) -> dict[str, set[str]]:
    """Identities of the running pods, by workload."""
    wait_until(lambda: settled(cluster), 60, "pods of earlier versions gone")
    found: dict[str, set[str]] = {}
    for namespace in NAMESPACES:
        for pod in cluster.get("pods", namespace):
            if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]:
                found.setdefault(pod["metadata"]["labels"]["app.kubernetes.io/name"], set()).add(pod["metadata"]["uid"])
    return found


def settled(cluster: Kubernetes) -> bool:
    """Whether no Deployment has a pod of an earlier version left."""
    return all(
        deployment["status"].get("replicas") == deployment["spec"]["replicas"]
        for namespace in NAMESPACES
        for deployment in cluster.get("deployments", namespace)
    )


def claims(cluster: Kubernetes) -> dict[str, tuple[str, str]]:
    """Phase and volume of every claim, by name."""
    return {
        claim["metadata"]["name"]: (claim["status"]["phase"], claim["spec"].get("volumeName", ""))
        for namespace in NAMESPACES
        for claim in cluster.get("persistentvolumeclaims", namespace)
    }


def rolled(before: dict[str, set[str]], after: dict[str, set[str]]) -> set[str]:
    return {name for name in before if before[name] != after.get(name)}


def test_the_stack_becomes_ready_and_applying_it_again_changes_nothing(
    deployed_stack: tuple[Kubernetes, Path, Changes],
) -> None:
    cluster, folder, first = deployed_stack
    assert first.warnings == [], "Pod Security and the API server accept every object without a word"
    assert not first.changed
    assert cluster.apply(folder).nothing

    assert {phase for phase, _ in claims(cluster).values()} == {"Bound"}
    assert set(claims(cluster)) == {
        "database",
        "groups",
        "attachments",
        "objects",
        *(f"data-redis-{n}" for n in range(3)),
        "state-registration-0",
    }
    jobs = cluster.get("jobs", "flatline")
    assert [job["status"]["succeeded"] for job in jobs] == [1]
    assert len(pods(cluster)["redis"]) == 3


def test_pod_security_is_enforced(deployed_stack: tuple[Kubernetes, Path, Changes]) -> None:
    """The same namespaces refuse what is less closed, so the stack's pods are not merely let in."""
    cluster, _, _ = deployed_stack
    open_pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "open", "namespace": "flatline"},
        "spec": {"containers": [{"name": "main", "image": "registry.test/main:1"}]},
    }
    with pytest.raises(KubectlError, match="violates PodSecurity"):
        cluster.apply([open_pod])
    metadata = {"name": "open", "namespace": "flatline-emulators"}
    with pytest.raises(KubectlError, match="violates PodSecurity"):
        cluster.apply([{**open_pod, "metadata": metadata, "spec": {**open_pod["spec"], "hostNetwork": True}}])


def test_whisper_starts_after_what_it_waits_for(deployed_stack: tuple[Kubernetes, Path, Changes]) -> None:
    """Every name that the init container waits for is a Service with ready endpoints."""
    cluster, _, _ = deployed_stack
    (pod,) = cluster.get("pods", "flatline", labels=labels("whisper"))
    (wait,) = pod["spec"]["initContainers"]
    targets = [argument for argument in wait["args"] if "://" in argument]
    assert len(targets) == 4
    for target in targets:
        host = target.partition("://")[2].rpartition(":")[0]
        service, namespace, _ = host.split(".")
        slices = cluster.get("endpointslices", namespace, labels={"kubernetes.io/service-name": service})
        ready = [e for found in slices for e in found["endpoints"] if e["conditions"]["ready"]]
        assert ready, target


def test_a_second_pod_waits_until_the_volume_of_the_first_is_free(
    deployed_stack: tuple[Kubernetes, Path, Changes],
) -> None:
    """As the successor of a pod that was deleted and still stops; to the scheduler that one is there until it is gone.

    Simulated nodes end a pod at once, so here the first one just stays.
    """
    cluster, _, _ = deployed_stack
    with_volume = [
        (namespace, each["metadata"]["name"])
        for namespace in NAMESPACES
        for each in cluster.get("deployments", namespace)
        if any("persistentVolumeClaim" in volume for volume in each["spec"]["template"]["spec"]["volumes"])
    ]
    assert len(with_volume) == 4
    for namespace, name in with_volume:
        cluster.kubectl("-n", namespace, "scale", "deployment", name, "--replicas=2")

    def waiting() -> list[Object]:
        found = [pod for namespace in NAMESPACES for pod in cluster.get("pods", namespace)]
        return [pod for pod in found if unschedulable(pod)]

    wait_until(lambda: len(waiting()) == len(with_volume), 30, "the second pods wait")
    for namespace, name in with_volume:
        cluster.kubectl("-n", namespace, "scale", "deployment", name, "--replicas=1")
    for namespace in NAMESPACES:
        cluster.wait_ready(60, namespace)


def unschedulable(pod: Object) -> bool:
    """Whether the scheduler found no node for it, because of the pods that are there."""
    return any(
        each["type"] == "PodScheduled" and "anti-affinity" in each.get("message", "")
        for each in pod["status"].get("conditions", ())
    )


def test_changes_roll_only_what_they_concern_and_volumes_stay(
    deployed_stack: tuple[Kubernetes, Path, Changes], tmp_path: Path
) -> None:
    cluster, _, _ = deployed_stack
    volumes, before = claims(cluster), pods(cluster)

    deploy(cluster, rendered(tmp_path / "moved", domain="chat.example.org")[0])
    after = pods(cluster)
    assert rolled(before, after) == {"whisper", "whisper-persister"}
    assert claims(cluster) == volumes

    rotated = '{"attachments": {"epoch": 2}}'
    deploy(cluster, rendered(tmp_path / "rotated", domain="chat.example.org", secrets=rotated)[0])
    assert rolled(after, pods(cluster)) == {"whisper", "whisper-persister", "cdn3"}

    larger = {"redis": '{"masters": 4}', "secrets": rotated, "domain": "chat.example.org"}
    before = pods(cluster)
    deploy(cluster, rendered(tmp_path / "larger", **larger)[0])
    after = pods(cluster)
    assert rolled(before, after) == {"redis", "redis-membership"}
    assert before["redis"] < after["redis"], "nodes that were there go on running"
    assert len(after["redis"]) == 4
    assert volumes.items() < claims(cluster).items()

    smaller = larger | {"redis": '{"masters": 3}'}
    deploy(cluster, rendered(tmp_path / "smaller", **smaller)[0])
    assert len(pods(cluster)["redis"]) == 3
    assert len(claims(cluster)) == len(volumes) + 1, "the volumes of nodes that went are kept"


def skeleton() -> list[Object]:
    """Stack dev as it is rendered now, in the form of `PREVIOUS`. `python -m` this module writes it there."""
    values = SeededValues("upgrade")
    recording = record(program, project=PROJECT, stack="dev", config=configuration("dev"), values=values)
    tree = manifests.tree(recording, redact=True)
    return [_emptied(yaml.safe_load(text)) for name, text in sorted(tree.items()) if name[:2].isdigit()]


def _emptied(found: Object) -> Object:
    if found["kind"] not in {"ConfigMap", "Secret"}:
        return found
    content: Object = {key: dict.fromkeys(found[key], "") for key in ("data", "stringData") if key in found}
    return {**found, **content}


def templates(objects: list[Object]) -> dict[str, Object]:
    """Pod templates by the name of their workload."""
    kinds = {"Deployment", "StatefulSet"}
    return {o["metadata"]["name"]: o["spec"]["template"] for o in objects if o["kind"] in kinds}


def test_an_upgrade_from_the_version_before_rolls_only_what_changed(own_kubernetes: Kubernetes) -> None:
    cluster = own_kubernetes
    previous, now = list(yaml.safe_load_all(PREVIOUS.read_text())), skeleton()
    volumes: dict[str, tuple[str, str]] = {}
    running: dict[str, set[str]] = {}
    for version in (previous, now):
        before, running = running, {}
        deploy(cluster, version)
        running = pods(cluster)
        assert volumes.items() <= claims(cluster).items(), "no volume is lost"
        volumes = claims(cluster)
    old, new = templates(previous), templates(now)
    both = old.keys() & new.keys()
    assert running.keys() == old.keys() | new.keys(), "applying deletes nothing"
    assert rolled(before, running) & both == {name for name in both if old[name] != new[name]}


if __name__ == "__main__":
    PREVIOUS.write_text(yaml.safe_dump_all(skeleton(), sort_keys=True, width=120))
