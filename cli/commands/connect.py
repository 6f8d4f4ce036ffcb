"""`connect`: proves from here that a client with a stack's pins would be served."""

import asyncio
import base64
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from cli import continuity, document, kubectl, stacks, turn
from cli.choice import named_cluster, named_context
from cli.commands import pins as known
from cli.failure import MANDATORY
from cli.forms.checks import Connect
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from client_kit import pins
from client_kit.pins import Pins, PinsError
from connectivity import call, relay
from connectivity.check import Host, check
from connectivity.relay import Server
from errors import FlatlineError

_WORDS = {True: "ok", False: "FAILED", None: "not tried"}


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Shows each host, and for each failure its cause and its cure. Status 1 where a client would not be served."""
    if arguments.context is not None and arguments.pins is not None:
        raise FlatlineError("--context and --pins exclude each other", "Name the stack: --stack.")
    key = _key(arguments) if arguments.call else None
    server: Server | None = None
    if arguments.pins is not None:
        stack, found = None, _of_file(arguments.pins)
    else:
        loaded = stacks.read(arguments.stack)
        stack, found = arguments.stack, pins_of(loaded)
        server = _turn_server(loaded, found, arguments.context, terminal)
    with terminal.step(f"Connecting to the hosts of {found.domain}"):
        hosts = asyncio.run(_checked(found, arguments, key, server))
    served = all(host.served for host in hosts)
    if arguments.json:
        content = {"stack": stack, "domain": found.domain, "served": served, "hosts": listed(hosts)}
        document.show(Connect, content, terminal)
    else:
        _tell(hosts, terminal)
    if served:
        return 0
    failed = ", ".join(host.name for host in hosts if not host.served)
    terminal.fail(f"a client with these pins would not be served: {failed}")
    return MANDATORY


async def _checked(found: Pins, arguments: Namespace, key: bytes | None, server: Server | None) -> list[Host]:
    """The hosts behind Traefik, a call, and the TURN server, whose own address stands in for DNS with `--address`."""
    where = {"address": arguments.address, "port": arguments.port}
    hosts = await check(found, **where)
    called = [] if key is None else [await call.tried(found, key, **where)]
    if server is None:
        return [*hosts, *called]
    return [*hosts, *called, await relay.tried(server, address=server.address if arguments.address else None)]


def _key(arguments: Namespace) -> bytes:
    """The key of members' tokens, as the calling service's pods have it. Raises FlatlineError."""
    if arguments.pins is not None:
        raise FlatlineError("--call and --pins exclude each other", "Name the stack: --stack.")
    loaded = stacks.read(arguments.stack)
    if loaded.settings.calls.groups is None:
        raise FlatlineError(
            f"stack {arguments.stack} has no group calls", "Set flatline:calls.groups, and bring it up (docs/calls.md)."
        )
    context = named_context(loaded, arguments.context)
    if context is None:
        raise FlatlineError(
            "nothing tells in which cluster the key for a call is",
            "Name it: --context, or flatline:target.context in the stack's file.",
        )
    named_cluster(context)
    namespace = loaded.settings.namespace
    held = kubectl.mounted_secret(context, namespace, "calling-frontend", "calling-frontend-keys")
    return bytes.fromhex(base64.b64decode(held["authentication-key"]).decode())


def _turn_server(loaded: LoadedStack, found: Pins, context: str | None, terminal: Terminal) -> Server | None:
    """The TURN server of the stack, if it has one and its secret is on this machine or in the cluster of `context`."""
    try:
        return turn.server(loaded, found, lambda: turn.secret(loaded, context, terminal))
    except FlatlineError as error:
        terminal.warn(f"The TURN server was not tried: {error.in_a_line}")
        return None


def pins_of(loaded: LoadedStack) -> Pins:
    """The pins of a stack. Raises FlatlineError."""
    continuity.check(loaded)
    try:
        return pins.of(known.of(loaded))
    except PinsError as error:
        name = loaded.stack.name
        raise FlatlineError(
            f"stack {name}: {error}", f"Bring it up with this version of Flatline: `./flatline up --stack {name}`"
        ) from None


def _of_file(name: str) -> Pins:
    try:
        return pins.read(Path(name).read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise FlatlineError(f"--pins {name} cannot be read: {reason}") from None
    except PinsError as error:
        raise FlatlineError(f"--pins {name}: {error}") from None


def _tell(hosts: Sequence[Host], terminal: Terminal) -> None:
    for host in hosts:
        terminal.heading(f"A group call at {host.name}" if host.service == call.SERVICE else host.name)
        for step in host.steps:
            text = step.found if step.passed else step.cause or ""
            terminal.say(f"{_WORDS[step.passed]:<9}  {step.name:<10}  {text}".rstrip(), indent=2)
            if step.cure is not None:
                terminal.say(f"To mend it: {step.cure}", indent=4)
    for remark in dict.fromkeys(text for host in hosts for text in host.remarks):
        terminal.warn(remark)
    if all(host.served for host in hosts):
        terminal.say("")
        terminal.say("A client with these pins would be served.")


def listed(hosts: Sequence[Host]) -> list[dict[str, object]]:
    """As in docs/json.md."""
    return [
        {
            "service": host.service,
            "host": host.name,
            "addresses": [*host.addresses],
            "served": host.served,
            "steps": [
                {
                    "step": step.name,
                    "passed": step.passed,
                    "found": step.found or None,
                    "cause": step.cause,
                    "cure": step.cure,
                }
                for step in host.steps
            ],
            "remarks": host.remarks,
        }
        for host in hosts
    ]
