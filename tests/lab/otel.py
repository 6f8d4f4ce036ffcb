"""The real OpenTelemetry Collector, with the components that the rendered configuration names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.lab.go import go_build, required_version
from tests.lab.process import Process, Server

SOURCES = Path(__file__).resolve().parent / "otel"
READY = "Everything is ready. Begin running and processing data."  # service.go of the collector


def collector_version() -> str:
    """The release of the collector's modules, such as "0.155.0"."""
    return required_version(SOURCES, "go.opentelemetry.io/collector/otelcol").removeprefix("v")


def collector_binary() -> Path:
    """The executable of SOURCES, built once (about 2 minutes). Raises `Missing`."""
    return go_build("otelcol", SOURCES, variables={"main.release": collector_version()})


prepare = collector_binary


class Collector(Server):
    """A collector with one configuration: its text, or its content. `with Collector(folder, config):` runs it.

    A configuration that names 0.0.0.0 makes it listen on all interfaces: run that in the private network namespace.
    Raises `Missing` where the binary can't be had, `EndedError` when it does not start.
    """

    def __init__(
        self,
        folder: Path,
        configuration: str | Mapping[str, Any],
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._binary, self._folder, self._environment = collector_binary(), folder, environment
        text = configuration if isinstance(configuration, str) else yaml.safe_dump(dict(configuration))
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "config.yaml"
        self._file.write_text(text)

    def start(self) -> None:
        """Returns when every receiver and exporter has started."""
        command = [str(self._binary), f"--config=file:{self._file}"]
        self._process = Process("otelcol", command, self._folder, environment=self._environment)
        self._process.wait_ready(lambda: READY in self.output())

    def output(self) -> str:
        """Its log so far, where the debug exporter writes too."""
        return self._process.text() if self._process else ""
