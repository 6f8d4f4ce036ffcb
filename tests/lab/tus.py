"""The tus server that CDN3 runs, tusd, and a tus client, npm's tus-js-client."""

import json
import re
import socket
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.lab.fetch import Missing
from tests.lab.go import go_build, required_version
from tests.lab.node import NODE, npm_install
from tests.lab.process import Process, Server

FOLDER = Path(__file__).resolve().parent.parent / "tus"
SOURCES = Path(__file__).resolve().parent / "tusd"
MODULE = "github.com/tus/tusd/v2"
PORT = re.compile(r"upload files to: http://127\.0\.0\.1:(\d+)/")
"""In the last line of its start."""
CLIENT_SECONDS = 300


def packages() -> Path:
    """Where the npm packages of tests/tus are installed, once per machine. Raises `Missing`."""
    try:
        return npm_install("tus", FOLDER)
    except subprocess.CalledProcessError as error:
        raise Missing(f"needs the npm packages of tests/tus/package-lock.json: {error}") from error


def tusd_version() -> str:
    """The release of tusd, such as "v2.9.1"."""
    return required_version(SOURCES, MODULE)


def tusd_binary() -> Path:
    """tusd, built once (about 2 minutes of processor time). Raises `Missing`."""
    program = f"{MODULE}/cmd/tusd"
    return go_build("tusd", SOURCES, package=program, variables={f"{program}/cli.VersionName": tusd_version()})


def prepare() -> None:
    """Builds the server and installs the client, before there is no network."""
    tusd_binary()
    packages()


class TusServer(Server):
    """tusd over `uploads` with the flags that are `rendered`; `with TusServer(...):` runs it.

    Only its address, the hook's (on `hook_port`), the folder and the largest size are others. Raises `Missing`.
    """

    def __init__(self, folder: Path, uploads: Path, hook_port: int, max_size: int, rendered: Sequence[str]) -> None:
        self.folder, self.uploads, self._rendered = folder, uploads, rendered
        self._program = tusd_binary()
        self._changed = {
            "--host": "127.0.0.1",
            "--upload-dir": str(uploads),
            "--max-size": str(max_size),
            "--hooks-http": f"http://127.0.0.1:{hook_port}/hooks",
        }
        self.port = 0

    def start(self) -> None:
        """Starts it, on the same port as before; returns when it listens."""
        process = Process("tus", [self._program, *self._flags()], self.folder)
        begun = len(process.text())
        process.wait_ready(lambda: PORT.search(process.text(), begun) is not None)
        [found] = PORT.finditer(process.text(), begun)
        self.port = int(found[1])
        self._process = process

    def _flags(self) -> list[str]:
        flags = {name: value for name, _, value in (word.partition("=") for word in self._rendered)}
        changed = {**self._changed, "--port": str(self.port)}
        assert changed.keys() <= flags.keys()
        return [f"{name}={value}" if value else name for name, value in {**flags, **changed}.items()]


class LossyProxy:
    """Forwards connections to a port of the loopback address, and loses them all once: after `lose_after` bytes."""

    def __init__(self, target_port: int, lose_after: int) -> None:
        self._target_port = target_port
        self._left = lose_after
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
                server = socket.create_connection(("127.0.0.1", self._target_port))
                self._connections += [client, server]
                threading.Thread(target=self._forward, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._forward, args=(server, client, False), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with suppress(OSError):  # lost, or closed by the other end
            while data := source.recv(65536):
                target.sendall(data)
                if counted and self._reached(len(data)):
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
