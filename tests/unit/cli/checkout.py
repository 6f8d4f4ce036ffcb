"""A checkout of its own for each test, with a home directory, a PATH that holds only stand-ins, and no network."""

import compileall
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tests import forked
from tests.unit.cli.stand_ins import put_program

REPOSITORY = Path(__file__).parents[3]
T = TypeVar("T")
SMALL_PROGRAM = Path(__file__).with_name("small_program.py")
FOLDERS = (
    *("capacity", "cli", "client_kit", "components", "config", "connectivity"),
    *("migration", "package", "policies", "programs", "render"),
)
FILES = (
    "errors.py",
    "files.py",
    "__main__.py",
    "flatline",
    "Pulumi.yaml",
    "Pulumi.dev.yaml",
    "Pulumi.README.md",
    "pyproject.toml",
    "requirements.txt",
    "uv.lock",
)

ITERATIONS = 10
SCRYPT_N = 16
PULUMI_DISABLED_PROVIDERS = {"pulumi:disable-default-providers": ["*"]}


@dataclass(frozen=True)
class Checkout:
    """A copy of the program, and what a person with it has: a home, a PATH, variables."""

    root: Path
    home: Path
    programs: Path
    variables: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path, *, small: bool = True) -> "Checkout":
        """A fresh checkout in an empty folder; a `small` one has a program that is quicker than the real one."""
        root = folder / "flatline"
        root.mkdir(parents=True, exist_ok=True)
        _link(root)
        for name in FILES:
            shutil.copy2(REPOSITORY / name, root / name)
        if small:
            shutil.copy(SMALL_PROGRAM, root / "__main__.py")
        (root / ".venv" / "bin").mkdir(parents=True)
        (root / ".venv" / "bin" / "python").symlink_to(sys.executable)
        checkout = cls(root, folder / "home", folder / "bin")
        checkout.home.mkdir(exist_ok=True)
        checkout.programs.mkdir()
        return checkout

    def copy(self, folder: Path) -> "Checkout":
        """The same, elsewhere: secrets, results and home too, but no edited modules."""
        sources = {str(self.root / name) for name in FOLDERS}

        def passed_over(place: str, names: list[str]) -> list[str]:
            return [name for name in names if os.path.join(place, name) in sources]

        shutil.copytree(self.root.parent, folder, symlinks=True, dirs_exist_ok=True, ignore=passed_over)
        _link(folder / "flatline")
        return self.at(folder)

    def at(self, folder: Path) -> "Checkout":
        """The same, which is in that folder by now."""
        return Checkout(folder / "flatline", folder / "home", folder / "bin", dict(self.variables))

    def module(self, name: str) -> Path:
        """A file of `FOLDERS`, such as "cli/up.py", that may be edited: all the others are those of every checkout."""
        path = self.root / name
        text = path.read_bytes()
        path.unlink()
        path.write_bytes(text)
        return path

    def run(self, *words: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs ./flatline without a terminal, as it is once it is in a Python that has the packages.

        How it gets there is for test_bootstrap: without FLATLINE_PYTHON, or with another one, it is started as typed.
        """
        environment = self.environment(**variables)
        if environment["FLATLINE_PYTHON"] == sys.executable:
            return forked.flatline(self.root, words, environment=environment, stdin=stdin)
        return subprocess.run(
            [sys.executable, str(self.root / "flatline"), *words],
            cwd=self.root,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def on_terminal(self, *words: str, columns: int = 80, **variables: str) -> str:
        """What a run that must succeed shows on a terminal of that width, without colours."""
        environment = self.environment(TERM="xterm", NO_COLOR="1", **variables)
        result = forked.flatline(self.root, words, environment=environment, columns=columns)
        assert result.returncode == 0, result.stdout + result.stderr
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", result.stdout)

    def environment(self, **variables: str) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "PATH": str(self.programs),
            "FLATLINE_PYTHON": sys.executable,
            "KUBECONFIG": str(self.home / "kubeconfig"),
            # Nothing may leave this machine.
            "HTTP_PROXY": "http://127.0.0.1:9",
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1",
            **self.variables,
            **variables,
        }

    def succeed(self, *words: str, stdin: str = "", **variables: str) -> str:
        """Standard output of a run that must succeed."""
        result = self.run(*words, stdin=stdin, **variables)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def fail(self, *words: str, stdin: str = "", status: int = 1, **variables: str) -> str:
        """Standard error of a run that must end with a status, without a traceback."""
        result = self.run(*words, stdin=stdin, **variables)
        assert result.returncode == status, result.stdout + result.stderr
        assert "Traceback" not in result.stdout + result.stderr
        assert "unexpected" not in result.stderr
        return result.stderr

    def configure(self, config: Mapping[str, Any], stack: str = "dev") -> None:
        """Writes a stack's file with `flatline:` keys."""
        content = {f"flatline:{key}": value for key, value in config.items()} | PULUMI_DISABLED_PROVIDERS
        self.file(stack).write_text(yaml.safe_dump({"config": content}))

    def file(self, stack: str = "dev") -> Path:
        return self.root / f"Pulumi.{stack}.yaml"

    def build(self, stack: str = "dev") -> Path:
        return self.root / "build" / stack

    def state(self, stack: str = "dev") -> Path:
        return self.root / "state" / f"{stack}.json"

    def contents(self, folder: Path | None = None) -> dict[str, bytes]:
        """Every file of a rendered folder."""
        return {path.name: path.read_bytes() for path in (folder or self.build()).iterdir()}

    def program(self, name: str, body: str) -> Path:
        """Puts a program on the PATH; `record(...)` in it appends a line of JSON to the file that is returned."""
        return put_program(self.programs, name, body)


@cache
def _sources() -> Path:
    """`FOLDERS`, compiled, in a folder of this process; all of its checkouts have the files as links.

    They derive keys from passphrases with few iterations, which would be most of what the commands take.
    """
    place = tempfile.TemporaryDirectory()
    _kept.append(place)
    ignore = shutil.ignore_patterns("*.pyc.*")  # what another process is compiling just now
    for name in FOLDERS:
        if not sys.dont_write_bytecode:
            compileall.compile_dir(REPOSITORY / name, quiet=2)
        shutil.copytree(REPOSITORY / name, Path(place.name, name), ignore=ignore)
    for module, slow, quick in (
        ("render/passphrase.py", "ITERATIONS: Final = 1_000_000", f"ITERATIONS: Final = {ITERATIONS}"),
        ("migration/sealing.py", 'SCRYPT = {"n": 2**17, ', f'SCRYPT = {{"n": {SCRYPT_N}, '),
    ):
        path = Path(place.name, module)
        text = path.read_text()
        assert slow in text, module
        path.write_text(text.replace(slow, quick))
        compileall.compile_file(path, quiet=2)
    for path in Path(place.name).rglob("*.*"):
        _edited[path.stat().st_ino] = path.stat().st_mtime_ns
    return Path(place.name)


@cache
def _home() -> Path:
    """A folder for one checkout at a time, whose modules are there, and in memory of the processes of its commands."""
    place = tempfile.TemporaryDirectory()
    _kept.append(place)
    root = Path(place.name, "flatline")
    root.mkdir()
    _link(root)
    for name in FILES:
        shutil.copy2(REPOSITORY / name, root / name)
    commands = sorted(f"cli.commands.{path.stem}" for path in (root / "cli" / "commands").glob("[!_]*.py"))
    stays = [root / name for name in FILES if name.endswith((".py", ".toml")) and name != "__main__.py"]
    ours = [
        path for name in FOLDERS for path in [root / name, *(root / name).rglob("*")] if "__pycache__" not in path.parts
    ]
    forked.load(
        root,
        ["cli.__main__", *commands, "components.targets.cloud", "tests.unit.cli.first_recording"],
        ours + stays,
    )
    for name in FILES:
        (root / name).unlink()
    return Path(place.name)


@contextmanager
def at_home(otherwise: Path) -> Iterator[Path]:
    """A folder for a checkout with quick commands, or the other one, while there is a checkout in that.

    What is in it in the end is moved to the other one, to be looked at after a failure. Our modules stay, unless one
    was edited.
    """
    home = _home()
    root = home / "flatline"
    if (home / "home").exists():
        yield otherwise
        return
    try:
        yield home
    finally:
        stay = {root / name for name in FOLDERS} if forked.is_as_loaded(root) else set()
        (otherwise / "flatline").mkdir(parents=True, exist_ok=True)
        for path in [*home.iterdir(), *root.iterdir()]:
            if path != root and path not in stay:
                shutil.move(path, otherwise / path.relative_to(home))
        _link(root)


def prepared(folder: Path, prepare: Callable[[Checkout], T], *, small: bool = True) -> tuple[Checkout, T]:
    """A checkout in an empty folder, to be copied, and what the commands gave that have prepared it."""
    with at_home(folder) as place:
        made = Checkout.make(place, small=small)
        given = prepare(made)
    return made.at(folder), given


def _link(root: Path) -> None:
    """Gives a checkout our modules, unless it has them."""
    for name in FOLDERS:
        if not (root / name).exists():
            shutil.copytree(_sources() / name, root / name, copy_function=_linked)


_kept: list["tempfile.TemporaryDirectory[str]"] = []
_edited: dict[int, int] = {}
"""When each file of `_sources` was edited last, by its inode."""


def _linked(source: str, target: str) -> None:
    """Links a file. Raises ValueError if a test has edited it where it is, and so in every checkout."""
    found = os.stat(source)
    if _edited.get(found.st_ino, found.st_mtime_ns) != found.st_mtime_ns:
        raise ValueError(f"{source} is edited in all checkouts; an earlier test has to use Checkout.module")
    os.link(source, target)


def calls(path: Path) -> list[dict[str, Any]]:
    """What a program on the PATH recorded."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def kubeconfig(servers: Mapping[str, str], current: str = "") -> str:
    """A kubeconfig with a context of each name."""
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": current,
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}} for name in servers],
            "clusters": [{"name": name, "cluster": {"server": server}} for name, server in servers.items()],
            "users": [{"name": name, "user": {"token": f"token-of-{name}"}} for name in servers],
        }
    )
