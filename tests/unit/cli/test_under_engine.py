"""Plain `pulumi`: what the program says when an engine runs it, and that it looks whether the cluster is there."""

import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pulumi
import pytest
from pulumi.runtime import config as runtime_config

from cli import under_engine
from tests.unit.cli.checkout import REPOSITORY, Checkout, kubeconfig
from tests.unit.cli.conftest import ApiServer

DEAD = "http://127.0.0.1:1"


class Program:
    """The program, run as an engine runs it; `kubeconfig` is where it looks for clusters."""

    def __init__(self, folder: Path) -> None:
        self.kubeconfig = folder / "kubeconfig"
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.errors: list[str] = []

    def said(self, **config: str) -> list[str]:
        """The lines of the one error that the engine is told."""
        runtime_config.set_all_config({f"flatline:{key}": value for key, value in config.items()})
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(REPOSITORY / "__main__.py"), run_name="__main__")
        assert ended.value.code == 32, "the engine would add an error of its own"
        return self.errors.pop().splitlines()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    program = Program(tmp_path)
    monkeypatch.setattr(under_engine, "_by_engine", lambda: True)
    monkeypatch.setattr(pulumi.log, "error", program.errors.append)
    monkeypatch.setenv("KUBECONFIG", str(program.kubeconfig))
    monkeypatch.setenv("PATH", str(program.programs))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    before = signal.getsignal(signal.SIGINT)
    yield program
    signal.signal(signal.SIGINT, before)
    runtime_config.set_all_config({})


def test_each_mistake_is_a_line(program: Program) -> None:
    lines = program.said(domian="example.org", exposeAdmin="maybe")
    assert sorted(lines) == [
        "flatline:domian is no known key; did you mean domain?",
        'flatline:exposeAdmin is "maybe"; write true or false',
    ]


def test_a_cluster_that_does_not_answer(program: Program) -> None:
    program.kubeconfig.write_text(kubeconfig({"mine": DEAD, "other": DEAD}, current="other"))
    named = program.said(target='{"kind": "local", "context": "mine"}')
    assert named[0] == f"cluster mine ({DEAD}) does not answer: Connection refused"
    assert program.said()[0] == f"cluster other ({DEAD}) does not answer: Connection refused"


def test_secrets_that_were_not_carried(
    program: Program, api_servers: tuple[ApiServer, ApiServer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program.kubeconfig.write_text(kubeconfig({"mine": api_servers[0].url}, current="mine"))
    monkeypatch.setattr("cli.stacks.STATE", tmp_path)
    monkeypatch.delenv("FLATLINE_SECRETS_CARRIED", raising=False)
    monkeypatch.setattr(pulumi, "get_stack", lambda: "home")
    under_engine.check_secrets()
    (tmp_path / "home.json").write_text("{}")
    assert program.said()[0].startswith("the secrets of stack home are in ")
    monkeypatch.setenv("FLATLINE_SECRETS_CARRIED", "true")
    under_engine.check_secrets()


def test_a_cluster_that_nobody_names(program: Program) -> None:
    assert program.said()[0].startswith("no cluster is named: kubeconfig (")
    program.kubeconfig.write_text(kubeconfig({"mine": DEAD}, current="gone"))
    assert program.said()[0].startswith("there is no context gone in kubeconfig")


def test_one_that_answers_and_the_one_around_a_pod(
    program: Program, api_servers: tuple[ApiServer, ApiServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    program.kubeconfig.write_text(kubeconfig({"mine": api_servers[0].url}))
    under_engine.check_cluster("mine")
    assert api_servers[0].requests == [("/version", None)]
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.43.0.1")
    under_engine.check_cluster(None)


def test_a_cluster_that_refuses_the_credentials(
    program: Program, api_servers: tuple[ApiServer, ApiServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Kubernetes provider takes it, too, for one that has not changed. kubectl can tell, where it is installed."""
    program.kubeconfig.write_text(kubeconfig({"mine": api_servers[0].url}, current="mine"))
    kubectl = program.programs / "kubectl"
    kubectl.write_text('#!/bin/sh\necho "error: You must be logged in to the server" >&2\nexit 1\n')
    kubectl.chmod(0o755)
    assert program.said() == [
        "kubectl could not read from context mine",
        "error: You must be logged in to the server",
    ]


def test_a_recording_looks_at_no_cluster(tmp_path: Path) -> None:
    checkout = Checkout.make(tmp_path, small=False)
    (checkout.home / "kubeconfig").write_text(kubeconfig({"mine": DEAD}, current="mine"))
    checkout.succeed("render", "--redact")


def test_an_interruption_is_no_traceback() -> None:
    script = (
        "import os, signal, time\n"
        "from cli import under_engine\n"
        "under_engine._by_engine = lambda: True\n"
        "with under_engine.mistakes_as_lines():\n    pass\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "time.sleep(60)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "")
