"""The errors of the seed."""


class SeedError(Exception):
    """The seed cannot be carried out; the message is one line that says what and where."""


class AwsError(SeedError):
    """A service refused a request; `code` is the error's name in the service's API reference."""

    def __init__(self, action: str, code: str, message: str) -> None:
        super().__init__(f"{action}: {code}: {message}")
        self.code = code


class TransientError(Exception):
    """LocalStack is not there yet, or answered with an error that passes."""
