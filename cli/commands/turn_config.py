"""`turn config`: the configuration of a TURN server outside of the cluster."""

from argparse import Namespace
from pathlib import Path

import files
from cli import stacks, turn
from cli.stacks import STATE, LoadedStack, display_path
from cli.terminal import Terminal
from config.services.coturn import Coturn
from errors import FlatlineError

RELAY_FIRST, RELAY_LAST = 49152, 65535
"""The dynamic ports (RFC 6335)."""
MAX_KBIT_PER_SECOND = 4000
OF_DEBIAN = ("no-dtls", "no-software-attribute")
"""Debian's release listens for DTLS and tells its version. Newer ones do neither, and warn of these words."""


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Writes the file, which only this user can read, or prints it if that is asked for."""
    loaded = stacks.read(arguments.stack)
    text = _text(loaded, arguments, turn.secret(loaded, arguments.context, terminal))
    if arguments.print:
        terminal.verbatim(text.rstrip())
        return 0
    path = STATE / f"{loaded.stack.name}.turnserver.conf" if arguments.output is None else Path(arguments.output)
    try:
        path.parent.mkdir(mode=files.DIRECTORY_MODE, parents=True, exist_ok=True)
        files.write(path, text.encode())
    except OSError as error:
        raise FlatlineError(f"{path} cannot be written: {error.strerror}", "Name another file: --output.") from None
    terminal.say(f"{display_path(path.absolute())} is written. It has the secret: only you can read it.")
    terminal.say("Copy it to /etc/turnserver.conf of the server, readable for coturn alone (docs/calls.md).")
    return 0


def _text(loaded: LoadedStack, arguments: Namespace, secret: str) -> str:
    own, settings = loaded.settings.turn, loaded.settings
    if own is None:
        where = "calls.turn runs the server in the cluster" if settings.calls.turn else "flatline:turn is not set"
        raise FlatlineError(
            f"stack {loaded.stack.name} names no TURN server of your own: {where}",
            f"Write flatline:turn: {{host: turn.example.org}} into {loaded.stack.file.name}, in place of calls.turn.",
        )
    listening = arguments.private or arguments.address
    # `external-ip` without the second address: with both, coturn allows the second as a peer, whatever is denied
    addresses = (f"listening-ip={listening}", f"relay-ip={listening}", f"external-ip={arguments.address}")
    denied = dict.fromkeys((f"{arguments.address}/32", f"{listening}/32"))
    return Coturn(
        realm=own.host,
        port=own.port,
        tls_port=own.tls_port or 0,
        relay_first=RELAY_FIRST,
        relay_last=RELAY_LAST,
        max_kbit_per_second=MAX_KBIT_PER_SECOND,
        secret=secret,
        addresses=(*addresses, *OF_DEBIAN),
        denied=tuple(denied),
    ).text()
