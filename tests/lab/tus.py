"""Real tus servers and a real tus client: npm's @tus/server and tus-js-client, and tusd where it is installed."""

import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from tests.lab.fetch import Missing
from tests.lab.node import NODE, npm_install
from tests.lab.process import Process

FOLDER = Path(__file__).resolve().parent.parent / "tus"
# Both name their port: the stand-in in JSON, tusd in the last line of its start.
PORT = re.compile(r'"port":(\d+)|upload files to: http://127\.0\.0\.1:(\d+)/')
CLIENT_SECONDS = 300

Kind = Literal["stand-in", "tusd"]


def packages() -> Path:
    """Where the npm packages of tests/tus are installed, once per machine. Raises `Missing`."""
    try:
        return npm_install("tus", FOLDER)
    except subprocess.CalledProcessError as error:
        raise Missing(f"needs the npm packages of tests/tus/package-lock.json: {error}") from error


def tusd() -> Path:
    """The tusd of the PATH, which no package index has. Raises `Missing`."""
    found = shutil.which("tusd")
    if found is None:
        raise Missing("needs tusd on the PATH, which no package index has")
    return Path(found)


def prepare() -> None:
    """Installs the npm packages, before there is no network."""
    packages()


class TusServer:
    """A tus server over `uploads` that asks the hook on `hook_port`; `with TusServer(...):` runs it.

    The stand-in is @tus/server: it calls the hook as tusd does, but keeps its own records and knows neither
    concatenation nor a refusal's headers. Raises `Missing` where the server can't be had.
    """

    def __init__(self, kind: Kind, folder: Path, uploads: Path, hook_port: int, max_size: int) -> None:
        self.kind, self.folder, self.uploads = kind, folder, uploads
        self._program = packages() if kind == "stand-in" else tusd()
        self._hook = f"http://127.0.0.1:{hook_port}/hooks"
        self._max_size = max_size
        self._process: Process | None = None
        self.port = 0

    @property
    def process(self) -> Process:
        assert self._process is not None, "not started"
        return self._process

    def start(self) -> None:
        """Starts it, on the same port as before; returns when it listens."""
        command = self._tusd() if self.kind == "tusd" else self._stand_in()
        process = Process("tus", command, self.folder)
        begun = len(process.text())
        process.wait_ready(lambda: PORT.search(process.text(), begun) is not None)
        [found] = PORT.finditer(process.text(), begun)
        self.port = int(found[1] or found[2])
        self._process = process

    def crash(self) -> None:
        """Ends it as a power failure would."""
        self.process.kill()

    def _stand_in(self) -> list[str | Path]:
        options = {
            "host": "127.0.0.1",
            "port": self.port,
            "hook": self._hook,
            "directory": str(self.uploads),
            "maxSize": self._max_size,
        }
        return [NODE, FOLDER / "server.mjs", self._program, json.dumps(options)]

    def _tusd(self) -> list[str | Path]:
        """tusd with the flags of the cluster."""
        return [
            self._program,
            *("-host", "127.0.0.1", "-port", str(self.port), "-base-path", "/attachments/"),
            *("-upload-dir", self.uploads, "-max-size", str(self._max_size)),
            *("-hooks-http", self._hook, "-hooks-enabled-events", "pre-create"),
            *("-behind-proxy", "-expose-metrics=false", "-show-greeting=false", "-disable-termination"),
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.stop()


class LossyProxy:
    """Forwards connections to a port of the loopback address, and loses them all once.

    That is after `lose_after` bytes to that port, when `then` has been called and has returned.
    """

    def __init__(self, target_port: int, lose_after: int, then: Callable[[], None] = lambda: None) -> None:
        self._target_port = target_port
        self._left = lose_after
        self._then = then
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Ends it, with every connection."""
        self._listener.close()
        self._lose()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target_port))
                except ConnectionRefusedError:
                    client.close()
                    continue
                self._connections += [client, server]
                threading.Thread(target=self._forward, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._forward, args=(server, client, False), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with suppress(OSError):  # lost, or closed by the other end
            while data := source.recv(65536):
                target.sendall(data)
                if counted and self._reached(len(data)):
                    self._then()
                    self._lose()
                    return
            target.shutdown(socket.SHUT_WR)

    def _reached(self, size: int) -> bool:
        with self._lock:
            before, self._left = self._left, self._left - size
            return before > 0 >= self._left

    def _lose(self) -> None:
        for connection in self._connections:
            with suppress(OSError):  # lost already
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._connections.clear()


def upload(**options: Any) -> dict[str, Any]:
    """Runs the tus client to its end; what it reports. tests/tus/client.mjs tells the options. Raises `Missing`."""
    command = [NODE, str(FOLDER / "client.mjs"), str(packages()), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CLIENT_SECONDS, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report
