"""Alerts, a dashboard and, where Prometheus' operator is there, what tells it to read the collector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
from cryptography import x509
from pulumi_kubernetes.core.v1 import ConfigMap
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.base import Component
from components.kubernetes.namespace import WorkloadNamespace
from components.monitoring import rules
from components.monitoring.dashboard import dashboard
from components.monitoring.series import Scope

API = "monitoring.coreos.com/v1"
INTERVAL = "30s"


@dataclass(frozen=True, kw_only=True)
class MonitoringArgs:
    """`served` and `authority` are certificates as PEM texts; `manual` and `symptoms` are the addresses of
    docs/operations.md and docs/symptoms.md.

    `labels` are those by which Prometheus' operator finds rules and monitors, `dashboard_labels` those by which
    Grafana's sidecar finds dashboards. `ports` are the names of the collector's ports that a ServiceMonitor reads, and
    `registration` is the component of the pods that a PodMonitor reads, at `registration_port`; `relay` is the name of
    the TURN server. There are no ports where something else finds them.
    """

    namespace: WorkloadNamespace
    scope: Scope
    served: pulumi.Input[str]
    authority: pulumi.Input[str]
    manual: str
    symptoms: str
    labels: Mapping[str, str]
    dashboard_labels: Mapping[str, str]
    collector: str
    registration: str
    registration_port: str
    relay: str
    ports: Sequence[str]


class Monitoring(Component):
    """The definitions of Prometheus' operator must be on the cluster already."""

    TYPE = "flatline:monitoring:Monitoring"

    def __init__(self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._args = args
        groups = pulumi.Output.all(args.served, args.authority).apply(
            lambda pems: rules.groups(args.scope, _end(pems[0]), _end(pems[1]), args.manual, args.symptoms)
        )
        self._object("PrometheusRule", {"groups": groups})
        if args.ports:
            self._object("ServiceMonitor", _services(args.scope.namespace, args.collector, args.ports))
            relay = args.scope.relay
            if relay and relay.metrics:
                self._object("ServiceMonitor", _services(relay.namespace, args.relay, ("metrics",)), "turn")
        if args.ports and args.scope.by_invitation:
            self._object(
                "PodMonitor",
                {
                    "podMetricsEndpoints": [
                        {"port": self._args.registration_port, "path": "/metrics", "interval": INTERVAL}
                    ],
                    "namespaceSelector": {"matchNames": [args.scope.namespace]},
                    "selector": {"matchLabels": {"app.kubernetes.io/component": args.registration}},
                },
            )
        ConfigMap(
            "dashboard",
            metadata=self._metadata("flatline-dashboard", args.dashboard_labels),
            data={"flatline.json": dashboard(args.scope)},
            opts=self.child_opts,
        )
        self.register_outputs({})

    def _object(self, kind: str, spec: Mapping[str, Any], of: str = "") -> None:
        """An object of Prometheus' operator. `of` is for a second one of its kind."""
        kubernetes.apiextensions.CustomResource(
            "-".join(filter(None, (kind.lower(), of))),
            api_version=API,
            kind=kind,
            metadata=self._metadata("-".join(filter(None, ("flatline", of))), self._args.labels),
            spec=dict(spec),
            opts=self.child_opts,
        )

    def _metadata(self, name: str, labels: Mapping[str, str]) -> ObjectMetaArgs:
        return ObjectMetaArgs(
            name=name,
            namespace=self._args.namespace.metadata_name,
            labels={"app.kubernetes.io/part-of": "flatline", **labels},
        )


def _services(namespace: str, name: str, ports: Sequence[str]) -> dict[str, Any]:
    """The content of a ServiceMonitor for the Services of a name."""
    return {
        "endpoints": [{"port": port, "path": "/metrics", "interval": INTERVAL} for port in ports],
        "namespaceSelector": {"matchNames": [namespace]},
        "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
    }


def _end(pem: str) -> float:
    """Seconds since 1970 at which the first certificate of a PEM text ends."""
    return x509.load_pem_x509_certificates(pem.encode())[0].not_valid_after_utc.timestamp()
