"""A client outside of the node: HTTPS through Traefik with the rendered authority, and steady load."""

import http.client
import os
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.frames import CloseCode
from websockets.sync.client import ClientConnection, connect

from tests.lab.machine import ADDRESS, Machine
from tests.lab.process import wait_until
from tests.tus.hook import credentials, metadata, new_key

PERIOD_SECONDS = 0.2
KEY = "A" * 20
PROBES: Mapping[str, tuple[str, str, int]] = {
    "whisper": ("GET", "/v1/config", 200),
    "storage": ("GET", "/v1/groups", 401),
    "cdn0": ("GET", f"/profiles/{'A' * 22}", 404),
    "cdn3": ("GET", f"/attachments/{KEY}", 404),
}
"""Of each public host: a request, and the status of its answer when all is well."""


class Outside:
    """`request` and `load` for the hosts below `domain`; `authority` is a file with the authority's certificate."""

    def __init__(self, machine: Machine, domain: str, authority: Path | None) -> None:
        self._machine, self._domain = machine, domain
        self._trusted = ssl.create_default_context(cafile=str(authority) if authority else None)

    def request(
        self,
        host: str,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        seconds: float = 10,
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, body and headers of the answer, on a connection of its own. Raises OSError."""
        name = f"{host}.{self._domain}"
        connection = http.client.HTTPConnection(name)
        with self._machine.connect(ADDRESS, 443, seconds) as plain:
            connection.sock = self._trusted.wrap_socket(plain, server_hostname=name)
            try:
                connection.request(method, path, body, dict(headers or {}))
                answer = connection.getresponse()
                return answer.status, answer.read(), dict(answer.headers)
            except http.client.HTTPException as error:
                raise OSError(repr(error)) from error
            finally:
                connection.close()

    def web_socket(self) -> ClientConnection:
        """An open WebSocket to Whisper. Raises OSError."""
        name = f"whisper.{self._domain}"
        plain = self._machine.connect(ADDRESS, 443, 10)
        try:
            return connect(f"wss://{name}/v1/websocket/", sock=plain, ssl=self._trusted, proxy=None, ping_interval=None)
        except WebSocketException as refused:
            plain.close()
            raise OSError(repr(refused)) from refused
        except BaseException:
            plain.close()
            raise

    def answers(self, host: str) -> bool:
        """Whether the host's probe is answered as it should be."""
        method, path, expected = PROBES[host]
        try:
            return self.request(host, method, path)[0] == expected
        except OSError:
            return False


@dataclass
class Record:
    """What came of the requests to one host. `bad`: seconds since the start, and why."""

    good: int = 0
    bad: list[tuple[float, str]] = field(default_factory=list)

    @property
    def gap(self) -> float:
        """Seconds from the first failure to the last."""
        return self.bad[-1][0] - self.bad[0][0] if self.bad else 0.0

    def __str__(self) -> str:
        kinds = dict(Counter(kind for _, kind in self.bad))
        return f"{self.good} good, {len(self.bad)} failed within {self.gap:.1f} s {kinds or ''}".strip()


class Load:
    """Asks every host five times a second while the context lasts; `records` tell what came of it."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self.records = {host: Record() for host in PROBES}
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(host,)) for host in PROBES]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, host: str) -> None:
        method, path, expected = PROBES[host]
        began, record = time.monotonic(), self.records[host]
        while not self._over.wait(PERIOD_SECONDS):
            asked = time.monotonic() - began
            try:
                status, _, _ = self._outside.request(host, method, path)
            except OSError as failure:
                record.bad.append((asked, type(failure).__name__))
                continue
            if status == expected:
                record.good += 1
            else:
                record.bad.append((asked, str(status)))


class Meanwhile:
    """Does something while the context lasts, in a thread of its own."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _go_on(self) -> None:
        """Goes on until `_over` is set."""
        raise NotImplementedError


class Entries(Meanwhile):
    """Entries in DynamoDB, Redis and the object store at once, by the stand-in of Whisper.

    `acknowledged` are those that it has answered for. While the context lasts, one after the other is written.
    """

    def __init__(self, outside: Outside, name: str) -> None:
        super().__init__()
        self._outside, self._name = outside, name
        self.acknowledged: list[str] = []

    @classmethod
    def of(cls, outside: Outside, other: Self) -> Self:
        """Those of another, asked for by another way."""
        entries = cls(outside, other._name)
        entries.acknowledged += other.acknowledged
        return entries

    def write(self) -> None:
        """Tries to write one, once."""
        key = f"{self._name}-{len(self.acknowledged)}"
        try:
            status, _, _ = self._outside.request("whisper", "PUT", f"/v1/lab/entry/{key}")
        except OSError:
            return
        if status == 200:
            self.acknowledged.append(key)

    def _go_on(self) -> None:
        while not self._over.wait(PERIOD_SECONDS):
            self.write()

    def lost(self) -> list[str]:
        """Those of the acknowledged that some store lacks, with what each store has."""
        found = {key: self._outside.request("whisper", "GET", f"/v1/lab/entry/{key}") for key in self.acknowledged}
        whole = b'{"dynamodb": true, "redis": true, "s3": true}'
        return [f"{key}: {body.decode()}" for key, (_, body, _) in found.items() if body != whole]


class Uploads(Meanwhile):
    """Attachments, uploaded in pieces and downloaded again, one after the other while the context lasts.

    A piece that fails is resumed where CDN3 says. `whole` have come back as they were sent, `resumed` pieces were cut
    off, `longest` is the longest answer in seconds, and `refused` tells every other answer than the right one.
    """

    PIECE, PIECES = 100_000, 5

    def __init__(self, outside: Outside, secret: bytes) -> None:
        super().__init__()
        self._outside, self._secret = outside, secret
        self.whole = self.resumed = 0
        self.longest = 0.0
        self.refused: list[str] = []

    def _go_on(self) -> None:
        while not self._over.is_set():
            self._upload(new_key(), os.urandom(self.PIECE * self.PIECES))

    def _upload(self, key: str, content: bytes) -> None:
        creation = {
            "Upload-Length": str(len(content)),
            "Upload-Metadata": metadata(filename=key),
            "Authorization": credentials(key, secret=self._secret),
        }
        if self._ask("POST", "", b"", creation)[0] != 201:
            self.refused.append(f"POST: {self._last}")
            return
        offset = 0
        while offset < len(content):
            piece = content[offset : offset + self.PIECE]
            sent = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
            status, _, headers = self._ask("PATCH", f"/{key}", piece, sent)
            if status != 204:
                self.resumed += 1
                status, _, headers = self._ask("HEAD", f"/{key}")
            if "Upload-Offset" not in headers:
                self.refused.append(f"HEAD: {self._last}")
                return
            offset = int(headers["Upload-Offset"])
        if self._ask("GET", f"/{key}")[1] == content:
            self.whole += 1
        else:
            self.refused.append(f"GET: {self._last}")

    def _ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, Mapping[str, str]]:
        asked = {"Tus-Resumable": "1.0.0", **(headers or {})}
        began = time.monotonic()
        try:
            answer = self._outside.request("cdn3", method, f"/attachments{path}", body, asked, seconds=60)
        except OSError as failure:
            answer = (0, repr(failure).encode(), {})
        self._last = f"{answer[0]} {answer[1][:80]!r}"
        self.longest = max(self.longest, time.monotonic() - began)
        return answer


class WebSockets(Meanwhile):
    """Some WebSockets to Whisper, each of which sends a text again and again and gets it back.

    `drained` counts those that Whisper has closed in order, `dropped` tells how others ended. Both connect again.
    `echoed` counts the answers of each; `longest` is the longest time in seconds that one had no connection.
    """

    COUNT = 6

    def __init__(self, outside: Outside) -> None:
        super().__init__()
        self._outside = outside
        self.drained = 0
        self.echoed = [0] * self.COUNT
        self.dropped: list[str] = []
        self.longest = 0.0

    def _go_on(self) -> None:
        threads = [threading.Thread(target=self._hold, args=(number,)) for number in range(self.COUNT)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _hold(self, number: int) -> None:
        gone = None
        while not self._over.is_set():
            try:
                connection = self._outside.web_socket()
            except OSError:
                gone = gone or time.monotonic()
                self._over.wait(PERIOD_SECONDS)
                continue
            if gone:
                self.longest, gone = max(self.longest, time.monotonic() - gone), None
            with connection:
                try:
                    while not self._over.wait(PERIOD_SECONDS):
                        connection.send("still here")
                        assert connection.recv(10) == "still here"
                        self.echoed[number] += 1
                    continue
                except ConnectionClosed as closed:
                    if closed.rcvd is not None and closed.rcvd.code == CloseCode.GOING_AWAY:
                        self.drained += 1
                    else:
                        self.dropped.append(str(closed))
                except TimeoutError:
                    self.dropped.append("no answer for 10 s")
                gone = time.monotonic()


def lasting(outside: Outside, name: str, count: int = 20) -> Entries:
    """Some entries that have been acknowledged."""
    entries = Entries(outside, name)
    for _ in range(count):
        entries.write()
    assert len(entries.acknowledged) == count
    return entries


def report(text: str) -> None:
    """A figure, for whoever looks."""
    print(f"node: {text}", flush=True)


def until(condition: Callable[[], bool], seconds: float) -> float:
    """The seconds after which `condition` held; raises TimeoutError."""
    began = time.monotonic()
    wait_until(condition, seconds, "answers from outside")
    return time.monotonic() - began
