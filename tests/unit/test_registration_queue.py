"""The queue for slow hashes serves the client key first that was served least lately."""

import json
import subprocess

import pytest

from components.programs import FOLDER
from tests.lab.node import NODE

PROGRAM = """
const [folder, limits, words] = process.argv.slice(-3);
const { FairQueue } = await import(`${folder}/registration/queue.mjs`);
const { systemClock } = await import(`${folder}/registration/clock.mjs`);
const queue = new FairQueue(JSON.parse(limits), systemClock);
const order = [];
const leave = await queue.enter('first');
const rest = words.split(' ').map(async (key) => {
  const done = await queue.enter(key);
  order.push(done ? key : `${key} away`);
  done?.();
});
leave();
await Promise.all(rest);
console.log(order.join(', '));
"""
LIMITS = {"perSecond": 500, "concurrent": 1, "maxWaitMs": 5000, "perKey": 2, "total": 4}


def served(*keys: str) -> str:
    """The order in which keys are served that come, one after the other, while `first` is served."""
    command = [NODE, "--input-type=module", "--eval", PROGRAM, str(FOLDER), json.dumps(LIMITS), " ".join(keys)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("keys", "order"),
    [
        (["a", "b", "c"], "a, b, c"),
        (["first", "a", "b"], "a, b, first"),
        (["a", "a", "b", "c"], "a, b, c, a"),
        (["a", "a", "a", "b"], "a away, a, b, a"),
        (["a", "first", "b", "c", "d"], "first away, a, b, c, d"),
        (["a", "b", "c", "d", "e"], "e away, a, b, c, d"),
    ],
    ids=["arrival", "served-before", "served-meanwhile", "many-of-one-key", "full", "full-of-new-keys"],
)
def test_a_key_that_was_not_served_comes_before_those_that_were(keys: list[str], order: str) -> None:
    assert served(*keys) == order
