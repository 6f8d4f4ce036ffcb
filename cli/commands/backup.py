"""`backup`: everything of a stack that cannot be made again, as one encrypted archive."""

import time
from argparse import Namespace
from contextlib import ExitStack

from cli import archives, backup_documents, backup_schedule, continuity, drill, installation, pausing, stacks, stores
from cli.stacks import LoadedStack, Passphrase
from cli.terminal import Terminal
from errors import FlatlineError
from migration import sealing, transfer


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Writes the archive and shows its counts and checksums."""
    for name in ("credentials", "endpoint", "network"):
        if vars(arguments)[name] is not None and arguments.schedule is None:
            raise FlatlineError(f"--{name} belongs to --schedule", "Add --schedule, or leave it out.")
    if arguments.documents:
        return backup_documents.run(arguments, terminal)
    if arguments.to is None:
        raise FlatlineError("--to is missing", "Name a folder, or s3://BUCKET/PREFIX.")
    if arguments.schedule is not None:
        return backup_schedule.run(arguments, terminal)
    if arguments.drill:
        if arguments.attachments or arguments.keep is not None:
            raise FlatlineError("--drill writes no archive", "Leave --attachments and --keep out.")
        return drill.run(arguments, terminal)
    began = time.monotonic()
    loaded = stacks.read(arguments.stack)
    passphrase = Passphrase(loaded.stack, may_be_made=False)
    context = stores.cluster_of(arguments, loaded)
    if arguments.attachments:
        _check_attachments(loaded, context)
    continuity.check(loaded, context)
    running = [] if arguments.pause else stores.running_writers(context, loaded, terminal)
    documents = installation.documents(loaded, context, terminal)
    with ExitStack() as held:
        recipient = sealing.identity(passphrase()).recipient
        writer, place = held.enter_context(archives.writer(arguments.to, loaded, recipient, terminal))
        if arguments.pause and context is not None:
            held.enter_context(pausing.paused(context, loaded, terminal))
        collections = held.enter_context(stores.opened(arguments, loaded, context, attachments=arguments.attachments))
        progress = held.enter_context(stores.shown_progress())
        manifest = transfer.export(collections, writer, progress, live=bool(running), documents=documents)
    rows = [
        (f"{stores.NOUNS[kind]} {name}", str(part.count), part.checksum[:16])
        for kind, parts in manifest.parts.items()
        for name, part in parts.items()
    ]
    terminal.table(("Collection", "Records", "Checksum begins"), rows, frozenset({"Records"}))
    terminal.say(f"Wrote {place} in {time.monotonic() - began:.0f} s. It opens with the passphrase of the stack alone.")
    terminal.say(f"The passphrase is in {passphrase.find().origin}. Keep a copy of it elsewhere.")
    if running:
        terminal.note(
            f"These were running, so each record is whole, but not all are of one moment: {', '.join(running)}. "
            "Messages of the last minutes are in Redis alone. --pause gives both."
        )
    if arguments.keep is not None:
        archives.keep(arguments.to, loaded.stack.name, arguments.keep, terminal, written=writer.folder.name)
    if installation.STATE not in documents:
        terminal.warn("the stack has no state yet, so the archive holds no secrets")
    return 0


def _check_attachments(loaded: LoadedStack, context: str | None) -> None:
    """Raises FlatlineError where attachments cannot be read."""
    if loaded.in_cloud:
        raise FlatlineError(
            "the attachments of a stack in a cloud are in a bucket, not on a volume",
            "Leave --attachments out, and copy the bucket: `aws s3 sync`.",
        )
    if context is None:
        raise FlatlineError(
            "--attachments reads a volume of the cluster, and no cluster is named", "Name its context: --context."
        )
