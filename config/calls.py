"""Calls: the servers that the cluster runs for them, and the settings of the TURN server."""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from config.base_model import StrictModel
from config.group_calls import GroupCallsSettings
from config.k3s import NETWORKS
from config.node import NODE_PORTS, owner_of
from config.services.coturn import DENIED_IPV4, METADATA
from config.types import Cidr, Port

_NEVER_ALLOWED = tuple(
    (ipaddress.ip_network(network), whose)
    for networks, whose in (
        (METADATA, "clouds have metadata services there"),
        (("0.0.0.0/8", "127.0.0.0/8"), "the node's own addresses are there"),
        (("224.0.0.0/4", "240.0.0.0/4"), "no device has an address there"),
    )
    for network in networks
)
"""Networks that `allowedNetworks` must not open: it wins over all that coturn and the network policy deny."""

LEAST_RELAY_PORTS, DEFAULT_RELAY_PORTS, MOST_NODE_PORTS = 10, 100, 500


def _ipv4(value: str) -> str:
    try:
        address = ipaddress.IPv4Address(value)
    except ValueError:
        raise ValueError("is no IPv4 address; write the one that clients reach, such as 203.0.113.10") from None
    if address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local:
        raise ValueError("is no address that clients reach; write the public one, such as 203.0.113.10")
    return value


class RelayPorts(StrictModel):
    """A range of UDP ports, both ends included. Each device in a call takes up to six of them."""

    first: Port
    """The lowest port."""
    last: Port
    """The highest port."""

    @property
    def numbers(self) -> range:
        """All ports of the range."""
        return range(self.first, self.last + 1)

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.first < 1024:
            raise ValueError(f"first: {self.first} is a port of servers; write 1024 or more")
        if len(self.numbers) < LEAST_RELAY_PORTS:
            raise ValueError(
                f"last: {self.last} leaves {max(len(self.numbers), 0)} ports from {self.first} on; write "
                f"{self.first + LEAST_RELAY_PORTS - 1} or more"
            )
        return self


class TurnRelay(StrictModel):
    """A TURN server (coturn) in the cluster. It relays calls of devices that do not reach each other.

    Clients reach it at `turn.` below the domain, and its addresses come from Whisper.
    """

    address: Annotated[str, AfterValidator(_ipv4)]
    """The IPv4 address at which clients reach the node of the server. Behind a router it is the router's public one."""
    network: Literal["node-ports", "host"] = "node-ports"
    """`node-ports`: the pod has a network of its own and fulfils Pod Security `restricted`; its ports are node ports.
    `host`: the pod uses the node's network, with ports of any number; its namespace is `privileged`, and no network
    policy applies to it."""
    port: Port | None = None
    """The port for UDP and TCP, the same on the node and for clients. 30478 with `node-ports`, 3478 with `host`."""
    tls_port: Port | None = None
    """The port for TLS over TCP. 30479 with `node-ports`, 5349 with `host`."""
    relay_ports: RelayPorts | None = None
    """The UDP ports of relayed calls. 30500 to 30599 with `node-ports`, 49152 to 49251 with `host`."""
    node_labels: dict[str, str] = {}
    """Labels of the node to which `address` leads. A cluster of several nodes needs them."""
    allowed_networks: list[Cidr] = []
    """Private IPv4 networks to whose devices the server may relay, such as the home network 192.168.1.0/24. Without it
    all private networks are refused. Whoever has an account can send UDP to each device in such a network, the node
    among them, at ports from 32768 on. It takes `network: node-ports`."""
    denied_networks: list[Cidr] = []
    """Public networks to which the server may not relay, such as those of your other servers."""
    cluster_networks: list[Cidr] = list(NETWORKS)
    """Networks of pods and of Services, to which the server never relays. Those of k3s without it: write your cluster's
    where they are others and public, or together with `allowedNetworks`."""
    max_kbit_per_second: Annotated[int, Field(ge=64, le=1_000_000)] = 4000
    """The most that one relayed device sends or receives, in kbit a second. A video call takes up to about 2500."""

    @property
    def plain_port(self) -> int:
        """The port for UDP and TCP."""
        return self.port or (30478 if self.network == "node-ports" else 3478)

    @property
    def secure_port(self) -> int:
        """The port for TLS."""
        return self.tls_port or (30479 if self.network == "node-ports" else 5349)

    @property
    def relay(self) -> RelayPorts:
        """The UDP ports of relayed calls."""
        if self.relay_ports is not None:
            return self.relay_ports
        first = 30500 if self.network == "node-ports" else 49152
        return RelayPorts(first=first, last=first + DEFAULT_RELAY_PORTS - 1)

    @model_validator(mode="after")
    def _ports_fit(self) -> Self:
        """coturn cannot share a port, and others on the node must not lose theirs."""
        listening, relay = {"port": self.plain_port, "tlsPort": self.secure_port}, self.relay
        if self.plain_port == self.secure_port:
            raise ValueError(f"tlsPort: {self.secure_port} is `port` as well; write another one")
        for name, number in listening.items():
            if number in relay.numbers:
                raise ValueError(
                    f"{name}: {number} is one of relayPorts {relay.first} to {relay.last}; write one outside of them"
                )
        if self.network == "host":
            self._ports_are_free(
                {name: (number,) for name, number in listening.items()} | {"relayPorts": relay.numbers}
            )
            return self
        for name, number in {**listening, "relayPorts.first": relay.first, "relayPorts.last": relay.last}.items():
            if number not in NODE_PORTS:
                raise ValueError(
                    f"{name}: {number} is no node port; write {NODE_PORTS[0]} to {NODE_PORTS[-1]}, or network: host"
                )
        if len(relay.numbers) > MOST_NODE_PORTS:
            raise ValueError(
                f"relayPorts: has {len(relay.numbers)} node ports; write at most {MOST_NODE_PORTS}, or network: host"
            )
        return self

    @staticmethod
    def _ports_are_free(taken: Mapping[str, Sequence[int]]) -> None:
        for name, numbers in taken.items():
            if owner := owner_of(numbers):
                raise ValueError(
                    f"{name}: {owner[0]} belongs to {owner[1]} in the node's network; write other ones, or network: "
                    "node-ports"
                )

    @property
    def closed_networks(self) -> tuple[str, ...]:
        """Networks that are closed beside the private ones."""
        private = [ipaddress.IPv4Network(each) for each in DENIED_IPV4]
        networks = (ipaddress.ip_network(each) for each in (*self.denied_networks, *self.cluster_networks))
        return tuple(
            str(each)
            for each in dict.fromkeys(networks)
            if isinstance(each, ipaddress.IPv4Network) and not any(map(each.subnet_of, private))
        )

    @model_validator(mode="after")
    def _networks_are_apart(self) -> Self:
        if self.allowed_networks and self.network == "host":
            raise ValueError(
                "allowedNetworks: opens each UDP port there, the node's own and those of other nodes among them, since "
                "no network policy applies in the node's network; remove it, or write network: node-ports"
            )
        denied = [ipaddress.ip_network(each) for each in self.denied_networks]
        cluster = [
            (ipaddress.ip_network(each), "the cluster has pods or Services there") for each in self.cluster_networks
        ]
        for text in self.allowed_networks:
            allowed = ipaddress.ip_network(text)
            if allowed.version == 6:
                raise ValueError(f"allowedNetworks: {text} is of IPv6, which the server does not relay to; remove it")
            if any(allowed.version == other.version and allowed.overlaps(other) for other in denied):
                raise ValueError(f"allowedNetworks: {text} is in deniedNetworks as well; remove it from one of them")
            for never, whose in (*_NEVER_ALLOWED, *cluster):
                if allowed.version == never.version and allowed.overlaps(never):
                    raise ValueError(
                        f"allowedNetworks: {text} overlaps {never}, and {whose}, for whoever has an account to send "
                        "to; write the devices' own network, such as 192.168.1.0/24"
                    )
        return self


class Calls(StrictModel):
    """Servers that relay calls. Everything is off without it."""

    turn: TurnRelay | None = None
    """A TURN server in the cluster, for calls between two people; `{address: 203.0.113.10}` takes the defaults."""
    groups: GroupCallsSettings | None = None
    """Group calls and call links, with the calling service in the cluster."""

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        turn, groups = self.turn, self.groups
        if turn is None or groups is None:
            return self
        if groups.port in (turn.plain_port, turn.secure_port) or groups.port in turn.relay.numbers:
            raise ValueError(f"groups.port: {groups.port} is a port of calls.turn as well; write another one")
        return self
