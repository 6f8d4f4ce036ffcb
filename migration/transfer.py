"""Export, load and verify, for `backup` and `restore`, over collections and an archive, whatever these are made of."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from migration.archive import Archive, Manifest, Part, Writer
from migration.errors import MigrationError, SchemaMismatchError
from migration.parallel import map_unordered
from migration.records import Collection, Kind, Record, Schema, Tally

Progress = Callable[[str, Collection, int, int | None], None]
"""Reports an activity, its collection, the number of records so far, and their total (None if unknown)."""


State = Literal["missing", "same", "unfinished", "differing"]


@dataclass
class Outcome:
    """The result for a collection. All are numbers of records.

    `archived` are in the archive, `expired` of them at the end of their time to live and so left out, `written` new,
    `kept` were there already. After verification: `missing`, `differing`, `others` (not of the archive), and whether
    it is as the archive has it.
    """

    kind: Kind
    name: str
    archived: int
    expired: int = 0
    written: int = 0
    kept: int = 0
    missing: int = 0
    differing: int = 0
    others: int = 0
    verified: bool = False


@dataclass
class _Survey:
    """The records of an archive that a collection already has."""

    present: int
    same: int = 0
    unfinished: int = 0
    differing: int = 0

    @property
    def others(self) -> int:
        return max(0, self.present - self.same - self.unfinished - self.differing)


@dataclass(frozen=True)
class _Match:
    """A collection and its part of an archive."""

    collection: Collection
    part: Part
    archive: Archive = field(repr=False)

    def records(self) -> Iterator[Record]:
        return self.archive.records(self.collection.kind, self.collection.name, self.collection.record)


def export(
    collections: Sequence[Collection],
    writer: Writer,
    progress: Progress,
    *,
    live: bool,
    documents: Mapping[str, str] | None = None,
) -> Manifest:
    """Writes every collection, and puts the archive in its place. Raises MigrationError."""
    schemas = _checked(dict.fromkeys(collections))
    for collection, schema in schemas.items():
        progress("Reading", collection, 0, None)
        for tally in writer.write(collection.kind, collection.name, schema, collection.read()):
            progress("Reading", collection, tally.count, None)
    return writer.finish(live=live, documents=documents or {})


def load(
    collections: Sequence[Collection], archive: Archive, now: float, progress: Progress, *, into_non_empty: bool
) -> list[Outcome]:
    """Writes what is not there yet, and reads it back. `now` decides what has expired.

    Nothing is written before everything has been looked at: the archive's files, the tables, and what they hold. That
    must be nothing, or what an earlier load of the same archive left; `into_non_empty` allows other records beside.
    Raises MigrationError.
    """
    matches = _matched(collections, archive)
    surveys = {match.collection: _survey(match, progress) for match in matches}
    _refuse(surveys, into_non_empty=into_non_empty)
    written = {match.collection: _write(match, surveys[match.collection], now, progress) for match in matches}
    outcomes = [_verified(match, now, progress, others_allowed=into_non_empty) for match in matches]
    for outcome, match in zip(outcomes, matches, strict=True):
        outcome.written = written[match.collection]
        outcome.kept = outcome.archived - outcome.expired - outcome.written
    return outcomes


def verify(
    collections: Sequence[Collection], archive: Archive, now: float, progress: Progress, *, others_allowed: bool
) -> list[Outcome]:
    """Compares what is there with an archive; changes nothing. Raises MigrationError."""
    return [_verified(match, now, progress, others_allowed=others_allowed) for match in _matched(collections, archive)]


def _matched(collections: Sequence[Collection], archive: Archive) -> list[_Match]:
    """Each part of the archive with its collection, both checked."""
    archive.check()
    known = {(collection.kind, collection.name): collection for collection in collections}
    matches = []
    for kind, parts in archive.manifest.parts.items():
        for name, part in parts.items():
            if (kind, name) not in known:
                raise MigrationError(
                    f"the archive has {name} ({kind}), which this stack does not have",
                    "Set flatline:calls.groups if it is Rooms; else load it with the Flatline that wrote it.",
                )
            matches.append(_Match(known[kind, name], part, archive))
    _checked({match.collection: match.part.schema for match in matches})
    return matches


def _checked(expected: Mapping[Collection, Schema | None]) -> dict[Collection, Schema]:
    """The schema of every collection; all that is wrong is told at once."""
    schemas: dict[Collection, Schema] = {}
    problems: list[SchemaMismatchError] = []
    for collection, schema in expected.items():
        try:
            schemas[collection] = collection.check(schema)
        except SchemaMismatchError as problem:
            problems.append(problem)
    if problems:
        first, *others = problems
        remedies = list(dict.fromkeys(remedy for problem in problems for remedy in problem.remedies))
        raise MigrationError(first.problem, *(other.problem for other in others), *remedies)
    return schemas


def _survey(match: _Match, progress: Progress) -> _Survey:
    progress("Looking into", match.collection, 0, None)
    survey = _Survey(match.collection.count())
    if survey.present:
        states = _compared(match, match.records(), progress)
        survey.same, survey.unfinished, survey.differing = states["same"], states["unfinished"], states["differing"]
    return survey


def _compared(match: _Match, records: Iterator[Record], progress: Progress) -> Counter[State]:
    """How many of some records are in their collection, and how."""

    def look(batch: list[Record]) -> Counter[State]:
        return Counter(_states(match.collection, batch))

    total: Counter[State] = Counter()
    for states in map_unordered(look, match.collection.batches(records), match.collection.writers):
        total.update(states)
        progress("Comparing", match.collection, total.total(), match.part.count)
    return total


def _states(collection: Collection, batch: list[Record]) -> list[State]:
    found = collection.existing(batch)
    return [_state(collection, found.get(record.key), record) for record in batch]


def _state(collection: Collection, present: Record | None, wanted: Record) -> State:
    if present is None:
        return "missing"
    if present.digest == wanted.digest:
        return "same"
    return "unfinished" if collection.is_partial(present, wanted) else "differing"


def _refuse(surveys: Mapping[Collection, _Survey], *, into_non_empty: bool) -> None:
    """Raises MigrationError where loading would overwrite something, or mix the archive with something else."""
    differing = {c: s for c, s in surveys.items() if s.differing}
    others = {c: s for c, s in surveys.items() if s.others}
    if differing:
        raise MigrationError(
            f"not empty: {', '.join(f'{c.name} ({s.differing} that differ)' for c, s in differing.items())}; "
            "nothing was written",
            "They have records under keys of the archive with another content, which load never overwrites.",
        )
    if others and not into_non_empty:
        raise MigrationError(
            f"not empty: {', '.join(f'{c.name} ({s.others} not of this archive)' for c, s in others.items())}; "
            "nothing was written",
            "Load into a new stack, or say --into-non-empty: what is there then stays.",
        )


def _write(match: _Match, survey: _Survey, now: float, progress: Progress) -> int:
    """Writes what is missing; how many records that were."""
    collection = match.collection
    exclusive = survey.present == 0

    def write(batch: list[Record]) -> tuple[int, int]:
        left = batch if exclusive else _left(collection, batch)
        if left:
            collection.write(left, exclusive=exclusive)
        return len(batch), len(left)

    done = written = 0
    progress("Loading", collection, 0, match.part.count)
    living = (record for record in match.records() if not record.expired(now))
    for taken, new in map_unordered(write, collection.batches(living), collection.writers):
        done += taken
        written += new
        progress("Loading", collection, done, match.part.count)
    return written


def _left(collection: Collection, batch: list[Record]) -> list[Record]:
    """Those of a batch that are not there yet. Raises MigrationError for one that has come to differ."""
    states = _states(collection, batch)
    if "differing" in states:
        raise MigrationError(
            f"{collection.name} changed while it was loaded", "Stop the services that write to it, and run it again."
        )
    return [record for record, state in zip(batch, states, strict=True) if state != "same"]


def _verified(match: _Match, now: float, progress: Progress, *, others_allowed: bool) -> Outcome:
    """Reads a collection back. What has expired is left out on both sides: nobody knows when its store deletes it."""
    collection = match.collection
    outcome = Outcome(collection.kind, collection.name, match.part.count)
    wanted, found = Tally(), Tally()
    for record in match.records():
        if record.expired(now):
            outcome.expired += 1
        else:
            wanted.add(record)
    progress("Verifying", collection, 0, wanted.count)
    for record in collection.read():
        if not record.expired(now):
            found.add(record)
            progress("Verifying", collection, found.count, wanted.count)
    outcome.verified = wanted == found
    if not outcome.verified:
        states = _compared(match, (record for record in match.records() if not record.expired(now)), progress)
        outcome.missing, outcome.differing = states["missing"], states["differing"] + states["unfinished"]
        outcome.others = max(0, found.count - states["same"] - outcome.differing)
        outcome.verified = others_allowed and not outcome.missing and not outcome.differing
    return outcome
