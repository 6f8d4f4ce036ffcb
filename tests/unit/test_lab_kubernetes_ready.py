"""What counts as ready in the test cluster."""

import copy
from typing import Any

import pytest

from tests.lab.kubernetes_ready import JobFailedError, Object, waiting_for


def _object(kind: str, name: str = "web", **fields: Any) -> Object:
    return {"kind": kind, "metadata": {"name": name, "namespace": "ns", "generation": 2}, **fields}


def _slice(*ports: str, ready: bool = True, service: str = "web") -> Object:
    found = _object("EndpointSlice", f"{service}-x")
    found["metadata"]["labels"] = {"kubernetes.io/service-name": service}
    endpoint = {"addresses": ["10.244.1.1"], "conditions": {"ready": ready}}
    return found | {"endpoints": [endpoint], "ports": [{"name": port, "port": 80} for port in ports]}


def _service(*ports: str, **spec: Any) -> Object:
    listed = [{"name": port, "port": 80} for port in ports]
    return _object("Service", spec={"selector": {"app": "web"}, "ports": listed, **spec})


def _condition(kind: str, **more: str) -> Object:
    return {"conditions": [{"type": kind, "status": "True", **more}]}


def _whole(kind: str, spec: Object, **status: Any) -> Object:
    return _object(kind, spec=spec, status={"observedGeneration": 2, **status})


DEPLOYMENT = _whole("Deployment", {"replicas": 2}, replicas=2, updatedReplicas=2, availableReplicas=2)
REVISIONS = {"currentRevision": "a", "updateRevision": "a"}
STATEFUL_SET = _whole("StatefulSet", {"replicas": 3}, replicas=3, readyReplicas=3, availableReplicas=3, **REVISIONS)
DAEMON_SET = _whole("DaemonSet", {}, desiredNumberScheduled=1, updatedNumberScheduled=1, numberAvailable=1)


def _with_status(item: Object, **status: Any) -> Object:
    changed = copy.deepcopy(item)
    changed["status"] |= status
    return changed


def test_all_that_is_ready_is_not_waited_for() -> None:
    complete = _object("Job", spec={}, status=_condition("Complete"))
    suspended = _object("Job", "later", spec={"suspend": True}, status={})
    claim = _object("PersistentVolumeClaim", status={"phase": "Bound"})
    external = _service("http", selector=None)
    served = [external, _service("http"), _slice("http")]
    assert waiting_for([DEPLOYMENT, STATEFUL_SET, DAEMON_SET, complete, suspended, claim, *served]) == []


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([_with_status(DEPLOYMENT, observedGeneration=1)], "Deployment ns/web: its controller has not seen it yet"),
        ([_with_status(DEPLOYMENT, replicas=3)], "Deployment ns/web: replicas 3 of 2"),
        ([_with_status(DEPLOYMENT, updatedReplicas=1)], "Deployment ns/web: updatedReplicas 1 of 2"),
        ([_with_status(DEPLOYMENT, availableReplicas=0)], "Deployment ns/web: availableReplicas 0 of 2"),
        ([_object("Deployment", spec={}, status={})], "Deployment ns/web: its controller has not seen it yet"),
        (
            [
                _with_status(
                    DEPLOYMENT, replicas=0, updatedReplicas=0, **_condition("ReplicaFailure", message="forbidden")
                )
            ],
            "Deployment ns/web: replicas 0 of 2, updatedReplicas 0 of 2; forbidden",
        ),
        ([_with_status(STATEFUL_SET, readyReplicas=2)], "StatefulSet ns/web: readyReplicas 2 of 3"),
        ([_with_status(STATEFUL_SET, updateRevision="b")], "StatefulSet ns/web: is rolling a new revision out"),
        ([_with_status(DAEMON_SET, numberAvailable=0)], "DaemonSet ns/web: numberAvailable 0 of 1"),
        ([_object("Job", spec={}, status={"active": 1})], "Job ns/web: has not completed"),
        ([_object("PersistentVolumeClaim", status={"phase": "Pending"})], "PersistentVolumeClaim ns/web: is Pending"),
        ([_service("http")], "Service ns/web: no ready endpoint for port http"),
        ([_service("http"), _slice("http", ready=False)], "Service ns/web: no ready endpoint for port http"),
        ([_service("http"), _slice("http", service="other")], "Service ns/web: no ready endpoint for port http"),
        ([_service("http", "grpc"), _slice("http")], "Service ns/web: no ready endpoint for port grpc"),
    ],
)
def test_what_is_not_ready_is_named_with_its_reason(items: list[Object], reason: str) -> None:
    assert waiting_for(items) == [reason]


def test_a_headless_service_without_ports_needs_an_endpoint() -> None:
    assert waiting_for([_service()]) == ["Service ns/web: no ready endpoint for port (unnamed)"]
    assert waiting_for([_service(), _slice()]) == []


def test_a_failed_job_is_an_error() -> None:
    job = _object("Job", spec={}, status=_condition("Failed", message="deadline"))
    with pytest.raises(JobFailedError, match="Job ns/web: deadline"):
        waiting_for([job])
