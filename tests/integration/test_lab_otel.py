"""The lab's collector takes StatsD and shows it to Prometheus, and says what is wrong with a configuration."""

import re
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.fetch import skip_if_missing
from tests.lab.otel import Collector, collector_binary, collector_version, validate
from tests.lab.process import EndedError, free_ports, wait_until

pytestmark = pytest.mark.integration


def _configuration(statsd: int, otlp: int, prometheus: int, health: int) -> dict[str, object]:
    names = {
        "receivers": ["statsd", "otlp"],
        "processors": ["memory_limiter", "batch"],
        "exporters": ["prometheus", "debug"],
    }
    return {
        "receivers": {
            "statsd": {
                "endpoint": f"127.0.0.1:{statsd}",
                "aggregation_interval": "200ms",
                "enable_ip_only_aggregation": True,
                "is_monotonic_counter": True,
            },
            "otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{otlp}"}}},
        },
        "processors": {"memory_limiter": {"check_interval": "1s", "limit_mib": 128}, "batch": {"timeout": "100ms"}},
        "exporters": {"prometheus": {"endpoint": f"127.0.0.1:{prometheus}"}, "debug": {"verbosity": "detailed"}},
        "extensions": {"health_check": {"endpoint": f"127.0.0.1:{health}"}},
        "service": {
            "extensions": ["health_check"],
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"metrics": names},
        },
    }


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        text: str = answer.read().decode()
    return text


def test_a_counter_comes_out_of_the_exporters(collector: Callable[..., Collector]) -> None:
    statsd, otlp, prometheus, health = free_ports(4)
    running = collector(_configuration(statsd, otlp, prometheus, health))
    assert "Server available" in _read(f"http://127.0.0.1:{health}/")

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"lab.requests:3|c|#route:home", ("127.0.0.1", statsd))

    counted = re.compile(r'^lab_requests_total\{.*route="home".*\} 3$', re.MULTILINE)
    wait_until(lambda: counted.search(_read(f"http://127.0.0.1:{prometheus}/metrics")) is not None, 10, "the counter")
    wait_until(lambda: "Name: lab.requests" in running.output(), 10, "the debug exporter")


def test_it_is_of_the_release_in_go_mod(collector: Callable[..., Collector]) -> None:
    running = collector(_configuration(*free_ports(4)))
    assert f'"Version": "{collector_version()}"' in running.output()


def test_a_wrong_key_is_named(collector: Callable[..., Collector], tmp_path: Path) -> None:
    configuration = _configuration(*free_ports(4))
    configuration["processors"] = {"batch": {"timeout": "1s", "no_such_key": 1}, "memory_limiter": None}
    with pytest.raises(EndedError, match="no_such_key"):
        collector(configuration)
    with skip_if_missing():
        collector_binary()
    assert "no_such_key" in validate((tmp_path / "collector" / "config.yaml").read_text(), tmp_path)
