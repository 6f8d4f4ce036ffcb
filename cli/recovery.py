"""An installation from an archive: its file and state come back, and its pins are compared."""

import json
from pathlib import Path

import files
from cli import installation
from cli.stacks import LoadedStack, Stack, display_path
from cli.terminal import Terminal
from errors import FlatlineError
from migration.archive import Manifest


def check_pins(loaded: LoadedStack, manifest: Manifest) -> None:
    """Raises FlatlineError if accounts and groups of an archive depend on other keys than the stack has."""
    if installation.PINS not in manifest.documents:
        return
    wanted, own = json.loads(manifest.documents[installation.PINS]), installation.pins(loaded)
    differing = sorted(name for name in wanted.keys() & own.keys() if wanted[name] != own[name])
    if differing:
        raise FlatlineError(
            f"stack {loaded.stack.name} has other keys than the archive's stack {manifest.stack}: "
            f"{', '.join(differing)}; nothing was written",
            "With them nobody could read the groups and profiles of the archive.",
            f"Before the first `up` of the stack: `./flatline migrate secrets --from-stack {manifest.stack} "
            f"--to-stack {loaded.stack.name}`",
        )


def put_back(stack: Stack, manifest: Manifest, terminal: Terminal) -> bool:
    """Writes the stack's file and its state where they are missing and the archive is of this stack. True if it did."""
    if manifest.stack != stack.name:
        return False
    written = []
    state = manifest.documents.get(installation.STATE)
    engineless = state is not None and not stack.backend.exists()
    configuration = manifest.documents.get(installation.CONFIGURATION)
    lacks_state = engineless and not stack.state.exists()
    if lacks_state and configuration is not None and _differs(stack.file, configuration):
        raise FlatlineError(
            f"{stack.file.name} is not that of the archive, and the stack has no secrets here; nothing was written",
            "Move it away and restore again, which writes the archive's file and secrets.",
            commands=[["mv", stack.file.name, f"{stack.file.name}.old"]],
        )
    if engineless and files.create(stack.state, str(state).encode()):
        written.append(stack.state)
    if not stack.file.exists():
        if configuration is None:
            raise FlatlineError(
                f"{stack.file.name} is not there, and the archive holds data alone: nobody gave its cluster the file",
                f"Put back {stack.file.name} and state/{stack.name}.json, or name an archive that has them.",
            )
        if files.create(stack.file, configuration.encode(), 0o644):
            written.append(stack.file)
    for path in written:
        terminal.say(f"Wrote {display_path(path)}, as it was on {manifest.created}.")
    return bool(written)


def _differs(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") != text
