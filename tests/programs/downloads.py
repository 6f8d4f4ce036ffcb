"""CDN3's downloads as a process, a client that sees each byte, and what RFC 9110 wants of it."""

import random
import re
import socket
import string
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from components.programs import CDN3_DOWNLOAD, FOLDER
from tests.lab.process import Process

DOWNLOAD = FOLDER / CDN3_DOWNLOAD.name

BASE = "/attachments/"

MIB = 1024 * 1024

MEMORY_LIMIT = 192 * MIB

CONTENT = random.Random(3).randbytes(200_000)

Headers = dict[str, str]

PARSER_REFUSALS = (400, 408, 431)


@dataclass(frozen=True)
class Reply:
    """An answer as it came: header names in lower case, and the bytes after the head, as many as it announced."""

    status: int
    headers: Headers
    body: bytes


class Client:
    """One connection, for bytes that an HTTP library would not send."""

    def __init__(self, port: int, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(30)
        self.socket.connect(("127.0.0.1", port))
        self._file = self.socket.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def send(self, target: str, headers: Headers | None = None, method: str = "GET") -> None:
        lines = [f"{method} {target} HTTP/1.1", "Host: cdn3", *(f"{k}: {v}" for k, v in (headers or {}).items())]
        self.socket.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin1"))

    def head(self) -> Reply:
        """Status and headers of the next answer; EOFError when the connection ends instead."""
        lines = list(iter(self._line, b""))
        if not lines:
            raise EOFError
        pairs = [line.decode("latin1").split(": ", 1) for line in lines[1:]]
        assert len({name.lower() for name, _ in pairs}) == len(pairs), "a repeated header"
        return Reply(int(lines[0].split(b" ")[1]), {name.lower(): value for name, value in pairs}, b"")

    def body(self, count: int) -> bytes:
        """The next `count` bytes, or those before the connection's end."""
        return self._file.read(count)

    def ask(self, target: str, headers: Headers | None = None, method: str = "GET") -> Reply:
        self.send(target, headers, method)
        return self.reply(method)

    def reply(self, method: str = "GET") -> Reply:
        reply = self.head()
        if method == "HEAD" or reply.status == 304:
            return reply
        # Node's own refusals have no length and end the connection.
        length = int(reply.headers["content-length"]) if reply.status not in PARSER_REFUSALS else 0
        body = self.body(length)
        assert len(body) == length
        return Reply(reply.status, reply.headers, body)

    def wait_end(self) -> None:
        """Returns when the server has ended the connection; TimeoutError when it does not. Throws away what comes."""
        with suppress(ConnectionResetError):
            while self._file.read(MIB):
                pass

    def _line(self) -> bytes:
        return self._file.readline().rstrip(b"\r\n")


@dataclass
class Server:
    process: Process
    uploads: Path
    port: int
    health_port: int

    def client(self, receive_buffer: int | None = None) -> closing[Client]:
        return closing(Client(self.port, receive_buffer))

    def ask(self, key: str, headers: Headers | None = None, method: str = "GET") -> Reply:
        """One request for a key on a connection of its own."""
        with self.client() as client:
            return client.ask(BASE + key, headers, method)

    def health(self, path: str = "/readyz") -> int:
        with closing(Client(self.health_port)) as client:
            client.send(path)
            return client.head().status

    def open_files(self) -> list[str]:
        """The uploads that the process has open."""
        found = []
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found.append(str(link.readlink()))
        return [name for name in found if name.startswith(f"{self.uploads}/")]


WHOLE = "whole"

UNSATISFIABLE = "unsatisfiable"


def range_verdict(header: str, size: int) -> tuple[int, int] | str:
    """RFC 9110, 14.1 and 14.2, written apart from the program: the one range as (start, end), `end` excluded."""
    unit, equals, rest = header.strip(" \t").partition("=")
    first, dash, last = rest.partition("-")
    digits = set(string.digits)
    if unit.lower() != "bytes" or not equals or not dash or not set(first + last) <= digits or not first + last:
        return WHOLE
    if size == 0 or (first and last and int(last) < int(first)):
        return WHOLE
    if not first:
        return (max(0, size - int(last)), size) if int(last) else UNSATISFIABLE
    if int(first) >= size:
        return UNSATISFIABLE
    return int(first), min(size, int(last) + 1) if last else size


def check_range(reply: Reply, header: str, content: bytes) -> None:
    size, verdict = len(content), range_verdict(header, len(content))
    if verdict == UNSATISFIABLE:
        assert (reply.status, reply.body) == (416, b"")
        assert reply.headers["content-range"] == f"bytes */{size}"
    elif isinstance(verdict, str):
        assert (reply.status, reply.body) == (200, content)
        assert "content-range" not in reply.headers
    else:
        start, end = verdict
        assert (reply.status, reply.body) == (206, content[start:end])
        assert reply.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
        assert reply.headers["etag"]


LONG_AGO, FUTURE = "Sun, 06 Nov 1994 08:49:37 GMT", "Sat, 06 Nov 2094 08:49:37 GMT"

PRECONDITIONS: list[tuple[Headers, int]] = [
    ({"If-None-Match": "{etag}"}, 304),
    ({"If-None-Match": "W/{etag}"}, 304),
    ({"If-None-Match": '"a", {etag} ,"b"'}, 304),
    ({"If-None-Match": "*"}, 304),
    ({"If-None-Match": '"a", "b"'}, 200),
    ({"If-None-Match": "{tag}"}, 200),
    ({"If-None-Match": '"a"', "If-Modified-Since": "{modified}"}, 200),
    ({"If-None-Match": "{etag}", "If-Modified-Since": LONG_AGO}, 304),
    ({"If-None-Match": "{etag}", "Range": "bytes=0-1"}, 304),
    ({"If-None-Match": "{etag}", "Range": "bytes=900-"}, 304),
    ({"If-Modified-Since": "{modified}"}, 304),
    ({"If-Modified-Since": FUTURE}, 304),
    ({"If-Modified-Since": LONG_AGO}, 200),
    ({"If-Modified-Since": "2094-01-01"}, 200),
    ({"If-Modified-Since": "Invalid Date"}, 200),
    ({"If-Modified-Since": ""}, 200),
    ({"If-Match": "{etag}"}, 200),
    ({"If-Match": "*"}, 200),
    ({"If-Match": '"a", {etag}'}, 200),
    ({"If-Match": "W/{etag}"}, 412),
    ({"If-Match": '"a"'}, 412),
    ({"If-Match": '"a"', "If-None-Match": "{etag}"}, 412),
    ({"If-Match": '"a"', "Range": "bytes=900-"}, 412),
    ({"If-Unmodified-Since": "{modified}"}, 200),
    ({"If-Unmodified-Since": FUTURE}, 200),
    ({"If-Unmodified-Since": LONG_AGO}, 412),
    ({"If-Unmodified-Since": "1994"}, 200),
    ({"If-Match": "{etag}", "If-Unmodified-Since": LONG_AGO}, 200),
]
"""Headers, in which `{etag}`, `{tag}` and `{modified}` are those of the upload, and the status that they get."""


def check_precondition(server: Server, key: str, method: str, headers: Headers, status: int) -> None:
    known = server.ask(key)
    values = {"etag": known.headers["etag"], "modified": known.headers["last-modified"]}
    values["tag"] = values["etag"].strip('"')
    reply = server.ask(key, {name: value.format(**values) for name, value in headers.items()}, method)
    assert reply.status == status
    assert reply.body == (known.body if status == 200 and method == "GET" else b"")
    if status == 304:
        told = ("etag", "last-modified", "cache-control")
        assert [reply.headers[name] for name in told] == [known.headers[name] for name in told]
    assert "content-type" not in reply.headers or status == 200


def check_if_range(server: Server, key: str) -> None:
    """Of an upload of 100 bytes or less: a part is for those alone who have the beginning of the same content."""
    known = server.ask(key)
    etag = known.headers["etag"]
    statuses = {etag: 206, f"W/{etag}": 200, '"other"': 200, known.headers["last-modified"]: 200, "": 200}
    for value, status in statuses.items():
        reply = server.ask(key, {"Range": "bytes=10-", "If-Range": value})
        assert (reply.status, reply.body) == (status, known.body[10:] if status == 206 else known.body)


def check_head(server: Server, key: str) -> None:
    """It is as GET, without content and without ranges."""
    got, asked = server.ask(key), server.ask(key, {"Range": "bytes=0-9"}, "HEAD")
    assert (asked.status, asked.body) == (200, b"")
    assert {**asked.headers, "date": ""} == {**got.headers, "date": ""}
    assert server.ask("n" * 20, method="HEAD").status == 404


def check_whole(reply: Reply, content: bytes, modified: str) -> str:
    """The answer to a plain request; returns its ETag."""
    assert (reply.status, reply.body) == (200, content)
    etag = reply.headers.pop("etag")
    reply.headers.pop("date")
    assert reply.headers == {
        "content-type": "application/octet-stream",
        "content-length": str(len(content)),
        "content-disposition": "attachment",
        "x-content-type-options": "nosniff",
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=3600, immutable",
        "last-modified": modified,
        "connection": "keep-alive",
        "keep-alive": "timeout=120",
    }
    return etag


NUMBER = st.integers(0, 120).map(str) | st.integers(0, 10**30).map(str) | st.sampled_from(["", "0", "99", "100", "101"])

RANGE = (
    st.builds("{}={}-{}".format, st.sampled_from(["bytes", "Bytes", "items", ""]), NUMBER, NUMBER)
    | st.lists(st.sampled_from([*"bytes=-,0123456789 \t", "bytes=", "-", "5"]), max_size=12).map("".join)
    | st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30)
)


def peak_memory(process: Process) -> int:
    """The most that the process has had in memory so far, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


FLOOR = ("--min-rate", "999999", "--grace-seconds", "1", "--idle-seconds", "1")
