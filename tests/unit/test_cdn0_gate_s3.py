"""The CDN0 gate in front of Amazon S3: reads in the pod's own name, and forms that S3 verifies once more."""

import asyncio
import hashlib
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config.schema.objects import CDN0_KEYS, MIB
from tests.programs.cdn0_forms import Request, Signer, form, multipart, post, send
from tests.programs.cdn0_s3 import Identity, PrivateS3, private_s3
from tests.programs.cdn0_vectors import FILE, LIMITS, OTHER_PROFILE, PROFILE, STORED, VECTORS, Vector
from tests.programs.gate import (
    BUCKET,
    PROGRAM,
    SITE,
    STORAGE,
    WHISPER,
    Gate,
    arguments,
    configuration,
    credentials,
    good,
    read,
    running,
    try_vector,
    until,
)
from tests.programs.modules import HURRIED
from tests.programs.starts import all_refused
from tests.programs.store import pod_file, role_of_a_pod, s3_client
from tests.unit.authority import issue
from tests.unit.edge import Edge, Talk, chain

TOKEN = "the-session-token/of+the-pod=="
POD = Identity("ASIAPODTEST", "pod-secret-of-this-test-0123456789", TOKEN, reads="(?:profiles|stickers|groups)/.*")
UPLOADERS = [
    Identity(
        signer.access_key_id,
        signer.secret_access_key,
        uploads="|".join(rule.pattern for rule in CDN0_KEYS if rule.signer == name),
    )
    for name, signer in (("whisper", WHISPER), ("storage", STORAGE))
]
READ_HEADERS = {
    *("host", "connection", "range", "authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"),
    *("if-match", "if-none-match", "if-modified-since", "if-unmodified-since"),
}
FORM_HEADERS = {"host", "connection", "content-type", "content-length"}


@contextmanager
def gate_for(folder: Path, port: int, identity: Identity = POD, **changes: Any) -> Iterator[Gate]:
    config = configuration(port, writes="form", **changes)
    with running(folder, config, environment=pod_file(folder, identity)) as gate:
        yield gate


@pytest.fixture(scope="module")
def bucket() -> Iterator[PrivateS3]:
    """Of CDN0, which the gate's pod and the uploaders may use."""
    with private_s3(SITE, POD, *UPLOADERS) as s3:
        yield s3


@pytest.fixture(scope="module")
def gate(bucket: PrivateS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with gate_for(tmp_path_factory.mktemp("gate"), bucket.port) as gate:
        yield gate


def assert_clean(s3: PrivateS3) -> None:
    """Whatever a client sent, S3 sees only requests that the gate made itself."""
    for seen in s3.requests:
        if seen.method == "POST":
            assert seen.target == f"/{BUCKET}"
            assert set(seen.headers) == FORM_HEADERS
        else:
            assert seen.method in ("GET", "HEAD")
            key = seen.target.removeprefix(f"/{BUCKET}/").replace("%3D", "=")
            assert any(re.fullmatch(rule.pattern, key) for rule in CDN0_KEYS)
            assert set(seen.headers) <= READ_HEADERS


def events(gate: Gate) -> list[dict[str, Any]]:
    """The lines that it has logged since the last call."""
    return [json.loads(gate.lines.get()) for _ in range(gate.lines.qsize())]


# ---- every vector ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_vector(vector: Vector, gate: Gate, s3: PrivateS3) -> None:
    try_vector(vector, gate, s3, "POST")
    assert_clean(s3)


# ---- uploads --------------------------------------------------------------------------------------------------


def test_a_form_arrives_as_it_was_signed(gate: Gate, s3: PrivateS3) -> None:
    file = os.urandom(MIB + 17)
    fields = form(SITE, PROFILE, LIMITS["profiles"], content_type="image/jpeg; q=1").signed()
    reply = gate.send(post(SITE, multipart(fields, file)))
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["etag"] == f'"{hashlib.md5(file, usedforsecurity=False).hexdigest()}"'
    assert s3.objects[PROFILE] == (file, "image/jpeg; q=1")
    assert s3.fields == [fields]
    assert gate.send(read()).body == file


@pytest.mark.parametrize("size", [1, 2, 77, 65535, 65536, 65537])
@pytest.mark.parametrize("step", [7, 4096])
def test_a_form_may_arrive_in_any_pieces(gate: Gate, s3: PrivateS3, size: int, step: int) -> None:
    file = (b"\r\n--" * size)[:size]
    assert gate.send_in_pieces(good(file), step if size < 100 else max(step, 1000)).status == 204
    assert s3.objects[PROFILE][0] == file


def test_a_form_that_breaks_off_leaves_nothing(gate: Gate, s3: PrivateS3) -> None:
    wire = good(os.urandom(MIB)).wire()
    with gate.connect() as connection:
        connection.sendall(wire[:-1])
        until(lambda: s3.requests and s3.requests[0].received > MIB // 2)
    until(lambda: s3.requests[0].broken)
    assert s3.objects == {key: (body, "application/octet-stream") for key, body in STORED.items()}


STRANGER = Signer("AKIASTRANGERTEST", "stranger-secret-of-this-test-0123456789")


def test_s3_has_the_last_word_about_a_form(gate: Gate, s3: PrivateS3, tmp_path: Path) -> None:
    """What the gate would let pass: a signer whom it knows and S3 does not, and one who may do less there."""
    secrets = [
        {
            "name": "stranger",
            "accessKeyId": STRANGER.access_key_id,
            "secretAccessKey": STRANGER.secret_access_key,
            "uploads": ["profiles"],
        },
        {**credentials()[1], "uploads": ["groups", "profiles"]},
    ]
    environment = pod_file(tmp_path, POD)
    with running(tmp_path, configuration(s3.port, writes="form"), secrets, environment) as lax:
        for signer, code in ((STRANGER, "InvalidAccessKeyId"), (STORAGE, "AccessDenied")):
            fields = form(SITE, PROFILE, LIMITS["profiles"], signer=signer).signed()
            reply = lax.send(post(SITE, multipart(fields, FILE)))
            assert (reply.status, reply.code) == (403, "AccessDenied")
            assert b"secret" not in reply.body
            until(lambda: not lax.lines.empty())
            assert events(lax)[-1]["upstream"] == code
    assert [seen.method for seen in s3.requests] == ["POST", "POST"]
    assert s3.fields == []


@pytest.mark.parametrize("size", [100, 5 * MIB])
def test_a_refusal_that_comes_early_is_the_answer(gate: Gate, s3: PrivateS3, size: int) -> None:
    s3.early, s3.refuse = True, (403, "InvalidAccessKeyId")
    events(gate)
    reply = gate.send(good(os.urandom(size)))
    assert (reply.status, reply.code) == (403, "AccessDenied")
    until(lambda: not gate.lines.empty())
    assert events(gate)[-1]["upstream"] == "InvalidAccessKeyId"
    s3.early, s3.refuse = False, None
    assert gate.send(good()).status == 204


@pytest.mark.parametrize("refuse", [(503, "SlowDown"), (500, "InternalError"), (400, "MalformedPOSTRequest")])
def test_an_upload_that_s3_cannot_take(gate: Gate, s3: PrivateS3, refuse: tuple[int, str]) -> None:
    s3.refuse = refuse
    events(gate)
    assert gate.send(good()).status == 502
    until(lambda: not gate.lines.empty())
    assert events(gate)[-1]["upstream"] == refuse[1]


# ---- reads ----------------------------------------------------------------------------------------------------


def test_a_key_that_is_missing(gate: Gate, s3: PrivateS3) -> None:
    events(gate)
    for method in ("GET", "HEAD"):
        reply = gate.send(read(method=method, key=OTHER_PROFILE))
        assert reply.status == 404
    assert gate.send(read(key=OTHER_PROFILE)).code == "NoSuchKey"
    # the line of a form of another test may come late
    assert [event for event in events(gate) if event.get("method") != "POST"] == [], "it is nothing to tell"


@pytest.mark.parametrize(
    "refuse",
    [
        (403, "InvalidAccessKeyId"),
        (403, "SignatureDoesNotMatch"),
        (403, "RequestTimeTooSkewed"),
        (400, "ExpiredToken"),
        (301, "PermanentRedirect"),
        (400, "AuthorizationHeaderMalformed"),
        (503, "SlowDown"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_trouble_with_the_identity_is_not_a_missing_key(
    gate: Gate, s3: PrivateS3, method: str, refuse: tuple[int, str]
) -> None:
    s3.refuse = refuse
    events(gate)
    reply = gate.send(read(method=method))
    assert reply.status == 502
    assert b"secret" not in reply.body
    until(lambda: not gate.lines.empty())
    assert events(gate)[-1]["upstream"] == refuse[1]


def test_reads_share_connections(gate: Gate, s3: PrivateS3) -> None:
    for _ in range(10):
        assert gate.send(read()).status == 200
    assert s3.connections <= 1


def test_a_reader_that_leaves_takes_s3_with_it(gate: Gate, s3: PrivateS3) -> None:
    s3.objects[PROFILE] = (bytes(64 * MIB), "application/octet-stream")
    with gate.connect() as connection:
        connection.sendall(read().wire())
        connection.recv(1000)
    until(lambda: "active 0" in gate.probe("/metrics")[1])
    until(lambda: s3.cut_off == 1)


def test_many_readers_at_once(gate: Gate, s3: PrivateS3) -> None:
    s3.objects[PROFILE] = (os.urandom(300_000), "application/octet-stream")
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(gate.send, [read()] * 60))
    assert {(reply.status, reply.body) for reply in replies} == {(200, s3.objects[PROFILE][0])}


def test_a_silent_s3_is_given_up(s3: PrivateS3, tmp_path: Path) -> None:
    s3.silent = True
    with (
        gate_for(tmp_path, s3.port, upstream_seconds=1) as hasty,
        ThreadPoolExecutor() as pool,
    ):
        replies = list(pool.map(hasty.send, [read(), read(method="HEAD"), good()]))
    assert [reply.status for reply in replies] == [502, 502, 502]


# ---- the identity ---------------------------------------------------------------------------------------------


def test_without_credentials_it_is_not_ready_and_answers_502(s3: PrivateS3, tmp_path: Path) -> None:
    environment = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    with running(tmp_path, configuration(s3.port, writes="form"), environment=environment, node=HURRIED) as poor:
        assert poor.probe("/readyz") == (503, "no credentials\n")
        assert poor.probe("/livez")[0] == 200
        assert poor.send(read()).status == 502
        assert poor.send(good()).status == 204, "a form needs none"
        pod_file(tmp_path, POD)
        (tmp_path / "aws-credentials").rename(tmp_path / "none")
        until(lambda: poor.probe("/readyz")[0] == 200)
        assert poor.send(read()).status == 200
        told = {json.dumps(event) for event in events(poor)}
    assert any("cannot be read (ENOENT)" in line for line in told)


def test_nothing_secret_is_told(gate: Gate, s3: PrivateS3) -> None:
    for refuse in (None, (403, "AccessDenied"), (503, "SlowDown")):
        s3.refuse = refuse
        gate.send(read())
        gate.send(good())
    told = json.dumps(events(gate)) + gate.probe("/metrics")[1]
    for secret in (TOKEN, POD.secret_access_key, WHISPER.secret_access_key, PROFILE, POD.access_key_id):
        assert secret not in told


def test_a_wrong_configuration_is_one_clear_line(tmp_path: Path) -> None:
    form = {"writes": "form"}
    wrong: list[tuple[dict[str, Any], list[str], str]] = [
        ({"writes": "put"}, [], "the environment names no AWS credentials"),
        (form, [], "the environment names no AWS credentials"),
        (form, ["profiles"], "--credentials-file must give no deletes where --writes is form"),
        ({**form, "s3-endpoint": "https://s3.example.org/x"}, [], "--s3-endpoint must be https://HOST"),
    ]
    starts = []
    for number, (changes, deletes, says) in enumerate(wrong):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        secrets = [{**credentials()[0], "deletes": deletes}]
        starts.append((arguments(folder, configuration(1, **changes), secrets)[2:], says))
    all_refused(PROGRAM, starts)


# ---- TLS ------------------------------------------------------------------------------------------------------


def passing_on(port: int) -> Talk:
    """To a port of this machine."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copied(reader, inner_writer), copied(inner_reader, writer))

    return talk


async def copied(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
        await target.drain()
    target.close()


def test_over_tls(s3: PrivateS3, tmp_path: Path) -> None:
    file = chain(issue("localhost", names=("localhost",)), tmp_path)
    with Edge(file, within=passing_on(s3.port)).running() as port:
        config = configuration(port, writes="form", s3_endpoint=f"https://localhost:{port}")
        environment = {**pod_file(tmp_path, POD), "NODE_EXTRA_CA_CERTS": str(file)}
        with running(tmp_path, config, environment=environment) as gate:
            content = os.urandom(2 * MIB)
            assert gate.send(good(content)).status == 204
            assert [gate.send(read()).body == content for _ in range(3)] == [True] * 3
            assert s3.requests[-1].headers["host"] == f"localhost:{port}"
        with running(tmp_path, config, environment=pod_file(tmp_path, POD)) as wary:
            seen = len(s3.requests)
            assert [wary.send(request).status for request in (good(), read())] == [502, 502]
            assert len(s3.requests) == seen


# ---- a real S3 ------------------------------------------------------------------------------------------------


def test_with_a_role_of_the_pod_on_moto(moto: str, tmp_path: Path) -> None:
    s3 = s3_client(moto, SITE.region)
    s3.create_bucket(Bucket=BUCKET)
    environment = role_of_a_pod(tmp_path, moto)
    config = configuration(int(moto.rpartition(":")[2]), writes="form")
    with running(tmp_path, config, environment=environment) as gate:
        assert gate.send(good(FILE, content_type="image/jpeg")).status == 204
        assert s3.get_object(Bucket=BUCKET, Key=PROFILE)["Body"].read() == FILE
        assert gate.send(read()).body == FILE
        part = gate.send(read(("Range", "bytes=3-6")))
        assert (part.status, part.body) == (206, FILE[3:7])
        assert gate.send(read(method="HEAD")).headers["content-length"] == str(len(FILE))
        tag = gate.send(read()).headers["etag"]
        assert gate.send(read(("If-None-Match", tag))).status == 304
        assert gate.send(read(key=OTHER_PROFILE)).status == 404
        assert gate.probe("/readyz")[0] == 200
        with gate.connect() as connection:
            assert send(connection, replace(read(), method="DELETE")).status == 405
            assert send(connection, Request("PUT", f"/{BUCKET}/{PROFILE}", body=b"x")).status == 405
    assert s3.get_object(Bucket=BUCKET, Key=PROFILE)["Body"].read() == FILE
