"""A stand-in for the S3 server behind the gate: keeps objects in memory and everything that it was sent."""

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

from tests.programs.cdn0_vectors import STORED


@dataclass
class Received:
    """One request as it arrived; `broken` if the connection ended before the announced bytes were there."""

    method: str
    target: str
    headers: dict[str, str]
    complete: bool = False
    broken: bool = False
    received: int = 0


@dataclass
class RecordingS3:
    """The state of the server, and what a test may set: how it answers, and how slowly it reads."""

    port: int
    bucket: str
    objects: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    requests: list[Received] = field(default_factory=list)
    status: int | None = None  # answer this instead of doing what was asked
    early: bool = False  # answer an upload before its body is read, then read on
    silent: bool = False  # never answer
    pause: float = 0.0  # seconds before each 64 KiB of an upload
    cut: int | None = None  # close after so many bytes of an answer's body
    keep: bool = True  # hold the bytes of uploads
    accepted: dict[object, list[Received]] = field(default_factory=dict)  # by peer address, where it is recorded

    def reset(self) -> None:
        """As at the start. What arrives late on connections that were made before is not recorded any more."""
        with socket.create_connection(("127.0.0.1", self.port)) as barrier:
            while barrier.getsockname() not in self.accepted:
                time.sleep(0.0005)
        self.objects = {key: (body, "application/octet-stream") for key, body in STORED.items()}
        self.requests = []
        self.status, self.early, self.silent, self.pause, self.cut, self.keep = None, False, False, 0.0, None, True


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    server: "Server"  # pyrefly: ignore[bad-override-mutable-attribute]

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: pytest shows the recorded requests."""

    @property
    def s3(self) -> RecordingS3:
        return self.server.s3

    def setup(self) -> None:
        super().setup()
        self.records = self.s3.accepted[self.client_address]

    def handle(self) -> None:
        with suppress(ConnectionError):  # the gate gave up on a request: what was recorded tells
            super().handle()

    def seen(self) -> Received:
        if self.command in ("GET", "HEAD"):
            self.records = self.s3.requests  # connections for reads are kept, so this one may be of another time
        record = Received(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        self.records.append(record)
        return record

    def answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        while self.s3.silent and not self.server.stopping.is_set():
            time.sleep(0.05)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.s3.cut is not None:
            self.wfile.write(body[: self.s3.cut])
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.content(body)

    def content(self, body: bytes) -> None:
        """Sends the body of an answer."""
        self.wfile.write(body)

    def body(self, record: Received) -> bytes | None:
        """What was uploaded, nothing if it is not kept; None if the connection ended before all of it was there."""
        left = int(self.headers["Content-Length"])
        chunks = []
        while left:
            if self.s3.pause:
                time.sleep(self.s3.pause)
            try:
                chunk = self.rfile.read1(min(left, 65536))
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                record.broken = self.close_connection = True
                return None
            left -= len(chunk)
            record.received += len(chunk)
            if self.s3.keep:
                chunks.append(chunk)
        record.complete = True
        return b"".join(chunks)

    def key(self) -> str:
        """The key that the path names."""
        return self.path.replace("%3D", "=").removeprefix(f"/{self.s3.bucket}/")

    def do_PUT(self) -> None:
        record = self.seen()
        s3 = self.s3
        if s3.early:
            self.answer(500, {}, b"<Error>secret of the upstream</Error>")
        body = self.body(record)
        if body is None or s3.early:
            return None
        if s3.status:
            return self.answer(s3.status, {}, b"<Error>secret of the upstream</Error>")
        key = self.key()
        s3.objects[key] = (body, self.headers.get("Content-Type", ""))
        digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
        return self.answer(200, {"ETag": f'"{digest}"', "x-amz-secret": "of the upstream"})

    def do_GET(self) -> None:
        self.seen().complete = True
        s3 = self.s3
        if s3.status:
            return self.answer(s3.status, {"Content-Type": "application/xml"}, b"<Error>secret of the upstream</Error>")
        key = self.key()
        if key not in s3.objects:
            return self.answer(404, {"Content-Type": "application/xml"}, b"<Error>secret of the upstream</Error>")
        body, content_type = s3.objects[key]
        headers = {
            "Content-Type": content_type,
            "ETag": f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"',
            "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
            "Accept-Ranges": "bytes",
            "Set-Cookie": "upstream=1",
            "x-amz-request-id": "upstream",
            "Access-Control-Allow-Origin": "*",
            "Location": "http://upstream.internal/",
            "Server": "upstream",
        }
        if self.headers.get("If-None-Match") == headers["ETag"]:
            return self.answer(304, headers)
        if self.headers.get("If-Match", headers["ETag"]) != headers["ETag"]:
            return self.answer(412, headers, b"<Error>secret of the upstream</Error>")
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start = int(first) if first else len(body) - int(last)
            end = min(int(last), len(body) - 1) if first and last else len(body) - 1
            if start > end:
                return self.answer(
                    416, {"Content-Range": f"bytes */{len(body)}"}, b"<Error>secret of the upstream</Error>"
                )
            headers["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
            return self.answer(206, headers, body[start : end + 1])
        return self.answer(200, headers, body)

    def do_DELETE(self) -> None:
        self.seen().complete = True
        if self.s3.status:
            return self.answer(self.s3.status, {}, b"<Error>secret of the upstream</Error>")
        self.s3.objects.pop(self.key(), None)
        return self.answer(204)

    def do_HEAD(self) -> None:
        self.do_GET()


class Server(ThreadingHTTPServer):
    """The server of one RecordingS3."""

    daemon_threads = True
    block_on_close = False
    s3: RecordingS3
    stopping: threading.Event

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        self.s3.accepted[client_address] = self.s3.requests  # in the order of the connections
        super().process_request(request, client_address)


S3 = TypeVar("S3", bound=RecordingS3)


@contextmanager
def recording_s3(bucket: str) -> Iterator[RecordingS3]:
    """The server on a free port of 127.0.0.1, until the block ends."""
    with serving(lambda port: RecordingS3(port, bucket), Handler) as s3:
        yield s3


@contextmanager
def serving(make: Callable[[int], S3], kind: type[Handler]) -> Iterator[S3]:
    """Such a server, with handlers of that kind."""
    server = Server(("127.0.0.1", 0), kind)
    server.stopping = threading.Event()
    server.s3 = s3 = make(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        s3.reset()
        yield s3
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()
