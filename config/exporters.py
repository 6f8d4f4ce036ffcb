"""Exporters of the OpenTelemetry Collector: which ones its image has, and where those that are scraped listen."""

import re
from collections.abc import Mapping
from typing import Any

# fmt: off
EXPORTERS = frozenset({
    "alibabacloud_logservice", "awsemf", "awskinesis", "awss3", "azure_blob", "azureblob", "azuredataexplorer",
    "azuremonitor", "bmc_helix", "bmchelix", "clickhouse", "coralogix", "datadog", "debug", "doris",
    "elasticsearch", "file", "google_cloud_storage", "googlecloud", "googlecloudpubsub", "googlemanagedprometheus",
    "influxdb", "kafka", "load_balancing", "loadbalancing", "nop", "opensearch", "otelarrow", "otlp", "otlp_grpc",
    "otlp_http", "otlphttp", "prometheus", "prometheus_remote_write", "prometheusremotewrite", "pulsar", "rabbitmq",
    "signalfx", "splunk_hec", "stef", "sumologic", "tinybird",
})
"""Types that the distribution `contrib` 0.155 has and that take metrics; some have an earlier name as well."""

WITHOUT_METRICS = frozenset({
    "awscloudwatchlogs", "awsxray", "cassandra", "dataset", "faro", "honeycomb_marker", "honeycombmarker",
    "logicmonitor", "logzio", "mezmo", "sentry", "syslog", "tencentcloud_logservice", "zipkin",
})
"""Types that it has for logs and traces. The collector does not start when metrics are to go there."""
# fmt: on

SCRAPED = "prometheus"
"""The one type that waits for others to ask."""

DEFAULT_EXPORTERS: dict[str, dict[str, Any] | None] = {SCRAPED: {"endpoint": ":8889"}}

_TAKEN = {4317: "OTLP", 4318: "OTLP", 8888: "the collector's own metrics", 13133: "its health check"}


def scraped_ports(exporters: Mapping[str, Mapping[str, Any] | None]) -> dict[str, int]:
    """The port that each exporter listens on, for those that are scraped. Raises ValueError for what nobody reaches."""
    ports: dict[str, int] = {}
    for name, settings in exporters.items():
        if name.partition("/")[0] != SCRAPED:
            continue
        port = _port(name, (settings or {}).get("endpoint"))
        if port in _TAKEN:
            raise ValueError(f"{name}.endpoint: port {port} is {_TAKEN[port]}'s; write another one")
        if port in ports.values():
            raise ValueError(f"{name}.endpoint: port {port} is another exporter's; write another one")
        ports[name] = port
    return ports


def _port(name: str, endpoint: object) -> int:
    found = re.fullmatch(r"(|0\.0\.0\.0|\[::\]):([0-9]{1,5})", endpoint) if isinstance(endpoint, str) else None
    if found is None or not 1024 <= int(found[2]) <= 65535:
        raise ValueError(
            f"{name}.endpoint: is no address that other pods reach; write 0.0.0.0 and a port from 1024 on, "
            "such as 0.0.0.0:8889"
        )
    return int(found[2])
