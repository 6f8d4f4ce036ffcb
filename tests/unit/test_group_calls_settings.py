"""What `flatline:calls.groups` takes, and the one line that each mistake gives."""

import json
from typing import Any

import pytest

from config.loading import load
from config.settings import Settings
from tests.unit.test_settings import problems

PUBLIC = "203.0.113.10"


def settings(**groups: Any) -> Settings:
    block = {"groups": {"addresses": [PUBLIC], **groups}}
    return load({"flatline:calls": json.dumps(block)})


MISTAKES: list[tuple[str, dict[str, Any], str, str]] = [
    ("no address", {"addresses": []}, "addresses", "write at least one"),
    ("a name", {"addresses": ["sfu.example.org"]}, "addresses.0", "is no IP address"),
    ("loopback", {"addresses": ["127.0.0.1"]}, "addresses.0", "no client can connect to"),
    ("link-local", {"addresses": ["fe80::1"]}, "addresses.0", "no client can connect to"),
    ("a private address", {"addresses": [PUBLIC, "192.168.1.7"]}, "addresses.1", "allowPrivateAddresses: true"),
    ("an address of a carrier's NAT", {"addresses": ["100.64.1.1"]}, "addresses.0", "no public address"),
    ("a unique local address", {"addresses": ["fd00::1"]}, "addresses.0", "no public address"),
    ("the same twice", {"addresses": ["2001:db8::1", "2001:DB8:0::1"]}, "addresses", "names an address twice"),
    ("a port that no node has", {"port": 10000}, "port", "write 30000 to 32767, or add loadBalancer"),
    ("a low port", {"port": 443, "loadBalancer": {}}, "port", "write 1024 or more"),
    ("the port of signalling", {"port": 8080, "loadBalancer": {}}, "port", "write another one"),
    ("one participant", {"maxParticipants": 1}, "maxParticipants", "write 2 or more"),
    ("an unknown key", {"adresses": [PUBLIC]}, "adresses", "did you mean addresses?"),
]


@pytest.mark.parametrize(("what", "groups", "key", "remedy"), MISTAKES, ids=[each[0] for each in MISTAKES])
def test_each_mistake_has_one_line(what: str, groups: dict[str, Any], key: str, remedy: str) -> None:
    (line,) = problems(calls={"groups": {"addresses": [PUBLIC], **groups}})
    assert f"calls.groups.{key}" in line or f"calls.groups: {key}" in line, line
    assert remedy in line


def test_ports_of_the_two_servers_differ() -> None:
    turn = {"turn": {"address": "203.0.113.10"}}
    for port in (30478, 30479, 30500, 30599):
        (line,) = problems(calls={**turn, "groups": {"addresses": [PUBLIC], "port": port}})
        assert f"groups.port: {port} is a port of calls.turn as well" in line
    load({"flatline:calls": json.dumps({**turn, "groups": {"addresses": [PUBLIC]}})})


def test_private_addresses_are_taken_where_they_are_meant() -> None:
    found = settings(addresses=["192.168.1.7", "fd00::1"], allowPrivateAddresses=True).calls.groups
    assert found is not None
    assert found.addresses == ["192.168.1.7", "fd00::1"]
    assert (found.binding, found.clients) == ("::", ("0.0.0.0/0", "::/0"))


def test_images_and_the_host_are_used_only_with_group_calls() -> None:
    calling = {"calling-frontend", "calling-backend"}
    assert calling <= set(settings().used_images)
    assert not calling & set(load({}).used_images)
    assert set(settings().public_hosts) - set(load({}).public_hosts) == {"sfu"}
