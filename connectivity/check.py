"""All public hosts of an installation at once, each step by step, in less than a minute."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from client_kit.pins import Pins
from connectivity import certificates, names, services, transport
from connectivity.names import Resolver
from connectivity.problem import Problem
from connectivity.transport import NoRouteError, Target

SECONDS = 50.0
"""The most that a host takes by default; the steps' own limits end earlier."""
MOST_ADDRESSES = 8
STEPS = ("name", "connection", "tls", "answer")


@dataclass(frozen=True)
class Step:
    """The result of one step. `passed` is None where an earlier step kept it from being tried.

    `kind` is that of the problem.
    """

    name: str
    passed: bool | None
    found: str = ""
    cause: str | None = None
    cure: str | None = None
    kind: str = ""


@dataclass
class Host:
    """The result for one host. `addresses` are those that were tried."""

    service: str
    name: str
    addresses: tuple[str, ...] = ()
    steps: list[Step] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def served(self) -> bool:
        """True if a client would be served."""
        return all(step.passed for step in self.steps) and len(self.steps) == len(STEPS)


async def check(
    pins: Pins,
    *,
    address: str | None = None,
    port: int = 443,
    resolve: Resolver = names.resolved,
    seconds: float = SECONDS,
) -> list[Host]:
    """Every host of the pins, in their order, within `seconds`. With `address` the names are not looked up."""
    hosts = [Host(service, pins.host(service)) for service in pins.urls]
    await asyncio.gather(*(_checked(host, pins, address, port, resolve, seconds) for host in hosts))
    _compare(hosts)
    return hosts


async def _checked(host: Host, pins: Pins, address: str | None, port: int, resolve: Resolver, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await _steps(host, pins, address, port, resolve)
    except TimeoutError:
        step = STEPS[len(host.steps)]
        cause = f"the whole takes longer than {seconds:g} s"
        host.steps.append(Step(step, passed=False, cause=cause, cure="Try again from another network."))
    host.steps += [Step(name, passed=None) for name in STEPS[len(host.steps) :]]


async def _steps(host: Host, pins: Pins, address: str | None, port: int, resolve: Resolver) -> None:
    with recorded(host, "name") as found:
        if address is None:
            host.addresses = tuple(await resolve(host.name))[:MOST_ADDRESSES]
            found.append(", ".join(host.addresses))
        else:
            host.addresses = (address,)
            found.append(f"{address}, as asked; DNS was not asked")
    if not host.addresses:
        return
    open_ones: list[Target] = []
    with recorded(host, "connection") as found:
        open_ones = await _connections(host, transport.targets(pins, host.name, host.addresses, port))
        found.append(f"TCP port {port} of {', '.join(each.address for each in open_ones)}")
    if not open_ones:
        return
    with recorded(host, "tls") as found:
        found += await asyncio.gather(*(_tls(each) for each in open_ones))
    if host.steps[-1].passed:
        with recorded(host, "answer") as found:
            async with open_ones[0].opened() as connection:
                found.append(await services.SERVICES[host.service](connection, host.name))


async def _connections(host: Host, targets: Sequence[Target]) -> list[Target]:
    """Those that take a connection. Raises Problem where one does not: clients choose among all of them."""
    outcomes = await asyncio.gather(*(_connection(each) for each in targets))
    problems = [each for each in outcomes if isinstance(each, Problem)]
    unknown = [target.address for target, each in zip(targets, outcomes, strict=True) if isinstance(each, NoRouteError)]
    host.remarks += [f"{each} was not tried: this machine has no IPv6" for each in unknown]
    if problems:
        raise problems[0]
    if len(unknown) == len(targets):
        raise Problem(
            f"{host.name} has IPv6 addresses alone, and this machine has no IPv6",
            "Run this on a machine with IPv6, or make an A record as well: many clients have no IPv6 either.",
        )
    return [target for target, each in zip(targets, outcomes, strict=True) if each is None]


async def _connection(target: Target) -> Problem | NoRouteError | None:
    try:
        async with target.connected():
            return None
    except (Problem, NoRouteError) as found:
        return found


async def _tls(target: Target) -> str:
    async with target.opened() as connection:
        return certificates.served(connection.certificate)


@contextmanager
def recorded(host: Host, name: str) -> Iterator[list[str]]:
    """Records as a step what the block finds, or the problem that ends it."""
    found: list[str] = []
    try:
        yield found
    except Problem as problem:
        host.steps.append(Step(name, passed=False, cause=problem.cause, cure=problem.cure, kind=problem.kind))
    else:
        host.steps.append(Step(name, passed=True, found="; ".join(dict.fromkeys(found))))


def _compare(hosts: Sequence[Host]) -> None:
    """Tells of private addresses, and of a host that fails where its name leads elsewhere than the others'."""
    for host in hosts:
        host.remarks += [text for each in host.addresses if (text := names.remark(each))]
        strange = names.odd(host.addresses, [other.addresses for other in hosts if other is not host])
        if strange is not None and host.served:
            host.remarks.append(strange)
        elif strange is not None:
            at = next(number for number, step in enumerate(host.steps) if step.passed is False)
            cure = f"Look at the DNS record of {host.name} first. {host.steps[at].cure}"
            host.steps[at] = replace(host.steps[at], cause=f"{strange}: {host.steps[at].cause}", cure=cure)
