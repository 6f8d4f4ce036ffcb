"""Alerts and the dashboard under promtool, and their names in the real collector."""

import re
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.monitoring import rules, series
from components.monitoring.dashboard import panels
from tests.graph.stack import load
from tests.lab import promtool
from tests.lab.fetch import skip_if_missing
from tests.lab.namespace import require_private_namespace
from tests.lab.otel import Collector
from tests.lab.process import wait_until
from tests.monitoring_series import DAY, FAULTS, NEVER, SCOPE, normal, written

pytestmark = pytest.mark.integration

GROUPS = rules.groups(SCOPE, NEVER, NEVER, "docs/operations.md", "docs/symptoms.md")
NAMES = [rule["alert"] for group in GROUPS for rule in group["rules"]]
CERTIFICATES = {"CertificateEnds": (10 * 86400.0, NEVER), "AuthorityEnds": (NEVER, 50 * 86400.0)}
BEFORE, DURING = 180, 120
"""Minutes of normal series, and of the fault."""


@pytest.fixture(autouse=True, scope="module")
def _promtool() -> None:
    with skip_if_missing():
        promtool.promtool()


def firing(minutes: int, expected: dict[str, int]) -> list[dict[str, Any]]:
    """The test that these alerts, and no others, fire at a minute."""
    samples = [{"labels": f'{{alertname="{name}"}}', "value": count} for name, count in sorted(expected.items())]
    query = 'count by (alertname) (ALERTS{alertstate="firing"})'
    return [{"expr": query, "eval_time": f"{minutes}m", "exp_samples": samples}]


def test_each_alert_has_a_fault() -> None:
    assert sorted([*FAULTS, *CERTIFICATES]) == sorted(NAMES)


@pytest.mark.parametrize("name", FAULTS)
def test_an_alert_fires_on_its_fault_alone(name: str, tmp_path: Path) -> None:
    found = normal(BEFORE + DURING)
    FAULTS[name](found, BEFORE, BEFORE + DURING)
    last = BEFORE + DURING - 1
    checks = [*firing(BEFORE - 1, {}), *firing(last, {name: 1})]
    if name == "WebSocketsLost":  # it compares with the last hour, so it is over when the fault is the hour
        checks = [*firing(BEFORE - 1, {}), *firing(BEFORE + 15, {name: 1})]
    tests = [{"interval": "1m", "input_series": written(found), "promql_expr_test": checks}]
    assert promtool.tested_rules(tmp_path, {"groups": GROUPS}, {"evaluation_interval": "1m", "tests": tests}) == ""


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_certificate_that_ends_is_told(name: str, tmp_path: Path) -> None:
    groups = rules.groups(SCOPE, *CERTIFICATES[name], "docs/operations.md", "docs/symptoms.md")
    tests = [{"interval": "1m", "input_series": written(normal(120)), "promql_expr_test": firing(119, {name: 1})}]
    assert promtool.tested_rules(tmp_path, {"groups": groups}, {"evaluation_interval": "1m", "tests": tests}) == ""


def test_a_normal_day_is_quiet(tmp_path: Path) -> None:
    query = 'count by (alertname) (count_over_time(ALERTS{alertstate="firing"}[24h]))'
    check = [{"expr": query, "eval_time": f"{DAY - 1}m", "exp_samples": []}]
    tests = [{"interval": "1m", "input_series": written(normal()), "promql_expr_test": check}]
    assert promtool.tested_rules(tmp_path, {"groups": GROUPS}, {"evaluation_interval": "1m", "tests": tests}) == ""


def test_each_panel_shows_something(tmp_path: Path) -> None:
    """Of a day with faults, for what shows nothing on a normal one."""
    found = normal(BEFORE + DURING)
    for name in ("RedisUnreachable", "ContainerRestarts"):
        FAULTS[name](found, BEFORE, BEFORE + DURING)
    queries = [query for panel in panels(SCOPE) for query in panel.queries.values()]
    checks = [
        {
            "expr": f"count({query}) > bool 0",
            "eval_time": f"{BEFORE + DURING - 1}m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for query in queries
    ]
    tests = [{"interval": "1m", "input_series": written(found), "promql_expr_test": checks}]
    assert promtool.tested_rules(tmp_path, {"groups": GROUPS}, {"evaluation_interval": "1m", "tests": tests}) == ""


SENT = (
    "org.whispersystems.textsecuregcm.metrics.MetricsRequestEventListener.request:1|c|#statistic:count,path:/v1/config,"
    "method:GET,status:500,trafficSource:http,platform:android,service:chat",
    "chat.WebSocketConnection.openWebsockets:3|g|#statistic:value,platform:android,authenticated:true,service:chat",
    "chat.MessagePersister.queueCount:2|d|#service:chat",
    "chat.MessagePersister.persistQueueException:1|c|#statistic:count,service:chat",
    "chat.MessagePersister.persistMessage:5|c|#statistic:count,urgent:true,service:chat",
    "chat.ResilienceUtil.breaker.state:1|g|#statistic:value,"
    "breakerName:LettuceShardCircuitBreaker/messages/redis-0:6379,service:chat",
)
"""As Micrometer's StatsD registry writes what Whisper counts, in Datadog's flavour."""


def test_the_collector_exports_the_series_that_rules_read(collector: Callable[..., Collector]) -> None:
    require_private_namespace()
    collector(load("dev").file("otel-collector", "/etc/otelcol-contrib/config.yaml"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for line in SENT:
            client.sendto(line.encode(), ("127.0.0.1", 8125))

    def exported() -> str:
        with urllib.request.urlopen("http://127.0.0.1:8889/metrics", timeout=60) as answer:
            return str(answer.read().decode())

    wait_until(lambda: series.REQUESTS in exported(), 30, "the first interval to end")
    lines = exported()
    for name in (*(each for each in series.COLLECTOR if each != series.QUEUES), f"{series.QUEUES}_count"):
        assert re.search(rf"^{name}\{{", lines, re.MULTILINE), name
    assert re.search(rf'^{series.REQUESTS}\{{.*status="500"', lines, re.MULTILINE)
    assert re.search(rf'^{series.WEB_SOCKETS}\{{.*authenticated="true".*platform="android"', lines, re.MULTILINE)
    assert re.search(rf'^{series.BREAKERS}\{{.*breakerName="LettuceShardCircuitBreaker/', lines, re.MULTILINE)
