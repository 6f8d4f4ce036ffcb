"""The rendered configuration in a real collector: StatsD and OTLP go in, Prometheus and the log come out."""

import json
import re
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.graph.stack import Stack, load
from tests.integration.deployed import rendered
from tests.lab.namespace import require_private_namespace
from tests.lab.otel import Collector
from tests.lab.process import free_ports, wait_until

pytestmark = pytest.mark.integration

CONFIG = "/etc/otelcol-contrib/config.yaml"


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        text: str = answer.read().decode()
    return text


def gauge(name: str, value: int) -> bytes:
    """An OTLP/HTTP request in JSON with one gauge."""
    points = [{"timeUnixNano": str(time.time_ns()), "asInt": str(value)}]
    metric = {"name": name, "gauge": {"dataPoints": points}}
    return json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}).encode()


def test_statsd_and_otlp_come_out_of_the_exporter(collector: Callable[..., Collector], tmp_path: Path) -> None:
    require_private_namespace()
    (port,) = free_ports(1)
    exporters = {"debug": {"verbosity": "detailed"}, "prometheus": {"endpoint": f"0.0.0.0:{port}"}}
    _, recording = rendered(tmp_path / "dev", telemetry=json.dumps({"exporters": exporters}))
    running = collector(Stack(recording).file("otel-collector", CONFIG))
    assert read("http://127.0.0.1:13133/")

    for _ in range(3):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:  # a new port each time, as Whisper's client
            client.sendto(b"chat.messages:2|c|#route:v1", ("127.0.0.1", 8125))
            client.sendto(b"chat.latency:120|ms", ("127.0.0.1", 8125))
    request = urllib.request.Request("http://127.0.0.1:4318/v1/metrics", gauge("lab.gauge", 7))
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200

    counter = re.compile(r'^chat_messages_total\{.*route="v1".*\} 6$', re.MULTILINE)
    metrics = f"http://127.0.0.1:{port}/metrics"
    wait_until(lambda: counter.search(read(metrics)) is not None, 30, "the counter, added up over all clients")
    assert re.search(r"^lab_gauge(\{.*\})? 7$", read(metrics), re.MULTILINE)
    assert re.search(r"^chat_latency.*_count(\{.*\})? 3$", read(metrics), re.MULTILINE)
    assert "Name: chat.messages" in running.output()


INTERVAL, DAY = "10s", 8640
"""How often StatsD's receiver hands on what it has added up, and how often that is in a day."""

ROUNDS = 12


def idle(sender: str) -> Iterator[bytes]:
    """What a JVM with nothing to do sends in an interval, many gauges of its own first: a datagram for each ten."""
    lines = [f"jvm.gauge{i}:1|g|#sender:{sender}" for i in range(150)]
    lines += [f"jobs.run{i}:1|c|#sender:{sender}" for i in range(20)]
    lines += [f"jobs.time{i}:20|ms|#sender:{sender}" for i in range(20)]
    for i in range(0, len(lines), 10):
        yield "\n".join(lines[i : i + 10]).encode()


def is_there(metrics: str, name: str) -> bool:
    return name in read(metrics)


def test_an_idle_day_leaves_less_than_a_megabyte_in_the_log(collector: Callable[..., Collector]) -> None:
    """An interval is shortened, not the day's number of them; each is scraped, which is more often than usual."""
    require_private_namespace()
    configuration = load("dev").file("otel-collector", CONFIG)
    assert f"aggregation_interval: {INTERVAL}" in configuration
    running = collector(configuration.replace(f"aggregation_interval: {INTERVAL}", "aggregation_interval: 500ms"))
    metrics = "http://127.0.0.1:8889/metrics"
    sizes: list[int] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", 8125))
        for number in range(ROUNDS):
            # A counter for each: after an interval without it, the exporter begins one again at 1.
            for datagram in (*idle("whisper"), *idle("persister"), f"day.beat{number}:1|c".encode()):
                client.send(datagram)
            wait_until(partial(is_there, metrics, f"day_beat{number}_total"), 30, "the interval to end")
            sizes.append(len(running.output()))
    assert 'sender="persister"' in read(metrics), "it arrived"
    first, last = sizes[1], sizes[-1]
    assert first + (last - first) / (ROUNDS - 2) * DAY < 1_000_000


def test_the_default_configuration_is_scraped_and_says_nothing_of_errors(collector: Callable[..., Collector]) -> None:
    require_private_namespace()
    running = collector(load("dev").file("otel-collector", CONFIG))
    assert read("http://127.0.0.1:8889/metrics") is not None
    assert "error" not in running.output().lower()
