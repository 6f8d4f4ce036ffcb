"""Settings of group calls: the calling service, and how clients reach its media server."""

import ipaddress
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from config.base_model import StrictModel
from config.node import NODE_PORTS, owner_of

SIGNALLING_PORT = 8080
"""Where the backend takes calls from the frontend, which has the number in its code. It asks nobody who they are."""

_EXAMPLES = tuple(map(ipaddress.ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")))
"""Networks of documents (RFC 5737, RFC 3849), which stand for public ones there."""


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return address.is_global or any(address.version == each.version and address in each for each in _EXAMPLES)


def _address(value: str) -> str:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise ValueError(
            "is no IP address: clients are handed addresses, and look up no name; write one, such as 203.0.113.10"
        ) from None
    if address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local:
        raise ValueError("is an address that no client can connect to; write the one that clients reach the node by")
    return str(address)


class MediaLoadBalancer(StrictModel):
    """The load balancer in front of the media server, which must take UDP and TCP on one address and one port."""

    class_name: Annotated[str, Field(min_length=1)] | None = None
    """`loadBalancerClass`, such as service.k8s.aws/nlb; the cluster's default without it. It never changes."""
    annotations: dict[str, str] = {}
    """Annotations for the controller of the class."""


class GroupCallsSettings(StrictModel):
    """Group calls and call links: the calling service's frontend and its media server, on amd64 with AVX2."""

    addresses: Annotated[list[Annotated[str, AfterValidator(_address)]], Field(min_length=1, max_length=4)]
    """Public IPv4 and IPv6 addresses of the node or of the load balancer. Clients send media to them."""
    allow_private_addresses: bool = False
    """Takes addresses of a private network too, for an installation whose clients are all inside of it."""
    port: Annotated[int, Field(ge=1024, le=65535)] = 30900
    """For UDP and TCP. The media server listens on the number that clients are told, so nothing may translate it. A
    port of nodes (30000 to 32767) unless there is a `loadBalancer`."""
    load_balancer: MediaLoadBalancer | None = None
    """Clients connect to a Service of type LoadBalancer. Without it they connect to the node, by a NodePort."""
    node_labels: dict[str, str] = {}
    """Labels of the node that has `addresses`; with several nodes the media server must run there."""
    max_participants: Annotated[int, Field(ge=2, le=1000)] = 50
    """Devices in one call; the next one is refused."""

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        for number, address in enumerate(self.addresses):
            if not self.allow_private_addresses and not _is_public(address):
                raise ValueError(
                    f"addresses.{number}: {address} is no public address, so clients elsewhere cannot reach it; "
                    "write the public one, or allowPrivateAddresses: true if all clients are in that network"
                )
        if len(set(self.addresses)) < len(self.addresses):
            raise ValueError("addresses: names an address twice; remove one")
        if self.port == SIGNALLING_PORT:
            raise ValueError(
                f"port: {self.port} is the one of the media server's signalling, which nobody outside may reach; "
                "write another one"
            )
        if self.port in NODE_PORTS:
            return self
        if self.load_balancer is None:
            raise ValueError(
                f"port: {self.port} is no port of nodes; write {NODE_PORTS[0]} to {NODE_PORTS[-1]}, or add loadBalancer"
            )
        if owner := owner_of((self.port,)):  # some load balancers are pods that take the port on each node
            raise ValueError(f"port: {self.port} belongs to {owner[1]} on each node; write another one")
        return self

    @property
    def clients(self) -> tuple[str, ...]:
        """The networks that clients are in: everybody, by the kinds of addresses that they are handed."""
        versions = sorted({ipaddress.ip_address(address).version for address in self.addresses})
        return tuple({4: "0.0.0.0/0", 6: "::/0"}[version] for version in versions)

    @property
    def binding(self) -> str:
        """The address that the servers bind to: IPv4 alone where no IPv6 is advertised, since a node may have none."""
        return "::" if any(":" in address for address in self.addresses) else "0.0.0.0"  # noqa: S104 - in a pod
