"""A Bigtable table: its rows with every version of every cell, in pages, each with time-outs and retries of its own."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from google.api_core.exceptions import GoogleAPICallError, NotFound, RetryError
from google.auth.exceptions import GoogleAuthError
from google.cloud.bigtable.data import (
    BigtableDataClient,
    MutationsExceptionGroup,
    ReadRowsQuery,
    RowMutationEntry,
    RowRange,
    SetCell,
)
from google.cloud.bigtable.data.row_filters import CellsRowLimitFilter, RowFilterChain, StripValueTransformerFilter
from google.cloud.bigtable_admin_v2 import BigtableTableAdminClient

from config.schema.bigtable import BigtableTable
from migration.errors import MigrationError, SchemaMismatchError
from migration.records import (
    Collection,
    InvalidRecordError,
    Record,
    Schema,
    canonical,
    digest,
    fields,
    from_base64,
    to_base64,
)

PAGE_ROWS = 1000
MOST_ROWS, HEAVIEST_BATCH = 100, 4 << 20
MOST_MUTATIONS = 50_000
"""Cells of one request; the service takes 100,000."""

Cell = tuple[str, bytes, int, bytes]
"""Family, qualifier, timestamp in microseconds since 1970, value."""


@contextmanager
def translated_errors(doing: str) -> Iterator[None]:
    """Turns an error of Bigtable into a line that names its kind alone: its message may quote a row."""
    try:
        yield
    except MutationsExceptionGroup as problem:
        causes = sorted({type(each.__cause__ or each).__name__ for each in problem.exceptions})
        raise MigrationError(f"{doing}: {', '.join(causes)}") from None
    except (GoogleAPICallError, RetryError) as problem:
        raise MigrationError(f"{doing}: {type(problem).__name__}") from None
    except GoogleAuthError as problem:
        raise MigrationError(f"{doing}: {problem}") from None


class BigtableRows(Collection):
    """A table of the schema in an instance."""

    kind = "bigtable"
    writers, most, heaviest = 2, MOST_ROWS, HEAVIEST_BATCH

    def __init__(
        self, data: BigtableDataClient, admin: BigtableTableAdminClient, instance: str, table: BigtableTable
    ) -> None:
        self.name = table.name
        self._table = table
        self._admin = admin
        self._path = f"projects/{data.project}/instances/{instance}/tables/{table.name}"
        self._data = data.get_table(instance, table.name)

    def check(self, expected: Schema | None = None) -> Schema:
        """See `Collection`. The table must have the schema's family, and all those that the archive has."""
        with translated_errors(f"Bigtable table {self.name}"):
            try:
                found = self._admin.get_table(request={"name": self._path})
            except NotFound:
                raise SchemaMismatchError(
                    f"Bigtable table {self.name} does not exist", "Bring the stack up first: tables are not made here."
                ) from None
        families = set(found.column_families)
        wanted = {self._table.family, *(expected or {}).get("families", ())}
        if missing := sorted(wanted - families):
            raise SchemaMismatchError(f"Bigtable table {self.name} has no column family {', '.join(missing)}")
        return {"families": sorted(families)}

    def read(self) -> Iterator[Record]:
        """See `Collection`."""
        for key, cells in self._rows():
            yield _record(key, cells)

    def count(self) -> int:
        """See `Collection`."""
        thin = RowFilterChain(filters=[CellsRowLimitFilter(1), StripValueTransformerFilter(True)])
        return sum(1 for _ in self._rows(row_filter=thin))

    def record(self, document: Any) -> Record:
        """See `Collection`."""
        row = fields(fields(document, {"Row": dict})["Row"], {"key": str, "cells": list})
        cells = [
            fields(cell, {"family": str, "qualifier": str, "timestamp": int, "value": str}) for cell in row["cells"]
        ]
        if not cells:
            raise InvalidRecordError("cells")
        return _record(
            from_base64(row["key"]),
            [
                (cell["family"], from_base64(cell["qualifier"]), cell["timestamp"], from_base64(cell["value"]))
                for cell in cells
            ],
        )

    def existing(self, records: Sequence[Record]) -> dict[bytes, Record]:
        """See `Collection`."""
        with translated_errors(f"reading Bigtable table {self.name}"):
            rows = self._data.read_rows(ReadRowsQuery(row_keys=[record.key for record in records]))
            return {row.row_key: _record(row.row_key, _cells(row)) for row in rows}

    def is_partial(self, present: Record, wanted: Record) -> bool:
        """See `Collection`. A row of more cells than one request takes is written in several."""
        return set(present.body) < set(wanted.body)

    def write(self, records: Sequence[Record], *, exclusive: bool) -> None:
        """See `Collection`. Cells keep their timestamps, so that writing one twice changes nothing."""
        entries: list[RowMutationEntry] = []
        cells = 0
        for record in records:
            for start in range(0, len(record.body), MOST_MUTATIONS):
                some = record.body[start : start + MOST_MUTATIONS]
                if entries and cells + len(some) > MOST_MUTATIONS:
                    self._mutate(entries)
                    entries, cells = [], 0
                entries.append(RowMutationEntry(record.key, [_set(cell) for cell in some]))
                cells += len(some)
        if entries:
            self._mutate(entries)

    def _mutate(self, entries: list[RowMutationEntry]) -> None:
        with translated_errors(f"writing to Bigtable table {self.name}"):
            self._data.bulk_mutate_rows(entries)

    def _rows(self, **options: Any) -> Iterator[tuple[bytes, list[Cell]]]:
        after: bytes | None = None
        while True:
            ranges = [] if after is None else [RowRange(start_key=after, start_is_inclusive=False)]
            query = ReadRowsQuery(row_ranges=ranges, limit=PAGE_ROWS, **options)
            with translated_errors(f"reading Bigtable table {self.name}"):
                rows = self._data.read_rows(query)
            for row in rows:
                yield row.row_key, _cells(row)
            if len(rows) < PAGE_ROWS:
                return
            after = rows[-1].row_key


def _cells(row: Any) -> list[Cell]:
    return [(cell.family, cell.qualifier, cell.timestamp_micros, cell.value) for cell in row]


def _record(key: bytes, cells: list[Cell]) -> Record:
    ordered = tuple(sorted(cells))
    document: Mapping[str, Any] = {
        "Row": {
            "key": to_base64(key),
            "cells": [
                {"family": family, "qualifier": to_base64(qualifier), "timestamp": time, "value": to_base64(value)}
                for family, qualifier, time, value in ordered
            ],
        }
    }
    text = canonical(document)
    return Record(key=key, text=text, digest=digest(text), body=ordered)


def _set(cell: Cell) -> SetCell:
    family, qualifier, time, value = cell
    return SetCell(family, qualifier, value, timestamp_micros=time)
