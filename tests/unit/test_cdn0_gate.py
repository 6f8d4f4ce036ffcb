"""The CDN0 gate, as the very program that is shipped, in front of a recording upstream."""

import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import botocore.session
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.programs import CDN0_GATE
from config.schema.objects import CDN0_KEYS, MIB
from tests.programs.cdn0_forms import (
    BOUNDARY,
    Request,
    Signer,
    form,
    multipart,
    post,
    receive,
    send,
    signature,
    text_part,
)
from tests.programs.cdn0_upstream import Received, RecordingS3, recording_s3
from tests.programs.cdn0_vectors import FILE, MANIFEST, OTHER_PROFILE, PROFILE, STORED, VECTORS, Vector, profile
from tests.programs.gate import (
    BUCKET,
    PROGRAM,
    RETURNED,
    SITE,
    STORAGE,
    WHISPER,
    Gate,
    arguments,
    configuration,
    credentials,
    good,
    identity,
    read,
    running,
    try_vector,
    until,
)
from tests.programs.starts import all_refused

SIGNED = {"host", "connection", "authorization", "x-amz-date", "x-amz-content-sha256"}
FORWARDED = {
    "PUT": {*SIGNED, "content-type", "content-length"},
    "GET": {*SIGNED, "range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"},
    "DELETE": SIGNED,
}
FORWARDED["HEAD"] = FORWARDED["GET"]


@pytest.fixture(scope="module")
def upstream_server() -> Iterator[RecordingS3]:
    with recording_s3(BUCKET) as s3:
        yield s3


@pytest.fixture
def upstream(upstream_server: RecordingS3) -> RecordingS3:
    upstream_server.reset()
    return upstream_server


@pytest.fixture(scope="module")
def gate(upstream_server: RecordingS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with running(tmp_path_factory.mktemp("gate"), configuration(upstream_server.port)) as gate:
        yield gate
        assert gate.send(good()).status == 204, "it still works after all that"
        assert gate.process.poll() is None


@pytest.fixture(scope="module")
def hasty(upstream_server: RecordingS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gate with little patience and few connections."""
    config = configuration(
        upstream_server.port,
        connections=20,
        client_forms=3,
        header_seconds=1,
        form_seconds=2,
        request_seconds=3,
        bytes_per_second=1000,
        progress_seconds=1,
        reading_seconds=1,
        upstream_seconds=1,
        linger_seconds=1,
        idle_seconds=30,
    )
    with running(tmp_path_factory.mktemp("hasty"), config) as gate:
        yield gate


def assert_clean(requests: list[Received]) -> None:
    """Whatever a client sent, the upstream sees only requests that the gate made itself."""
    for seen in requests:
        assert seen.method in FORWARDED
        target = seen.target.replace("%3D", "=")
        assert re.fullmatch(rf"/{BUCKET}/({'|'.join(rule.pattern for rule in CDN0_KEYS)})", target)
        assert seen.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=gate/")
        assert set(seen.headers) <= FORWARDED[seen.method]


# ---- every vector ---------------------------------------------------------------------------------------------


def test_the_vectors_are_many_and_their_names_unique() -> None:
    assert len({vector.name for vector in VECTORS}) == len(VECTORS)
    assert sum(not vector.accepted for vector in VECTORS) >= 60
    assert sum(vector.accepted for vector in VECTORS) >= 20


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_vector(vector: Vector, gate: Gate, upstream: RecordingS3) -> None:
    reply = try_vector(vector, gate, upstream, "PUT")
    assert_clean(upstream.requests)
    if 400 <= reply.status < 500 and reply.status not in (417, 431) and reply.body:
        assert re.search(rb"^<\?xml .*\n<Error><Code>\w+</Code><Message>[^<]+</Message></Error>\n$", reply.body)


# ---- uploads --------------------------------------------------------------------------------------------------


def test_an_upload_is_stored_byte_for_byte(gate: Gate, upstream: RecordingS3) -> None:
    file = os.urandom(MIB + 17)
    reply = gate.send(good(file, content_type="image/jpeg; q=1"))
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["etag"] == f'"{hashlib.md5(file, usedforsecurity=False).hexdigest()}"'
    assert upstream.objects[PROFILE] == (file, "image/jpeg; q=1")
    assert upstream.requests[0].headers["content-length"] == str(len(file))


def test_an_upload_without_a_type_is_opaque_bytes(gate: Gate, upstream: RecordingS3) -> None:
    gate.send(good(content_type=""))
    assert upstream.objects[PROFILE][1] == "application/octet-stream"


@pytest.mark.parametrize("size", [1, 2, 3, 77, 65535, 65536, 65537])
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_an_upload_may_arrive_in_any_pieces(gate: Gate, upstream: RecordingS3, size: int, step: int) -> None:
    file = (b"\r\n--" * size)[:size]
    assert gate.send_in_pieces(good(file), step if size < 100 else step * 50).status == 204
    assert upstream.objects[PROFILE][0] == file


def test_botocore_signs_alike(gate: Gate, upstream: RecordingS3) -> None:
    client = botocore.session.Session().create_client(
        "s3",
        region_name=SITE.region,
        aws_access_key_id=WHISPER.access_key_id,
        aws_secret_access_key=WHISPER.secret_access_key,
        config=Config(signature_version="s3v4"),
    )
    presigned = client.generate_presigned_post(  # pyrefly: ignore[missing-attribute]
        BUCKET,
        PROFILE,
        {"acl": "private", "Content-Type": "image/png"},
        [{"acl": "private"}, ["starts-with", "$Content-Type", "image/"], ["content-length-range", 1, 9000]],
    )
    fields = presigned["fields"]
    day = fields["x-amz-date"][:8]
    ours = signature(WHISPER.secret_access_key, day, SITE.region, fields["policy"])
    assert fields["x-amz-signature"] == ours
    assert gate.send(post(SITE, multipart(fields, FILE))).status == 204
    assert upstream.objects[PROFILE] == (FILE, "image/png")


def test_a_form_expires_to_the_millisecond(gate: Gate, upstream: RecordingS3) -> None:
    request = good(lifetime=timedelta(seconds=1), decimals=9)
    assert gate.send(request).status == 204
    time.sleep(1.05)
    reply = gate.send(request)
    assert (reply.status, reply.code) == (403, "AccessDenied")
    assert b"expired" in reply.body


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("form: another policy under the signature", "SignatureDoesNotMatch"),
        ("form: access key that nobody has", "InvalidAccessKeyId"),
        ("form: expired a second ago", "AccessDenied"),
        ("form: condition of an unknown kind", "InvalidPolicyDocument"),
        ("form: larger than the policy allows", "EntityTooLarge"),
        ("form: empty file", "EntityTooSmall"),
        ("form: no file", "MalformedPOSTRequest"),
        ("framing: chunked", "MissingContentLength"),
        ("request: DELETE an object", "MethodNotAllowed"),
        ("GET what is missing", "NoSuchKey"),
        ("GET beyond the end", "InvalidRange"),
    ],
)
def test_refusals_carry_the_codes_of_s3(gate: Gate, upstream: RecordingS3, name: str, code: str) -> None:
    (vector,) = [vector for vector in VECTORS if vector.name == name]
    assert gate.send(vector.build(SITE)).code == code


def test_refusals_repeat_nothing_of_the_client(gate: Gate, upstream: RecordingS3) -> None:
    fields = {**profile(SITE).signed(), "x-amz-credential": "<script>/1/2/3/4"}
    reply = gate.send(post(SITE, multipart(fields, FILE)))
    assert b"script" not in reply.body
    assert reply.headers["content-type"] == "application/xml"
    assert reply.headers["x-content-type-options"] == "nosniff"


# ---- deletions ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deleting(upstream_server: RecordingS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gate where Whisper may delete profiles."""
    secrets = [{**credentials()[0], "deletes": ["profiles"]}, credentials()[1]]
    with running(tmp_path_factory.mktemp("deleting"), configuration(upstream_server.port), secrets) as gate:
        yield gate


def signed_delete(
    gate: Gate,
    key: str = PROFILE,
    signer: Signer = WHISPER,
    region: str = SITE.region,
    headers: dict[str, str] | None = None,
    method: str = "DELETE",
) -> Request:
    """As an AWS SDK signs it."""
    request = AWSRequest(
        method,
        f"http://127.0.0.1:{gate.port}/{BUCKET}/{key.replace('=', '%3D')}",
        headers={"amz-sdk-request": "attempt=1;  max=4", **(headers or {})},
    )
    S3SigV4Auth(Credentials(signer.access_key_id, signer.secret_access_key), "s3", region).add_auth(request)
    prepared = request.prepare()
    target = prepared.url.partition(str(gate.port))[2]
    return Request(method, target, tuple(prepared.headers.items()), host=f"127.0.0.1:{gate.port}")


def hand_signed(gate: Gate, *names: str) -> Request:
    """A deletion with a right signature over just these headers."""
    date = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    host = f"127.0.0.1:{gate.port}"
    payload = hashlib.sha256(b"").hexdigest()
    headers = {"host": host, "x-amz-content-sha256": payload, "x-amz-date": date}
    path = f"/{BUCKET}/{PROFILE.replace('=', '%3D')}"
    lines = "".join(f"{name}:{headers[name]}\n" for name in names)
    canonical = f"DELETE\n{path}\n\n{lines}\n{';'.join(names)}\n{payload}"
    scope = f"{date[:8]}/{SITE.region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signed = signature(WHISPER.secret_access_key, date[:8], SITE.region, text)
    credential = f"Credential={WHISPER.access_key_id}/{scope}"
    authorization = f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={';'.join(names)}, Signature={signed}"
    return Request("DELETE", path, (*headers.items(), ("Authorization", authorization)))


def test_the_holder_of_a_key_may_delete(deleting: Gate, upstream: RecordingS3) -> None:
    client = botocore.session.Session().create_client(
        "s3",
        region_name=SITE.region,
        endpoint_url=f"http://127.0.0.1:{deleting.port}",
        aws_access_key_id=WHISPER.access_key_id,
        aws_secret_access_key=WHISPER.secret_access_key,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )
    answer = client.delete_object(Bucket=BUCKET, Key=PROFILE)  # pyrefly: ignore[missing-attribute]
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert PROFILE not in upstream.objects
    assert deleting.send(signed_delete(deleting)).status == 204  # again: it is gone all the same
    plain = signed_delete(deleting)
    assert deleting.send(replace(plain, target=plain.target.replace("%3D", "="))).status == 204
    assert [seen.method for seen in upstream.requests] == ["DELETE"] * 3
    assert_clean(upstream.requests)
    upstream.status = 500
    assert deleting.send(signed_delete(deleting)).status == 502


def test_nobody_else_may_delete(deleting: Gate, gate: Gate, upstream: RecordingS3) -> None:
    good_one = signed_delete(deleting)
    tokens = dict(good_one.headers)

    def but(**changes: str | None) -> Request:
        named = {name.replace("_", "-"): value for name, value in changes.items()}
        kept = {name: value for name, value in tokens.items() if name.lower() not in {one.lower() for one in named}}
        return replace(good_one, headers=tuple({**kept, **{n: v for n, v in named.items() if v is not None}}.items()))

    authorization = tokens["Authorization"]
    wrong = {
        "unsigned": replace(good_one, headers=()),
        "another key": replace(good_one, target=f"/{BUCKET}/{OTHER_PROFILE}"),
        "no signature": but(Authorization=authorization.partition(", Signature")[0]),
        "signature of nothing": but(Authorization=authorization[:-64] + "0" * 64),
        "a header that is not signed": but(x_amz_bypass_governance_retention="true"),
        "a header that is signed and altered": but(amz_sdk_request="attempt=2; max=4"),
        "a header that is signed and missing": but(amz_sdk_request=None),
        "host not signed": but(Authorization=authorization.replace("host;", "")),
        "another host": replace(good_one, host="example.org"),
        "another date": but(X_Amz_Date="20260101T000000Z"),
        "a malformed date": but(X_Amz_Date="now"),
        "another payload": but(X_Amz_Content_SHA256="UNSIGNED-PAYLOAD"),
        "signed as a read": replace(signed_delete(deleting, method="GET"), method="DELETE"),
        "another region": signed_delete(deleting, region="eu-west-3"),
        "another secret": signed_delete(deleting, signer=replace(WHISPER, secret_access_key="x" * 32)),
        "a key that nobody has": signed_delete(deleting, signer=replace(WHISPER, access_key_id="AKIANOBODY")),
        "one who may only upload": signed_delete(deleting, signer=STORAGE),
        "host truly not signed": hand_signed(deleting, "x-amz-content-sha256", "x-amz-date"),
        "payload not signed": hand_signed(deleting, "host", "x-amz-date"),
        "date not signed": hand_signed(deleting, "host", "x-amz-content-sha256"),
        "nothing signed": hand_signed(deleting),
        "a sticker": signed_delete(deleting, key=MANIFEST),
        "a body": replace(but(Content_Length="1"), body=b"x"),
        "a query": replace(good_one, target=good_one.target + "?versionId=1"),
        "the bucket": signed_delete(deleting, key=""),
        "dots": replace(good_one, target=f"/{BUCKET}/../{BUCKET}/{PROFILE}"),
        "a put": replace(good_one, method="PUT"),
    }
    for name, request in wrong.items():
        reply = deleting.send(request)
        assert 400 <= reply.status < 500, (name, reply)
    assert gate.send(good_one).status == 405  # where the configuration lets nobody delete
    assert upstream.requests == []
    assert deleting.send(good_one).status == 204
    assert deleting.send(hand_signed(deleting, "host", "x-amz-content-sha256", "x-amz-date")).status == 204


@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_signed_deletion_is_good_for_fifteen_minutes(deleting: Gate, upstream: RecordingS3, minutes: int) -> None:
    at = datetime.now(UTC) + timedelta(minutes=minutes)
    with mock.patch("botocore.auth.get_current_datetime", return_value=at.replace(tzinfo=None)):  # pyrefly: ignore[missing-attribute-patch-target]
        late = signed_delete(deleting)
    assert deleting.send(late).code == "RequestTimeTooSkewed"
    assert upstream.requests == []


# ---- reads ----------------------------------------------------------------------------------------------------


def test_a_read_is_the_object_and_nothing_a_browser_would_run(gate: Gate, upstream: RecordingS3) -> None:
    upstream.objects[PROFILE] = (b"<script>alert(1)</script>", "text/html")
    reply = gate.send(read())
    assert (reply.status, reply.body) == (200, b"<script>alert(1)</script>")
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-disposition"] == "attachment"
    assert {"default-src 'none'", "sandbox"} <= set(reply.headers["content-security-policy"].split("; "))
    assert set(reply.headers) <= RETURNED


def test_head_tells_the_length_without_the_body(gate: Gate, upstream: RecordingS3) -> None:
    with gate.connect() as connection:
        first = send(connection, read(method="HEAD"))
        assert (first.status, first.headers["content-length"]) == (200, str(len(STORED[PROFILE])))
        assert send(connection, read()).body == STORED[PROFILE]  # the connection is still in step


def test_conditions_and_ranges_are_passed_on(gate: Gate, upstream: RecordingS3) -> None:
    tag = gate.send(read()).headers["etag"]
    unchanged = gate.send(read(("If-None-Match", tag)))
    assert (unchanged.status, unchanged.headers["etag"]) == (304, tag)
    assert "content-length" not in unchanged.headers
    assert gate.send(read(("If-Match", '"other"'))).status == 412
    assert gate.send(read(("Range", "bytes=3-6"), ("If-Range", tag))).body == STORED[PROFILE]
    part = gate.send(read(("Range", "bytes=3-6")))
    assert (part.status, part.body) == (206, STORED[PROFILE][3:7])
    assert part.headers["content-range"] == f"bytes 3-6/{len(STORED[PROFILE])}"
    assert gate.send(read(("Range", "bytes=-4"))).body == STORED[PROFILE][-4:]
    since = ("If-Modified-Since", "Thu, 01 Jan 2026 00:00:00 GMT")
    gate.send(read(since))
    assert upstream.requests[-1].headers["if-modified-since"] == since[1]
    assert_clean(upstream.requests)


def test_one_connection_serves_many_requests(gate: Gate, upstream: RecordingS3) -> None:
    with gate.connect() as connection:
        for _ in range(3):
            assert send(connection, read()).status == 200
            assert send(connection, good()).status == 204
            assert send(connection, read(key=OTHER_PROFILE)).status == 404
            assert send(connection, Request("DELETE", "/")).status == 405


def test_requests_sent_ahead_are_answered_in_order(gate: Gate, upstream: RecordingS3) -> None:
    with gate.connect() as connection:
        connection.sendall(good().wire() + read().wire() + read(method="HEAD", key=OTHER_PROFILE).wire())
        until(lambda: len(upstream.requests) == 3)
    assert [seen.method for seen in upstream.requests] == ["PUT", "GET", "HEAD"]


def test_a_flood_of_requests_sent_ahead_is_dropped(gate: Gate, upstream: RecordingS3) -> None:
    with gate.connect() as connection:
        connection.sendall(read().wire() * 500)
        while connection.recv(65536):
            pass
    assert len(upstream.requests) <= 8


def test_a_request_whose_client_left_is_not_made(gate: Gate, upstream: RecordingS3) -> None:
    upstream.silent = True
    with gate.connect() as connection:
        connection.sendall(good().wire() + read().wire())
        until(lambda: upstream.requests)
    until(lambda: "active 0" in gate.probe("/metrics")[1])
    time.sleep(0.2)
    assert [seen.method for seen in upstream.requests] == ["PUT"]


def test_careless_patterns_open_nothing_but_plain_keys(upstream: RecordingS3, tmp_path: Path) -> None:
    secrets = [{**credentials()[0], "uploads": ["any"], "deletes": ["any"]}]
    config = configuration(upstream.port, read="[^]*", upload=f"any:{MIB}:[^]*")
    odd = [vector for vector in VECTORS if vector.name.startswith(("request: ", "target: ", "form: key"))]
    with running(tmp_path, config, secrets) as open_gate:
        for vector in odd:
            assert open_gate.send(vector.build(SITE)).status < 500
    assert len(upstream.requests) > 5  # it does read what it may
    for seen in upstream.requests:
        segments = seen.target.replace("%3D", "=").removeprefix(f"/{BUCKET}/").split("/")
        assert all(re.fullmatch(r"[A-Za-z0-9._=-]+", one) and one not in (".", "..") for one in segments)


# ---- a failing upstream ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [302, 400, 405, 500, 501, 503])
def test_what_the_upstream_says_stays_behind_the_gate(gate: Gate, upstream: RecordingS3, status: int) -> None:
    upstream.status = status
    for request in (read(), read(method="HEAD"), good()):
        reply = gate.send(request)
        assert reply.status == 502
        assert b"secret" not in reply.body
        assert set(reply.headers) <= RETURNED


def test_a_store_that_refuses_the_gate_is_no_missing_object(gate: Gate, upstream: RecordingS3) -> None:
    upstream.status = 403
    for request in (read(), read(method="HEAD"), good()):
        assert gate.send(request).status == 502


def test_an_upstream_that_answers_early_ends_the_upload(gate: Gate, upstream: RecordingS3) -> None:
    upstream.early = True
    start = time.monotonic()
    assert gate.send(good(os.urandom(5 * MIB))).status == 502
    assert gate.send(good()).status == 502
    assert time.monotonic() - start < 15  # and not when the gate's patience with a silent upstream ends
    upstream.early = False
    assert gate.send(good()).status == 204


def test_an_upstream_that_is_gone(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with running(tmp_path, configuration(unused.getsockname()[1])) as lonely:
            assert lonely.send(read()).status == 502
            assert lonely.send(good()).status == 502
            assert lonely.probe("/readyz")[0] == 200


def test_a_download_that_breaks_is_never_taken_for_whole(gate: Gate, upstream: RecordingS3) -> None:
    upstream.objects[PROFILE] = (b"x" * MIB, "application/octet-stream")
    upstream.cut = 100_000
    with gate.connect() as connection, pytest.raises(http.client.IncompleteRead):
        send(connection, read())


def test_a_silent_upstream_is_given_up(hasty: Gate, upstream: RecordingS3) -> None:
    upstream.silent = True
    with ThreadPoolExecutor() as pool:
        replies = list(pool.map(hasty.send, [read(), read(method="HEAD"), good()]))
    assert [reply.status for reply in replies] == [502, 502, 502]
    upstream.reset()
    upstream.pause = 4
    assert hasty.send(good(os.urandom(8 * MIB))).status == 502  # it does not take what it is sent


# ---- slow, vanishing and greedy clients -----------------------------------------------------------------------


def closed_after(connection: socket.socket) -> float:
    """Seconds until the other side closes."""
    start = time.monotonic()
    connection.settimeout(20)
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - start


def test_slow_headers_are_cut_off(upstream: RecordingS3, tmp_path: Path) -> None:
    config = configuration(upstream.port, header_seconds=1)
    with running(tmp_path, config) as gate, gate.connect() as silent, gate.connect() as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        assert closed_after(slow) < 10
        assert closed_after(silent) < 10


def test_a_slow_form_is_cut_off(hasty: Gate, upstream: RecordingS3) -> None:
    wire = good(os.urandom(50_000)).wire()
    with hasty.connect() as stuck, hasty.connect() as dripping:
        stuck.sendall(wire[:600])
        dripping.sendall(wire[:30_000])
        stop = threading.Event()

        def drip() -> None:
            for at in range(30_000, 50_000, 10):
                if stop.wait(0.1):
                    return
                try:
                    dripping.sendall(wire[at : at + 10])
                except OSError:
                    return

        feeder = threading.Thread(target=drip)
        feeder.start()
        assert receive(stuck, "POST").status == 408
        reply = receive(dripping, "POST")
        assert reply.status == 408
        assert b"too slow" in reply.body
        assert closed_after(dripping) < 5
        stop.set()
        feeder.join()
    until(lambda: all(not seen.complete for seen in upstream.requests))
    assert STORED.items() == {key: body for key, (body, _) in upstream.objects.items()}.items()


def trickle(connection: socket.socket, wire: bytes, every: float) -> None:
    """Sends some bytes at a time until somebody ends it."""
    for at in range(0, len(wire), 200):
        try:
            connection.sendall(wire[at : at + 200])
        except OSError:
            return
        time.sleep(every)


def test_the_fields_of_a_form_have_a_deadline_however_fast_they_come(hasty: Gate, upstream: RecordingS3) -> None:
    """Nothing of it is authorized yet, so anybody may send it."""
    fields = multipart({"key": PROFILE, "acl": "x" * 19_000}, FILE)
    with hasty.connect() as steady:
        feeder = threading.Thread(target=trickle, args=(steady, post(SITE, fields).wire(), 0.1))
        feeder.start()
        reply = receive(steady, "POST")
        assert reply.status == 408
        assert b"fields" in reply.body
        feeder.join()
    assert upstream.requests == []


def test_no_client_takes_all_forms(hasty: Gate, upstream: RecordingS3) -> None:
    """Also one that names others as the clients: the last address is the one that the proxy writes."""
    begun = post(SITE, multipart({"key": PROFILE}, FILE))
    mine = ("2001:db8::1", "2001:db8::ffff:2", "203.0.113.9, 2001:db8:0:0:9::")

    def forwarded(request: Request, address: str) -> Request:
        return replace(request, headers=(*request.headers, ("X-Forwarded-For", address)))

    with ExitStack() as held:
        for address in mine:
            connection = held.enter_context(hasty.connect())
            connection.sendall(forwarded(begun, address).wire().partition(b'name="file"')[0])
        until(lambda: "cdn0_gate_forms_unauthorized 3" in hasty.probe("/metrics")[1])
        assert hasty.send(forwarded(good(), "203.0.113.9, 2001:db8::3")).status == 503
        assert hasty.send(forwarded(good(), "203.0.113.9")).status == 204
        assert hasty.send(forwarded(good(), "2001:db8:0:1::1")).status == 204
        assert hasty.send(forwarded(read(), mine[0])).status == 200
    until(lambda: hasty.send(forwarded(good(), mine[0])).status == 204)


def test_an_authorized_form_is_no_longer_counted_as_one_that_is_not(hasty: Gate, upstream: RecordingS3) -> None:
    wire = good(os.urandom(20_000)).wire()
    with ExitStack() as held:
        for _ in range(4):
            held.enter_context(hasty.connect()).sendall(wire[:15_000])
            until(lambda: "cdn0_gate_forms_unauthorized 0" in hasty.probe("/metrics")[1])
        assert hasty.send(good()).status == 204


def test_no_client_takes_all_requests(upstream: RecordingS3, tmp_path: Path) -> None:
    upstream.silent = True
    with running(tmp_path, configuration(upstream.port, client_requests=2)) as gate, ExitStack() as held:
        for _ in range(2):
            held.enter_context(gate.connect()).sendall(read().wire())
        until(lambda: "cdn0_gate_requests_active 2" in gate.probe("/metrics")[1])
        refused = gate.send(read())
        assert refused.status == 503
        assert b"SlowDown" in refused.body
        upstream.silent = False
        assert gate.send(replace(read(), headers=(("X-Forwarded-For", "203.0.113.9"),))).status == 200


def test_a_form_that_takes_too_long_altogether_is_cut_off(hasty: Gate, upstream: RecordingS3) -> None:
    wire = good(os.urandom(300_000)).wire()
    start = time.monotonic()
    with hasty.connect() as steady:
        for at in range(0, len(wire), 2000):
            try:
                steady.sendall(wire[at : at + 2000])
            except (ConnectionResetError, BrokenPipeError):
                break
            time.sleep(0.1)
        else:
            pytest.fail("the whole form was taken")
    assert time.monotonic() - start < 10
    assert upstream.objects[PROFILE][0] == STORED[PROFILE]


def test_a_reader_that_does_not_read_is_cut_off(hasty: Gate, upstream: RecordingS3) -> None:
    upstream.objects[PROFILE] = (bytes(30 * MIB), "application/octet-stream")
    with hasty.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(read().wire())
        until(lambda: hasty.probe("/metrics")[1].count("cdn0_gate_requests_active 1"))
        until(lambda: hasty.probe("/metrics")[1].count("cdn0_gate_requests_active 0"))


def test_a_delimiter_is_seen_wherever_the_form_is_cut(gate: Gate, upstream: RecordingS3) -> None:
    extra = text_part("a", "b")
    wire = post(SITE, multipart(profile(SITE).signed(), FILE, after=extra)).wire()
    delimiter = wire.index(extra) - 2
    for at in range(delimiter, delimiter + len(BOUNDARY) + 4):
        upstream.reset()
        with gate.connect() as connection:
            connection.sendall(wire[:at])
            until(lambda: upstream.requests and upstream.requests[0].received >= len(FILE) - 1)
            connection.sendall(wire[at:])
            assert receive(connection, "POST").status == 400
        until(lambda: upstream.requests[0].broken)


@pytest.mark.parametrize("keep", [0.1, 0.6, 0.95, 0.9999])
def test_an_upload_that_breaks_off_leaves_nothing(gate: Gate, upstream: RecordingS3, keep: float) -> None:
    wire = good(os.urandom(2 * MIB)).wire()
    with gate.connect() as connection:
        connection.sendall(wire[: int(len(wire) * keep)])
        until(lambda: upstream.requests and upstream.requests[0].received > len(wire) * keep * 0.5)
    until(lambda: gate.probe("/metrics")[1].count("cdn0_gate_requests_active 0"))
    time.sleep(0.1)
    assert [seen.broken for seen in upstream.requests] == [True]
    assert upstream.objects[PROFILE][0] == STORED[PROFILE]


def test_the_last_byte_waits_for_the_end_of_the_form(gate: Gate, upstream: RecordingS3) -> None:
    wire = good(os.urandom(100_000)).wire()
    with gate.connect() as connection:
        connection.sendall(wire[:-1])
        until(lambda: upstream.requests and upstream.requests[0].received == 99_999)
        time.sleep(0.2)
        assert not upstream.requests[0].complete
        connection.sendall(wire[-1:])
        assert receive(connection, "POST").status == 204
    assert upstream.requests[0].complete


def test_a_refusal_is_answered_before_the_body_and_not_lost(gate: Gate, upstream: RecordingS3) -> None:
    request = post(SITE, multipart({**profile(SITE).signed(), "acl": "public-read"}, os.urandom(9 * MIB)))
    with gate.connect() as connection:
        connection.sendall(request.wire()[:5000])
        early = receive(connection, "POST")
        assert (early.status, early.headers["connection"]) == (403, "close")
    with gate.connect() as connection:
        connection.sendall(request.wire())  # a client that sends everything before it reads: no reset meets it
        assert receive(connection, "POST").status == 403
    assert upstream.requests == []


def test_nothing_is_asked_for_when_the_headers_already_say_no(gate: Gate) -> None:
    for headers, status in (
        ((("Content-Length", str(20 * MIB)),), 413),
        ((("Content-Length", "50"), ("Content-Type", "text/plain")), 400),
    ):
        with gate.connect() as connection:
            request = Request("POST", f"/{BUCKET}/", (*headers, ("Expect", "100-continue")))
            connection.sendall(request.wire())
            connection.settimeout(5)
            assert connection.recv(65536).startswith(f"HTTP/1.1 {status} ".encode())


def test_100_continue_comes_before_the_body(gate: Gate, upstream: RecordingS3) -> None:
    head, _, body = (
        post(SITE, multipart(profile(SITE).signed(), FILE), ("Expect", "100-continue")).wire().partition(b"\r\n\r\n")
    )
    with gate.connect() as connection:
        connection.sendall(head + b"\r\n\r\n")
        connection.settimeout(5)
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert receive(connection, "POST").status == 204


def test_connections_are_limited(hasty: Gate, upstream: RecordingS3) -> None:
    held = [hasty.connect() for _ in range(20)]
    time.sleep(0.1)
    with hasty.connect() as one_more:
        one_more.settimeout(5)
        assert one_more.recv(1) == b""
    for connection in held:
        connection.close()
    until(lambda: hasty.send(read()).status == 200)
    assert "cdn0_gate_connections_refused_total 0" not in hasty.probe("/metrics")[1]


# ---- memory ---------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_file(upstream: RecordingS3, tmp_path: Path) -> None:
    rule = f"big:{64 * MIB}:profiles/[A-Za-z0-9_=-]{{24}}"
    secrets = [{**credentials()[0], "uploads": ["big"]}]
    config = configuration(upstream.port, upload=rule, progress_seconds=60)
    upstream.keep, upstream.pause = False, 0.002
    file = os.urandom(40 * MIB)
    with running(tmp_path, config, secrets) as big:
        assert big.send(post(SITE, multipart(form(SITE, PROFILE, 64 * MIB).signed(), b"warm"))).status == 204
        before = big.peak_memory()
        request = post(SITE, multipart(form(SITE, PROFILE, 64 * MIB).signed(), file))
        with ThreadPoolExecutor(6) as pool:
            assert [reply.status for reply in pool.map(big.send, [request] * 6)] == [204] * 6
        grown = big.peak_memory() - before
    assert sum(seen.received for seen in upstream.requests) == 6 * len(file) + 4
    assert grown < 80 * MIB, f"{grown / MIB:.0f} MiB for {6 * 40} MiB of uploads"


def test_memory_does_not_grow_with_slow_readers(upstream: RecordingS3, tmp_path: Path) -> None:
    upstream.objects[PROFILE] = (bytes(40 * MIB), "application/octet-stream")
    with running(tmp_path, configuration(upstream.port)) as gate:
        assert gate.send(read(key=OTHER_PROFILE)).status == 404
        before = gate.peak_memory()
        readers = [gate.connect() for _ in range(6)]
        for reader in readers:
            reader.sendall(read().wire())
        until(lambda: len(upstream.requests) == 7)
        time.sleep(1)
        grown = gate.peak_memory() - before
        for reader in readers:
            reader.close()
    assert grown < 64 * MIB, f"{grown / MIB:.0f} MiB for 240 MiB that nobody reads"


# ---- properties -----------------------------------------------------------------------------------------------

PATIENT = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))


@PATIENT
@given(data=st.data())
def test_no_altered_field_is_accepted(gate: Gate, upstream_server: RecordingS3, data: st.DataObject) -> None:
    upstream_server.reset()
    signed = profile(SITE).signed()
    name = data.draw(st.sampled_from([name for name in signed if name != "Content-Type"]))
    value = signed[name]
    at = data.draw(st.integers(0, len(value)))
    until_ = data.draw(st.integers(at, min(len(value), at + 8)))
    inserted = data.draw(st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=8))
    altered = value[:at] + inserted + value[until_:]
    if altered == value:
        return
    reply = gate.send(post(SITE, multipart({**signed, name: altered}, FILE)))
    assert 400 <= reply.status < 500, (name, altered, reply)
    assert upstream_server.requests == []


@PATIENT
@given(
    edits=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 40), st.binary(max_size=12)), min_size=1, max_size=4
    ),
    chunk=st.booleans(),
)
def test_no_altered_form_does_more_than_its_policy_says(
    gate: Gate, upstream_server: RecordingS3, edits: list[tuple[float, int, bytes]], chunk: bool
) -> None:
    """Bytes of the body replaced, removed or inserted anywhere: refused, or stored under the signed key."""
    upstream_server.reset()
    body = multipart(profile(SITE).signed(), FILE[:300])
    for where, removed, inserted in edits:
        at = int(where * len(body))
        body = body[:at] + inserted + body[at + removed :]
    request = post(SITE, body)
    with gate.connect() as connection:
        if chunk:
            wire = request.wire()
            connection.sendall(wire[: len(wire) // 2])
            time.sleep(0.001)
            connection.sendall(wire[len(wire) // 2 :])
            reply = receive(connection, "POST")
        else:
            reply = send(connection, request)
    assert reply.status == 204 or 400 <= reply.status < 500, reply
    assert_clean(upstream_server.requests)
    changed = {key for key, (body, _) in upstream_server.objects.items() if STORED.get(key) != body}
    assert changed == ({PROFILE} if reply.status == 204 else set())


@PATIENT
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]),
    path=st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=60)
    | st.lists(
        st.sampled_from(
            [
                "/",
                "//",
                "..",
                ".",
                "%2e%2e",
                "%2f",
                BUCKET,
                PROFILE,
                MANIFEST,
                "profiles",
                "?",
                "#",
                ";",
                "\\",
                "dev.yml",
                "http:",
            ]
        ),
        max_size=7,
    ).map("".join),
)
def test_no_target_reaches_anything_but_allowed_keys(
    gate: Gate, upstream_server: RecordingS3, method: str, path: str
) -> None:
    upstream_server.reset()
    reply = gate.send(Request(method, "/" + path))
    assert_clean(upstream_server.requests)
    assert all(seen.target.replace("%3D", "=") == "/" + path for seen in upstream_server.requests)
    assert reply.status < 500
    assert upstream_server.requests or reply.status >= 400


# ---- start, health, stop --------------------------------------------------------------------------------------


def test_health_and_metrics_are_on_their_own_port(gate: Gate, upstream: RecordingS3) -> None:
    assert gate.probe("/livez") == (200, "ok\n")
    assert gate.probe("/readyz") == (200, "ok\n")
    assert gate.probe(f"/{BUCKET}/{PROFILE}")[0] == 404
    assert gate.probe("/constructor")[0] == 404
    gate.send(read())
    assert re.search(r'^cdn0_gate_requests_total\{method="GET",status="200"\} \d+$', gate.probe("/metrics")[1], re.M)
    for path in ("/livez", "/readyz", "/metrics"):
        assert gate.send(Request("GET", path)).status == 404


def test_the_log_holds_no_secret_and_no_key(gate: Gate, upstream: RecordingS3) -> None:
    while not gate.lines.empty():
        gate.lines.get()
    fields = profile(SITE).signed()
    gate.send(post(SITE, multipart(fields, FILE)))
    gate.send(post(SITE, multipart({**fields, "acl": "x"}, FILE)))
    lines = [gate.lines.get(timeout=5) for _ in range(2)]
    first, second = (json.loads(line) for line in lines)
    assert (first["status"], first["signer"], first["bytes"]) == (204, "whisper", len(FILE))
    assert (second["status"], second["code"]) == (403, "AccessDenied")
    for secret in (WHISPER.secret_access_key, fields["policy"], fields["x-amz-signature"], PROFILE):
        assert secret not in "".join(lines)


def test_sigterm_lets_requests_finish(upstream: RecordingS3, tmp_path: Path) -> None:
    wire = good(os.urandom(200_000)).wire()
    with running(tmp_path, configuration(upstream.port)) as gate, gate.connect() as busy, gate.connect() as idle:
        assert send(idle, read()).status == 200
        busy.sendall(wire[:100_000])
        until(lambda: len(upstream.requests) == 2)
        gate.process.send_signal(signal.SIGTERM)
        until(lambda: gate.probe("/readyz")[0] == 503)
        assert closed_after(idle) < 5
        with pytest.raises(ConnectionRefusedError):
            gate.connect()
        busy.sendall(wire[100_000:])
        reply = receive(busy, "POST")
        assert (reply.status, reply.headers["connection"]) == (204, "close")
        assert gate.process.wait(10) == 0


def test_sigterm_does_not_wait_for_ever(upstream: RecordingS3, tmp_path: Path) -> None:
    config = configuration(upstream.port, drain_seconds=1)
    with running(tmp_path, config) as gate, gate.connect() as stuck:
        stuck.sendall(good().wire()[:900])
        until(lambda: "active 1" in gate.probe("/metrics")[1])
        gate.process.send_signal(signal.SIGTERM)
        assert gate.process.wait(10) == 0
    assert upstream.requests == []


def _changed(**changes: Any) -> tuple[dict[str, Any], object]:
    return configuration(1, **changes), credentials()


def _credential(**changes: Any) -> tuple[dict[str, Any], object]:
    return configuration(1), [{**credentials()[0], **changes}, credentials()[1]]


def test_a_wrong_configuration_is_one_clear_line(tmp_path: Path) -> None:
    wrong: list[tuple[tuple[dict[str, Any], object], str]] = [
        (_changed(listen="127.0.0.1:99999"), "--listen must be an IP address and a port, or :PORT"),
        (_changed(health_listen="80"), "--health-listen must be an IP address and a port, or :PORT"),
        (_changed(buckets="x"), "Unknown option '--buckets'"),
        (_changed(s3_bucket="Not A Bucket"), "--s3-bucket must be the name of a bucket"),
        (_changed(s3_region=""), "--s3-region must be the name of a region"),
        (_changed(s3_endpoint="http://a/b"), "--s3-endpoint must be https://HOST"),
        (_changed(s3_endpoint="http://u:p@a"), "--s3-endpoint must be https://HOST"),
        (_changed(s3_endpoint=None), "--s3-endpoint is missing"),
        (_changed(writes="both"), "--writes must be put or form"),
        (_changed(read=None), "--read is missing"),
        (_changed(read="("), "--read ( is not a regular expression"),
        (_changed(upload=["a:0:a"]), "--upload a:0:a must be NAME:BYTES:PATTERN"),
        (_changed(upload=["a:9999999999:a"]), "--upload a:9999999999:a must be NAME:BYTES:PATTERN"),
        (_changed(upload=["a:1:("]), "--upload ( is not a regular expression"),
        (_changed(upload=["a:1:a", "a:1:b"]), "--upload a is there twice"),
        (_changed(request_seconds=4), "--header-seconds must not exceed --request-seconds"),
        (_changed(connections=0.5), "--connections must be a whole number"),
        ((configuration(1), "{"), "--credentials-file: not valid JSON"),
        ((configuration(1), []), "--credentials-file must hold a list"),
        ((configuration(1), credentials()[:1] * 2), "--credentials-file: whisper has an access key id"),
        (_credential(uploads=["nothing"]), "--credentials-file: whisper names no rule: nothing"),
        (_credential(secretAccessKey="short"), "--credentials-file: [0].secretAccessKey must be at least 16"),
        (_credential(accessKeyId="a/b"), "--credentials-file: [0].accessKeyId must be"),
        (_credential(name=""), "--credentials-file: [0].name must be a name"),
        (_credential(deletes=["nothing"]), "--credentials-file: whisper names no rule: nothing"),
        (_credential(more=1), "--credentials-file: [0].more is not a known setting"),
    ]
    starts = []
    for number, (made, says) in enumerate(wrong):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        starts.append((arguments(folder, *made)[2:], says))
    shown = [WHISPER.secret_access_key]
    all_refused(PROGRAM, starts, environment=identity(tmp_path), secrets=shown)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    command = [*arguments(tmp_path, configuration(1), credentials())[:-1], f"--credentials-file={tmp_path}/none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("cdn0/gate.mjs: --credentials-file cannot be read (ENOENT)\n")


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = configuration(1, listen=f"127.0.0.1:{taken.getsockname()[1]}")
        command = arguments(tmp_path, config, credentials())
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, env=identity(tmp_path))
    assert done.returncode == 2
    assert re.match(r"cdn0/gate.mjs: cannot listen on 127.0.0.1:\d+ \(EADDRINUSE\)\n", done.stderr)


def test_the_program_fits_a_config_map_and_names_no_deployment() -> None:
    texts = CDN0_GATE.files
    assert sum(map(len, texts.values())) < 100_000
    for fact in (BUCKET, "profiles/", "stickers/", "groups/", "flatline", "us-east-1", str(10 * MIB)):
        assert [name for name, text in texts.items() if fact in text] == []
