"""Items and collections for the tests of the move."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from config.schema.dynamodb import Key, Table
from migration import items, sealing
from migration.archive import Archive, Writer
from migration.records import Collection, Kind, Record, Schema

PLAIN = Table(name="Plain", hash=Key("U", "B"), range=Key("D", "N"), operations=())
TEXTS = Table(name="Texts", hash=Key("P", "S"), ttl="E", operations=())

numbers = st.one_of(
    st.integers(-(10**38) + 1, 10**38 - 1).map(str),
    st.builds(
        lambda digits, exponent: f"{digits}E{exponent}", st.integers(-(10**38) + 1, 10**38 - 1), st.integers(-120, 80)
    ),
)
binaries = st.binary(max_size=40)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_TYPES = frozenset({"S", "N", "B", "SS", "NS", "BS", "L", "M", "BOOL", "NULL"})


def _values(names: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Attribute values as DynamoDB's API has them: every type, empty texts and binaries, numbers of 38 digits."""
    return st.recursive(
        st.one_of(
            texts.map(lambda text: {"S": text}),
            numbers.map(lambda number: {"N": number}),
            binaries.map(lambda data: {"B": data}),
            st.booleans().map(lambda value: {"BOOL": value}),
            st.just({"NULL": True}),
            st.lists(texts.filter(bool), min_size=1, max_size=4, unique=True).map(lambda several: {"SS": several}),
            st.lists(numbers, min_size=1, max_size=4, unique_by=items.normal_number).map(
                lambda several: {"NS": several}
            ),
            st.lists(binaries.filter(bool), min_size=1, max_size=4, unique=True).map(lambda several: {"BS": several}),
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(lambda several: {"L": several}),
            st.dictionaries(names, inner, max_size=3).map(lambda several: {"M": several}),
        ),
        max_leaves=6,
    )


def _items(names: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda key, device, others: {**others, "U": {"B": key}, "D": {"N": str(device)}},
        st.binary(min_size=1, max_size=20),
        st.integers(0, 10**38 - 1),
        st.dictionaries(names, _values(names), max_size=4),
    )


plain_items = _items(texts.filter(bool))
"""Items of `PLAIN`."""

moto_items = _items(texts.filter(lambda name: name not in {"", *_TYPES}))
"""Those that moto keeps: it takes an attribute that is named like a type for one."""


def sorted_sets(item: dict[str, Any]) -> dict[str, Any]:
    """An item with its sets and members, which have no order, in one, and its numbers in one spelling."""
    return {name: _sorted(item[name]) for name in sorted(item)}


def _sorted(value: dict[str, Any]) -> dict[str, Any]:
    ((kind, inner),) = value.items()
    if kind == "N":
        return {kind: items.normal_number(inner)}
    if kind == "NS":
        return {kind: sorted(map(items.normal_number, inner))}
    if kind in {"SS", "BS"}:
        return {kind: sorted(inner)}
    if kind == "L":
        return {kind: [_sorted(each) for each in inner]}
    return {kind: sorted_sets(inner)} if kind == "M" else value


def text_item(key: str, **others: Any) -> dict[str, Any]:
    """An item of `TEXTS`."""
    return {"P": {"S": key}, **others}


KEYS = sealing.identity("planted passphrase", bytes(16))
"""Key pair of the archives of tests."""


def written(folder: Path) -> Writer:
    """A writer of an archive of stack dev."""
    return Writer(folder, KEYS.recipient, "dev")


def opened(folder: Path) -> Archive:
    """An archive that `written` has written."""
    return Archive(folder, lambda salt: KEYS)


@dataclass(eq=False)
class Memory(Collection):
    """A collection of items of `TEXTS` in memory, which may fail at a given number of writes."""

    stored: dict[bytes, Record] = field(default_factory=dict)
    kind: Kind = "dynamodb"
    name: str = "Texts"
    writers: int = 2
    fail_after: int | None = None
    most: int = 10
    heaviest: int = 1 << 20
    schema: Schema = field(default_factory=lambda: {"keys": [["P", "S"]]})
    writes: int = 0

    @classmethod
    def of(cls, *some: dict[str, Any]) -> "Memory":
        made = cls()
        for item in some:
            record = items.record(TEXTS, item)
            made.stored[record.key] = record
        return made

    def check(self, expected: Schema | None = None) -> Schema:
        return self.schema

    def read(self) -> Iterator[Record]:
        yield from self.stored.values()

    def count(self) -> int:
        return len(self.stored)

    def record(self, document: Any) -> Record:
        return items.parsed(TEXTS, document)

    def existing(self, records: Sequence[Record]) -> dict[bytes, Record]:
        return {record.key: self.stored[record.key] for record in records if record.key in self.stored}

    def write(self, records: Sequence[Record], *, exclusive: bool) -> None:
        for record in records:
            if self.fail_after is not None and self.writes >= self.fail_after:
                raise KeyboardInterrupt
            self.writes += 1
            assert exclusive or record.key not in self.stored or self.stored[record.key].digest == record.digest
            self.stored[record.key] = record
