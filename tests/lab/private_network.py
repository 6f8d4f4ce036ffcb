"""A network namespace of our own, in which the addresses of pods are local and nothing outside can be reached."""

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

from tests.lab.namespace import why_not_private

CLONE_NEWUSER = 0x10000000  # linux/sched.h
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C  # linux/sockios.h
IFF_UP = 0x1
LOCAL_NETWORKS = {
    "lo:pods": ("10.244.0.1", "255.255.0.0"),  # every pod, so that a backend can listen on its pod's address
    "lo:services": ("10.43.0.1", "255.255.0.0"),  # every Service, for what a proxy connects to without kube-proxy
    "lo:net": ("203.0.113.1", "255.255.255.0"),  # RFC 5737: the internet, for clients and the ingress
}


def can_enter() -> str:
    """Empty if `enter` works on this machine; otherwise what is missing. Tried in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            enter()
        except BaseException as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        reason = pipe.read()
    os.waitpid(child, 0)
    return reason


def enter() -> None:
    """Moves this process, and what it starts from now on, into a new network namespace.

    Only `lo` is in it, up, with the whole of LOCAL_NETWORKS. As root that is all; otherwise a user namespace comes
    with it, in which this user is root. Raises OSError where neither is allowed. Needs a process with one thread.
    """
    if os.geteuid() == 0 and _unshare(CLONE_NEWNET) == 0:
        _bring_up()
        return
    user, group = os.geteuid(), os.getegid()
    if number := _unshare(CLONE_NEWUSER | CLONE_NEWNET):
        raise OSError(f"needs root or user namespaces (unshare --net): {os.strerror(number)}")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _bring_up()


def network_namespace() -> str:
    """Identifies the network namespace of this process."""
    return os.readlink("/proc/self/ns/net")


def processes_inside(outside: str) -> dict[int, str]:
    """The command lines of the other processes in this process's private network namespace, by process id.

    `outside`: the namespace that `enter` was called in. Raises RuntimeError if this process is still there, or sees
    anything but loopback: what runs there is none of ours.
    """
    own, found = network_namespace(), {}
    if own == outside or why_not_private():
        raise RuntimeError("not in a private network namespace of its own")
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if os.readlink(entry / "ns" / "net") == own:
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:  # it has ended, or belongs to somebody else
            continue
    return found


def _unshare(flags: int) -> int:
    """unshare(2): 0, or the error number."""
    libc = ctypes.CDLL(None, use_errno=True)
    return 0 if libc.unshare(flags) == 0 else ctypes.get_errno()


def _bring_up() -> None:
    """netdevice(7). An address of the loopback interface makes its whole network local, as 127.0.0.1 does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
        for alias, (address, mask) in LOCAL_NETWORKS.items():
            for request, value in ((SIOCSIFADDR, address), (SIOCSIFNETMASK, mask)):
                packed = struct.pack("16sHH4s8x", alias.encode(), socket.AF_INET, 0, socket.inet_aton(value))
                fcntl.ioctl(control, request, packed)
