"""The version of Flatline that a stack was deployed with: where it is recorded, and which versions may follow it.

The record is on the services' namespace, and is written when a deployment has succeeded: by `up` where the engine
deploys, else by the last of the commands that `up` prints. Neither the engine nor `kubectl apply` takes it away, for
they have not applied it. Where there is none, the outputs of the state or of the rendered files tell the version of
the last run, of which nobody knows whether it came to its end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cli import kubectl, objects
from cli.objects import SELECTOR
from cli.stacks import LoadedStack, display_path
from cli.terminal import Terminal
from config import installation, upgrades
from config.upgrades import UPGRADES, Upgrade
from config.version import VERSION
from errors import FlatlineError


@dataclass(frozen=True)
class Deployed:
    """A version, the oldest one that may follow it as an earlier one, and what says so."""

    version: str
    back_to: str
    where: str
    certain: bool = True
    """False for a run that may not have come to its end."""


def recorded(loaded: LoadedStack, context: str | None) -> Deployed | None:
    """The record on the cluster of a context; None where there is none, or no context or no kubectl to look with.

    Raises FlatlineError if the cluster cannot be read: then nobody knows which versions may follow.
    """
    if context is None or not kubectl.is_installed():
        return None
    name = loaded.settings.namespace
    try:
        found = kubectl.read(context, "get", "namespaces", "--selector", SELECTOR).get("items", ())
    except FlatlineError as problem:
        raise FlatlineError(
            f"the deployed version, which namespace {name} on context {context} records, cannot be read: "
            f"{problem.in_a_line}",
            f"Nothing was changed, because {VERSION} may not be allowed to follow it. Run this again once "
            "`kubectl get namespaces` answers there.",
        ) from None
    notes: Mapping[str, Any] = next(
        (each["metadata"].get("annotations") or {} for each in found if each["metadata"]["name"] == name), {}
    )
    version = notes.get(installation.VERSION_ANNOTATION)
    if not version:
        return None
    back_to = str(notes.get(installation.BACK_TO_ANNOTATION) or version)
    return Deployed(str(version), back_to, f"namespace {name} on context {context}")


def recorded_if_readable(loaded: LoadedStack, context: str | None, terminal: Terminal) -> Deployed | None:
    """As `recorded`, for what changes nothing on the cluster: warns where it cannot be read."""
    try:
        return recorded(loaded, context)
    except FlatlineError as problem:
        terminal.warn(f"Nobody looked whether {VERSION} may follow what runs: {problem.problem}.")
        return None


def of_outputs(outputs: Mapping[str, Any] | None, where: str) -> Deployed | None:
    """The version among the outputs of a stack, which every run writes."""
    version = (outputs or {}).get("version")
    return Deployed(str(version), str(version), where, certain=False) if version else None


def of_files(loaded: LoadedStack) -> Deployed | None:
    """The version of the rendered files."""
    folder = loaded.stack.build
    return of_outputs(objects.outputs(folder), f"{display_path(folder)}/")


def check(loaded: LoadedStack, found: Deployed | None, context: str | None, terminal: Terminal) -> None:
    """Raises FlatlineError if `up` of this version must not follow the one that was found. Says if it goes back."""
    if found is None:
        return
    problem = refusal(found, loaded.stack.name)
    if problem is None:
        if upgrades.number(VERSION) < upgrades.number(found.version):
            terminal.warn(
                f"This goes back from {found.version} to {VERSION}, which can serve what {found.version} wrote."
            )
        return
    name, space = loaded.stack.name, loaded.settings.namespace
    said = [f"{key}=<version>" for key in notes()]
    raise FlatlineError(
        f"stack {name} {'has' if found.certain else 'was last brought up with'} {found.version} ({found.where}): "
        f"{problem[0]}",
        *problem[1:],
        "Nothing was changed. If another version runs there, say which one, and run this again with --context:",
        commands=[kubectl.command(context, "annotate", "namespace", space, "--overwrite", *said)],
    )


def refusal(
    found: Deployed, stack: str, here: str = VERSION, table: Mapping[str, Upgrade] = UPGRADES
) -> tuple[str, ...] | None:
    """Why a version must not follow a deployed one, and what to do; None if it may."""
    try:
        own, back_to = upgrades.number(here), upgrades.number(found.back_to)
        stop = upgrades.jumped_over(found.version, here, table)
    except ValueError as problem:
        return str(problem), f"Write the version that runs, such as {here}."
    if own < back_to:
        return (
            f"{here} cannot serve what {found.back_to} writes",
            f"Check out v{found.back_to} or a later one. To go back, restore a backup that {here} has made.",
        )
    if stop is None:
        return None
    return (
        f"{here} cannot follow at once, because {stop} has a step of its own: {table[stop].step}",
        f"Bring {stop} up first: `git checkout v{stop}`, then `./flatline up --stack {stack}`. Then {here} may follow.",
    )


def notes() -> dict[str, str]:
    """The record of this version, as annotations."""
    return {installation.VERSION_ANNOTATION: VERSION, installation.BACK_TO_ANNOTATION: UPGRADES[VERSION].back_to}


def note_beginning(loaded: LoadedStack, context: str, before: Deployed | None) -> None:
    """Raises what the record says of going back, before this version writes anything: a failed run counts, too."""
    change = notes()[installation.BACK_TO_ANNOTATION]
    if before is not None and upgrades.number(before.back_to) < upgrades.number(change):
        _annotate(loaded, context, {installation.BACK_TO_ANNOTATION: change})


def note_end(loaded: LoadedStack, context: str, before: Deployed | None, terminal: Terminal) -> None:
    """Writes the record of this version, once it is deployed. Warns where it cannot: the deployment stands."""
    if not kubectl.is_installed() or (before and (before.version, before.back_to) == tuple(notes().values())):
        return
    try:
        _annotate(loaded, context, notes())
    except FlatlineError as problem:
        terminal.warn(f"The deployed version could not be recorded: {problem.in_a_line}. The next `up` tries again.")


def _annotate(loaded: LoadedStack, context: str, notes: Mapping[str, str]) -> None:
    name = loaded.settings.namespace
    kubectl.merge(context, name, f"namespace/{name}", {"metadata": {"annotations": dict(notes)}})


def command(loaded: LoadedStack, context: str | None) -> list[str]:
    """The command that records this version, for somebody who applies files."""
    pairs = [f"{key}={value}" for key, value in notes().items()]
    return kubectl.command(context, "annotate", "namespace", loaded.settings.namespace, "--overwrite", *pairs)
