"""Which archives stay, by a rule of days, weeks and months."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import retention
from config.retention import Rule, superfluous

DAY = datetime(2026, 3, 31, 3)


def name(when: datetime) -> str:
    return f"dev-{when:%Y%m%dT%H%M%SZ}"


def test_days_weeks_and_months() -> None:
    every_day = [name(DAY - timedelta(days=days)) for days in range(120)]
    kept = {*every_day} - {*superfluous("dev", every_day, Rule(daily=3, weekly=2, monthly=3))}
    assert sorted(kept) == [
        "dev-20260131T030000Z",
        "dev-20260228T030000Z",
        "dev-20260329T030000Z",  # the Sunday of the week before
        "dev-20260330T030000Z",
        "dev-20260331T030000Z",
    ]


def test_the_newest_of_a_day_stays_and_days_without_one_do_not_count() -> None:
    names = [name(DAY), name(DAY - timedelta(hours=1)), name(DAY - timedelta(days=40))]
    assert superfluous("dev", names, Rule(daily=2)) == [names[1]]


def test_what_is_called_otherwise_is_left_alone() -> None:
    others = ["dev", "prod-20200101T000000Z", "dev-2-20200101T000000Z", "dev-20201301T000000Z", ".dev-x.partial"]
    assert superfluous("dev", [*others, name(DAY)], Rule(daily=1)) == []


rules = st.builds(Rule, *[st.integers(0, 5)] * 3)


@given(st.sets(st.datetimes(datetime(2025, 1, 1), datetime(2026, 12, 31)), min_size=1, max_size=60), rules)
def test_the_newest_always_stays_and_a_rule_once_applied_keeps_all(times: set[datetime], rule: Rule) -> None:
    names = {name(each) for each in times}
    gone = {*superfluous("dev", names, rule)}
    assert max(names) not in gone
    assert superfluous("dev", names - gone, rule) == []
    assert len(names - gone) <= 1 + rule.daily + rule.weekly + rule.monthly


def test_rules_are_read() -> None:
    assert retention.parse("daily=7,weekly=4,monthly=6") == Rule(7, 4, 6)
    assert retention.parse("monthly=12") == Rule(monthly=12)


@pytest.mark.parametrize(
    "text", ["", "7", "daily=0", "daily=7,daily=3", "yearly=1", "daily=7,", "daily=-1", "daily=9999"]
)
def test_what_is_no_rule_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="write such as daily=7,weekly=4,monthly=6"):
        retention.parse(text)
