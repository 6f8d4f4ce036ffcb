"""Exit statuses of commands, and the exception for signals."""

import signal

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""They end a command in order."""
MANDATORY = 1
"""The configuration, the state or something that the command needs is not right."""


class Interrupted(BaseException):
    """Ends the command because of a signal, with the shell's status 128 + signal. The text says what is left behind."""

    def __init__(self, signal: int, text: str = "interrupted") -> None:
        super().__init__(text)
        self.signal = signal

    @property
    def status(self) -> int:
        """The exit status of the command."""
        return 128 + self.signal
