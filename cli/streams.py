"""Standard streams that are closed, full, or whose reader has gone: one line and a status, never a traceback.

A command is not ended in the middle of its work because nobody reads what it prints. Standard library only.
"""

import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

CANNOT_WRITE = 1
NO_READER = 128 + signal.SIGPIPE
"""The shell's status of a program that ended by SIGPIPE, as most do in front of `head`."""


class Output:
    """A stream whose first failure is kept; what is written after it is lost."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        """The number of characters."""
        try:
            self.stream.write(text)
        except OSError as problem:
            self.lose(problem)
        return len(text)

    def flush(self) -> None:
        """Writes what is kept back."""
        try:
            self.stream.flush()
        except OSError as problem:
            self.lose(problem)

    def lose(self, problem: OSError) -> None:
        """Leads the stream, and what child processes write to it, to the null device from now on."""
        self.lost = self.lost or problem
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def guarded(run: Callable[[], int]) -> int:
    """The status of `run`, or one that says that its output could not be written. Passes SystemExit on."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 - takes the place that is free, so that no other file gets it
    if sys.stdout is None:
        if sys.stderr is not None:
            sys.stderr.write("error: standard output is closed; nothing was done\n")
        return CANNOT_WRITE
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    before = sys.stdout, sys.stderr
    output, errors = Output(sys.stdout), Output(sys.stderr)
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a character that the locale does not have
    sys.stdout, sys.stderr = output, errors
    exited = None
    try:
        status = run()
    except SystemExit as ended:
        exited, status = ended, ended.code if isinstance(ended.code, int) else 0
    finally:
        output.flush()
        errors.flush()
        sys.stdout, sys.stderr = before
    if output.lost is None:
        if exited:
            raise exited
        return status
    gone = isinstance(output.lost, BrokenPipeError)
    why = "its reader has gone" if gone else output.lost.strerror
    errors.write(f"error: standard output could not be written to the end: {why}\n")
    errors.flush()
    return status or (NO_READER if gone else CANNOT_WRITE)
