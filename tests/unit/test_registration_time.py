"""What time does to sessions, codes and limits of Registration: its parts, with a clock of the test's own."""

from typing import Any

import pytest

from tests.programs.modules import Modules
from tests.programs.registration_contract import (
    ATTEMPT_EXPIRED,
    CHECK_NOT_FOUND,
    CHECK_RATE_LIMITED,
    NOT_FOUND,
    RATE_LIMITED,
    SEND_RATE_LIMITED,
)

# Plays steps, each a list of a word and its arguments, and tells what each answered. A session is the newest one, or
# the one that "use" chose by the order of their making.
DRIVER = """
const { partsOf } = await load('registration/parts');
const { NotWritten } = await load('registration/journal');
const played = async ({ invited, webhook, steps }) => {
const clock = { time: 1.8e12, now: () => clock.time, after: () => () => {} };
const padded = (text) => Buffer.from(text.padEnd(32, '.'));
const known = new Map(Object.entries(invited).map(([number, code], index) => [number, {
  id: `${index + 1}`.padStart(32, 'a'), salt: Buffer.alloc(16), hash: padded(code), codes: 1, again: false,
  expires: clock.time / 1000 + 604800,
}]));
const standIn = () => ({ id: '0'.repeat(32), hash: Buffer.alloc(32, 1), expires: 9999999999, codes: 1 });
const invitations = { current: async () => known, standIn };
let failing;
const append = async ({ type }) => {
  if (type === failing) throw new NotWritten('the disk is full');
};
const store = { append, snapshot: () => [] };
let sent;
const gateway = { send: async ({ code }) => { sent = code; } };
const hash = async (text) => padded(text);
const { calls } = partsOf({ clock, store, hash, invitations, webhook: webhook ? gateway : undefined });
const context = { milliseconds: 15000 };
const sessions = [];
let session_id;
const play = {
  create: (number, client) => {
    const answer = calls.CreateSession({
      e164: BigInt(number), account_exists_with_e164: false, rate_limit_collation_key: client,
    });
    session_id = answer.session_metadata?.session_id;
    sessions.push(session_id);
    return answer;
  },
  use: (index) => { session_id = sessions[index]; },
  get: () => calls.GetSessionMetadata({ session_id }),
  send: () => calls.SendVerificationCode({ session_id, transport: 1, accept_language: '' }),
  check: (code) => calls.CheckVerificationCode({ session_id, verification_code: code ?? sent }, context),
  fail: (type) => { failing = type; },
  sleep: (seconds) => { clock.time += seconds * 1000; },
};
const answers = [];
for (const [word, ...rest] of steps) {
  let answer;
  try {
    answer = await play[word](...rest);
  } catch ({ status }) {
    answers.push({ status });
  }
  clock.time += 50; // the queue begins one check each 40 ms
  if (!answer) continue;
  const { error, session_metadata: metadata } = answer;
  answers.push({ error, metadata: metadata && { ...metadata, session_id: undefined, e164: `${metadata.e164}` } });
}
return answers;
};
const calls = { played };
"""
NUMBER, OTHER, CODE, WRONG = "12025550100", "12025550101", "123456", "654321"


RUNNING: list[Modules] = []


@pytest.fixture(scope="module", autouse=True)
def driver(modules: Modules) -> None:
    """One Node.js for all tests of this file: `played` asks it."""
    RUNNING[:] = [modules]


def played(*steps: list[Any], webhook: bool = False, **invited: str) -> list[dict[str, Any]]:
    given = {"invited": {NUMBER: CODE, **invited}, "webhook": webhook, "steps": steps}
    answers: list[dict[str, Any]] = RUNNING[0].call("played", **given)
    return answers


def kind(answer: dict[str, Any]) -> int | None:
    return answer["error"]["type"] if "error" in answer else None


BEGIN = (["create", NUMBER, "a"], ["send"])


def test_a_session_ends_ten_minutes_after_what_was_done_last() -> None:
    *_, last = played(*BEGIN, ["sleep", 599], ["check", WRONG], ["sleep", 599], ["check", CODE])
    assert last["metadata"]["verified"]
    *_, late, gone = played(*BEGIN, ["sleep", 601], ["check", CODE], ["get"])
    assert (kind(late), kind(gone)) == (CHECK_NOT_FOUND, NOT_FOUND)


def test_asking_for_a_session_does_not_prolong_it() -> None:
    *_, gone = played(*BEGIN, ["sleep", 400], ["get"], ["sleep", 201], ["get"])
    assert kind(gone) == NOT_FOUND


def test_a_session_lives_an_hour_at_most() -> None:
    steps = [step for _ in range(12) for step in (["sleep", 310], ["send"])]
    answers = played(*BEGIN, *steps)
    assert kind(answers[12]) != 4
    assert kind(answers[-1]) == 4


def test_a_verified_session_lives_an_hour() -> None:
    *_, there, gone = played(*BEGIN, ["check", CODE], ["sleep", 3590], ["get"], ["sleep", 20], ["get"])
    assert there["metadata"]["verified"]
    assert kind(gone) == NOT_FOUND


def test_a_message_is_worth_ten_minutes() -> None:
    begin = (["create", OTHER, "a"], ["send"], ["sleep", 400], ["check", WRONG], ["sleep", 201], ["check"])
    *_, late, again, right = played(*begin, ["send"], ["check"], webhook=True)
    assert kind(late) == ATTEMPT_EXPIRED
    assert late["metadata"]["e164"] == OTHER
    assert kind(again) is None
    assert right["metadata"]["verified"]


def test_a_right_code_that_cannot_be_recorded_verifies_nobody_and_is_not_used_up() -> None:
    *_, failed, there, right = played(*BEGIN, ["fail", "verified"], ["check", CODE], ["get"], ["fail"], ["check", CODE])
    assert failed == {"status": 14}
    assert not there["metadata"]["verified"]
    assert right["metadata"]["verified"]


def test_codes_are_checked_at_growing_distances_and_four_times() -> None:
    """Two at once, one after a minute, one after two more; Signal shows the seconds."""
    steps = (["check", WRONG], ["check", WRONG], ["check", WRONG], ["sleep", 60], ["check", WRONG], ["check", WRONG])
    first, second, early, third, soon, *_ = played(*BEGIN, *steps)[2:]
    assert first["metadata"]["next_code_check_seconds"] == 0
    assert 59 <= second["metadata"]["next_code_check_seconds"] <= 60
    assert (kind(early), early["error"]["may_retry"]) == (CHECK_RATE_LIMITED, True)
    assert kind(third) is None
    assert 119 <= soon["error"]["retry_after_seconds"] <= 120
    *_, fourth, never = played(*BEGIN, *steps, ["sleep", 120], ["check", WRONG], ["check", CODE])
    assert not fourth["metadata"]["may_check_code"]
    assert (kind(never), never["error"]["may_retry"]) == (CHECK_RATE_LIMITED, False)


def test_codes_are_sent_at_growing_distances() -> None:
    later = [step for wait in (60, 120, 300, 600) for step in (["sleep", wait], ["send"])]
    early, *rest = played(*BEGIN, ["send"], *later)[2:]
    assert (kind(early), 59 <= early["error"]["retry_after_seconds"] <= 60) == (SEND_RATE_LIMITED, True)
    assert [answer["metadata"].get("next_sms_seconds") for answer in rest[:3]] == [120, 300, 600]


def test_a_client_may_make_one_more_session_each_half_minute() -> None:
    many = [["create", OTHER, "a"]] * 21
    answers = played(*many, ["sleep", 30], ["create", OTHER, "a"], ["create", OTHER, "a"])
    assert [kind(answer) for answer in answers] == [None] * 20 + [RATE_LIMITED, None, RATE_LIMITED]


def test_a_client_that_opens_many_sessions_loses_its_oldest_alone() -> None:
    waits = [step for _ in range(15) for step in (["sleep", 31], ["create", OTHER, "a"])]
    begin = (["create", NUMBER, "b"], *([["create", OTHER, "a"]] * 20), *waits)
    *_, of_other_client, oldest, newest = played(*begin, ["use", 0], ["get"], ["use", 1], ["get"], ["use", 35], ["get"])
    assert [kind(each) for each in (of_other_client, oldest, newest)] == [None, NOT_FOUND, None]
