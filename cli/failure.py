"""What a command ends with when something is not right: lines for people, and an exit status."""

import signal
from collections.abc import Sequence

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""They end a command in order."""
MANDATORY = 1
"""The configuration, the state or something that the command needs is not right."""


class Failure(Exception):  # noqa: N818 - reads as what a command ends with
    """Ends the command with status 1. The first line says what is wrong, the others what to do about it.

    `commands` are shown last, each quoted for a shell, so that they work as they are printed.
    """

    def __init__(self, problem: str, *remedies: str, commands: Sequence[Sequence[str]] = ()) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedies = remedies
        self.commands = commands


class Interrupted(BaseException):
    """Ends the command because of a signal, with the shell's status 128 + signal. The text says what is left behind."""

    def __init__(self, signal: int, text: str = "interrupted") -> None:
        super().__init__(text)
        self.signal = signal

    @property
    def status(self) -> int:
        """The exit status of the command."""
        return 128 + self.signal
