"""An edge in this process, whole or with a fault: TLS in front of what Whisper, Storage and the CDNs answer.

One asyncio loop in a thread of its own serves everything.
"""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from tests.unit.authority import Issued

DOMAIN = "chat.example.org"
TRAEFIKS_404 = b"404 page not found\n"

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def chain(issued: Issued, folder: Path) -> Path:
    """A file with a certificate and its key, as a server reads it."""
    path = folder / f"{issued.certificate.serial_number:x}.pem"
    path.write_text(issued.pem + issued.private_pem)
    return path


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    """An answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


WHOLE = {
    "storage": http("401 Unauthorized"),
    "cdn0": http("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>"),
    "cdn3": http("404 Not Found"),
}
ASKED = {"storage": "/v1/groups", "cdn0": "/profiles/" + "A" * 22, "cdn3": "/attachments/" + "A" * 20}
"""How the path of a request ends: a proxy may have put something before it."""


@dataclass(frozen=True)
class Edge:
    """What serves: `chain` by TLS of at most `newest`, in front of `answers` and of `web_socket`.

    Without a chain it is what is behind an edge: the same answers, in plain HTTP.
    """

    chain: Path | None
    newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    answers: dict[str, bytes] = field(default_factory=lambda: dict(WHOLE))
    web_socket: "bytes | Talk | None" = None
    raw: Talk | None = None
    """Takes each connection instead of TLS."""
    within: Talk | None = None
    """Takes each connection within TLS."""

    def with_answer(self, service: str, answer: bytes) -> "Edge":
        """The same with another answer of one service."""
        return replace(self, answers={**self.answers, service: answer})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await (self.raw or self.within or self._answer)(reader, writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        text = head.decode()
        service = text.partition("\nHost: ")[2].partition(".")[0]
        if service == "whisper":
            await self._web_socket(head, reader, writer)
        elif text.startswith("GET ") and text.split(" ")[1].endswith(ASKED[service]):
            writer.write(self.answers[service])
        else:
            writer.write(http("404 Not Found", TRAEFIKS_404))
        await writer.drain()

    async def _web_socket(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(self.web_socket, bytes):
            writer.write(self.web_socket)
            return
        protocol = ServerProtocol()
        protocol.receive_data(head)
        (request,) = protocol.events_received()
        assert isinstance(request, Request)
        assert request.path == "/v1/websocket/"
        response = protocol.accept(request)
        assert isinstance(response, Response)
        protocol.send_response(response)
        writer.write(b"".join(protocol.data_to_send()))
        if self.web_socket is not None:
            await self.web_socket(reader, writer)
            return
        while block := await reader.read(1 << 16):
            protocol.receive_data(block)
            writer.write(b"".join(protocol.data_to_send()))

    @contextmanager
    def running(self, address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
        """Yields its port."""
        context = None
        if self.chain is not None and self.raw is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.maximum_version = self.newest
            context.load_cert_chain(self.chain)
        loop = asyncio.new_event_loop()
        server = loop.run_until_complete(asyncio.start_server(self._serve, address, port, ssl=context))
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            loop.call_soon_threadsafe(server.close)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
