"""`restore`: an archive back into a stack, or a comparison of both."""

import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack

from cli import archives, engineless, kubectl, pausing, recovery, stacks, stores
from cli.cluster_stores import ATTACHMENTS, REGISTRATION
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from migration import transfer
from migration.archive import Archive
from migration.records import Collection, Kind
from migration.transfer import Outcome


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Writes what is not there yet, reads it back and shows both; 1 if something is not as in the archive."""
    began = time.monotonic()
    stack = stacks.named(arguments.stack)
    known = stacks.read(stack.name) if stack.file.exists() else None
    with archives.reader(arguments.source, arguments.passphrase_file, stack, terminal) as archive:
        _report_origin(archive, terminal)
        archive.check()
        if not arguments.verify and recovery.put_back(stack, archive.manifest, terminal):
            _next(arguments, terminal)
            return stores.show_document(stack.name, [], terminal) if arguments.json else 0
        loaded = known or stacks.read(stack.name)
        outcomes = _outcomes(arguments, loaded, archive, terminal)
    if arguments.json:
        return stores.show_document(loaded.stack.name, outcomes, terminal)
    status = stores.show(outcomes, terminal, loaded=not arguments.verify)
    if not arguments.verify and not status:
        terminal.say(f"Restored in {time.monotonic() - began:.0f} s.")
    return status


def _outcomes(arguments: Namespace, loaded: LoadedStack, archive: Archive, terminal: Terminal) -> list[Outcome]:
    context = stores.cluster_of(arguments, loaded)
    if not arguments.verify:
        recovery.check_pins(loaded, archive.manifest)
        if not arguments.pause:
            stores.refuse_while_running(stores.running_writers(context, loaded, terminal))
    attachments = ATTACHMENTS.name in archive.manifest.parts["files"] and not loaded.in_cloud
    with ExitStack() as held:
        if arguments.pause and context is not None and not arguments.verify:
            held.enter_context(pausing.paused(context, loaded, terminal))
        collections = held.enter_context(stores.opened(arguments, loaded, context, attachments=attachments))
        _leave_out(archive, collections, terminal)
        progress = held.enter_context(stores.shown_progress())
        if arguments.verify:
            return transfer.verify(collections, archive, time.time(), progress, others_allowed=arguments.into_non_empty)
        outcomes = transfer.load(collections, archive, time.time(), progress, into_non_empty=arguments.into_non_empty)
        if context is not None and any((each.kind, each.name) == ("files", REGISTRATION.name) for each in outcomes):
            _restart_registration(context, loaded.settings.namespace)
        return outcomes


def _leave_out(archive: Archive, collections: Sequence[Collection], terminal: Terminal) -> None:
    """Passes over what the archive has of a cluster where none is named, or of a volume where there is none."""
    known = {(each.kind, each.name) for each in collections}
    kinds: tuple[Kind, ...] = ("secrets", "files")
    for kind in kinds:
        for name in archive.manifest.parts[kind]:
            if (kind, name) not in known:
                archive.leave_out(kind, name)
                terminal.warn(f"the archive has {name}, which this stack, as it was named, has no place for: left out")


def _restart_registration(context: str, namespace: str) -> None:
    """The program reads its files when it starts."""
    words = ("-n", namespace, "delete", "pod", "--selector", f"app.kubernetes.io/name={REGISTRATION.workload}")
    with kubectl.streamed(context, *words) as lines:
        list(lines)


def _report_origin(archive: Archive, terminal: Terminal) -> None:
    """Shows the origin of an archive, on standard error."""
    manifest = archive.manifest
    terminal.note(f"Archive of stack {manifest.stack}, made {manifest.created}")
    if manifest.live:
        terminal.note("Services were running while it was made: its records are not all of one moment.")


def _next(arguments: Namespace, terminal: Terminal) -> None:
    """The next steps once the stack's file and state are back."""
    where = ["--context", arguments.context] if arguments.context else []
    loaded = stacks.read(arguments.stack)
    terminal.say("Bring the stack up, empty, and restore its data then:")
    terminal.command(["./flatline", "up", *engineless.stack_option(loaded), *where])
    rest = [*engineless.stack_option(loaded), *where]
    terminal.command(["./flatline", "restore", "--from", arguments.source, *rest, "--pause"])
