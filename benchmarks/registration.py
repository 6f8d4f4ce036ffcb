"""Compares the answers of Registration to invited and other numbers: by what they say, and by the time that they take.

The program that is shipped answers a real gRPC client, on one connection, one call at a time. Each session makes the
four calls of a registration; half of the sessions, in random order, are of numbers that are invited, and their code is
wrong.
The hash has a low cost here, so that a difference is not hidden behind it, and the measurement takes minutes.

Two tests say whether the times of the two kinds differ: the two-sample Kolmogorov-Smirnov test, and a guesser, who
learns from the first half of the sessions which times the invited ones have, and guesses the second half. Told is the
chance of a result at least so large where there is no difference: a small one, far below 1 in 1,000, means that times
tell something.
"""

import json
import math
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.programs.registration import Secret, invitation, running
from tests.programs.registration_contract import Client

SESSIONS = 10_000
NUMBERS = 200
"""Of each kind."""
FIRST_NUMBER = 12025600000
CODE, WRONG = "123456", "654321"
PACE_SECONDS = 0.045
"""Between two checks: the program begins one each 40 ms at most, and that wait would hide the rest."""
BANDS = 20
CALLS = ("CreateSession", "GetSessionMetadata", "SendVerificationCode", "CheckVerificationCode")


@dataclass
class Alike:
    """One call, asked for invited and uninvited numbers."""

    name: str
    times: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})
    """Seconds, by whether the number is invited, in the order of the sessions."""
    contents: dict[bool, set[str]] = field(default_factory=lambda: {True: set(), False: set()})

    def add(self, invited: bool, seconds: float, answer: Any) -> None:
        self.times[invited].append(seconds)
        self.contents[invited].add(content(answer))

    def as_json(self) -> dict[str, Any]:
        invited, uninvited = self.times[True], self.times[False]
        right, guesses = guessed(invited, uninvited)
        return {
            "call": self.name,
            "tries": len(invited) + len(uninvited),
            "invited_seconds": statistics.median(invited),
            "uninvited_seconds": statistics.median(uninvited),
            "kolmogorov_smirnov_chance": round(kolmogorov_smirnov(invited, uninvited), 4),
            "guessed_right": round(right / guesses, 4),
            "guesser_chance": round(at_least(right, guesses), 4),
            "same_contents": self.contents[True] == self.contents[False],
        }


def content(answer: Any) -> str:
    """The content of an answer, but for the session's name and number, and times to come, which go on by themselves."""
    metadata = {
        one.name: value
        for one, value in answer.session_metadata.ListFields()
        if one.name not in {"session_id", "e164", "expiration_seconds"}
    }
    return f"{sorted(metadata.items())} {answer.error}"


def kolmogorov_smirnov(one: Sequence[float], other: Sequence[float]) -> float:
    """The chance of so large a distance between two samples of one distribution (the asymptotic formula)."""
    labelled = sorted([(value, 1 / len(one)) for value in one] + [(value, -1 / len(other)) for value in other])
    distance = sum_ = 0.0
    for index, (value, step) in enumerate(labelled):
        sum_ += step
        if index + 1 == len(labelled) or labelled[index + 1][0] != value:
            distance = max(distance, abs(sum_))
    effective = math.sqrt(len(one) * len(other) / (len(one) + len(other)))
    scaled = (effective + 0.12 + 0.11 / effective) * distance
    if scaled < 0.2:
        return 1.0  # the series converges slowly there, to 1
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * k * k * scaled * scaled) for k in range(1, 101))
    return min(max(sum(terms), 0.0), 1.0)


def guessed(invited: Sequence[float], uninvited: Sequence[float]) -> tuple[int, int]:
    """How many a guesser has right, and of how many: it knows the kind that each band of times mostly had before."""
    half = min(len(invited), len(uninvited)) // 2
    known = sorted([*invited[:half], *uninvited[:half]])
    bounds = [known[len(known) * band // BANDS] for band in range(1, BANDS)]

    def band(value: float) -> int:
        return sum(value >= bound for bound in bounds)

    lead = [0] * BANDS
    for value in invited[:half]:
        lead[band(value)] += 1
    for value in uninvited[:half]:
        lead[band(value)] -= 1
    right = sum(lead[band(value)] > 0 for value in invited[half : 2 * half])
    right += sum(lead[band(value)] <= 0 for value in uninvited[half : 2 * half])
    return right, 2 * half


def at_least(right: int, guesses: int) -> float:
    """The chance of so many right guesses, or more, by tossing a coin (the normal approximation)."""
    deviation = math.sqrt(guesses) / 2
    return 0.5 * math.erfc((right - 0.5 - guesses / 2) / deviation / math.sqrt(2))


def measure(sessions: int = SESSIONS) -> list[Alike]:
    """The four calls. Each session has a client key of its own, so no limit of a client is met."""
    found = {name: Alike(name) for name in CALLS}
    with tempfile.TemporaryDirectory() as scratch:
        secret = Secret(Path(scratch) / "invitations")
        for number in range(NUMBERS):
            secret.entries[str(FIRST_NUMBER + number)] = json.dumps(invitation(CODE))
        secret.mount()
        with running(Path(scratch), secret=secret) as service, Client(service.port) as client:
            _warm_up(client)
            for index in range(sessions // 2):
                for invited in random.sample((True, False), 2):
                    number = FIRST_NUMBER + index % NUMBERS + (0 if invited else NUMBERS)
                    _session(client, str(number), f"{index} {invited:d}", invited, found)
    return list(found.values())


def _warm_up(client: Client) -> None:
    unused = {name: Alike(name) for name in CALLS}
    for index in range(50):
        _session(client, str(FIRST_NUMBER + 2 * NUMBERS + index), f"warm {index}", False, unused)


def _session(client: Client, number: str, key: str, invited: bool, found: dict[str, Alike]) -> None:
    began = time.perf_counter()
    answer = client.create(number, key)
    session = answer.session_metadata.session_id
    seconds = time.perf_counter() - began
    found["CreateSession"].add(invited, seconds, answer)
    for name, call in (
        ("SendVerificationCode", lambda: client.send(session)),
        ("GetSessionMetadata", lambda: client.get(session)),
    ):
        began = time.perf_counter()
        answer = call()
        found[name].add(invited, time.perf_counter() - began, answer)
    time.sleep(PACE_SECONDS)
    began = time.perf_counter()
    answer = client.check(session, WRONG)
    found["CheckVerificationCode"].add(invited, time.perf_counter() - began, answer)
