"""`rotate authority`: the next step of a change of the authority that clients pin."""

from argparse import Namespace

from cli import rotation, stacks
from cli.terminal import Terminal


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Adds an authority to the pins, or lets the one that was added sign, and runs `up`."""
    loaded = stacks.read(arguments.stack)
    return rotation.carry_out(loaded, rotation.of_authority(loaded), arguments, terminal)
