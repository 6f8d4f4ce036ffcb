"""What a deployed stack still waits for, read from its objects as the API server shows them. Pure."""

from collections.abc import Callable, Iterable
from typing import Any

Object = dict[str, Any]

KINDS = (
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "jobs.batch",
    "persistentvolumeclaims",
    "services",
    "endpointslices.discovery.k8s.io",
)


class JobFailedError(Exception):
    """A Job has failed for good, so waiting is in vain."""


def title(item: Object) -> str:
    """Such as "Deployment flatline/whisper" or "Namespace flatline"."""
    metadata = item["metadata"]
    within = f"{metadata['namespace']}/" if "namespace" in metadata else ""
    return f"{item['kind']} {within}{metadata['name']}"


def waiting_for(items: Iterable[Object]) -> list[str]:
    """One line for every object among `items` (of all `KINDS`) that is not ready yet; empty when all are.

    Ready means: every replica of a Deployment, StatefulSet or DaemonSet is of the newest revision and available; a
    Job is complete or suspended; a claim is bound; every port of a Service with a selector has a ready endpoint.
    Raises `JobFailedError`.
    """
    objects = list(items)
    reasons: dict[str, Callable[[Object], str]] = {
        "Deployment": _deployment,
        "StatefulSet": _stateful_set,
        "DaemonSet": _daemon_set,
        "Job": _job,
        "PersistentVolumeClaim": _claim,
        "Service": lambda service: _service(service, objects),
    }
    found = ((item, reasons[item["kind"]](item)) for item in objects if item["kind"] in reasons)
    return [f"{title(item)}: {reason}" for item, reason in found if reason]


def _deployment(item: Object) -> str:
    wanted = item["spec"].get("replicas", 1)
    counted = ("replicas", "updatedReplicas", "availableReplicas")
    messages = [
        condition.get("message", "")
        for condition in item.get("status", {}).get("conditions", [])
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True"
    ]
    return "; ".join(text for text in (_observed(item) or _counts(item, wanted, counted), *messages) if text)


def _stateful_set(item: Object) -> str:
    wanted = item["spec"].get("replicas", 1)
    status = item.get("status", {})
    if reason := _observed(item) or _counts(item, wanted, ("replicas", "readyReplicas", "availableReplicas")):
        return reason
    if item["spec"].get("updateStrategy", {}).get("type") == "OnDelete":
        return ""
    return "" if status.get("currentRevision") == status.get("updateRevision") else "is rolling a new revision out"


def _daemon_set(item: Object) -> str:
    wanted = item.get("status", {}).get("desiredNumberScheduled", 0)
    return _observed(item) or _counts(item, wanted, ("updatedNumberScheduled", "numberAvailable"))


def _observed(item: Object) -> str:
    seen = item.get("status", {}).get("observedGeneration", 0)
    return "" if seen >= item["metadata"]["generation"] else "its controller has not seen it yet"


def _counts(item: Object, wanted: int, names: Iterable[str]) -> str:
    status = item.get("status", {})
    wrong = [f"{name} {status.get(name, 0)} of {wanted}" for name in names if status.get(name, 0) != wanted]
    return ", ".join(wrong)


def _job(item: Object) -> str:
    conditions = {
        condition["type"]: condition
        for condition in item.get("status", {}).get("conditions", [])
        if condition["status"] == "True"
    }
    if "Failed" in conditions:
        raise JobFailedError(f"{title(item)}: {conditions['Failed'].get('message', 'failed')}")
    return "" if "Complete" in conditions or item["spec"].get("suspend") else "has not completed"


def _claim(item: Object) -> str:
    phase = item.get("status", {}).get("phase", "Pending")
    return "" if phase == "Bound" else f"is {phase}"


def _service(service: Object, objects: list[Object]) -> str:
    if not service["spec"].get("selector"):
        return ""
    filled = {
        port["name"]
        for item in objects
        if _is_slice_of(item, service) and any(map(_endpoint_ready, item.get("endpoints") or []))
        for port in item.get("ports") or [{"name": ""}]
    }
    wanted = {port.get("name", "") for port in service["spec"].get("ports") or [{"name": ""}]}
    missing = sorted(wanted - filled)
    return f"no ready endpoint for port {', '.join(name or '(unnamed)' for name in missing)}" if missing else ""


def _is_slice_of(item: Object, service: Object) -> bool:
    metadata, owner = item["metadata"], service["metadata"]
    service_name: str | None = metadata.get("labels", {}).get("kubernetes.io/service-name")
    same_namespace = bool(metadata.get("namespace") == owner["namespace"])
    return item["kind"] == "EndpointSlice" and same_namespace and service_name == owner["name"]


def _endpoint_ready(endpoint: Object) -> bool:
    return bool(endpoint.get("addresses")) and bool(endpoint.get("conditions", {}).get("ready"))
