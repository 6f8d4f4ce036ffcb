"""Stacks with servers for calls: what holds for every stack holds for each combination of them, on both targets."""

import importlib
import itertools
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import kubernetes_validate
import pytest

from tests.graph import test_network, test_secrets
from tests.graph.invariants import Invariant, invariants
from tests.graph.stack import Stack, configuration, load, recorded

TURN = {"address": "198.51.100.7"}
GROUPS = {"addresses": ["8.8.8.8"]}
COMBINATIONS: dict[str, dict[str, Any]] = {
    "turn": {"turn": TURN},
    "turn on the node": {"turn": {**TURN, "network": "host"}},
    "groups": {"groups": GROUPS},
    "both": {"turn": TURN, "groups": GROUPS},
}
TARGETS = ("dev", "prod")

CHECKED_ELSEWHERE = {
    "test_networks_of_peers_are_those_of_the_configuration": "devices may have any address",
    "test_only_what_is_public_is_open_to_the_proxy": "the frontend of group calls is public as well",
    "test_without_a_turn_server_clients_get_an_answer_that_leads_nowhere": "there is one",
}
"""Invariants of stacks without calls, and why. test_turn.py, test_group_calls.py and a test below have their own."""

PLACES = "configuration hardening network operation outputs policies references secrets validity"
MODULES = [importlib.import_module(f"tests.graph.test_{name}") for name in PLACES.split()]


@cache
def with_calls(target: str, combination: str) -> Stack:
    calls = json.dumps(COMBINATIONS[combination])
    return Stack(recorded({**configuration(target), "flatline:calls": calls}, stack=target))


@pytest.fixture(params=[(target, each) for target in TARGETS for each in COMBINATIONS], ids=" ".join)
def calling(request: pytest.FixtureRequest) -> Stack:
    return with_calls(*request.param)


def _cases() -> Iterator[Any]:
    """Secrets are the same in each combination, and looking for them in every file is slow, so it is done in one."""
    for target, combination in itertools.product(TARGETS, COMBINATIONS):
        for each in invariants(*MODULES):
            once = each.__module__ == test_secrets.__name__ and combination != "both"
            if each.__name__ not in CHECKED_ELSEWHERE and not once:
                name = each.__name__.removeprefix("test_")
                yield pytest.param(target, combination, each, id=f"{target} {combination} {name}")


@pytest.mark.parametrize(("target", "combination", "invariant"), [*_cases()])
def test_what_holds_for_every_stack(target: str, combination: str, invariant: Invariant) -> None:
    invariant(with_calls(target, combination))


def test_no_invariant_is_left_out_by_its_name() -> None:
    assert CHECKED_ELSEWHERE.keys() <= {each.__name__ for each in invariants(*MODULES)}


def test_every_object_that_is_new_is_valid(calling: Stack) -> None:
    before = load(calling.recording.stack).objects
    for found in calling.objects:
        if found not in before and not found["apiVersion"].startswith("traefik.io/"):
            kubernetes_validate.validate(found, "1.34", strict=True)


def test_networks_are_opened_by_the_servers_for_calls_alone(calling: Stack) -> None:
    def cidrs(name: str) -> set[str]:
        spec = test_network.own(calling)[name]["spec"]
        rules = [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]
        return {
            peer["ipBlock"]["cidr"] for rule in rules for peer in rule.get("from", rule.get("to")) if "ipBlock" in peer
        }

    allowed = test_network.external_networks(load(calling.recording.stack))
    others = {name for name in test_network.own(calling) if not cidrs(name) <= allowed}
    assert others <= {"turn", "calling-backend"}


def test_an_empty_block_is_none() -> None:
    """That stacks without calls stay as they were is held by the golden files."""
    assert Stack(recorded({**configuration("dev"), "flatline:calls": "{}"})).objects == load("dev").objects
