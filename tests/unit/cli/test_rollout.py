"""What keeps pods from running is said while a deployment waits."""

import json
import os
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli import rollout
from cli.rollout import GONE_LOOKS, PATIENCE_LOOKS, Watch, problems
from cli.terminal import Terminal
from tests.lab.process import wait_until

SINCE = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
Object = dict[str, Any]


def pod(name: str = "whisper-1", *, conditions: Iterable[Object] = (), **container: Any) -> Object:
    status: Object = {"phase": "Pending", "conditions": list(conditions)}
    if container:
        status["containerStatuses"] = [{"name": "whisper", "image": "reg/whisper:main", "restartCount": 0, **container}]
    return {"kind": "Pod", "metadata": {"namespace": "flatline", "name": name}, "status": status}


def event(reason: str, message: str, *, kind: str = "Pod", name: str = "whisper-1", at: str = "12:01") -> Object:
    return {
        "kind": "Event",
        "reason": reason,
        "message": message,
        "lastTimestamp": f"2026-11-29T{at}:00Z",
        "involvedObject": {"kind": kind, "namespace": "flatline", "name": name},
    }


def waiting(reason: str, message: str = "") -> Object:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No victims.",
}
READY = {"type": "Ready", "status": "True"}


@pytest.mark.parametrize(
    ("items", "line"),
    [
        (
            [pod(conditions=[UNSCHEDULABLE])],
            "pod flatline/whisper-1: cannot be scheduled: 0/1 nodes are available: 1 Insufficient cpu.",
        ),
        (
            [pod(**waiting("ImagePullBackOff", "Back-off pulling image"))],
            "pod flatline/whisper-1: image reg/whisper:main cannot be pulled: Back-off pulling image",
        ),
        (
            [pod(**waiting("ErrImageNeverPull"))],
            "pod flatline/whisper-1: image reg/whisper:main cannot be pulled: ErrImageNeverPull",
        ),
        (
            [pod(**waiting("CreateContainerConfigError", 'secret "key" not found'))],
            'pod flatline/whisper-1: container whisper cannot start: secret "key" not found',
        ),
        (
            [
                pod(
                    **waiting("CrashLoopBackOff", "back-off 40s"),
                    restartCount=3,
                    lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "first\nlast\n"}},
                )
            ],
            "pod flatline/whisper-1: container whisper has ended 3 times, the last time with 137 (OOMKilled): last",
        ),
        (
            [pod(**waiting("ContainerCreating")), event("FailedMount", 'MountVolume.SetUp failed:\n "x" not found')],
            'pod flatline/whisper-1: MountVolume.SetUp failed: "x" not found',
        ),
        (
            [event("FailedCreate", "violates PodSecurity", kind="ReplicaSet", name="whisper")],
            "replicaset flatline/whisper: violates PodSecurity",
        ),
    ],
)
def test_what_keeps_a_pod_from_running_is_named_with_its_reason(items: list[Object], line: str) -> None:
    assert list(problems(items, SINCE).values()) == [line]


@pytest.mark.parametrize(
    "items",
    [
        [pod(**waiting("ContainerCreating"))],
        [pod(state={"running": {}})],
        [pod(**waiting("ContainerCreating")), event("FailedMount", "of an earlier run", at="11:59")],
        [pod(conditions=[READY]), event("FailedMount", "it came in the end")],
        [event("Scheduled", "assigned"), event("Unhealthy", "a probe failed")],
    ],
)
def test_what_is_ordinary_is_not_named(items: list[Object]) -> None:
    assert problems(items, SINCE) == {}


def test_a_long_message_is_one_line_of_some_length() -> None:
    (line,) = problems([pod(**waiting("CreateContainerError", "word\n" * 400))], SINCE).values()
    assert "\n" not in line
    assert len(line) < 400


def test_a_problem_is_said_once_when_it_has_lasted_and_again_when_it_comes_back() -> None:
    watch = Watch()
    lasting = [watch.look({"a": "line"}) for _ in range(2 * PATIENCE_LOOKS)]
    assert lasting == [*[[]] * (PATIENCE_LOOKS - 1), ["line"], *[[]] * PATIENCE_LOOKS]
    assert [watch.look({}) for _ in range(GONE_LOOKS)] == [[]] * GONE_LOOKS
    assert [watch.look({"a": "line"}) for _ in range(PATIENCE_LOOKS)][-1] == ["line"]


def test_a_container_that_ends_again_and_again_is_one_problem_whatever_a_look_sees() -> None:
    """Its status changes at every attempt, and while it runs there is nothing to see."""
    ended = {"terminated": {"exitCode": 1, "reason": "Error"}}
    seen = [
        [pod(**waiting("RunContainerError", "exec: java: not found"))],
        [pod(state=ended)],
        [pod(state={"running": {}}, restartCount=1)],
        [pod(**waiting("CrashLoopBackOff"), restartCount=2, lastState=ended)],
        [pod(state=ended, restartCount=3)],
        [pod(**waiting("CrashLoopBackOff"), restartCount=4, lastState=ended)],
    ]
    watch = Watch()
    said = [watch.look(problems(items, SINCE)) for items in seen]
    line = "pod flatline/whisper-1: container whisper has ended 2 times, the last time with 1"
    assert said == [[], [], [], [line], [], []]


class Said(Terminal):
    """Collects what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.enough = threading.Event()

    def warn(self, text: str) -> None:
        self.lines.append(text)
        self.enough.set()

    note = warn


def watch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, *, looks: int = 0) -> list[str]:
    """What is said while a deployment waits, with a kubectl that is `program`, after the first line and some looks."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f"#!/bin/sh\necho >>{tmp_path}/looks\n{program}\n")
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(rollout, "LOOK_SECONDS", 0.01)
    said = Said()
    with rollout.watched("home", ["flatline", "flatline-emulators"], SINCE, said):
        assert said.enough.wait(30)
        wait_until(lambda: len((tmp_path / "looks").read_text()) > looks, 30, "enough looks")
    return said.lines


def test_a_deployment_that_waits_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "answer").write_text(json.dumps({"items": [pod(conditions=[UNSCHEDULABLE])]}))
    (tmp_path / "nothing").write_text(json.dumps({"items": []}))
    asked = "--context home -n flatline get pods,events "
    program = f'case "$*" in "{asked}"*) cat {tmp_path}/answer;; *) cat {tmp_path}/nothing;; esac'
    (line,) = watch(monkeypatch, tmp_path, program)
    assert line == "pod flatline/whisper-1: cannot be scheduled: 0/1 nodes are available: 1 Insufficient cpu."


def test_a_cluster_that_cannot_be_asked_is_said_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = watch(monkeypatch, tmp_path, "echo forbidden >&2; exit 1", looks=4)
    assert lines == ["Pods that cannot run are not named while this waits: kubectl could not read from context home."]


def test_within_half_a_minute() -> None:
    assert rollout.LOOK_SECONDS * (PATIENCE_LOOKS + 1) <= 30
