"""What may be typed, and what it means in numbers a day."""

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capacity.traffic import Traffic, per_second
from capacity.workload import MOST_USERS, OPTIONS, Workload, WorkloadError, about, default, display, option, required
from config.services.storage import CONSTANTS as STORAGE
from tests.unit.capacity.samples import HABITS, MESSAGES, USERS


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"users": 0}, "users is 0; write a whole number, 1 to 10,000,000,000"),
        ({"users": -5}, "users is -5; write a whole number"),
        ({"users": MOST_USERS + 1}, "users is 10,000,000,001; write a whole number"),
        ({"users": 1.5}, "users is 1.5; write a whole number"),
        ({"users": True}, "users is True; write a whole number"),
        ({"users": "many"}, "users is 'many'; write a whole number"),
        ({"messages_per_day": -1}, "messages_per_day is -1; write a number, 0 to 10,000"),
        ({"messages_per_day": float("nan")}, "messages_per_day is nan; write a number"),
        ({"messages_per_day": float("inf")}, "messages_per_day is inf; write a number"),
        ({"devices": 7}, "devices is 7; write a number, 1 to 6"),
        ({"active": 0}, "active is 0; write a number, 0.001 to 1"),
        ({"peak": 0.5}, "peak is 0.5; write a number, 1 to 100"),
        ({"group_size": 1}, "group_size is 1; write a number, 2 to 1,001"),
    ],
)
def test_a_number_out_of_bounds_is_refused_by_name(numbers: dict[str, Any], said: str) -> None:
    with pytest.raises(WorkloadError, match="^" + said.replace("'", ".").replace("(", ".")):
        Workload(**{"users": 1000, "messages_per_day": 10, **numbers})


def test_users_and_messages_alone_must_be_typed() -> None:
    assert [entry.name for entry in fields(Workload) if required(entry)] == ["users", "messages_per_day"]
    assert [option(entry) for entry in OPTIONS][:3] == ["--users", "--messages-per-day", "--devices"]


def test_every_number_says_what_it_is_where_it_is_from_and_has_a_default_within_its_bounds() -> None:
    for entry in fields(Workload):
        meant, given_ = about(entry), default(entry)
        assert meant.meaning
        assert meant.unit
        assert meant.source
        assert given_ is None or meant.low <= given_ <= meant.high
        assert not meant.meaning.endswith(".")


def test_a_group_may_have_as_many_members_as_storage_allows() -> None:
    bounds = {entry.name: about(entry) for entry in fields(Workload)}
    assert bounds["group_size"].high == STORAGE["group"]["maxGroupSize"]


@pytest.mark.parametrize(("value", "text"), [(1_000_000, "1,000,000"), (1e10, "10,000,000,000"), (0.05, "0.05")])
def test_numbers_are_shown_without_exponents(value: float, text: str) -> None:
    assert display(value) == text


def test_one_message_to_one_person() -> None:
    """By hand: it arrives on 2 devices, each of 2 receipts on 2 devices, copies for the other device: 1 + 1."""
    traffic = Traffic.of(
        Workload(users=1, messages_per_day=1, devices=2, group_messages=0, receipts=2, typing=1, offline=0.5)
    )
    assert traffic.recipients == 1
    assert traffic.envelopes == 2 + 2 * 2 + 1 * (1 + 1)
    assert traffic.ephemeral == 2
    assert traffic.persisted == traffic.envelopes / 2


def test_a_message_to_a_group_goes_to_everyone_else() -> None:
    traffic = Traffic.of(Workload(users=1, messages_per_day=1, group_messages=1, group_size=11))
    assert traffic.recipients == 10


def test_people_share_their_groups() -> None:
    traffic = Traffic.of(Workload(users=100, messages_per_day=0, groups=3, group_size=10, group_updates=0.5))
    assert traffic.groups == 30
    assert traffic.group_changes == 15


def test_a_day_has_86400_seconds() -> None:
    assert per_second(86_400) == 1
    assert per_second(86_400, 3) == 3


@given(users=USERS, messages=MESSAGES, habits=HABITS, times=st.integers(2, 10))
def test_traffic_is_linear_in_users(users: int, messages: float, habits: dict[str, float], times: int) -> None:
    one, more = (
        Traffic.of(Workload(users=users * factor, messages_per_day=messages, **habits)) for factor in (1, times)
    )
    for entry in fields(Traffic):
        factor = 1 if entry.name in {"recipients", "attachment_bytes"} else times
        assert getattr(more, entry.name) == pytest.approx(getattr(one, entry.name) * factor), entry.name
