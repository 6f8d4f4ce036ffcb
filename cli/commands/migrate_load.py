"""`migrate load`: an archive into the stores of a stack."""

import time
from argparse import Namespace
from pathlib import Path

from cli import migrate, stacks
from cli.terminal import Terminal
from migration import transfer
from migration.archive import Archive


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Writes what is not there yet, reads it back and shows both; 1 if something is not as in the archive."""
    loaded = stacks.read(arguments.stack)
    with migrate.opened(arguments, loaded, terminal) as collections:
        archive = Archive(Path(arguments.source))
        migrate.report_origin(archive, terminal)
        with migrate.shown_progress() as progress:
            outcomes = transfer.load(
                collections, archive, time.time(), progress, into_non_empty=arguments.into_non_empty
            )
    return migrate.show(outcomes, terminal, loaded=True)
