"""`./flatline up` without an engine, against importing the SDKs that it uses, each in a fresh process.

Measured is the time of the processor, user and system: it is what a free machine takes, and less at the mercy of what
else runs. As a program of its own (python -m benchmarks.rendering <what> <folder>) it is that process:
`up` brings stack dev up in the folder, with the secrets kept there; `modules` does so and writes the modules of the
SDKs that were loaded, in their order, into the folder's file `modules`; `import` imports those.
"""

import importlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.process import run
from benchmarks.sample import Ratio

SDKS = ("pydantic", "yaml", "cryptography")
"""Beside those whose names begin with pulumi."""


def measure(rounds: int) -> list[Ratio]:
    """The first `up` of a stack and later ones, against the bare import."""
    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(scratch) / "kept"
        kept.mkdir()
        _run("modules", kept)  # which also makes the secrets, and fills the caches
        first: list[float] = []
        again: list[float] = []
        minimum: list[float] = []
        for number in range(rounds):
            new = Path(scratch) / f"new-{number}"
            new.mkdir()
            for what, folder, seconds in (("import", kept, minimum), ("up", kept, again), ("up", new, first)):
                seconds.append(_run(what, folder))
    against = "import of the SDKs that it uses"
    return [
        Ratio("`up` of stack dev, nothing changed", against, tuple(again), tuple(minimum)),
        Ratio("`up` of stack dev for the first time", against, tuple(first), tuple(minimum)),
    ]


def is_sdk(module: str) -> bool:
    """True for a module of one of the packages that the minimum imports."""
    package = module.partition(".")[0]
    return package in SDKS or package == "pulumi" or package.startswith("pulumi_")


def up(folder: Path) -> None:
    """Does the work of `./flatline up` without an engine, with everything that it writes below `folder`."""
    # Not at the top of the module: the process that imports the SDKs alone is of this module too.
    from benchmarks.stack import STACK, passphrase
    from cli import stacks

    stacks.STATE, stacks.BUILD = folder / "state", folder / "build"
    os.environ |= {"PULUMI_CONFIG_PASSPHRASE": passphrase(), "XDG_CONFIG_HOME": str(folder)}
    from cli.__main__ import run as flatline

    if flatline(["up", "--stack", STACK, "--engine", "none"]):
        raise SystemExit(1)


def write_modules(folder: Path) -> None:
    """Brings the stack up, and writes the modules of SDKs that it took into the folder's file `modules`."""
    up(folder)
    (folder / "modules").write_text("\n".join(name for name in sys.modules if is_sdk(name)))


def import_modules(folder: Path) -> None:
    """Imports what `write_modules` wrote, and nothing else."""
    for name in (folder / "modules").read_text().split():
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            _within_parent(name)


def _within_parent(name: str) -> None:
    """Some modules are attributes that their packages put into sys.modules by themselves."""
    if name not in sys.modules:
        raise ModuleNotFoundError(f"{name} was loaded by `up` and cannot be imported alone")


def _run(what: str, folder: Path) -> float:
    """Runs this module in a process; returns the seconds of processor time that it took."""
    before = os.times()
    run("rendering", what, str(folder))
    after = os.times()
    user, system = after.children_user - before.children_user, after.children_system - before.children_system
    return user + system


PARTS: dict[str, Callable[[Path], Any]] = {"up": up, "modules": write_modules, "import": import_modules}

if __name__ == "__main__":
    PARTS[sys.argv[1]](Path(sys.argv[2]))
