"""`rotate secret`: replaces one secret."""

from argparse import Namespace

from cli import rotation, stacks
from cli.commands.secret_set import known
from cli.terminal import Terminal


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Raises its epoch and runs `up`."""
    secret = known(arguments.name)
    loaded = stacks.read(arguments.stack)
    return rotation.carry_out(loaded, rotation.of_secret(loaded, secret.name), arguments, terminal)
