"""`pins`: the outputs that a client is built with, or the files that its build takes."""

import hashlib
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli import continuity, document, reissue, stacks
from cli.commands import outputs
from cli.forms.stack import Kit, Pins
from cli.stacks import ROOT, LoadedStack, Stack, display_path
from cli.terminal import Terminal
from client_kit import kit
from client_kit import pins as known
from client_kit.kit import KitError, Written
from client_kit.pins import PinsError
from errors import FlatlineError

KITS = ROOT / "clients"
"""Where kits go by default: a folder for each stack, in it one for each client."""


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Prints the pins, or writes a kit and says where."""
    if arguments.client is None and (arguments.output is not None or arguments.overwrite):
        raise FlatlineError(
            f"--{'overwrite' if arguments.output is None else 'output'} is for the files of a client",
            "Name the client as well: --for android, ios, desktop or libsignal.",
        )
    loaded = stacks.read(arguments.stack)
    continuity.check(loaded)
    pins = of(loaded)
    if arguments.client is None:
        outputs.show(loaded, Pins, pins, arguments.json, terminal)
        return 0
    folder = _folder(loaded.stack, arguments)
    try:
        content = kit.made(arguments.client, loaded.stack.name, pins, known.of(pins))
        written = kit.write(folder, content, overwrite=arguments.overwrite)
    except PinsError as error:
        raise FlatlineError(
            f"stack {loaded.stack.name}: {error}; nothing was written",
            f"Bring it up with this version of Flatline: `./flatline up --stack {loaded.stack.name}`",
        ) from None
    except KitError as error:
        raise FlatlineError(
            f"{error}; nothing was written",
            "To replace a kit of an earlier time, add --overwrite.",
        ) from None
    _tell(loaded, arguments, content, written, terminal)
    return 0


def of(loaded: LoadedStack) -> dict[str, Any]:
    """The pins of the last `up` by name. Raises FlatlineError before the first."""
    return {name: value for name, value in outputs.of(loaded).items() if name not in reissue.NOT_PINS}


def _folder(stack: Stack, arguments: Namespace) -> Path:
    if arguments.output is None:
        return KITS / stack.name / str(arguments.client)
    return stacks.typed_folder(arguments.output)


def _tell(
    loaded: LoadedStack, arguments: Namespace, content: Mapping[str, bytes], written: Written, terminal: Terminal
) -> None:
    if arguments.json:
        listed = {name: hashlib.sha256(content[name]).hexdigest() for name in written.files}
        found = {"stack": loaded.stack.name, "client": arguments.client, "folder": str(written.folder)}
        changes = {"new": [*written.new], "changed": [*written.changed], "removed": [*written.removed]}
        document.show(Kit, {**found, "files": listed, **changes}, terminal)
        return
    terminal.say(f"{len(written.files)} files for {arguments.client} in {display_path(written.folder)}/:")
    terminal.points(_line(name, written) for name in (*written.files, *written.removed))
    terminal.say("README.md there says where each goes, and what else must be changed.")


def _line(name: str, written: Written) -> str:
    for names, word in ((written.new, "new"), (written.changed, "replaced"), (written.removed, "removed")):
        if name in names:
            return f"{name} ({word})"
    return f"{name} (as it was)"
