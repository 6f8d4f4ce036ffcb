"""How traffic gets into the cluster, out of it, and to its DNS."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from config.base_model import StrictModel
from config.types import Cidr, Port

EgressName = Literal["whisper", "registration", "otel-collector", "backup"]


class Egress(StrictModel):
    """A destination outside of the cluster that a network policy opens."""

    cidr: Cidr
    """A network outside of the cluster."""
    ports: Annotated[list[Port], Field(min_length=1)]
    """Ports of `protocol`."""
    protocol: Literal["TCP", "UDP"] = "TCP"
    """UDP is for what sends no answers, such as StatsD and syslog, and for a DNS server of your own."""


class ClusterDns(StrictModel):
    """Who answers pods' questions for names, for network policies: always by UDP and TCP on port 53."""

    namespace: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")] = "kube-system"
    """Namespace of its pods."""
    pod_labels: Annotated[dict[str, str], Field(min_length=1)] = {"k8s-app": "kube-dns"}
    """Labels of its pods."""
    networks: list[Cidr] = []
    """Networks of servers that are no pods, beside them: `169.254.20.10/32` for NodeLocal DNSCache (and the address of
    the Service kube-dns as a /32, where it takes that over), `169.254.169.254/32` for Cloud DNS of GKE."""


class RateLimit(StrictModel):
    """Requests per client address at the edge, a second; Whisper has finer limits of its own."""

    average: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Requests a second that a client address may go on with."""
    burst: Annotated[int, Field(ge=1, le=100_000)] = 300
    """Requests that it may make at once."""


class InFlight(StrictModel):
    """Requests that a client address may have under way at once. What is more is answered 429.

    The limit holds for each route (CDN0's downloads, CDN0's uploads, Whisper, ...) and for each of Traefik's pods. An
    IPv6 client is its /64 network.
    """

    requests: Annotated[int, Field(ge=1, le=100_000)] = 64
    """Concurrent requests on each route."""
    web_sockets: Annotated[int, Field(ge=2, le=100_000)] = 1000
    """WebSockets to Whisper. A device keeps two open for as long as it is online."""


class LoadBalancer(StrictModel):
    """A Service of type LoadBalancer in front of Traefik's pods. It keeps the addresses of clients."""

    class_name: Annotated[str, Field(min_length=1)] | None = None
    """`loadBalancerClass`, such as service.k8s.aws/nlb; the cluster's default without it. It never changes."""
    annotations: dict[str, str] = {}
    """Annotations for the controller of the class."""
    source_ranges: list[Cidr] = []
    """Networks that may connect; all of them without it."""


class TraefikInstall(StrictModel):
    """Traefik from its official chart."""

    replicas: Annotated[int, Field(ge=1, le=100)] = 2
    """Number of Traefik's pods."""


class Ingress(StrictModel):
    """The Traefik that the cluster has (k3s brings one)."""

    namespace: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")] = "kube-system"
    """Namespace of its pods."""
    pod_labels: Annotated[dict[str, str], Field(min_length=1)] = {"app.kubernetes.io/name": "traefik"}
    """Labels of its pods, for the network policies."""
    plain_entry_point: str = "web"
    """Its entry point for http, which redirects."""
    tls_entry_point: str = "websecure"
    """Its entry point for https."""
    rate_limit: RateLimit = RateLimit()
    in_flight: InFlight = InFlight()
    load_balancer: LoadBalancer | None = None
    """Makes one for Traefik's pods, where the cluster's Traefik has none of its own."""
    install: TraefikInstall | None = None
    """Installs Traefik into `namespace`, for a cluster that has none. It takes Pulumi."""

    @model_validator(mode="after")
    def _chart_has_entry_points(self) -> Self:
        if self.install is not None and (self.plain_entry_point, self.tls_entry_point) != ("web", "websecure"):
            raise ValueError("install: the chart's entry points are web and websecure; remove the others")
        return self
