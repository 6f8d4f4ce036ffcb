"""The stacks of this checkout: their files, where their results and secrets are kept, and what they are set to."""

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cli import packages
from config.loading import SettingsError, load
from config.settings import PROJECT, Settings
from errors import FlatlineError
from render import passphrase, stack_file
from render.stack_file import StackConfig

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / "state"
BUILD = ROOT / "build"
LOCAL_BACKEND = STATE / "pulumi"
"""Pulumi's state where nobody has chosen another backend."""

_NAME = re.compile(r"(?!.*\.redacted$)[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
"""`render --redact` writes to `build/<stack>.redacted`, where a stack of that name would be built."""


def cache_folder() -> Path:
    """For downloads, and files that only save time. The folder may be deleted at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "flatline"


@dataclass(frozen=True)
class Stack:
    """A stack by name: the paths of everything that is its own."""

    name: str

    @property
    def file(self) -> Path:
        """Its configuration."""
        return ROOT / f"Pulumi.{self.name}.yaml"

    @property
    def build(self) -> Path:
        """Its rendered objects."""
        return BUILD / self.name

    @property
    def state(self) -> Path:
        """Its secrets, encrypted, where no engine keeps them."""
        return STATE / f"{self.name}.json"

    @property
    def carried(self) -> Path:
        """The earlier `state`, after the engine took over the secrets: its key of names, and values out of use."""
        return self.state.with_name(self.state.name + ".before-pulumi")

    @property
    def backend(self) -> Path:
        """Says which Pulumi backend keeps it, if that is another than `LOCAL_BACKEND`."""
        return STATE / f"{self.name}.backend"


def named(name: str) -> Stack:
    """The stack of a name that may not exist yet. Raises FlatlineError for what cannot be one."""
    if not _NAME.fullmatch(name):
        raise FlatlineError(
            f"{name!r} cannot be the name of a stack",
            "Write up to 100 letters, digits, hyphens, dots and underscores, a letter or digit first, "
            "and not .redacted at the end.",
        )
    return Stack(name)


def existing() -> list[str]:
    """The names of the stacks that have a file, sorted."""
    files = (path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in ROOT.glob("Pulumi.*.yaml"))
    return sorted(name for name in files if _NAME.fullmatch(name))


def find(name: str) -> Stack:
    """A stack that has a file. Raises FlatlineError, which names those that have one."""
    stack = named(name)
    if not stack.file.is_file():
        there = ", ".join(existing())
        raise FlatlineError(
            f"there is no stack {name}: Pulumi.{name}.yaml does not exist",
            f"Stacks here: {there}." if there else "There is no stack yet.",
            f"Make it: `./flatline stack new {name} --domain <your domain>`",
        )
    return stack


@dataclass(frozen=True)
class LoadedStack:
    """A stack with its configuration, as the engine would hand it to the program."""

    stack: Stack
    config: StackConfig
    settings: Settings

    @property
    def in_cloud(self) -> bool:
        """True if it has real cloud resources, which only the Pulumi engine can make."""
        return self.settings.target.kind == "cloud"

    @cached_property
    def passphrase(self) -> "Passphrase":
        """The passphrase that encrypts its secrets."""
        return Passphrase(self.stack, may_be_made=self.config.encryption_salt is None)


class Passphrase:
    """The passphrase of a stack, looked for when it is first asked for."""

    def __init__(self, stack: Stack, *, may_be_made: bool) -> None:
        self._stack = stack
        self._may_be_made = may_be_made
        self.source: passphrase.PassphraseSource | None = None

    def __call__(self) -> str:
        """The text. Raises PassphraseError where there is none and something is encrypted already."""
        return self.find().text

    def find(self) -> passphrase.PassphraseSource:
        """The passphrase and where it came from."""
        if self.source is None:
            self.source = passphrase.find(
                PROJECT, self._stack.name, may_create=lambda: self._may_be_made and not self._stack.state.exists()
            )
        return self.source


def read(name: str) -> LoadedStack:
    """A stack, its file read and its settings checked. Raises FlatlineError, StackFileError, SettingsError.

    Starts the command again where the stack is in the cloud and this Python lacks the clouds' SDKs.
    """
    stack = find(name)
    config = stack_file.read(stack.file, Passphrase(stack, may_be_made=False))
    try:
        loaded = LoadedStack(stack, config, load(config.config))
    except SettingsError as error:
        raise SettingsError([f"{_place(stack, config, problem)}: {problem}" for problem in error.problems]) from None
    if loaded.in_cloud:
        packages.add_clouds(name)
    return loaded


def _place(stack: Stack, config: StackConfig, problem: str) -> str:
    """The file, and the line of the longest key that both it and the problem name."""
    path = problem.split(" ", 1)[0].rstrip(":")
    while path not in config.lines:
        path, _, rest = path.rpartition(".")
        if not rest:
            return stack.file.name
    return f"{stack.file.name}:{config.lines[path]}"


def typed_folder(output: str) -> Path:
    """The folder after --output. Raises FlatlineError for nothing, and for the root of the file system."""
    folder = Path(output).absolute()
    if not output.strip() or folder == Path(folder.anchor):
        raise FlatlineError(f"--output {output!r} is no folder to write into")
    return folder


def display_path(path: Path) -> str:
    """A path as somebody in the current folder would type it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        home = os.path.expanduser("~")
        text = str(path)
        return f"~{text[len(home) :]}" if home != "/" and text.startswith(home + "/") else text
