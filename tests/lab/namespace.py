"""Servers that listen on every address, or on simulated pod addresses, run only where nothing outside can reach."""

import fcntl
import socket
import struct

import pytest

SIOCGIFFLAGS = 0x8913  # netdevice(7)
IFF_UP = 0x1


def interfaces_up() -> list[str]:
    """Names of the network interfaces that are up in this process's own network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return sorted(name for _, name in socket.if_nameindex() if _flags(probe, name) & IFF_UP)


def _flags(probe: socket.socket, name: str) -> int:
    reply = fcntl.ioctl(probe, SIOCGIFFLAGS, struct.pack("16sH14x", name.encode(), 0))
    flags: int = struct.unpack_from("16xH", reply)[0]
    return flags


def why_not_private() -> str:
    """Empty if the only interfaces up are lo and dummy ones; otherwise what is missing, for a skip message."""
    up = interfaces_up()
    outside = [name for name in up if name != "lo" and not name.startswith("dummy")]
    if outside:
        return f"needs a private network namespace (unshare --net); up here: {', '.join(outside)}"
    if "lo" not in up:
        return "needs the loopback interface of the private network namespace (ip link set lo up)"
    return ""


def require_private_namespace() -> None:
    """Skips the calling test, saying what is missing, unless this process is in a private network namespace."""
    if reason := why_not_private():
        pytest.skip(reason)
