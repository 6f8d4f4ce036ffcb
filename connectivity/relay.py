"""A TURN server as a device of a call uses it: its name, its ports, TLS, and a relay with credentials."""

import asyncio
import ipaddress
import ssl
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from connectivity import names
from connectivity.check import STEPS, Host, Step, recorded
from connectivity.names import Resolver
from connectivity.problem import Problem
from connectivity.turn import RefusedError, Transport, credentials, opened

SERVICE = "turn"
GOOD_SECONDS = 300
"""For how long the credentials are good that are made here: a try takes a minute at most."""
FORBIDDEN = 403
CLOSED = "169.254.169.254"
"""The metadata service of clouds, to which no TURN server may relay."""

Kind = Literal["name", "unreachable", "refuses", "full", "tls", "open"]
"""The kinds of problems of a TURN server."""

Found = TypeVar("Found")
_REACH = "Open it in the firewalls of the node and of the provider, and pass it on in the router (docs/calls.md)."


@dataclass(frozen=True, kw_only=True)
class Server:
    """A TURN server: its public name, its ports (`tls_port` 0 for none), and the secret that it shares with Whisper.

    `authorities` are those that clients pin, as PEM texts. `address` is the one that its name should lead to, if known.
    """

    host: str
    port: int
    tls_port: int
    secret: str = field(repr=False)
    authorities: str
    address: str | None = None


async def tried(server: Server, *, address: str | None = None, resolve: Resolver = names.resolved) -> Host:
    """What came of each step, as of the other hosts. With `address` the name is not looked up."""
    host = Host(SERVICE, server.host)
    with recorded(host, "name") as found:
        host.addresses = (address,) if address else _own(server, await resolve(server.host))
        found.append(", ".join(host.addresses))
    if host.addresses:
        await _asked(host, server, host.addresses[0])
    host.steps += [Step(name, passed=None) for name in STEPS[len(host.steps) :]]
    return host


def _own(server: Server, addresses: Sequence[str]) -> tuple[str, ...]:
    """Raises Problem where a name leads to another machine; a network may have a private address for it instead."""
    wanted, others = server.address, [each for each in addresses if ipaddress.ip_address(each).is_global]
    if wanted and wanted not in addresses and (others or not ipaddress.ip_address(wanted).is_global):
        raise _problem(
            "name",
            f"{server.host} leads to {', '.join(addresses)}, and flatline:calls.turn.address is {wanted}",
            f"Make the A record of {server.host} lead to {wanted}, or correct the setting: devices get both.",
        )
    return tuple(addresses)


def _problem(kind: Kind, cause: str, cure: str) -> Problem:
    return Problem(cause, cure, kind)


async def _asked(host: Host, server: Server, at: str) -> None:
    with recorded(host, "connection") as found:
        found.append(await _relayed(server, at, server.port, "udp"))
        found.append(await _relayed(server, at, server.port, "tcp"))
    with recorded(host, "tls") as found:
        found.append(await _relayed(server, at, server.tls_port, "tls") if server.tls_port else "none is offered")
    if host.steps[1].passed:
        with recorded(host, "answer") as found:
            found.append(await _closed(server, at))


async def _relayed(server: Server, address: str, port: int, transport: Transport) -> str:
    """Asks for a relay and gives it back. Raises Problem."""
    place = f"{transport.upper()} port {port} of {address}"

    async def ask() -> str:
        context = ssl.create_default_context(cadata=server.authorities) if transport == "tls" else None
        given = credentials(server.secret, int(time.time()) + GOOD_SECONDS)
        async with opened((address, port), transport, given, context=context, host=server.host) as relay:
            relayed = await relay.allocate()
            return f"{place} gives {relayed[0]}:{relayed[1]}"

    return await _or_problem(ask(), place)


async def _closed(server: Server, address: str) -> str:
    """Asks for a relay to an address that no device has. Raises Problem where that is allowed."""
    place = f"UDP port {server.port} of {address}"

    async def ask() -> int:
        given = credentials(server.secret, int(time.time()) + GOOD_SECONDS)
        async with opened((address, server.port), "udp", given) as relay:
            await relay.allocate()
            try:
                await relay.permit((CLOSED, 80))
            except RefusedError as refused:
                return refused.code
        return 0

    if await _or_problem(ask(), place) != FORBIDDEN:
        raise _problem(
            "open",
            f"{place} relays to {CLOSED}, so whoever has an account reaches what only the server may",
            "Deny private networks in its configuration, as that of `./flatline turn config --address <address>` does.",
        )
    return "relays to devices, and not to private networks"


async def _or_problem(attempt: Awaitable[Found], place: str) -> Found:
    try:
        return await attempt
    except RefusedError as refused:
        kind, cure = _REFUSALS.get(refused.code, ("refuses", "Look at the server's log."))
        raise _problem(kind, f"{place} answers, and gives no relay: {refused}", cure) from None
    except ssl.SSLError as error:
        raise _problem(
            "tls",
            f"{place} does not complete TLS with the pinned authority: {error.reason or error}",
            "Give the server the installation's certificate. A server in the cluster has it by itself: bring it up.",
        ) from None
    except TimeoutError:
        raise _problem("unreachable", f"{place} does not answer", _REACH) from None
    except (OSError, asyncio.IncompleteReadError) as error:
        cure = f"{_REACH} Look whether the server runs."
        raise _problem("unreachable", f"{place} cannot be reached: {error}", cure) from None


_REFUSALS: dict[int, tuple[Kind, str]] = {
    401: (
        "refuses",
        "The server has another secret than Whisper, or its clock is wrong. After a rotation a server of your own "
        "needs the new one: `./flatline turn config --address <address>`.",
    ),
    486: ("full", "All relayed ports are taken. Write more of them: flatline:calls.turn.relayPorts."),
}
"""By the code with which a server refuses a relay."""
