"""Records, which are items, rows and objects alike, and checksums that do not depend on their order.

docs/migration.md defines both for other programs.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from migration.parallel import batched

Kind = Literal["dynamodb", "bigtable", "objects", "secrets", "files"]
KINDS: tuple[Kind, ...] = ("dynamodb", "bigtable", "objects", "secrets", "files")

Schema = dict[str, Any]
"""The schema of a collection in an archive, as JSON."""

TTL_WINDOW_SECONDS = 5 * 365 * 86400
"""DynamoDB takes a time to live that ended longer ago for a mistake, and keeps the item (its developer guide)."""

_MODULUS = 2**256


class InvalidRecordError(ValueError):
    """A piece of JSON is no record of its collection. Says nothing of its content."""


@dataclass(frozen=True, slots=True)
class Record:
    """One item, row or object.

    `key` tells it from the others of its collection, `text` is its line in an archive, `digest` the SHA-256 of its
    normal form, `body` what its store takes, `expires` when its time to live ends (seconds since 1970).
    """

    key: bytes = field(repr=False)
    text: str = field(repr=False)
    digest: bytes = field(repr=False)
    body: Any = field(repr=False)
    expires: int | None = None

    def expired(self, now: float) -> bool:
        """True if its store deletes it, or has done so."""
        return self.expires is not None and now - TTL_WINDOW_SECONDS < self.expires < now


class Tally:
    """A number of records and their checksum: the sum of their digests modulo 2^256, in 64 hexadecimal digits."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0

    def add(self, record: Record) -> None:
        """Counts a record."""
        self.count += 1
        self._sum = (self._sum + int.from_bytes(record.digest, "big")) % _MODULUS

    @property
    def checksum(self) -> str:
        """64 hexadecimal digits, zeros for no record."""
        return f"{self._sum:064x}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tally) and (self.count, self._sum) == (other.count, other._sum)

    __hash__: ClassVar[None]  # it changes


class Collection(Protocol):
    """A table, a Bigtable table, a bucket, a Secret or a volume, by its name. Every method may raise MigrationError."""

    kind: Kind
    name: str
    writers: int
    """How many batches may be written at the same time."""
    most: int
    heaviest: int
    """Records of a batch, and bytes of their lines in an archive."""

    def check(self, expected: Schema | None = None) -> Schema:
        """How it is made, compared with the schema and with what an archive expects."""

    def read(self) -> Iterator[Record]:
        """Every record, in no order."""

    def count(self) -> int:
        """How many there are."""

    def record(self, document: Any) -> Record:
        """A record from the JSON of an archive. Raises InvalidRecordError for what is none."""

    def batches(self, records: Iterator[Record]) -> Iterator[list[Record]]:
        """Records in groups that can be written at once."""
        return batched(records, self.most, self.heaviest, lambda record: len(record.text))

    def existing(self, records: Sequence[Record]) -> dict[bytes, Record]:
        """Those that the store has under the keys of some records, by key."""

    def is_partial(self, present: Record, wanted: Record) -> bool:
        """True if the existing record is a beginning of the wanted one, as a writer that was ended leaves it.

        Most records are written whole.
        """
        return False

    def write(self, records: Sequence[Record], *, exclusive: bool) -> None:
        """Writes a batch. Unless `exclusive` in the collection, nothing that is there is overwritten."""


def canonical(value: Any) -> str:
    """JSON without spaces, keys sorted by code point, no character escaped that need not be."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def digest(text: str) -> bytes:
    """SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).digest()


def to_base64(data: bytes) -> str:
    """Standard, padded."""
    return base64.b64encode(data).decode("ascii")


def from_base64(text: Any) -> bytes:
    """The bytes of standard, padded base64. Raises InvalidRecordError, without the text."""
    try:
        return base64.b64decode(_text(text), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise InvalidRecordError("base64") from None


def fields(document: Any, required: Mapping[str, type], optional: Mapping[str, type] | None = None) -> dict[str, Any]:
    """A JSON object with exactly some members of some types. Raises InvalidRecordError, without content."""
    known = {**required, **(optional or {})}
    if not isinstance(document, dict) or not set(required) <= set(document) <= set(known):
        raise InvalidRecordError("members")
    for name, value in document.items():
        if type(value) is not known[name]:
            raise InvalidRecordError("type")
    return document


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidRecordError("type")
    return value
