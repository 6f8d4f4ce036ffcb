"""`migrate verify`: compares the stores of a stack with an archive."""

import time
from argparse import Namespace
from pathlib import Path

from cli import migrate, stacks
from cli.terminal import Terminal
from migration import transfer
from migration.archive import Archive


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Reads everything and changes nothing; 1 if something is not as in the archive."""
    loaded = stacks.read(arguments.stack)
    with migrate.opened(arguments, loaded, terminal) as collections:
        archive = Archive(Path(arguments.source))
        migrate.report_origin(archive, terminal)
        with migrate.shown_progress() as progress:
            outcomes = transfer.verify(
                collections, archive, time.time(), progress, others_allowed=arguments.into_non_empty
            )
    if arguments.json:
        return migrate.show_document(loaded.stack.name, outcomes, terminal)
    return migrate.show(outcomes, terminal)
