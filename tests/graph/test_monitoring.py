"""Alerts and the dashboard are there where they are wanted, and the rest of the stack stays as it was."""

import json
import re
from functools import cache
from typing import Any

import kubernetes_validate
import pytest

from cli.doctor.symptoms import NOTICES, SYMPTOMS
from components.monitoring.series import COLLECTOR, OTHERS, QUEUES
from config.loading import SettingsError
from config.loading import load as settings_of
from config.schema.invitations import STATUS_PORT
from policies.check import check, from_recording
from policies.config import load as policies_of
from policies.rule import Level
from tests.graph.stack import ROOT, Stack, configuration, load, recorded, stack_files
from tests.graph.test_network import edges

KINDS = {"PrometheusRule", "ServiceMonitor", "PodMonitor"}
SCRAPERS = {"scrapers": [{"namespace": "monitoring", "podLabels": {"app.kubernetes.io/name": "prometheus"}}]}
ADDRESS = "https://git.example.org/flatline/docs/operations.md"
TABLE = "https://git.example.org/flatline/docs/symptoms.md"
MANUAL = (ROOT / "docs" / "operations.md").read_text()


def wanting(name: str, **monitoring: Any) -> dict[str, str]:
    more = {"flatline:monitoring": json.dumps(monitoring), "flatline:telemetry": json.dumps(SCRAPERS)}
    return {**configuration(name), **more}


WAYS: dict[str, dict[str, Any]] = {
    "dev": {"scrape": "annotations"},
    "prod": {"labels": {"release": "prometheus"}, "manual": ADDRESS, "symptoms": TABLE},
}
"""One of each way to be scraped."""


@cache
def monitored(name: str) -> Stack:
    return Stack(recorded(wanting(name, **WAYS.get(name, {})), stack=name))


@cache
def calling(name: str, network: str = "node-ports") -> Stack:
    """The same with servers for calls."""
    first = 31000 if network == "node-ports" else 49152
    relay_ports = {"first": first, "last": first + 49}
    turn = {"address": "198.51.100.7", "network": network, "relayPorts": relay_ports}
    calls = {"flatline:calls": json.dumps({"turn": turn, "groups": {"addresses": ["8.8.8.8"]}})}
    return Stack(recorded({**wanting(name, **WAYS.get(name, {})), **calls}, stack=name))


def rules(stack: Stack) -> list[dict[str, Any]]:
    (found,) = stack.of("PrometheusRule")
    return [rule for group in found["spec"]["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("name", stack_files())
def test_without_it_there_is_none(name: str) -> None:
    stack = load(name)
    assert not stack.of(*KINDS)
    assert "grafana" not in json.dumps(stack.objects)


@pytest.mark.parametrize("name", stack_files())
def test_everything_else_stays_as_it_is(name: str) -> None:
    """But for the way in of Prometheus, the annotations by which it finds what it reads, and the name of a port."""
    with_it = {(o["kind"], o["metadata"]["name"], o["metadata"].get("namespace")): o for o in monitored(name).objects}
    for found in load(name).objects:
        same = with_it[found["kind"], found["metadata"]["name"], found["metadata"].get("namespace")]
        scraped = found["metadata"]["name"] in {"otel-collector", "registration"}
        if scraped and found["kind"] in {"NetworkPolicy", "Service"}:
            continue
        if scraped and found["kind"] == "StatefulSet":
            assert json.loads(json.dumps(same).replace('"metrics"', '"status"')) == found
            continue
        assert same == found


@pytest.mark.parametrize("name", stack_files())
def test_the_policies_find_no_more_than_before(name: str) -> None:
    config = policies_of(name, profile=settings_of(configuration(name)).target.kind)
    report = check(from_recording(monitored(name).recording), config)
    assert not report.problems
    assert not report.undecided
    assert not [found for found in report.findings if found.level is Level.MANDATORY]
    before = check(from_recording(load(name).recording), config)
    assert {found.rule.name for found in report.findings} == {found.rule.name for found in before.findings}


@pytest.mark.parametrize("name", stack_files())
def test_every_query_names_known_series_of_the_stack(name: str) -> None:
    stack = calling(name)
    (dashboard,) = (o for o in stack.of("ConfigMap") if o["metadata"]["name"] == "flatline-dashboard")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    kubernetes_validate.validate(dashboard, "1.34", strict=True)
    panels = json.loads(dashboard["data"]["flatline.json"])["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    queries += [rule["expr"] for rule in rules(stack)]
    known = {*COLLECTOR, *OTHERS, f"{QUEUES}_sum", f"{QUEUES}_count"}
    for query in queries:
        named = re.findall(r"\b(\w+)\{([^}]*)\}", query)
        assert {series for series, _ in named} <= known
        assert all("flatline" in matchers for _, matchers in named), query
        assert named or query.startswith("vector("), query


def test_each_alert_links_to_its_part_of_the_manual() -> None:
    anchors = {title.lower() for title in re.findall(r"^### (\w+)$", MANUAL, re.MULTILINE)}
    for rule in rules(calling("dev")):
        assert rule["alert"].lower() in anchors
    for name, address in (("dev", "docs/operations.md"), ("prod", ADDRESS)):
        for rule in rules(monitored(name)):
            assert rule["annotations"]["runbook_url"] == f"{address}#{rule['alert'].lower()}"
            assert rule["alert"].lower() in anchors
    names = [rule["alert"] for rule in rules(monitored("dev"))]
    assert len(names) == len(set(names)) >= 19


def test_each_alert_links_to_a_symptom_of_the_doctor() -> None:
    """The anchor is that of a heading of the table, as GitHub makes it."""
    headings = re.findall(r"^### (.+)$", (ROOT / "docs" / "symptoms.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(SYMPTOMS) - NOTICES <= anchors
    for name, address in (("dev", "docs/symptoms.md"), ("prod", TABLE)):
        for rule in rules(calling(name)):
            page, _, anchor = rule["annotations"]["symptom_url"].partition("#")
            assert page == address
            assert anchor in anchors, rule["alert"]


def test_the_ends_of_certificates_are_those_of_the_stack() -> None:
    ends = {rule["alert"]: rule["expr"] for rule in rules(monitored("dev")) if rule["expr"].startswith("vector(")}
    found = {name: int(re.findall(r"\d+", query)[0]) for name, query in ends.items()}
    assert found["AuthorityEnds"] - found["CertificateEnds"] > 390 * 86400


def test_prometheus_finds_the_collector() -> None:
    annotations = monitored("dev").get("Service", "otel-collector")["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == "8889"
    assert ("monitoring", "otel-collector", 8889) in edges(monitored("dev"), "ingress")
    assert not monitored("dev").of("ServiceMonitor")
    stack = monitored("prod")
    (monitor,) = stack.of("ServiceMonitor")
    service = stack.get("Service", "otel-collector")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {each["port"] for each in monitor["spec"]["endpoints"]} <= {
        port["name"] for port in service["spec"]["ports"]
    }
    assert monitor["spec"]["namespaceSelector"]["matchNames"] == [service["metadata"]["namespace"]]


def scrapers_reach(stack: Stack) -> set[int]:
    """The ports of the registration program that pods of another namespace may open."""
    (policy,) = (o for o in stack.of("NetworkPolicy") if o["metadata"]["name"] == "registration")
    outside = [
        rule
        for rule in policy["spec"]["ingress"]
        if any(
            peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] == "monitoring"
            for peer in rule["from"]
        )
    ]
    return {port["port"] for rule in outside for port in rule["ports"]}


def test_prometheus_finds_the_registration_program() -> None:
    annotations = monitored("dev").get("Service", "registration")["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(STATUS_PORT)
    assert not monitored("dev").of("PodMonitor")
    stack = monitored("prod")
    (monitor,) = stack.of("PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    template = stack.get("StatefulSet", "registration")["spec"]["template"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
    assert ports[endpoint["port"]] == STATUS_PORT
    assert scrapers_reach(stack) == scrapers_reach(monitored("dev")) == {STATUS_PORT}


CALLS = {"RelayDown", "RelayPortsFew", "RelayRefuses", "GroupCallsDown"}


@pytest.mark.parametrize("name", stack_files())
def test_prometheus_finds_the_turn_server_and_may_read_it(name: str) -> None:
    stack = calling(name)
    service = next(o for o in stack.of("Service") if o["metadata"]["name"] == "turn")
    port = next(each for each in service["spec"]["ports"] if each["name"] == "metrics")["port"]
    if name == "dev":
        assert service["metadata"]["annotations"]["prometheus.io/port"] == str(port)
        assert not stack.of("ServiceMonitor")
    else:
        monitors = {o["metadata"]["name"]: o["spec"] for o in stack.of("ServiceMonitor")}
        found = monitors["flatline-turn"]
        assert found["namespaceSelector"]["matchNames"] == [service["metadata"]["namespace"]] == ["flatline-turn"]
        assert found["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert [each["port"] for each in found["endpoints"]] == ["metrics"]
    policy = next(o for o in stack.of("NetworkPolicy") if o["metadata"]["name"] == "turn")
    scrapers = [r for r in policy["spec"]["ingress"] if any("namespaceSelector" in peer for peer in r["from"])]
    assert [each["port"] for rule in scrapers for each in rule["ports"]] == [port]
    assert "--prometheus" in stack.pod("turn").spec["containers"][0]["args"]


@pytest.mark.parametrize("name", stack_files())
def test_calls_have_alerts_where_a_stack_has_their_servers(name: str) -> None:
    alerts = {rule["alert"]: rule["expr"] for rule in rules(calling(name))}
    assert alerts.keys() >= CALLS
    assert not CALLS & {rule["alert"] for rule in rules(monitored(name))}
    assert "0.8 * 50" in alerts["RelayPortsFew"]
    (deployment,) = (o for o in calling(name).of("Deployment") if o["metadata"]["name"] == "turn")
    assert f'namespace="{deployment["metadata"]["namespace"]}",deployment="turn"' in alerts["RelayDown"]


def test_in_the_node_s_network_nothing_reads_the_turn_server() -> None:
    stack = calling("prod", "host")
    assert {o["metadata"]["name"] for o in stack.of("ServiceMonitor")} == {"flatline"}
    assert {rule["alert"] for rule in rules(stack)} & CALLS == {"RelayDown", "GroupCallsDown"}
    (dashboard,) = (o for o in stack.of("ConfigMap") if o["metadata"]["name"] == "flatline-dashboard")
    assert "turn_" not in dashboard["data"]["flatline.json"]


def test_a_stack_without_the_program_has_no_alert_of_invitations() -> None:
    alone = {"flatline:registration": json.dumps({"kind": "development"})}
    stack = Stack(recorded({**wanting("dev"), **alone}, stack="dev"))
    assert not stack.of("PodMonitor")
    assert "InvitationsAttacked" not in {rule["alert"] for rule in rules(stack)}


@pytest.mark.parametrize(
    ("telemetry", "expected"),
    [({}, "write telemetry.scrapers"), ({"exporters": {"debug": None}}, "write telemetry.exporters.prometheus")],
)
def test_monitoring_that_nobody_could_read_is_refused(telemetry: dict[str, Any], expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        settings_of({**configuration("dev"), "flatline:monitoring": "{}", "flatline:telemetry": json.dumps(telemetry)})
