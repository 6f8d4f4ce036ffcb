"""A TURN server as a device of a call uses it: its name, its ports, TLS, and a relay with credentials."""

import asyncio
import ssl
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

from connectivity import names
from connectivity.check import STEPS, Host, Step, recorded
from connectivity.names import Resolver
from connectivity.problem import Problem
from connectivity.turn import RefusedError, Transport, credentials, opened

GOOD_SECONDS = 300
"""For how long the credentials are good that are made here: a try takes a minute at most."""
FORBIDDEN = 403
CLOSED = "169.254.169.254"
"""The metadata service of clouds, to which no TURN server may relay."""

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
    host = Host("turn", server.host)
    with recorded(host, "name") as found:
        host.addresses = (address,) if address else tuple(await resolve(server.host))
        found.append(", ".join(host.addresses))
    if host.addresses:
        await _asked(host, server, host.addresses[0])
    host.steps += [Step(name, passed=None) for name in STEPS[len(host.steps) :]]
    return host


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
        raise Problem(
            f"{place} relays to {CLOSED}, so whoever has an account reaches what only the server may",
            "Deny private networks in its configuration, as that of `./flatline turn config --address <address>` does.",
        )
    return "relays to devices, and not to private networks"


async def _or_problem(attempt: Awaitable[Found], place: str) -> Found:
    try:
        return await attempt
    except RefusedError as refused:
        raise Problem(f"{place} answers, and gives no relay: {refused}", _cure(refused.code)) from None
    except ssl.SSLError as error:
        reason = error.reason or str(error)
        raise Problem(
            f"{place} does not complete TLS with the pinned authority: {reason}",
            "Give the server the installation's certificate. A server in the cluster has it by itself: bring it up.",
        ) from None
    except TimeoutError:
        raise Problem(f"{place} does not answer", _REACH) from None
    except (OSError, asyncio.IncompleteReadError) as error:
        raise Problem(f"{place} cannot be reached: {error}", f"{_REACH} Look whether the server runs.") from None


def _cure(code: int) -> str:
    if code == 401:
        return (
            "The server has another secret than Whisper, or its clock is wrong. After a rotation a server of your own "
            "needs the new one: `./flatline turn config --address <address>`."
        )
    if code == 486:
        return "All relayed ports are taken. Write more of them: flatline:calls.turn.relayPorts."
    return "Look at the server's log."
