"""The test cluster does what the stack's tests rely on."""

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.kubernetes import HOST_PATHS, Kubernetes
from tests.lab.kubernetes_client import KubectlError, NotReadyError
from tests.lab.kubernetes_ready import JobFailedError
from tests.lab.process import wait_until

pytestmark = pytest.mark.integration

Object = dict[str, Any]
RESTRICTED: Object = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture
def namespace(kubernetes: Kubernetes) -> Iterator[str]:
    """A namespace that enforces the restricted Pod Security standard."""
    name = f"lab-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}
    kubernetes.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}])
    yield name
    kubernetes.delete_namespaces(name, wait=False)


def _object(kind: str, name: str, version: str = "v1", **fields: Any) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields}


def _template(name: str, security: Object = RESTRICTED, **pod: Any) -> Object:
    container = {
        "name": "main",
        "image": "registry.test/main:1",
        "securityContext": security,
        "ports": [{"name": "http", "containerPort": 8080}],
    }
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container], **pod}}


def _workload(kind: str, name: str, replicas: int = 2, **template: Any) -> Object:
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": _template(name, **template),
    }
    if kind == "StatefulSet":
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        spec |= {"serviceName": name, "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}]}
    return _object(kind, name, "apps/v1", spec=spec)


def _service(name: str, target: str = "http") -> Object:
    port = {"name": "http", "port": 80, "targetPort": target}
    return _object("Service", name, spec={"selector": {"app": name}, "ports": [port]})


def _job(name: str) -> Object:
    waiting = {"name": "wait", "image": "registry.test/wait:1", "securityContext": RESTRICTED}
    template = _template(name, restartPolicy="Never", initContainers=[waiting])
    return _object("Job", name, "batch/v1", spec={"template": template})


def _never_ready(kubernetes: Kubernetes, namespace: str, reason: str) -> None:
    """`wait_ready` fails, and soon for `reason`, however busy the machine is."""

    def explained() -> bool:
        with pytest.raises(NotReadyError) as refused:
            kubernetes.wait_ready(1, namespace)
        return re.search(reason, str(refused.value)) is not None

    wait_until(explained, 60, reason)


def test_a_second_apply_changes_nothing_and_an_edit_is_seen(kubernetes: Kubernetes, namespace: str) -> None:
    web, settings = _workload("Deployment", "web"), _object("ConfigMap", "settings", data={"colour": "blue"})
    stack = [settings, web, _service("web")]
    names = [f"ConfigMap {namespace}/settings", f"Deployment {namespace}/web", f"Service {namespace}/web"]

    assert kubernetes.apply(stack, namespace=namespace).created == names
    kubernetes.wait_ready(60, namespace)
    again = kubernetes.apply(stack, namespace=namespace)
    assert again.nothing
    assert again.unchanged == names
    settings["data"]["colour"] = "red"
    third = kubernetes.apply(stack, namespace=namespace)
    assert third.changed == names[:1]
    assert third.unchanged == names[1:]
    del settings["data"]["colour"]
    assert kubernetes.apply(stack, namespace=namespace).changed == names[:1]


def test_what_is_read_is_what_kubectl_shows(kubernetes: Kubernetes, namespace: str) -> None:
    labelled = _object("ConfigMap", "labelled")
    labelled["metadata"]["labels"] = {"app": "read"}
    kubernetes.apply([labelled, _object("Secret", "other"), _object("ConfigMap", "other")], namespace=namespace)

    def shown(*words: str) -> list[Object]:
        items: list[Object] = json.loads(kubernetes.kubectl("get", *words, "-o", "json"))["items"]
        return items

    assert kubernetes.get("configmaps,secrets", namespace) == shown("configmaps,secrets", "-n", namespace)
    assert kubernetes.get("cm", namespace, labels={"app": "read"}) == shown("cm", "-n", namespace, "-l", "app")
    cluster = "customresourcedefinitions.apiextensions.k8s.io,storageclasses"
    assert kubernetes.get(cluster) == kubernetes.get(cluster, namespace) == shown(cluster)
    everything = {(each["kind"], each["metadata"]["name"]) for each in kubernetes.everything()}
    for each in shown("configmaps,secrets,serviceaccounts", "-n", namespace):
        assert (each["kind"], each["metadata"]["name"]) in everything
    with pytest.raises(KubectlError, match="the API server has no unicorns"):
        kubernetes.get("unicorns")


def test_pod_security_is_enforced(kubernetes: Kubernetes, namespace: str) -> None:
    refused = r"(?s)violates PodSecurity \"restricted:latest\".*runAsNonRoot"
    pod = _object("Pod", "root", spec=_template("root", security={})["spec"])
    with pytest.raises(KubectlError, match=refused):
        kubernetes.apply([pod], namespace=namespace)

    changes = kubernetes.apply([_workload("Deployment", "root", security={})], namespace=namespace)

    assert any("would violate PodSecurity" in warning for warning in changes.warnings)
    _never_ready(kubernetes, namespace, rf"(?s)Deployment {namespace}/root: .*{refused.removeprefix('(?s)')}")


def test_a_service_whose_port_no_pod_has_is_not_ready(kubernetes: Kubernetes, namespace: str) -> None:
    kubernetes.apply([_workload("Deployment", "web"), _service("web", target="metrics")], namespace=namespace)
    _never_ready(
        kubernetes, namespace, rf"ready: not within 1 s\nService {namespace}/web: no ready endpoint for port http"
    )


def test_what_does_not_fit_the_node_stays_pending(kubernetes: Kubernetes, namespace: str) -> None:
    large = _workload("Deployment", "large", replicas=1)
    large["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"memory": "65Gi"}}
    kubernetes.apply([large], namespace=namespace)
    _never_ready(kubernetes, namespace, "Insufficient memory")


def test_a_failed_job_ends_the_wait(kubernetes: Kubernetes, namespace: str) -> None:
    job = _job("seed")
    job["spec"] |= {"activeDeadlineSeconds": 1, "template": _template("seed", restartPolicy="Never")}
    job["spec"]["template"]["spec"]["nodeSelector"] = {"no-such": "node"}
    kubernetes.apply([job], namespace=namespace)
    with pytest.raises(JobFailedError, match=f"Job {namespace}/seed: .*deadline"):
        kubernetes.wait_ready(60, namespace)


def test_a_deleted_namespace_is_gone_with_all_that_it_held(kubernetes: Kubernetes) -> None:
    name = f"lab-{uuid.uuid4().hex[:8]}"
    kubernetes.apply([_object("Namespace", name)])
    kubernetes.apply([_workload("Deployment", "web"), _workload("StatefulSet", "store"), _job("seed")], namespace=name)
    kubernetes.wait_ready(60, name)
    kubernetes.delete_namespaces(name, "no-such-namespace")
    assert name not in [each["metadata"]["name"] for each in kubernetes.get("namespaces")]
    assert kubernetes.get("pods,persistentvolumeclaims", name) == []

    def owners() -> list[str]:
        return [each["spec"]["claimRef"]["namespace"] for each in kubernetes.get("persistentvolumes")]

    wait_until(lambda: name not in owners(), 30, "the end of its volumes")


def test_it_ends_with_all_its_processes_and_volumes(tmp_path: Path, kubernetes: Kubernetes) -> None:
    with Kubernetes(tmp_path / "second", first_pod_address="10.244.240.1") as second:
        second.apply([_workload("StatefulSet", "store", replicas=1)], namespace="default")
        second.wait_ready(60)
        (volume,) = second.get("persistentvolumes")
        folder = Path(volume["spec"]["hostPath"]["path"])
        assert folder.parent == HOST_PATHS
        assert folder.is_dir()
        assert second.pod_ips("default", {"app": "store"})[0].startswith("10.244.240.")
        assert len(second.servers) == 5
        assert all(server.running() for server in second.servers)

    assert not folder.exists()
    assert not any(server.running() for server in second.servers)
    assert kubernetes.get("nodes")
