"""Group calls, spelt out by people who read the calling service's own code: arguments, ports, table, edges, addresses.

Nothing here is taken from the schema or from the component.
"""

import itertools
import json
from functools import cache
from typing import Any

import pytest
import yaml

from policies.check import check, from_recording
from policies.config import load as load_config
from tests.graph.stack import Object, Pod, Stack, configuration, load, recorded
from tests.graph.test_cloud_stack import grants_of
from tests.graph.test_configuration import logging
from tests.graph.test_network import edges, own
from tests.graph.test_spelt_out import spelt

GROUPS: Object = {"addresses": ["8.8.8.8"]}
BOTH_FAMILIES = ["8.8.8.8", "2001:4860:4860::8888"]
TARGETS = {"dev": "local", "prod": "cloud"}


@cache
def _with(stack: str, groups: str) -> Stack:
    calls = json.dumps({"groups": json.loads(groups)})
    return Stack(recorded({**configuration(stack), "flatline:calls": calls}, stack=stack))


def with_groups(stack: str = "dev", **settings: Any) -> Stack:
    """A stack of the repository with group calls."""
    return _with(stack, json.dumps({**GROUPS, **settings}, sort_keys=True))


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> Stack:
    return with_groups(request.param)


def _program(pod: Pod) -> list[str]:
    """What the start step becomes: the program and its arguments."""
    (container,) = pod.spec["containers"]
    assert container["command"] == ["/opt/flatline/calling/start.sh"]
    words = list(container["args"])
    while words[0].startswith("--"):
        words = words[2:]
    return words


FRONTEND = """
calling_frontend
--server-ip 0.0.0.0 --server-port 8080
--internal-api-ip 0.0.0.0 --internal-api-port 8100
--region flatline --version flatline
--max-clients-per-call 50 --cleanup-interval-ms 10000
--regional-url-template https://sfu.flatline.internal
--calling-server-url http://calling-backend.flatline.svc:8080
--storage-table Rooms --storage-region us-east-1
--storage-endpoint http://localstack.flatline-emulators.svc:4566
--metrics-datadog-host otel-collector.flatline.svc:8125
"""
BACKEND = """
calling_backend
--binding-ip 0.0.0.0 --ice-candidate-ip 8.8.8.8
--ice-candidate-port 30900 --ice-candidate-port-tcp 30900
--signaling-ip $(POD_IP) --signaling-port 8080
--approved-users-persistence-url http://calling-frontend.flatline.svc:8100/v1/call-link-approvals
--remove-call-records-base-url http://calling-frontend.flatline.svc:8100/v2/conference
--datadog otel-collector.flatline.svc:8125 --metrics-region flatline
"""
"""Names and forms as the programs' `--help` has them (clap, long names alone)."""


def test_both_programs_get_these_arguments_and_no_others() -> None:
    stack = with_groups()
    assert _program(stack.pod("calling-frontend")) == FRONTEND.split()
    assert _program(stack.pod("calling-backend")) == BACKEND.split()


def test_in_the_cloud_the_frontend_finds_the_table_by_itself() -> None:
    words = _program(with_groups("prod").pod("calling-frontend"))
    assert "--storage-endpoint" not in words, "with which it takes credentials of its own that AWS refuses"
    arguments = dict(zip(words[1::2], words[2::2], strict=True))
    assert (arguments["--storage-table"], arguments["--storage-region"]) == ("flatline-prod-Rooms", "eu-central-1")


def test_secrets_come_from_files_and_are_those_of_whisper_and_storage(target: Stack) -> None:
    pod = target.pod("calling-frontend")
    (container,) = pod.spec["containers"]
    files = {"authentication-key": "/etc/flatline/authentication-key", "zkparams": "/etc/flatline/zkparams"}
    flags = [word for name, path in files.items() for word in ("--from-file", f"{name}={path}")]
    assert container["args"][: len(flags)] == flags
    texts = {name: target.file("calling-frontend", path) for name, path in files.items()}
    storage = yaml.safe_load(target.file("storage", "/usr/share/signal/dev.yml"))
    whisper = yaml.safe_load(target.file("whisper", "/usr/share/signal/secrets-bundle.yml"))
    assert texts["authentication-key"] == storage["group"]["externalServiceSecret"]
    assert texts["zkparams"] == whisper["callingZkConfig.serverSecret"]
    assert all(mounted.secret for mounted in pod.files["calling-frontend"] if mounted.path in files.values())
    written = json.dumps([each.owner for each in target.pods()])
    assert not any(text in written for text in texts.values())
    backend = target.pod("calling-backend")
    assert not any(mounted.secret for mounted in backend.files["calling-backend"]), "it needs no key"


def test_the_table_has_its_index_and_its_expiry() -> None:
    seed = json.loads(with_groups().file("localstack", "/opt/flatline/seed.json"))
    (request,) = (each for each in seed["tables"] if each["TableName"] == "Rooms")
    types = {each["AttributeName"]: each["AttributeType"] for each in request["AttributeDefinitions"]}
    assert spelt(request["KeySchema"], types) == "roomId:S,recordType:S"
    (index,) = request["GlobalSecondaryIndexes"]
    assert (index["IndexName"], spelt(index["KeySchema"], types)) == ("region-index", "region:S,recordType:S")
    assert index["Projection"] == {"ProjectionType": "ALL"}
    assert seed["ttl"]["Rooms"] == "deleteAt"
    assert sorted(types) == ["recordType", "region", "roomId"]


def test_without_group_calls_there_is_no_table() -> None:
    seed = load("dev").file("localstack", "/opt/flatline/seed.json")
    assert "Rooms" not in seed
    assert not [each for each in load("prod").recording.of_type("aws:dynamodb/table:Table") if "Rooms" in each.name]


def test_in_the_cloud_the_frontend_may_use_its_own_table_alone() -> None:
    stack = with_groups("prod")
    (table,) = (e for e in stack.recording.of_type("aws:dynamodb/table:Table") if e.name == "dynamodb-Rooms")
    assert table.protect
    assert table.inputs["deletionProtectionEnabled"] is True
    assert table.inputs["ttl"] == {"attributeName": "deleteAt", "enabled": True}
    granted = {(action, resource) for action, resource, _ in grants_of(stack.recording, "calling-frontend")}
    arn = table.outputs["arn"]
    operations = ("GetItem", "PutItem", "UpdateItem", "DeleteItem", "ConditionCheckItem", "Query")
    assert {each for each in granted if each[0].startswith("dynamodb:")} == {
        *((f"dynamodb:{operation}", arn) for operation in operations),
        ("dynamodb:Query", f"{arn}/index/region-index"),
    }
    assert {action.partition(":")[0] for action, _ in granted} == {"dynamodb", "kms"}
    assert not grants_of(stack.recording, "calling-backend")
    assert not any("Rooms" in resource for _, resource, _ in grants_of(stack.recording, "whisper"))


def test_these_are_the_edges_of_group_calls() -> None:
    stack = with_groups()
    for direction in ("ingress", "egress"):
        found = {edge for edge in edges(stack, direction) if any("calling" in end for end in edge[:2])}
        expected = {
            ("calling-frontend", "localstack", 4566),
            ("calling-frontend", "calling-backend", 8080),
            ("calling-frontend", "otel-collector", 8125),
            ("calling-backend", "calling-frontend", 8100),
            ("calling-backend", "otel-collector", 8125),
        }
        around = {
            "ingress": {("kube-system", "calling-frontend", 8080)},
            "egress": {("calling-frontend", "kube-system", 53), ("calling-backend", "kube-system", 53)},
        }
        assert found == expected | around[direction]


def _opened(stack: Stack, direction: str = "ingress") -> dict[str, set[tuple[str, str, int]]]:
    """By policy: (network, protocol, port) of what is open to or towards networks."""
    peers = {"ingress": "from", "egress": "to"}[direction]
    found = {
        name: {
            (peer["ipBlock"]["cidr"], port["protocol"], port["port"])
            for rule in policy["spec"].get(direction) or ()
            for peer in rule[peers]
            if "ipBlock" in peer
            for port in rule["ports"]
        }
        for name, policy in own(stack).items()
    }
    return {name: each for name, each in found.items() if each}


def test_clients_reach_media_and_nothing_else() -> None:
    media = {("0.0.0.0/0", "UDP", 30900), ("0.0.0.0/0", "TCP", 30900)}
    assert _opened(with_groups()) == {"calling-backend": media}
    assert not _opened(with_groups(), "egress")
    six = {("::/0", protocol, port) for _, protocol, port in media}
    assert _opened(with_groups(addresses=BOTH_FAMILIES)) == {"calling-backend": media | six}


def test_the_port_of_media_is_the_same_for_the_node_the_service_the_pod_and_the_client(target: Stack) -> None:
    service = target.get("Service", "calling-media")["spec"]
    assert (service["type"], service["externalTrafficPolicy"]) == ("NodePort", "Local")
    pod = target.pod("calling-backend")
    ports = {port["name"]: port for port in pod.spec["containers"][0]["ports"]}
    for protocol in ("UDP", "TCP"):
        (port,) = (each for each in service["ports"] if each["protocol"] == protocol)
        assert (port["port"], port["nodePort"]) == (30900, 30900)
        assert ports[port["targetPort"]]["containerPort"] == 30900
        assert ports[port["targetPort"]]["protocol"] == protocol
    assert service["selector"].items() <= pod.labels.items()
    for name in ("calling-backend", "calling-frontend"):
        inner = target.get("Service", name)["spec"]
        assert inner["type"] == "ClusterIP"
        assert 30900 not in {port["port"] for port in inner["ports"]}


def test_a_load_balancer_takes_another_port_and_leaves_node_ports_to_the_cluster() -> None:
    balancer = {"className": "example.com/l4", "annotations": {"example.com/mixed": "true"}}
    stack = with_groups(port=10000, loadBalancer=balancer)
    service = stack.get("Service", "calling-media")
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["spec"]["loadBalancerClass"] == "example.com/l4"
    assert service["spec"]["externalTrafficPolicy"] == "Local"
    assert service["metadata"]["annotations"]["example.com/mixed"] == "true"
    assert [(each["port"], each["protocol"], "nodePort" in each) for each in service["spec"]["ports"]] == [
        (10000, "UDP", False),
        (10000, "TCP", False),
    ]
    words = _program(stack.pod("calling-backend"))
    assert (
        words[words.index("--ice-candidate-port") + 1] == words[words.index("--ice-candidate-port-tcp") + 1] == "10000"
    )


def test_every_address_is_advertised_and_both_families_are_bound() -> None:
    stack = with_groups(addresses=BOTH_FAMILIES)
    words = _program(stack.pod("calling-backend"))
    assert [after for word, after in itertools.pairwise(words) if word == "--ice-candidate-ip"] == BOTH_FAMILIES
    assert words[words.index("--binding-ip") + 1] == "::"


def test_the_backend_says_its_own_address_to_the_frontend() -> None:
    (container,) = with_groups().pod("calling-backend").spec["containers"]
    (address,) = (each for each in container["env"] if each["name"] == "POD_IP")
    assert address["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"


def test_pods_run_on_amd64_and_the_backend_where_its_addresses_are(target: Stack) -> None:
    labelled = with_groups(nodeLabels={"example.com/media": "yes"})
    wanted = ("kubernetes.io/arch", ["amd64"])

    def nodes(pod: Pod) -> set[tuple[str, tuple[str, ...]]]:
        required = pod.spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        (term,) = required["nodeSelectorTerms"]
        assert all(each["operator"] == "In" for each in term["matchExpressions"])
        return {(each["key"], tuple(each["values"])) for each in term["matchExpressions"]}

    arch = (wanted[0], tuple(wanted[1]))
    assert nodes(target.pod("calling-frontend")) == nodes(target.pod("calling-backend")) == {arch}
    assert nodes(labelled.pod("calling-backend")) == {arch, ("example.com/media", ("yes",))}
    assert nodes(labelled.pod("calling-frontend")) == {arch}


def test_one_backend_at_a_time_has_the_calls(target: Stack) -> None:
    backend = target.get("Deployment", "calling-backend")["spec"]
    assert (backend["replicas"], backend["strategy"]["type"]) == (1, "Recreate")


def test_the_backend_keeps_the_capability_that_its_file_has(target: Stack) -> None:
    """execve of a file with a capability that the bounding set lacks is refused (EPERM)."""
    security = {
        name: target.pod(name).spec["containers"][0]["securityContext"]
        for name in ("calling-frontend", "calling-backend")
    }
    assert security["calling-backend"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}
    assert security["calling-frontend"]["capabilities"] == {"drop": ["ALL"]}


def test_logs_do_not_tell_who_joins_which_call() -> None:
    def level(stack: Stack, name: str) -> str:
        (entry,) = (e for e in stack.pod(name).spec["containers"][0]["env"] if e["name"] == "RUST_LOG")
        return str(entry["value"])

    for name in ("calling-frontend", "calling-backend"):
        assert (level(with_groups(), name), level(logging(), name)) == ("warn", "info")


def test_traefik_passes_on_what_clients_ask_and_nothing_of_the_inner_api(target: Stack) -> None:
    (route,) = target.get("IngressRoute", "calling-frontend")["spec"]["routes"]
    domain = target.recording.outputs["urls"]["whisper"].removeprefix("https://whisper.")
    paths = "(Path(`/v2/conference/participants`) || Path(`/v1/call-link`) || Path(`/health`))"
    assert route["match"] == f"Host(`sfu.{domain}`) && {paths}"
    assert [(each["name"], each["port"]) for each in route["services"]] == [("calling-frontend", 8080)]


def test_the_pins_name_the_host_only_if_it_is_there() -> None:
    assert with_groups().recording.outputs["urls"]["sfu"] == "https://sfu.flatline.internal"
    assert "sfu" not in load("dev").recording.outputs["urls"]


def test_the_cloud_gives_the_host_its_name() -> None:
    names = {each.inputs["name"] for each in with_groups("prod").recording.of_type("aws:route53/record:Record")}
    assert "sfu.chat.example.org" in names
    without = {each.inputs["name"] for each in load("prod").recording.of_type("aws:route53/record:Record")}
    assert names - without == {"sfu.chat.example.org"}


@pytest.mark.parametrize("stack", TARGETS)
def test_every_requirement_holds_with_group_calls_behind_a_load_balancer(stack: str) -> None:
    changed = with_groups(stack, addresses=BOTH_FAMILIES, port=10000, loadBalancer={})
    report = check(from_recording(changed.recording), load_config(stack, profile=TARGETS[stack]))
    assert [f for f in report.findings if f.level.name == "MANDATORY"] == []


def test_nothing_else_changes_with_group_calls(target: Stack) -> None:
    """No resource that was there goes, and what comes is about calls."""
    before = {each.urn for each in load(target.recording.stack).resources}
    after = {each.urn for each in target.resources}
    assert before <= after
    names = {urn.rpartition("::")[2] for urn in after - before}
    assert {name for name in names if "calling" not in name} <= {"dynamodb-Rooms", "sfu.chat.example.org"}
