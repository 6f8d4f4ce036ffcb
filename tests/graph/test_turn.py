"""The TURN server of a stack: the same on both targets, in pods' and in the node's network."""

import ipaddress
import json
from typing import Any

import pytest

from config.loading import load as settings_of
from config.settings import Settings
from config.target import Local
from tests.graph.stack import Object, Stack, configuration, load, recorded
from tests.graph.test_calls import with_calls
from tests.graph.test_configuration import whisper

ADDRESS = "198.51.100.7"
NETWORKS = ("turn", "turn on the node")
CONFIG = "/etc/coturn/turnserver.conf"


def with_turn(name: str, **changed: Any) -> dict[str, str]:
    turn = {"address": ADDRESS, **changed}
    return {**configuration(name), "flatline:calls": json.dumps({"turn": turn})}


@pytest.fixture(params=[(name, network) for name in ("dev", "prod") for network in NETWORKS], ids=" ".join)
def relayed(request: pytest.FixtureRequest) -> Stack:
    return with_calls(*request.param)


@pytest.fixture
def in_pods() -> Stack:
    return with_calls("dev", "turn")


@pytest.fixture
def on_node() -> Stack:
    return with_calls("dev", "turn on the node")


def lines(stack: Stack) -> list[str]:
    return stack.file("turn", CONFIG).splitlines()


def options(stack: Stack, name: str) -> list[str]:
    return [line.partition("=")[2] for line in lines(stack) if line.partition("=")[0] == name]


def by_name(stack: Stack) -> dict[tuple[str, str, str], Object]:
    return {(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]): o for o in stack.objects}


def test_what_was_there_stays_as_it_was(relayed: Stack) -> None:
    """Only Whisper's configuration, and so its pods, change, and what lists all namespaces or images."""
    before, after = by_name(load(relayed.recording.stack)), by_name(relayed)
    changed = {key[-1] for key, each in before.items() if after.get(key) != each}
    assert changed
    assert all(name.startswith("whisper") for name in changed)


def test_whisper_and_the_server_share_one_secret_that_nothing_else_shows(relayed: Stack) -> None:
    (secret,) = options(relayed, "static-auth-secret")
    assert f"turn.coturn.secret: {secret}" in relayed.file("whisper", "/usr/share/signal/secrets-bundle.yml")
    shown = json.dumps([each for each in relayed.objects if each["kind"] != "Secret"])
    assert secret not in shown
    assert all(mounted.secret for mounted in relayed.pod("turn").files["turn"])


def test_clients_are_given_the_ports_on_which_the_server_listens(relayed: Stack) -> None:
    turn = whisper(relayed)["turn"]["coturn"]
    (plain,), (secure,) = options(relayed, "listening-port"), options(relayed, "tls-listening-port")
    host = turn["hostname"]
    assert turn["urls"] == [
        f"turn:{host}:{plain}",
        f"turn:{host}:{plain}?transport=tcp",
        f"turns:{host}:{secure}?transport=tcp",
    ]
    assert options(relayed, "realm") == [host]


def test_whisper_resolves_the_name_without_dns(relayed: Stack) -> None:
    aliases = relayed.pod("whisper").spec["hostAliases"]
    assert aliases == [{"ip": ADDRESS, "hostnames": [whisper(relayed)["turn"]["coturn"]["hostname"]]}]


def test_the_server_has_the_certificate_of_the_installation(relayed: Stack) -> None:
    served = next(each for each in relayed.of("Secret") if each.get("type") == "kubernetes.io/tls")["stringData"]
    assert relayed.file("turn", "/etc/coturn/tls.crt") == served["tls.crt"]
    assert relayed.file("turn", "/etc/coturn/tls.key") == served["tls.key"]


def test_every_port_is_a_node_port_of_its_own_number(in_pods: Stack) -> None:
    """A relayed port is told to other devices, so it cannot be another one outside."""
    service = in_pods.get("Service", "turn-public")["spec"]
    (first,), (last,) = options(in_pods, "min-port"), options(in_pods, "max-port")
    (container,) = in_pods.pod("turn").spec["containers"]
    opened = {(port["name"], port["containerPort"], port["protocol"]) for port in container["ports"]}
    published = {(port["name"], port["nodePort"], port["protocol"]) for port in service["ports"]}
    assert opened - published == {("metrics", 9641, "TCP")}
    assert published <= opened
    assert {port for _, port, protocol in published if protocol == "UDP"} >= set(range(int(first), int(last) + 1))
    assert service["externalTrafficPolicy"] == "Local", "else coturn sees the node in place of each device"


def test_a_device_reaches_another_one_of_this_server_in_its_own_network_alone(in_pods: Stack, on_node: Stack) -> None:
    """In the node's network it would reach each UDP port of the node."""
    pod, node = (stack.pod("turn").spec["containers"][0]["args"] for stack in (in_pods, on_node))
    assert f"--external-ip={ADDRESS}/$(OWN_ADDRESS)" in pod
    assert not any("denied-peer-ip" in each for each in pod)
    assert f"--external-ip={ADDRESS}" in node
    assert {"--denied-peer-ip=$(OWN_ADDRESS)", f"--denied-peer-ip={ADDRESS}"} <= set(node)


def test_metrics_are_not_in_the_node_s_network(in_pods: Stack, on_node: Stack) -> None:
    assert "--prometheus" in in_pods.pod("turn").spec["containers"][0]["args"]
    assert "--prometheus" not in on_node.pod("turn").spec["containers"][0]["args"]


def test_the_namespace_is_as_strict_as_its_network_lets_it_be(in_pods: Stack, on_node: Stack) -> None:
    enforced = "pod-security.kubernetes.io/enforce"
    assert in_pods.get("Namespace", "flatline-turn")["metadata"]["labels"][enforced] == "restricted"
    assert on_node.get("Namespace", "flatline-turn")["metadata"]["labels"][enforced] == "privileged"
    for stack in (in_pods, on_node):
        assert [pod.name for pod in stack.pods() if pod.namespace == "flatline-turn"] == ["Deployment/turn"]


def test_the_policy_excludes_what_the_server_denies(in_pods: Stack) -> None:
    policy = next(each for each in in_pods.of("NetworkPolicy") if each["metadata"]["name"] == "turn")
    (block,) = [
        peer["ipBlock"]
        for rule in policy["spec"]["egress"]
        for peer in rule["to"]
        if peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"
    ]
    denied = [each.partition("-") for each in options(in_pods, "denied-peer-ip") if ":" not in each]
    excluded = [ipaddress.ip_network(each) for each in block["except"]]
    assert [(str(each[0]), str(each[-1])) for each in excluded] == [(first, last or first) for first, _, last in denied]


@pytest.fixture(scope="module")
def chosen() -> Stack:
    """With networks that are allowed, denied, and the cluster's own, and a node."""
    return Stack(
        recorded(
            with_turn(
                "dev",
                allowedNetworks=["192.168.7.0/24"],
                deniedNetworks=["8.8.8.0/24"],
                clusterNetworks=["10.244.0.0/16", "25.0.0.0/12"],
                nodeLabels={"kubernetes.io/hostname": "edge"},
            )
        )
    )


def test_an_allowed_network_is_open_in_both_and_denied_ones_closed_in_both(
    chosen: Stack,
) -> None:
    assert options(chosen, "allowed-peer-ip") == ["192.168.7.0-192.168.7.255"]
    assert {"8.8.8.0-8.8.8.255", "25.0.0.0-25.15.255.255"} <= set(options(chosen, "denied-peer-ip"))
    everywhere, home = ways(chosen).values()
    assert home[0] == {"cidr": "192.168.7.0/24"}
    assert {"8.8.8.0/24", "25.0.0.0/12"} <= set(everywhere[0]["except"])


def ways(stack: Stack) -> dict[str, tuple[Object, set[int]]]:
    """Where the pod may send UDP, by network: the block, and the ports."""
    policy = next(each for each in stack.of("NetworkPolicy") if each["metadata"]["name"] == "turn")["spec"]
    return {
        peer["ipBlock"]["cidr"]: (
            peer["ipBlock"],
            {n for port in rule["ports"] for n in range(port["port"], port.get("endPort", port["port"]) + 1)},
        )
        for rule in policy["egress"]
        for peer in rule["to"]
        if "ipBlock" in peer
    }


def test_only_ports_that_devices_have_are_open(chosen: Stack) -> None:
    """Other nodes take what comes from this one for traffic of the overlay, whose packets may be for any pod."""
    (_, public), (_, home) = ways(chosen).values()
    assert public == {*range(1024, 65536)} - {4789, 6081, 8472}
    assert home == {*range(32768, 65536)}, "neither node ports nor the servers of a network"


def test_no_range_of_coturn_s_begins_at_the_address_that_means_all(in_pods: Stack) -> None:
    assert not any(each.startswith("::-") for each in options(in_pods, "denied-peer-ip"))


def test_the_pod_runs_on_the_node_to_which_the_address_leads(chosen: Stack) -> None:
    affinity = chosen.pod("turn").spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert affinity["nodeSelectorTerms"] == [
        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["edge"]}]}
    ]


def test_another_secret_is_another_pod_of_both() -> None:
    before = with_calls("dev", "turn")
    after = Stack(recorded({**with_turn("dev"), "flatline:secrets": '{"turn": {"epoch": 2}}'}))
    changed = {pod.name for pod in after.pods() if pod.spec != before.pod(pod.labels["app.kubernetes.io/name"]).spec}
    assert "Deployment/turn" in changed
    assert "Deployment/whisper" in changed
    assert "Deployment/storage" not in changed


def test_the_image_is_pulled_where_it_is_used_alone() -> None:
    assert isinstance(Settings().target, Local)
    assert "coturn" not in Settings().used_images
    assert "coturn" in settings_of(with_turn("dev")).used_images
