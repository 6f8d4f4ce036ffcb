"""`upgrade --check`: compares what is deployed with this checkout. Changes nothing."""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cli import continuity, deployed, document, engine, kubeconfig, objects, ownership, stacks, upgrade_effects
from cli.choice import named_cluster, named_context
from cli.commands import outputs
from cli.deployed import Deployed
from cli.difference import between
from cli.forms.upgrade import Upgrade
from cli.objects import Object
from cli.recording import record_with_state
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from cli.upgrade_effects import Effects, Pair
from config import upgrades
from config.upgrades import UPGRADES
from config.version import VERSION

if TYPE_CHECKING:
    from pulumi import automation

_STAYS = frozenset({"same", "read", "refresh"})


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Says what `up` of this checkout would do to what runs; status 1 if it must not follow what is deployed."""
    loaded = stacks.read(arguments.stack)
    ownership.check_own(loaded)
    continuity.check(loaded)
    context = named_context(loaded, arguments.context)
    found, refused = _versions(loaded, context, terminal)
    effects = None if refused else _effects(loaded, context, terminal)
    way = upgrades.on_the_way(found.version, VERSION) if found and not refused else []
    if not refused:
        _show_way(way, terminal)
    if effects:
        _show(effects, terminal)
    if arguments.json:
        document.show(
            Upgrade,
            {
                "stack": loaded.stack.name,
                "context": context,
                "deployed": found.version if found else None,
                "recorded": bool(found and found.certain),
                "checkout": VERSION,
                "refused": ". ".join(refused) if refused else None,
                "upgrade": {each: upgrades.document(each) for each in way},
                "backup": [text for each in way for text in UPGRADES[each].backup],
                "restarts": [_listed(asdict(each)) for each in effects.restarts] if effects else [],
                "data": [asdict(each) for each in effects.data] if effects else [],
                "objects": {key: getattr(effects, key, 0) for key in ("new", "changed", "gone")},
            },
            terminal,
        )
    return 1 if refused else 0


def _versions(
    loaded: LoadedStack, context: str | None, terminal: Terminal
) -> tuple[Deployed | None, tuple[str, ...] | None]:
    """The deployed version, and why this checkout must not follow it."""
    found = deployed.recorded_if_readable(loaded, context, terminal)
    if found is None:
        backend = engine.managing_cli(loaded.stack)[0]
        by_engine = backend and deployed.of_outputs(outputs.of(loaded), f"Pulumi's state in {backend}")
        found = by_engine or deployed.of_files(loaded)
    if found is None:
        terminal.say(f"Stack {loaded.stack.name}: no version is known; this checkout is {VERSION}.", "bold")
        return None, None
    unsure = "" if found.certain else "; it is the version of the last run, and nobody recorded that it came to its end"
    terminal.say(f"Stack {loaded.stack.name}: from {found.version} to {VERSION} ({found.where}{unsure})", "bold")
    refused = deployed.refusal(found, loaded.stack.name)
    if refused:
        terminal.fail(refused[0], refused[1:])
    return found, refused


def _show_way(way: list[str], terminal: Terminal) -> None:
    for each in way:
        terminal.heading(f"Upgrade notes of {each} (CHANGELOG.md)")
        terminal.points(upgrades.document(each))
    terminal.heading("Back up first")
    backups = [text for each in way for text in UPGRADES[each].backup]
    terminal.points(
        backups or ["No version on the way asks for it; `./flatline backup --to backups` makes a backup at any time."]
    )


# --- what changes -------------------------------------------------------------------------------------------


def _effects(loaded: LoadedStack, context: str | None, terminal: Terminal) -> Effects | None:
    """By the engine where that keeps the stack, else by the rendered files; None before the first `up`."""
    backend, cli, no_cli = engine.managing_cli(loaded.stack)
    if backend is None:
        before = objects.read(loaded.stack.build)
        if not before or not loaded.stack.state.exists():
            terminal.say("Nothing was brought up with this checkout yet: `up` makes everything.")
            return None
        with record_with_state(loaded, terminal) as kept:
            after = objects.recorded(kept.recording)
        return upgrade_effects.of(_pairs(before, after))
    if cli is None:
        raise engine.without_cli(loaded.stack, backend, no_cli)
    if context is None:
        raise engine.without_cluster(loaded.stack, backend)
    cluster = named_cluster(context)
    kubeconfig.check_answers(cluster)
    with engine.opened(loaded, cli, cluster) as stack:
        return _previewed(stack, terminal)


def _pairs(before: list[Object], after: list[Object]) -> list[Pair]:
    found = between(before, after)
    changed = {id(new) for _, new in found.changed} | {id(new) for new in found.new}
    return [
        *found.changed,
        *((None, new) for new in found.new),
        *((old, None) for old in found.gone),
        *((each, each) for each in after if id(each) not in changed),
    ]


def _previewed(stack: "automation.Stack", terminal: Terminal) -> Effects:
    """The effects by the engine's own preview, of which people see no line."""
    pairs: dict[str, Pair] = {}
    cloud = []
    for step in engine.previewed(stack, terminal, "Letting Pulumi compare"):
        kind, change = str(step.type), str(step.op.value)
        old, new = (_inputs(step.old), _inputs(step.new))
        if kind.startswith("kubernetes:") and not kind.startswith("kubernetes:helm"):
            earlier = pairs.get(step.urn, (None, None))
            pairs[step.urn] = (old or earlier[0], new or earlier[1])
        elif change not in _STAYS:
            cloud.append((kind, step.urn.rpartition("::")[2], change))
    return upgrade_effects.of([*pairs.values()], cloud)


def _inputs(state: Any) -> Object | None:
    content: Mapping[str, Any] | None = getattr(state, "inputs", None) if state else None
    return Object(content) if content and "kind" in content else None


def _show(effects: Effects, terminal: Terminal) -> None:
    terminal.heading("Pods that are replaced, in the order in which they become ready")
    for number, each in enumerate(effects.restarts, 1):
        after = f"; waits for {', '.join(each.after)}" if each.after else ""
        pods = f"{each.pods} pod{'s' if each.pods != 1 else ''}"
        terminal.say(f"{number}. {each.workload}: {pods}, {each.how}{after}")
        terminal.say(f"why: {'; '.join(each.why)}", indent=3)
        terminal.say(f"clients: {each.clients}", indent=3)
    if not effects.restarts:
        terminal.say("None: clients notice nothing.")
    terminal.heading("Data")
    words = {"new": "is new", "gone": "is no longer part of the stack", "changed": "changes"}
    for each in effects.data:
        how = f": {each.how}" if each.how else ""
        terminal.points([f"{each.what} {words.get(each.change, each.change)}{how}"])
    if not effects.data:
        terminal.say("No table, bucket or volume claim is added, changed or removed.")
    terminal.heading("Objects")
    terminal.say(
        f"{effects.new} new, {effects.changed} changed, {effects.gone} gone. All of them: `./flatline preview`"
    )


def _listed(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: [*value] if isinstance(value, tuple) else value for key, value in found.items()}
