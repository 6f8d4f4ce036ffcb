"""The OpenTelemetry Collector: StatsD and OTLP in; metrics out to who scrapes them, or to where the operator says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from components.base import Component
from components.capabilities import Access, Network, Telemetry
from components.config_tree import yaml_of
from components.kubernetes.mounted_files import secret_files
from components.kubernetes.namespace import WorkloadNamespace
from components.kubernetes.pod import Container, Port, ProbeAction, Probes, Resources
from components.kubernetes.workload import Workload, WorkloadArgs

CONFIG = "/etc/otelcol-contrib/config.yaml"
STATSD_PORT, OTLP_GRPC_PORT, OTLP_HTTP_PORT, HEALTH_PORT = 8125, 4317, 4318, 13133


@dataclass(frozen=True, kw_only=True)
class CollectorArgs:
    """`exporters` as in the collector's configuration; they may hold credentials, so the file is a Secret.

    `ports` are those of the exporters that are scraped; with `annotated` the Service says so, for a Prometheus that
    looks for the annotation.
    """

    namespace: WorkloadNamespace
    exporters: Mapping[str, Any]
    ports: Mapping[str, int]
    external_egress: tuple[Network, ...]
    annotated: bool = False


class Collector(Component):
    """One collector; it keeps nothing."""

    TYPE = "flatline:services:Collector"

    def __init__(self, name: str, args: CollectorArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        config = secret_files(
            f"{name}-config",
            args.namespace.metadata_name,
            {CONFIG: yaml_of(pulumi.Output.secret(_configuration(args.exporters)))},
            self.child_opts,
        )
        health = ProbeAction(port="health", path="/")
        scraped = [Port(name=f"metrics-{number}", number=number) for _, number in sorted(args.ports.items())]
        self._workload = Workload(
            name,
            WorkloadArgs(
                namespace=args.namespace,
                name=name,
                component="telemetry",
                containers=(
                    Container(
                        name=name,
                        image="otel-collector",
                        args=(f"--config={CONFIG}",),
                        ports=(
                            Port(name="statsd", number=STATSD_PORT, protocol="UDP"),
                            Port(name="otlp-grpc", number=OTLP_GRPC_PORT),
                            Port(name="otlp-http", number=OTLP_HTTP_PORT),
                            *scraped,
                            Port(name="health", number=HEALTH_PORT, published=False),
                        ),
                        files=(config,),
                        probes=Probes.all(health),
                        resources=Resources(cpu="25m", memory="128Mi", memory_limit="512Mi"),
                    ),
                ),
                external_egress=args.external_egress,
                annotations=_annotations(args) if args.annotated else {},
            ),
            self.child_opts,
        )
        self.network_peers = (self._workload.network_peer,)
        self.scraped = tuple(self._workload.endpoint(port.name) for port in scraped)
        """Where the metrics are to be read."""
        statsd = self._workload.endpoint("statsd")
        self.telemetry = Telemetry(access=Access(egress=(statsd,)), host=statsd.host, port=statsd.port)
        self.register_outputs({"statsd": statsd.address})


def _annotations(args: CollectorArgs) -> dict[str, str]:
    """The convention has one port for a Service: that of the first exporter."""
    first = min(args.ports.values())
    return {"prometheus.io/scrape": "true", "prometheus.io/path": "/metrics", "prometheus.io/port": str(first)}


def _configuration(exporters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "extensions": {"health_check": {"endpoint": f":{HEALTH_PORT}"}},
        "receivers": {
            # Whisper's StatsD client sends one datagram from a new port each time.
            "statsd": {
                "endpoint": f":{STATSD_PORT}",
                "aggregation_interval": "10s",
                "enable_ip_only_aggregation": True,
                "is_monotonic_counter": True,
                "timer_histogram_mapping": [
                    {"statsd_type": kind, "observer_type": "histogram", "histogram": {"max_size": 160}}
                    for kind in ("histogram", "timing", "distribution")
                ],
            },
            "otlp": {
                "protocols": {
                    "grpc": {"endpoint": f":{OTLP_GRPC_PORT}"},
                    "http": {"endpoint": f":{OTLP_HTTP_PORT}"},
                }
            },
        },
        "processors": {
            "memory_limiter": {"check_interval": "5s", "limit_percentage": 75, "spike_limit_percentage": 20},
            "batch": {},
        },
        "exporters": {name: settings or {} for name, settings in exporters.items()},
        "service": {
            "extensions": ["health_check"],
            "pipelines": {
                "metrics": {
                    "receivers": ["otlp", "statsd"],
                    "processors": ["memory_limiter", "batch"],
                    "exporters": sorted(exporters),
                }
            },
        },
    }
