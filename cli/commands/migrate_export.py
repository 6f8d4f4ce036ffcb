"""`migrate export`: everything that a stack keeps, into a folder."""

from argparse import Namespace
from pathlib import Path

from cli import migrate, stacks
from cli.stacks import display_path
from cli.terminal import Terminal
from migration import transfer
from migration.archive import Writer


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Writes the archive and shows its counts and checksums."""
    loaded = stacks.read(arguments.stack)
    folder = Path(arguments.to)
    with Writer(folder) as writer:
        if writer.restarted:
            terminal.note("An earlier export was not finished; it is made anew.")
        with migrate.opened(arguments, loaded, terminal) as collections, migrate.shown_progress() as progress:
            manifest = transfer.export(collections, writer, loaded.stack.name, progress, live=arguments.live)
    rows = [
        (f"{migrate.NOUNS[kind]} {name}", str(part.count), part.checksum[:16])
        for kind, parts in manifest.parts.items()
        for name, part in parts.items()
    ]
    terminal.table(("Collection", "Records", "Checksum begins"), rows, frozenset({"Records"}))
    terminal.say(f"Wrote {display_path(folder.absolute())}. It holds accounts and keys: keep it as you keep secrets.")
    if arguments.live:
        terminal.warn("made with --live: what the services wrote meanwhile may be in it in part")
    return 0
