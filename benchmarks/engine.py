"""Deploying stack dev with the Pulumi engine, against a program that makes as many ConfigMaps.

Both run with the same CLI and plugins on a new cluster of tests/lab with simulated nodes for every round, in turn: once
from nothing, then without changes, then as a preview. The random and tls providers are the tests' own.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import cluster
from benchmarks.sample import Ratio, by_step
from tests.integration.engine import Engine
from tests.lab import engine, traefik_crds
from tests.lab.kubernetes import Kubernetes

UP = ("up", "--yes", "--skip-preview")
STEPS = {"up, from nothing": UP, "up, nothing changed": UP, "preview, nothing changed": ("preview",)}
MINIMUM = """\
import pulumi
from pulumi_kubernetes import Provider
from pulumi_kubernetes.core.v1 import ConfigMap

own = pulumi.ResourceOptions(provider=Provider("kubernetes"))
for number in range({count}):
    ConfigMap(f"empty-{{number}}", metadata={{"namespace": "default"}}, opts=own)
"""


def prepare() -> None:
    """Builds and fetches the servers and the engine, where there is a network. Raises `Missing`."""
    cluster.prepare()
    engine.prepare()


def ratios(rounds: int) -> list[Ratio]:
    """Measures in the private network namespace that this process is in."""
    with tempfile.TemporaryDirectory() as scratch:
        taken = [_round(Path(scratch) / str(number), ours_first=number % 2 == 0) for number in range(rounds)]
    return by_step("stack dev by the engine", "as many ConfigMaps", taken)


def _round(folder: Path, *, ours_first: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of every step, of stack dev and of the minimum."""
    with Kubernetes(folder / "cluster") as server:
        server.apply(traefik_crds.crds())
        stack, minimum = (Engine(folder / name, server, forked=False) for name in ("stack", "minimum"))
        with stack, minimum:
            stack.run("preview", "--stack", "dev")  # the plugins are in memory, and the number of resources is known
            count = len(json.loads(stack.run("preview", "--stack", "dev", "--json"))["steps"])
            (minimum.checkout / "__main__.py").write_text(MINIMUM.format(count=count))
            parts: dict[str, Callable[[], dict[str, float]]] = {
                "stack": lambda: _steps(stack),
                "minimum": lambda: _steps(minimum),
            }
            times = {name: parts[name]() for name in (list(parts) if ours_first else list(reversed(parts)))}
    return times["stack"], times["minimum"]


def _steps(made: Engine) -> dict[str, float]:
    times = {}
    for step, words in STEPS.items():
        began = time.perf_counter()
        made.run(*words, "--stack", "dev")
        times[step] = time.perf_counter() - began
    return times
