"""What pods ask for and may take: the heaps of Java, what a killed one leaves, and whether a small machine has room."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest

from tests.graph.stack import Object, Pod, Stack, configuration, flags, load, recorded
from tests.graph.test_cloud_stack import VARIANTS, changed
from tests.graph.test_hardening import replicas
from tests.graph.test_operation import mebibytes, memory, servers, variables

REST = {"whisper": 385, "whisper-persister": 260, "storage": 125, "registration": 385}
"""MiB outside of the heap, as measured; registration's is an assumption. Clean-ups are the persister's program."""

USED_PERCENT = 90

OPTIONS = {
    "exposeAdmin": "true",
    "turn": '{"host": "turn.example.org", "tlsPort": 5349}',
    "scaling": '{"whisper": {"replicas": 2, "maxReplicas": 4}, "storage": {"maxReplicas": 3}, "cdn0": {"replicas": 2}}',
    "redis": '{"masters": 4, "replicasPerMaster": 2, "memory": "1Gi"}',
}
"""Settings of a local stack that change what its pods need."""

STACKS = ("dev", "dev with options", *(f"prod {name}" for name in VARIANTS))


@cache
def _stack(name: str) -> Stack:
    if name == "dev":
        return load("dev")
    if name == "dev with options":
        options = {f"flatline:{key}": value for key, value in OPTIONS.items()}
        return Stack(recorded({**configuration("dev"), **options}))
    return Stack(recorded(changed(VARIANTS[name.removeprefix("prod ")]), stack="prod"))


@pytest.fixture(params=STACKS)
def any_stack(request: pytest.FixtureRequest) -> Stack:
    """Every stack of the repository, and variants with other settings."""
    return _stack(request.param)


def java(stack: Stack) -> Iterator[tuple[Pod, Object]]:
    """The containers whose image is a Java service's."""
    for pod in stack.pods():
        for container in pod.containers():
            if re.search(r"flatline-(whisper|storage|registration)-service[:@]", container["image"]):
                yield pod, container


def heap(container: Object) -> int:
    """The largest heap in MiB, as `java` reads its options: variables around the arguments, the last word counts."""
    given = variables(container)
    words = [
        *given.get("JAVA_TOOL_OPTIONS", "").split(),
        *container.get("command", ()),
        *container.get("args", ()),
        *given.get("_JAVA_OPTIONS", "").split(),
    ]
    sizes = [mebibytes(f"{word[4:-1]}{word[-1].upper()}i") for word in words if re.fullmatch(r"-Xmx\d+[mg]", word)]
    shares = [int(word.partition("=")[2]) for word in words if word.startswith("-XX:MaxRAMPercentage=")]
    assert "-XX:+ExitOnOutOfMemoryError" in words
    return sizes[-1] if sizes else shares[-1] * memory(container) // 100


def rest(pod: Pod) -> int:
    name = pod.labels["app.kubernetes.io/name"]
    return REST["whisper-persister"] if pod.owner["kind"] == "CronJob" else REST[name]


def is_killed(pod: Pod, container: Object) -> bool:
    """Whether its heap may grow until the kernel ends it."""
    return (heap(container) + rest(pod)) * 100 > USED_PERCENT * memory(container)


def test_no_java_service_is_killed_by_its_own_heap(any_stack: Stack) -> None:
    found = list(java(any_stack))
    assert len(found) >= 9
    assert [pod.name for pod, container in found if is_killed(pod, container)] == []


def test_the_sizes_that_were_killed_are_found() -> None:
    """75 % of 1536 MiB, with which Whisper was killed in three runs of three."""
    ((pod, container),) = [(p, c) for p, c in java(load("dev")) if p.name == "Deployment/whisper"]
    before = deepcopy(container)
    before["command"] = [word for word in before["command"] if not word.startswith("-Xmx")]
    before["command"].insert(4, "-XX:MaxRAMPercentage=75")
    before["resources"]["limits"]["memory"] = "1536Mi"
    assert heap(before) == 1152
    assert is_killed(pod, before)
    before["command"][4] = "-XX:MaxRAMPercentage=60"
    assert not is_killed(pod, before)


def test_the_collector_is_the_one_that_was_measured(any_stack: Stack) -> None:
    for _, container in java(any_stack):
        assert "-XX:+UseSerialGC" in container["command"]


def test_a_busy_service_requests_what_it_may_take() -> None:
    """Where the number of pods follows their load, each has much to do; requests at rest would overbook the nodes."""
    for name in ("whisper", "storage"):
        (container,) = load("prod").pod(name).spec["containers"]
        requested = mebibytes(container["resources"]["requests"]["memory"])
        assert heap(container) + REST[name] <= requested <= memory(container)


# --- what a kill leaves -----------------------------------------------------------------------------------


def test_java_clears_what_a_killed_one_left_behind(any_stack: Stack, tmp_path: Path) -> None:
    """The volume of /tmp outlives the container, and each start puts up to 124 MiB into it."""
    for pod, container in java(any_stack):
        assert "/tmp" in {m["mountPath"] for m in container["volumeMounts"]}, pod.name
        assert container["command"][:2] == ["sh", "-c"], pod.name
    scripts = {container["command"][2] for _, container in java(any_stack)}
    for i, script in enumerate(sorted(scripts)):
        folder = tmp_path / str(i)
        (folder / "libsignal_jni123").mkdir(parents=True)
        (folder / "libsignal_jni123" / "libsignal_jni.so").write_text("code")
        (folder / ".hidden").write_text("code")
        tools = folder.parent / f"{i}-tools"
        tools.mkdir()
        (tools / "getent").write_text("#!/bin/sh\necho 192.0.2.1 STREAM\n")
        (tools / "getent").chmod(0o755)
        look = ("ls", "-A", str(folder))
        shell = shutil.which("sh") or "sh"
        done = subprocess.run(
            [shell, "-c", script.replace("/tmp", str(folder)), "start-java", *look],
            env={"PATH": f"{tools}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "", "the command runs, and finds nothing"


# --- what a small machine has room for --------------------------------------------------------------------

Request = tuple[int, int]
"""Thousandths of a core, and MiB."""

STACK: Request = (1000, 3072)
NODE: Request = (2000, 3900)
"""What k3s leaves to pods of two cores and 4 GiB."""

K3S: Request = (200, 140)
"""CoreDNS and metrics-server; Traefik and the volume provisioner request nothing."""


def requested(pod: Pod) -> Request:
    """As the scheduler counts: all containers together, or the largest of those that run before them."""
    before = [_request(container) for container in pod.spec.get("initContainers", ())]
    together = [_request(container) for container in pod.spec["containers"]]
    assert not any("restartPolicy" in container for container in pod.spec.get("initContainers", ())), "none stays"
    cores, mib = (max(sum(r[i] for r in together), *(r[i] for r in before), 0) for i in (0, 1))
    return cores, mib


def _request(container: Object) -> Request:
    requests = container["resources"]["requests"]
    assert requests["cpu"].endswith("m")
    return int(requests["cpu"][:-1]), mebibytes(requests["memory"])


def steady(stack: Stack) -> Request:
    """Everything that always runs. What ends (seeds, clean-ups) is counted on top of it, one at a time."""
    counted = [(replicas(stack, pod.owner), requested(pod)) for pod in servers(stack)]
    return sum(n * r[0] for n, r in counted), sum(n * r[1] for n, r in counted)


def test_the_default_stack_asks_for_one_core_and_three_gibibytes() -> None:
    cores, mib = steady(load("dev"))
    assert cores <= STACK[0]
    assert mib <= STACK[1]


def test_any_one_more_pod_fits_beside_it_on_a_node_of_two_cores_and_four_gibibytes() -> None:
    """A clean-up, a seed, or the second pod of a Deployment that rolls."""
    stack = load("dev")
    always = steady(stack)
    for pod in stack.pods():
        for used, beside, more, there in zip(always, K3S, requested(pod), NODE, strict=True):
            assert used + beside + more <= there, pod.name


def test_a_local_redis_cluster_has_three_masters_alone_and_a_cloud_s_has_replicas() -> None:
    assert load("dev").get("StatefulSet", "redis")["spec"]["replicas"] == 3
    in_cloud = _stack("prod web identity")
    assert in_cloud.get("StatefulSet", "redis")["spec"]["replicas"] == 6
    asked = _stack("dev with options")
    assert asked.get("StatefulSet", "redis")["spec"]["replicas"] == 12
    for stack in (load("dev"), in_cloud, asked):
        nodes = stack.get("StatefulSet", "redis")["spec"]["replicas"]
        (membership,) = stack.pod("redis-membership").spec["containers"]
        given = flags(membership)
        assert int(given["masters"]) * (1 + int(given["replicas-per-master"])) == nodes
