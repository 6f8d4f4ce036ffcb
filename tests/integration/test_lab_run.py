"""The launcher of the integration tests: its private network, its preparations, and nothing left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.private_network import can_enter
from tests.lab.process import wait_until
from tests.lab.run import preparations, prepare

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def launch(tmp_path: Path) -> Callable[[str], "subprocess.CompletedProcess[str]"]:
    """Runs the body of one test by the launcher, inside a namespace of its own."""
    if reason := can_enter():
        pytest.skip(reason)

    def run(body: str) -> "subprocess.CompletedProcess[str]":
        command = _launcher(tmp_path, body)
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)

    return run


def _launcher(folder: Path, body: str) -> list[str]:
    """The command that runs the body of one test."""
    file = folder / "test_inside.py"
    file.write_text("def test_inside():\n" + textwrap.indent(textwrap.dedent(body), "    "))
    options = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", f"--rootdir={folder}"]
    return [sys.executable, "-m", "tests.lab.run", "--no-fetch", *options, str(file)]


def test_the_addresses_of_pods_and_of_the_internets_side_are_local(
    launch: Callable[[str], "subprocess.CompletedProcess[str]"],
) -> None:
    done = launch("""
        import socket
        from tests.lab.namespace import why_not_private
        assert why_not_private() == ""
        assert [name for _, name in socket.if_nameindex() if name != "lo" and name[:3] in ("eth", "ens")] == []
        for address, port in (("10.244.77.9", 443), ("10.244.255.254", 80), ("203.0.113.9", 443), ("127.9.9.9", 80)):
            with socket.create_server((address, port)), socket.create_connection((address, port), 2):
                pass
        with socket.create_server(("10.244.1.2", 80)) as server:
            with socket.create_connection(("10.244.1.2", 80), 2, source_address=("203.0.113.200", 0)):
                assert server.accept()[1][0] == "203.0.113.200"
        try:
            socket.create_connection(("192.0.2.1", 80), 2)
        except OSError as error:
            assert "unreachable" in str(error)
        else:
            raise AssertionError("reached the outside")
    """)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_process_left_behind_is_ended_and_fails_the_run(
    launch: Callable[[str], "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    done = launch(f"""
        import subprocess
        left = subprocess.Popen(["sleep", "77"], start_new_session=True)
        open({str(tmp_path / "pid")!r}, "w").write(str(left.pid))
    """)
    assert done.returncode == 1
    assert "lab: left behind, ended now: sleep 77" in done.stdout
    deadline = time.monotonic() + 5
    while Path(f"/proc/{(tmp_path / 'pid').read_text()}/cmdline").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}/cmdline").exists()


def test_nothing_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    """With all of its processes but those that have a session of their own, as servers have."""
    if reason := can_enter():
        pytest.skip(reason)
    pid = tmp_path / "pid"
    command = _launcher(
        tmp_path,
        f"""
        import subprocess, time
        left = subprocess.Popen(["sleep", "77"], start_new_session=True)
        open({str(pid)!r}, "w").write(f"{{left.pid}}\\n")
        time.sleep(60)
        """,
    )
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True) as run:
        wait_until(lambda: pid.exists() and pid.read_text().endswith("\n"), 60, "the test runs")
        server = Path("/proc", pid.read_text().strip(), "cmdline")
        assert server.read_text().startswith("sleep")
        os.killpg(run.pid, signal.SIGKILL)
    wait_until(lambda: not server.exists() or not server.read_text(), 20, "the end of what it had started")


def test_pytests_status_is_the_launchers(launch: Callable[[str], "subprocess.CompletedProcess[str]"]) -> None:
    assert launch("assert 1 == 1").returncode == 0
    failed = launch("assert 1 == 2")
    assert failed.returncode == 1
    assert "left behind" not in failed.stdout


def test_every_server_of_the_lab_is_prepared() -> None:
    assert {"kubernetes", "otel", "traefik", "traefik_crds"} <= set(preparations())


def test_a_failed_preparation_is_named_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    done: list[str] = []

    def fail() -> None:
        raise RuntimeError("no such module")

    assert prepare({"first": fail, "second": lambda: done.append("second")}) == {"first": "no such module"}
    assert done == ["second"]
    printed = capsys.readouterr().out
    assert "lab: first: no such module" in printed
    assert "lab: prepared 1 of 2" in printed
