"""The queue for slow hashes serves the client key first that was served least lately."""

import pytest

from tests.programs.modules import Modules

DRIVER = """
const { FairQueue } = await load('registration/queue');
const { systemClock } = await load('registration/clock');
const served = async ({ limits, keys }) => {
  const queue = new FairQueue(limits, systemClock);
  const order = [];
  const leave = await queue.enter('first');
  const rest = keys.map(async (key) => {
    const done = await queue.enter(key);
    order.push(done ? key : `${key} away`);
    done?.();
  });
  leave();
  await Promise.all(rest);
  return order.join(', ');
};
const calls = { served };
"""
LIMITS = {"perSecond": 500, "concurrent": 1, "maxWaitMs": 5000, "perKey": 2, "total": 4}


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
def test_a_key_that_was_not_served_comes_before_those_that_were(modules: Modules, keys: list[str], order: str) -> None:
    """The keys come one after the other, while `first` is served."""
    assert modules.call("served", limits=LIMITS, keys=keys) == order
