"""`rotate certificate`: replaces the certificate that is served, under the same authority."""

from argparse import Namespace

from cli import rotation, stacks
from cli.terminal import Terminal


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Raises its epoch and runs `up`."""
    loaded = stacks.read(arguments.stack)
    return rotation.carry_out(loaded, rotation.of_certificate(loaded), arguments, terminal)
