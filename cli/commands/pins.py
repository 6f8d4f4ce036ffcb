"""`pins`: the outputs that a client is built with."""

from argparse import Namespace

from cli import continuity, stacks
from cli.commands import outputs
from cli.terminal import Terminal

FOR_OPERATORS = frozenset({"lostOnRestart"})
"""Outputs of earlier releases that say nothing to a client."""


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Prints them."""
    loaded = stacks.read(arguments.stack)
    continuity.check(loaded)
    everything = outputs.of(loaded)
    pins = {name: value for name, value in everything.items() if name not in FOR_OPERATORS}
    outputs.show(pins, arguments.format, terminal)
    return 0
