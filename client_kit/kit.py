"""A kit as a folder: written whole or not at all, and never over files that differ unless somebody agreed."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import files
from client_kit import android, desktop, ios, libsignal, readme
from client_kit.pins import VERSION, Pins

CLIENTS: Mapping[str, tuple[Callable[[Pins], Mapping[str, bytes]], Callable[[Pins], str]]] = {
    "android": (android.files, readme.android),
    "ios": (ios.files, readme.ios),
    "desktop": (desktop.files, readme.desktop),
    "libsignal": (libsignal.files, readme.libsignal),
}
"""The files of each build, and what to do with them."""
PINS = "pins.json"
"""The pins themselves, as `pins --json` prints them; `connect --pins` reads them."""

_OURS = re.compile(
    r"README\.md|pins\.json|ca\.pem|whisper\.store|flatline\.gradle\.kts|certs\.rs|env\.rs|config\.json"
    r"|TSConstantsFlatline\.swift|(internal|internal-\d+|flatline-\d+)\.cer"
)
"""Names of files of kits; any other file in the folder is somebody's own, and never deleted."""


class KitError(Exception):
    """The folder cannot be written; nothing has changed. The message names what is in the way."""


@dataclass(frozen=True)
class Written:
    """The changes in the folder: files that are new, that have changed, that belong to it no more."""

    folder: Path
    files: tuple[str, ...]
    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def made(client: str, stack: str, outputs: Mapping[str, Any], pins: Pins) -> Mapping[str, bytes]:
    """The files of a client's kit by name, the same bytes for the same pins. `outputs` are the pins unread.

    Beside those of its build they are the authorities as PEM, the pins, and what to do with all of it.
    """
    document = {"version": VERSION, "stack": stack, "pins": dict(sorted(outputs.items()))}
    built, page = CLIENTS[client]
    texts = {"ca.pem": pins.pem, "README.md": page(pins), PINS: json.dumps(document, indent=2) + "\n"}
    return {**built(pins), **{name: text.encode() for name, text in texts.items()}}


def write(folder: Path, content: Mapping[str, bytes], *, overwrite: bool = False) -> Written:
    """Writes a folder that has exactly `content`. Raises KitError where the folder has something else.

    A folder that is there must be a kit or empty. Its files are replaced only with `overwrite`.
    """
    files.recover_directory(folder)
    before = _present(folder)
    new = tuple(sorted(content.keys() - before.keys()))
    changed = tuple(sorted(name for name in content.keys() & before.keys() if content[name] != before[name]))
    removed = tuple(sorted(before.keys() - content.keys()))
    others = [name for name in before if not _OURS.fullmatch(name)]
    if others or (before and PINS not in before):
        raise KitError(f"{folder} is no client kit: it has {(others or [*before])[0]}; name an empty folder")
    if before and not overwrite and (new or changed or removed):
        differing = ", ".join((*changed, *removed, *new))
        raise KitError(f"{folder} has a kit of other pins or of another client, which differs in {differing}")
    if new or changed or removed:
        files.replace_directory(folder, content)
    return Written(folder, tuple(sorted(content)), new, changed, removed)


def _present(folder: Path) -> dict[str, bytes]:
    """The files of a folder; none if there is no folder. Raises KitError for what a kit never has."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise KitError(f"{folder} is no folder; name one that is, or that does not exist yet")
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in found:
        if path.is_symlink() or not path.is_file():
            raise KitError(f"{folder} is no client kit: it has {path.name}, which is no file; name an empty folder")
    return {path.name: path.read_bytes() for path in found}
