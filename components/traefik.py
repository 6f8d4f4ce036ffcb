"""Traefik for a cluster that has none, and the load balancer in front of it."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.core.v1 import ServicePortArgs, ServiceSpecArgs
from pulumi_kubernetes.core.v1.outputs import ServiceStatus
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.base import Component
from config.images import TRAEFIK_CHART

CHART, REPOSITORY = "traefik", "https://traefik.github.io/charts"
HTTP, HTTPS = 80, 443


@dataclass(frozen=True, kw_only=True)
class TraefikArgs:
    """The chart's own entry point for https is `tls_entry_point`."""

    namespace: str
    replicas: int
    tls_entry_point: str


class Traefik(Component):
    """The official chart, with its definitions, without its dashboard and without a Service of its own."""

    TYPE = "flatline:traefik:Traefik"

    def __init__(self, name: str, args: TraefikArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        # here alone: its module imports an HTTP client and a parser of YAML, which other stacks do without
        from pulumi_kubernetes.helm.v3 import Release, RepositoryOptsArgs

        self.release = Release(
            name,
            name=name,
            chart=CHART,
            version=TRAEFIK_CHART,
            repository_opts=RepositoryOptsArgs(repo=REPOSITORY),
            namespace=args.namespace,
            create_namespace=True,
            values={
                "deployment": {"replicas": args.replicas},
                "podDisruptionBudget": {"enabled": args.replicas > 1, "maxUnavailable": 1},
                "service": {"enabled": False},
                "ingressClass": {"enabled": False},
                "providers": {"kubernetesIngress": {"enabled": False}},
                # an attachment over a slow line may take ten minutes
                "ports": {args.tls_entry_point: {"transport": {"respondingTimeouts": {"readTimeout": "900s"}}}},
                "global": {"checkNewVersion": False},
            },
            opts=self.child_opts,
        )
        self.register_outputs({"version": self.release.version})


@dataclass(frozen=True, kw_only=True)
class LoadBalancerArgs:
    """`labels` select Traefik's pods; the target ports have the names of its entry points."""

    namespace: str
    labels: Mapping[str, str]
    entry_points: tuple[str, str]
    class_name: str | None
    annotations: Mapping[str, str]
    source_ranges: tuple[str, ...]
    depends_on: tuple[pulumi.Resource, ...]


class LoadBalancer(Component):
    """A Service that sends connections to the node that they arrive at, so that clients keep their addresses."""

    TYPE = "flatline:traefik:LoadBalancer"

    def __init__(self, name: str, args: LoadBalancerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        service = kubernetes.core.v1.Service(
            name,
            metadata=ObjectMetaArgs(
                name=name,
                namespace=args.namespace,
                labels={"app.kubernetes.io/part-of": "flatline"},
                annotations=dict(args.annotations) or None,
            ),
            spec=ServiceSpecArgs(
                type="LoadBalancer",
                load_balancer_class=args.class_name,
                load_balancer_source_ranges=list(args.source_ranges) or None,
                external_traffic_policy="Local",
                selector=dict(args.labels),
                ports=[
                    ServicePortArgs(name=entry_point, port=port, target_port=entry_point, protocol="TCP")
                    for entry_point, port in zip(args.entry_points, (HTTP, HTTPS), strict=True)
                ],
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(args.depends_on)),
        )
        self.address: pulumi.Output[str] = service.status.apply(_address)
        self.register_outputs({"address": self.address})


def _address(status: ServiceStatus | None) -> str:
    """The name of a load balancer, or the address of one that has no name. The Service is awaited until it has one."""
    points = (status and status.load_balancer and status.load_balancer.ingress) or []
    if not points:
        raise ValueError("the load balancer has neither a name nor an address; look at the events of its Service")
    return str(points[0].hostname or points[0].ip)
