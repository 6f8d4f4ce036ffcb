"""Installations and workloads that the tests of the model share."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from capacity.estimate import Estimate
from capacity.installation import Installation
from capacity.workload import Workload
from config.prices import Family, Prices, parse

PRICES_FILE = Path(__file__).parents[3] / "config" / "prices.yaml"
INSTALLATION = Installation.of()

RANGE = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
"""From one thousand to one hundred million users."""

USERS = st.integers(1, 10**9)
MESSAGES = st.floats(0, 10_000)
HABITS = st.fixed_dictionaries(
    {
        "devices": st.floats(1, 6),
        "active": st.floats(0.001, 1),
        "connected": st.floats(0.001, 1),
        "offline": st.floats(0, 1),
        "peak": st.floats(1, 20),
        "group_messages": st.floats(0, 1),
        "group_size": st.floats(2, 1001),
        "groups": st.floats(0, 50),
        "group_updates": st.floats(0, 10),
        "attachments": st.floats(0, 1),
        "attachment_kib": st.floats(1, 100_000),
        "avatar_kib": st.floats(1, 10_240),
    }
)


def estimate(users: int = 10_000, messages_per_day: float = 40, **habits: Any) -> Estimate:
    """An estimate for the settings' defaults."""
    return Estimate.of(Workload(users=users, messages_per_day=messages_per_day, **habits), INSTALLATION)


def with_users(of: Estimate, users: int) -> Estimate:
    """The same for other users."""
    return Estimate.of(replace(of.workload, users=users), of.installation)


@cache
def prices() -> Prices:
    """The price file of the repository."""
    return parse(PRICES_FILE.read_text(), "prices.yaml")


def family() -> Family:
    """Its first family."""
    return prices().family(None)[1]
