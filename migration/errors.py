"""What a move ends with when something is not right."""


class MigrationError(Exception):
    """The first line says what is wrong, `remedies` what to do about it. Holds no content of any item or key."""

    def __init__(self, problem: str, *remedies: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedies = remedies


class SchemaMismatchError(MigrationError):
    """A collection is not there, not open to these credentials, or not made as it must be. All are told at once."""
