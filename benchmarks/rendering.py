"""Rendering a stack without an engine, against importing the SDKs that it uses, each in a fresh process.

Measured is the time of the processor, user and system: it is what a free machine takes, and less at the mercy of what
else runs. As a program of its own (python -m benchmarks.rendering <what> <folder>) it is that process:
`render` renders stack dev into the folder, with the secrets kept there; `modules` does so and prints the modules of
the SDKs that were loaded, in their order; `import` imports the modules that the folder's file `modules` lists.
"""

import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.sample import Ratio

ROOT = Path(__file__).resolve().parent.parent
SDKS = ("pydantic", "yaml", "cryptography")
"""Beside those whose names begin with pulumi."""


def measure(rounds: int) -> list[Ratio]:
    """A stack's first rendering and its later ones, against the bare import."""
    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(scratch) / "kept"
        kept.mkdir()
        modules, _ = _run("modules", kept)  # which also makes the secrets, and fills the caches
        (kept / "modules").write_text(modules)
        first: list[float] = []
        again: list[float] = []
        minimum: list[float] = []
        for number in range(rounds):
            new = Path(scratch) / f"new-{number}"
            new.mkdir()
            for what, folder, seconds in (("import", kept, minimum), ("render", kept, again), ("render", new, first)):
                seconds.append(_run(what, folder)[1])
    against = "import of the SDKs that it uses"
    return [
        Ratio("render stack dev, secrets kept", against, tuple(again), tuple(minimum)),
        Ratio("render stack dev for the first time", against, tuple(first), tuple(minimum)),
    ]


def is_sdk(module: str) -> bool:
    """True for a module of one of the packages that the minimum imports."""
    package = module.partition(".")[0]
    return package in SDKS or package == "pulumi" or package.startswith("pulumi_")


def render(folder: Path) -> None:
    """Does the work of `./flatline render`, below `folder` and without a terminal."""
    # Not at the top of the module: the process that imports the SDKs alone is of this module too.
    from benchmarks.stack import STACK, passphrase, recorded
    from config.settings import PROJECT
    from render import manifests
    from render.state import State
    from render.values import StateValues

    with State(folder / "state.json", project=PROJECT, stack=STACK, passphrase=passphrase, salt=None) as state:
        recording = recorded(StateValues(state))
        state.save()
        manifests.write(recording, folder / "build")


def print_modules(folder: Path) -> None:
    """Renders, and prints the modules of SDKs that it took."""
    render(folder)
    print("\n".join(name for name in sys.modules if is_sdk(name)))


def import_modules(folder: Path) -> None:
    """Imports what `print_modules` printed, and nothing else."""
    for name in (folder / "modules").read_text().split():
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            _within_parent(name)


def _within_parent(name: str) -> None:
    """Some modules are attributes that their packages put into sys.modules by themselves."""
    if name not in sys.modules:
        raise ModuleNotFoundError(f"{name} was loaded by rendering and cannot be imported alone")


def _run(what: str, folder: Path) -> tuple[str, float]:
    """Runs this module in a process; returns its output and the seconds of processor time that it took."""
    command = [sys.executable, "-m", "benchmarks.rendering", what, str(folder)]
    environment = {**os.environ, "PULUMI_ERROR_OUTPUT_STRING": "1"}
    before = os.times()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    after = os.times()
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:4])} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    user, system = after.children_user - before.children_user, after.children_system - before.children_system
    return done.stdout, user + system


PARTS: dict[str, Callable[[Path], Any]] = {"render": render, "modules": print_modules, "import": import_modules}

if __name__ == "__main__":
    PARTS[sys.argv[1]](Path(sys.argv[2]))
