"""Connections between particular pods. The policy rules check that network policies are narrow and agree."""

import json
from functools import cache
from typing import Any

import pytest

from policies.check import check, from_recording
from policies.config import load as load_config
from tests.graph.stack import Object, Stack, configuration, load, recorded


def own(stack: Stack) -> dict[str, Object]:
    """The policies of pods, by name."""
    return {o["metadata"]["name"]: o for o in stack.of("NetworkPolicy") if o["spec"]["podSelector"].get("matchLabels")}


def test_every_pod_has_one_policy_and_every_policy_has_a_pod(stack: Stack) -> None:
    selectors = [
        (o["metadata"]["namespace"], frozenset(o["spec"]["podSelector"]["matchLabels"].items()))
        for o in own(stack).values()
    ]
    pods = {(pod.namespace, frozenset(pod.labels.items())) for pod in stack.pods()}
    assert len(selectors) == len(set(selectors))
    assert set(selectors) == pods


def test_networks_of_peers_are_those_of_the_configuration(stack: Stack) -> None:
    for policy in own(stack).values():
        for rule in [*(policy["spec"].get("ingress") or ()), *(policy["spec"].get("egress") or ())]:
            cidrs = {peer["ipBlock"]["cidr"] for peer in rule.get("from", rule.get("to")) if "ipBlock" in peer}
            assert cidrs <= external_networks(stack)


def external_networks(stack: Stack) -> set[str]:
    """Networks outside of the cluster that the configuration of a stack names, or that its clouds fix."""
    target = json.loads(configuration(stack.recording.stack)["flatline:target"])
    if target["kind"] == "local":
        return set()
    agents = {"169.254.170.23/32", "fd00:ec2::23/128"}  # EKS Pod Identity
    return {*target["aws"]["networks"], *target["gcp"].get("networks", ["199.36.153.8/30"]), *agents}


def edges(stack: Stack, direction: str) -> set[tuple[str, str, int]]:
    """(caller, callee, port) of all policies, told from one side."""
    names = {
        (o["metadata"]["namespace"], json.dumps(o["spec"]["podSelector"]["matchLabels"], sort_keys=True)): name
        for name, o in own(stack).items()
    }
    found = set()
    for name, policy in own(stack).items():
        for rule in policy["spec"].get(direction) or ():
            for peer in rule["to" if direction == "egress" else "from"]:
                if "ipBlock" in peer:
                    continue
                place = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
                other = names.get((place, json.dumps(peer["podSelector"]["matchLabels"], sort_keys=True)), place)
                for port in rule["ports"]:
                    source, target = (name, other) if direction == "egress" else (other, name)
                    found.add((source, target, port["port"]))
    return found


def proxy(stack: Stack) -> str:
    """The namespace of Traefik."""
    ingress = configuration(stack.recording.stack).get("flatline:ingress", "{}")
    return str(json.loads(ingress).get("namespace", "kube-system"))


def test_only_what_is_public_is_open_to_the_proxy(stack: Stack) -> None:
    open_ports = {(callee, port) for caller, callee, port in edges(stack, "ingress") if caller == proxy(stack)}
    downloads = "cdn3-download" if "cdn3-download" in own(stack) else "cdn3"  # in pods of their own, or beside tusd
    public = {("whisper", 8080), ("storage", 10080), ("cdn3", 8080), (downloads, 8084), ("cdn0-gate", 8080)}
    assert open_ports == public


def test_only_owners_of_buckets_reach_the_object_store(emulated: Stack) -> None:
    callers = {caller for caller, callee, _ in edges(emulated, "ingress") if callee == "object-store"}
    assert {"cdn0-gate", "localstack", "whisper"} <= callers
    assert all(caller.startswith("whisper") for caller in callers - {"cdn0-gate", "localstack"})


def test_only_whisper_reaches_the_database(emulated: Stack) -> None:
    callers = {caller for caller, callee, _ in edges(emulated, "ingress") if callee == "localstack"}
    assert callers
    assert all(caller.startswith("whisper") for caller in callers)


def test_only_storage_and_the_seed_reach_the_groups(emulated: Stack) -> None:
    assert {caller for caller, callee, _ in edges(emulated, "ingress") if callee == "cbtemulator"} == {
        "storage",
        "cbtemulator-seed",
    }


def test_emulators_and_registration_reach_nothing(emulated: Stack) -> None:
    (target,) = {callee for caller, callee, _ in edges(emulated, "egress") if caller == "localstack"} - {"kube-system"}
    assert target == "object-store", "whose pages the seed looks for"
    for name in ("object-store", "cbtemulator", "registration", "cdn3", "otel-collector"):
        assert not own(emulated)[name]["spec"].get("egress"), name


@cache
def with_admin_and_scrapers() -> Stack:
    exporters: dict[str, Any] = {
        "prometheus": {"endpoint": "0.0.0.0:8889"},
        "debug": None,
        "prometheus/own": {"endpoint": ":9464"},
        "prometheus/six": {"endpoint": "[::]:9465"},
    }
    scrapers = [
        {"namespace": "monitoring", "podLabels": {"app.kubernetes.io/name": "prometheus"}},
        {"namespace": "other", "podLabels": {"app": "agent"}},
    ]
    telemetry = json.dumps({"exporters": exporters, "scrapers": scrapers})
    asked = {"flatline:exposeAdmin": "true", "flatline:telemetry": telemetry}
    return Stack(recorded({**configuration("dev"), **asked}))


def test_admin_ports_are_routed_only_when_asked(stack: Stack) -> None:
    ports = {
        t["port"] for o in stack.of("IngressRoute") for r in o["spec"]["routes"] for t in r["services"] if "port" in t
    }
    assert not ports & {8081, 10081}
    asked = with_admin_and_scrapers()
    hosts = json.dumps(asked.of("IngressRoute"))
    assert "whisper-admin.flatline.internal" in hosts
    assert "storage-admin.flatline.internal" in hosts
    assert ("whisper", 8081) in {
        (callee, port) for caller, callee, port in edges(asked, "ingress") if caller == "kube-system"
    }


def test_a_way_out_is_opened_only_for_whom_it_was_asked() -> None:
    ways: dict[str, list[dict[str, Any]]] = {
        "whisper": [{"cidr": "203.0.113.0/24", "ports": [443]}],
        "registration": [{"cidr": "198.51.100.0/24", "ports": [443], "protocol": "TCP"}],
        "otel-collector": [{"cidr": "192.0.2.0/24", "ports": [514, 8125], "protocol": "UDP"}],
    }
    webhook = '{"kind": "webhook", "url": "https://sms.example.org/codes"}'
    asked = {"flatline:egress": json.dumps(ways), "flatline:registration": webhook}
    opened = {
        name: [
            {"cidr": peer["ipBlock"]["cidr"], "ports": [(port["port"], port["protocol"]) for port in rule["ports"]]}
            for rule in policy["spec"].get("egress") or ()
            for peer in rule["to"]
            if "ipBlock" in peer
        ]
        for name, policy in own(Stack(recorded({**configuration("dev"), **asked}))).items()
    }
    assert {name: found for name, found in opened.items() if found} == {
        name: [{"cidr": way["cidr"], "ports": [(port, way.get("protocol", "TCP")) for port in way["ports"]]}]
        for name, (way,) in ways.items()
    }


def test_names_are_also_asked_of_the_networks_that_are_named() -> None:
    """As of NodeLocal DNSCache, which a policy for pods does not reach: by every pod that asks, by UDP and TCP."""
    networks = ["169.254.20.10/32", "10.96.0.10/32", "169.254.169.254/32", "fd00:10:96::a/128"]
    dns = json.dumps({"networks": networks})
    stack = Stack(recorded({**configuration("dev"), "flatline:clusterDns": dns}))
    asking = {name for name, policy in own(stack).items() if policy["spec"].get("egress")}
    assert len(asking) > 10
    for name in asking:
        rule = own(stack)[name]["spec"]["egress"][0]
        assert [peer["ipBlock"]["cidr"] for peer in rule["to"] if "ipBlock" in peer] == networks, name
        assert any("podSelector" in peer for peer in rule["to"]), name
        assert [(port["port"], port["protocol"]) for port in rule["ports"]] == [(53, "UDP"), (53, "TCP")], name
    report = check(from_recording(stack.recording), load_config("dev", profile="local"))
    assert [finding.message for finding in report.findings if finding.rule.name.startswith("network")] == []


def test_metrics_are_open_to_the_scrapers_that_are_named_and_to_nobody_else(stack: Stack) -> None:
    callers = {caller for caller, callee, port in edges(stack, "ingress") if (callee, port) == ("otel-collector", 8889)}
    assert callers == set()
    ports = {8889, 9464, 9465}
    named = with_admin_and_scrapers()
    assert {edge for edge in edges(named, "ingress") if edge[2] in ports} == {
        (namespace, "otel-collector", port) for namespace in ("monitoring", "other") for port in ports
    }
    assert "otel-collector" not in {caller for caller, _, _ in edges(named, "egress")}
    (container,) = named.pod("otel-collector").spec["containers"]
    service = {port["port"]: port for port in named.get("Service", "otel-collector")["spec"]["ports"]}
    for number in ports:
        (port,) = (each for each in container["ports"] if each["containerPort"] == number)
        assert service[number]["targetPort"] == port["name"]


@pytest.fixture(scope="module")
def development() -> Stack:
    """With the development service of Registration."""
    return Stack(recorded({**configuration("dev"), "flatline:registration": '{"kind": "development"}'}))


@pytest.mark.parametrize("kind", ["invitation", "development"])
def test_registration_is_reached_by_whisper_alone_and_only_at_its_grpc_port(kind: str, development: Stack) -> None:
    stack = development if kind == "development" else load("dev")
    for direction in ("ingress", "egress"):
        found = {(caller, port) for caller, callee, port in edges(stack, direction) if callee == "registration"}
        assert found == {("whisper", 50051)}, direction
    assert [port["port"] for port in stack.get("Service", "registration")["spec"]["ports"]] == [50051]


def test_pods_of_the_development_service_that_were_left_behind_are_asked_no_more(development: Stack) -> None:
    """Rendered files delete nothing, and these pods would take any number's last six digits for its code."""
    left = development.pod("registration").labels.items()
    (policy,) = (o for o in load("dev").of("NetworkPolicy") if o["metadata"]["name"] == "registration")
    for selector in (
        load("dev").get("Service", "registration")["spec"]["selector"],
        policy["spec"]["podSelector"]["matchLabels"],
    ):
        assert not selector.items() <= left


def test_a_registration_service_of_the_operators_replaces_ours() -> None:
    settings = {"kind": "external", "service": "verifier", "namespace": "numbers", "podLabels": {"app": "verifier"}}
    stack = Stack(recorded({**configuration("dev"), "flatline:registration": json.dumps(settings)}))
    assert "registration" not in {o["metadata"]["name"] for o in stack.of("Deployment", "StatefulSet", "Service")}
    assert "host: verifier.numbers.svc" in stack.file("whisper", "/usr/share/signal/dev.yml")
    assert ("whisper", "numbers", 50051) in edges(stack, "egress")
