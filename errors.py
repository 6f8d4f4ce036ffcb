"""Errors that a person can correct. Every command shows them without a stack trace. Standard library only."""

from collections.abc import Sequence


class FlatlineError(Exception):
    """`problem` says in one line what is wrong, and `remedies` say what to do about it, a line each.

    `commands` are shown last, each quoted for a shell, so that they work as they are printed.
    """

    def __init__(self, problem: str, *remedies: str, commands: Sequence[Sequence[str]] = ()) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedies = remedies
        self.commands = commands

    @property
    def in_a_line(self) -> str:
        """The problem and its remedies, for a message that has room for one line."""
        return ". ".join((self.problem, *self.remedies))

    @property
    def problems(self) -> list[str]:
        """All mistakes that were found together."""
        return [self.problem]


class MistakesError(FlatlineError):
    """One or more mistakes in a file, found together; `problems` has a line for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self._problems = problems

    @property
    def problems(self) -> list[str]:
        """A line for each mistake."""
        return self._problems
