"""HTTP as the services have it: requests on some ports, until SIGTERM, which lets those that run come to their end."""

import signal
import threading
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[int, bytes]
Handler = Callable[[str, str, bytes], Answer]
"""Method, path and body of a request to its status and body."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128


def serve(ports: dict[int, Handler]) -> None:
    """Serves each port with its handler; returns after SIGTERM."""
    servers = [_Server(("", port), _requests(handler)) for port, handler in ports.items()]
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    print(f"serving on {', '.join(map(str, ports))}", flush=True)
    wait_for_end()
    for server in servers:
        server.shutdown()
        server.server_close()


def wait_for_end() -> None:
    """Returns after SIGTERM, which process 1 of a container does not get unless it asks for it."""
    signal.sigwait({signal.SIGTERM})


signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _requests(handler: Handler) -> type[BaseHTTPRequestHandler]:
    class Requests(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                status, text = handler(self.command, self.path, body)
            except Exception as error:
                traceback.print_exc()
                status, text = 500, repr(error).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_PUT = do_POST = do_DELETE = do_OPTIONS = answer  # noqa: N815

        def log_message(self, format: str, *arguments: object) -> None:
            """Requests are not logged."""

    return Requests
