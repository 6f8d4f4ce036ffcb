"""`pins`: the outputs that a client is built with."""

from argparse import Namespace

from cli import continuity, reissue, stacks
from cli.commands import outputs
from cli.terminal import Terminal


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Prints them."""
    loaded = stacks.read(arguments.stack)
    continuity.check(loaded)
    everything = outputs.of(loaded)
    pins = {name: value for name, value in everything.items() if name not in reissue.NOT_PINS}
    outputs.show(loaded, "pins", pins, arguments.json, terminal)
    return 0
