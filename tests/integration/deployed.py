"""The rendered local stack, for tests that put it on a real API server."""

import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from render import manifests
from render.model import Recording
from render.recorder import record
from render.values import SeededValues
from tests.graph.stack import PROJECT, Stack, configuration, program
from tests.lab.echo import Echo
from tests.lab.kubernetes import Kubernetes
from tests.lab.kubernetes_client import Changes, Client, Source

Object = dict[str, Any]

TODAY = datetime.now(UTC)
NAMESPACES = ("flatline", "flatline-emulators")
PUBLIC = {"whisper": (8080,), "storage": (10080,), "cdn3": (8080, 8084), "cdn0-gate": (8080,)}
"""Pods that the proxy reaches, with their ports."""


def rendered(folder: Path, **settings: str) -> tuple[Path, Recording]:
    """The manifests of stack dev with some settings, in a folder; its certificates are good today."""
    config: Mapping[str, str] = {**configuration("dev"), **{f"flatline:{key}": text for key, text in settings.items()}}
    values = SeededValues("integration", start=TODAY)
    recording = record(program, project=PROJECT, stack="dev", config=config, values=values)
    manifests.write(recording, folder)
    return folder, recording


def deploy(cluster: Kubernetes, source: Source) -> Changes:
    """Applies a rendered folder, or objects, and waits until all of it is ready; what applying it changed."""
    changes = cluster.apply(source)
    for namespace in NAMESPACES:
        cluster.wait_ready(120, namespace)
    return changes


def printed_commands(said: str) -> list[str]:
    """The commands that `./flatline up` ends with."""
    return [line.strip() for line in said.splitlines() if line.startswith("  kubectl ")]


def typed(commands: Iterable[str], *, cwd: Path, environment: Mapping[str, str], prefix: Sequence[str] = ()) -> None:
    """Runs commands as a person would: by copying them into a shell."""
    for command in commands:
        words = [*prefix, "/bin/sh", "-c", command]
        done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def rolled_out(cluster: Client) -> bool:
    """Whether every workload runs as it was last applied, with all of its pods and no others."""
    for each in (each for namespace in NAMESPACES for each in cluster.get("deployments,statefulsets", namespace)):
        status, wanted = each["status"], each["spec"]["replicas"]
        counts = [status.get(key, 0) for key in ("updatedReplicas", "readyReplicas", "replicas")]
        if status["observedGeneration"] != each["metadata"]["generation"] or counts != [wanted] * 3:
            return False
        if status.get("currentRevision") != status.get("updateRevision"):
            return False
    return True


def labels(name: str) -> dict[str, str]:
    """The label that finds the pods of a workload."""
    return {"app.kubernetes.io/name": name}


def reached_at(cluster: Kubernetes, name: str) -> list[str]:
    """Where the proxy sends what is for a workload: to its pods, or to its Service where the route says so.

    No kube-proxy runs here, so whoever plays the pods listens on the Service's address as well.
    """
    routes = (each for found in cluster.get("ingressroutes", "flatline") for each in found["spec"]["routes"])
    native = {service["name"] for route in routes for service in route["services"] if service.get("nativeLB")}
    if name in native:
        (service,) = (each for each in cluster.get("services", "flatline") if each["metadata"]["name"] == name)
        return [str(service["spec"]["clusterIP"])]
    return cluster.pod_ips("flatline", labels(name))


@contextmanager
def backends(cluster: Kubernetes) -> Iterator[dict[str, str]]:
    """Echoing servers on all addresses that the proxy reaches; yields `address:port` → workload's name."""
    found: dict[str, str] = {}
    with ExitStack() as running:
        for name, ports in PUBLIC.items():
            for address in reached_at(cluster, name):
                for port in ports:
                    running.enter_context(Echo(address, port))
                    found[f"{address}:{port}"] = name
        yield found


def stack(recording: Recording) -> Stack:
    """A recording, for questions."""
    return Stack(recording)
