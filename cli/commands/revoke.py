"""`revoke`: takes an invitation back."""

import time
from argparse import Namespace
from collections.abc import Mapping

from cli import invitations, numbers, stacks
from cli.invitations import Values
from cli.terminal import Terminal
from config.schema import invitations as schema
from errors import FlatlineError


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Ends it; an account that was registered with it stays."""
    number = arguments.number.strip()
    if number.removeprefix("+") == number or not number[1:].isdecimal():
        number = numbers.read(number)
    loaded = stacks.read(arguments.stack)
    store = invitations.opened(loaded, arguments.context)
    key = schema.key(number)
    now = int(time.time())

    def decide(values: Values) -> Mapping[str, str | None]:
        if key not in values:
            raise FlatlineError(f"{number} has no invitation", "`./flatline invitations` shows all of them.")
        if number in numbers.SPARE:
            try:
                return {key: schema.ended(values[key], now)}
            except ValueError:
                return {key: None}
        return {key: None}

    with terminal.step("Taking the invitation back"):
        store.change(decide)
    terminal.say(
        f"{number} has no valid invitation any more: its code is refused in at most two minutes. An account that was "
        "registered with it stays."
    )
    return 0
