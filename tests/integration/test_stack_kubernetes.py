"""The whole rendered stack on a real API server with real controllers: applied, ready, upgraded, scaled, taken down."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.deployed import NAMESPACES, deploy, labels, rendered
from tests.lab.kubernetes import KubectlError, Kubernetes
from tests.lab.process import wait_until

pytestmark = pytest.mark.integration

KEPT = {"Namespace", "PersistentVolumeClaim"}
"""What `./flatline down` leaves."""


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
    own_kubernetes: Kubernetes, tmp_path: Path
) -> None:
    folder, _ = rendered(tmp_path / "dev")
    first = own_kubernetes.apply(folder)
    assert first.warnings == [], "Pod Security and the API server accept every object without a word"
    assert not first.changed
    for namespace in NAMESPACES:
        own_kubernetes.wait_ready(120, namespace)
    assert own_kubernetes.apply(folder).nothing

    assert {phase for phase, _ in claims(own_kubernetes).values()} == {"Bound"}
    assert set(claims(own_kubernetes)) == {"database", "groups", "attachments", *(f"data-redis-{n}" for n in range(6))}
    jobs = own_kubernetes.get("jobs", "flatline")
    assert [job["status"]["succeeded"] for job in jobs] == [1]
    assert len(pods(own_kubernetes)["redis"]) == 6


def test_pod_security_is_enforced(own_kubernetes: Kubernetes, tmp_path: Path) -> None:
    """The same namespaces refuse what is less closed, so the stack's pods are not merely let in."""
    folder, _ = rendered(tmp_path / "dev")
    own_kubernetes.apply([o for o in own_kubernetes.load(folder) if o["kind"] == "Namespace"])
    open_pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "open", "namespace": "flatline"},
        "spec": {"containers": [{"name": "main", "image": "registry.test/main:1"}]},
    }
    with pytest.raises(KubectlError, match="violates PodSecurity"):
        own_kubernetes.apply([open_pod])
    metadata = {"name": "open", "namespace": "flatline-emulators"}
    with pytest.raises(KubectlError, match="violates PodSecurity"):
        own_kubernetes.apply([{**open_pod, "metadata": metadata, "spec": {**open_pod["spec"], "hostNetwork": True}}])


def test_changes_roll_only_what_they_concern_and_volumes_stay(own_kubernetes: Kubernetes, tmp_path: Path) -> None:
    cluster = own_kubernetes
    deploy(cluster, rendered(tmp_path / "dev")[0])
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
    assert len(after["redis"]) == 8
    assert volumes.items() < claims(cluster).items()

    smaller = larger | {"redis": '{"masters": 3}'}
    deploy(cluster, rendered(tmp_path / "smaller", **smaller)[0])
    assert len(pods(cluster)["redis"]) == 6
    assert len(claims(cluster)) == len(volumes) + 2, "the volumes of nodes that went are kept"


def test_taking_it_down_leaves_the_data_and_bringing_it_back_uses_it(
    own_kubernetes: Kubernetes, tmp_path: Path
) -> None:
    cluster = own_kubernetes
    folder, _ = rendered(tmp_path / "dev")
    deploy(cluster, folder)
    volumes = claims(cluster)
    cluster.delete([o for o in cluster.load(folder) if o["kind"] not in KEPT])
    assert claims(cluster) == volumes
    assert cluster.get("deployments", "flatline") == []
    deploy(cluster, folder)
    assert claims(cluster) == volumes


def test_whisper_starts_after_what_it_waits_for(own_kubernetes: Kubernetes, tmp_path: Path) -> None:
    """Every name that the init container waits for is a Service with ready endpoints."""
    cluster = own_kubernetes
    deploy(cluster, rendered(tmp_path / "dev")[0])
    (pod,) = cluster.get("pods", "flatline", labels=labels("whisper"))
    (wait,) = pod["spec"]["initContainers"]
    targets = [argument for argument in wait["args"] if "://" in argument]
    assert len(targets) == 3
    for target in targets:
        host = target.partition("://")[2].rpartition(":")[0]
        service, namespace, _ = host.split(".")
        slices = cluster.get("endpointslices", namespace, labels={"kubernetes.io/service-name": service})
        ready = [e for found in slices for e in found["endpoints"] if e["conditions"]["ready"]]
        assert ready, target
