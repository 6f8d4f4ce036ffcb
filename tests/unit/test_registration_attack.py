"""An attacker with 1,000 client keys against one invited number: what it gains, and whom it keeps out.

The parts of the program are driven by a clock of the test's own (tests/programs/registration_attack.mjs). The figures
in docs/security.md are those that are asserted here.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from components.programs import FOLDER
from tests.lab.node import NODE

ATTACK = Path(__file__).resolve().parents[1] / "programs" / "registration_attack.mjs"
KEYS = 1000
CHANCE = 1e-4
"""Of a take-over, for as long as an invitation is valid: it must be less."""


def attacked(scenario: str, *, keys: int = KEYS, **wanted: Any) -> dict[str, Any]:
    wanted = {"scenario": scenario, "keys": keys, **wanted}
    command = [NODE, ATTACK, FOLDER, json.dumps(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout)
    assert outcome["verifiedByAttacker"] == 0
    return outcome


def test_an_invitation_of_one_code_is_locked_long_before_it_is_guessed() -> None:
    """All keys at once for two hours, and the code is typed at the end of the week."""
    outcome = attacked("week", codes=1, seconds=7200)
    assert outcome["locked"] < 60
    assert (outcome["state"], outcome["opens"]) == ("locked", False)
    assert outcome["told"] == ["invitation attacked", "invitation locked"]
    assert outcome["tried"] > KEYS * 10  # and all of them after the lock in vain
    assert CHANCE > 50 / 10**6


def test_an_invitation_of_two_codes_withstands_a_week_of_all_that_the_limits_let_through() -> None:
    """Each key may try ten codes at once and one in an hour; a pair of them is one guess at 10^12.

    No key waits for another one, so a quarter of them tries a quarter of what all would.
    """
    quarter = KEYS // 4
    outcome = attacked("week", codes=2, keys=quarter)
    assert outcome["seconds"] > 6.9 * 86_400
    most = quarter * (10 + 7 * 24)
    assert 0.95 * most < outcome["tried"] <= most
    assert 4 * outcome["tried"] / 10**12 < CHANCE / 100
    assert outcome["state"] == "attacked"
    assert outcome["told"] == ["invitation attacked"]


@pytest.mark.parametrize(
    ("hash_ms", "hammer", "seconds"),
    [
        (1000, True, 600),  # two hashes a second: a pod that gets no more than the 100m of a processor that it asks for
        (100, False, 120),
    ],
)
def test_after_the_one_command_the_person_gets_in_among_a_thousand_attackers(
    hash_ms: int, hammer: bool, seconds: float
) -> None:
    """Attackers who come again at once, or when they are told to, at many numbers, so that the queue is always full."""
    outcome = attacked("cure", others=5, commandSeconds=60, hashMs=hash_ms, hammer=hammer)
    assert outcome["before"] in {"attacked", "locked"}
    assert outcome["took"] is not None
    assert outcome["took"] < seconds
    assert outcome["after"] == "used"
