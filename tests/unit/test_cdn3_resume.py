"""CDN3's front of uploads: the same addresses for clients whether tusd keeps uploads in a directory or in S3."""

import hashlib
import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from components.programs import CDN3_RESUME, FOLDER
from tests.lab.node import NODE
from tests.lab.process import Process, wait_until
from tests.lab.served import Handler, serving
from tests.programs.cdn0_s3 import PrivateS3
from tests.programs.downloads import BASE, MIB, peak_memory
from tests.programs.starts import all_refused
from tests.programs.store import pod_file, s3_flags
from tests.tus.hook import events, new_key, ports

RESUME = FOLDER / CDN3_RESUME.name
MULTIPART = "2~Aa0._-zZ"
Headers = dict[str, str]


@dataclass
class Tusd:
    """A stand-in for tusd: what it was asked, and how it answers."""

    port: int = 0
    asked: list[tuple[str, str, Headers]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)
    """Bytes of requests that ended before they were whole."""
    status: int = 204
    headers: Headers = field(default_factory=dict)
    body: bytes = b""
    early: bool = False
    digest: bool = False
    """Keep only the hash of a body."""


def _handler(tusd: Tusd) -> type[Handler]:
    class Tus(Handler):
        def answer(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            tusd.asked.append((self.command, self.path, headers))
            if tusd.early:
                self.close_connection = True
                self.reply(tusd.status, tusd.body, **tusd.headers)
                self.connection.shutdown(socket.SHUT_WR)
                return time.sleep(0.5)  # as Go's server does before it closes
            left, body, digest = int(headers.get("content-length", "0")), b"", hashlib.sha256()
            while left:
                chunk = self.rfile.read1(min(left, MIB))
                if not chunk:
                    tusd.broken.append(int(headers["content-length"]) - left)
                    self.close_connection = True
                    return None
                left -= len(chunk)
                digest.update(chunk)
                body += b"" if tusd.digest else chunk
            tusd.bodies.append(digest.digest() if tusd.digest else body)
            return self.reply(tusd.status, tusd.body, **tusd.headers)

    return Tus


@pytest.fixture(scope="module")
def tusd_server() -> Iterator[Tusd]:
    tusd = Tusd()
    with serving(_handler(tusd)) as tusd.port:
        yield tusd


@pytest.fixture
def tusd(tusd_server: Tusd) -> Tusd:
    fresh = Tusd(tusd_server.port)
    tusd_server.__dict__.update(fresh.__dict__)
    return tusd_server


@dataclass
class Front:
    process: Process
    port: int
    health_port: int

    def ask(self, method: str, path: str, headers: Headers | None = None, body: bytes | None = None) -> "Answer":
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, path, body, {"Tus-Resumable": "1.0.0", **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def health(self) -> int:
        with closing(http.client.HTTPConnection("127.0.0.1", self.health_port, timeout=20)) as connection:
            connection.request("GET", "/readyz")
            return connection.getresponse().status

    def errors(self) -> list[dict[str, Any]]:
        return [event for event in events(self.process) if event["event"] == "error"]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Headers
    body: bytes


def flags(tusd_port: int, s3_port: int) -> list[str]:
    listen = ("--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0")
    return [*listen, "--tusd", f"127.0.0.1:{tusd_port}", *s3_flags(s3_port)]


@contextmanager
def fronting(folder: Path, tusd_port: int, s3_port: int, *more: str) -> Iterator[Front]:
    command: list[str | Path] = [NODE, RESUME, *flags(tusd_port, s3_port), *more]
    with Process("resume", command, folder, environment=pod_file(folder)) as process:
        front = Front(process, *ports(process, 2))
        wait_until(lambda: front.health() == 200, 10, "credentials")
        yield front


@pytest.fixture(scope="module")
def front(tusd_server: Tusd, bucket: PrivateS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with fronting(tmp_path_factory.mktemp("front"), tusd_server.port, bucket.port) as front:
        yield front
        assert front.process.running()


@contextmanager
def begun(front: Front, key: str, length: int, body: bytes, *headers: str) -> Iterator[socket.socket]:
    """A connection on which a PATCH of that length is under way, of which `body` was sent."""
    with socket.create_connection(("127.0.0.1", front.port), 10) as client:
        lines = [f"PATCH {BASE}{key} HTTP/1.1", "Host: x", f"Content-Length: {length}", *headers, "", ""]
        client.sendall("\r\n".join(lines).encode() + body)
        yield client


def created(s3: PrivateS3, key: str | None = None, info: object = None) -> str:
    """An upload that tusd has created; its key."""
    key = key or new_key()
    text = json.dumps({"ID": f"{key}+{MULTIPART}", "Size": 5} if info is None else info)
    s3.objects[f"attachments/{key}.info"] = (text.encode(), "application/json")
    return key


# --- the same addresses ---------------------------------------------------------------------------------------


def test_a_creation_is_passed_on_and_its_location_is_the_key(front: Front, tusd: Tusd, s3: PrivateS3) -> None:
    key, body = new_key(), os.urandom(300_000)
    tusd.status = 201
    tusd.headers = {"Location": f"https://cdn3.example.org{BASE}{key}+{MULTIPART}", "Upload-Offset": "300000"}
    asked = {"Authorization": "Basic eDp5", "X-Forwarded-Proto": "https", "Host": "cdn3.example.org", "Te": "x"}
    answer = front.ask("POST", "/attachments", asked, body)
    assert (answer.status, answer.body) == (201, b"")
    assert answer.headers["location"] == f"https://cdn3.example.org{BASE}{key}"
    assert answer.headers["upload-offset"] == "300000"
    [(method, path, headers)] = tusd.asked
    assert (method, path, tusd.bodies) == ("POST", "/attachments", [body])
    expected = {name.lower(): value for name, value in asked.items() if name != "Te"}
    assert {name: headers.get(name) for name in [*expected, "te"]} == {**expected, "te": None}
    assert s3.requests == []


@pytest.mark.parametrize("location", [f"{BASE}{'k' * 20}+x", f"http://h{BASE}{'k' * 20}+x~.-_"])
@pytest.mark.parametrize("other", ["https://h/other/k+x", f"{BASE}k+x", f"{BASE}{'k' * 20}", ""])
def test_a_location_of_any_form_and_no_other_is_shortened(front: Front, tusd: Tusd, location: str, other: str) -> None:
    for given, expected in ((location, location.partition("+")[0]), (other, other)):
        tusd.headers = {"Location": given}
        assert front.ask("POST", "/attachments").headers["location"] == expected


def test_an_upload_goes_on_under_its_key(front: Front, tusd: Tusd, s3: PrivateS3) -> None:
    key, rest = created(s3), os.urandom(100_000)
    tusd.headers = {"Upload-Offset": "7"}
    assert front.ask("HEAD", BASE + key).headers["upload-offset"] == "7"
    assert front.ask("PATCH", BASE + key, {"Upload-Offset": "7"}, rest).status == 204
    assert [(method, path) for method, path, _ in tusd.asked] == [
        ("HEAD", f"{BASE}{key}+{MULTIPART}"),
        ("PATCH", f"{BASE}{key}+{MULTIPART}"),
    ]
    assert tusd.bodies == [b"", rest]
    assert tusd.asked[1][2]["upload-offset"] == "7"
    assert [seen.target for seen in s3.requests] == [f"/{s3.bucket}/attachments/{key}.info"] * 2


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE", "OPTIONS"])
def test_tusd_s_own_ids_and_all_else_are_passed_on_as_they_are(
    front: Front, tusd: Tusd, s3: PrivateS3, method: str
) -> None:
    key = created(s3)
    paths = [f"{BASE}{key}+{MULTIPART}", "/attachments", f"{BASE}{key}?x=1", f"{BASE}{key}.info", f"/x{BASE}{key}"]
    for path in [*paths, *([BASE + key] if method in ("DELETE", "OPTIONS") else [])]:
        front.ask(method, path)
        assert tusd.asked[-1][:2] == (method, path)
    assert s3.requests == []


def test_a_key_without_an_upload_is_not_found(front: Front, tusd: Tusd, s3: PrivateS3) -> None:
    for method in ("HEAD", "PATCH"):
        answer = front.ask(method, BASE + new_key())
        assert (answer.status, answer.headers["cache-control"]) == (404, "no-store")
    assert tusd.asked == []


INFOS: dict[str, tuple[object, str]] = {
    "another upload's": ({"ID": f"{'x' * 20}+{MULTIPART}"}, "the info names another upload"),
    "nothing in it": ({}, "the info names another upload"),
    "a path": ({"ID": f"{'k' * 20}+../../x"}, "the info names another upload"),
    "a line": ({"ID": f"{'k' * 20}+x\r\ny"}, "the info names another upload"),
    "no object": ("text", "the info names another upload"),
    "long": ({"ID": f"{'k' * 20}+x", "more": "x" * 70_000}, "the info is too long"),
}


@pytest.mark.parametrize("case", INFOS)
def test_an_info_that_is_none_of_tusd_s(front: Front, tusd: Tusd, s3: PrivateS3, case: str) -> None:
    info, reason = INFOS[case]
    key = created(s3, "k" * 20, info)
    assert front.ask("HEAD", BASE + key).status == 503
    assert front.errors()[-1]["reason"] == reason
    assert tusd.asked == []


@pytest.mark.parametrize("refuse", [(403, "AccessDenied"), (404, "NoSuchBucket"), (503, "SlowDown")])
def test_trouble_with_s3_is_for_later(front: Front, tusd: Tusd, s3: PrivateS3, refuse: tuple[int, str]) -> None:
    key = created(s3)
    s3.refuse = refuse
    for body in (b"", os.urandom(2 * MIB)):
        answer = front.ask("PATCH", BASE + key, {"Upload-Offset": "0"}, body)
        assert (answer.status, answer.headers["retry-after"]) == (503, "10")
    told = front.errors()[-1]
    assert (told["key"], told["reason"]) == (f"{key[:4]}…", f"S3 answered {refuse[0]} {refuse[1]}")
    assert tusd.asked == []


# --- streams --------------------------------------------------------------------------------------------------


def test_a_client_that_leaves_leaves_what_it_sent(front: Front, tusd: Tusd, s3: PrivateS3) -> None:
    key = created(s3)
    with begun(front, key, 9_999_999, bytes(3 * MIB)):
        wait_until(lambda: bool(tusd.asked), 5, "asked")
        time.sleep(0.3)
    wait_until(lambda: tusd.broken == [3 * MIB], 5, f"passed on, and ended: {tusd.broken}")


@pytest.mark.parametrize("method", ["DELETE", "HEAD", "OPTIONS", "PATCH", "POST"])
def test_a_body_never_becomes_another_request(s3: PrivateS3, tmp_path: Path, method: str) -> None:
    """Chunks without a frame are what the server behind takes for the next request on the connection."""
    hidden = b"POST /attachments HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    with (
        socket.create_server(("127.0.0.1", 0)) as tusd,
        fronting(tmp_path, tusd.getsockname()[1], s3.port) as front,
        socket.create_connection(("127.0.0.1", front.port)) as client,
    ):
        head = f"{method} /attachments HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.sendall(head.encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (len(hidden), hidden))
        tusd.settimeout(10)
        connection, _ = tusd.accept()
        with connection:
            connection.settimeout(10)
            received = b""
            while hidden not in received or not received.endswith(b"0\r\n\r\n"):
                chunk = connection.recv(65536)
                assert chunk, received
                received += chunk
    fields, _, body = received.partition(b"\r\n\r\n")
    assert fields.lower().count(b"transfer-encoding: chunked") == 1
    assert b"content-length" not in fields.lower()
    assert body == b"%x\r\n%s\r\n0\r\n\r\n" % (len(hidden), hidden)


@pytest.mark.parametrize("size", [10, 40 * MIB])
def test_an_answer_that_comes_early_is_not_lost(front: Front, tusd: Tusd, s3: PrivateS3, size: int) -> None:
    key = created(s3)
    tusd.status, tusd.early, tusd.body = 409, True, b"mismatched offset"
    with begun(front, key, size, bytes(size)) as client:
        received = b""
        while chunk := client.recv(65536):
            received += chunk
            if received.endswith(tusd.body):
                break
    assert received.startswith(b"HTTP/1.1 409 ")
    assert received.endswith(b"\r\n\r\nmismatched offset")


def test_a_refusal_that_comes_early_is_not_lost(front: Front, tusd: Tusd, s3: PrivateS3) -> None:
    answer = front.ask("PATCH", BASE + new_key(), {}, bytes(40 * MIB))
    assert (answer.status, answer.headers["connection"]) == (404, "close")
    assert tusd.asked == []


def test_memory_does_not_grow_with_the_upload(tusd: Tusd, s3: PrivateS3, tmp_path: Path) -> None:
    key, body = created(s3), os.urandom(100 * MIB)
    tusd.digest = True
    with fronting(tmp_path, tusd.port, s3.port) as front:
        front.ask("PATCH", BASE + key, {}, body[: 10 * MIB])
        before = peak_memory(front.process)
        front.ask("PATCH", BASE + key, {}, body)
        assert tusd.bodies[-1] == hashlib.sha256(body).digest()
        assert peak_memory(front.process) - before < 48 * MIB


def test_a_tusd_that_is_gone(s3: PrivateS3, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with fronting(tmp_path, unused.getsockname()[1], s3.port) as front:
            assert front.ask("POST", "/attachments", {}, b"x" * 1000).status == 502
            assert front.errors()[-1]["reason"] == "ECONNREFUSED"


def test_a_client_that_sends_nothing_is_dropped(tusd: Tusd, s3: PrivateS3, tmp_path: Path) -> None:
    key = created(s3)
    with (
        fronting(tmp_path, tusd.port, s3.port, "--idle-seconds", "1") as front,
        begun(front, key, 9, b"1234") as client,
    ):
        while client.recv(1000):
            pass
    wait_until(lambda: tusd.broken == [4], 5, "ended")


def dropped(client: socket.socket) -> bool:
    """Whether the server has ended a connection on which some more bytes are sent."""
    try:
        client.sendall(bytes(100))
    except (BrokenPipeError, ConnectionResetError):
        return True
    return False


def test_a_client_that_goes_on_below_the_floor_is_dropped(tusd: Tusd, s3: PrivateS3, tmp_path: Path) -> None:
    key = created(s3)
    with (
        fronting(tmp_path, tusd.port, s3.port, "--min-rate", "100000", "--progress-seconds", "1") as front,
        begun(front, key, 9_999_999, bytes(3 * MIB)) as client,
    ):
        wait_until(lambda: dropped(client), 15, "dropped")
    wait_until(lambda: bool(tusd.broken), 5, "ended")
    assert tusd.broken[0] >= 3 * MIB


def test_no_client_takes_all_requests(tusd: Tusd, s3: PrivateS3, tmp_path: Path) -> None:
    """The last address is the one that Traefik writes."""
    key = created(s3)
    with fronting(tmp_path, tusd.port, s3.port, "--max-per-client", "2") as front, ExitStack() as held:
        for address in ("2001:db8::1", "203.0.113.9, 2001:db8::ffff:2"):
            held.enter_context(begun(front, key, 9, b"1", f"X-Forwarded-For: {address}"))
        wait_until(lambda: len(tusd.asked) == 2, 5, "two under way")
        refused = front.ask("HEAD", BASE + key, {"X-Forwarded-For": "203.0.113.9, 2001:db8::3"})
        assert (refused.status, refused.headers["retry-after"]) == (429, "5")
        assert front.ask("HEAD", BASE + key, {"X-Forwarded-For": "203.0.113.9"}).status == 204


# --- the process ----------------------------------------------------------------------------------------------


def test_sigterm_lets_requests_finish(tusd: Tusd, s3: PrivateS3, tmp_path: Path) -> None:
    key = created(s3)
    with fronting(tmp_path, tusd.port, s3.port) as front, begun(front, key, 8, b"1234") as client:
        wait_until(lambda: bool(tusd.asked), 5, "asked")
        os.kill(front.process.pid, signal.SIGTERM)
        time.sleep(0.3)
        client.sendall(b"5678")
        assert client.recv(1000).startswith(b"HTTP/1.1 204 ")
        client.close()
        assert front.process.wait(10) == 0
        assert key not in front.process.text()
    assert tusd.bodies == [b"12345678"]


def test_wrong_flags_end_it_with_one_clear_line() -> None:
    wrong: list[tuple[list[str], str]] = [
        (["--tusd", "tusd"], "--tusd must be an IP address and a port"),
        (["--base-path", "x"], "--base-path must begin and end with a slash"),
        (["--s3-bucket", "B"], "--s3-bucket must be the name of a bucket"),
        (["--idle-seconds", "0"], "--idle-seconds must be a whole number"),
        (["--more"], "Unknown option '--more'"),
        ([], "the environment names no AWS credentials"),
    ]
    all_refused(RESUME, [([*flags(1, 1), *more], says) for more, says in wrong])
