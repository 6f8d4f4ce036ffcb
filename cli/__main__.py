"""Runs one command of `./flatline` and turns what goes wrong into lines for people and an exit status."""

import atexit
import gc
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from cli import arguments as known  # noqa: E402 - the path comes first
from cli import streams  # noqa: E402
from cli.failure import MANDATORY, SIGNALS, Interrupted  # noqa: E402
from errors import FlatlineError  # noqa: E402

if TYPE_CHECKING:
    from cli.terminal import Terminal

DEBUG = "FLATLINE_DEBUG"
AGAIN_SECONDS = 0.01


def main(argv: Sequence[str]) -> int:
    """The exit status of a command line, with standard streams that may be closed or full."""
    return streams.guarded(lambda: run(argv))


def run(argv: Sequence[str]) -> int:
    """The exit status of a command line. Exits at once, with status 2, for one that cannot be understood."""
    arguments = known.parse(argv)
    # An f-string over an Output is an error instead of silent text in a manifest.
    os.environ["PULUMI_ERROR_OUTPUT_STRING"] = "1"
    # What is made at first, the classes of the SDKs, is a million objects that stay: they are searched seldom, and not
    # once more at the end.
    gc.set_threshold(50_000, 20, 100)
    atexit.register(gc.freeze)
    try:
        from cli.terminal import Terminal
    except ModuleNotFoundError as problem:
        return _tell_missing(problem)
    terminal = Terminal()
    if getattr(arguments, "json", False):
        terminal.aside()
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    sys.unraisablehook = _interrupt_again
    try:
        command = importlib.import_module(f"cli.commands.{arguments.command.replace('-', '_')}")
        status: int = command.run(arguments, terminal)
    except Interrupted as stopped:
        terminal.note(str(stopped))
        return stopped.status
    except Exception as problem:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        if isinstance(problem, ModuleNotFoundError) and _package(problem):
            return _tell_missing(problem)
        _tell(problem, terminal)
        return MANDATORY
    return status


def _package(problem: ModuleNotFoundError) -> str:
    """The package of somebody else that is missing; empty where it is a module of ours."""
    package = (problem.name or "").partition(".")[0]
    return "" if (ROOT / package).exists() or (ROOT / f"{package}.py").exists() else package


def _tell_missing(problem: ModuleNotFoundError) -> int:
    """Says which package this Python lacks. It may be what Terminal prints with."""
    remedy = (
        "unset FLATLINE_PYTHON, or install requirements.txt there"
        if os.environ.get("FLATLINE_PYTHON")
        else f"delete {sys.prefix} and run again: it is made once more"
    )
    sys.stderr.write(f"error: {sys.executable} has no Python package {_package(problem)}: {remedy}\n")
    return MANDATORY


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    """Ends the command as an exception does, so that locks are given back and temporary files go."""
    raise Interrupted(number)


def _interrupt_again(ignored: "sys.UnraisableHookArgs") -> None:
    """Repeats a signal that came inside a destructor, where Python ignores what its handler raises."""
    if isinstance(ignored.exc_value, Interrupted):
        main_thread = threading.main_thread().ident
        threading.Timer(AGAIN_SECONDS, signal.pthread_kill, (main_thread, ignored.exc_value.signal)).start()
    else:
        sys.__unraisablehook__(ignored)


def _tell(problem: Exception, terminal: "Terminal") -> None:
    """Shows an error with its remedies; any other exception as a defect of Flatline."""
    if isinstance(problem, FlatlineError):
        *others, last = problem.problems
        for line in others:
            terminal.fail(line)
        terminal.fail(last, (*problem.remedies, *getattr(problem, "__notes__", ())), problem.commands)
    elif isinstance(problem, OSError):
        terminal.fail(str(problem), getattr(problem, "__notes__", ()))
    else:
        name = type(problem).__name__
        terminal.fail(
            f"unexpected {name}" if os.environ.get(DEBUG) else f"unexpected {name}: {_first_line(problem)}",
            (f"This is a defect of Flatline. Run it again with {DEBUG}=1 to see where it happens.",),
        )


def _first_line(problem: Exception) -> str:
    return (str(problem).splitlines() or ["(no message)"])[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
