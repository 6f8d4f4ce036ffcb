"""Registration by invitation, as the very program that is shipped, called as Whisper calls it."""

import http.client
import json
import resource
import subprocess
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.programs.registration import PROGRAM, Secret, Service, flags, invitation, number, running
from tests.programs.registration_contract import (
    ALREADY_VERIFIED,
    CHECK_NOT_FOUND,
    CHECK_RATE_LIMITED,
    ILLEGAL_PHONE_NUMBER,
    NO_CODE_SENT,
    NOT_FOUND,
    RATE_LIMITED,
    SEND_NOT_FOUND,
    SEND_RATE_LIMITED,
    TRANSPORT_NOT_ALLOWED,
    VOICE,
    Client,
)
from tests.programs.starts import all_refused

CODE, WRONG = "123456", "654321"
ATTACK, BUDGET = 10, 50


def shown(answer: Any) -> dict[str, Any]:
    """All that an answer says, but for what differs between any two sessions."""
    metadata = {field.name: value for field, value in answer.session_metadata.ListFields()}
    said = {name: value for name, value in metadata.items() if name not in {"session_id", "e164"}}
    error = (answer.error.type, answer.error.may_retry, answer.error.retry_after_seconds)
    return {**said, "error": error if answer.HasField("error") else None}


def test_an_invited_person_registers_and_the_code_works_once(service: Service, client: Client, key: str) -> None:
    invited = service.secret.invite(CODE)
    assert client.register(invited, key, CODE)
    assert not client.register(invited, f"{key} 2", CODE)
    told = service.told(invited)
    assert (told["state"], told["wrong"]) == ("used", 1)
    assert time.time() - 60 < told["since"] <= time.time()


def test_a_wrong_code_is_no_error_and_the_right_one_still_counts(service: Service, client: Client, key: str) -> None:
    session = client.ready(service.secret.invite(CODE), key)
    wrong = client.check(session, WRONG)
    assert not wrong.HasField("error")
    assert not wrong.session_metadata.verified
    assert wrong.session_metadata.may_check_code
    assert client.check(session, CODE).session_metadata.verified


def test_a_number_without_an_invitation_is_never_verified(client: Client, key: str) -> None:
    assert not client.register(number(), key, CODE)
    assert not client.register(number(), key, "000000")


def test_uninvited_numbers_are_answered_as_invited_ones(service: Service, client: Client, key: str) -> None:
    """Every answer of a whole session until no code may be checked, for each kind of number that must not tell."""
    exists = service.secret.invite(CODE)
    kinds = {
        "uninvited": (number(), False),
        "invited": (service.secret.invite(CODE), False),
        "account exists": (exists, True),
        "expired": (service.secret.invite(CODE, seconds=-1), False),
        "two codes": (service.secret.invite(CODE + WRONG), False),
    }
    said = {}
    for kind, (of, has_account) in kinds.items():
        created = client.create(of, f"{key} {kind}", exists=has_account)
        session = created.session_metadata.session_id
        answers = [created, client.get(session), client.check(session, WRONG), client.send(session, VOICE)]
        answers += [client.send(session), client.send(session)]
        answers += [client.check(session, WRONG) for _ in range(4)]
        said[kind] = [shown(each) for each in [*answers, client.get(session)]]
    for kind, mine in said.items():
        for one, other in zip(mine, said["uninvited"], strict=True):
            waits = {name for name in one if name.endswith("_seconds")}
            assert {**one, **dict.fromkeys(waits)} == {**other, **dict.fromkeys(waits)}, kind
            assert all(abs(one[name] - other[name]) <= 2 for name in waits), kind
    errors = [answer["error"] and answer["error"][0] for answer in said["uninvited"]]
    sends = [NO_CODE_SENT, TRANSPORT_NOT_ALLOWED, None, SEND_RATE_LIMITED]
    assert errors == [None, None, *sends, None, None, CHECK_RATE_LIMITED, CHECK_RATE_LIMITED, None]


def test_a_number_with_an_account_needs_an_invitation_that_says_so(service: Service, client: Client, key: str) -> None:
    assert not client.register(service.secret.invite(CODE), key, CODE, exists=True)
    assert client.register(service.secret.invite(CODE, again=True), key, CODE, exists=True)


def test_an_invitation_counts_without_a_restart_and_no_longer_when_it_is_revoked(
    service: Service, client: Client, key: str
) -> None:
    invited = number()
    assert not client.register(invited, key, CODE)
    service.secret.put(invited, invitation(CODE))
    session = client.ready(invited, key)
    service.secret.remove(invited)
    assert not client.check(session, CODE).session_metadata.verified
    service.secret.put(invited, invitation(CODE))
    assert client.check(session, CODE).session_metadata.verified


def test_an_expired_invitation_verifies_nobody(service: Service, client: Client, key: str) -> None:
    invited = service.secret.invite(CODE, seconds=-1)
    assert not client.register(invited, key, CODE)
    assert service.told(invited)["state"] == "expired"


def test_two_codes_are_typed_one_after_the_other(service: Service, client: Client, key: str) -> None:
    first, second = "111111", "222222"
    invited = service.secret.invite(first + second)
    session = client.ready(invited, key)
    assert not client.check(session, second).session_metadata.verified
    assert not client.check(session, first).session_metadata.verified  # the wrong order
    session = client.ready(invited, f"{key} 2")
    assert not client.check(session, first).session_metadata.verified
    assert client.check(session, second).session_metadata.verified


@pytest.mark.parametrize("code", ["", "12345", "1234567", "12 456", "１２３４５６", "abcdef", "9" * 4000])
def test_what_is_no_code_is_a_wrong_one(service: Service, client: Client, key: str, code: str) -> None:
    session = client.ready(service.secret.invite(CODE), key)
    answer = client.check(session, code)
    assert not answer.HasField("error")
    assert not answer.session_metadata.verified


@pytest.mark.parametrize("digits", [0, 123456, 10**15, 2**64 - 1])
def test_what_is_no_number_is_refused(client: Client, key: str, digits: int) -> None:
    answer = client.create(str(digits), key)
    assert (answer.error.type, answer.error.may_retry) == (ILLEGAL_PHONE_NUMBER, False)


@pytest.mark.parametrize("session", [b"", b"x", b"\0" * 16, b"y" * 5000])
def test_an_unknown_session_is_told_so(client: Client, session: bytes) -> None:
    assert client.get(session).error.type == NOT_FOUND
    assert client.send(session).error.type == SEND_NOT_FOUND
    assert client.check(session, CODE).error.type == CHECK_NOT_FOUND


def test_a_verified_session_stays_so(service: Service, client: Client, key: str) -> None:
    session = client.ready(service.secret.invite(CODE), key)
    assert client.check(session, CODE).session_metadata.verified
    again = client.check(session, WRONG)
    assert again.session_metadata.verified
    assert not again.HasField("error")
    assert client.send(session).error.type == ALREADY_VERIFIED
    assert client.get(session).session_metadata.expiration_seconds > 3000


def test_one_of_many_who_type_the_right_code_at_once_is_verified(service: Service, client: Client, key: str) -> None:
    invited = service.secret.invite(CODE)
    sessions = [client.ready(invited, f"{key} {one}") for one in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda session: client.check(session, CODE), sessions))
    assert sum(answer.session_metadata.verified for answer in answers) == 1


def test_one_session_checks_one_code_at_a_time(service: Service, client: Client, key: str) -> None:
    session = client.ready(service.secret.invite(CODE, cost={"n": 16384, "r": 8, "p": 1}), key)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.check(session, WRONG), range(8)))
    refused = [answer.error for answer in answers if answer.HasField("error")]
    assert 1 <= 8 - len(refused) <= 2
    assert {(error.type, error.may_retry) for error in refused} == {(CHECK_RATE_LIMITED, True)}


def test_sessions_of_one_client_are_limited(client: Client, key: str) -> None:
    answers = [client.create(number(), key) for _ in range(21)]
    assert [answer.HasField("error") for answer in answers] == [False] * 20 + [True]
    error = answers[-1].error
    assert (error.type, error.may_retry, 0 < error.retry_after_seconds <= 30) == (RATE_LIMITED, True, True)
    assert not client.create(number(), f"{key} 2").HasField("error")


def test_guesses_of_one_client_are_limited_over_its_sessions(client: Client, key: str) -> None:
    """Three in each session, until there are 30; and six for one number."""
    tried = 0
    refused = None
    while refused is None:
        session = client.ready(number(), key)
        for _ in range(2):
            answer = client.check(session, WRONG)
            refused = answer.error if answer.HasField("error") else None
            tried += refused is None
        if tried > 30:
            break
        if tried == 30:
            session = client.ready(number(), f"{key} 2")
            assert not client.check(session, WRONG).HasField("error")
    assert tried == 30
    assert refused is not None
    assert (refused.type, refused.may_retry, 0 < refused.retry_after_seconds <= 120) == (CHECK_RATE_LIMITED, True, True)


def attack(client: Client, invited: str, key: str, guesses: int) -> None:
    """Wrong codes of as many client keys as it takes: two in a session, six for a key."""
    for one in range(0, guesses, 2):
        session = client.ready(invited, f"{key} {one // 6}")
        for _ in range(min(2, guesses - one)):
            assert not client.check(session, WRONG).HasField("error")


def test_an_attacked_invitation_is_told_then_locked_and_a_pair_of_codes_mends_it(
    service: Service, client: Client, key: str
) -> None:
    invited = service.secret.invite(CODE)
    before = service.metric('registration_invitations{state="attacked"}')
    attack(client, invited, key, ATTACK)
    assert service.told(invited)["state"] == "attacked"
    assert service.metric('registration_invitations{state="attacked"}') == before + 1
    attack(client, invited, f"{key} 2", BUDGET - ATTACK)
    told = service.told(invited)
    assert (told["state"], told["wrong"]) == ("locked", BUDGET)
    assert not client.register(invited, f"{key} 3", CODE)
    events = [event["event"] for event in service.events()]
    assert "invitation attacked" in events
    assert "invitation locked" in events
    service.secret.put(invited, invitation("111111222222"))
    session = client.ready(invited, f"{key} 4")
    client.check(session, "111111")
    assert client.check(session, "222222").session_metadata.verified


def test_the_last_guess_of_the_budget_counts_and_the_next_does_not(tmp_path: Path, key: str) -> None:
    """Over a restart, without which a stranger who can crash the pod would have a new budget each time."""
    with running(tmp_path) as service, Client(service.port) as client:
        last, over = service.secret.invite(CODE), service.secret.invite(CODE)
        attack(client, last, key, BUDGET - 1)
        attack(client, over, f"{key} 2", BUDGET - 1)
        service.process.kill()
    with running(tmp_path, secret=service.secret) as service, Client(service.port) as client:
        attack(client, over, f"{key} 3", 1)
        assert not client.register(over, f"{key} 4", CODE)
        assert client.register(last, f"{key} 5", CODE)


def test_what_a_killed_program_finds_again(tmp_path: Path, key: str) -> None:
    with running(tmp_path) as service, Client(service.port) as client:
        invited = service.secret.invite(CODE)
        open_session, verified = client.ready(number(), key), client.ready(invited, key)
        assert client.check(verified, CODE).session_metadata.verified
        service.process.kill()
    with running(tmp_path, secret=service.secret) as service, Client(service.port) as again:
        again.numbers.update(client.numbers)
        metadata = again.get(verified).session_metadata
        assert (metadata.verified, metadata.e164) == (True, int(invited))
        assert again.get(open_session).error.type == NOT_FOUND
        assert not again.register(invited, key, CODE)
        assert service.told(invited)["state"] == "used"


def test_a_state_that_cannot_be_written_verifies_nobody_until_it_can(tmp_path: Path, key: str) -> None:
    """The limit is of the process: its journal is longer than its log here."""
    (tmp_path / "state").mkdir()
    records = [f'{{"type":"used","name":"{one:032x}","since":1700000000,"until":9999999998}}' for one in range(200)]
    lines = [f"{zlib.crc32(record.encode()):08x} {record}\n" for record in records]
    (tmp_path / "state" / "journal").write_text("".join(lines))
    with running(tmp_path) as service, Client(service.port) as client:
        invited = service.secret.invite(CODE)
        session = client.ready(invited, key)
        size = (service.state / "journal").stat().st_size
        limits = resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (size + 10, resource.RLIM_INFINITY))
        for _ in range(2):
            with pytest.raises(grpc.RpcError) as refused:
                client.check(session, CODE)
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        status, problem = service.page("/readyz")
        assert (status, "the state cannot be written" in problem) == (503, True)
        assert service.page("/livez")[0] == 200
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, limits)
        assert service.page("/readyz")[0] == 200
        assert service.told(invited)["wrong"] == 0
        assert client.check(session, CODE).session_metadata.verified


def test_a_line_that_a_loss_of_power_cut_off_is_dropped(tmp_path: Path, key: str) -> None:
    with running(tmp_path) as service, Client(service.port) as client:
        invited = service.secret.invite(CODE)
        assert client.register(invited, key, CODE)
        service.process.kill()
    with (tmp_path / "state" / "journal").open("ab") as file:
        file.write(b'0badcafe {"type":"att')
    with running(tmp_path, secret=service.secret) as service:
        assert service.told(invited)["state"] == "used"


def test_a_damaged_state_is_no_fresh_start(tmp_path: Path, key: str) -> None:
    with running(tmp_path) as service, Client(service.port) as client:
        assert client.register(service.secret.invite(CODE), key, CODE)
        assert not client.register(number(), key, CODE)
        service.process.kill()
    journal = tmp_path / "state" / "journal"
    content = journal.read_bytes()
    journal.write_bytes(content.replace(b'"count":1', b'"count":0', 1))
    done = subprocess.run(flags(service.secret, service.state), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "line 1 of the journal is damaged" in done.stderr
    assert "revoke all invitations" in done.stderr
    assert journal.read_bytes() == content.replace(b'"count":1', b'"count":0', 1)


def test_files_that_are_no_invitations_are_told_and_do_no_harm(tmp_path: Path, key: str) -> None:
    with running(tmp_path) as service, Client(service.port) as client:
        good = invitation(CODE)
        bad = [
            *("", "{", "[]", "null", {**good, "version": 2}, {**good, "id": "x"}, {**good, "salt": "AAAA"}),
            *({**good, "scrypt": {"n": 2**30, "r": 8, "p": 1}}, {**good, "scrypt": None}, {**good, "codes": 3}),
            {**good, "expires": "tomorrow"},
        ]
        broken = [number() for _ in bad]
        for of, value in zip(broken, bad, strict=True):
            service.secret.put(of, value)
        service.secret.put("README", "text")
        invited = service.secret.invite(CODE)
        assert client.register(invited, key, CODE)
        assert not any(client.register(of, f"{key} {of}", CODE) for of in broken)
        assert service.metric("registration_invitations_malformed") == len(bad) + 1


def test_the_invitations_are_shown_to_the_pod_itself_alone(service: Service, client: Client, key: str) -> None:
    """What a port-forward reaches is the pod's own loopback address; another client of the port sees no numbers."""
    invited = service.secret.invite(CODE)
    assert service.told(invited)["state"] == "waiting"
    connection = http.client.HTTPConnection("127.0.0.1", service.health, timeout=10, source_address=("127.0.0.9", 0))
    connection.request("GET", "/invitations")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (404, b"not found\n")
    metrics = service.page("/metrics")[1]
    assert invited not in metrics
    assert 'registration_invitations{state="waiting"}' in metrics


def test_no_log_has_a_number_a_code_or_a_key(tmp_path: Path) -> None:
    key = "a-key-of-a-client"
    with running(tmp_path) as service, Client(service.port) as client:
        invited, uninvited = service.secret.invite(CODE), number()
        attack(client, invited, key, BUDGET)
        client.register(invited, f"{key} 99", CODE)
        client.register(uninvited, f"{key} 99", CODE)
        service.process.terminate()
        service.process.wait(20)
        log = service.process.text()
        value = json.loads(service.secret.entries[invited])
    assert "invitation locked" in log
    for secret in (invited, uninvited, CODE, WRONG, key, value["hash"], value["salt"], value["id"]):
        assert secret not in log


def test_flags_that_cannot_be_right_are_told(tmp_path: Path) -> None:
    given, short = tmp_path / "secret", tmp_path / "short"
    given.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    short.write_text("short\n")
    secret = Secret(tmp_path / "invitations")
    secret.mount()
    with_key, with_short_key = f"--webhook-secret-file={given}", f"--webhook-secret-file={short}"
    wrong = [
        (("--invitations=/nonexistent",), "--invitations is not a directory"),
        (("--state=/nonexistent",), "--state is not a directory"),
        (("--webhook=https://sms.example.org/",), "--webhook-secret-file is missing"),
        (("--webhook=ftp://sms.example.org/", with_key), "--webhook must be a URL"),
        (("--webhook=https://a:b@sms.example.org/", with_key), "--webhook must have no user name and no password"),
        (("--webhook=https://sms.example.org/", with_short_key), "--webhook-secret-file must hold a key of 16 bytes"),
    ]
    starts = [(flags(secret, tmp_path, *more)[2:], says) for more, says in wrong]
    all_refused(PROGRAM, starts, secrets=["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "short\n"])
