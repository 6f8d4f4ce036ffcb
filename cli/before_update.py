"""Checks before the engine changes a stack, or shows what it would change.

The engine trusts its state, and its Kubernetes provider takes a cluster that does not answer for one that has not
changed. So locks, work that was cut off, the cluster, its namespaces and its objects are looked at here.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli import drift, engine, engine_lock, engine_state, kubectl, objects, ownership
from cli.drift import Drift
from cli.kubeconfig import Cluster
from cli.stacks import ROOT, LoadedStack
from cli.terminal import Terminal
from config.settings import PROJECT
from errors import FlatlineError

if TYPE_CHECKING:
    from pulumi import automation


def unlock(loaded: LoadedStack, cli: engine.Cli, stack: "automation.Stack", terminal: Terminal, agreed: bool) -> None:
    """Clears locks whose processes have ended. Raises FlatlineError for a lock of a process that may be at work."""
    locks = engine_lock.of(engine.backend(), PROJECT, stack.name, ROOT)
    at_work = [lock for lock in locks if not lock.dead]
    clear = engine.plain(loaded, "cancel", "--yes")
    if at_work:
        raise FlatlineError(
            f"stack {stack.name} is locked: Pulumi is at work on it",
            *(f"By {lock}." for lock in at_work),
            "Wait until it has ended. If it cannot end any more, because its machine is gone, clear its lock:",
            commands=[clear],
        )
    if not locks:
        return
    terminal.warn(f"An earlier run was killed and left its lock: {', '.join(map(str, locks))}.")
    if not agreed and not terminal.agrees("That process has ended. Clear its lock?"):
        raise FlatlineError("nothing was changed: the stack is locked. To clear the lock yourself:", commands=[clear])
    with engine.engine_errors("pulumi cannot clear the lock"):
        engine.run(cli, stack, "cancel", "--yes")


def check_free_namespaces(loaded: LoadedStack, context: str, ours: Collection[str] = ()) -> None:
    """Raises FlatlineError if a namespace that would be made is on the cluster, and this stack has not made it.

    `ours` are those in Pulumi's state. One that bears this stack's label is also its own if the stack has files.
    """
    settings, name = loaded.settings, loaded.stack.name
    absent = {settings.emulator_namespace} if loaded.in_cloud else set()
    wanted = {*settings.namespaces} - absent - {*ours}
    rendered = objects.namespaces(objects.read(loaded.stack.build, "Namespace"))
    known = wanted if loaded.stack.state.exists() else wanted & {*rendered}
    for each, other in ownership.makers(context, name, wanted).items():
        if not other and each in known:
            continue
        raise FlatlineError(
            f"namespace {each} is on context {context} already, and stack {name} has not made it",
            f"It belongs to {other or 'another stack of Flatline'}: write another flatline:namespace into "
            f"{loaded.stack.file.name}.",
            "If this stack was deployed here before, its state is missing: restore it first (docs/operations.md).",
        )


@dataclass(frozen=True)
class BeforeUpdate:
    """A stack that is open in the engine, and somebody who may have agreed to everything beforehand."""

    loaded: LoadedStack
    cli: engine.Cli
    cluster: Cluster
    stack: "automation.Stack"
    terminal: Terminal
    agreed: bool

    def deployment(self) -> Mapping[str, Any]:
        """The state without pending operations. Raises FlatlineError if nobody here can tell how one of them ended."""
        state = engine.deployment(self.stack)
        unfinished = engine_state.unfinished(state)
        if not unfinished.count:
            return state
        self.terminal.warn(f"An earlier run was cut off in the middle of {unfinished.count} operations.")
        if unfinished.unknown:
            raise FlatlineError(
                f"Pulumi does not know whether it has made {', '.join(unfinished.unknown)}",
                "Look for them. What is there must go, or be taken over with `pulumi import`. Then:",
                commands=[engine.plain(self.loaded, "refresh", "--clear-pending-creates", "--yes")],
            )
        there: list[str] = []
        if unfinished.objects:
            answers = drift.live(self.cluster.context, unfinished.objects)
            there = [each.urn for each in unfinished.objects if each.applied.key in answers]
        adopted = engine.settle(self.cli, self.stack, there)
        if adopted:
            engine.refresh(self.stack, adopted, self.terminal)
        return engine.deployment(self.stack)

    def check_namespaces(self, state: Mapping[str, Any]) -> None:
        """Raises FlatlineError if a namespace was renamed, or if a new one exists and belongs to another stack.

        A run that was cut off may have made any of the stack's namespaces, and not yet that of the services.
        """
        settings, name = self.loaded.settings, self.stack.name
        ours = engine_state.namespaces(state)
        if settings.namespace not in ours and not ours.issubset(settings.namespaces):
            before = [each for each in sorted(ours) if f"{each}-emulators" in ours] or sorted(ours)
            raise FlatlineError(
                f"flatline:namespace is {settings.namespace}, but stack {name} runs in {' and '.join(sorted(ours))}",
                "A namespace cannot be renamed, because volumes and secrets belong to it. "
                f"Write flatline:namespace: {before[0]} into {self.loaded.stack.file.name}.",
                "To live in another namespace, make a second stack and move the accounts (docs/migration.md).",
            )
        check_free_namespaces(self.loaded, self.cluster.context, ours)

    def drift(self, state: Mapping[str, Any]) -> Drift:
        """Shows what the cluster has lost or holds otherwise, and returns it."""
        kept = engine_state.kubernetes_objects(state)
        with self.terminal.step("Comparing the cluster with Pulumi's state"):
            found = drift.found(self.cluster.context, kept)
        if found.gone:
            self.terminal.heading("Gone from the cluster, and put back under the same names by `up`")
            self.terminal.points(engine_state.titles(found.gone), "yellow")
        if found.changed:
            self.terminal.heading("Changed in the cluster by others, and put back by `up`")
            self.terminal.points(engine_state.titles(found.changed), "yellow")
        return found

    def put_back(self, found: Drift) -> None:
        """Applies what was lost or changed as the state has it, and lets the engine read it."""
        if found:
            with self.terminal.step("Putting back what the cluster has lost"):
                drift.put_back(self.cluster.context, found)
            engine.refresh(self.stack, found.urns, self.terminal)


def can_look(terminal: Terminal) -> bool:
    """True if the cluster can be read. This needs kubectl, because the engine reports nothing of what it sees."""
    if kubectl.is_installed():
        return True
    terminal.warn(
        "kubectl is not on the PATH, so nobody looks whether objects were deleted in the cluster, whether its "
        "namespaces belong to somebody else, or which version it has recorded. Install it (https://kubernetes.io/docs/tasks/tools/)."
    )
    return False
