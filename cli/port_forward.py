"""A port of this machine that leads to a Service or a pod, by `kubectl port-forward`, while it is needed."""

import re
import subprocess
import threading
from collections import deque
from types import TracebackType
from typing import Self

from cli import kubectl
from errors import FlatlineError

PATIENCE_SECONDS = 30.0
PAUSE_SECONDS = 1.0
_LAST_LINES = 3
_READY = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ->")


class PortForward:
    """`address` is `127.0.0.1:<port>`, the port chosen by kubectl.

    kubectl ends when a pod goes or a connection breaks, so it is started again, on the same port, until the block is
    left. Raises FlatlineError where it cannot forward at first.
    """

    def __init__(self, context: str, namespace: str, name: str, port: int, *, kind: str = "service") -> None:
        self._target = f"{kind} {namespace}/{name}"
        self._command = kubectl.command(
            context, "--namespace", namespace, "port-forward", "--address", "127.0.0.1", f"{kind}/{name}"
        )
        self._port = port
        self._local: int | None = None
        self._process: subprocess.Popen[str] | None = None
        self._said: deque[str] = deque(maxlen=_LAST_LINES)
        self._ready, self._closed = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    @property
    def address(self) -> str:
        """`127.0.0.1:<port>`."""
        return f"127.0.0.1:{self._local}"

    def __enter__(self) -> Self:
        kubectl.program()
        self._keeper.start()
        self._ready.wait(PATIENCE_SECONDS)
        if self._local is None:
            self.close()
            raise FlatlineError(f"kubectl cannot forward a port to the {self._target}", *self._said)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends kubectl."""
        with self._lock:
            self._closed.set()
            if self._process is not None:
                self._process.terminate()
        self._keeper.join()

    def _keep(self) -> None:
        while self._run() and not self._closed.wait(PAUSE_SECONDS):
            continue
        self._ready.set()

    def _run(self) -> bool:
        """Runs kubectl to its end; whether it shall run again."""
        with self._lock:
            if self._closed.is_set():
                return False
            self._process = subprocess.Popen(
                [*self._command, f"{self._local or ''}:{self._port}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C is for us, who end it when everything else is in order
            )
        with self._process as process:
            for line in process.stdout or ():
                self._said.append(line.strip())
                if match := _READY.search(line):
                    self._local = int(match[1])
                    self._ready.set()
        return self._local is not None
