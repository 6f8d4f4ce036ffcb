"""Servers as plain processes: started with a log of their own, waited for, and always ended."""

import itertools
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

POLL_SECONDS = 0.05
REST, LONGEST_REST_SECONDS = 3, 1
"""A look that takes long, as kubectl's does, is followed by a rest that is longer: what is waited for needs the
processors more."""
LAST_LINES = 20
SLOWEST = 8.0


class EndedError(Exception):
    """A process ended, or did not become ready in time; the message has the end of its log."""


def slowness() -> float:
    """How many times as long as on a free machine things may take now: what wants to run, for each core; 1 to 8.

    That is the load average of the last minute (getloadavg(3)). A time that is asserted, or waited for, is multiplied
    by it: on a quiet machine the time holds as it is written.
    """
    return min(max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0))), SLOWEST)


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Returns as soon as `condition()` holds; raises TimeoutError naming `what` after `seconds` times `slowness()`."""
    began = looked = time.monotonic()
    while not condition():
        now = time.monotonic()
        if now - began > seconds * slowness():
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(max(POLL_SECONDS, min(REST * (now - looked), LONGEST_REST_SECONDS)))
        looked = time.monotonic()


FIRST_PORT, PORTS_PER_WORKER = 10_000, 2_000
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_ports = itertools.cycle(range(FIRST_PORT + PORTS_PER_WORKER * _worker, FIRST_PORT + PORTS_PER_WORKER * (_worker + 1)))


def free_ports(count: int, address: str = "127.0.0.1") -> list[int]:
    """Consecutive TCP ports of `address` that nobody listens on.

    They are below those that the kernel gives to connections (from 32768), which would take one before the server does.
    Each test process has ports of its own, and gives one again only after all the others.
    """
    found: list[int] = []
    for port in _ports:
        found = [*found, port] if found and port == found[-1] + 1 else [port]
        with socket.socket() as one:
            try:
                one.bind((address, port))
            except OSError:
                found = []
        if len(found) == count:
            break
    return found


def listening(address: str, port: int) -> bool:
    """Whether a TCP connection to `address`:`port` is taken."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


class Ended:
    """What a test ends: `with it:` does so."""

    def stop(self) -> None:
        """Ends it."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Process(Ended):
    """A running server. Its output is in `<folder>/<name>.log`; its group of processes ends with `stop`.

    It sees PATH and what `environment` adds, and nothing else of the surroundings; HOME and TMPDIR are `folder`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log = folder / f"{name}.log"
        own = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "TMPDIR": str(folder)}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder,
                env={**own, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def running(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def text(self) -> str:
        """All that it has written so far."""
        return self.log.read_text(errors="replace")

    def wait_ready(self, ready: Callable[[], bool], seconds: float = 30) -> None:
        """Returns once `ready()` holds. If the process ends before, or takes longer: stops it, raises `EndedError`."""
        try:
            wait_until(lambda: not self.running() or ready(), seconds, f"{self.name} ready")
        except TimeoutError as late:
            self.stop()
            raise EndedError(f"{late}\n{self._last_lines()}") from None
        except BaseException:
            self.stop()
            raise
        if not self.running():
            raise EndedError(f"{self.name} ended with {self._process.returncode}\n{self._last_lines()}")

    def wait(self, seconds: float) -> int:
        """The exit status; raises TimeoutError when it still runs after `seconds`."""
        wait_until(lambda: not self.running(), seconds, f"{self.name} ended")
        return self._process.returncode

    def terminate(self) -> None:
        """Asks the process to end (SIGTERM) and does not wait."""
        if self.running():
            self._process.terminate()

    def stop(self, grace_seconds: float = 5) -> None:
        """Ends it: SIGTERM, and SIGKILL for whatever of its group is left after `grace_seconds`."""
        self.terminate()
        with suppress(TimeoutError):
            self.wait(grace_seconds)
        self.kill()

    def kill(self) -> None:
        """Ends it and its group at once (SIGKILL), as a crash would."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def _last_lines(self) -> str:
        return "\n".join(self.text().splitlines()[-LAST_LINES:])


class Server(Ended):
    """What a test starts and ends as often as it likes: `with server:` does both."""

    _process: Process | None = None

    @property
    def process(self) -> Process:
        """The process, running or ended."""
        assert self._process is not None, "not started yet"
        return self._process

    def start(self) -> None:
        """Returns when it serves."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ends it in order; nothing to do when it does not run."""
        if self._process:
            self._process.stop()

    def __enter__(self) -> Self:
        self.start()
        return self
