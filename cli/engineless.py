"""Brings a stack up without an engine: renders it and says what that was, and what comes next."""

from argparse import Namespace
from collections.abc import Mapping
from contextlib import AbstractContextManager

from cli import continuity, deployed, edge, expiry, kubeconfig, kubectl, objects, ownership, retired
from cli.choice import RenderPlan
from cli.objects import Object
from cli.recording import RecordedStack, record_with_state
from cli.retired import Retired
from cli.stacks import LoadedStack, display_path
from cli.terminal import Terminal
from config.images import IMAGES
from config.settings import PROJECT
from errors import FlatlineError
from render import manifests
from render.manifests import STACK_OUTPUTS, Summary

_COLUMNS = 3


def up(loaded: LoadedStack, choice: RenderPlan, arguments: Namespace, terminal: Terminal) -> int:
    """Renders into build/<stack>/ and prints a summary."""
    earlier = objects.outputs(loaded.stack.build)
    _refuse_namespaces_of_others(loaded, choice.context)
    recorded = deployed.recorded_if_readable(loaded, choice.context, terminal)
    deployed.check(
        loaded, recorded or deployed.of_outputs(earlier, display_path(loaded.stack.build)), choice.context, terminal
    )
    continuity.check_before(loaded, choice.context, arguments.start_over)
    continuity.note_beginning(loaded.stack)
    with _secrets_of(loaded, choice, terminal) as kept:
        over = arguments.start_over is not None
        continuity.save(loaded, kept, arguments.confirm, terminal, choice.context, started_over=over)
        recording, notices = kept.recording, kept.notices
        rendered = objects.recorded(recording)
        left = retired.after(loaded.stack.build, rendered, kept.applied)
        written = manifests.write(recording, loaded.stack.build, extra=retired.file(left))
    changed = bool(written.changed or written.removed)
    if changed:
        _first_or_changed(loaded, written, notices, terminal)
    else:
        _unchanged(loaded, written, notices, choice.context, terminal)
    losses_of_upgrade(earlier or {}, terminal)
    expiry.warn(loaded, terminal)
    if changed:
        _next(loaded, choice.context, rendered, terminal)
    gone(left, choice.context, terminal)
    _look_at_cluster(loaded, choice.context, terminal, briefly=not changed)
    return 0


def _first_or_changed(loaded: LoadedStack, written: Summary, notices: list[str], terminal: Terminal) -> None:
    terminal.heading("Objects")
    _counts(written, terminal)
    terminal.say(f"Files written: {len(written.changed)}; removed: {len(written.removed)}.")
    _secrets(loaded, written, notices, terminal)
    _pins(loaded, terminal)
    points_to_know(loaded, terminal)


def _unchanged(
    loaded: LoadedStack, written: Summary, notices: list[str], context: str | None, terminal: Terminal
) -> None:
    """Reports a run without changes: what is still worth knowing; the run that wrote the files reported the rest."""
    terminal.say(
        f"Nothing has changed since the last run. {written.total} objects are in {display_path(written.directory)}/, "
        f"secrets in {display_path(loaded.stack.state)}."
    )
    for notice in notices:
        terminal.warn(notice)
    warn_of_moving_images(loaded, terminal)
    terminal.say("To apply them" + ("" if context else f", with your cluster's context for {kubectl.NOBODY}") + ":")
    terminal.command(kubectl.apply_commands(context, display_path(written.directory), ())[0])
    terminal.say("What clients are built with:")
    terminal.command(["./flatline", "pins", *stack_option(loaded)])


def _refuse_namespaces_of_others(loaded: LoadedStack, context: str | None) -> None:
    """Raises FlatlineError if the cluster has one. A cluster that cannot be read has none: files are for later."""
    if context is None or not kubectl.is_installed():
        return
    settings, name = loaded.settings, loaded.stack.name
    try:
        makers = ownership.makers(context, name, {*settings.namespaces})
    except (FlatlineError, ValueError):
        return
    for each, other in makers.items():
        if other:
            raise FlatlineError(
                f"namespace {each} is on context {context} already, and belongs to {other}",
                f"Nothing was written. Write another {PROJECT}:namespace into {loaded.stack.file.name}.",
            )


def _secrets_of(loaded: LoadedStack, choice: RenderPlan, terminal: Terminal) -> AbstractContextManager[RecordedStack]:
    """The program with the stack's secrets, from the engine where that keeps them."""
    if choice.kept_by is None:
        return record_with_state(loaded, terminal)
    from cli import transfer

    return transfer.brought_back(loaded, choice.kept_by, terminal)


def _look_at_cluster(loaded: LoadedStack, context: str | None, terminal: Terminal, *, briefly: bool) -> None:
    """Looks at the cluster that was named, if it is there; rendered files are for later, so it need not be."""
    cluster = kubeconfig.cluster(context) if context else None
    if cluster is None:
        return
    problem = cluster.problem() if kubectl.is_installed() else None
    if problem:
        edge.unknown(f"cluster {cluster.context} does not answer: {problem}", terminal)
    else:
        edge.look(loaded, cluster.context, terminal, briefly=briefly)


def losses_of_upgrade(earlier: Mapping[str, object], terminal: Terminal) -> None:
    """Says what an upgrade loses, by the outputs of the stack as it is: an earlier release kept objects in memory."""
    losses = earlier.get("lostOnRestart")
    if not isinstance(losses, (list, tuple)) or not losses:
        return
    terminal.heading("Lost by this upgrade, once")
    terminal.points((str(loss) for loss in losses), "yellow")
    terminal.say(
        "The release that runs now keeps them in memory; from this one on they are on the volume `objects`. To keep "
        "avatars and stickers, copy the bucket of CDN0 before, and back after (docs/operations.md)."
    )


def points_to_know(loaded: LoadedStack, terminal: Terminal) -> None:
    """Tells the operator what to know about this stack: images that may change."""
    moving = loaded.settings.moving_images
    if moving:
        terminal.heading("Images without a digest")
        terminal.points((f"{IMAGES[name].reference()} ({name})" for name in moving), "yellow")
        terminal.say(
            "Their tag moves: two nodes may run two versions, and a restart may bring another. "
            f"Write digests under flatline:images.digests in {loaded.stack.file.name}."
        )


def warn_of_moving_images(loaded: LoadedStack, terminal: Terminal) -> None:
    """One line for a deployment that pulls images by a moving tag."""
    moving = loaded.settings.moving_images
    if moving:
        terminal.warn(
            f"{', '.join(moving)}: no digest, so a restart may bring another version; "
            f"write flatline:images.digests in {loaded.stack.file.name}"
        )


def _counts(written: Summary, terminal: Terminal) -> None:
    """Objects by kind, several pairs of columns beside each other."""
    kinds = [*written.objects.items()]
    height = -(-len(kinds) // _COLUMNS)
    rows = []
    for line in range(height):
        row: list[str] = []
        for column in range(_COLUMNS):
            at = line + column * height
            kind, count = kinds[at] if at < len(kinds) else ("", "")
            row += [kind, str(count)]
        rows.append(row)
    terminal.table(["Kind", "Count"] * _COLUMNS, rows, frozenset({"Count"}))
    terminal.say(f"{written.total} objects in {display_path(written.directory)}/")


def _secrets(loaded: LoadedStack, written: Summary, notices: list[str], terminal: Terminal) -> None:
    terminal.heading("Secrets")
    terminal.say(f"These {len(written.secret_files)} files hold secrets in plain text (mode 0600):")
    terminal.points(written.secret_files)
    terminal.say(f"They are kept, encrypted, in {display_path(loaded.stack.state)}.")
    source = loaded.passphrase.source
    if source is not None:
        terminal.say(f"The passphrase is in {source.origin}.")
        if source.created:
            terminal.say("Keep a copy of both: without them this stack cannot be brought up again.", "bold")
    for notice in notices:
        terminal.warn(notice)


def _pins(loaded: LoadedStack, terminal: Terminal) -> None:
    terminal.heading("Clients")
    terminal.say(f"What they are built with is in {display_path(loaded.stack.build / STACK_OUTPUTS)}:")
    terminal.command(["./flatline", "pins", *stack_option(loaded)])


def _next(loaded: LoadedStack, context: str | None, rendered: list[Object], terminal: Terminal) -> None:
    terminal.heading("Next")
    if context is None:
        terminal.say(f"Put the name of your cluster's context in place of {kubectl.NOBODY}:")
    folder = display_path(loaded.stack.build)
    for command in kubectl.apply_commands(context, folder, objects.waits(rendered)):
        terminal.command(command)
    terminal.say("Once everything is ready, record the version for the next upgrade:")
    terminal.command(deployed.command(loaded, context))
    if loaded.settings.backup is not None:
        terminal.say("Then give the cluster's backups the stack's file and its encrypted secrets, as they are now:")
        terminal.command(
            ["./flatline", "backup", "--documents", *stack_option(loaded), "--context", context or kubectl.NOBODY]
        )


def gone(left: list[Retired], context: str | None, terminal: Terminal) -> None:
    """Commands that delete what earlier runs had and this one has not, but for namespaces and volumes."""
    if left:
        terminal.say(
            "Then, once that is done, what is no longer part of the stack, of all earlier runs, because nobody knows "
            "what has been deleted since:"
        )
    for namespace in sorted({each.namespace for each in left}):
        names = sorted({f"{each.resource}/{each.name}" for each in left if each.namespace == namespace})
        where = ["-n", namespace] if namespace else []
        terminal.command(kubectl.command(context, *where, "delete", "--ignore-not-found", *names))


def stack_option(loaded: LoadedStack) -> list[str]:
    """The words that name the stack in a command; none for the one that is taken without them."""
    return [] if loaded.stack.name == "dev" else ["--stack", loaded.stack.name]
