"""Processes of the lab are waited for, explained when they fail, and always ended with their children."""

import http.client
import itertools
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab.echo import Echo
from tests.lab.process import EndedError, Process, free_ports, listening, slowness, wait_until

ROOT = Path(__file__).parents[2]
SERVE = "import http.server, sys; http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), None).serve_forever()"
LAB = ROOT / "tests" / "lab"
PROGRAMS = ("__main__", "java")  # they run where they are imported
MODULES = sorted(
    path for folder in (LAB, LAB / "services") for path in folder.glob("*.py") if path.stem not in PROGRAMS
)
STUBBORN = """
import os, signal, sys, time
if os.fork() == 0:
    print(os.getpid(), flush=True)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(60)
"""


def _alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_is_ready_when_it_listens_and_ends_with_the_context(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    assert not listening("127.0.0.1", port)
    with Process("web", [sys.executable, "-c", SERVE, str(port)], tmp_path) as server:
        server.wait_ready(lambda: listening("127.0.0.1", port))
        assert server.running()
    assert not server.running()
    assert not listening("127.0.0.1", port)


def test_one_that_ends_before_it_is_ready_is_explained_by_its_log(tmp_path: Path) -> None:
    server = Process("web", [sys.executable, "-c", "print('no such port'); raise SystemExit(3)"], tmp_path)
    with pytest.raises(EndedError, match="web ended with 3\nno such port"):
        server.wait_ready(lambda: False)


def test_one_that_never_gets_ready_is_stopped(tmp_path: Path) -> None:
    server = Process("web", ["sleep", "60"], tmp_path)
    with pytest.raises(EndedError, match=r"web ready: not within 0\.2 s"):
        server.wait_ready(lambda: False, seconds=0.2)
    assert not server.running()


@pytest.mark.parametrize(("load", "expected"), [(0.1, 1), (2.0, 1), (5.0, 2.5), (16.0, 8), (400.0, 8)])
def test_a_busy_machine_is_waited_for_longer(monkeypatch: pytest.MonkeyPatch, load: float, expected: float) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1})
    assert slowness() == expected
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"never: not within 0\.1 s"):
        wait_until(lambda: False, 0.1, "never")
    assert time.monotonic() - began > 0.1 * expected


def test_a_stubborn_one_is_killed_with_its_children(tmp_path: Path) -> None:
    server = Process("stubborn", [sys.executable, "-c", STUBBORN], tmp_path)
    server.wait_ready(lambda: server.text().endswith("\n"))
    child = int(server.text())
    assert _alive(child)
    began = time.monotonic()
    server.stop(grace_seconds=0.2)
    assert time.monotonic() - began < 5
    wait_until(lambda: not _alive(child), 5, "child ended")
    server.stop()


def test_it_sees_nothing_of_the_surroundings_but_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1")
    program = "import os; print(*sorted(f'{key}={value}' for key, value in os.environ.items()), sep='\\n')"
    command = [sys.executable, "-E", "-c", program]
    with Process("show", command, tmp_path, environment={"LANG": "C.UTF-8"}) as process:
        assert process.wait(10) == 0
    shown = dict(line.split("=", 1) for line in process.text().splitlines())
    assert shown.pop("PATH") == os.environ["PATH"]
    assert {key: value for key, value in shown.items() if key != "LC_CTYPE"} == {
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "LANG": "C.UTF-8",
    }


def test_ports_are_given_to_nothing_else() -> None:
    """Neither to another server of these tests, nor by the kernel to a connection."""
    first, second = free_ports(20), free_ports(20)
    assert first == list(range(first[0], first[0] + 20))
    assert not set(first) & set(second)
    kernels = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert max(first + second) < int(kernels[0])


def test_a_port_that_is_taken_is_passed_over() -> None:
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", port + 2)):
        assert free_ports(2) == [port + 3, port + 4]


def test_an_echo_that_has_stopped_answers_on_no_connection_that_was_kept() -> None:
    with Echo("127.0.0.1", 0) as echo:
        kept = http.client.HTTPConnection("127.0.0.1", echo.port, timeout=5)
        kept.request("GET", "/")
        assert kept.getresponse().read()
    kept.request("GET", "/")
    with pytest.raises(ConnectionError):
        kept.getresponse()


def test_no_module_of_the_lab_changes_how_its_importer_takes_signals() -> None:
    """What a test process starts later would take that over, and not end at SIGTERM."""
    program = """
import importlib, signal, sys

def taken():
    return signal.pthread_sigmask(signal.SIG_BLOCK, ()), [signal.getsignal(each) for each in signal.valid_signals()]

before = taken()
for name in sys.argv[1:]:
    importlib.import_module(name)
assert taken() == before
"""
    paths = [path.relative_to(ROOT).with_suffix("") for path in MODULES]
    names = [".".join(path.parts) for path in paths]
    assert "tests.lab.services.web" in names
    subprocess.run([sys.executable, "-c", program, *names], check=True, cwd=ROOT)


def test_who_waits_rests_longer_than_it_looks() -> None:
    """Whoever looks all the time takes the processors from what it waits for."""
    looks: list[float] = []

    def look() -> bool:
        looks.append(time.monotonic())
        time.sleep(0.1)
        return len(looks) == 3

    wait_until(look, 10, "the third look")
    assert min(later - earlier for earlier, later in itertools.pairwise(looks)) >= 0.4
