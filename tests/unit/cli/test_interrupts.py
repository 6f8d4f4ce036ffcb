"""A signal in the middle of `up`: one line, the shell's exit status, and neither lock nor plugin stays behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.graph.stack import ROOT
from tests.lab.process import wait_until
from tests.unit.cli.checkout import Checkout
from tests.unit.cli.conftest import Clusters


class Deployment:
    """A running `up` whose engine waits."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        assert process.stdout is not None
        words: list[str] = []
        while words[:1] != ["waiting"]:
            line = process.stdout.readline()
            assert line, "it ended before the engine waited"
            words = line.split()
        self.cli, self.plugin = int(words[1]), int(words[2])

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def ctrl_c(self) -> None:
        os.killpg(self._process.pid, signal.SIGINT)

    def line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, self.end()
        return line

    def end(self) -> tuple[int, str, str]:
        out, error = self._process.communicate(timeout=60)
        return self._process.returncode, out, error


@contextmanager
def deploying(checkout: Checkout, waits: str) -> Iterator[Deployment]:
    environment = checkout.environment(FAKE_PULUMI_WAITS=waits, FLATLINE_ENTERED=str(checkout.root))
    process = subprocess.Popen(
        [sys.executable, str(checkout.root / "flatline"), "up", "--context", "mine", "--yes"],
        cwd=checkout.root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    started: list[int] = []
    try:
        deployment = Deployment(process)
        started += [deployment.cli, deployment.plugin]
        yield deployment
    finally:
        process.kill()
        process.communicate()
        for pid in filter(alive, started):
            os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_engine_in_order(checkout: Checkout, engine: Path, number: int, status: int) -> None:
    with deploying(checkout, "for one signal") as deployment:
        deployment.send(number)
        ended, out, error = deployment.end()
    assert ended == status
    assert out.count("cancelling") == 1
    assert "Traceback" not in out + error
    lines = [line for line in error.splitlines() if line.startswith(("interrupted", "error: "))]
    assert lines == [
        "error: update canceled",
        "interrupted: Pulumi has ended what was under way and keeps no lock; the same command goes on",
    ]
    assert not alive(deployment.cli)
    assert not alive(deployment.plugin)
    assert not list((checkout.root / "state" / "pulumi" / ".pulumi" / "locks").rglob("*.json"))


def test_ctrl_c_at_a_terminal_reaches_the_engine_once(checkout: Checkout, engine: Path) -> None:
    """The terminal sends it to the whole group; the engine takes a second one for the wish to stop at once."""
    with deploying(checkout, "for ever") as deployment:
        assert os.getsid(deployment.cli) == deployment.cli, "it hears of Ctrl-C from the terminal too"
        deployment.ctrl_c()
        assert deployment.line() == "cancelling"
        assert alive(deployment.cli)


def test_the_third_signal_kills_an_engine_that_hangs_and_its_plugins(checkout: Checkout, engine: Path) -> None:
    with deploying(checkout, "for ever") as deployment:
        for _ in range(2):
            deployment.send(signal.SIGINT)
            assert deployment.line() == "cancelling"
        deployment.send(signal.SIGINT)
        status, out, error = deployment.end()
    assert status == 130
    assert "Traceback" not in out + error
    assert "interrupted: Pulumi was killed; the next run finds its lock and offers to clear it" in error
    assert not alive(deployment.plugin)


def test_an_engine_that_dies_leaves_no_plugin(checkout: Checkout, engine: Path) -> None:
    with deploying(checkout, "for ever") as deployment:
        os.kill(deployment.cli, signal.SIGKILL)
        status, _, error = deployment.end()
    assert status == 1
    assert "error: pulumi up failed" in error
    wait_until(lambda: not alive(deployment.plugin), 10, "the plugin's end")


def test_a_signal_outside_of_the_engine_is_one_line_too(checkout: Checkout, clusters: Clusters) -> None:
    checkout.program("pulumi", "print('v3.272.0')")
    waiting = checkout.home / "waiting"
    checkout.program("kubectl", f"open({str(waiting)!r}, 'w').close()\nimport time\ntime.sleep(300)")
    checkout.succeed("up")
    process = subprocess.Popen(
        [sys.executable, str(checkout.root / "flatline"), "status", "--context", "mine"],
        cwd=checkout.root,
        env=checkout.environment(FLATLINE_ENTERED=str(checkout.root)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(waiting.exists, 60, "kubectl")
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error.splitlines()[-1]) == (143, "interrupted")


def test_a_signal_inside_a_destructor_ends_the_command() -> None:
    """Python prints and ignores what a destructor raises, a signal's handler in the middle of one too."""
    program = """
import signal, sys, time, types
from cli.__main__ import main

class Closing:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

def run(arguments, terminal):
    Closing()
    time.sleep(300)
    return 0

sys.modules["cli.commands.status"] = types.SimpleNamespace(run=run)
sys.exit(main(["status"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "interrupted\n")
