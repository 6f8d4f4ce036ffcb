"""What a command ends with when something is not right: lines for people, and an exit status."""

MANDATORY = 1
"""The configuration, the state or something that the command needs is not right."""


class Failure(Exception):  # noqa: N818 - reads as what a command ends with
    """Ends the command with status 1. The first line says what is wrong, the others what to do about it."""

    def __init__(self, problem: str, *remedies: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedies = remedies
