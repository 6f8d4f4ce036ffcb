"""Calls: what their servers need, by hand and by other ways to count, and what the stack's settings have room for."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.calls import at_once
from capacity.cost import costs
from capacity.estimate import Estimate
from capacity.installation import Installation
from capacity.limits import limits, rules
from capacity.recommendation import recommend, snippet, with_blocks
from capacity.workload import Workload
from config import loading
from config.settings import Settings
from tests.unit.capacity.samples import INSTALLATION, USERS, estimate, family

TURN: dict[str, Any] = {"address": "198.51.100.7"}
GROUPS: dict[str, Any] = {"addresses": ["203.0.113.10"]}
BOTH = {"turn": TURN, "groups": GROUPS}
EACH_SECOND = {"users": 86_400, "calls": 1, "peak": 1, "call_minutes": 1, "relayed": 1, "video": 1}
"""A call begins in each second, and lasts a minute."""


def of(servers: dict[str, Any] = BOTH, **workload: Any) -> Estimate:
    """An estimate for a stack that runs these servers."""
    given_ = {"users": 1000, "messages_per_day": 40, **workload}
    return Estimate.of(Workload(**given_), Installation.of(stack(servers)))


def stack(servers: dict[str, Any]) -> Settings:
    return loading.load({"flatline:calls": json.dumps(servers)})


def relayed(servers: dict[str, Any] = BOTH, **workload: Any) -> Any:
    return of(servers, **workload).calls.relayed


def measured(name: str, found: Estimate) -> Any:
    (limit,) = limits(found, only=name)
    return limit


# --- how many ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mean", [0.01, 0.1, 0.5, 1, 3, 10, 50, 200])
def test_there_is_room_for_calls_that_begin_by_chance(mean: float) -> None:
    """The chance of more of them, added up from Poisson's own formula, is below one in a hundred."""
    most = math.ceil(at_once(mean))
    fits = sum(math.exp(-mean + number * math.log(mean) - math.lgamma(number + 1)) for number in range(most + 1))
    assert 0.99 < fits < 0.99999


def test_relay_ports_by_hand() -> None:
    """46.4 calls ring, with 12 ports each; 83.2 go on, with one port and for half of them two."""
    found = relayed(**EACH_SECOND)
    assert found.ports == math.ceil((30 + 3 * 30**0.5) * 12 + (60 + 3 * 60**0.5) * 1.5) == 683


def test_a_call_that_is_not_relayed_takes_ports_while_it_is_set_up() -> None:
    assert relayed(**{**EACH_SECOND, "relayed": 0}).ports == math.ceil((30 + 3 * 30**0.5) * 12)


def test_a_relayed_call_by_hand() -> None:
    """As docs/performance.md has it: both devices on the relay, 2.5 Mbit/s each way, 10 Mbit/s, a hundred in a core."""
    found = relayed(**EACH_SECOND, both_relayed=1)
    assert found.mbit / found.calls == pytest.approx(10)
    assert found.calls / found.cores == pytest.approx(100)
    assert found.sent_bytes == 86_400 * 60 * 2 * 2_500_000 / 8, "a stream to each of two, however many relays"


def test_sound_alone_is_little() -> None:
    found, pictures = (relayed(**{**EACH_SECOND, "video": share}) for share in (0, 1))
    assert (found.ports, found.calls) == (pictures.ports, pictures.calls)
    assert pictures.mbit / found.mbit == pytest.approx(2500 / 60)


@pytest.mark.parametrize(("members", "streams", "mbit"), [(2, 2, 1.6), (3, 6, 4.8), (8, 56, 40), (50, 2450, 250)])
def test_a_group_call_by_hand(members: int, streams: int, mbit: float) -> None:
    """Each of n gets the streams of n - 1, of 800 kbit/s, and 5 Mbit/s at the most."""
    found: Any = of(call_members=members).calls.groups
    assert found.streams / found.calls == pytest.approx(streams)
    assert found.mbit / found.calls == pytest.approx(mbit)
    assert found.cores == pytest.approx(found.mbit / 500)


def test_what_group_calls_send_by_hand() -> None:
    """300 groups have 15 calls a day; an hour with three members sends 4.8 Mbit/s."""
    found: Any = of(users=1000, groups=3, group_size=10, call_members=3).calls.groups
    assert found.sent_bytes == pytest.approx(15 * 3600 * 4_800_000 / 8)


def test_the_table_of_group_calls_follows_their_length() -> None:
    hour, half = (of(group_call_minutes=minutes).table("Rooms") for minutes in (60, 30))
    links = 1000 * 0.2
    assert hour.items - links == pytest.approx(2 * (half.items - links)) == pytest.approx(15 / 24)


# --- off --------------------------------------------------------------------------------------------------


def test_without_the_servers_calls_need_nothing() -> None:
    quiet, busy = estimate(calls=0), estimate(calls=1000, call_members=1000)
    assert (quiet.calls.relayed, quiet.calls.groups) == (None, None)
    assert (busy.transfer, busy.cluster, busy.calls) == (quiet.transfer, quiet.cluster, quiet.calls)
    assert not [rule.id for rule in rules(quiet.workload, INSTALLATION) if rule.id.startswith(("relay", "group"))]


def test_each_server_is_counted_where_it_runs() -> None:
    for calls, names in (({"turn": TURN}, {"turn"}), ({"groups": GROUPS}, {"calling-frontend", "calling-backend"})):
        found = of(calls)
        assert {pods.service for pods in found.cluster.pods} - {
            pods.service for pods in estimate().cluster.pods
        } == names
        assert found.transfer.calls == found.calls.sent_bytes > 0


# --- cost -------------------------------------------------------------------------------------------------


def test_what_calls_send_costs_the_price_of_its_tier() -> None:
    found = of(users=100_000)
    lines = {line.what: line for line in costs(found, recommend(found, family().elasticache.nodes), family())}
    calls, others = lines["calls: AWS to the internet"], lines["AWS to the internet"]
    assert calls.amount == pytest.approx(found.calls.sent_bytes * 730 / 24 / 2**30)
    tiers = family().from_aws
    assert calls.dollars + others.dollars == pytest.approx(tiers.of(calls.amount + others.amount))
    assert 0 < calls.dollars < tiers.of(calls.amount)


def test_an_hour_of_a_relayed_video_call_by_hand() -> None:
    """2.25 GB leave the cloud."""
    one = {"users": 24, "calls": 1, "call_minutes": 60, "relayed": 1, "video": 1}
    assert of({"turn": TURN}, **one).transfer.calls == 24 * 2_250_000_000


# --- limits -----------------------------------------------------------------------------------------------

LIMITS: dict[str, dict[str, Any]] = {
    "relay-ports": {},
    "relay-ports-most": {},
    "relay-rate": {"video_kbit": 4001},
    "relay-pod": {},
    "group-call-members": {"call_members": 51},
    "group-call-pod": {},
}


def test_every_limit_of_calls_is_tried() -> None:
    ids = {rule.id for rule in rules(of().workload, of().installation)}
    assert ids - {rule.id for rule in rules(of().workload, INSTALLATION)} == LIMITS.keys()


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_begins_where_it_says(name: str) -> None:
    begins = measured(name, of(**LIMITS[name])).begins
    assert begins is not None
    assert measured(name, of(users=begins, **LIMITS[name])).exceeded
    assert begins == 1 or not measured(name, of(users=begins - 1, **LIMITS[name])).exceeded


@pytest.mark.parametrize("name", ["relay-rate", "group-call-members"])
def test_a_rate_or_a_number_that_fits_never_begins(name: str) -> None:
    assert measured(name, of()).begins is None


@settings(max_examples=20, deadline=None)
@given(users=USERS, more=st.integers(1, 10**9), calls=st.floats(0, 1000), share=st.floats(0, 1))
def test_nothing_falls_when_users_are_added(users: int, more: int, calls: float, share: float) -> None:
    habits = {"calls": calls, "relayed": share}
    before, after = of(users=users, **habits), of(users=users + more, **habits)
    for rule in rules(before.workload, before.installation):
        assert rule.measure(after) >= rule.measure(before) * (1 - 1e-9), rule.id


# --- the recommendation -----------------------------------------------------------------------------------


def recommended(calls: dict[str, Any], **workload: Any) -> dict[str, Any]:
    """The block flatline:calls to paste; empty where the stack's own is large enough."""
    found = of(calls, **workload)
    settings_ = snippet(found, recommend(found, family().elasticache.nodes))
    blocks = with_blocks(settings_, {"flatline:target": {"kind": "local"}, "flatline:calls": calls})
    block: dict[str, Any] = blocks.get("flatline:calls", {})
    return block


def test_enough_is_left_alone() -> None:
    assert relayed().ports <= 100
    assert recommended(BOTH) == {}


@pytest.mark.parametrize(
    "turn",
    [
        {},
        {"network": "host"},
        {"port": 30600, "tlsPort": 30620},
        {"relayPorts": {"first": 32700, "last": 32767}},
        {"network": "host", "relayPorts": {"first": 65000, "last": 65100}},
        {"network": "host", "relayPorts": {"first": 29000, "last": 29100}},
    ],
)
@pytest.mark.parametrize("users", [20_000, 60_000, 10**7])
def test_what_is_recommended_is_taken_and_has_room_or_is_the_most(turn: dict[str, Any], users: int) -> None:
    calls = {"turn": {**TURN, **turn}, "groups": GROUPS}
    pasted = recommended(calls, users=users)
    assert pasted["groups"] == GROUPS, "the rest of the block stays"
    found = Installation.of(stack(pasted)).relay
    assert found is not None
    needed = relayed(calls, users=users).ports
    assert found.ports >= min(needed, 300) or found.last - found.first < needed
    if turn == {}:
        assert found.ports >= min(needed, 500)


def test_a_rate_that_is_too_low_is_raised() -> None:
    assert recommended({"turn": {**TURN, "maxKbitPerSecond": 1000}})["turn"]["maxKbitPerSecond"] == 2500
    assert recommended({"turn": {**TURN, "maxKbitPerSecond": 1000}}, video=0) == {}
