"""A machine for a Kubernetes node: with its own root, processes, network and cgroups, and a client outside of it.

Switching it off kills all that runs on it at once and takes its mounts and interfaces along; only `folder` stays, as a
disk does. When the test process is killed, so is the machine; what is left of its cgroups goes with the next start.
"""

import ctypes
import os
import shlex
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Self

from tests.lab.fetch import Missing
from tests.lab.machine_system import system
from tests.lab.process import Process, wait_until

ADDRESS = "10.99.0.1"
OUTSIDE = "10.99.0.2"
METADATA_ADDRESS = "169.254.169.254"
"""An address of the client too: where a cloud would serve the credentials of its machines."""
DISKS = ("opt/local-path-provisioner", "var/lib/containerd", "var/lib/etcd", "var/lib/kubelet", "var/log")
"""On the disk itself: the root is an overlay, and an overlay can't be under the overlays of containers."""
CGROUPS = Path("/sys/fs/cgroup")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CPU_SHARES = 8192
"""Of all pods together, beside what else this machine does: as much as eight servers outside of cgroups have."""
CLONE_NEWNET = 0x40000000  # linux/sched.h
START_TIME = 19  # of /proc/PID/stat, counted from what follows the command's name; proc(5)
TOOLS = ("chroot", "ip", "mount", "nsenter", "setpriv", "tar", "unshare")
DIES_WITH_US = ("setpriv", "--pdeathsig=KILL")

TRIAL = """\
ip link add trial0 type bridge
iptables --table nat --new-chain TRIAL
iptables --new-chain TRIAL
iptables --append TRIAL --match conntrack --ctstate ESTABLISHED --match mark --mark 1 --jump REJECT
ipset create trial hash:ip
iptables --append TRIAL --match set --match-set trial src --jump RETURN
"""

BOOT = """\
set -eu
mount --make-rprivate /
mount -t overlay -o lowerdir={system},upperdir={disk}/upper,workdir={disk}/work overlay {root}
cd {root}
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
mount --rbind /dev dev
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p old
{binds}
pivot_root . old
cd /
umount --lazy old
mount --make-rshared /
hostname node
ip link set lo up
ip link add uplink type bridge
ip address add {address}/24 dev uplink
ip link set uplink up
ip route add default via {outside}
for setting in ipv4/ip_forward bridge/bridge-nf-call-iptables ipv4/conf/all/route_localnet; do
  echo 1 >/proc/sys/net/$setting
done
echo on >/run/power
trap : CHLD
while :; do
  sleep 3600 &
  wait $! || :
done
"""


@cache
def why_no_machine() -> str:
    """Empty if a machine can run here; otherwise what is missing, for a skip message. Needs `system` to be there."""
    if missing := [name for name in TOOLS if not shutil.which(name)]:
        return f"needs {', '.join(missing)} (util-linux, iproute2, coreutils, tar), to run a node"
    if os.geteuid() != 0:
        return "needs root, to run a node"
    if not (CGROUPS / "memory").is_dir():
        return "needs the hierarchies of cgroup v1 below /sys/fs/cgroup, to run a node"
    trial = CGROUPS / "memory" / f"{_group(os.getpid())}-trial"
    try:
        trial.mkdir()
        (trial / "memory.limit_in_bytes").write_text("1G")
    except OSError as error:
        return f"needs the right to make cgroups, to run a node: {error}"
    finally:
        with suppress(OSError):
            trial.rmdir()
    script = ["chroot", str(system()), "sh", "-euc", f"mount -t proc proc /proc; mount -t tmpfs tmpfs /run\n{TRIAL}"]
    done = subprocess.run(["unshare", "-m", "-n", *script], capture_output=True, text=True, check=False)
    return f"needs bridges, iptables and ipset, to run a node: {done.stderr.strip()}" if done.returncode else ""


class Machine:
    """One machine, whose disk is below `folder`; `switch_on` boots it, `power_cut` ends it.

    `files` are on its disk, `programs` in its /usr/local/bin. Raises `Missing` where it can't run.
    """

    def __init__(self, folder: Path, *, files: Mapping[str, str], programs: Mapping[str, Path]) -> None:
        self.folder, self._programs = folder, programs
        self._system = system()
        if reason := why_no_machine():
            raise Missing(reason)
        self.disk, self._root = folder / "disk", folder / "root"
        for name in (*DISKS, "work", "upper"):
            (self.disk / name).mkdir(parents=True, exist_ok=True)
        self._root.mkdir(exist_ok=True)
        for place, text in files.items():
            file = self.disk / "upper" / place.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        self.cgroup = _group(os.getpid())
        self._power: Process | None = None
        self._client = Process("client", [*DIES_WITH_US, "unshare", "--net", "sleep", "infinity"], folder)
        wait_until(lambda: self._namespace(self._client.pid) != self._namespace(os.getpid()), 10, "a client's network")
        self._run(_network(self._client.pid), "ip link set lo up")
        with entered(self.client_network):
            # refuses every datagram, not one a second: a name that is asked for is then unknown at once
            Path("/proc/sys/net/ipv4/icmp_ratelimit").write_text("0")

    # --- power

    def switch_on(self) -> None:
        """Boots it: its network is up and no server runs."""
        _remove_groups()
        for hierarchy in _hierarchies():
            (hierarchy / self.cgroup).mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # which are empty at first, so that nothing could run
            (CGROUPS / "cpuset" / self.cgroup / setting).write_text((CGROUPS / "cpuset" / setting).read_text())
        (CGROUPS / "cpu" / self.cgroup / "cpu.shares").write_text(str(CPU_SHARES))
        script = self.folder / "boot.sh"
        script.write_text(self._boot())
        own = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--uts"]
        self._power = Process("power", [*DIES_WITH_US, *own, "sh", str(script)], self.folder)
        self._power.wait_ready(lambda: (first := self._first()) != 0 and Path(f"/proc/{first}/root/run/power").exists())
        self._run(
            _network(self._first()),
            f"ip link add outside type veth peer name eth0 netns {self._client.pid}",
            "ip link set outside master uplink up",
        )
        self._run(
            _network(self._client.pid),
            f"ip address add {OUTSIDE}/24 dev eth0",
            f"ip address add {METADATA_ADDRESS}/32 dev eth0",
            "ip link set eth0 up",
        )

    def power_cut(self) -> None:
        """Kills all that runs on it at once."""
        if self._power:
            if first := self._first():
                os.kill(first, signal.SIGKILL)
            self._power.kill()
            # The kernel takes its time with a network whose processes have ended.
            subprocess.run([*_network(self._client.pid), "ip", "link", "delete", "eth0"], check=False)
        self._power = None
        wait_until(_groups_gone, 20, "the cgroups of the node are gone")

    def remove(self) -> None:
        """Ends it and its client, and deletes its disk."""
        self.power_cut()
        self._client.kill()
        shutil.rmtree(self.disk, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    # --- what runs there

    @property
    def inside(self) -> list[str]:
        """The words before a command that run it on the machine."""
        return ["nsenter", f"--target={self._first()}", "--mount", "--net", "--pid", "--uts"]

    @property
    def outside(self) -> list[str]:
        """The words before a command that run it on the client, with the files of the tests."""
        return ["nsenter", f"--net=/proc/{self._client.pid}/ns/net"]

    def server(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Process:
        """Starts a server; its log is in `folder`."""
        own = {"HOME": "/root", "PATH": PATH, "TMPDIR": "/tmp"}
        return Process(name, [*self.inside, *command], self.folder, environment={**own, **(environment or {})})

    def call(self, *command: str, stdin: str | None = None) -> str:
        """What a command on the machine prints; raises subprocess.CalledProcessError."""
        return subprocess.run(
            [*self.inside, *command], input=stdin, stdout=subprocess.PIPE, text=True, check=True
        ).stdout

    # --- its network

    def connect(self, address: str, port: int, seconds: float = 5) -> socket.socket:
        """A connection from the client outside. Raises OSError."""
        with entered(self.client_network):
            return socket.create_connection((address, port), timeout=seconds)

    def listen(self, address: str, port: int) -> socket.socket:
        """A listener of the client outside, which takes connections and says nothing."""
        with entered(self.client_network):
            return socket.create_server((address, port), backlog=1024)

    def network_of(self, group: str) -> Path:
        """The network namespace of what runs in a cgroup whose path has `group`: the id of a pod or of a container.

        It is that of the process which runs longest, since one of a probe ends before anybody can use it.
        """
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            network = entry / "ns" / "net"
            with suppress(OSError):
                if group in (entry / "cgroup").read_text() and network.readlink():  # one that has ended has none
                    found[network] = int((entry / "stat").read_text().rpartition(")")[2].split()[START_TIME])
        if not found:
            raise LookupError(f"nothing runs in {group}")
        return min(found, key=found.__getitem__)

    @property
    def network(self) -> Path:
        """Its network namespace, while it is switched on."""
        return Path(f"/proc/{self._first()}/ns/net")

    @property
    def client_network(self) -> Path:
        """The network namespace of the client outside."""
        return Path(f"/proc/{self._client.pid}/ns/net")

    def _boot(self) -> str:
        binds = [(str(self.disk / each), each) for each in DISKS]
        binds += [(str(path), f"usr/local/bin/{name}") for name, path in self._programs.items()]
        lines = []
        for source, place in binds:
            made = f"mkdir -p {place}" if Path(source).is_dir() else f"mkdir -p $(dirname {place}) && : >{place}"
            lines.append(f"{made}; mount --bind {shlex.quote(source)} {place}")
        return BOOT.format(
            system=shlex.quote(str(self._system)),
            disk=shlex.quote(str(self.disk)),
            root=shlex.quote(str(self._root)),
            binds="\n".join(lines),
            address=ADDRESS,
            outside=OUTSIDE,
        )

    def _first(self) -> int:
        """Its process 1, as the tests see it; 0 while there is none."""
        if not self._power:
            raise RuntimeError("the machine is switched off")
        with suppress(OSError):  # it has ended
            children = Path(f"/proc/{self._power.pid}/task/{self._power.pid}/children").read_text().split()
            return int(children[0]) if children else 0
        return 0

    def _namespace(self, pid: int) -> str:
        return os.readlink(f"/proc/{pid}/ns/net")

    @staticmethod
    def _run(within: Sequence[str], *commands: str) -> None:
        for command in commands:
            subprocess.run([*within, *command.split()], check=True)


def _network(pid: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{pid}/ns/net"]


@contextmanager
def entered(network: Path) -> Iterator[None]:
    """What this thread opens while the context lasts belongs to another network namespace (setns(2)), for good."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(descriptor: int) -> None:
        if libc.setns(descriptor, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    own = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
    try:
        other = os.open(network, os.O_RDONLY)
        try:
            enter(other)
        finally:
            os.close(other)
        try:
            yield
        finally:
            enter(own)
    finally:
        os.close(own)


# ---- cgroups --------------------------------------------------------------------------------------------------------


PREFIX = "flatline-node-"


def _group(pid: int) -> str:
    return f"{PREFIX}{pid}"


def _hierarchies() -> list[Path]:
    """Those of cgroup v1 and the one of v2 beside them, each once: cpu and cpuacct may be two names of one."""
    return sorted({each.resolve() for each in CGROUPS.iterdir() if (each / "cgroup.procs").exists()})


def _remove_groups() -> None:
    """Those of this process's machine and of machines whose test process has ended. They hold no process any more."""
    for hierarchy in _hierarchies():
        for group in hierarchy.glob(f"{PREFIX}*"):
            pid = group.name.removeprefix(PREFIX)
            if pid == str(os.getpid()) or not Path(f"/proc/{pid}").exists():
                for folder, _, _ in os.walk(group, topdown=False):
                    with suppress(OSError):  # its last process ends at this moment
                        os.rmdir(folder)


def _groups_gone() -> bool:
    _remove_groups()
    return not groups(os.getpid())


def groups(pid: int) -> list[Path]:
    """The cgroups of the machine of a test process."""
    return [each / _group(pid) for each in _hierarchies() if (each / _group(pid)).exists()]
