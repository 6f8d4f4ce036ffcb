"""`test`: lint, types and tests; a line for each with its time, and the output of what failed."""

import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from cli.stacks import ROOT
from cli.terminal import Terminal

WORKERS = 4
INTERACTIVE = frozenset({"--pdb", "--trace"})
NO_TESTS_COLLECTED = 5

_PYTHON = sys.executable
_LINT = ("lint", (_PYTHON, "-m", "ruff", "check", ".", "flatline"))
_FORMAT = ("format", (_PYTHON, "-m", "ruff", "format", "--check", ".", "flatline"))
_TYPES = ("types", (_PYTHON, "-m", "pyrefly", "check", "--python-interpreter-path", _PYTHON))
_PROGRAMS = ("programs", (_PYTHON, "-m", "tests.lab.programs"))
"""Lint, format and types of what runs in the cluster."""

_CHECKS = {
    None: (_LINT, _FORMAT, _TYPES, _PROGRAMS),
    "fast": (_LINT, _FORMAT),
    "integration": (),
    "all": (_LINT, _FORMAT, _TYPES, _PROGRAMS),
}
"""Checks that run beside pytest, by the typed selection."""


@dataclass
class Check:
    """A tool that runs in the background, its output kept."""

    name: str
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    began: float

    def report(self, terminal: Terminal) -> bool:
        """Waits for it, prints its line and, if it failed, what it said. Whether it succeeded."""
        with terminal.step(self.name):
            status = self.process.wait()
        terminal.say(f"{self.name:<8} {'ok' if status == 0 else 'FAILED':<6} {time.monotonic() - self.began:6.1f} s")
        if status != 0:
            self.output.seek(0)
            terminal.verbatim(self.output.read().decode(errors="replace").rstrip())
        return status == 0


def run(arguments: Namespace, terminal: Terminal) -> int:
    """The checks and pytest at the same time; pytest's status, or 1 if a check failed."""
    os.chdir(ROOT)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of processes read the same modules
    with _started(_CHECKS[arguments.selection]) as checks, _pytest(arguments, terminal) as tests:
        failed = [check.name for check in checks if not check.report(terminal)]
        status = tests.finish()
    if status == NO_TESTS_COLLECTED and arguments.selection not in {"integration", "all"}:
        terminal.note("Tests that run real servers are found with --integration or --all.")
    if failed:
        terminal.fail(f"failed: {', '.join(failed)}")
    return status or (1 if failed else 0)


def pytest_command(selection: str | None, passed_on: Sequence[str], *, colours: bool, in_ci: bool = False) -> list[str]:
    """How pytest is called: what was typed, and our defaults for what was not.

    `in_ci`: all tests must then run, but for those that tests/skips.py names.
    """
    words = list(passed_on)
    together = INTERACTIVE.intersection(words) or any(word.startswith(("-n", "--numprocesses")) for word in words)
    defaults = [] if together else ["-n", str(_workers(words)), "--dist", "loadfile", "--no-loadscope-reorder"]
    if colours:
        defaults.append("--color=yes")
    if selection in {"integration", "all"}:
        if selection == "integration" and "-m" not in words:
            defaults += ["-m", "integration"]
        if selection == "all" and in_ci:
            defaults.append("--no-unexpected-skips")
        return [_PYTHON, "-m", "tests.lab.run", *defaults, *words]
    if "-m" not in words:
        defaults += ["-m", "not integration"]
    return [_PYTHON, "-m", "pytest", *defaults, *words]


def _workers(words: Sequence[str]) -> int:
    """The number of processes: a file runs in one process, and each process imports the SDKs (0: pytest's own)."""
    files = {word.partition("::")[0] for word in words if word.partition("::")[0].endswith(".py")}
    if not files or any(os.path.isdir(word) for word in words):
        return WORKERS
    return 0 if len(files) == 1 else min(WORKERS, len(files))


@contextmanager
def _started(tools: Sequence[tuple[str, Sequence[str]]]) -> Iterator[list[Check]]:
    checks: list[Check] = []
    try:
        for name, command in tools:
            output = tempfile.TemporaryFile()  # noqa: SIM115 - closed below, after its process
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
            checks.append(Check(name, process, output, time.monotonic()))
        yield checks
    finally:
        for check in checks:
            _end(check.process)
            check.output.close()


class _Tests:
    """pytest, running; what it prints waits until the checks have had their lines."""

    def __init__(self, command: Sequence[str], *, interactive: bool) -> None:
        self._interactive = interactive
        self._command = command
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        self.process = None if interactive else self._start(self._output)

    def _start(self, output: IO[bytes] | None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            stdin=None if self._interactive else subprocess.DEVNULL,
        )

    def finish(self) -> int:
        """Shows its output as it comes, to the end; its status."""
        if self.process is None:
            self.process = self._start(None)
            return self.process.wait()
        position, ended = 0, False
        while not ended:
            ended = self.process.poll() is not None
            position = self._forward(position)
            if not ended:
                time.sleep(0.1)
        return self.process.returncode

    def _forward(self, position: int) -> int:
        while chunk := os.pread(self._output.fileno(), 65536, position):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            position += len(chunk)
        return position

    def close(self) -> None:
        """Ends it if it still runs."""
        if self.process is not None:
            _end(self.process)
        self._output.close()


@contextmanager
def _pytest(arguments: Namespace, terminal: Terminal) -> Iterator[_Tests]:
    in_ci = bool(os.environ.get("CI"))
    command = pytest_command(arguments.selection, arguments.pytest, colours=terminal.colours, in_ci=in_ci)
    tests = _Tests(command, interactive=bool(INTERACTIVE.intersection(arguments.pytest)))
    try:
        yield tests
    finally:
        tests.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that still runs, kindly: pytest's fixtures then stop their servers."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
