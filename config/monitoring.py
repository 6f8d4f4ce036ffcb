"""Settings of alerts and dashboards."""

from typing import Annotated, Literal

from pydantic import Field

from config.base_model import StrictModel


class Monitoring(StrictModel):
    """Alerts for Prometheus and a dashboard for Grafana; the cluster needs the definitions of Prometheus' operator."""

    scrape: Literal["service-monitor", "annotations"] = "service-monitor"
    """How Prometheus finds the collector and the registration program: a ServiceMonitor and a PodMonitor, or
    `prometheus.io/` annotations on their Services."""
    labels: dict[str, str] = {}
    """Of the PrometheusRule and the monitors, where Prometheus selects by label: `release: prometheus`."""
    dashboard_labels: dict[str, str] = {"grafana_dashboard": "1"}
    """Of the ConfigMap with the dashboard: those that Grafana's sidecar looks for."""
    manual: Annotated[str, Field(pattern=r"^[^\s#]+$")] = "docs/operations.md"
    """Where alerts link to: the address at which you publish docs/operations.md, without `#`."""
    symptoms: Annotated[str, Field(pattern=r"^[^\s#]+$")] = "docs/symptoms.md"
    """The same for docs/symptoms.md: each alert links to the symptom to begin at."""
