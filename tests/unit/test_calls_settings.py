"""The settings of calls: ports that fit together, networks that are apart, and one TURN server."""

import json
from typing import Any

import pytest

from config.loading import SettingsError, load
from config.settings import Settings

TURN = {"address": "203.0.113.10"}


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
        ({"allowedNetworks": ["fd00::/8"]}, "allowedNetworks", "such as 192.168.1.0/24"),
        (
            {"address": "192.168.1.9", "network": "host", "allowedNetworks": ["192.168.1.0/24"]},
            "allowedNetworks",
            "write networks without that address",
        ),
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
