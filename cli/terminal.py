"""Output for people: plain text where the output is no terminal; colours, tables and running times where it is.

Results go to standard output; progress, questions and warnings to standard error, so that `... --json` can be piped.
rich leaves colours away for NO_COLOR, TERM=dumb and pipes. Names and commands are never broken, so that they can be
copied: what does not fit into a line is a line of its own, however long.
"""

import getpass
import os
import re
import shlex
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

PROGRESS_AFTER_SECONDS = 2.0
PROGRESS_AGAIN_SECONDS = 30.0
NARROWEST = 40
USUAL_WIDTH = 80
ANY_WIDTH = 100_000

_COMMAND = re.compile(r"`[^`]+`")
_GLUE = "\N{NO-BREAK SPACE}"


class Terminal:
    """Standard output and standard error of one command."""

    def __init__(self) -> None:
        self._out = _console(stderr=False)
        self._err = _console(stderr=True)

    @property
    def interactive(self) -> bool:
        """True if somebody is there to answer."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    @property
    def colours(self) -> bool:
        """True if standard output supports colours."""
        return self._out.is_terminal and not self._out.no_color

    @property
    def engine_colour(self) -> str:
        """Pulumi's option --color for what is shown on standard output: "always" or "never"."""
        return "always" if self.colours else "never"

    def say(self, text: str = "", style: str = "", indent: int = 0) -> None:
        """A paragraph, each of its lines indented."""
        self._lines(self._out, " " * indent, text, style)

    def heading(self, text: str) -> None:
        """The title of a part, after an empty line."""
        self._out.print()
        self._out.print(Text(text, "bold"))

    def points(self, texts: Iterable[str], style: str = "") -> None:
        """A list, one point a line, wrapped below its own start."""
        for text in texts:
            self._lines(self._out, "- ", text, style)

    def command(self, words: Sequence[str]) -> None:
        """A command to copy: on a terminal continued with backslashes, elsewhere on one line."""
        self._command(self._out, words)

    def verbatim(self, text: str) -> None:
        """Text as it is, for machines and for the output of other programs."""
        stream = self._out.file
        stream.write(text if text.endswith("\n") else text + "\n")
        stream.flush()

    def aside(self) -> None:
        """From now on everything goes to standard error, but for a document."""
        self._out = self._err

    def document(self, text: str) -> None:
        """The result of a command, for machines, on standard output."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def diff(self, lines: Iterable[str], indent: int = 4) -> None:
        """A unified difference, coloured and never wrapped."""
        styles = {"+": "green", "-": "red", "@": "cyan"}
        for line in lines:
            self._out.print(Text(" " * indent + line, styles.get(line[:1], "")), soft_wrap=True)

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[str]],
        numbers: frozenset[str] = frozenset(),
        prose: frozenset[str] = frozenset(),
    ) -> None:
        """Rows under column names; the columns in `numbers` stand to the right, those in `prose` wrap between words.

        Where that is too wide for the terminal, each row is a list of its cells instead.
        """
        cells = [tuple(row) for row in rows]
        least = [_least_width([name, *(row[at] for row in cells)], name in prose) for at, name in enumerate(columns)]
        gaps = len(columns) - 1
        if sum(least) + gaps > self._out.width:
            self._records(columns, cells)
            return
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
        table.padding = (0, 1) if sum(least) + 3 * gaps <= self._out.width else (0, 0)
        for name, width in zip(columns, least, strict=True):
            wraps = name in prose
            table.add_column(name, justify="right" if name in numbers else "left", no_wrap=not wraps, min_width=width)
        for row in cells:
            table.add_row(*map(Text, row))
        self._out.print(table, soft_wrap=False)

    def note(self, text: str) -> None:
        """Something aside, on standard error."""
        self._lines(self._err, "", text)

    def warn(self, text: str) -> None:
        """Something that needs attention, on standard error."""
        self._lines(self._err, "warning: ", text, "yellow")

    def fail(self, problem: str, remedies: Iterable[str] = (), commands: Iterable[Sequence[str]] = ()) -> None:
        """Shows an error and its remedies, on standard error."""
        self._lines(self._err, "error: ", problem, "bold red")
        for remedy in remedies:
            self._lines(self._err, "  ", remedy)
        for command in commands:
            self._command(self._err, command)

    def ask(self, question: str) -> str:
        """The answer to a question; empty if there is nobody to answer."""
        if not self.interactive:
            return ""
        self._err.print(Text(question + " ", "bold"), end="")
        try:
            return input().strip()
        except EOFError:
            self._err.print()
            return ""

    def agrees(self, question: str) -> bool:
        """True if the answer is yes; silence is no."""
        return self.ask(f"{question} [y/N]").lower() in {"y", "yes"}

    def ask_secret(self, question: str) -> str:
        """An answer that is not shown."""
        try:
            return getpass.getpass(question + " ")
        except EOFError:
            return ""

    @contextmanager
    def step(self, doing: str, again: float = PROGRESS_AGAIN_SECONDS) -> Iterator[Callable[[str], None]]:
        """Shows that something goes on: a running time on a terminal, else a line once it has lasted two seconds.

        That line comes again each `again` seconds. The function that it gives takes a text for the next lines.
        """
        if self._err.is_terminal and not self._err.is_dumb_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            with Progress(*columns, console=self._err, transient=True) as progress:
                task = progress.add_task(doing, total=None)
                yield lambda text: progress.update(task, description=text)
            return
        ended, texts = threading.Event(), [doing]
        teller = threading.Thread(target=self._tell, args=(texts, ended, again), daemon=True)
        teller.start()
        try:
            yield texts.append
        finally:
            ended.set()
            teller.join()

    @contextmanager
    def transfer(self, doing: str) -> Iterator[Callable[[int, int | None], None]]:
        """Shows how many bytes of how many have come, as the function that it gives is told; as `step` elsewhere."""
        if not self._err.is_terminal or self._err.is_dumb_terminal:
            with self.step(doing):
                yield lambda _here, _whole: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=self._err, transient=True) as progress:
            task = progress.add_task(doing, total=None)
            yield lambda here, whole: progress.update(task, completed=here, total=whole)

    @staticmethod
    def _command(console: Console, words: Sequence[str]) -> None:
        lines, room = [""], console.width - len("  ") - len("  ") - len(" \\")
        for word in map(shlex.quote, words):
            if console.is_terminal and lines[-1] and len(lines[-1]) + 1 + len(word) > room:
                lines.append("")
            lines[-1] += f" {word}" if lines[-1] else word
        console.print(Text("  " + " \\\n    ".join(lines), "cyan"), soft_wrap=True)

    def _tell(self, texts: Sequence[str], ended: threading.Event, again: float) -> None:
        began, pause = time.monotonic(), PROGRESS_AFTER_SECONDS
        while not ended.wait(pause):
            self._err.print(Text(f"{texts[-1]} ({time.monotonic() - began:.0f} s)"))
            pause = again

    def _records(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        for first, *others in rows:
            self.say(first, "bold")
            for name, cell in zip(columns[1:], others, strict=True):
                if cell:
                    self._lines(self._out, "  ", f"{name}: {cell}" if name else cell)

    @staticmethod
    def _lines(console: Console, mark: str, text: str, style: str = "") -> None:
        """Prints a text after a mark, on a terminal wrapped below its own start."""
        width = console.width - len(mark)
        if console.is_terminal and width >= NARROWEST:
            text = _wrapped(text, width, " " * len(mark))
        console.print(Text(mark + text, style), soft_wrap=True)


def _console(*, stderr: bool) -> Console:
    """A terminal has a width; files and pipes take lines of any length, unless COLUMNS is set."""
    console = Console(stderr=stderr, highlight=False)
    chosen = os.environ.get("COLUMNS", "")
    if (chosen.isdecimal() and int(chosen) > 0) or (console.is_terminal and console.width > 0):
        return console
    width = USUAL_WIDTH if console.is_terminal else ANY_WIDTH  # a terminal with COLUMNS=0
    return Console(stderr=stderr, highlight=False, width=width)


def _wrapped(text: str, width: int, indent: str) -> str:
    """The text in lines of a width, but for names that are longer and for commands, which stand between backticks."""
    lines: list[str] = []
    for line in text.splitlines():
        whole = _COMMAND.sub(lambda found: found[0].replace(" ", _GLUE), line)
        lines += textwrap.wrap(whole, width, break_long_words=False, break_on_hyphens=False) or [""]
    return f"\n{indent}".join(lines).replace(_GLUE, " ")


def _least_width(cells: Iterable[str], wraps: bool) -> int:
    """Of a column: that of its longest word if it wraps, else that of its longest cell."""
    return max(len(part) for cell in cells for part in (cell.split() if wraps else [cell]) or [""])
