"""The stand-in for a container runtime: what a container sees and may do, and what is left of it."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab.fetch import skip_if_missing
from tests.lab.images import node_image
from tests.lab.process import listening, wait_until
from tests.lab.sandbox import Bind, Contained, PodNetwork, Running, require_sandbox

pytestmark = pytest.mark.integration

USER = 10001
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - of the pod alone, which is what is tested
Start = Callable[..., Running]


@pytest.fixture
def address(worker_number: int) -> str:
    return f"10.244.{11 + 16 * worker_number}."


@pytest.fixture
def start(tmp_path: Path, address: str) -> Iterator[Start]:
    """Runs a shell script as the container of a pod of its own: `start(number, script, ...)`."""
    with skip_if_missing():
        require_sandbox()
    hosts = tmp_path / "hosts"
    hosts.mkdir()
    (hosts / "hosts").write_text(f"{address}1 first.flatline.svc\n")
    node = node_image()
    with ExitStack() as ending:

        def run(number: int, script: str, *binds: Bind, user: int = USER, read_only_root: bool = True) -> Running:
            network = PodNetwork(f"{address}{number}")
            ending.callback(network.close)
            spec = Contained(
                name=f"pod-{number}",
                image=replace(node, programs={**node.programs, "greet": ("echo", "hello")}),
                command=["sh", "-c", script],
                environment={"OWN": "value"},
                binds=binds,
                hosts=hosts,
                user=user,
                group=user,
                read_only_root=read_only_root,
            )
            running = Running(spec, network, tmp_path / f"pod-{number}")
            ending.callback(running.kill)
            return running

        yield run


def said(running: Running) -> str:
    assert running.wait(10) == 0, running.text()
    return running.text().strip()


def test_it_sees_its_own_files_user_and_environment_alone(start: Start, tmp_path: Path) -> None:
    secret, disk = tmp_path / "secret", tmp_path / "disk"
    secret.write_text("text")
    os.chown(secret, 0, USER)
    secret.chmod(0o440)
    disk.mkdir()
    os.chown(disk, 0, USER)
    disk.chmod(0o2770)
    binds = (
        Bind(place="/opt/flatline/secret", source=secret, read_only=True),
        Bind(place="/data", source=disk, read_only=False),
    )
    script = """
      cat /opt/flatline/secret; echo; id -u; greet you; echo $$; echo $OWN$TMPDIR
      grep -c 0000000000000000 /proc/self/status; ls /home /work 2>/dev/null; ls -d /proc/[0-9]* | wc -l
      touch /file 2>/dev/null || echo refused; echo more >/opt/flatline/secret || echo refused; touch /data/file
    """
    lines = said(start(1, script, *binds)).splitlines()
    assert lines[:5] == ["text", str(USER), "hello you", "1", "value"]
    assert int(lines[5]) >= 5, "no capabilities"
    assert int(lines[6]) <= 4, "only its own processes"
    assert [line for line in lines if line == "refused"] == ["refused", "refused"]
    assert (disk / "file").stat().st_uid == USER
    assert secret.read_text() == "text"


def test_a_pods_addresses_are_its_own_and_reached_by_name(start: Start, address: str) -> None:
    serve = "node -e \"require('http').createServer((request, answer) => answer.end()).listen(8080, '{}')\""
    start(1, serve.format(EVERY_ADDRESS))
    own = start(2, serve.format("127.0.0.1"))
    wait_until(lambda: listening(f"{address}1", 8080), 10, "a server on every address of its pod")
    connect = "node -e \"require('net').connect(8080, '{}').on('connect', () => process.exit(7))\""
    assert start(3, connect.format("first.flatline.svc")).wait(10) == 7
    inside = ["sh", "-c", connect.format("127.0.0.1")]
    wait_until(lambda: own.execute(inside).returncode == 7, 10, "a server on the loopback address of its pod")
    assert not listening(f"{address}2", 8080)


def test_signals_act_as_on_process_1(start: Start) -> None:
    deaf = start(1, "while :; do sleep 0.05; done")
    wait_until(lambda: deaf.execute(["true"]).returncode == 0, 5, "it runs")
    deaf.terminate()
    time.sleep(0.3)
    assert deaf.running()
    heedful = start(2, "trap 'echo ending; exit 3' TERM; echo ready; while :; do sleep 0.05; done")
    wait_until(lambda: "ready" in heedful.text(), 5, "it runs")
    heedful.terminate()
    assert heedful.wait(5) == 3
    assert "ending" in heedful.text()


def comms(running: Running) -> list[str]:
    """The names of the programs that run in it."""
    return running.execute(["sh", "-c", "cat /proc/[0-9]*/comm"]).stdout.split()


def test_nothing_is_left(start: Start) -> None:
    running = start(1, "setsid sleep 1234 & sleep 1234")
    wait_until(lambda: comms(running).count("sleep") == 2, 5, "both run")
    assert str(running.process.log.parent) not in Path("/proc/self/mounts").read_text()
    left = []
    with Path(f"/proc/{running.process.pid}/ns/pid_for_children").open() as kept:  # so that no other gets its number
        namespace = os.fstat(kept.fileno()).st_ino
        running.kill()
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended meanwhile
                if (entry / "ns" / "pid").stat().st_ino == namespace:
                    left.append(entry.name)
    assert left == []
