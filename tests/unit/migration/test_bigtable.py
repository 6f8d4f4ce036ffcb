"""Rows as JSON and back. tests/integration/test_migration.py has the tables of Google's emulator."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core.exceptions import NotFound, ServiceUnavailable
from google.cloud.bigtable.data import FailedMutationEntryError, MutationsExceptionGroup, RowMutationEntry, SetCell
from hypothesis import given
from hypothesis import strategies as st

from config.loading import load
from config.schema.bigtable import TABLES
from migration import endpoints, stores
from migration.bigtable import BigtableRows, Cell, _record, translated_errors
from migration.errors import MigrationError
from migration.records import InvalidRecordError

cells: st.SearchStrategy[Cell] = st.tuples(
    st.sampled_from(["g", "l", "ü"]), st.binary(max_size=4), st.integers(0, 2**62), st.binary(max_size=20)
)
rows = st.tuples(
    st.binary(min_size=1, max_size=20),
    st.lists(cells, min_size=1, max_size=6, unique_by=lambda cell: cell[:3]),
)


@pytest.fixture(scope="module")
def table() -> Iterator[BigtableRows]:
    names = endpoints.physical_names(load({}), {})
    with stores._bigtable(names, "127.0.0.1:9") as (data, admin):
        yield BigtableRows(data, admin, names.instance, TABLES["groupsTableId"])


@given(row=rows, order=st.randoms())
def test_a_row_comes_back_as_it_was(table: BigtableRows, row: tuple[bytes, list[Cell]], order: Any) -> None:
    key, some = row
    record = _record(key, some)
    again = table.record(json.loads(record.text))
    assert (again.key, set(again.body), again.digest) == (key, set(some), record.digest)
    assert _record(key, order.sample(some, len(some))).text == record.text


@given(rows, rows)
def test_rows_that_differ_have_other_digests(one: tuple[bytes, list[Cell]], other: tuple[bytes, list[Cell]]) -> None:
    same = (one[0], set(one[1])) == (other[0], set(other[1]))
    assert (_record(*one).digest == _record(*other).digest) is same


def test_a_row_with_some_of_its_cells_is_a_part(table: BigtableRows) -> None:
    whole = [("g", b"a", 1000, b"1"), ("g", b"a", 2000, b"2")]
    assert table.is_partial(_record(b"k", whole[:1]), _record(b"k", whole))
    assert not table.is_partial(_record(b"k", whole), _record(b"k", whole[:1])), "more is something else"
    assert not table.is_partial(_record(b"k", [("g", b"a", 1000, b"x")]), _record(b"k", whole))


CELL = {"family": "g", "qualifier": "", "timestamp": 0, "value": ""}


@pytest.mark.parametrize(
    "document",
    [
        {"Item": {}},
        {"Row": {"key": "aw=="}},
        {"Row": {"key": "aw==", "cells": []}},
        {"Row": {"key": "aw==", "cells": [{}]}},
        {"Row": {"key": "not base64!", "cells": [CELL]}},
        {"Row": {"key": "aw==", "cells": [{**CELL, "timestamp": "0"}]}},
        {"Row": {"key": "aw==", "cells": [{**CELL, "timestamp": True}]}},
        {"Row": {"key": "aw==", "cells": [{**CELL, "labels": []}]}},
    ],
)
def test_what_is_no_row_is_refused(table: BigtableRows, document: Any) -> None:
    with pytest.raises(InvalidRecordError):
        table.record(document)


FAILED = FailedMutationEntryError(
    0,
    RowMutationEntry(b"row planted", SetCell("g", b"q", b"v")),
    NotFound("row planted"),
)


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (ServiceUnavailable("row planted"), "reading: ServiceUnavailable"),
        (MutationsExceptionGroup([FAILED], 1), "reading: NotFound"),
    ],
)
def test_what_bigtable_says_about_a_row_is_not_repeated(problem: Exception, said: str) -> None:
    with pytest.raises(MigrationError) as told, translated_errors("reading"):
        raise problem
    assert told.value.problem == said
    assert told.value.__suppress_context__
