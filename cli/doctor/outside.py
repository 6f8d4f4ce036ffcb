"""As clients see it: names, ports, TLS and answers from this machine, and the invitations that people come in by."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from cli.doctor.model import Check, Evidence, Finding, short
from cli.invitations import Care
from client_kit.pins import Pins
from connectivity import relay
from connectivity.check import Host, Step, check
from connectivity.relay import Server
from errors import FlatlineError

SECONDS = 20.0
"""The most that a host takes; `connect` gives it more."""
POLL_SECONDS = 0.5
SYMPTOMS = {
    "name": "connect-name",
    "connection": "connect-port",
    "tls": "connect-tls",
    "answer": "connect-answer",
}
"""By the step of `connect` that fails; the TURN server's problems have kinds."""


@dataclass(frozen=True)
class Tried:
    """The result for the names, and for the hosts at `address` where none of the names is found from here."""

    hosts: tuple[Host, ...]
    address: str | None = None
    there: tuple[Host, ...] = ()
    relay: tuple[Host, ...] = ()
    """The TURN server, which has an address of its own."""


def tried(pins: Pins, server: Server | None, evidence: Evidence, stopped: Callable[[], bool]) -> Tried:
    """Does what `connect` does; goes to Traefik's own address where this machine finds none of the names.

    Raises FlatlineError once it is stopped.
    """
    hosts = asyncio.run(_unless(stopped, check(pins, seconds=SECONDS)))
    relayed = asyncio.run(_unless(stopped, _relay(server))) if server else ()
    address = _balancer(evidence)
    if address is None or any(host.addresses for host in hosts):
        return Tried(hosts, relay=relayed)
    there = asyncio.run(_unless(stopped, check(pins, address=address, seconds=SECONDS)))
    return Tried(hosts, address, there, relayed)


async def _relay(server: Server) -> list[Host]:
    return [await relay.tried(server)]


async def _unless(stopped: Callable[[], bool], work: Coroutine[Any, Any, list[Host]]) -> tuple[Host, ...]:
    task = asyncio.create_task(work)
    while not task.done():
        await asyncio.wait({task}, timeout=POLL_SECONDS)
        if stopped():
            task.cancel()
            await asyncio.wait({task})
            raise FlatlineError("the public names were not waited for")
    return tuple(task.result())


def _balancer(evidence: Evidence) -> str | None:
    """The first address of the load balancer in front of Traefik, if it is an address."""
    for service in evidence.items("system", "Service"):
        if service["metadata"]["namespace"] == evidence.settings.ingress.namespace:
            for each in service.get("status", {}).get("loadBalancer", {}).get("ingress") or ():
                if each.get("ip"):
                    return str(each["ip"])
    return None


def connections(evidence: Evidence) -> Iterator[Finding]:
    """The step that fails, of each host; names that are all unknown are one finding."""
    found: Tried = evidence.readings["outside"]
    for host in found.relay:
        yield from _failed(host, host.name)
    if any(host.addresses for host in found.hosts):
        for host in found.hosts:
            yield from _failed(host, host.name)
        return
    causes = "; ".join(dict.fromkeys(step.cause or "" for host in found.hosts for step in host.steps[:1]))
    yield _finding("connect-name", f"names below {evidence.settings.domain}", found.hosts[0].steps[0], short(causes))
    for host in found.there:
        yield from _failed(host, f"{host.name} at {found.address}")


def _failed(host: Host, about: str) -> Iterator[Finding]:
    for step in host.steps:
        if step.passed is False:
            symptom = f"relay-{step.kind}" if host.service == relay.SERVICE and step.kind else SYMPTOMS[step.name]
            yield _finding(symptom, f"host {about}", step, step.cause or "")


def _finding(symptom: str, about: str, step: Step, found: str) -> Finding:
    return Finding(symptom=symptom, about=about, found=found, names={"cure": step.cure or ""})


def invitations(evidence: Evidence) -> Iterator[Finding]:
    """Invitations that somebody tries to guess."""
    found: list[Care] = evidence.readings["invitations"]
    for each in found:
        symptom = "invitation-locked" if each.locked else "invitation-attacked"
        yield Finding(
            symptom=symptom, about=f"invitation of {each.number}", found=each.seen, names={"command": each.cure}
        )


CHECKS: Iterable[Check] = (
    Check("outside", "public names, ports and answers, as a client from here", ("outside",), connections, running=True),
    Check("invitations", "whether somebody guesses codes", ("invitations",), invitations, running=True),
)
