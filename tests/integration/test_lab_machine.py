"""The machine of the node: its own network and disk, and nothing of it left behind, however its test ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.lab.fetch import skip_if_missing
from tests.lab.machine import ADDRESS, CGROUPS, OUTSIDE, Machine, groups
from tests.lab.process import wait_until

pytestmark = pytest.mark.integration

ABANDONED = """
import sys, time
from pathlib import Path
from tests.lab.machine import Machine
with Machine(Path(sys.argv[1]), files={}, programs={}) as machine:
    machine.switch_on()
    machine.server("sleep", ["sleep", "4321"])
    machine.call("sh", "-c", f"for each in /sys/fs/cgroup/*; do mkdir $each/{machine.cgroup}/pod; done")
    print("on", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with skip_if_missing():
        made = Machine(tmp_path, files={"etc/greeting": "good morning"}, programs={})
    with made:
        yield made


def running(mark: Path) -> list[str]:
    """The processes whose working folder, files or command are below a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            seen = (entry / "mountinfo").read_text() + (entry / "cmdline").read_text()
            if str(mark) in seen and int(entry.name) != os.getpid():
                found.append((entry / "cmdline").read_text().replace("\0", " "))
    return found


def test_a_power_cut_ends_what_runs_and_keeps_the_disk(machine: Machine) -> None:
    machine.switch_on()
    assert machine.call("cat", "/etc/greeting") == "good morning"
    server = machine.server("listen", ["python3", "-c", SERVER])
    wait_until(lambda: answered(machine), 20, "the server answers outside")
    machine.call("sh", "-c", "echo kept >/var/lib/etcd/file")
    machine.power_cut()
    server.wait(5)
    machine.switch_on()
    assert machine.call("cat", "/var/lib/etcd/file") == "kept\n"
    assert not answered(machine)


SERVER = (
    f"import socket; one = socket.create_server(('{ADDRESS}', 80)); [one.accept()[0].send(b'here') for _ in range(9)]"
)


def answered(machine: Machine) -> bool:
    try:
        with machine.connect(ADDRESS, 80) as connection:
            return connection.recv(9) == b"here" and connection.getsockname()[0] == OUTSIDE
    except OSError:
        return False


def test_a_datagram_that_nobody_takes_outside_is_refused_at_once(machine: Machine) -> None:
    """However many there were: who looks up the name of a registry would wait for ten seconds."""
    machine.switch_on()
    assert machine.call("python3", "-c", ASK) == "20 refused\n"


ASK = f"""
import socket
refused = 0
for _ in range(20):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(1)
        one.connect(("{OUTSIDE}", 53))
        one.send(b"?")
        try:
            one.recv(9)
        except ConnectionRefusedError:
            refused += 1
        except TimeoutError:
            pass
print(refused, "refused")
"""


def test_the_network_of_a_pod_is_that_of_what_runs_longest_in_it(machine: Machine) -> None:
    """Not that of a probe, which ends soon, and whose number is lower once the numbers of processes began again."""
    machine.switch_on()
    (pod := CGROUPS / "pids" / machine.cgroup / "pod-1").mkdir()
    with subprocess.Popen(["sleep", "4321"]) as sandbox:
        (pod / "cgroup.procs").write_text(str(sandbox.pid))
        time.sleep(0.02)  # two ticks of the clock by which the kernel tells when a process began
        Path("/proc/sys/kernel/ns_last_pid").write_text("300")
        with subprocess.Popen(["sleep", "4321"]) as probe:
            (pod / "cgroup.procs").write_text(str(probe.pid))
            network = machine.network_of("pod-1")
            probe.kill()
        sandbox.kill()
    assert probe.pid < sandbox.pid
    assert network == Path(f"/proc/{sandbox.pid}/ns/net")


def test_nothing_is_left_when_it_is_removed(machine: Machine, tmp_path: Path) -> None:
    machine.switch_on()
    machine.server("sleep", ["sleep", "4321"])
    assert running(tmp_path)
    machine.remove()
    assert running(tmp_path) == []
    assert groups(os.getpid()) == []
    assert not machine.disk.exists()


def test_nothing_is_left_when_its_test_is_killed(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "abandoned"
    folder.mkdir()
    command = [sys.executable, "-c", ABANDONED, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as test:
        assert test.stdout
        assert test.stdout.readline() == "on\n"
        assert groups(test.pid)
        test.send_signal(signal.SIGKILL)
    time.sleep(0.1)
    wait_until(lambda: running(folder) == [], 10, "all processes have ended")
    machine.switch_on()
    assert groups(test.pid) == [], "the next machine removes them"
