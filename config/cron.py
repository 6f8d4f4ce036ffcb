"""Schedules of CronJobs: five fields of numbers or names, in UTC, as Kubernetes reads them. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

_EXAMPLE = 'write minute, hour, day, month and weekday, such as "15 3 * * *" for 03:15 UTC each day'
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 6, _WEEKDAYS),
)
_SEEN = 366 * 9
"""Days that are looked at: two 29 February are among them."""


@dataclass(frozen=True)
class Schedule:
    """The numbers of each field. A day has to fit `days` and `weekdays`, or either where both are restricted."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    @property
    def longest_gap(self) -> int:
        """The seconds between two runs that are furthest apart. 0 if it never runs."""
        times = sorted((hour * 60 + minute) * 60 for hour in self.hours for minute in self.minutes)
        within = max((later - earlier for earlier, later in pairwise(times)), default=0)
        days = list(self._days())
        apart = max((later - earlier for earlier, later in pairwise(days)), default=0)
        return max(within, apart * 86400 - (times[-1] - times[0])) if apart else 0

    def _days(self) -> Iterator[int]:
        for number in range(_SEEN):
            day = date(2024, 1, 1) + timedelta(days=number)
            fits = day.day in self.days, day.isoweekday() % 7 in self.weekdays
            if day.month in self.months and (any(fits) if self.either_day else all(fits)):
                yield number


def parse(text: str) -> Schedule:
    """The schedule of a text. Raises ValueError, which says what is wrong and what to write."""
    words = text.split()
    if len(words) != len(_FIELDS):
        raise ValueError(f"is no schedule of five fields; {_EXAMPLE}")
    numbers = [_numbers(word, *field) for word, field in zip(words, _FIELDS, strict=True)]
    either = not words[2].startswith("*") and not words[4].startswith("*")
    found = Schedule(*numbers, either_day=either)
    if not found.longest_gap:
        raise ValueError(f"names a day that no year has; {_EXAMPLE}")
    return found


def _numbers(word: str, name: str, first: int, last: int, names: tuple[str, ...]) -> frozenset[int]:
    found: set[int] = set()
    for part in word.lower().split(","):
        match = re.fullmatch(r"(\*|(\w+)(?:-(\w+))?)(?:/([1-9][0-9]?))?", part)
        if match is None:
            raise ValueError(f"has {part} as {name}; {_EXAMPLE}")
        low, high, step = match[2], match[3], int(match[4] or 1)
        begin = first if low is None else _number(low, name, first, last, names)
        end = last if low is None or (high is None and match[4]) else _number(high or low, name, first, last, names)
        if end < begin:
            raise ValueError(f"has {part} as {name}, which ends before it begins; {_EXAMPLE}")
        found.update(range(begin, end + 1, step))
    return frozenset(found)


def _number(text: str, name: str, first: int, last: int, names: tuple[str, ...]) -> int:
    value = names.index(text) + first if text in names else int(text) if re.fullmatch("[0-9]{1,2}", text) else -1
    if not first <= value <= last:
        raise ValueError(f"has {text} as {name}; it goes from {first} to {last}; {_EXAMPLE}")
    return value
