"""Where the OpenTelemetry Collector's metrics go."""

from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from config.base_model import StrictModel
from config.exporters import DEFAULT_EXPORTERS, scraped_ports


class Scraper(StrictModel):
    """Pods that read metrics from the collector, such as those of Prometheus."""

    namespace: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    """Namespace of the scraper's pods."""
    pod_labels: Annotated[dict[str, str], Field(min_length=1)]
    """Labels of the scraper's pods."""


class Telemetry(StrictModel):
    """Where the OpenTelemetry Collector's metrics go."""

    exporters: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+(/[A-Za-z0-9_.-]+)?$")], dict[str, Any] | None] = (
        DEFAULT_EXPORTERS
    )
    """Exporters as in the collector's own configuration, by component id. Each `prometheus` gets its port on the
    Service `otel-collector`; `debug` writes every metric to the log, gigabytes a day."""
    scrapers: list[Scraper] = []
    """Pods that the network policy lets read the `prometheus` exporters; none without it."""

    @field_validator("exporters")
    @classmethod
    def _can_be_reached(cls, value: dict[str, dict[str, Any] | None]) -> dict[str, dict[str, Any] | None]:
        if not value:
            raise ValueError("is empty; write at least one, such as {prometheus: {endpoint: 0.0.0.0:8889}}")
        scraped_ports(value)
        return value

    @model_validator(mode="after")
    def _scrapers_find_something(self) -> Self:
        if self.scrapers and not scraped_ports(self.exporters):
            raise ValueError("scrapers: no exporter is prometheus; write exporters.prometheus or remove it")
        return self
