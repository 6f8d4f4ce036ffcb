"""`down`: takes a stack down. Data and secrets stay unless their deletion is asked for by name."""

import shutil
from argparse import Namespace
from collections.abc import Collection
from pathlib import Path

from cli import (
    before_update,
    continuity,
    engine,
    engine_state,
    invitations,
    kubeconfig,
    kubectl,
    objects,
    ownership,
    stacks,
)
from cli.choice import named_cluster, named_context
from cli.objects import SELECTOR, Object
from cli.recording import record_with_state
from cli.stacks import LoadedStack, display_path
from cli.terminal import Terminal
from config.schema.invitations import SECRET
from config.settings import PROJECT
from errors import FlatlineError
from render import manifests

KEPT_KINDS = frozenset({"Namespace", "PersistentVolumeClaim"})

# Workloads go first, so that nothing runs without its network policies.
_FIRST = ("deployment.apps", "statefulset.apps", "cronjob.batch", "job.batch")


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Lists what stays, asks, and takes the rest down."""
    loaded = stacks.read(arguments.stack)
    context = named_context(loaded, arguments.context)
    if arguments.confirm is not None and not arguments.delete_data:
        raise FlatlineError("--confirm goes with --delete-data only")
    if arguments.no_cluster and (context is not None or not arguments.delete_data):
        raise FlatlineError("--no-cluster goes with --delete-data, and without a context")
    agreed = arguments.yes and context is not None
    backend, cli, no_cli = engine.managing_cli(loaded.stack)
    if backend is None:
        return _engineless(loaded, context, agreed, arguments, terminal)
    if cli is None:
        raise engine.without_cli(loaded.stack, backend, no_cli)
    if context is None:
        raise engine.without_cluster(loaded.stack, backend)
    return _by_engine(loaded, cli, context, agreed, arguments, terminal)


def _engineless(
    loaded: LoadedStack, context: str | None, agreed: bool, arguments: Namespace, terminal: Terminal
) -> int:
    delete_data, confirm, no_cluster = arguments.delete_data, arguments.confirm, arguments.no_cluster
    rendered = objects.read(loaded.stack.build)
    if not delete_data or not rendered:
        continuity.check(loaded)
    if not rendered and not loaded.stack.state.exists():
        terminal.say(f"Stack {loaded.stack.name} has never been brought up: there is nothing to take down.")
        return 0
    if not rendered:
        with record_with_state(loaded, terminal) as kept:
            rendered = objects.recorded(kept.recording)
    spaces = ownership.made_by(loaded.stack, rendered)
    for other in sorted(set(objects.namespaces(rendered)) - spaces):
        terminal.warn(f"Namespace {other} is another stack's as well: it is left alone, with everything in it.")
    rendered = [each for each in rendered if (each.namespace or each.name) in spaces]
    if context is not None:
        _refuse_others(loaded, context, spaces)
    commands = _deletions(rendered, context, delete_data)
    if delete_data:
        _list_lost(loaded, rendered, terminal)
        _confirm(loaded, confirm, terminal)
    else:
        _list_kept(loaded, rendered, terminal)
    if not commands:
        terminal.say(
            f"{display_path(loaded.stack.build)} holds no objects, so there is nothing to delete in a cluster."
        )
    elif delete_data and context is None and not no_cluster:
        _show(commands, terminal)
        raise FlatlineError(
            "nothing was deleted: no cluster is named, and its pods may still run with the keys that would be deleted",
            f"Name it: `./flatline down --stack {loaded.stack.name} --delete-data --context <context>`",
            "If the cluster is gone, or nothing was ever applied to one, add: --no-cluster",
        )
    else:
        _delete(commands, context, agreed or delete_data, terminal)
    if delete_data:
        _forget(loaded, terminal)
    return 0


def _refuse_others(loaded: LoadedStack, context: str, spaces: Collection[str]) -> None:
    """Raises FlatlineError if the cluster has one of these namespaces from somebody else: rendered is not yet made."""
    for space, other in ownership.makers(named_cluster(context).context, loaded.stack.name, spaces).items():
        if other:
            raise FlatlineError(
                f"nothing was deleted: namespace {space} on context {context} belongs to {other}",
                f"If {PROJECT}:namespace or the context is not what stack {loaded.stack.name} was brought up with, "
                "restore it.",
            )


def _deletions(rendered: list[Object], context: str | None, delete_data: bool) -> list[list[str]]:
    """kubectl's commands: by label, so that what earlier runs left behind goes as well."""
    spaces = objects.namespaces(rendered)
    if delete_data:
        return [kubectl.command(context, "delete", "--ignore-not-found", "namespace", *spaces)] if spaces else []
    commands = []
    for space in spaces:
        kinds = {each.resource for each in rendered if each.namespace == space and each.kind not in KEPT_KINDS}
        ordered = [kind for kind in _FIRST if kind in kinds] + sorted(kinds - set(_FIRST))
        what = ["delete", "--ignore-not-found", "--selector", SELECTOR, ",".join(ordered)]
        commands.append(kubectl.command(context, "-n", space, *what))
    return commands


def _not_agreed() -> FlatlineError:
    return FlatlineError("nothing was deleted: no agreement", "To agree without a terminal, add: --yes")


def _delete(commands: list[list[str]], context: str | None, agreed: bool, terminal: Terminal) -> None:
    """Runs the commands, or shows them where no cluster is named."""
    if context is None:
        _show(commands, terminal)
        return
    terminal.heading("Commands")
    for command in commands:
        terminal.command(command)
    cluster = named_cluster(context)
    if not agreed and not terminal.agrees(f"Run them on context {context} ({cluster.server})?"):
        raise _not_agreed()
    for command in commands:
        status = kubectl.run(command)
        if status != 0:
            raise FlatlineError(f"kubectl ended with status {status}; what it deleted stays deleted, the rest is there")


def _show(commands: list[list[str]], terminal: Terminal) -> None:
    terminal.heading("Commands")
    terminal.say(f"No cluster is named. Put your context in place of {kubectl.NOBODY}:")
    for command in commands:
        terminal.command(command)


def _list_kept(loaded: LoadedStack, rendered: list[Object], terminal: Terminal) -> None:
    terminal.say(f"Taking down stack {loaded.stack.name}; these stay:", "bold")
    terminal.points(f"volume {claim}" for claim in objects.claims(rendered))
    terminal.points(f"namespace {name}" for name in objects.namespaces(rendered))
    terminal.points(_invitations(loaded))
    if loaded.stack.state.exists():
        terminal.points([f"secrets and certificate authorities, encrypted, in {display_path(loaded.stack.state)}"])
    terminal.say(f"`./flatline up --stack {loaded.stack.name}` brings everything back with the same data and pins.")


def _list_lost(loaded: LoadedStack, rendered: list[Object], terminal: Terminal) -> None:
    terminal.warn(f"Deleting stack {loaded.stack.name} for ever: every account, group and upload, and every pin.")
    terminal.points(f"volume {claim}" for claim in objects.claims(rendered))
    terminal.points(f"namespace {name}" for name in objects.namespaces(rendered))
    terminal.points(_invitations(loaded))
    for path in (loaded.stack.state, *_carried(loaded), loaded.stack.build):
        if path.exists():
            terminal.points([display_path(path)])


def _invitations(loaded: LoadedStack) -> list[str]:
    """The Secret that `invite` makes, which is no object of the program."""
    invited = loaded.settings.registration.kind in invitations.KINDS
    return [f"invitations, in the secret {loaded.settings.namespace}/{SECRET}"] if invited else []


def _confirm(loaded: LoadedStack, confirm: str | None, terminal: Terminal) -> None:
    name = loaded.stack.name
    typed = confirm if confirm is not None else terminal.ask(f"Type {name} to delete its data:")
    if typed != name:
        raise FlatlineError(
            "nothing was deleted: the stack's name was not typed",
            f"In scripts: `./flatline down --stack {name} --delete-data --confirm {name}`",
        )


def _carried(loaded: LoadedStack) -> list[Path]:
    """State files that were moved aside."""
    aside = loaded.stack.carried
    return sorted(aside.parent.glob(f"{aside.name}*"))


def _forget(loaded: LoadedStack, terminal: Terminal) -> None:
    stack = loaded.stack
    if stack.build.exists():
        shutil.rmtree(stack.build)
    for path in (stack.state, *_carried(loaded), stack.state.with_name(stack.state.name + ".lock"), stack.backend):
        path.unlink(missing_ok=True)
    manifests.remove_unfinished(stack.build)
    previous = stack.build.with_name(f".{stack.name}.previous")
    if previous.exists():
        shutil.rmtree(previous)
    continuity.note_deleted(stack)
    terminal.say(f"Deleted the secrets and the files of stack {stack.name}; {stack.file.name} stays.")


def _by_engine(
    loaded: LoadedStack, cli: engine.Cli, context: str, agreed: bool, arguments: Namespace, terminal: Terminal
) -> int:
    cluster, name, delete_data = named_cluster(context), loaded.stack.name, arguments.delete_data
    terminal.say(f"Stack {name} on context {context} ({cluster.server}), by {cli}", "bold")
    kubeconfig.check_answers(cluster)
    kubectl.check_credentials(context)
    with engine.opened(loaded, cli, cluster) as stack:
        before = before_update.BeforeUpdate(loaded, cli, cluster, stack, terminal, agreed)
        before_update.unlock(loaded, cli, stack, terminal, agreed)
        state = before.deployment() if before_update.can_look(terminal) else engine.deployment(stack)
        if not delete_data and engine_state.is_bare(state):
            raise FlatlineError(
                f"nothing was deleted: stack {name} is without the protection that keeps its data, because a "
                "`down --delete-data` was cut off",
                "To delete the rest of its data, run that again. To keep it, protect it first:",
                commands=[["./flatline", "up", "--stack", name, "--context", context]],
            )
        if delete_data:
            terminal.warn(f"Deleting stack {name} for ever: every account, group and upload, and every pin.")
        else:
            terminal.say("These stay:")
        terminal.points([*engine_state.protected(state), *_invitations(loaded)])
        if delete_data:
            _confirm(loaded, arguments.confirm, terminal)
            engine.unprotect(stack, cli)
        elif not agreed and not terminal.agrees("Take the rest down?"):
            raise _not_agreed()
        clear = engine.plain(loaded, "cancel", "--yes")
        with engine.engine_errors("pulumi destroy failed", shown_already=True, unlock=clear):
            stack.destroy(
                color=terminal.engine_colour,
                on_output=terminal.verbatim,
                on_error=terminal.note,
                exclude_protected=None if delete_data else True,
            )
        if delete_data:
            engine.forget(stack)
            _forget(loaded, terminal)
    return 0
