"""Registration whose codes the operator's own gateway delivers."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.lab.process import slowness
from tests.lab.served import Handler, serving
from tests.programs.modules import HURRIED
from tests.programs.registration import Service, invitation, number, running
from tests.programs.registration_contract import (
    CHECK_RATE_LIMITED,
    SEND_RATE_LIMITED,
    SENDER_REJECTED,
    SMS,
    TRANSPORT_NOT_ALLOWED,
    VOICE,
    Client,
)

KEY = b"a key of a test, 24 byte"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
BUDGET = 50


@dataclass
class Gateway:
    """Takes messages as an operator's gateway does: it believes the signature alone."""

    port: int = 0
    statuses: list[int] = field(default_factory=list)
    """What it answers first; then 204."""
    messages: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    hangs: float = 0

    def code(self, of: str) -> str:
        return next(message["code"] for message in reversed(self.messages) if message["number"] == f"+{of}")


def signed(headers: Any, body: bytes) -> bool:
    """As the specification of Standard Webhooks says."""
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(KEY, content, hashlib.sha256)).decode()
    fresh = abs(time.time() - int(headers["webhook-timestamp"])) < 300
    return fresh and hmac.compare_digest(headers["webhook-signature"], expected)


@contextmanager
def listening(gateway: Gateway) -> Iterator[Gateway]:
    class Answers(Handler):
        def answer(self) -> None:
            body = self.taken()
            time.sleep(gateway.hangs)
            status = 401
            if signed(self.headers, body) and self.headers["content-type"] == "application/json":
                status = gateway.statuses.pop(0) if gateway.statuses else 204
                gateway.ids.append(self.headers["webhook-id"])
            if status == 204:
                gateway.messages.append(json.loads(body))
            self.reply(status, **({"Location": "/elsewhere"} if status == 307 else {}))

    with serving(Answers) as gateway.port:
        yield gateway


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with listening(Gateway()) as gateway:
        yield gateway


def webhook(folder: Path, gateway: Gateway) -> tuple[str, str]:
    """The flags of who sends codes to the gateway."""
    (folder / "secret").write_text(f"{SECRET}\n")
    return f"--webhook=http://127.0.0.1:{gateway.port}/messages", f"--webhook-secret-file={folder / 'secret'}"


@pytest.fixture(scope="module")
def service(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("registration")
    with running(folder, *webhook(folder, gateway)) as service:
        yield service


def test_a_person_registers_with_the_code_that_the_gateway_delivers(client: Client, gateway: Gateway, key: str) -> None:
    of = number()
    session = client.ready(of, key)
    message = gateway.messages[-1]
    assert message == {"number": f"+{of}", "code": gateway.code(of), "language": "de-DE", "channel": "sms"}
    assert (len(message["code"]), message["code"].isdigit()) == (6, True)
    wrong = f"{(int(message['code']) + 1) % 10**6:06}"
    assert not client.check(session, wrong).session_metadata.verified
    assert client.check(session, message["code"]).session_metadata.verified


def test_codes_differ_between_sessions_and_count_in_their_own_alone(client: Client, gateway: Gateway, key: str) -> None:
    of = number()
    first = client.ready(of, key)
    code = gateway.code(of)
    second = client.ready(of, f"{key} 2")
    assert gateway.code(of) != code
    assert not client.check(second, code).session_metadata.verified
    assert client.check(first, code).session_metadata.verified


def test_a_call_is_offered_a_minute_after_the_message(client: Client, key: str) -> None:
    session = client.create(number(), key).session_metadata.session_id
    assert client.send(session, VOICE).error.type == TRANSPORT_NOT_ALLOWED
    metadata = client.send(session, SMS).session_metadata
    assert metadata.may_request_voice_call
    assert 50 <= metadata.next_voice_call_seconds <= 60
    assert client.send(session, VOICE).error.type == SEND_RATE_LIMITED


@pytest.mark.parametrize(
    ("statuses", "tries", "retry"),
    [([400], 1, False), ([404], 1, False), ([307], 1, False), ([500] * 3, 3, True), ([429] * 3, 3, True)],
)
def test_what_the_gateway_does_not_take_is_told(
    client: Client, gateway: Gateway, key: str, statuses: list[int], tries: int, retry: bool
) -> None:
    gateway.statuses[:] = statuses
    before = len(gateway.ids)
    session = client.create(number(), key).session_metadata.session_id
    error = client.send(session).error
    assert (error.type, error.may_retry) == (SENDER_REJECTED, retry)
    assert len(gateway.ids) - before == tries
    assert len(set(gateway.ids[before:])) == 1
    assert not client.send(session).HasField("error")  # the refusal cost the session nothing


def test_a_gateway_that_fails_once_is_asked_again(client: Client, gateway: Gateway, key: str) -> None:
    gateway.statuses[:] = [503]
    of = number()
    assert client.check(client.ready(of, key), gateway.code(of)).session_metadata.verified


def test_a_gateway_that_hangs_is_given_up_before_whispers_deadline(tmp_path: Path, key: str) -> None:
    """A second is a fifth of one here, for the program and for Whisper."""
    with (
        listening(Gateway(hangs=3)) as gateway,
        running(tmp_path, *webhook(tmp_path, gateway), node=HURRIED) as service,
        Client(service.port) as client,
    ):
        session = client.create(number(), key).session_metadata.session_id
        began = time.monotonic()
        error = client.send(session).error
        assert time.monotonic() - began < 3 * slowness()
    assert (error.type, error.may_retry) == (SENDER_REJECTED, True)


def test_messages_to_one_number_are_limited(client: Client, gateway: Gateway, key: str) -> None:
    of = number()
    before = len(gateway.messages)
    answers = [client.send(client.create(of, f"{key} {one}").session_metadata.session_id) for one in range(6)]
    assert [answer.HasField("error") for answer in answers] == [False] * 5 + [True]
    assert answers[-1].error.type == SEND_RATE_LIMITED
    assert 0 < answers[-1].error.retry_after_seconds <= 900
    assert len(gateway.messages) - before == 5


def test_wrong_codes_for_one_number_are_limited_over_sessions_and_an_invitation_mends_it(
    tmp_path: Path, gateway: Gateway, key: str
) -> None:
    """Over a restart, too: the count is on the volume. Each message permits a few guesses only."""
    more = webhook(tmp_path, gateway)
    of, other = number(), number()
    with running(tmp_path, *more) as service, Client(service.port) as client:
        guesses = 0
        for one in range(5):
            session = client.ready(of, f"{key} {one}")
            for _ in range(2):
                guesses += not client.check(session, "wrong!").HasField("error")
        assert guesses == 10
        assert "number attacked" in [event["event"] for event in service.events()]
        service.process.kill()
    journal = tmp_path / "state" / "journal"
    line = journal.read_bytes().splitlines(keepends=True)[-1]
    journal.write_bytes(journal.read_bytes() + line * (BUDGET - guesses))  # as many more, of other days
    with running(tmp_path, *more, secret=service.secret) as service, Client(service.port) as client:
        session = client.ready(of, key)
        error = client.check(session, gateway.code(of)).error
        assert (error.type, error.may_retry) == (CHECK_RATE_LIMITED, True)
        assert error.retry_after_seconds > 6 * 86_400
        session = client.ready(other, key)
        assert client.check(session, gateway.code(other)).session_metadata.verified
        sent = len(gateway.messages)
        service.secret.put(of, invitation("123456"))
        assert client.register(of, f"{key} again", "123456")
        assert len(gateway.messages) == sent


def test_no_log_has_a_number_or_a_code(service: Service, client: Client, gateway: Gateway, key: str) -> None:
    gateway.statuses[:] = [400]
    of = number()
    session = client.create(of, key).session_metadata.session_id
    client.send(session)
    client.send(session)
    code = gateway.code(of)
    assert client.check(session, code).session_metadata.verified
    log = service.process.text()
    assert "message not sent" in log
    for secret in (of, code, key, SECRET, KEY.decode()):
        assert secret not in log
