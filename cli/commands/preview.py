"""`preview`: what `up` would change. Makes nothing and changes nothing."""

from argparse import Namespace
from typing import Any

from cli import (
    before_update,
    continuity,
    difference,
    document,
    engine,
    engine_state,
    kubeconfig,
    kubectl,
    objects,
    ownership,
    reissue,
    stacks,
)
from cli.choice import named_cluster, named_context
from cli.difference import Difference
from cli.drift import Drift
from cli.forms.stack import PreviewByPulumi, PreviewOfFiles
from cli.objects import Object
from cli.recording import record_with_placeholders, record_with_state
from cli.stacks import LoadedStack, display_path
from cli.terminal import Terminal
from errors import FlatlineError
from render.manifests import kubernetes_objects, tree
from render.model import Recording


def run(arguments: Namespace, terminal: Terminal) -> int:
    """By the engine for a stack that it keeps or that is in a cloud, else by comparing with the last run's files."""
    found = _found(arguments, terminal)
    if arguments.json:
        form = PreviewOfFiles if found["by"] == "files" else PreviewByPulumi
        document.show(form, {"stack": arguments.stack, **found}, terminal)
    return 0


def _found(arguments: Namespace, terminal: Terminal) -> dict[str, Any]:
    """Shows the changes, and gives them for programs."""
    loaded = stacks.read(arguments.stack)
    ownership.check_own(loaded)
    context = named_context(loaded, arguments.context)
    continuity.check(loaded, context)
    cli, no_cli = engine.installed()
    backend = engine.managing_backend(loaded.stack, cli)
    if backend is None and loaded.stack.state.exists() and (cli is None or context is None) and not loaded.in_cloud:
        with record_with_state(loaded, terminal) as kept:
            continuity.check_recorded(loaded, continuity.recorded_digests(kept.recording))
            return _compare(loaded, kept.recording, terminal)
    if backend is not None and cli is None:
        raise engine.without_cli(loaded.stack, backend, no_cli)
    if cli is not None and context is not None and backend is None and loaded.stack.state.exists():
        return _carried(loaded, cli, context, terminal)
    if cli is not None and context is not None:
        return _by_engine(loaded, cli, context, terminal)
    if backend is not None:
        raise engine.without_cluster(loaded.stack, backend)
    if loaded.in_cloud:
        tree(record_with_placeholders(loaded, terminal), redact=True)  # what is wrong with the program comes first
        raise FlatlineError(
            f"stack {loaded.stack.name} is in a cloud, where only the Pulumi engine knows what there is: "
            + (no_cli if cli is None else "no cluster is named (--context, or flatline:target.context)"),
            f"What it would make, without engine or credentials: `./flatline render --stack {loaded.stack.name}`",
        )
    return _compare(loaded, record_with_placeholders(loaded, terminal), terminal)


def _carried(loaded: LoadedStack, cli: engine.Cli, context: str, terminal: Terminal) -> dict[str, Any]:
    """Previews the engine's update with the secrets of the state file, on a copy: the stack does not get them."""
    from cli import transfer

    cluster = named_cluster(context)
    kubeconfig.check_answers(cluster)
    terminal.say(f"Stack {loaded.stack.name} on context {context} ({cluster.server}), by {cli}")
    terminal.say(
        f"Its secrets are in {display_path(loaded.stack.state)}; `up` carries them over, and makes none again."
    )
    if before_update.can_look(terminal):
        before_update.check_free_namespaces(loaded, context)
    with transfer.prepared(loaded, terminal) as made:
        changes = transfer.rehearse(loaded, cli, cluster, made, terminal, show=True)
    return {"by": "pulumi", "changes": changes, "lost": [], "drifted": []}


def _by_engine(loaded: LoadedStack, cli: engine.Cli, context: str, terminal: Terminal) -> dict[str, Any]:
    cluster = named_cluster(context)
    kubeconfig.check_answers(cluster)
    kubectl.check_credentials(context)
    terminal.say(f"Stack {loaded.stack.name} on context {context} ({cluster.server}), by {cli}")
    with engine.opened(loaded, cli, cluster) as stack:
        before = before_update.BeforeUpdate(loaded, cli, cluster, stack, terminal, agreed=False)
        drift = Drift()
        state = engine.deployment(stack)
        if before_update.can_look(terminal):
            before.check_namespaces(state)
            drift = before.drift(state)
        continuity.check_deployment(loaded, state, context)
        reissue.show(loaded, reissue.of_settings(loaded, engine_state.outputs(state)), terminal)
        with engine.engine_errors("pulumi preview failed", shown_already=True):
            previewed = stack.preview(
                color=terminal.engine_colour,
                on_output=terminal.verbatim,
                on_error=terminal.note,
            )
    return {
        "by": "pulumi",
        "changes": previewed.change_summary,
        "lost": engine_state.titles(drift.gone),
        "drifted": engine_state.titles(drift.changed),
    }


def _compare(loaded: LoadedStack, recording: Recording, terminal: Terminal) -> dict[str, Any]:
    tree(recording, redact=True)  # its checks: the preview shall find what `up` would refuse
    unshowable = {
        str(Object(resource.outputs))
        for resource in kubernetes_objects(recording)
        if resource.secret_output_paths and resource.outputs["kind"] != "Secret"
    }
    before = objects.read(loaded.stack.build)
    after = objects.recorded(recording)
    issued = None
    if loaded.stack.state.exists():
        issued = reissue.between(objects.outputs(loaded.stack.build), recording.outputs, before, after)
        reissue.show(loaded, issued, terminal)
    found = difference.between(before, after)
    where = display_path(loaded.stack.build)
    terminal.say(f"Stack {loaded.stack.name}: what `up` would change in {where}/", "bold")
    if not before:
        terminal.say("Nothing has been rendered there yet: every object is new.")
    if found:
        _show(found, unshowable, terminal)
    else:
        terminal.say("Nothing.")
    return {
        "by": "files",
        "new": [*map(str, found.new)],
        "gone": [*map(str, found.gone)],
        "changed": [str(after) for _, after in found.changed],
        "pins": dict(issued.pins) if issued else {},
        "hosts": [list(each) for each in issued.hosts] if issued else [],
    }


def _show(found: Difference, unshowable: set[str], terminal: Terminal) -> None:
    terminal.points((f"new: {each}" for each in found.new), "green")
    terminal.points((f"gone: {each}" for each in found.gone), "red")
    for before, after in found.changed:
        renamed = f", as {after.name}" if after.name != before.name else ""
        terminal.points([f"changed: {before}{renamed}"], "yellow")
        if str(after) in unshowable:
            terminal.say("  It holds secrets outside of a Secret, so the change is not shown.")
        else:
            terminal.diff(line for line in difference.lines(before, after) if line[:3] not in {"---", "+++"})
    terminal.say(f"{len(found.new)} new, {len(found.changed)} changed, {len(found.gone)} gone.", "bold")
