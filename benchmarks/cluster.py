"""Applying the rendered stack and waiting until it is ready, against the least that the API server asks for.

The minimum is an empty ConfigMap for each object, and an empty Deployment for each workload of the stack. All is done
with the same kubectl on a new cluster of tests/lab for every round, in turn.
"""

import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.sample import Ratio
from benchmarks.stack import recorded
from render import manifests
from render.values import SeededValues
from tests.lab import kubernetes, traefik_crds
from tests.lab.kubernetes import Kubernetes
from tests.lab.kubernetes_client import Client
from tests.lab.kubernetes_ready import Object

READY_SECONDS = 300
WORKLOADS = frozenset({"Deployment", "StatefulSet", "DaemonSet", "Job"})
EMPTY = "benchmark"
"""The namespace of the minimum."""
IMAGE = "example.org/nothing:1"


def prepare() -> None:
    """Builds and fetches the servers, where there is a network. Raises `Missing`."""
    kubernetes.prepare()
    traefik_crds.prepare()


def ratios(rounds: int) -> list[Ratio]:
    """Measures in the private network namespace that this process is in."""
    with tempfile.TemporaryDirectory() as scratch:
        stack = Path(scratch) / "stack"
        manifests.write(recorded(SeededValues("benchmark", start=datetime.now(UTC))), stack)
        folders = [Path(scratch) / f"cluster-{number}" for number in range(rounds)]
        taken = [_round(folder, stack, ours_first=number % 2 == 0) for number, folder in enumerate(folders)]
    applied, applied_least, ready, ready_least = zip(*taken, strict=True)
    return [
        Ratio("apply stack dev, each object", "an empty ConfigMap", applied, applied_least),
        Ratio("stack dev applied and ready, each workload", "an empty Deployment", ready, ready_least),
    ]


def _round(folder: Path, stack: Path, *, ours_first: bool) -> tuple[float, float, float, float]:
    """Seconds of an object and of an empty ConfigMap, of a ready workload and of a ready empty Deployment."""
    with Kubernetes(folder) as cluster:
        cluster.apply(traefik_crds.crds())
        cluster.apply([namespace(EMPTY), *_config_maps(1, "first")])  # kubectl now knows the API
        objects = cluster.load(stack)
        workloads = [each for each in objects if each["kind"] in WORKLOADS]
        count = len(workloads)
        parts: dict[str, tuple[list[Object], set[str]]] = {
            "stack": (objects, {each["metadata"]["namespace"] for each in workloads}),
            "ConfigMaps": (_config_maps(len(objects), "empty"), set()),
            "Deployments": (_deployments(count), {EMPTY}),
        }
        order = list(parts) if ours_first else list(reversed(parts))
        times = {name: apply(cluster, *parts[name]) for name in order}
    return (
        times["stack"][0] / len(objects),
        times["ConfigMaps"][0] / len(objects),
        times["stack"][1] / count,
        times["Deployments"][1] / count,
    )


def apply(cluster: Client, objects: list[Object], namespaces: set[str]) -> tuple[float, float]:
    """Seconds until kubectl has applied the objects, and until all of some namespaces is ready."""
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    began = time.perf_counter()
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=manifest)
    applied = time.perf_counter() - began
    for namespace in sorted(namespaces):
        cluster.wait_ready(READY_SECONDS, namespace)
    return applied, time.perf_counter() - began


def namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _config_maps(count: int, name: str) -> list[Object]:
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-{number}", "namespace": EMPTY}}
        for number in range(count)
    ]


def _deployments(count: int) -> list[Object]:
    pod = {"containers": [{"name": "nothing", "image": IMAGE}]}
    return [deployment(f"empty-{number}", pod) for number in range(count)]


def deployment(name: str, pod: Object) -> Object:
    """One of the minimum, with the specification of its pod."""
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": EMPTY},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": pod,
            },
        },
    }
