"""No cluster is touched that was not named."""

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.cli import pulumi_backend
from tests.unit.cli.checkout import Checkout, calls
from tests.unit.cli.conftest import Clusters

COMMANDS = (
    ("up",),
    ("up", "--yes"),
    ("preview",),
    ("status",),
    ("down",),
    ("down", "--yes"),
    ("render",),
    ("outputs",),
    ("stack", "list"),
)


@pytest.fixture
def kubectl(brought_up: Checkout, clusters: Clusters) -> Path:
    """kubectl and pulumi on the PATH: nothing is missing to reach a cluster but its name."""
    pulumi_backend.put(brought_up)
    return brought_up.program(
        "kubectl", "record(arguments=sys.argv[1:])\nprint('{\"items\": []}' if 'json' in sys.argv else 'done')"
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_a_name_nothing_is_touched(
    brought_up: Checkout, clusters: Clusters, kubectl: Path, command: tuple[str, ...]
) -> None:
    brought_up.succeed(*command)
    assert calls(kubectl) == []
    assert clusters.mine.requests == clusters.other.requests == []


@pytest.mark.parametrize("command", [each for each in COMMANDS[:6] if each != ("down",)], ids=" ".join)
def test_only_the_named_one_is_touched(
    brought_up: Checkout, clusters: Clusters, kubectl: Path, command: tuple[str, ...]
) -> None:
    brought_up.succeed(*command, "--context", "mine", FAKE_PULUMI_EMPTY_CLUSTER="1")
    assert all(call["arguments"][:2] == ["--context", "mine"] for call in calls(kubectl))
    assert clusters.other.requests == []


@pytest.mark.parametrize("command", [("up",), ("up", "--engine", "pulumi"), ("status",), ("down",)], ids=" ".join)
def test_an_unknown_context_is_an_error_that_names_the_known(
    checkout: Checkout, clusters: Clusters, command: tuple[str, ...]
) -> None:
    if command[0] != "up":
        checkout.succeed("up")
    said = (
        checkout.fail(*command, "--yes", "--context", "mien")
        if command[0] != "status"
        else checkout.fail(*command, "--context", "mien")
    )
    assert "mien" in said
    assert "mine, other" in said
    assert clusters.mine.requests == clusters.other.requests == []


def test_two_names_for_one_cluster(checkout: Checkout, clusters: Clusters) -> None:
    checkout.configure({"target": {"kind": "local", "context": "mine"}})
    said = checkout.fail("up", "--context", "other", "--yes")
    assert "--context names other" in said
    assert "Pulumi.dev.yaml names mine" in said
    assert clusters.mine.requests == clusters.other.requests == []


def test_a_name_without_agreement_renders(checkout: Checkout, clusters: Clusters) -> None:
    said = checkout.succeed("up", "--context", "mine")
    assert "no terminal to agree on and no --yes" in said
    assert "kubectl --context mine apply" in said
    assert clusters.mine.requests == []


def test_a_cluster_that_does_not_answer(checkout: Checkout, clusters: Clusters) -> None:
    (checkout.home / "kubeconfig").write_text(clusters.text.replace(clusters.mine.url, "http://127.0.0.1:1"))
    said = checkout.succeed("up", "--context", "mine", "--yes")
    assert "cluster mine does not answer: Connection refused" in said
    assert checkout.build().is_dir()
    over = ("--start-over", "dev", "--engine", "pulumi")
    assert "Connection refused" in checkout.fail("up", "--context", "mine", "--yes", *over)


def test_whether_it_answers_is_asked_without_credentials(checkout: Checkout, clusters: Clusters) -> None:
    said = checkout.succeed("up", "--context", "mine", "--yes")
    assert f"cluster: context mine ({clusters.mine.url}) answers" in said
    assert "rendering: there is no Pulumi CLI on the PATH, and Pulumi could not be fetched" in said
    assert clusters.mine.requests == [("/version", None)]
    assert clusters.other.requests == []


def test_on_a_terminal_the_name_is_asked_for(checkout: Checkout, clusters: Clusters) -> None:
    # --yes agrees to nothing on a cluster that neither an option nor the configuration names.
    shown = answer(checkout, ("up", "--yes"), {"Type the name": "mine", "Fetch it": "n"})
    assert "kubeconfig knows: mine, other" in shown
    assert "context mine" in shown
    assert "kubectl --context mine apply" in shown
    assert clusters.mine.requests == [("/version", None)]
    assert clusters.other.requests == []


def test_on_a_terminal_silence_names_none(checkout: Checkout, clusters: Clusters) -> None:
    shown = answer(checkout, ("up", "--yes"), {"Type the name": ""})
    assert "no cluster is named" in shown
    assert clusters.mine.requests == clusters.other.requests == []


def answer(checkout: Checkout, command: tuple[str, ...], answers: dict[str, str]) -> str:
    """What a command shows on a terminal of 80 columns while its questions are answered; it must succeed."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(checkout.root / "flatline"), *command],
        cwd=checkout.root,
        env=checkout.environment(TERM="xterm", COLUMNS="80", NO_COLOR="1"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    shown, left, deadline = "", dict(answers), time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([master], [], [], 0.2)[0]:
            try:
                shown += os.read(master, 65536).decode()
            except OSError:
                break
        for question in [question for question in left if question in shown]:
            os.write(master, (left.pop(question) + "\n").encode())
    os.close(master)
    assert process.wait(timeout=10) == 0, shown
    assert not left, f"never asked: {left}"
    return shown.replace("\r\n", "\n")
