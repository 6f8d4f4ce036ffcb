"""`render`: writes a stack's objects as files, and the plan of its cloud resources."""

from argparse import Namespace
from pathlib import Path

from cli import continuity, engine, expiry, gitops, objects, ownership, retired, stacks
from cli.choice import refuse_if_engine_keeps
from cli.recording import record_with_placeholders, record_with_state
from cli.stacks import LoadedStack, display_path
from cli.terminal import Terminal
from errors import FlatlineError
from render import manifests
from render.manifests import Summary


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Writes them, and says where."""
    gitops.check(arguments)
    loaded = stacks.read(arguments.stack)
    if arguments.secrets and loaded.in_cloud:
        raise FlatlineError(f"stack {loaded.stack.name} is in a cloud, which only the Pulumi engine brings up, not git")
    redact = arguments.redact or loaded.in_cloud
    if not redact:  # files for review get to no cluster
        ownership.check_own(loaded)
    folder = _folder(loaded, arguments.output, redact)
    if loaded.in_cloud:
        terminal.note(
            "In a cloud, secrets are the engine's and much is known only after creation: this is for review alone."
        )
        _report(manifests.write(record_with_placeholders(loaded, terminal), folder, redact=True), redact, terminal)
        return 0
    if redact:
        terminal.note(
            "For review: every secret is a throw-away one, so names made from secrets differ from a cluster's."
        )
        written = manifests.write(record_with_placeholders(loaded, terminal), folder, redact=True)
    else:
        continuity.check(loaded)
        continuity.note_beginning(loaded.stack)
        refuse_if_engine_keeps(loaded.stack, engine.managing_cli(loaded.stack)[0])
        with record_with_state(loaded, terminal) as kept:
            continuity.save(loaded, kept, arguments.confirm, terminal)
            if arguments.secrets:
                gitops.write(loaded, kept, arguments, folder, terminal)
                expiry.warn(loaded, terminal)
                return 0
            rendered = objects.recorded(kept.recording)
            extra = retired.file(retired.after(folder, rendered))
            written = manifests.write(kept.recording, folder, extra=extra)
    _report(written, redact, terminal)
    expiry.warn(loaded, terminal)
    return 0


def _folder(loaded: LoadedStack, output: str | None, redact: bool) -> Path:
    if output is None:
        return loaded.stack.build.with_name(f"{loaded.stack.name}.redacted") if redact else loaded.stack.build
    return stacks.typed_folder(output)


def _plan(written: Summary, terminal: Terminal) -> None:
    """Cloud resources by service and kind, and where they are written out."""
    rows = [(each.service, each.kind, str(each.count), str(each.protected)) for each in written.planned]
    terminal.table(("Service", "Resource", "Count", "Protected"), rows, frozenset({"Count", "Protected"}))
    total = sum(each.count for each in written.planned)
    terminal.say(f"{total} cloud resources in {display_path(written.directory / manifests.PLAN)}.")


def _report(written: Summary, redacted: bool, terminal: Terminal) -> None:
    if written.planned:
        _plan(written, terminal)
    what = "without secrets" if redacted else f"{len(written.secret_files)} of the files hold secrets (mode 0600)"
    terminal.say(f"{written.total} objects in {display_path(written.directory)}/, {what}.")
    changed = len(written.changed) + len(written.removed)
    terminal.say(f"{changed} files differ from the last run." if changed else "Nothing has changed since the last run.")
