"""Registration's gRPC: whatever comes, the program answers, says what was wrong, and goes on."""

import json
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.lab.node import NODE
from tests.programs.registration import Service, invitation, number, running
from tests.programs.registration_contract import CLASSES, METHODS, Client, path, understood

CODE, WRONG = "123456", "654321"
SLOW = {"n": 65536, "r": 8, "p": 1}

# Sends bodies as they are to one path each, over one connection; prints the statuses of HTTP and of gRPC.
SENDER = """
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
const [port, cases] = JSON.parse(readFileSync(0));
const session = http2.connect(`http://127.0.0.1:${port}`);
const one = ({ headers, body }) => new Promise((resolve) => {
  const stream = session.request({ ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers', ...headers });
  const seen = {};
  const note = (found) => Object.assign(seen, found);
  stream.on('response', note).on('trailers', note).on('data', () => {}).on('error', () => {});
  stream.on('close', () => resolve([seen[':status'], seen['grpc-status'] ?? null]));
  stream.end(Buffer.from(body, 'hex'));
});
const answers = [];
for (const each of cases) answers.push(await one(each));
console.log(JSON.stringify(answers));
session.close();
"""


def alive(service: Service, client: Client) -> bool:
    return service.process.running() and client.register(service.secret.invite(CODE), f"alive {number()}", CODE)


def answered(client: Client, method: str, body: bytes) -> Any:
    """The answer, in a form that Whisper understands, or None where the bytes were refused as malformed."""
    call = client.channel.unary_unary(path(method)).future(body, timeout=15)
    if call.code() == grpc.StatusCode.INVALID_ARGUMENT:
        return None
    answer = CLASSES[METHODS[method][1]].FromString(call.result())
    understood(method, answer, None)
    return answer


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(method=st.sampled_from(list(METHODS)), body=st.binary(max_size=200))
def test_random_bytes_are_answered(service: Service, client: Client, method: str, body: bytes) -> None:
    request = CLASSES[METHODS[method][0]]
    answer = answered(client, method, body)
    try:
        request.FromString(body)
        malformed = False
    except DecodeError:
        malformed = True
    assert malformed == (answer is None)
    assert service.process.running()


@pytest.mark.parametrize(
    "body",
    [
        b"\x08" + b"\x80" * 10 + b"\x01",  # a number of 11 bytes
        b"\x08\x80",  # one that is cut off
        b"\x1a\x02\xff\xfe",  # a key that is not UTF-8
        b"\x1a\x05abc",  # one that is cut off
        b"\x00\x01",  # a field without a number
        b"\x0b\x14",  # a group that another one ends
        b"\x0c",  # the end of none
        b"\x0f\x00",  # no wire type
    ],
)
def test_malformed_messages_are_refused_as_protobuf_refuses_them(service: Service, client: Client, body: bytes) -> None:
    with pytest.raises(DecodeError):
        CLASSES["CreateRegistrationSessionRequest"].FromString(body)
    assert answered(client, "CreateSession", body) is None


@pytest.mark.parametrize("body", [b"\x0b\x0b\x0c\x0c", b"\x0a\x01x", b"\x18\x01", b"\x25abcd", b"\xf9\x7f12345678"])
def test_fields_of_another_kind_are_skipped_as_protobuf_skips_them(
    service: Service, client: Client, body: bytes
) -> None:
    good = CLASSES["CreateRegistrationSessionRequest"](e164=12025550100, rate_limit_collation_key=f"skip {body.hex()}")
    answer = answered(client, "CreateSession", good.SerializeToString() + body)
    assert answer is not None
    assert answer.session_metadata.e164 == 12025550100


FIELDS = st.fixed_dictionaries(
    {"e164": st.integers(0, 2**64 - 1)},
    optional={
        "account_exists_with_e164": st.booleans(),
        "rate_limit_collation_key": st.text(max_size=40),
        "mcc": st.text(max_size=40),
    },
)


@settings(max_examples=100, deadline=None)
@given(fields=FIELDS, unknown=st.binary(max_size=30), cut=st.integers(0, 60))
def test_messages_are_read_as_protobuf_reads_them(
    service: Service, client: Client, fields: dict[str, Any], unknown: bytes, cut: int
) -> None:
    request = CLASSES["CreateRegistrationSessionRequest"]
    body = request(**fields).SerializeToString()
    body = body[: max(len(body) - cut, 0)] if cut > 30 else body + unknown
    answer = answered(client, "CreateSession", body)
    try:
        read = request.FromString(body)
    except DecodeError:
        assert answer is None
        return
    assert answer is not None
    if answer.HasField("session_metadata"):
        assert answer.session_metadata.e164 == read.e164


def framed(body: bytes, flags: int = 0, length: int | None = None) -> str:
    return (bytes([flags]) + (len(body) if length is None else length).to_bytes(4, "big") + body).hex()


def test_frames_and_headers_that_are_wrong_have_the_status_of_grpc(service: Service, client: Client) -> None:
    create = {":path": path("CreateSession")}
    good = CLASSES["CreateRegistrationSessionRequest"](e164=12025550100).SerializeToString()
    cases = {
        "good": (create, framed(good), [200, "0"]),
        "with the format's name": ({**create, "content-type": "application/grpc+proto"}, framed(good), [200, "0"]),
        "unknown method": ({":path": path("Nothing")}, framed(good), [200, "12"]),
        "unknown service": ({":path": "/other/CreateSession"}, framed(good), [200, "12"]),
        "no message": (create, "", [200, "13"]),
        "cut off": (create, framed(good, length=len(good) + 1), [200, "13"]),
        "two messages": (create, framed(good) * 2, [200, "13"]),
        "compressed by nothing": (create, framed(good, flags=1), [200, "13"]),
        "compressed": ({**create, "grpc-encoding": "gzip"}, framed(good, flags=1), [200, "12"]),
        "unknown flags": (create, framed(good, flags=2), [200, "13"]),
        "says that it is large": (create, framed(good, length=2**32 - 1), [200, "8"]),
        "is large": (create, framed(b"\n" * 2**20), [200, "8"]),
        "malformed": (create, framed(b"\x0b"), [200, "3"]),
        "bad timeout": ({**create, "grpc-timeout": "soon"}, framed(good), [200, "13"]),
        "not gRPC": ({**create, "content-type": "application/json"}, b"{}".hex(), [415, None]),
        "GET": ({**create, ":method": "GET"}, "", [405, None]),
        "good again": (create, framed(good), [200, "0"]),
    }
    sent = json.dumps([service.port, [{"headers": headers, "body": body} for headers, body, _ in cases.values()]])
    command = [NODE, "--input-type=module", "-e", SENDER]
    done = subprocess.run(command, input=sent, capture_output=True, text=True, timeout=60, check=True)
    answers = dict(zip(cases, json.loads(done.stdout), strict=True))
    assert answers == {name: status for name, (_, _, status) in cases.items()}
    assert alive(service, client)


@pytest.mark.parametrize("size", [20_000, 4 * 2**20])
def test_a_large_message_is_refused(service: Service, client: Client, size: int) -> None:
    body = CLASSES["CheckVerificationCodeRequest"](session_id=b"x", verification_code="1" * size).SerializeToString()
    with pytest.raises(grpc.RpcError) as refused:
        client.raw(path("CheckVerificationCode"), body)
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert alive(service, client)


def test_a_compressed_message_is_refused_with_what_is_supported(service: Service, client: Client) -> None:
    body = CLASSES["CheckVerificationCodeRequest"](verification_code="1" * 5000).SerializeToString()
    with pytest.raises(grpc.RpcError) as refused:
        client.raw(path("CheckVerificationCode"), body, compression=grpc.Compression.Gzip)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert alive(service, client)


def test_an_idle_client_connects_again(service: Service) -> None:
    """gRPC's least time of idleness is a second; Whisper's is a minute."""
    with Client(service.port) as client:
        client.channel.close()
        options = [("grpc.client_idle_timeout_ms", 1000), ("grpc.use_local_subchannel_pool", 1)]
        client.channel = grpc.insecure_channel(f"127.0.0.1:{service.port}", options)
        for pause in (0, 2.5, 2.5):
            time.sleep(pause)
            assert client.register(service.secret.invite(CODE), f"idle {number()}", CODE)


def test_callers_who_leave_in_the_middle_do_no_harm(service: Service, client: Client) -> None:
    """Some before the answer, and many connections that say nothing or nonsense."""
    invited = number()
    service.secret.put(invited, invitation(CODE, cost=SLOW))
    sessions = [client.ready(invited, f"leaver {one} {invited}") for one in range(12)]
    check = CLASSES["CheckVerificationCodeRequest"]
    for session in sessions:
        body = check(session_id=session, verification_code=WRONG).SerializeToString()
        call = client.channel.unary_unary(path("CheckVerificationCode")).future(body, timeout=15)
        time.sleep(0.02)
        call.cancel()
    for nonsense in (b"", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100):
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(nonsense)
    assert alive(service, client)


def test_too_many_checks_are_sent_away_before_whispers_deadline(tmp_path: Path) -> None:
    """Each answer comes within Whisper's 15 s, and those who are sent away are told when to come again."""
    with running(tmp_path) as service, Client(service.port) as client:
        invited = service.secret.invite(CODE)
        sessions = [client.ready(invited, f"many {one}") for one in range(300)]

        def check(session: bytes) -> tuple[Any, float]:
            began = time.monotonic()
            return client.check(session, WRONG), time.monotonic() - began

        with ThreadPoolExecutor(len(sessions)) as pool:
            answers = list(pool.map(check, sessions))
        away = [answer.error for answer, _ in answers if answer.HasField("error")]
        assert 0 < len(away) < len(sessions)
        assert all(error.may_retry and 5 <= error.retry_after_seconds <= 60 for error in away)
        assert max(seconds for _, seconds in answers) < 15


def test_sigterm_ends_what_is_under_way_and_then_the_program(tmp_path: Path) -> None:
    """Who comes too late is told at once, as Whisper's client needs it to try again; nobody else loses an answer."""
    with running(tmp_path) as service, Client(service.port) as client:
        invited = number()
        service.secret.put(invited, invitation(CODE, cost=SLOW))
        sessions = [client.ready(number(), f"end {one}") for one in range(6)]
        calls = [(client.ready(invited, "end"), CODE), *((session, WRONG) for session in sessions)]
        request, response = (CLASSES[name] for name in METHODS["CheckVerificationCode"])
        method = client.channel.unary_unary(path("CheckVerificationCode"))
        bodies = [request(session_id=session, verification_code=code).SerializeToString() for session, code in calls]
        pending = [method.future(body, timeout=15) for body in bodies]
        time.sleep(0.2)
        done_before = sum(one.done() for one in pending)
        service.process.terminate()
        answers = [response.FromString(one.result()) for one in pending if one.code() == grpc.StatusCode.OK]
        late = [one.code() for one in pending if one.code() != grpc.StatusCode.OK]
        assert set(late) <= {grpc.StatusCode.UNAVAILABLE}
        assert len(answers) > done_before
        assert answers[0].session_metadata.verified
        assert service.process.wait(20) == 0
        assert service.events()[-1]["event"] == "stopped"


def test_sigterm_does_not_wait_for_idle_connections(tmp_path: Path) -> None:
    with running(tmp_path) as service, Client(service.port) as client:
        client.ready(number(), "idle")
        began = time.monotonic()
        service.process.terminate()
        assert service.process.wait(10) == 0
        assert time.monotonic() - began < 8
