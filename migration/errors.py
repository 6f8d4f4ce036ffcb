"""Errors of a move. Their texts have no content of any item or key."""

from errors import FlatlineError


class MigrationError(FlatlineError):
    """The move cannot go on."""


class SchemaMismatchError(MigrationError):
    """A collection is missing, closed to these credentials, or of another schema. All of them are reported together."""
