"""The settings of calls: ports that fit together, networks that are apart, and one TURN server."""

import ipaddress
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from config.loading import SettingsError, load
from config.node import NODE_PORTS, TAKEN
from config.services.coturn import DENIED_IPV4
from config.settings import Settings
from tests.graph.stack import configuration

TURN = {"address": "203.0.113.10"}
PORT_KEYS = ("port", "tlsPort", "relayPorts")


def turn(**changed: Any) -> Settings:
    return load({"flatline:calls": json.dumps({"turn": {**TURN, **changed}})})


def test_calls_are_off_by_default() -> None:
    assert load({}).calls.turn is None
    assert load({"flatline:calls": "{}"}) == load({})


def test_ports_follow_the_kind_of_network() -> None:
    pods, host = turn().calls.turn, turn(network="host").calls.turn
    assert pods is not None
    assert host is not None
    assert (pods.plain_port, pods.secure_port, pods.relay.numbers) == (30478, 30479, range(30500, 30600))
    assert (host.plain_port, host.secure_port, host.relay.numbers) == (3478, 5349, range(49152, 49252))


@pytest.mark.parametrize(
    ("changed", "key", "remedy"),
    [
        ({"address": "turn.example.org"}, "address", "write the one that clients reach"),
        ({"address": "127.0.0.1"}, "address", "write the public one"),
        ({"address": "2001:db8::1"}, "address", "write the one that clients reach"),
        ({"port": 3478}, "port", "write 30000 to 32767, or network: host"),
        ({"tlsPort": 30478}, "tlsPort", "write another one"),
        ({"port": 30500}, "port", "write one outside of them"),
        ({"relayPorts": {"first": 30500, "last": 30504}}, "last", "write 30509 or more"),
        ({"relayPorts": {"first": 30900, "last": 30500}}, "last", "write 30909 or more"),
        ({"relayPorts": {"first": 40000, "last": 40100}}, "relayPorts.first", "network: host"),
        ({"relayPorts": {"first": 30500, "last": 31500}}, "relayPorts", "write at most 500"),
        ({"allowedNetworks": ["192.168.1.0/24"], "deniedNetworks": ["192.168.0.0/16"]}, "allowedNetworks", "remove it"),
        ({"allowedNetworks": ["10.0.0.0/8"]}, "allowedNetworks", "such as 192.168.1.0/24"),
        ({"allowedNetworks": ["10.43.0.10/32"]}, "allowedNetworks", "such as 192.168.1.0/24"),
        ({"allowedNetworks": ["0.0.0.0/0"]}, "allowedNetworks", "such as 192.168.1.0/24"),
        ({"allowedNetworks": ["169.254.169.254/32"]}, "allowedNetworks", "such as 192.168.1.0/24"),
        ({"allowedNetworks": ["fd00::/8"]}, "allowedNetworks", "remove it"),
        ({"allowedNetworks": ["192.168.1.0/24"], "network": "host"}, "allowedNetworks", "write network: node-ports"),
        ({"network": "host", "relayPorts": {"first": 500, "last": 600}}, "relayPorts.first", "write 1024 or more"),
        ({"network": "host", "tlsPort": 443}, "tlsPort", "belongs to Traefik"),
        ({"maxKbitPerSecond": 0}, "maxKbitPerSecond", "write 64 or more"),
    ],
)
def test_a_mistake_is_named_with_what_to_write(changed: dict[str, Any], key: str, remedy: str) -> None:
    with pytest.raises(SettingsError) as refused:
        turn(**changed)
    (line,) = refused.value.problems
    assert line.startswith("flatline:calls.turn")
    assert key in line
    assert remedy in line


def test_a_server_of_the_operators_and_one_in_the_cluster_exclude_each_other() -> None:
    both = {"flatline:calls": json.dumps({"turn": TURN}), "flatline:turn": '{"host": "turn.example.org"}'}
    with pytest.raises(SettingsError, match=r"calls\.turn runs one in the cluster; remove one of them"):
        load(both)


def test_a_port_of_the_node_has_one_server() -> None:
    both = {"turn": TURN, "groups": {"addresses": ["8.8.8.8"], "port": 30550}}
    with pytest.raises(SettingsError, match=r"groups\.port: 30550 is a port of calls\.turn as well"):
        load({"flatline:calls": json.dumps(both)})


def with_ports(key: str, port: int, before: int) -> dict[str, Any]:
    """Settings in the node's network with a port, which for `relayPorts` is inside of a range."""
    return {"network": "host", key: {"first": port - before, "last": port + 9} if key == "relayPorts" else port}


@given(
    key=st.sampled_from(PORT_KEYS),
    port=st.one_of(st.sampled_from(sorted(TAKEN)), st.sampled_from(NODE_PORTS), st.integers(1100, 65500)),
    before=st.integers(0, 9),
)
def test_in_the_node_s_network_no_port_of_others_is_taken(key: str, port: int, before: int) -> None:
    """The kubelet's, the overlay network's, that of a Service: whoever is second does not start, or is not reached."""
    wanted = {port} if key != "relayPorts" else {*range(port - before, port + 10)}
    assume(wanted.isdisjoint((3478, 5349, *range(49152, 49252))))  # those of the other keys
    if key == "relayPorts":
        assume(min(wanted) >= 1024)
    if wanted.isdisjoint((*TAKEN, *NODE_PORTS, 80, 443)):
        assert turn(**with_ports(key, port, before)).calls.turn
        return
    with pytest.raises(SettingsError, match=rf"calls\.turn\.{key}.* belongs to .*write"):
        turn(**with_ports(key, port, before))


def test_defaults_are_nobody_else_s() -> None:
    host = turn(network="host").calls.turn
    assert host is not None
    assert {host.plain_port, host.secure_port, *host.relay.numbers}.isdisjoint((*TAKEN, *NODE_PORTS))


networks = st.builds(
    lambda address, length: ipaddress.IPv4Network((address, length), strict=False),
    st.one_of(st.integers(10 << 24, (11 << 24) - 1), st.integers(192 << 24, 200 << 24)),
    st.integers(10, 30),
)


@given(pods=networks, services=networks, allowed=networks)
def test_the_networks_of_the_cluster_are_closed_whatever_is_allowed(
    pods: ipaddress.IPv4Network, services: ipaddress.IPv4Network, allowed: ipaddress.IPv4Network
) -> None:
    """As those of kubeadm, EKS and GKE, and where they are public."""
    chosen = {"clusterNetworks": [str(pods), str(services)], "allowedNetworks": [str(allowed)]}
    never = [ipaddress.IPv4Network(each) for each in ("224.0.0.0/4", "240.0.0.0/4")]
    if any(map(allowed.overlaps, (pods, services))):
        with pytest.raises(SettingsError, match="the cluster has pods or Services there"):
            turn(**chosen)
        return
    assert not any(map(allowed.overlaps, never))
    made = turn(**chosen).calls.turn
    assert made is not None
    closed = [ipaddress.IPv4Network(each) for each in (*DENIED_IPV4, *made.closed_networks)]
    assert all(any(map(each.subnet_of, closed)) for each in (pods, services))
    assert not any(map(allowed.overlaps, map(ipaddress.IPv4Network, made.closed_networks)))


def test_in_the_cloud_who_allows_a_network_says_which_ones_the_cluster_has() -> None:
    target = {key: text for key, text in configuration("prod").items() if key != "flatline:calls"}

    def loaded(**changed: Any) -> Settings:
        calls = {"turn": {**TURN, "allowedNetworks": ["192.168.1.0/24"], **changed}}
        return load({**target, "flatline:calls": json.dumps(calls)})

    with pytest.raises(SettingsError, match=r"calls\.turn\.clusterNetworks is missing"):
        loaded()
    with pytest.raises(SettingsError, match="the cluster has pods or Services there"):
        loaded(clusterNetworks=["192.168.0.0/16"])
    assert loaded(clusterNetworks=["10.244.0.0/16", "10.96.0.0/12"]).calls.turn


@pytest.mark.parametrize("port", sorted(port for port in TAKEN if port >= 1024))
def test_a_load_balancer_in_the_cluster_takes_no_port_of_the_nodes(port: int) -> None:
    groups = {"addresses": ["8.8.8.8"], "loadBalancer": {}, "port": port}
    with pytest.raises(SettingsError, match=rf"groups\.port: {port} belongs to"):
        load({"flatline:calls": json.dumps({"groups": groups})})
