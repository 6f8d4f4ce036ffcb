"""`up`: deploys a stack, or renders it."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cli import (
    backup_documents,
    continuity,
    deployed,
    drift,
    edge,
    engineless,
    expiry,
    objects,
    ownership,
    reissue,
    retired,
    rollout,
    rotation,
    stacks,
)
from cli.choice import DeployPlan, UpOptions, choose
from cli.drift import Drift
from cli.engine_output import Changes
from cli.stacks import LoadedStack, display_path
from cli.terminal import Terminal
from errors import FlatlineError

if TYPE_CHECKING:
    from pulumi.automation import Stack


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Says what was chosen and why, and does it."""
    loaded = stacks.read(arguments.stack)
    ownership.check_own(loaded)
    if continuity.wants_to_start_over(loaded.stack, arguments.start_over):
        with continuity.starting_over(loaded, terminal):
            return _bring_up(loaded, arguments, terminal)
    continuity.check(loaded)
    if arguments.renews and loaded.settings.certificates.leaf.renew_before_days is not None:
        loaded = rotation.renewed(loaded, _outputs(loaded, terminal), datetime.now(UTC), terminal)
    return _bring_up(loaded, arguments, terminal)


def _outputs(loaded: LoadedStack, terminal: Terminal) -> Mapping[str, Any]:
    """Those of the last `up`; none before the first, whose certificate is new."""
    from cli import engine
    from cli.commands import outputs

    backend, cli, no_cli = engine.managing_cli(loaded.stack)
    if backend is not None and cli is None:
        terminal.warn(f"Nobody looked whether the certificate has to be renewed: {no_cli}.")
        return {}
    brought_up = backend is not None or objects.outputs(loaded.stack.build) is not None
    return outputs.of(loaded) if brought_up else {}


def _bring_up(loaded: LoadedStack, arguments: Namespace, terminal: Terminal) -> int:
    choice = choose(loaded, UpOptions(engine=arguments.engine, context=arguments.context, yes=arguments.yes), terminal)
    terminal.say(f"Stack {loaded.stack.name}, {loaded.settings.domain}", "bold")
    terminal.points(choice.reasons)
    if isinstance(choice, DeployPlan):
        return _deploy(loaded, choice, arguments, terminal)
    return engineless.up(loaded, choice, arguments, terminal)


def _deploy(loaded: LoadedStack, choice: DeployPlan, arguments: Namespace, terminal: Terminal) -> int:
    from cli import before_update, engine, engine_state, transfer

    engineless.warn_of_moving_images(loaded, terminal)
    continuity.check_backend(loaded.stack)
    looks = before_update.can_look(terminal)
    known = loaded.stack.state.exists()
    recorded = deployed.recorded(loaded, choice.cluster.context)
    deployed.check(loaded, recorded or (deployed.of_files(loaded) if known else None), choice.cluster.context, terminal)
    if looks and (known or engine.managing_backend(loaded.stack, choice.cli) is None):
        before_update.check_free_namespaces(loaded, choice.cluster.context)
        continuity.check_before(loaded, choice.cluster.context, arguments.start_over)
    continuity.note_beginning(loaded.stack)
    carried = known and _carry(loaded, choice, arguments.confirm, terminal)
    with engine.opened(loaded, choice.cli, choice.cluster) as stack:
        agreed = choice.agreed or carried
        before = before_update.BeforeUpdate(loaded, choice.cli, choice.cluster, stack, terminal, agreed)
        before_update.unlock(loaded, choice.cli, stack, terminal, agreed)
        state = before.deployment() if looks else engine.deployment(stack)
        if recorded is None:
            last = deployed.of_outputs(engine_state.outputs(state), f"Pulumi's state in {engine.backend()}")
            deployed.check(loaded, last, choice.cluster.context, terminal)
        found = Drift()
        if looks:
            before.check_namespaces(state)
            found = before.drift(state)
            same = ["./flatline", "up", "--stack", loaded.stack.name, "--context", choice.cluster.context]
            drift.refuse_lost_claims(found, arguments.empty_volumes, same)
        if arguments.start_over is None:
            continuity.check_deployment(loaded, state, choice.cluster.context)
        if not carried:
            earlier = engine_state.outputs(state)
            again = _reissued(loaded, earlier, lambda: transfer.expected(loaded, state, terminal))
            reissue.agree(loaded, again, arguments.confirm, terminal)
            engineless.losses_of_upgrade(earlier, terminal)
        if not agreed:
            previewed = Changes(terminal.verbatim)
            with engine.engine_errors("pulumi preview failed", shown_already=True):
                stack.preview(color=terminal.engine_colour, on_output=previewed, on_error=terminal.note)
            changes = previewed.any or found
            if changes and not terminal.agrees(f"Do this on context {choice.cluster.context}?"):
                raise FlatlineError("nothing was deployed: no agreement")
        before.put_back(found)
        deployed.note_beginning(loaded, choice.cluster.context, recorded)
        engine.note_backend(loaded.stack)
        namespaces = loaded.settings.namespaces
        pods = rollout.watched(choice.cluster.context, namespaces, datetime.now(UTC), terminal)
        clear = engine.plain(loaded, "cancel", "--yes")
        updated = Changes(terminal.verbatim)
        with engine.engine_errors("pulumi up failed", shown_already=True, unlock=clear), pods:
            outputs = engine.update(choice.cli, stack, terminal, updated)
        if loaded.stack.state.exists():
            _leave_files_behind(loaded, choice, stack, terminal)
    deployed.note_end(loaded, choice.cluster.context, recorded, terminal)
    backup_documents.note(loaded, choice.cluster.context, terminal)
    continuity.note_up(loaded.stack, engine.backend())
    if updated.any or found:
        _summary(loaded, terminal)
    else:
        _nothing(loaded, updated.unchanged, terminal)
    expiry.warn(loaded, terminal, outputs)
    edge.look(loaded, choice.cluster.context, terminal, briefly=not updated.any)
    return 0


def _reissued(
    loaded: LoadedStack, earlier: Mapping[str, Any], expected: Callable[[], Mapping[str, Any]]
) -> reissue.Reissue:
    """Values that the engine would issue again; for a stack in a cloud the host names alone."""
    if loaded.in_cloud or not earlier:
        return reissue.of_settings(loaded, earlier)
    return reissue.between(earlier, expected(), (), ())


def _carry(loaded: LoadedStack, choice: DeployPlan, confirmed: str | None, terminal: Terminal) -> bool:
    """Gives the engine the secrets of the state file, once people have seen what it would do with them and agreed.

    False where the engine has them already, because an earlier run was interrupted.
    """
    from cli import engine, transfer

    if engine.managing_backend(loaded.stack, choice.cli) is not None:
        transfer.check_one_set(loaded, choice.cli)
        return False
    with transfer.prepared(loaded, terminal) as made:
        rendered = objects.outputs(loaded.stack.build) or {}
        reissue.agree(loaded, _reissued(loaded, rendered, lambda: made.outputs), confirmed, terminal)
        engineless.losses_of_upgrade(rendered, terminal)
        transfer.rehearse(loaded, choice.cli, choice.cluster, made, terminal, show=not choice.agreed)
        if not choice.agreed and not terminal.agrees(f"Do this on context {choice.cluster.context}?"):
            raise FlatlineError("nothing was deployed: no agreement", "The stack is as it was.")
        transfer.take_charge(loaded, choice.cli, choice.cluster, made, terminal, agreed=True)
    return True


def _leave_files_behind(loaded: LoadedStack, choice: DeployPlan, stack: "Stack", terminal: Terminal) -> None:
    """Moves the state file aside and reports the rendered objects, once the engine has deployed the stack."""
    from cli import transfer

    aside = transfer.retire(loaded.stack)
    terminal.heading("From files to Pulumi")
    terminal.say(f"{display_path(loaded.stack.state)} is now {display_path(aside)}: Pulumi keeps the same secrets.")
    rendered = objects.read(loaded.stack.build)
    if rendered:
        terminal.say(
            f"{display_path(loaded.stack.build)}/ holds secrets in plain text, and Pulumi does not use it: delete it."
        )
    if rendered and not loaded.in_cloud:  # what is in a cloud now has run on another cluster before
        left = retired.after(loaded.stack.build, transfer.applied(stack))
        engineless.gone(left, choice.cluster.context, terminal)


def _nothing(loaded: LoadedStack, count: int, terminal: Terminal) -> None:
    """Reports a run without changes: only what is still worth knowing; the run that deployed it reported the rest."""
    resources = f" It has {count} resources." if count else ""
    terminal.say(f"Nothing has changed since the last run.{resources} What clients are built with:")
    terminal.command(["./flatline", "pins", *engineless.stack_option(loaded)])


def _summary(loaded: LoadedStack, terminal: Terminal) -> None:
    from cli import engine

    terminal.heading("Clients")
    terminal.command(["./flatline", "pins", *engineless.stack_option(loaded)])
    engineless.points_to_know(loaded, terminal)
    terminal.heading("To go on with plain pulumi")
    if loaded.settings.target.context is None:
        terminal.say(
            f"First write flatline:target.context into {loaded.stack.file.name}: without it pulumi uses the context "
            "that is current in kubeconfig."
        )
    for line in engine.environment_hint(loaded):
        terminal.command(line)
