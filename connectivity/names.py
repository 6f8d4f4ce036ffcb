"""From the name of a host to addresses, by the resolver of this machine."""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from connectivity.problem import Problem

SECONDS = 10.0

Resolver = Callable[[str], Awaitable[Sequence[str]]]
"""The addresses of a host, at least one. Raises Problem."""

_UNKNOWN = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


async def resolved(host: str) -> Sequence[str]:
    """The addresses of a host, each once. Raises Problem where there are none, or no answer within `SECONDS`."""
    try:
        async with asyncio.timeout(SECONDS):
            found = await _asked(host)
    except TimeoutError:
        raise Problem(
            f"the resolver of this machine does not answer for {host} within {SECONDS:g} s",
            "Look at this machine's DNS servers (/etc/resolv.conf), and whether the network lets it reach them.",
        ) from None
    except (socket.gaierror, UnicodeError) as error:
        raise _problem(host, error) from None
    return found


def remark(address: str) -> str | None:
    """A note for operators on an address that works here; None for a public one."""
    found = ipaddress.ip_address(address)
    if found.is_loopback:
        return f"{address} is this machine itself: no other machine reaches a server there"
    if found.is_private or found.is_link_local:
        return f"{address} is an address of a private network: clients outside of it do not reach it"
    return None


def odd(address: Sequence[str], others: Sequence[Sequence[str]]) -> str | None:
    """A note where a host has other addresses than all other hosts have in common; else None.

    All names of an installation lead to one Traefik, so a name that leads elsewhere is a likely mistake.
    """
    if not others or not all(others) or any(set(each) != set(others[0]) for each in others):
        return None
    if not address or set(address) & set(others[0]):
        return None
    return f"its name leads to {', '.join(address)}, and the names of the other hosts lead to {', '.join(others[0])}"


def _problem(host: str, error: Exception) -> Problem:
    if isinstance(error, socket.gaierror) and error.errno not in _UNKNOWN:
        return Problem(
            f"the resolver of this machine cannot be asked for {host}: {error.strerror}",
            "Look at this machine's DNS servers (/etc/resolv.conf), and whether the network lets it reach them.",
        )
    return Problem(
        f"DNS has no address for {host}",
        f"Make an A record (and AAAA for IPv6) for {host}, or one for *.{host.partition('.')[2]}, that leads to the "
        "address of Traefik. Before that, `--address` tries without DNS.",
    )


async def _asked(host: str) -> Sequence[str]:
    """In a thread of its own, which a resolver that hangs cannot make the program wait for."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Sequence[str]] = loop.create_future()

    def deliver(found: Sequence[str], error: Exception | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(found)
        else:
            answer.set_exception(error)

    def ask() -> None:
        found: Sequence[str] = ()
        problem: Exception | None = None
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found = tuple(dict.fromkeys(str(info[4][0]).partition("%")[0] for info in infos))
        except (OSError, UnicodeError) as error:
            problem = error
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(deliver, found, problem)

    threading.Thread(target=ask, name=f"resolve {host}", daemon=True).start()
    return await answer
