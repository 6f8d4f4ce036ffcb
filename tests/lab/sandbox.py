"""What a container runtime gives to a pod, for plain processes: an address, a file system, a user, its own processes.

A pod has a network namespace, joined to the private one of the tests as a node joins its pods: `0.0.0.0` and
`127.0.0.1` are the pod's own, and its address is reached from everywhere. A container has a mount namespace, whose
root is this machine's /usr with the image's programs over it, and below it only what the pod mounts, each at its very
path; its root may be read-only. It runs without capabilities, as the user that the pod names, and as the first of a
process namespace, so that signals act as in a container. Memory, processors, system calls and network policies are
not limited.
"""

import ctypes
import ipaddress
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.lab.fetch import Missing
from tests.lab.namespace import why_not_private
from tests.lab.process import Process, wait_until

CLONE_NEWNET = 0x40000000  # linux/sched.h
NODE_ADDRESS_IPV6 = "fd44::1"
NODE_ADDRESS = "10.244.0.1"  # of tests.lab.private_network
GATEWAY = "169.254.1.1"
GATEWAY_MAC = "ee:ee:ee:ee:ee:ee"
TOOLS = ("ip", "unshare", "nsenter", "mount", "setpriv", "chroot", "env")
HIGHEST_ID = 65534
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@cache
def why_no_sandbox() -> str:
    """Empty if pods can run here; otherwise what is missing, for a skip message."""
    if reason := why_not_private():
        return reason
    if missing := [name for name in TOOLS if not shutil.which(name)]:
        return f"needs {', '.join(missing)} (iproute2, util-linux, coreutils)"
    if os.geteuid() != 0 or int(Path("/proc/self/uid_map").read_text().split()[2]) <= HIGHEST_ID:
        return "needs root with all user ids, to run containers as theirs"
    trial = ["unshare", "--pid", "--mount", "--fork", "--kill-child", "sh", "-c"]
    overlay = "mount -t tmpfs tmpfs /mnt && mkdir /mnt/a && mount -t overlay -o ro,lowerdir=/mnt/a:/usr overlay /mnt/a"
    done = subprocess.run([*trial, overlay], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"needs mount namespaces and overlay file systems: {done.stderr.strip()}"
    try:
        os.close(_new_namespace())
    except OSError as error:
        return f"needs network namespaces: {error}"
    return ""


def require_sandbox() -> None:
    """Raises `Missing` where pods can't run."""
    if reason := why_no_sandbox():
        raise Missing(reason)


# ---- the pod: its network -------------------------------------------------------------------------------------------


class PodNetwork:
    """A network namespace with one address of 10.244.0.0/16, or of fd44::/64 alone, kept until `close`."""

    def __init__(self, address: str) -> None:
        require_sandbox()
        self.address = address
        # tests.lab.namespace takes interfaces of such names for what they are: ones that lead nowhere outside
        self._link = "dummy" + "".join(f"{part:02x}" for part in ipaddress.ip_address(address).packed[-4:])
        self._namespace = _new_namespace()
        self.path = f"/proc/{os.getpid()}/fd/{self._namespace}"
        if ":" in address:
            self._join_ipv6()
            return
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        _ip(
            f"link add {self._link} address {GATEWAY_MAC} type veth peer name eth0 netns {self.path}",
            f"link set {self._link} up",
            # the table `local` has all of 10.244.0.0/16 already; the longer prefix wins
            f"route replace {address}/32 dev {self._link} src {NODE_ADDRESS} table local",
        )
        _ip(
            "link set lo up",
            "link set eth0 up",
            f"address add {address}/32 dev eth0",
            f"neighbour add {GATEWAY} lladdr {GATEWAY_MAC} dev eth0 nud permanent",
            f"route add {GATEWAY} dev eth0",
            f"route add default via {GATEWAY} src {address}",
            namespace=self.path,
        )

    def _join_ipv6(self) -> None:
        """Each link has the node's address, so that its neighbour finds it there."""
        Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
        _ip(
            f"link add {self._link} address {GATEWAY_MAC} type veth peer name eth0 netns {self.path}",
            f"link set {self._link} up",
            f"address add {NODE_ADDRESS_IPV6}/128 dev {self._link} nodad",
            f"route replace {self.address}/128 dev {self._link}",
        )
        _ip(
            "link set lo up",
            "link set eth0 up",
            f"address add {self.address}/128 dev eth0 nodad",
            f"neighbour add {NODE_ADDRESS_IPV6} lladdr {GATEWAY_MAC} dev eth0 nud permanent",
            f"route add {NODE_ADDRESS_IPV6} dev eth0",
            f"route add default via {NODE_ADDRESS_IPV6} dev eth0",
            namespace=self.path,
        )

    def close(self) -> None:
        """Nobody reaches the address any more."""
        _ip(f"link delete {self._link}")
        os.close(self._namespace)


def _new_namespace() -> int:
    """A descriptor that keeps a new network namespace; unshare(2) is for one thread, which ends here."""

    def unshare() -> int:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(unshare).result()


def _ip(*commands: str, namespace: str = "") -> None:
    inside = ["nsenter", f"--net={namespace}"] if namespace else []
    lines = "\n".join(commands) + "\n"
    done = subprocess.run([*inside, "ip", "-batch", "-"], input=lines, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip: {done.stderr.strip()} in\n{lines}")


# ---- the container: its files, user and processes -------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Image:
    """What stands in for an image: `folders` by their place inside, `programs` on the PATH by name, both read-only.

    A program is told by its path inside and words before its arguments; `links` lie in /usr.
    """

    programs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Bind:
    """A file or a folder of this machine at a place inside."""

    place: str
    source: Path
    read_only: bool


@dataclass(frozen=True, kw_only=True)
class Contained:
    """One container before it runs. `hosts` is the folder with a file `hosts`, which may change while it runs."""

    name: str
    image: Image
    command: Sequence[str]
    environment: Mapping[str, str]
    binds: Sequence[Bind]
    hosts: Path
    user: int
    group: int
    read_only_root: bool


class Running:
    """A started container. Its output is in `<folder>/<name>.log`."""

    def __init__(self, spec: Contained, network: PodNetwork, folder: Path) -> None:
        self.spec = spec
        extra, root = upper_layer(spec.image, folder / f"{spec.name}-usr"), folder / f"{spec.name}-root"
        root.mkdir(parents=True, exist_ok=True)
        script = folder / f"{spec.name}.sh"
        script.write_text(_script(spec, root, extra))
        log = folder / f"{spec.name}.log"
        log.touch()
        os.chown(log, spec.user, spec.group)  # /dev/stdout is opened by name, as in a container
        outside = ["unshare", "--pid", "--fork", "--kill-child", "nsenter", f"--net={network.path}"]
        inside = ["unshare", "--mount", "--propagation=private", "sh", str(script)]
        self.process = Process(spec.name, [*outside, *inside], folder)

    def running(self) -> bool:
        return self.process.running()

    def text(self) -> str:
        """All that it has written, also before earlier restarts."""
        return self.process.text()

    def wait(self, seconds: float) -> int:
        """Its exit status; raises TimeoutError when it still runs after `seconds`."""
        return self.process.wait(seconds)

    def execute(self, command: Sequence[str], seconds: float = 120) -> "subprocess.CompletedProcess[str]":
        """Runs a command in it, as `kubectl exec` and probes do. Raises subprocess.TimeoutExpired."""
        enter = ["nsenter", f"--target={self._first()}", "--mount", "--net", "--pid", "--root", "--wd"]
        words = [*enter, *_as_user(self.spec), *_environment(self.spec), *command]
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=seconds, cwd="/")

    def terminate(self) -> None:
        """SIGTERM to its first process, which ignores it unless it handles it: process 1 has no default action."""
        with suppress(ProcessLookupError):
            os.kill(self._first(), signal.SIGTERM)

    def kill(self) -> None:
        """Ends all its processes at once, and returns when they are gone."""
        with suppress(ProcessLookupError):
            os.kill(self._first(), signal.SIGKILL)
        with suppress(TimeoutError):
            self.process.wait(5)
        self.process.kill()

    def _first(self) -> int:
        """The process that is number 1 inside; raises ProcessLookupError when there is none any more."""
        found: list[int] = []

        def known() -> bool:
            found[:] = _children(self.process.pid)
            return bool(found) or not self.process.running()

        wait_until(known, 5, f"{self.spec.name} started")
        if not found:
            raise ProcessLookupError(f"{self.spec.name} has ended\n{self.text()[-2000:]}")
        return found[0]


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it has ended meanwhile
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(entry.name))
    return found


def upper_layer(image: Image, folder: Path) -> Path:
    """The upper layer of /usr."""
    programs = folder / "local" / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    for name, words in image.programs.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        (programs / name).chmod(0o755)
    for place, target in image.links.items():
        link = folder / place.removeprefix("/usr/")
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(target)
    return folder


SETUP = """\
set -eu
mount -t tmpfs -o mode=0755 tmpfs {root}
cd {root}
mkdir dev etc etc/alternatives proc root run run/hosts tmp usr var
chmod 1777 tmp
mount -t proc proc proc
mount -t tmpfs -o mode=0755 tmpfs dev
for each in null zero full random urandom; do
  : >dev/$each
  mount --bind /dev/$each dev/$each
done
mkdir -m 1777 dev/shm
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mount -t overlay -o ro,lowerdir={extra}:/usr overlay usr
for each in bin sbin lib lib32 lib64; do
  if [ -L /$each ]; then
    cp -P /$each .
  elif [ -d /$each ]; then
    mkdir $each
    mount -o bind,ro /$each $each
  fi
done
mount -o bind,ro /etc/alternatives etc/alternatives
mount -o bind,ro {hosts} run/hosts
ln -s /run/hosts/hosts etc/hosts
echo 'hosts: files' >etc/nsswitch.conf
echo 'root:x:0:0:root:/root:/bin/sh' >etc/passwd
echo 'root:x:0:' >etc/group
"""


def _script(spec: Contained, root: Path, extra: Path) -> str:
    places = {name: shlex.quote(str(path)) for name, path in (("root", root), ("extra", extra), ("hosts", spec.hosts))}
    lines = [SETUP.format(**places)]
    folders = [Bind(place=place, source=source, read_only=True) for place, source in spec.image.folders.items()]
    for bind in (*folders, *sorted(spec.binds, key=lambda each: each.place.count("/"))):
        place, source = shlex.quote(bind.place.lstrip("/")), shlex.quote(str(bind.source))
        if bind.source.is_dir():
            lines.append(f"mkdir -p {place}")
        else:
            lines.append(f"mkdir -p $(dirname {place}) && : >{place}")
        lines.append(f"mount -o bind{',ro' if bind.read_only else ''} {source} {place}")
    if spec.read_only_root:
        lines.append("mount -o remount,ro .")
    words = ["exec", "chroot", ".", *_as_user(spec), *_environment(spec), *spec.image.entrypoint, *spec.command]
    return "\n".join([*lines, shlex.join(words), ""])


def _as_user(spec: Contained) -> list[str]:
    rights = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--pdeathsig=KILL"]
    return ["setpriv", f"--reuid={spec.user}", f"--regid={spec.group}", "--clear-groups", *rights]


def _environment(spec: Contained) -> list[str]:
    home = "/root" if spec.user == 0 else "/"
    all_of_it = {"PATH": PATH, "HOME": home, **spec.image.environment, **spec.environment}
    return ["env", "-i", *(f"{name}={text}" for name, text in all_of_it.items())]
