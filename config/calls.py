"""Calls: the servers that the cluster runs for them, and the settings of the TURN server."""

import ipaddress
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from config.base_model import StrictModel
from config.group_calls import GroupCallsSettings
from config.k3s import NETWORKS
from config.services.coturn import METADATA
from config.types import NODE_PORTS, Cidr, Port

_NEVER_ALLOWED = tuple(
    (ipaddress.ip_network(network), whose)
    for networks, whose in (
        (NETWORKS, "k3s has pods and Services there"),
        ((*METADATA, "fd00:ec2::254/128"), "clouds have metadata services there"),
        (("0.0.0.0/8", "127.0.0.0/8", "::1/128", "::ffff:0:0/96", "fe80::/10"), "the node's own addresses are there"),
        (("224.0.0.0/4", "240.0.0.0/4", "ff00::/8"), "no device has an address there"),
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
    """Private networks to whose devices the server may relay, such as the home network 192.168.1.0/24. Without it all
    private networks are refused. Whoever has an account can send UDP to each device in such a network, and to the node
    if it is in it. Networks of the cluster do not belong here."""
    denied_networks: list[Cidr] = []
    """Public networks to which the server may not relay, such as those of your other servers."""
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
        listening, relay = {"port": self.plain_port, "tlsPort": self.secure_port}, self.relay
        if self.plain_port == self.secure_port:
            raise ValueError(f"tlsPort: {self.secure_port} is `port` as well; write another one")
        for name, number in listening.items():
            if number in relay.numbers:
                raise ValueError(
                    f"{name}: {number} is one of relayPorts {relay.first} to {relay.last}; write one outside of them"
                )
        if self.network == "host":
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

    @model_validator(mode="after")
    def _networks_are_apart(self) -> Self:
        denied = [ipaddress.ip_network(each) for each in self.denied_networks]
        for text in self.allowed_networks:
            allowed = ipaddress.ip_network(text)
            if any(allowed.version == other.version and allowed.overlaps(other) for other in denied):
                raise ValueError(f"allowedNetworks: {text} is in deniedNetworks as well; remove it from one of them")
            for never, whose in _NEVER_ALLOWED:
                if allowed.version == never.version and allowed.overlaps(never):
                    raise ValueError(
                        f"allowedNetworks: {text} overlaps {never}, and {whose}, for whoever has an account to send "
                        "to; write the devices' own network, such as 192.168.1.0/24"
                    )
            if self.network == "host" and ipaddress.ip_address(self.address) in allowed:
                raise ValueError(
                    f"allowedNetworks: {text} has the node itself in it ({self.address}), whose own UDP ports it opens "
                    "then; write networks without that address, or network: node-ports"
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
