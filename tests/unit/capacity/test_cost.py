"""Prices, what an estimate costs, and what it recommends."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.cost import HOURS, SECONDS, Cost, costs, total
from capacity.estimate import Estimate
from capacity.installation import SCALED, Installation
from capacity.limits import limits
from capacity.recommendation import Recommendation, recommend, snippet, with_blocks
from capacity.redis import USABLE_IN_CLUSTER, USABLE_MANAGED
from capacity.workload import GIB, Workload
from config.loading import load
from config.prices import PricesError, Tiered, parse
from config.settings import Settings
from tests.unit.capacity.samples import HABITS, MESSAGES, PRICES_FILE, RANGE, estimate, family, prices, with_users


def recommended(of: Estimate) -> Recommendation:
    return recommend(of, family().elasticache.nodes)


def lines(of: Estimate) -> tuple[Cost, ...]:
    return costs(of, recommended(of), family())


# --- cost -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("users", RANGE)
def test_the_total_is_the_sum_of_the_lines(users: int) -> None:
    found = lines(estimate(users, 50))
    assert total(found) == pytest.approx(sum(line.dollars for line in found))
    assert all(line.dollars >= 0 for line in found)
    services = {"DynamoDB", "S3", "ElastiCache", "Bigtable", "Kubernetes", "Load balancer", "Transfer"}
    assert {line.service for line in found} == services


@settings(max_examples=25, deadline=None)
@given(users=st.integers(1, 10**8), more=st.integers(1, 10**8), messages=MESSAGES, habits=HABITS)
def test_more_users_cost_more(users: int, more: int, messages: float, habits: dict[str, float]) -> None:
    before = estimate(users, messages, **habits)
    assert total(lines(with_users(before, users + more))) >= total(lines(before)) * (1 - 1e-9)


def test_request_units_by_hand() -> None:
    """A message a second: four write units, for a month, and nothing of the account's few writes."""
    of = estimate(86_400, 1, devices=1, group_messages=0, receipts=0, typing=0, offline=1, abandoned=0)
    writes = next(line for line in lines(of) if (line.service, line.what) == ("DynamoDB", "writes"))
    others = sum(table.throughput.writes_mean for table in of.tables if table.name != "Messages")
    others += sum(i.throughput.writes_mean for t in of.tables for i in t.indexes if not i.local)
    assert writes.amount == pytest.approx((4 + others) * SECONDS / 1e6)
    assert writes.dollars == pytest.approx(writes.amount * 0.625)


def test_a_local_index_costs_no_units_besides_its_table() -> None:
    of = estimate(10_000, 50)
    writes = next(line for line in lines(of) if (line.service, line.what) == ("DynamoDB", "writes"))
    assert of.table("Messages").indexes[0].throughput.writes_mean > 0
    found = sum(table.throughput.writes_mean for table in of.tables)
    found += sum(i.throughput.writes_mean for t in of.tables for i in t.indexes if t.name != "Messages")
    assert writes.amount == pytest.approx(found * SECONDS / 1e6)


def test_nodes_cost_their_hours() -> None:
    of = estimate(1000, 50)
    found = {(line.service, line.what): line.dollars for line in lines(of)}
    assert found["Bigtable", "nodes: 1"] == pytest.approx(0.65 * HOURS)
    assert found["Kubernetes", "3 × m6i.2xlarge"] == pytest.approx(3 * 0.384 * HOURS)
    assert found["ElastiCache", "6 × cache.t4g.small"] == pytest.approx(6 * 0.0256 * HOURS)


def test_tiers_by_hand() -> None:
    tiers = [{"upToGib": 10, "gib": 3}, {"upToGib": 30, "gib": 2}, {"gib": 1}]
    tiered = Tiered.model_validate({"source": "https://example.org", "asOf": "2026-01", "tiers": tiers})
    assert [tiered.of(gib) for gib in (0, 5, 10, 20, 30, 40)] == [0, 15, 30, 50, 70, 80]


# --- the price file ---------------------------------------------------------------------------------------


def changed(**changes: Any) -> str:
    content = yaml.safe_load(PRICES_FILE.read_text())
    for path, value in changes.items():
        block = content
        *above, last = path.split("__")
        for part in above:
            block = block[int(part)] if isinstance(block, list) else block[part]
        if value is None:
            del block[last]
        else:
            block[last] = value
    return yaml.safe_dump(content, sort_keys=False)


NODE = {"type": "r7g.large", "memoryGib": 1, "hour": 1}
FALLING = [{"upToGib": 9, "gib": 1}, {"upToGib": 5, "gib": 1}, {"gib": 2}]
OF_US: list[tuple[str, Any, str]] = [
    ("dynamodb__readMillion", None, ".dynamodb.readMillion is missing; write it"),
    ("dynamodb__readMillion", -1, ".dynamodb.readMillion is -1; write 0 or more"),
    ("dynamodb__readMillion", "cheap", '.dynamodb.readMillion is "cheap"; write a number'),
    ("dynamodb__readMillion", float("nan"), ".dynamodb.readMillion is nan; write a number"),
    ("dynamodb__readMillon", 1, ".dynamodb.readMillon is no known key; did you mean readMillion?"),
    ("s3__asOf", 2026, ".s3.asOf is 2026; write text (quote it in YAML)"),
    ("s3__source", "a friend", '.s3.source is "a friend"; write text of the form ^https://'),
    ("regions", [], ".regions is empty; write at least one"),
    ("s3", 3, ".s3 is 3; write a block of keys"),
    ("s3__tiers", [{"gib": 1}, {"gib": 2}], ".s3.tiers: write upToGib for each but the last"),
    ("s3__tiers", FALLING, ".s3.tiers: write upToGib in rising order"),
    ("elasticache__nodes", [NODE], '.elasticache.nodes.0.type is "r7g.large"; write text of the form'),
]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *((changed(**{f"families__us__{key}": value}), f": families.us{said}") for key, value, said in OF_US),
        (changed(families__us__regions=["us-east-1"] * 2), ": families: us-east-1 is in two; write each region once"),
        ("families: {}", ": families is empty; write at least one"),
        ("", ": write families: and their prices"),
        ("- 1", ": write families: and their prices"),
        ("a: [", " is no YAML: "),
        ("families: {a: 1}\nfamilies: {b: 1}", " is no YAML: families stands twice"),
        ("families: !!python/object:os.system {}", " is no YAML: "),
    ],
)
def test_a_mistake_is_named_with_its_remedy(text: str, said: str) -> None:
    with pytest.raises(PricesError) as caught:
        parse(text, "p.yaml")
    assert any(line.startswith(f"p.yaml{said}") for line in caught.value.problems), caught.value.problems
    assert all("\n" not in line for line in caught.value.problems)


def test_every_mistake_has_its_line() -> None:
    with pytest.raises(PricesError) as caught:
        parse(changed(families__us__dynamodb__readMillion=-1, families__us__bigtable=None), "p.yaml")
    assert len(caught.value.problems) == 2


def test_a_region_has_its_family_and_another_one_the_first() -> None:
    content = yaml.safe_load(PRICES_FILE.read_text())
    content["families"]["eu"] = {**content["families"]["us"], "regions": ["eu-central-1"]}
    found = parse(yaml.safe_dump(content, sort_keys=False), "p.yaml")
    assert found.family("eu-central-1")[0] == "eu"
    assert found.family("us-west-2")[0] == "us"
    assert found.family("sa-east-1")[0] == "us"
    assert found.family(None)[0] == "us"


def test_larger_nodes_cost_more() -> None:
    nodes = prices().families["us"].elasticache.nodes
    assert [node.hour for node in nodes] == sorted(node.hour for node in nodes)
    assert [node.memory_gib for node in nodes] == sorted(node.memory_gib for node in nodes)


# --- the recommendation -----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(users=st.integers(1, 10**9), messages=MESSAGES, habits=HABITS)
def test_what_is_recommended_holds_what_is_asked_for(users: int, messages: float, habits: dict[str, float]) -> None:
    of = estimate(users, messages, **habits)
    found = recommended(of)
    assert found.cache.shards * found.cache.node.memory_gib * GIB * USABLE_MANAGED >= of.redis.bytes * (1 - 1e-9)
    assert found.cache.shards * of.workload.redis_shard_commands >= of.redis.commands_peak * (1 - 1e-9)
    if found.in_cluster is not None:
        assert 3 <= found.in_cluster.masters <= 50
        assert found.in_cluster.masters * found.in_cluster.memory * USABLE_IN_CLUSTER >= of.redis.bytes * (1 - 1e-9)


@pytest.mark.parametrize(("users", "node", "shards"), [(1000, "cache.t4g.small", 3), (1_000_000, "cache.r7g.large", 7)])
def test_small_nodes_are_for_small_installations(users: int, node: str, shards: int) -> None:
    found = recommended(estimate(users, 50)).cache
    assert (found.node.type, found.shards) == (node, shards)


def test_redis_on_kubernetes_ends_where_its_masters_do() -> None:
    assert recommended(estimate(7_168_458, 50)).in_cluster is not None
    assert recommended(estimate(7_168_459, 50)).in_cluster is None


CLOUD = yaml.safe_load((PRICES_FILE.parents[1] / "Pulumi.prod.yaml").read_text())["config"]["flatline:target"]


def pasted(found: dict[str, Any], target: dict[str, Any]) -> Settings:
    """A stack's settings with a snippet; raises SettingsError where they do not take it."""
    return load({key: json.dumps(value) for key, value in with_blocks(found, {"flatline:target": target}).items()})


@pytest.mark.parametrize("users", [1, *RANGE, 10**10])
def test_the_snippet_is_what_a_cloud_stack_takes(users: int) -> None:
    of = estimate(users, 50)
    settings_ = pasted(snippet(of, recommended(of)), CLOUD)
    again = Estimate.of(of.workload, Installation.of(settings_))
    found = snippet(again, recommended(again))
    assert pasted(found, CLOUD) is not None
    assert "flatline:redis" not in found, "it has ElastiCache"
    assert set(found["flatline:scaling"]) == set(SCALED)


@pytest.mark.parametrize("users", [1, *RANGE, 10**10])
def test_the_snippet_is_what_a_local_stack_takes(users: int) -> None:
    of = Estimate.of(Workload(users=users, messages_per_day=50), Installation.of(Settings()))
    found = snippet(of, recommended(of))
    settings_ = pasted(found, {"kind": "local"})
    again = Installation.of(settings_)
    if users <= 100_000:
        rows = limits(Estimate.of(of.workload, again))
        assert [limit.id for limit in rows if limit.kind == "stack" and limit.exceeded] == []


def test_pods_have_room_above_the_peak() -> None:
    of = estimate(1_000_000, 50)
    scale = snippet(of, recommended(of))["flatline:scaling"]["whisper"]
    assert scale["replicas"] == of.cluster.of("whisper").replicas
    assert scale["maxReplicas"] >= of.cluster.of("whisper").most * 1.25
