"""`invitations`: who is invited, and what became of it."""

import time
from argparse import Namespace
from collections.abc import Mapping
from datetime import UTC, datetime

from cli import document, invitations, stacks
from cli.forms.stack import Invitations
from cli.invitations import Seen
from cli.terminal import Terminal
from config.schema.invitations import Invitation


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Prints every invitation; never a code or its hash."""
    loaded = stacks.read(arguments.stack)
    store = invitations.opened(loaded, arguments.context)
    listed = invitations.listed(store.read(), terminal)
    states = (invitations.asked(store, terminal) if listed else {}) or {}
    now = int(time.time())
    if arguments.json:
        shown = [_object(each, _seen(each, states, now)) for each in listed]
        document.show(Invitations, {"stack": loaded.stack.name, "invitations": shown}, terminal)
        return 0
    if not listed:
        terminal.say("Nobody is invited. To invite a number: `./flatline invite NUMBER`")
        return 0
    terminal.table(
        ("Number", "Valid until (UTC)", "Again", "Codes", "State", "Wrong codes"),
        (_row(each, _seen(each, states, now)) for each in listed),
        frozenset({"Codes", "Wrong codes"}),
    )
    for each in listed:
        seen = states.get(each.number)
        if seen is not None and seen.state in invitations.NEEDS_CARE and each.expires > now:
            terminal.say(f"To let {each.number} in during the attack:")
            terminal.command(invitations.cure(store, each))
    return 0


def _seen(each: Invitation, states: Mapping[str, Seen], now: int) -> Seen | None:
    """The program's own words. It finds a change after at most two minutes, so an end that has come counts at once."""
    seen = states.get(each.number)
    if each.expires <= now and (seen is None or seen.state != "used"):
        return Seen("expired", seen.wrong if seen else 0, datetime.fromtimestamp(each.expires, UTC))
    return seen


def _row(each: Invitation, seen: Seen | None) -> tuple[str, ...]:
    until = datetime.fromtimestamp(each.expires, UTC)
    state = "not known" if seen is None else seen.state
    if seen is not None and seen.since is not None:
        state += f" since {seen.since:%Y-%m-%d %H:%M}"
    wrong = "" if seen is None else str(seen.wrong)
    return (each.number, f"{until:%Y-%m-%d %H:%M}", "yes" if each.again else "no", str(each.codes), state, wrong)


def _object(each: Invitation, seen: Seen | None) -> dict[str, object]:
    return {
        "number": each.number,
        "expires": datetime.fromtimestamp(each.expires, UTC).isoformat(),
        "again": each.again,
        "codes": each.codes,
        "state": seen.state if seen else None,
        "wrongCodes": seen.wrong if seen else None,
        "since": seen.since.isoformat() if seen and seen.since else None,
    }
