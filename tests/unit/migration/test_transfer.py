"""Loading and verifying, whatever the stores are made of: nothing is overwritten, lost or taken for verified."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from migration import items, transfer
from migration.archive import Archive
from migration.errors import MigrationError, SchemaMismatchError
from migration.records import Collection, Record
from migration.transfer import Outcome
from tests.unit.migration.records import TEXTS, Memory, opened, text_item, written

NOW = 1_800_000_000.0
ITEMS = [text_item(f"k{number}", a={"B": bytes([number])}) for number in range(95)]


def quiet(doing: str, collection: Collection, done: int, of: int | None) -> None:
    pass


def exported(folder: Path, source: Memory) -> Archive:
    with written(folder) as writer:
        transfer.export([source], writer, quiet, live=False)
    return opened(folder)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return exported(tmp_path / "archive", Memory.of(*ITEMS))


def load(target: Memory, archive: Archive, *, into_non_empty: bool = False) -> Outcome:
    (outcome,) = transfer.load([target], archive, NOW, quiet, into_non_empty=into_non_empty)
    return outcome


def verify(target: Memory, archive: Archive, *, others_allowed: bool = False) -> Outcome:
    (outcome,) = transfer.verify([target], archive, NOW, quiet, others_allowed=others_allowed)
    return outcome


def contents(collection: Memory) -> dict[bytes, Any]:
    return {key: record.body for key, record in collection.stored.items()}


def test_everything_arrives(archive: Archive) -> None:
    target = Memory()
    outcome = load(target, archive)
    assert contents(target) == contents(Memory.of(*ITEMS))
    assert outcome == Outcome("dynamodb", "Texts", 95, written=95, verified=True)
    assert verify(target, archive).verified


def test_the_manifest_has_the_schema(archive: Archive) -> None:
    assert archive.manifest.parts["dynamodb"]["Texts"].schema == {"keys": [["P", "S"]]}
    assert archive.manifest.parts["bigtable"] == {}


@pytest.mark.parametrize("after", [0, 1, 10, 37, 94])
def test_an_interrupted_load_is_run_again(archive: Archive, after: int) -> None:
    target = Memory(fail_after=after)
    with pytest.raises(KeyboardInterrupt):
        load(target, archive)
    assert len(target.stored) <= after
    target.fail_after = None
    outcome = load(target, archive)
    assert contents(target) == contents(Memory.of(*ITEMS))
    assert (outcome.verified, outcome.written + outcome.kept) == (True, 95)
    again = load(target, archive)
    assert (again.written, again.kept, again.verified) == (0, 95, True)


@pytest.mark.parametrize("into_non_empty", [False, True])
def test_a_differing_item_is_never_overwritten(archive: Archive, into_non_empty: bool) -> None:
    target = Memory.of(text_item("k3", a={"B": b"planted"}))
    with pytest.raises(MigrationError, match=r"Texts \(1 that differ\)") as refused:
        load(target, archive, into_non_empty=into_non_empty)
    assert contents(target) == contents(Memory.of(text_item("k3", a={"B": b"planted"})))
    assert "planted" not in "".join([refused.value.problem, *refused.value.remedies])


def test_nothing_is_mixed_unless_asked_for(archive: Archive) -> None:
    target = Memory.of(text_item("other"))
    with pytest.raises(MigrationError, match=r"Texts \(1 not of this archive\)"):
        load(target, archive)
    assert len(target.stored) == 1
    outcome = load(target, archive, into_non_empty=True)
    assert len(target.stored) == 96
    assert (outcome.verified, outcome.written, outcome.others) == (True, 95, 1)
    assert not verify(target, archive).verified, "others are told unless they are allowed"
    assert verify(target, archive, others_allowed=True).verified


def test_everything_is_looked_at_before_anything_is_written(tmp_path: Path) -> None:
    one, two = Memory.of(*ITEMS), replace(Memory.of(*ITEMS), name="Two")
    with written(tmp_path / "archive") as writer:
        transfer.export([one, two], writer, quiet, live=False)
    empty, taken = Memory(), replace(Memory.of(text_item("other")), name="Two")
    with pytest.raises(MigrationError, match="Two"):
        transfer.load([empty, taken], opened(tmp_path / "archive"), NOW, quiet, into_non_empty=False)
    assert empty.stored == {}


def test_expired_items_stay_behind_and_are_counted(tmp_path: Path) -> None:
    old, living = text_item("old", E={"N": str(int(NOW) - 5)}), text_item("new", E={"N": str(int(NOW) + 5)})
    archive = exported(tmp_path / "archive", Memory.of(old, living))
    target = Memory()
    outcome = load(target, archive)
    assert contents(target) == contents(Memory.of(living))
    assert (outcome.archived, outcome.expired, outcome.written, outcome.verified) == (2, 1, 1, True)
    target.stored.update(Memory.of(old).stored)
    assert verify(target, archive).verified, "a store deletes what has expired when it likes"


def _lost(target: Memory) -> None:
    del target.stored[items.record(TEXTS, ITEMS[5]).key]


def _changed(target: Memory) -> None:
    record = items.record(TEXTS, text_item("k5", a={"B": b"\x04"}))
    target.stored[record.key] = record


def _more(target: Memory) -> None:
    record = items.record(TEXTS, text_item("more"))
    target.stored[record.key] = record


def _swapped(target: Memory) -> None:
    _lost(target)
    _more(target)


@pytest.mark.parametrize(
    ("change", "numbers"),
    [(_lost, (1, 0, 0)), (_changed, (0, 1, 0)), (_more, (0, 0, 1)), (_swapped, (1, 0, 1))],
)
def test_a_verification_tells_what_is_wrong(
    archive: Archive, change: Callable[[Memory], None], numbers: tuple[int, int, int]
) -> None:
    target = Memory()
    load(target, archive)
    change(target)
    outcome = verify(target, archive)
    assert (outcome.missing, outcome.differing, outcome.others) == numbers
    assert not outcome.verified
    assert verify(target, archive, others_allowed=True).verified is (numbers[:2] == (0, 0))


def test_a_store_that_loses_what_is_written_is_noticed(archive: Archive) -> None:
    class Forgetful(Memory):
        def write(self, records: Any, *, exclusive: bool) -> None:
            super().write([record for record in records if record.body != ITEMS[7]], exclusive=exclusive)

    outcome = load(Forgetful(), archive)
    assert (outcome.verified, outcome.missing) == (False, 1)


def test_a_damaged_archive_is_not_loaded(archive: Archive) -> None:
    file = archive.folder / "dynamodb" / "Texts.jsonl.gz.sealed"
    file.write_bytes(file.read_bytes()[:-9])
    target = Memory()
    with pytest.raises(MigrationError, match="damaged"):
        load(target, archive)
    assert target.stored == {}


def test_an_archive_of_another_schema_is_refused(tmp_path: Path) -> None:
    archive = exported(tmp_path / "archive", replace(Memory.of(*ITEMS), name="Gone"))
    with pytest.raises(MigrationError, match="Gone"):
        load(Memory(), archive)


def test_every_problem_of_the_tables_is_told_at_once(tmp_path: Path) -> None:
    class Absent(Memory):
        def check(self, expected: Any = None) -> Any:
            raise SchemaMismatchError(f"table {self.name} does not exist", "Bring the stack up first.")

    archive = exported(tmp_path / "archive", Memory.of(*ITEMS))
    collections = [Absent(), replace(Absent(), name="Two")]
    with written(tmp_path / "other") as writer, pytest.raises(MigrationError) as refused:
        transfer.export(collections, writer, quiet, live=False)
    assert refused.value.problem == "table Texts does not exist"
    assert refused.value.remedies == ("table Two does not exist", "Bring the stack up first.")
    with pytest.raises(MigrationError, match="does not exist"):
        load(Absent(), archive)


def test_a_store_that_cannot_be_reached_is_asked_once(tmp_path: Path) -> None:
    class Unreachable(Memory):
        def check(self, expected: Any = None) -> Any:
            self.writes += 1
            raise MigrationError("nobody there")

    one, two = Unreachable(), replace(Unreachable(), name="Two")
    with written(tmp_path / "archive") as writer, pytest.raises(MigrationError, match="nobody there"):
        transfer.export([one, two], writer, quiet, live=False)
    assert (one.writes, two.writes) == (1, 0)


def test_progress_is_told(archive: Archive) -> None:
    told: list[tuple[str, int, int | None]] = []

    def tell(doing: str, collection: Collection, done: int, of: int | None) -> None:
        told.append((doing, done, of))

    transfer.load([Memory()], archive, NOW, tell, into_non_empty=False)
    assert ("Loading", 95, 95) in told
    assert ("Verifying", 95, 95) in told


def test_a_row_that_was_written_in_part_is_completed(tmp_path: Path) -> None:
    class Parted(Memory):
        def is_partial(self, present: Record, wanted: Record) -> bool:
            return bool(present.body.items() <= wanted.body.items())

        def write(self, records: Any, *, exclusive: bool) -> None:
            self.stored.update({record.key: record for record in records})

    archive = exported(tmp_path / "archive", Memory.of(text_item("k", a={"S": "1"}, b={"S": "2"})))
    begun = Parted.of(text_item("k", a={"S": "1"}))
    assert load(begun, archive).verified
    assert not verify(Parted.of(text_item("k", a={"S": "1"})), archive).verified
