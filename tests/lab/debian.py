"""Programs and libraries out of Debian's packages, unpacked into a folder: nothing is installed, no service starts."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.lab.fetch import Missing, fetching

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
LAST_LINES = 10
WITH_DEPENDENCIES = ("install", "--download-only", "--no-install-recommends", "--yes", "--option=Debug::NoLocking=1")
"""Of apt-get: with a status in which nothing is installed, it downloads all that the packages need."""


def unpack(target: Path, suite: str, packages: Sequence[str], *, dependencies: bool = False) -> None:
    """Unpacks what the release `suite`, such as "trixie", has of `packages` below `target`; no script of theirs runs.

    With `dependencies`, all that they depend on comes with them. Uses the archive that this machine's apt is set up
    with, whatever its own release is. Raises `Missing` where there is no apt with an archive of Debian.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise Missing(f"needs {tool}, to unpack Debian's packages")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        options = _options(folder, suite)
        fetching(["apt-get", *options, "update"], cwd=folder)
        command = [*WITH_DEPENDENCIES] if dependencies else ["download"]
        fetching(["apt-get", *options, *command, *packages], cwd=folder)
        target.mkdir(parents=True, exist_ok=True)
        for package in sorted(folder.glob("**/*.deb"), key=lambda each: each.name):
            _run(["dpkg-deb", "--extract", str(package), str(target)], folder)


def _options(folder: Path, suite: str) -> list[str]:
    """A state of apt's own, so that the machine's lists and caches stay as they are."""
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "archives" / "partial").mkdir(parents=True)
    (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {_archive()} {suite} main\n")
    settings = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "-",
        "Dir::State::Lists": folder / "lists",
        "Dir::State::Status": "/dev/null",
        "Dir::Cache": folder,
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",  # by default a list that could not be had is only a warning
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    }
    return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]


def _archive() -> str:
    answer = _run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"], Path("/"))
    archives = [line for line in answer.split() if line.rstrip("/").endswith("/debian")]
    if not archives:
        raise Missing("needs an archive of Debian in the set-up of apt")
    return archives[0]


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join((done.stderr + done.stdout).splitlines()[-LAST_LINES:])
        raise RuntimeError(f"{' '.join(command[:1] + command[-1:])} failed:\n{last}")
    return done.stdout


WRAPPER = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
exec "$here/{loader}" --library-path "{libraries}" "$here/{program}" "$@"
"""


def wrap(target: Path, programs: Sequence[str]) -> None:
    """Makes `target/<name>` of each program `usr/bin/<name>` below `target/root`, with the libraries that came with it.

    So a program of another release than this machine's runs on it.
    """
    root = target / "root"
    libraries = sorted({one.parent.relative_to(target) for one in root.rglob("*.so*")})
    loader = next(root.rglob("ld-linux-*.so.*")).relative_to(target)
    path = ":".join(f"$here/{folder}" for folder in libraries)
    for name in programs:
        (target / name).write_text(WRAPPER.format(loader=loader, libraries=path, program=f"root/usr/bin/{name}"))
        (target / name).chmod(0o755)
