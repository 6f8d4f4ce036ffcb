"""A backend that answers every HTTP request with what it has received, for tests of routes."""

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from tests.lab.process import Ended

BLOCK = 1 << 20


class Echo(Ended):
    """Listens on `address`:`port` in a thread; `with Echo("10.244.1.1", 8080):`. Port 0 takes a free one.

    Each answer is 200 with a JSON object: `backend` (its own address:port), `peer` (the same of the other end),
    `method`, `path` (as sent, with the query), `headers` (list of [name, value] as sent), and the body's `length` in
    bytes and `sha256`. The body is read in blocks and not kept.
    """

    def __init__(self, address: str, port: int) -> None:
        self._server = _Server((address, port), _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.server_port

    def stop(self) -> None:
        """Stops listening, and ends connections: on one that a proxy keeps, the next backend of this address is not
        reached."""
        self._server.shutdown()
        self._server.end_connections()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # a proxy keeps idle connections open: do not wait for them
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, peer = super().get_request()
        self._connections.add(connection)
        return connection, peer

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        for each in tuple(self._connections):
            with suppress(OSError):  # it ends by itself at this moment
                each.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout: ClassVar[float] = 60

    def _answer(self) -> None:
        length, digest = 0, hashlib.sha256()
        for block in self._body():
            length += len(block)
            digest.update(block)
        received: dict[str, Any] = {
            "backend": "{}:{}".format(*self.request.getsockname()[:2]),
            "peer": "{}:{}".format(*self.client_address[:2]),
            "method": self.command,
            "path": self.path,
            "headers": [list(pair) for pair in self.headers.items()],
            "length": length,
            "sha256": digest.hexdigest(),
        }
        text = json.dumps(received).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _body(self) -> Iterator[bytes]:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return
        left = int(self.headers.get("Content-Length", 0))
        while left and (block := self.rfile.read(min(left, BLOCK))):
            left -= len(block)
            yield block

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: pytest shows what fails."""


for _method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
    setattr(_Handler, f"do_{_method}", _Handler._answer)
