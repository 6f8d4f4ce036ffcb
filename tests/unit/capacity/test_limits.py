"""Every limit can be exceeded, and says at how many users."""

import re
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.estimate import Estimate
from capacity.installation import Installation
from capacity.limits import Limit, limits, rules
from capacity.workload import MOST_USERS, Workload
from config.settings import Settings
from config.target import Volumes
from config.workloads import Redis
from tests.unit.capacity.samples import HABITS, INSTALLATION, MESSAGES, RANGE, estimate, with_users

DEFAULT = Workload(users=10_000, messages_per_day=50)
RULES = {rule.id: rule for rule in rules(DEFAULT, INSTALLATION)}

EXTREME: dict[str, dict[str, Any]] = {
    "dynamodb-index-writes": {"registrations": 100},
    "dynamodb-partition-messages": {"busiest": 1e6},
    "dynamodb-partition-accounts": {"busiest": 1e9},
    "dynamodb-item-collection": {"busiest_away": 1e4},
    "dynamodb-item": {"busiest_envelope_bytes": 410_000},
    "dynamodb-batch-write": {"busiest_envelope_bytes": 700_000},
    "dynamodb-transaction-items": {"most_devices": 20},
    "dynamodb-transaction-bytes": {"most_devices": 1000},
    "dynamodb-query-page": {"envelope_bytes": 200_000},
    "bigtable-nodes": {"group_updates": 1000, "years": 100},
    "ephemeral-ports": {"websockets_per_pod": 40_000},
}
"""What must be assumed besides users, for a limit that none of 10,000,000,000 users reaches at fifty messages a day."""

HUGE_GROUPS = {"bigtable-cell", "bigtable-row"}


def workload_for(name: str) -> tuple[Workload, Installation]:
    installation = replace(INSTALLATION, largest_group=10**6) if name in HUGE_GROUPS else INSTALLATION
    return replace(DEFAULT, **EXTREME.get(name, {})), installation


def measured(workload: Workload, installation: Installation, name: str) -> Limit:
    (limit,) = limits(Estimate.of(workload, installation), only=name)
    return limit


@cache
def default_limits() -> tuple[Limit, ...]:
    return limits(Estimate.of(DEFAULT, INSTALLATION))


@pytest.mark.parametrize("name", RULES)
def test_a_limit_begins_where_it_says(name: str) -> None:
    workload, installation = workload_for(name)
    begins = measured(workload, installation, name).begins
    assert begins is not None, "it cannot be exceeded"
    at = RULES[name].measure(Estimate.of(replace(workload, users=begins), installation))
    assert at > RULES[name].bound.size
    if begins > 1:
        below = RULES[name].measure(Estimate.of(replace(workload, users=begins - 1), installation))
        assert below <= RULES[name].bound.size


@pytest.mark.parametrize("name", [*EXTREME, *sorted(HUGE_GROUPS)])
def test_a_limit_that_never_begins_is_not_exceeded_by_the_most_users(name: str) -> None:
    limit = next(limit for limit in default_limits() if limit.id == name)
    assert limit.begins is None
    assert RULES[name].measure(Estimate.of(replace(DEFAULT, users=MOST_USERS), INSTALLATION)) <= limit.bound


def test_all_others_begin_somewhere() -> None:
    never = {limit.id for limit in default_limits() if limit.begins is None}
    assert never == set(EXTREME) | HUGE_GROUPS


@pytest.mark.parametrize("users", RANGE)
def test_exceeded_and_begins_agree(users: int) -> None:
    begin = {limit.id: limit.begins for limit in default_limits()}
    found = estimate(users, 50)
    for name, rule in RULES.items():
        begins_at = begin[name]
        assert (rule.measure(found) > rule.bound.size) == (begins_at is not None and users >= begins_at), name


@settings(max_examples=20, deadline=None)
@given(users=st.integers(1, 10**8), more=st.integers(1, 10**9), messages=MESSAGES, habits=HABITS)
def test_what_is_measured_never_falls_when_users_are_added(
    users: int, more: int, messages: float, habits: dict[str, float]
) -> None:
    before = estimate(users, messages, **habits)
    after = with_users(before, users + more)
    for rule in rules(before.workload, before.installation):
        assert rule.measure(after) >= rule.measure(before) * (1 - 1e-9), rule.id


@settings(max_examples=4, deadline=None)
@given(users=st.integers(1, 10**9), messages=MESSAGES, habits=HABITS)
def test_where_a_limit_begins_does_not_depend_on_the_users_that_were_typed(
    users: int, messages: float, habits: dict[str, float]
) -> None:
    one, other = estimate(1, messages, **habits), estimate(users, messages, **habits)
    assert [limit.begins for limit in limits(one)] == [limit.begins for limit in limits(other)]


def begins(name: str, found: Estimate) -> int:
    (limit,) = limits(found, only=name)
    assert limit.begins is not None
    return limit.begins


def test_the_write_quota_by_hand() -> None:
    """Four units for a message of one device in a second; 40,000 of them, at the peak of two, are 5,000 messages."""
    habits = {"devices": 1, "group_messages": 0, "receipts": 0, "typing": 0, "offline": 1, "abandoned": 0, "peak": 2}
    assert begins("dynamodb-table-writes", estimate(1, 1, **habits)) == 5_000 * 86_400 + 1


def test_a_scan_of_accounts_by_hand() -> None:
    per_account = 900 + 600 + 100
    expected = int(4 * 3600 * 10 * 1024**2 / per_account) + 1
    assert begins("dynamodb-accounts-scan", estimate(1, 1, devices=1)) == expected


def test_attachments_fill_a_volume_by_hand() -> None:
    habits = {"attachments": 1, "attachment_kib": 1024}
    assert begins("volume-attachments", estimate(1, 1, **habits)) == 20 * 1024 // 45 + 1


def test_pages_of_pre_keys_fill_a_volume_by_hand() -> None:
    """A page of 100 keys for the account, and one for its phone number's identity."""
    page = 8 + 1641 * 100
    assert begins("volume-objects", estimate(1, 1, devices=1, avatars=0)) == 10 * 1024**3 // (2 * page) + 1


def test_every_volume_has_a_limit_but_the_one_of_redis() -> None:
    assert {name for name, _ in INSTALLATION.volumes} == estimate(1, 1).volumes.keys()
    assert {name for name, _ in INSTALLATION.volumes} == Volumes.model_fields.keys() - {"redis"}


def test_a_larger_redis_of_the_stack_lasts_longer() -> None:
    small = begins("redis-this-stack", estimate(1, 50))
    larger = Installation.of(Settings(redis=Redis(masters=6)))
    large = begins("redis-this-stack", Estimate.of(Workload(users=1, messages_per_day=50), larger))
    assert large == pytest.approx(2 * small, abs=2)


def test_the_messages_limit_names_the_table() -> None:
    found = {name: rule.where(estimate(10**6, 50)) for name, rule in RULES.items()}
    assert found["dynamodb-table-writes"] == "Messages"
    assert found["s3-gets"] == "uploads/"
    assert found["service-pods"] == "whisper"


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_each_names_its_source_and_a_remedy(rule: Any) -> None:
    assert rule.bound.source.startswith(("https://", "docs/"))
    assert rule.remedy
    assert rule.detail
    assert not rule.remedy.endswith(".")
    assert rule.bound.size > 0


def test_settings_that_remedies_name_exist() -> None:
    """A key below `flatline:` in a remedy can be found in the JSON Schema of stack files."""
    from config import json_schema

    text = json_schema.text()
    for rule in RULES.values():
        for key in re.findall(r"flatline:([A-Za-z.\[\]<>]+)", rule.remedy + " " + rule.detail):
            for part in re.findall(r"[A-Za-z]+", re.sub(r"<[a-z]+>", "", key)):
                assert f'"{part}"' in text or f'"flatline:{part}"' in text, f"{rule.id}: {key}"


def test_known_bounds() -> None:
    """The numbers of the public documents, once more."""
    bounds = {name: rule.bound.size for name, rule in RULES.items()}
    assert bounds["dynamodb-table-writes"] == bounds["dynamodb-table-reads"] == 40_000
    assert bounds["dynamodb-partition-messages"] == 1000
    assert bounds["dynamodb-partition-remote-config"] == 3000
    assert bounds["dynamodb-item"] == 400 * 1024
    assert bounds["dynamodb-batch-write"] == 16 * 1024**2
    assert bounds["dynamodb-transaction-items"] == 100
    assert bounds["dynamodb-transaction-bytes"] == 4 * 1024**2
    assert bounds["dynamodb-item-collection"] == 10 * 1024**3
    assert bounds["dynamodb-query-page"] == 1024**2
    assert (bounds["elasticache-nodes-quota"], bounds["elasticache-nodes"]) == (90, 500)
    assert bounds["redis-slots"] == 16_384
    assert bounds["redis-masters"] == 50
    assert (bounds["s3-puts"], bounds["s3-gets"]) == (3500, 5500)
    assert (bounds["kubernetes-nodes"], bounds["kubernetes-pods"]) == (5000, 150_000)
