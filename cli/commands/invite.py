"""`invite`: a code with which a number can be registered once."""

import time
from argparse import Namespace
from collections.abc import Mapping
from datetime import UTC, datetime

from cli import invitations, numbers, stacks
from cli.invitations import Values
from cli.terminal import Terminal
from config.schema import invitations as schema
from errors import FlatlineError


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Stores the hash of a new code, and prints number and code on standard output."""
    asked = None if arguments.next else numbers.read(arguments.number)
    loaded = stacks.read(arguments.stack)
    store = invitations.opened(loaded, arguments.context)
    codes = schema.new_codes(arguments.codes)
    now = int(time.time())
    expires = now + arguments.valid
    value = schema.written(codes, expires=expires, again=arguments.again)
    chosen: list[str] = []

    def decide(values: Values) -> Mapping[str, str | None]:
        number = asked or _next(values)
        chosen[:] = [number]
        key = schema.key(number)
        gone = [name for name in _ended(values, now) if name != key]
        if asked is not None and not arguments.replace:
            _refuse_second(values, number, now)
        if len(values.keys() - {*gone} | {key}) > schema.LIMIT:
            raise FlatlineError(
                f"there are {len(values)} invitations, and a Secret has room for {schema.LIMIT}",
                "Take back those that are not needed: `./flatline invitations`, `./flatline revoke NUMBER`",
            )
        return {**dict.fromkeys(gone), key: value}

    with terminal.step("Storing the invitation"):
        store.change(decide)
    terminal.verbatim(f"number: {chosen[0]}")
    for code in codes:
        terminal.verbatim(f"code: {code}")
    _explain(arguments, expires, terminal)
    return 0


def _explain(arguments: Namespace, expires: int, terminal: Terminal) -> None:
    until = datetime.fromtimestamp(expires, UTC)
    terminal.note(
        f"It works in at most two minutes, once, and until {until:%Y-%m-%d %H:%M} UTC. It is shown only now: hand it "
        "over in a way that nobody else can read."
    )
    if arguments.codes == 2:
        terminal.note(
            "The person types both codes one after the other into the same registration. The app calls the first one "
            "wrong; that is expected."
        )
    if arguments.again:
        terminal.note("Whoever has it takes over the account of this number, and its other devices are signed out.")


def _refuse_second(values: Values, number: str, now: int) -> None:
    """Raises FlatlineError for a number with an invitation that is valid, or that cannot be read."""
    stored = values.get(schema.key(number))
    if stored is None:
        return
    try:
        expires = schema.read(schema.key(number), stored).expires
    except ValueError as problem:
        raise FlatlineError(f"the invitation of {number} {problem}", "To overwrite it, add: --replace") from None
    if expires > now:
        until = datetime.fromtimestamp(expires, UTC)
        raise FlatlineError(
            f"{number} has an invitation already, until {until:%Y-%m-%d %H:%M} UTC; nothing was changed",
            "For a new code, which makes the old one useless, add: --replace",
        )


def _ended(values: Values, now: int) -> list[str]:
    """Entries that nobody can use any more. Those of spare numbers stay, so that no number has two persons."""
    spare = {schema.key(number) for number in numbers.SPARE}
    found = []
    for name, stored in values.items():
        try:
            if name not in spare and schema.read(name, stored).expires <= now:
                found.append(name)
        except ValueError:
            continue
    return found


def _next(values: Values) -> str:
    for number in numbers.SPARE:
        if schema.key(number) not in values:
            return number
    raise FlatlineError(
        f"all of the numbers from {numbers.SPARE[0]} to {numbers.SPARE[-1]} are given out",
        "Invite a number that the person owns: `./flatline invite NUMBER`",
    )
