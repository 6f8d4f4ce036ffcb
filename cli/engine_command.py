"""Runs the Pulumi CLI so that a signal ends it in order: no lock and no plugin stays behind.

A CLI that loses the process which reads its output dies at once and leaves its lock. So this process stays until the
CLI has ended, and hands signals on to it. The CLI runs in a session of its own: the terminal sends Ctrl-C to every
process of its group, and the CLI takes a second Ctrl-C for the wish to stop at once.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any

from pulumi.automation import CommandResult, PulumiCommand
from pulumi.automation.errors import create_command_error

from cli.failure import SIGNALS, Interrupted

IN_ORDER, AT_ONCE = 1, 2
"""Signals after which the CLI ends what is under way, and after which it leaves that; one more kills it."""
PLUGIN_PATIENCE_SECONDS = 5.0

OnOutput = Callable[[str], Any]


class Command(PulumiCommand):
    """The CLI, as the Automation API runs it. Raises Interrupted once the CLI has ended after a signal."""

    def run(
        self,
        args: list[str],
        cwd: str,
        additional_env: Mapping[str, str],
        on_output: OnOutput | None = None,
        on_error: OnOutput | None = None,
    ) -> CommandResult:
        """Runs `pulumi` with some arguments. Raises CommandError if it fails."""
        environment = {**os.environ, **additional_env, "PULUMI_AUTOMATION_API": "true"}
        if os.path.isabs(self.command):
            # plugins that came with the CLI win over those of the PATH
            environment["PATH"] = os.pathsep.join([os.path.dirname(self.command), environment.get("PATH", os.defpath)])
        with _handed_on() as signals:
            process = subprocess.Popen(
                [self.command, "--non-interactive", *args],
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
            signals.start(process)
            try:
                result = _watched(process, on_output, on_error)
            finally:
                if process.returncode != 0:
                    _end_session(process)
        if signals.received:
            raise Interrupted(signals.received[0], _said(signals, process.returncode))
        if result.code != 0:
            raise create_command_error(result)
        return result


class _Signals:
    """The signals that came while the CLI ran."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._process: subprocess.Popen[str] | None = None

    def start(self, process: "subprocess.Popen[str]") -> None:
        """From now on signals reach this process; those that came before reach it now."""
        self._process = process
        if self.received:
            self._send()

    def take(self, number: int, _frame: FrameType | None) -> None:
        self.received.append(number)
        if self._process is not None:
            self._send()

    @property
    def killed(self) -> bool:
        return len(self.received) > AT_ONCE

    def _send(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL if self.killed else signal.SIGINT)


@contextmanager
def _handed_on() -> Iterator[_Signals]:
    signals = _Signals()
    if threading.current_thread() is not threading.main_thread():  # Python handles signals in its main thread alone
        yield signals
        return
    before = {number: signal.signal(number, signals.take) for number in SIGNALS}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watched(process: "subprocess.Popen[str]", on_output: OnOutput | None, on_error: OnOutput | None) -> CommandResult:
    """Reads what the CLI writes until it ends."""
    streams = ((process.stdout, on_output), (process.stderr, on_error))
    written: tuple[list[str], list[str]] = ([], [])
    readers = [
        threading.Thread(target=_read, args=(stream, tell, lines), daemon=True)
        for (stream, tell), lines in zip(streams, written, strict=True)
    ]
    for reader in readers:
        reader.start()
    code = process.wait()
    for reader in readers:
        reader.join(PLUGIN_PATIENCE_SECONDS)  # a plugin that outlives the CLI keeps its standard error open
    stdout, stderr = ("\n".join(lines) for lines in written)
    return CommandResult(stdout=stdout, stderr=stderr, code=code)


def _read(stream: IO[str], tell: OnOutput | None, lines: list[str]) -> None:
    with stream:
        for line in stream:
            lines.append(line.rstrip())
            if tell is not None:
                try:
                    tell(lines[-1])
                except (OSError, ValueError):  # whoever read it has gone; the CLI shall not, before it is done
                    tell = None


def _said(signals: _Signals, code: int) -> str:
    if code == 0:
        return "interrupted, when Pulumi had finished"
    if signals.killed:
        return "interrupted: Pulumi was killed; the next run finds its lock and offers to clear it"
    return "interrupted: Pulumi has ended what was under way and keeps no lock; the same command goes on"


def _end_session(process: "subprocess.Popen[str]") -> None:
    """Ends the plugins that a CLI which was killed has left; they are in its session, and nobody else is."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        left = _session(process.pid)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if not _gone(process.pid, PLUGIN_PATIENCE_SECONDS if left else 0):
            continue
        return


def _gone(session: int, seconds: float) -> bool:
    ended, pause = threading.Event(), 0.05
    while _session(session):
        if seconds <= 0:
            return False
        ended.wait(pause)
        seconds -= pause
    return True


def _session(session: int) -> list[int]:
    """The processes of a session, without its leader's ended self; none where there is no /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            # pid (name, which may hold spaces) state parent group session
            state, _parent, _group, its_session = path.read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found.append(int(path.parent.name))
    return found
