"""The answers of each service to a client that has no account, over a connection that is open."""

import asyncio
import http.client
import io
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import IO, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from connectivity.problem import SOMETHING_BETWEEN, Problem
from connectivity.transport import Connection

ANSWER_SECONDS = 10.0
MOST = 1 << 16
"""Bytes of an answer that are read."""
AGENT = "flatline-connect"
NOBODY = "A" * 22
"""An avatar or an attachment that there is not, as its key is written."""

_TRAEFIKS_404 = b"404 page not found"
_TIMESTAMP = "X-Signal-Timestamp"
"""Of every answer of Whisper. libsignal takes an answer without it for one of a proxy (its confirmation header)."""
_DOWN = {502: "cannot reach", 503: "has no ready pod for", 504: "gets no answer from"}
_PODS = "`./flatline status --context <context>` shows which pods are not ready; look at their logs."
_LIMITED = (
    "Too many requests come from the address of this machine, or Traefik sees all clients under one address: "
    "`./flatline status --context <context>` tells. Wait a minute and try again."
)

Service = Callable[[Connection, str], Awaitable[str]]
"""Asks a host, and tells what was found. Raises Problem."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def whisper(connection: Connection, host: str) -> str:
    """A WebSocket without credentials, as for registration and sealed messages, and a ping that comes back."""
    dialogue = _WebSocket(connection, host)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await dialogue.open()
    except TimeoutError:
        raise _slow(host) from None
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await dialogue.ping()
    except TimeoutError:
        raise Problem(
            f"the WebSocket of {host} opens, and carries no data: a ping is not answered within {ANSWER_SECONDS:g} s",
            f"A proxy takes the upgrade and does not pass the connection on. {SOMETHING_BETWEEN}",
        ) from None
    return "a WebSocket opens and carries data"


async def storage(connection: Connection, host: str) -> str:
    """Groups are refused without credentials, by Storage itself."""
    return await _refused_to_all(connection, host, "Storage", "/v1/groups", "groups")


async def cdn0(connection: Connection, host: str) -> str:
    """An avatar that there is not is not found, by the gate itself."""
    return await _not_found(connection, host, "CDN0", f"/profiles/{NOBODY}", "an avatar")


async def cdn3(connection: Connection, host: str) -> str:
    """An attachment that there is not is not found, by CDN3 itself."""
    return await _not_found(connection, host, "CDN3", f"/attachments/{NOBODY[:20]}", "an attachment")


async def sfu(connection: Connection, host: str) -> str:
    """The calls of a group are refused without credentials, by the calling service itself."""
    path = "/v2/conference/participants"
    return await _refused_to_all(connection, host, "the calling service", path, "the calls of a group")


async def _refused_to_all(connection: Connection, host: str, service: str, path: str, what: str) -> str:
    answer = await asked(connection, host, path)
    if answer.status != http.HTTPStatus.UNAUTHORIZED:
        raise unexpected(answer, host, service, "401 for a request without credentials")
    return f"401 for {what}, as it must be without credentials"


async def _not_found(connection: Connection, host: str, service: str, path: str, what: str) -> str:
    answer = await asked(connection, host, path)
    if answer.status != http.HTTPStatus.NOT_FOUND or _TRAEFIKS_404 in answer.body:
        raise unexpected(answer, host, service, f"404 for {what} that there is not")
    return f"404 for {what} that there is not"


SERVICES: Mapping[str, Service] = {"whisper": whisper, "storage": storage, "cdn0": cdn0, "cdn3": cdn3, "sfu": sfu}
"""By the pin of their URL."""


async def asked(
    connection: Connection,
    host: str,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] = MappingProxyType({}),
    body: bytes = b"",
) -> Answer:
    """The answer to one request. Raises Problem where there is none in HTTP."""
    lines = {"Host": host, "User-Agent": AGENT, "Accept": "*/*", **headers, "Connection": "close"}
    if body:
        lines["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    request = f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body
    received = bytearray()
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            connection.writer.write(request)
            await connection.writer.drain()
            while len(received) < MOST and (block := await connection.reader.read(MOST)):
                received += block
    except TimeoutError:
        raise _slow(host) from None
    except OSError:
        raise _cut(host) from None
    if not received:
        raise _cut(host)
    return _parsed(bytes(received), host)


def _parsed(received: bytes, host: str) -> Answer:
    parser = http.client.HTTPResponse(cast(socket.socket, _Received(received)))
    try:
        parser.begin()
        return Answer(parser.status, dict(parser.headers), parser.read(MOST))
    except (http.client.HTTPException, ValueError):
        raise Problem(
            f"{host} answers within TLS, and not in HTTP",
            f"The TLS entry point passes connections on to a server that speaks another protocol. {SOMETHING_BETWEEN}",
        ) from None


class _WebSocket:
    """The client's half of a WebSocket, by the rules of websockets, on a connection that is open."""

    def __init__(self, connection: Connection, host: str) -> None:
        self._reader, self._writer, self._host = connection.reader, connection.writer, host
        self._protocol = ClientProtocol(parse_uri(f"wss://{host}/v1/websocket/"), max_size=MOST)

    async def open(self) -> None:
        """The handshake. Raises Problem."""
        request = self._protocol.connect()
        request.headers["User-Agent"] = AGENT
        self._protocol.send_request(request)
        while self._protocol.state is State.CONNECTING and self._protocol.handshake_exc is None:
            if not await self._exchange():
                raise _cut(self._host)
        if self._protocol.handshake_exc is not None:
            raise _refused(self._protocol.handshake_exc, self._host)

    async def ping(self) -> None:
        """Returns when a ping came back. Raises Problem."""
        self._protocol.send_ping(AGENT.encode())
        while True:
            answers = await self._exchange()
            if any(isinstance(each, Frame) and each.opcode is Opcode.PONG for each in answers):
                self._protocol.send_close(1000)
                self._writer.write(b"".join(self._protocol.data_to_send()))
                return
            if self._protocol.state is not State.OPEN or not answers:
                raise Problem(
                    f"the WebSocket of {self._host} opens, and is cut at once",
                    f"A proxy takes the upgrade and does not pass the connection on. {SOMETHING_BETWEEN}",
                )

    async def _exchange(self) -> Sequence[object]:
        """Sends what is to be sent, then waits for something; nothing where the other side has ended."""
        try:
            self._writer.write(b"".join(self._protocol.data_to_send()))
            await self._writer.drain()
            block = await self._reader.read(MOST)
        except OSError:
            return []
        if not block:
            self._protocol.receive_eof()
            return self._protocol.events_received()
        self._protocol.receive_data(block)
        return self._protocol.events_received() or [block]


def _refused(error: Exception, host: str) -> Problem:
    if isinstance(error, InvalidStatus):
        response = error.response
        answer = Answer(response.status_code, dict(response.headers.raw_items()), bytes(response.body or b""))
        if answer.status in _DOWN or answer.status == 429 or _TRAEFIKS_404 in answer.body:
            return unexpected(answer, host, "Whisper", "101 for a WebSocket")
        if not any(name.lower() == _TIMESTAMP.lower() for name in answer.headers):
            return Problem(
                f"{host} answers a WebSocket with {answer.status} instead of 101, and not by Whisper (no {_TIMESTAMP})",
                f"A proxy in front takes the headers of the upgrade away, or answers itself. {SOMETHING_BETWEEN}",
            )
        return Problem(
            f"Whisper answers a WebSocket with {answer.status} instead of 101",
            "A proxy in front takes the headers `Connection: Upgrade` and `Upgrade: websocket` away. Let it pass "
            "WebSockets on. If it does, look at Whisper's log.",
        )
    if isinstance(error, InvalidHandshake):
        return Problem(
            f"{host} does not complete the handshake of a WebSocket: {error}",
            f"A proxy in front changes the headers of the upgrade. {SOMETHING_BETWEEN}",
        )
    return _cut(host)


def unexpected(answer: Answer, host: str, service: str, wanted: str) -> Problem:
    """Why an answer is another one than `wanted`."""
    if answer.status in _DOWN:
        return Problem(f"Traefik {_DOWN[answer.status]} {service} ({answer.status} from {host})", _PODS)
    if answer.status == http.HTTPStatus.NOT_FOUND and _TRAEFIKS_404 in answer.body:
        return Problem(
            f"Traefik has no route for {host}, or not the one that {service} needs",
            "The stack's IngressRoutes are not applied, or Traefik refuses them: `kubectl get ingressroutes "
            "--all-namespaces`, and Traefik's log. Bring the stack up again.",
        )
    if answer.status == http.HTTPStatus.TOO_MANY_REQUESTS:
        return Problem(f"{host} refuses the request: too many (429)", _LIMITED)
    return Problem(
        f"{host} answers {answer.status}, and {service} would answer {wanted}",
        f"Another server or a proxy answers, or {service} does not work: look at its log. {SOMETHING_BETWEEN}",
    )


def _slow(host: str) -> Problem:
    return Problem(
        f"{host} does not answer within {ANSWER_SECONDS:g} s",
        f"Traefik waits for the service: it is overloaded or still starting. {_PODS}",
    )


def _cut(host: str) -> Problem:
    return Problem(
        f"{host} cuts the connection instead of answering",
        f"Look at the logs of Traefik and of the service. {SOMETHING_BETWEEN}",
    )


class _Received:
    """The bytes that were received, for the standard library's parser: a socket that can be read."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, mode: str) -> IO[bytes]:
        return io.BytesIO(self._content)
