"""The configuration of coturn, for the cluster's TURN server and for one outside of it: safe by default.

coturn relays to every address that nothing denies, so whoever has an account could reach the node, the cluster, the
operator's network and the metadata service of a cloud. An allowed network wins over a denied one, and the address after
the slash of `external-ip` takes the place of the one before it in each request (coturn: src/server/ns_turn_server.c
`good_peer_addr`, src/client/ns_turn_msg.c `stun_attr_get_addr`; README.turnserver).
"""

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

CONFIG = "/etc/coturn/turnserver.conf"
CERTIFICATE = "/etc/coturn/tls.crt"
PRIVATE_KEY = "/etc/coturn/tls.key"
WRITTEN = "/run/turnserver"
"""The one folder that it writes into: the number of its process, and a database without rows."""

METRICS_PORT = 9641

DENIED_IPV4 = (
    "0.0.0.0/8",  # this host
    "10.0.0.0/8",  # private (RFC 1918), as are pods and Services of most clusters
    "100.64.0.0/10",  # shared by carriers (RFC 6598); pods and metadata of some clouds
    "127.0.0.0/8",
    "168.63.129.16/32",  # Azure's host
    "169.254.0.0/16",  # link-local: metadata services of clouds
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",  # 6to4
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
"""Networks of IPv4 that are not the public internet (IANA's special-purpose registry)."""

DENIED_IPV6 = tuple(
    f"{ipaddress.IPv6Address(1 << bits)}-{ipaddress.IPv6Address((1 << bits + 8) - 1)}" for bits in range(120, -1, -8)
)
"""Every address of IPv6 but `::`, which coturn denies by itself: relayed addresses are of IPv4, so no device is at one.

coturn 4.6 compares each byte by itself, so a range is one of bytes: a range for each byte that can be the first that is
not zero. None begins at `::`, which coturn takes for every IPv4 address.
"""

METADATA = ("100.100.100.200/32", "168.63.129.16/32", "169.254.0.0/16")
"""Addresses of clouds' metadata services, which are nobody's device."""

ALLOCATIONS_PER_CREDENTIAL = 24
"""A device asks each of the server's addresses over each of its networks. Whisper's answers have a name of their own
(a random UUID), so this limits one answer, not one person."""


@dataclass(frozen=True, kw_only=True)
class Coturn:
    """A server: its `realm`, ports, range of relay ports, and the most that one device sends or receives (kbit/s).

    `secret` is the text that Whisper makes credentials with. `tls_port` 0 is for no TLS. `allowed` networks
    (CIDRs) are relayed to although they are private, `denied` ones are not although they are public.
    """

    realm: str
    port: int
    tls_port: int
    relay_first: int
    relay_last: int
    max_kbit_per_second: int
    secret: str = field(repr=False)
    certificate: str = CERTIFICATE
    private_key: str = PRIVATE_KEY
    written: str = WRITTEN
    allowed: Sequence[str] = ()
    denied: Sequence[str] = ()
    addresses: Sequence[str] = ()
    """Lines for the server's own addresses, where they are known."""

    def text(self) -> str:
        """The content of turnserver.conf."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"listening-port={self.port}"
        yield from (f"min-port={self.relay_first}", f"max-port={self.relay_last}")
        yield from self.addresses
        if self.tls_port:
            # releases from 4.7 on do without these two by themselves, and warn that they do not know them
            yield from (f"tls-listening-port={self.tls_port}", "no-tlsv1", "no-tlsv1_1")
            yield from (f"cert={self.certificate}", f"pkey={self.private_key}")
        else:
            yield "no-tls"
        yield from (f"realm={self.realm}", "use-auth-secret", f"static-auth-secret={self.secret}", "stale-nonce=600")
        yield from ("fingerprint", "no-tcp-relay", "no-multicast-peers")
        yield f"user-quota={ALLOCATIONS_PER_CREDENTIAL}"
        yield f"total-quota={self.relay_last - self.relay_first + 1}"
        yield f"max-bps={self.max_kbit_per_second * 1000 // 8}"
        yield from (f"userdb={self.written}/turndb", f"pidfile={self.written}/turnserver.pid")
        yield from ("log-file=stdout", "simple-log")
        yield from (f"denied-peer-ip={range_of(network)}" for network in (*DENIED_IPV4, *self.denied))
        yield from (f"denied-peer-ip={each}" for each in DENIED_IPV6)
        for network in self.allowed:
            yield f"allowed-peer-ip={range_of(network)}"


def range_of(cidr: str) -> str:
    """A network in coturn's form, `first-last`."""
    network = ipaddress.ip_network(cidr)
    first, last = network[0], network[-1]
    return str(first) if first == last else f"{first}-{last}"
