"""HTTP as the services have it: requests on some ports, until SIGTERM, which lets those that run come to their end.

A WebSocket gets back what it sends. At SIGTERM each gets a close frame with status 1001 (RFC 6455, going away).
"""

import base64
import hashlib
import signal
import socket
import struct
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase

Answer = tuple[int, bytes]
CLOSE = 8
"""The kind of a frame (RFC 6455, 11.8)."""
GOING_AWAY = 1001
Handler = Callable[[str, str, bytes, Mapping[str, str]], Answer]
"""Method, path, body and headers of a request to its status and body."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128
    web_sockets: set[socket.socket]


def serve(ports: dict[int, Handler]) -> None:
    """Serves each port with its handler; returns after SIGTERM."""
    servers = [_Server(("", port), _requests(handler)) for port, handler in ports.items()]
    for server in servers:
        server.web_sockets = set()
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    print(f"serving on {', '.join(map(str, ports))}", flush=True)
    wait_for_end()
    for server in servers:
        server.shutdown()
        for each in tuple(server.web_sockets):
            with suppress(OSError):
                each.sendall(frame(CLOSE, struct.pack(">H", GOING_AWAY)))
        server.server_close()


def wait_for_end() -> None:
    """Returns after SIGTERM, which process 1 of a container does not get unless it asks for it."""
    signal.sigwait({signal.SIGTERM})


def hold_signal() -> None:
    """SIGTERM waits for `wait_for_end`. For a process of its own, before it starts threads, which take this over."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def accepted(key: str) -> str:
    """What a server answers to `Sec-WebSocket-Key`."""
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def frame(kind: int, content: bytes) -> bytes:
    """A server's frame of at most 125 bytes."""
    return bytes([0x80 | kind, len(content)]) + content


def read_frame(stream: BufferedIOBase) -> tuple[int, bytes] | None:
    """The kind and the content of a client's frame of at most 125 bytes; None where the connection ends without one."""
    head = stream.read(2)
    if len(head) < 2:
        return None
    mask = stream.read(4)
    content = stream.read(head[1] & 0x7F)
    return head[0] & 0x0F, bytes(each ^ mask[at % 4] for at, each in enumerate(content))


def _requests(handler: Handler) -> type[BaseHTTPRequestHandler]:
    class Requests(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20

        def answer(self) -> None:
            if self.headers.get("Upgrade", "").lower() == "websocket":
                self.web_socket()
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                status, text = handler(self.command, self.path, body, dict(self.headers))
            except Exception as error:
                traceback.print_exc()
                status, text = 500, repr(error).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def web_socket(self) -> None:
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.send_header("Sec-WebSocket-Accept", accepted(self.headers["Sec-WebSocket-Key"]))
            self.end_headers()
            self.close_connection = True
            assert isinstance(self.server, _Server)
            self.server.web_sockets.add(self.connection)
            try:
                while (found := read_frame(self.rfile)) is not None and found[0] != CLOSE:
                    self.connection.sendall(frame(*found))
            except OSError:
                pass  # a client that has gone
            finally:
                self.server.web_sockets.discard(self.connection)

        do_GET = do_PUT = do_POST = do_DELETE = do_OPTIONS = answer  # noqa: N815

        def log_message(self, format: str, *arguments: object) -> None:
            """Requests are not logged."""

    return Requests
