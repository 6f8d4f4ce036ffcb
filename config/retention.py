"""Chooses archives to keep: the newest of so many days, weeks and months. Pure, and read from a command line."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

PERIODS = ("daily", "weekly", "monthly")
MOST = 1000
_FORM = {"daily": "%Y-%m-%d", "weekly": "%G-W%V", "monthly": "%Y-%m"}


@dataclass(frozen=True)
class Rule:
    """How many days, ISO weeks and months (UTC) have an archive that stays. Those without one do not count."""

    daily: int = 0
    weekly: int = 0
    monthly: int = 0

    def __str__(self) -> str:
        """As `parse` reads it."""
        return ",".join(f"{period}={getattr(self, period)}" for period in PERIODS if getattr(self, period))


def parse(text: str) -> Rule:
    """The rule of `daily=7,weekly=4,monthly=6`, each part at most once. Raises ValueError, which says what is wrong."""
    found: dict[str, int] = {}
    for part in text.split(","):
        match = re.fullmatch(r"(daily|weekly|monthly)=([1-9][0-9]{0,3})", part)
        if match is None or match[1] in found or int(match[2]) > MOST:
            raise ValueError(f"{text!r} is no rule; write such as daily=7,weekly=4,monthly=6 (1 to {MOST} each)")
        found[match[1]] = int(match[2])
    return Rule(**found)


def superfluous(stack: str, names: Iterable[str], rule: Rule) -> list[str]:
    """The archives among some names that no part of the rule keeps, oldest first. The newest always stays.

    What is not called like an archive of this stack is never among them.
    """
    times = {name: time for name in names if (time := made(stack, name)) is not None}
    newest_first = sorted(times, key=lambda name: times[name], reverse=True)
    kept = set(newest_first[:1])
    for period in PERIODS:
        seen: dict[str, str] = {}
        for name in newest_first:
            seen.setdefault(times[name].strftime(_FORM[period]), name)
        kept.update(list(seen.values())[: getattr(rule, period)])
    return [name for name in reversed(newest_first) if name not in kept]


def made(stack: str, name: str) -> datetime | None:
    """When an archive of a stack was made, by its name (UTC); None for what is not called like one."""
    match = re.fullmatch(rf"{re.escape(stack)}-(\d{{8}}T\d{{6}})Z", name)
    if match is None:
        return None
    try:
        return datetime.strptime(match[1], "%Y%m%dT%H%M%S")
    except ValueError:
        return None
