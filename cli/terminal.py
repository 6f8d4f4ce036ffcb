"""What people see: plain text where the output is no terminal, colours, tables and running times where it is.

Results go to standard output; progress, questions and warnings to standard error, so that `... --format json` can
be piped. rich leaves colours away for NO_COLOR, TERM=dumb and pipes.
"""

import getpass
import shlex
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console, RenderableType
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

PROGRESS_AFTER_SECONDS = 2.0
PROGRESS_AGAIN_SECONDS = 30.0
NARROWEST = 40


class Terminal:
    """Standard output and standard error of one command."""

    def __init__(self) -> None:
        self._out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
        self._err = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())

    @property
    def interactive(self) -> bool:
        """Whether somebody is there to answer."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    @property
    def colours(self) -> bool:
        """Whether standard output takes colours."""
        return self._out.is_terminal and not self._out.no_color

    def say(self, text: str = "", style: str = "") -> None:
        """A paragraph."""
        self._out.print(Text(text, style))

    def heading(self, text: str) -> None:
        """The title of a part, after an empty line."""
        self._out.print()
        self._out.print(Text(text, "bold"))

    def points(self, texts: Iterable[str], style: str = "") -> None:
        """A list, one point a line, wrapped below its own start."""
        for text in texts:
            self._out.print(self._point("- ", text, style))

    def command(self, words: Sequence[str]) -> None:
        """A command to copy: on a terminal continued with backslashes, elsewhere on one line."""
        self._command(self._out, words)

    def verbatim(self, text: str) -> None:
        """Text as it is, for machines and for the output of other programs."""
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()

    def show(self, what: RenderableType) -> None:
        """What something else has laid out."""
        self._out.print(what)

    def diff(self, lines: Iterable[str]) -> None:
        """A unified difference, indented, coloured and never wrapped."""
        styles = {"+": "green", "-": "red", "@": "cyan"}
        for line in lines:
            self._out.print(Text(f"    {line}", styles.get(line[:1], "")), soft_wrap=True)

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: frozenset[str] = frozenset()
    ) -> None:
        """Rows under column names; the columns in `numbers` stand to the right."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
        for name in columns:
            table.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self._out.print(table, soft_wrap=False)

    def note(self, text: str) -> None:
        """Something aside, on standard error."""
        self._err.print(Text(text))

    def warn(self, text: str) -> None:
        """Something that needs attention, on standard error."""
        self._err.print(self._point("warning: ", text, "yellow"))

    def fail(self, problem: str, remedies: Iterable[str] = (), commands: Iterable[Sequence[str]] = ()) -> None:
        """What went wrong and what helps, on standard error."""
        self._err.print(self._point("error: ", problem, "bold red"))
        for remedy in remedies:
            self._err.print(self._point("  ", remedy, ""))
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
        """Whether the answer is yes; silence is no."""
        return self.ask(f"{question} [y/N]").lower() in {"y", "yes"}

    def ask_secret(self, question: str) -> str:
        """An answer that is not shown."""
        try:
            return getpass.getpass(question + " ")
        except EOFError:
            return ""

    @contextmanager
    def step(self, doing: str) -> Iterator[None]:
        """Shows that something goes on: a running time on a terminal, else a line once it has lasted two seconds."""
        if self._err.is_terminal and not self._err.is_dumb_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            with Progress(*columns, console=self._err, transient=True) as progress:
                progress.add_task(doing, total=None)
                yield
            return
        ended = threading.Event()
        teller = threading.Thread(target=self._tell, args=(doing, ended), daemon=True)
        teller.start()
        try:
            yield
        finally:
            ended.set()
            teller.join()

    @staticmethod
    def _command(console: Console, words: Sequence[str]) -> None:
        lines, room = [""], console.width - len("  ") - len("  ") - len(" \\")
        for word in map(shlex.quote, words):
            if console.is_terminal and lines[-1] and len(lines[-1]) + 1 + len(word) > room:
                lines.append("")
            lines[-1] += f" {word}" if lines[-1] else word
        console.print(Text("  " + " \\\n    ".join(lines), "cyan"), soft_wrap=True)

    def _tell(self, doing: str, ended: threading.Event) -> None:
        began, pause = time.monotonic(), PROGRESS_AFTER_SECONDS
        while not ended.wait(pause):
            self._err.print(Text(f"{doing} ({time.monotonic() - began:.0f} s)"))
            pause = PROGRESS_AGAIN_SECONDS

    def _point(self, mark: str, text: str, style: str) -> Table | Text:
        if not self._out.is_terminal or self._out.width < NARROWEST:
            return Text(mark + text, style)
        grid = Table.grid(padding=0)
        grid.add_column(width=len(mark), no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(Text(mark, style), Text(text, style))
        return grid
