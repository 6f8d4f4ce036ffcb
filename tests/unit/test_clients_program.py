"""Who a client is: what the programs behind Traefik count by (programs/lib/clients.mjs)."""

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.programs.modules import Modules

DRIVER = """
const { clientOf } = await load('lib/clients');
const calls = {
  clients: ({ asked }) => asked.map(([forwarded, remoteAddress]) =>
    clientOf({ headers: forwarded === null ? {} : { 'x-forwarded-for': forwarded }, socket: { remoteAddress } })),
};
"""
Clients = Callable[..., list[str]]


@pytest.fixture(scope="module")
def clients(modules: Modules) -> Clients:
    """Of requests, by X-Forwarded-For and the address of the connection."""
    return lambda *asked: modules.call("clients", asked=asked)


def test_the_last_address_counts_which_traefik_writes(clients: Clients) -> None:
    pod = "10.42.0.7"
    assert clients(
        ("203.0.113.9", pod),
        ("192.0.2.66, 203.0.113.9", pod),
        ("192.0.2.66,not an address,203.0.113.9", pod),
        (None, pod),
        ("", pod),
        ("unknown", pod),
        (None, "::ffff:10.42.0.7"),
        ("::ffff:203.0.113.9", pod),
        ("fe80::1%eth0", pod),
    ) == [*["203.0.113.9"] * 3, *[pod] * 4, "203.0.113.9", "fe80:0:0:0::/64"]


SIXES = st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address).filter(lambda address: address.ipv4_mapped is None)


@settings(max_examples=10, deadline=None, phases=[Phase.generate])
@given(pairs=st.lists(st.tuples(SIXES, SIXES, st.booleans()), min_size=50, max_size=200))
def test_an_ipv6_client_is_its_network_of_64_bits(
    clients: Clients,
    pairs: list[tuple[ipaddress.IPv6Address, ipaddress.IPv6Address, bool]],
) -> None:
    asked: list[tuple[str | None, str]] = []
    same = []
    for one, other, near in pairs:
        second = ipaddress.IPv6Address((int(one) >> 64 << 64) | (int(other) & (2**64 - 1))) if near else other
        asked += [(str(one), "10.0.0.1"), (second.exploded.upper(), "10.0.0.1")]
        same.append(int(one) >> 64 == int(second) >> 64)
    found = clients(*asked)
    assert [found[at] == found[at + 1] for at in range(0, len(found), 2)] == same
