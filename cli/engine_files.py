"""The files of Pulumi's file backend: where they are, and those that a killed engine left half written."""

import json
from pathlib import Path

SCHEME = "file://"
NOT_NEEDED = ".attrs"
"""Beside each file: its content type. Pulumi goes on without it, but fails with "EOF" where it is empty."""


def folder(backend: str, working_folder: Path) -> Path | None:
    """Where a file backend keeps its files; None for other backends."""
    if not backend.startswith(SCHEME):
        return None
    return working_folder / Path(backend.removeprefix(SCHEME).partition("?")[0]).expanduser() / ".pulumi"


def mend(backend: str, working_folder: Path) -> list[Path]:
    """Removes what was cut off while it was written and is not needed; returns what was removed.

    The engine writes states and locks as a whole, but not what it notes about them (gocloud.dev, blob/fileblob).
    """
    files = folder(backend, working_folder)
    if files is None:
        return []
    noted = [
        *files.glob(f"*{NOT_NEEDED}"),
        *files.glob(f"stacks/**/*{NOT_NEEDED}"),
        *files.glob(f"locks/**/*{NOT_NEEDED}"),
    ]
    broken = [file for file in noted if not _whole(file)]
    for file in broken:
        file.unlink(missing_ok=True)
    return broken


def _whole(file: Path) -> bool:
    try:
        json.loads(file.read_bytes())
    except FileNotFoundError:
        return True  # its process has just ended
    except ValueError:
        return False
    return True
