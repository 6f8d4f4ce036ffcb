"""CDN3's downloads where tusd keeps its uploads in S3."""

import json
import os
import random
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.programs import CDN3_DOWNLOAD
from tests.lab.node import NODE
from tests.lab.process import Process, wait_until
from tests.programs.cdn0_s3 import PrivateS3
from tests.programs.downloads import (
    BASE,
    CONTENT,
    DOWNLOAD,
    FLOOR,
    MEMORY_LIMIT,
    MIB,
    PRECONDITIONS,
    Headers,
    Server,
    check_head,
    check_if_range,
    check_precondition,
    check_range,
    check_whole,
    peak_memory,
)
from tests.programs.starts import all_refused
from tests.programs.store import POD, SITE_OF_CDN3, pod_file, s3_client, s3_flags
from tests.tus.hook import events, new_key, permissions, ports

MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT"
"""Of every object of the stand-in."""


@contextmanager
def serving(folder: Path, environment: dict[str, str], *flags: str, node: tuple[str, ...] = ()) -> Iterator[Server]:
    """The program over a bucket, on free ports."""
    listen = ("--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0")
    command: list[str | Path] = [NODE, *node, DOWNLOAD, *listen, *flags]
    with Process("download", command, folder, environment=environment) as process:
        server = Server(process, folder, *ports(process, 2))
        wait_until(lambda: server.health() == 200, 10, "credentials")
        yield server


@pytest.fixture(scope="module")
def shared(bucket: PrivateS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("download")
    with serving(folder, pod_file(folder), *s3_flags(bucket.port)) as server:
        yield server
        assert server.process.running()


def put(s3: PrivateS3, content: bytes, key: str | None = None) -> str:
    """A complete upload, with tusd's info beside it; its key."""
    key = key or new_key()
    s3.objects[f"attachments/{key}"] = (content, "text/html")
    s3.objects[f"attachments/{key}.info"] = (b'{"Size": 5}', "application/json")
    return key


def methods(s3: PrivateS3) -> list[str]:
    return [seen.method for seen in s3.requests]


def errors(server: Server) -> list[dict[str, Any]]:
    return [event for event in events(server.process) if event["event"] == "error"]


# --- content --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000])
def test_a_complete_upload_is_served_whole(shared: Server, s3: PrivateS3, size: int) -> None:
    etag = check_whole(shared.ask(put(s3, CONTENT[:size])), CONTENT[:size], MODIFIED)
    assert re.fullmatch(r'"[0-9a-f]{32}"', etag)
    assert methods(s3) == ["GET"]


def test_head_is_get_without_content_and_without_ranges(shared: Server, s3: PrivateS3) -> None:
    check_head(shared, put(s3, CONTENT))
    assert methods(s3) == ["GET", "HEAD", "HEAD"]


def test_a_range_is_of_the_object_that_was_described(shared: Server, s3: PrivateS3) -> None:
    key = put(s3, CONTENT)
    etag = shared.ask(key).headers["etag"]
    check_range(shared.ask(key, {"Range": "bytes=100000-"}), "bytes=100000-", CONTENT)
    assert methods(s3) == ["GET", "HEAD", "GET"]
    sent = s3.requests[-1].headers
    assert (sent["range"], sent["if-match"]) == ("bytes=100000-199999", etag)
    for size in (0, 1, 100):
        for header in ("bytes=0-", "bytes=0-0", "bytes=-5", "bytes=-0", "bytes=1-99", "bytes=5-4", "lines=1-2"):
            check_range(shared.ask(put(s3, CONTENT[:size]), {"Range": header}), header, CONTENT[:size])


def test_if_range_resumes_only_the_same_content(shared: Server, s3: PrivateS3) -> None:
    check_if_range(shared, put(s3, CONTENT[:100]))


@pytest.mark.parametrize(("headers", "status"), PRECONDITIONS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_preconditions(shared: Server, s3: PrivateS3, method: str, headers: Headers, status: int) -> None:
    check_precondition(shared, put(s3, CONTENT[:100]), method, headers, status)


# --- what is not served ---------------------------------------------------------------------------------------


def test_an_upload_that_is_not_complete_is_like_none(shared: Server, s3: PrivateS3) -> None:
    key = new_key()
    s3.objects[f"attachments/{key}.info"] = (b'{"Size": 5}', "")
    s3.objects[f"attachments/{key}.part"] = (b"1234", "")
    before = len(errors(shared))
    none = shared.ask(new_key())
    for method in ("GET", "HEAD"):
        for headers in ({}, {"Range": "bytes=0-1", "If-None-Match": "*"}):
            reply = shared.ask(key, headers, method)
            assert (reply.status, reply.body) == (404, b"")
            assert {**reply.headers, "date": ""} == {**none.headers, "date": ""}
    assert len(errors(shared)) == before


@pytest.mark.parametrize(
    "target",
    [
        "{base}{key}.info",
        "{base}{key}.part",
        "{base}{key}+multipart",
        "{base}../attachments/{key}",
        "{base}{key}/",
        "{base}{key}?versionId=1",
        "{base}%6b{short}",
        "/attachments-of-a-test/attachments/{key}",
        "{base}",
        "/",
    ],
)
def test_every_other_path_is_not_found_and_asks_nothing(shared: Server, s3: PrivateS3, target: str) -> None:
    key = put(s3, b"public", "k" * 20)
    s3.objects[f"attachments/{key}.part"] = (b"secret", "")
    with shared.client() as client:
        reply = client.ask(target.format(base=BASE, key=key, short=key[1:]))
    assert reply.status == 404
    assert s3.requests == []


@pytest.mark.parametrize(
    "refuse",
    [
        (403, "AccessDenied"),
        (403, "InvalidAccessKeyId"),
        (400, "ExpiredToken"),
        (404, "NoSuchBucket"),
        (301, "PermanentRedirect"),
        (503, "SlowDown"),
    ],
)
def test_trouble_with_s3_is_not_a_missing_upload(shared: Server, s3: PrivateS3, refuse: tuple[int, str]) -> None:
    key = put(s3, CONTENT)
    s3.refuse = refuse
    reply = shared.ask(key)
    assert (reply.status, reply.body, reply.headers["retry-after"]) == (503, b"", "10")
    assert errors(shared)[-1]["reason"] == f"S3 answered {refuse[0]} {refuse[1]}"
    if refuse[0] != 404:
        assert shared.ask(key, {"Range": "bytes=1-2"}).status == 503
        assert errors(shared)[-1]["reason"] == f"S3 answered {refuse[0]}"
    s3.refuse = None
    assert shared.ask(key).body == CONTENT


def test_an_object_that_is_deleted_between_two_looks(shared: Server, s3: PrivateS3) -> None:
    """It is described, but its content is gone: 404, as a moment later."""
    key = put(s3, CONTENT)
    seen = s3.requests

    class Vanishing(dict[str, tuple[bytes, str]]):
        def __contains__(self, name: object) -> bool:
            return super().__contains__(name) and len(seen) < 1

    s3.objects = Vanishing(s3.objects)
    assert shared.ask(key, {"Range": "bytes=1-2"}).status == 404


def test_an_answer_that_breaks_is_never_taken_for_whole(shared: Server, s3: PrivateS3) -> None:
    key = put(s3, bytes(MIB))
    s3.cut = 100_000
    with shared.client() as client:
        client.send(BASE + key)
        head = client.head()
        assert head.headers["content-length"] == str(MIB)
        assert len(client.body(MIB)) <= 100_000
    assert errors(shared)[-1]["key"] == f"{key[:4]}…"


def test_a_part_of_another_size_is_never_taken_for_whole(shared: Server, s3: PrivateS3) -> None:
    key = put(s3, CONTENT)
    s3.clip = 1
    with shared.client() as client:
        client.send(BASE + key, {"Range": "bytes=0-99999"})
        assert client.head().status == 206
        assert len(client.body(100_000)) == 99_999
    assert errors(shared)[-1]["reason"] == "S3 sent another number of bytes"


def test_without_list_bucket_nothing_is_taken_for_missing(s3: PrivateS3, tmp_path: Path) -> None:
    blind = replace(POD, access_key_id="ASIABLIND", lists=False)
    s3.identities.append(blind)
    try:
        with serving(tmp_path, pod_file(tmp_path, blind), *s3_flags(s3.port)) as server:
            assert server.ask(put(s3, b"data")).body == b"data"
            assert server.ask(new_key()).status == 503
    finally:
        s3.identities.remove(blind)


# --- many clients, and such as leave ---------------------------------------------------------------------------


def test_a_client_that_leaves_ends_s3_s_answer(shared: Server, s3: PrivateS3) -> None:
    key = put(s3, bytes(64 * MIB))
    s3.pieces = 0.001
    with shared.client(receive_buffer=65536) as client:
        client.send(BASE + key)
        client.head()
    wait_until(lambda: s3.cut_off == 1, 5, "ended")
    assert s3.sent < 32 * MIB
    assert shared.ask(put(s3, b"more")).body == b"more"


def test_a_client_that_leaves_while_s3_is_silent(shared: Server, s3: PrivateS3) -> None:
    s3.silent = True
    gone = _summary_of(shared, "gone")
    with shared.client() as client:
        client.send(BASE + put(s3, b"data"))
        wait_until(lambda: bool(s3.requests), 5, "asked")
    s3.silent = False
    assert shared.ask(put(s3, b"data")).status == 200
    assert _summary_of(shared, "gone") >= gone
    assert not any("Abort" in str(error) for error in errors(shared))


def _summary_of(server: Server, name: str) -> int:
    found = [event for event in events(server.process) if event["event"] == "summary"]
    return int(found[-1][name]) if found else 0


def test_connections_to_s3_are_kept(shared: Server, s3: PrivateS3) -> None:
    key = put(s3, CONTENT)
    for _ in range(10):
        assert shared.ask(key, {"Range": "bytes=7-"}).status == 206
    assert s3.connections <= 2


def test_many_downloads_at_a_time_in_bounded_memory(s3: PrivateS3, tmp_path: Path) -> None:
    content = os.urandom(2 * MIB)
    key = put(s3, content)
    with serving(tmp_path, pod_file(tmp_path), *s3_flags(s3.port)) as server:
        with ThreadPoolExecutor(60) as pool:
            replies = list(pool.map(lambda _: server.ask(key).body == content, range(60)))
        assert replies == [True] * 60
        assert peak_memory(server.process) < MEMORY_LIMIT


def test_stalled_clients_are_dropped_and_s3_s_answer_with_them(s3: PrivateS3, tmp_path: Path) -> None:
    key = put(s3, bytes(64 * MIB))
    with (
        serving(tmp_path, pod_file(tmp_path), *s3_flags(s3.port), *FLOOR) as server,
        server.client(receive_buffer=4096) as client,
    ):
        client.send(BASE + key)
        wait_until(lambda: s3.cut_off == 1, 10, "ended")
        client.wait_end()
        assert s3.sent < 64 * MIB
        assert server.ask(put(s3, b"data")).body == b"data"


# --- the process ----------------------------------------------------------------------------------------------


def test_runs_confined_and_lets_downloads_end(s3: PrivateS3, tmp_path: Path) -> None:
    content = random.Random(5).randbytes(3 * MIB)
    key = put(s3, content)
    node = permissions(CDN3_DOWNLOAD, tmp_path / "aws-credentials")
    environment = pod_file(tmp_path)
    s3.pieces = 0.02
    with serving(tmp_path, environment, *s3_flags(s3.port), node=node) as server:
        with server.client() as client:
            client.send(BASE + key)
            assert client.head().status == 200
            os.kill(server.process.pid, signal.SIGTERM)
            assert client.body(len(content)) == content
        assert server.process.wait(10) == 0
        log = server.process.text()
    assert POD.session_token
    for secret in (key, POD.secret_access_key, POD.session_token, POD.access_key_id):
        assert secret not in log


def test_without_credentials_it_is_not_healthy(s3: PrivateS3, tmp_path: Path) -> None:
    environment = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    listen = ("--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0")
    command: list[str | Path] = [NODE, DOWNLOAD, *listen, *s3_flags(s3.port)]
    with Process("download", command, tmp_path, environment=environment) as process:
        server = Server(process, tmp_path, *ports(process, 2))
        assert server.health() == 503
        assert server.ask(put(s3, b"data")).status == 503
        assert "cannot be read (ENOENT)" in json.dumps(events(process))


def test_wrong_flags_end_it_with_one_clear_line() -> None:
    listen = ("--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0")
    wrong = [
        ([*s3_flags(1), "--upload-dir", "/tmp"], "--upload-dir and --s3-bucket exclude each other"),
        (["--s3-prefix", "x"], "--s3-bucket must be the name of a bucket"),
        (s3_flags(1, "/"), "--s3-prefix must be names and slashes"),
        (s3_flags(1), "the environment names no AWS credentials"),
    ]
    all_refused(DOWNLOAD, [([*listen, *flags], says) for flags, says in wrong])


# --- a real S3 ------------------------------------------------------------------------------------------------


def test_multipart_uploads_on_moto(moto: str, tmp_path: Path) -> None:
    """As tusd's S3 store makes them: nothing is there before it is whole."""
    client = s3_client(moto)
    place = {"Bucket": "downloads-of-a-test"}
    client.create_bucket(**place, CreateBucketConfiguration={"LocationConstraint": SITE_OF_CDN3.region})
    key = new_key()
    place = {**place, "Key": f"attachments/{key}"}
    client.put_object(**{**place, "Key": f"attachments/{key}.info"}, Body=b"{}")
    upload = {**place, "UploadId": client.create_multipart_upload(**place)["UploadId"]}
    contents = [os.urandom(5 * MIB), os.urandom(70_000)]
    with serving(
        tmp_path, pod_file(tmp_path), *s3_flags(int(moto.rpartition(":")[2]), bucket="downloads-of-a-test")
    ) as server:
        parts = []
        for number, content in enumerate(contents, 1):
            assert server.ask(key).status == 404
            part = client.upload_part(**upload, PartNumber=number, Body=content)
            parts.append({"PartNumber": number, "ETag": part["ETag"]})
        client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        whole = server.ask(key)
        assert (whole.status, whole.body) == (200, b"".join(contents))
        assert re.fullmatch(r'"[0-9a-f]{32}-2"', whole.headers["etag"])
        check_range(server.ask(key, {"Range": "bytes=-80000"}), "bytes=-80000", b"".join(contents))
        assert server.ask(key, {"If-None-Match": whole.headers["etag"]}).status == 304
        client.delete_object(**place)
        assert server.ask(key).status == 404
