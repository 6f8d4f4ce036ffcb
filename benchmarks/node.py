"""Stack dev on one real node of tests/lab, against as many Deployments of one idle container.

Both have a new node for every round, in turn: applied until ready, restarted as a whole, and after a power cut. Images
are composed, and the three services are the tests' own stand-ins.
"""

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import cluster
from benchmarks.cluster import EMPTY, READY_SECONDS, WORKLOADS
from benchmarks.sample import Ratio, by_step
from benchmarks.stack import recorded
from render import manifests
from render.values import SeededValues
from tests.lab import kubernetes_node, traefik_crds
from tests.lab.k3s_images import HELPER
from tests.lab.kubernetes_node import KubernetesNode
from tests.lab.kubernetes_ready import Object
from tests.lab.process import wait_until

STEPS = ("applied and ready", "all workloads restarted", "ready after a power cut")
RESTARTED = frozenset({"Deployment", "StatefulSet"})


def prepare() -> None:
    """Builds and fetches the servers, where there is a network. Raises `Missing`."""
    kubernetes_node.prepare()
    traefik_crds.prepare()


def ratios(rounds: int) -> list[Ratio]:
    """Measures in the private network namespace that this process is in."""
    with tempfile.TemporaryDirectory() as scratch:
        stack = Path(scratch) / "stack"
        manifests.write(recorded(SeededValues("benchmark", start=datetime.now(UTC))), stack)
        taken = [_round(Path(scratch) / str(number), stack, ours_first=number % 2 == 0) for number in range(rounds)]
    return by_step("stack dev on a node", "as many idle Deployments", taken)


def _round(scratch: Path, stack: Path, *, ours_first: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of each step, of ours and of the minimum."""
    times: dict[bool, dict[str, float]] = {}
    for ours in (ours_first, not ours_first):
        with KubernetesNode(scratch / ("stack" if ours else "minimum")) as node:
            objects = node.load(stack)
            workloads = [each for each in objects if each["kind"] in WORKLOADS]
            times[ours] = _steps(node, objects if ours else _idle(len(workloads)))
    return times[True], times[False]


def _steps(node: KubernetesNode, objects: list[Object]) -> dict[str, float]:
    workloads = [each for each in objects if each["kind"] in RESTARTED]
    namespaces = sorted({each["metadata"]["namespace"] for each in workloads})

    def ready_since(began: float) -> float:
        for namespace in namespaces:
            node.wait_ready(READY_SECONDS, namespace)
        return time.perf_counter() - began

    _, ready = cluster.apply(node, objects, set(namespaces))
    times = [ready]
    began = time.perf_counter()
    for each in workloads:
        metadata = each["metadata"]
        node.kubectl("rollout", "restart", f"{each['kind']}/{metadata['name']}", "-n", metadata["namespace"])
    times.append(ready_since(began))
    before = _running(node, namespaces)
    node.power_cut()
    began = time.perf_counter()
    node.boot()
    # until the kubelet has looked, the API server says of each pod what it was before the cut
    wait_until(lambda: not before & _running(node, namespaces), READY_SECONDS, "the containers are new ones")
    times.append(ready_since(began))
    return dict(zip(STEPS, times, strict=True))


def _running(node: KubernetesNode, namespaces: list[str]) -> set[str]:
    """The containers that run, as the API server knows it."""
    pods = (each for namespace in namespaces for each in node.get("pods", namespace))
    states = (each for pod in pods for each in pod["status"].get("containerStatuses", ()))
    return {each["containerID"] for each in states if "running" in each["state"]}


def _idle(count: int) -> list[Object]:
    container = {"name": "idle", "image": HELPER, "command": ["sleep", "infinity"]}
    # without an end of its own, it is killed: at once, so that the restart is not the wait for that
    pod = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    return [cluster.namespace(EMPTY), *(cluster.deployment(f"idle-{number}", pod) for number in range(count))]
