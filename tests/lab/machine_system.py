"""The operating system of the test machine, which is the lowest layer of its images too: Debian without a service."""

import shutil
import subprocess
from pathlib import Path

from tests.lab.cache import digest
from tests.lab.debian import unpack
from tests.lab.fetch import fetched

SUITE = "trixie"
PACKAGES = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "findutils", "grep", "gzip", "hostname", "libc-bin"),
    *("mawk", "mount", "procps", "sed", "tar", "util-linux"),
    *("containerd", "containernetworking-plugins", "runc"),
    *("conntrack", "iproute2", "ipset", "iptables", "kmod"),
    *("curl", "python3", "python3-grpcio", "python3-yaml"),
)
LINKS = {
    "usr/bin/awk": "mawk",
    **{
        f"usr/sbin/{family}tables{kind}": "xtables-nft-multi"
        for family in ("ip", "ip6")
        for kind in ("", "-save", "-restore")
    },
}
"""What the packages' scripts would choose."""
COPIES = {
    "etc/passwd": "usr/share/base-passwd/passwd.master",
    "etc/group": "usr/share/base-passwd/group.master",
    "etc/nsswitch.conf": "usr/share/libc-bin/nsswitch.conf",
}
UNUSED = ("usr/share/doc", "usr/share/locale", "usr/share/man", "usr/share/info")


def system() -> Path:
    """The folder with the unpacked system, fetched once (about 100 MB). Raises `Missing`."""
    links = " ".join(f"{place}={target}" for place, target in {**LINKS, **COPIES}.items())
    return fetched("machine-system", digest(SUITE, " ".join(PACKAGES), links, " ".join(UNUSED), PYTHON), _build)


PYTHON = "import compileall; compileall.compile_path(maxlevels=10, quiet=2)"
"""Compiles Python's own modules: nobody can, later, on a root that is read-only."""


def _build(target: Path) -> None:
    unpack(target, SUITE, PACKAGES, dependencies=True)
    for folder in UNUSED:
        shutil.rmtree(target / folder, ignore_errors=True)
    for place, original in COPIES.items():
        shutil.copyfile(target / original, target / place)
    for place, program in LINKS.items():
        (target / place).symlink_to(program)
    subprocess.run(["chroot", str(target), "python3", "-c", PYTHON], check=True)
