"""Compares the schema with what installations have, so that no table is deleted or replaced by mistake. Pure."""

from collections.abc import Collection, Mapping

from config.schema.bigtable import BigtableTable
from config.schema.dynamodb import Key, Table
from errors import FlatlineError


class IncompatibleSchemaError(FlatlineError):
    """The schema would delete or replace tables that hold data; the remedies say which, why and what to write."""

    def __str__(self) -> str:
        return "\n".join([self.problem, *self.remedies])


def keys(table: Table) -> tuple[str, ...]:
    """Properties of a table that DynamoDB cannot change, as in `config.schema.released`."""
    local = (f"{index.name}={_text(index.range)}" for index in table.indexes if index.local and index.range)
    plain = [_text(table.hash), _text(table.range) if table.range else "", *local]
    return tuple(plain if plain[1:] != [""] else plain[:1])


def _text(key: Key) -> str:
    return f"{key.name}:{key.type}"


def check_dynamodb(
    tables: Collection[Table], released: Mapping[str, tuple[str, ...]], replaceable: Collection[str]
) -> None:
    """Raises IncompatibleSchemaError for a released table that is gone or has other keys and may not be replaced."""
    now = {table.name: keys(table) for table in tables}
    _check(now, released, replaceable, "DynamoDB", "keys", "flatline:target.aws.replaceTables")


def check_bigtable(
    tables: Collection[BigtableTable], released: Mapping[str, tuple[str, ...]], replaceable: Collection[str]
) -> None:
    """The same for Bigtable's tables and their column families."""
    now = {table.name: (table.family,) for table in tables}
    _check(now, released, replaceable, "Bigtable", "column families", "flatline:target.gcp.replaceTables")


def _check(
    now: Mapping[str, tuple[str, ...]],
    released: Mapping[str, tuple[str, ...]],
    replaceable: Collection[str],
    service: str,
    fixed: str,
    key: str,
) -> None:
    lines = []
    for name, before in released.items():
        if name in replaceable or now.get(name) == before:
            continue
        if name in now:
            lines.append(f"{name}: its {fixed} were {_shown(before)} and are {_shown(now[name])}, which replaces it")
        else:
            lines.append(f"{name}: is no longer in the schema (removed or renamed), which deletes it")
    for name in now:
        if name not in released and name not in replaceable:
            lines.append(f"{name}: is new; add its {fixed} {_shown(now[name])} to config/schema/released.py")
    if lines:
        raise IncompatibleSchemaError(
            f"{service}: the schema differs from what installations have, and nothing was done.",
            *lines,
            f"Take the change back; or, to lose all that is in such a table, write its name into {key}, bring the "
            "stack up once before the change (which takes the table's protection off) and once with it.",
        )


def _shown(fixed: tuple[str, ...]) -> str:
    return ", ".join(part for part in fixed if part)
