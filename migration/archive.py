"""The archive: a folder with an encrypted file for each collection, and a manifest that is written last.

docs/migration.md has the format. A folder is put in place whole, by one rename, and what is read from it is compared
with its manifest, so that no part of an archive can be taken for the whole.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

import files
from migration import sealing
from migration.errors import MigrationError
from migration.records import KINDS, Kind, Record, Schema, Tally, canonical, digest

FORMAT, VERSION = "flatline-archive", 2
HEADER, MANIFEST = "header.json", "manifest.json.sealed"

_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Part:
    """A collection in an archive. `file` is below the archive's folder, `sha256` and `bytes` are the file's own."""

    file: str
    count: int
    checksum: str
    sha256: str
    bytes: int
    schema: Schema


@dataclass(frozen=True)
class Header:
    """The part of an archive that is not encrypted. `created` is UTC (ISO 8601)."""

    stack: str
    created: str
    recipient: sealing.Recipient
    ephemeral: str
    """Public key that was made for this archive, in base64."""

    def text(self) -> bytes:
        """The header as a file. The keys of the archive depend on each byte of it."""
        body = {"format": FORMAT, "version": VERSION, **asdict(self), "recipient": str(self.recipient)}
        return (json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


@dataclass(frozen=True)
class Manifest:
    """`created` is UTC (ISO 8601); `live` says that services may have written meanwhile.

    `documents` are texts that belong to the installation: its file, its encrypted state, its pins.
    """

    stack: str
    created: str
    live: bool
    parts: Mapping[Kind, Mapping[str, Part]]
    documents: Mapping[str, str] = field(default_factory=dict, repr=False)

    def text(self) -> str:
        """The manifest as a file, with the SHA-256 of its own normal form."""
        body: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "stack": self.stack,
            "created": self.created,
            "live": self.live,
            "documents": dict(self.documents),
            **{kind: {name: asdict(part) for name, part in parts.items()} for kind, parts in self.parts.items()},
        }
        whole = {**body, "sha256": digest(canonical(body)).hex()}
        return json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


class Writer:
    """Writes an archive of a stack beside its place, `.<name>.partial`, and moves it there with `finish`.

    What an earlier run left unfinished is removed. Raises MigrationError if the place is taken, or if another run
    writes to it.
    """

    def __init__(self, folder: Path, recipient: sealing.Recipient, stack: str) -> None:
        self.folder = Path(os.path.abspath(folder))
        created = datetime.now(UTC).isoformat(timespec="seconds")
        header, self._keys = sealing.keys_to_write(
            recipient, lambda ephemeral: Header(stack, created, recipient, ephemeral).text()
        )
        self._header, self._stack, self._created = header, stack, created
        self._partial = self.folder.with_name(f".{self.folder.name}.partial")
        self._lock_file = self.folder.with_name(f".{self.folder.name}.lock")
        self._lock: files.Lock | None = None
        self._parts: dict[Kind, dict[str, Part]] = {kind: {} for kind in KINDS}

    def __enter__(self) -> Self:
        _refuse_if_taken(self.folder)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self._lock_file, self.folder)
        try:
            if self._partial.exists():
                shutil.rmtree(self._partial)
            self._partial.mkdir(mode=_FOLDER_MODE)
            for kind in KINDS:
                (self._partial / kind).mkdir(mode=_FOLDER_MODE)
            with _created(self._partial / HEADER) as file:
                file.write(self._header)
                _flush(file)
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)
        self._release()

    def write(self, kind: Kind, name: str, schema: Schema, records: Iterator[Record]) -> Iterator[Tally]:
        """Writes a collection; yields after each record what there is so far."""
        file = _file(kind, name)
        path = self._partial / file
        tally = Tally()
        with _created(path) as raw:
            sealer = sealing.Sealer(raw, self._keys.of(file))
            with gzip.GzipFile(filename="", fileobj=sealer, mode="wb", compresslevel=6, mtime=0) as packed:
                for record in records:
                    packed.write(record.text.encode() + b"\n")
                    tally.add(record)
                    yield tally
            sealer.finish()
            _flush(raw)
        sha256, size = _file_digest(path)
        self._parts[kind][name] = Part(file, tally.count, tally.checksum, sha256, size, schema)

    def finish(self, *, live: bool, documents: Mapping[str, str]) -> Manifest:
        """Writes the manifest and puts the archive in its place."""
        manifest = Manifest(self._stack, self._created, live, self._parts, documents)
        with _created(self._partial / MANIFEST) as file:
            sealer = sealing.Sealer(file, self._keys.of(MANIFEST))
            sealer.write(manifest.text().encode())
            sealer.finish()
            _flush(file)
        for folder in (*(self._partial / kind for kind in KINDS), self._partial):
            _sync(folder)
        _refuse_if_taken(self.folder)
        os.rename(self._partial, self.folder)
        _sync(self.folder.parent)
        return manifest

    def _release(self) -> None:
        if self._lock is not None:
            with suppress(FileNotFoundError):
                self._lock_file.unlink()
            self._lock.release()
            self._lock = None


class Archive:
    """An archive that is there. Raises MigrationError where it is none, or where it is not as it was written.

    `identity` finds the key pair of a salt, which the header has.
    """

    def __init__(self, folder: Path, identity: Callable[[bytes], sealing.Identity]) -> None:
        self.folder = folder
        text = _header_text(folder)
        header = read_header(folder)
        own = identity(header.recipient.salt)
        if own.recipient != header.recipient:
            raise MigrationError(
                f"{folder} was encrypted with another passphrase",
                f"It needs the passphrase that stack {header.stack} had on {header.created}: --passphrase-file FILE.",
            )
        try:
            self._keys = sealing.keys_to_read(own, header.ephemeral, text)
        except ValueError:
            raise _bad(folder / HEADER) from None
        self.manifest = self._manifest()

    def check(self) -> None:
        """That every file is there and has the SHA-256 that the manifest has."""
        for parts in self.manifest.parts.values():
            for part in parts.values():
                try:
                    found = _file_digest(self.folder / part.file)
                except FileNotFoundError:
                    raise self._damaged(part.file, "is missing") from None
                if found != (part.sha256, part.bytes):
                    raise self._damaged(part.file, "is not as it was written (its SHA-256 differs)")

    def leave_out(self, kind: Kind, name: str) -> None:
        """From now on the archive has no such collection."""
        parts = {each: {**parts} for each, parts in self.manifest.parts.items()}
        del parts[kind][name]
        self.manifest = replace(self.manifest, parts=parts)

    def records(self, kind: Kind, name: str, parse: Callable[[Any], Record]) -> Iterator[Record]:
        """The records of a collection; after the last one they are compared with the manifest."""
        part = self.manifest.parts[kind][name]
        tally = Tally()
        with self._open(part.file) as lines:
            for line in self._lines(lines, part.file):
                try:
                    record = parse(json.loads(line))
                except (ValueError, RecursionError):
                    raise self._damaged(part.file, f"has no record in line {tally.count + 1}") from None
                tally.add(record)
                yield record
        if (tally.count, tally.checksum) != (part.count, part.checksum):
            raise self._damaged(part.file, "does not have the records that the manifest counts")

    def _manifest(self) -> Manifest:
        path = self.folder / MANIFEST
        with self._opened(MANIFEST) as file:
            text = file.read()
        try:
            body = json.loads(text)
            own = body.pop("sha256")
            if own != digest(canonical(body)).hex():
                raise _bad(path)
            parts = {kind: {name: _part(kind, name, part) for name, part in body[kind].items()} for kind in KINDS}
            return Manifest(
                str(body["stack"]), str(body["created"]), bool(body["live"]), parts, dict(body["documents"])
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _bad(path) from None

    def _open(self, file: str) -> gzip.GzipFile:
        return gzip.GzipFile(fileobj=self._opened(file), mode="rb")

    def _opened(self, file: str) -> io.BufferedReader:
        try:
            raw = (self.folder / file).open("rb")
        except FileNotFoundError:
            raise self._damaged(file, "is missing") from None
        return io.BufferedReader(
            sealing.Opener(raw, self._keys.of(file), lambda: self._damaged(file, "cannot be decrypted")), _BLOCK
        )

    def _lines(self, lines: gzip.GzipFile, file: str) -> Iterator[bytes]:
        try:
            yield from lines
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise self._damaged(file, "cannot be unpacked") from None

    def _damaged(self, file: str, how: str) -> MigrationError:
        return MigrationError(
            f"{self.folder / file} {how}: the archive is damaged or was edited; nothing of it can be trusted"
        )


def read_header(folder: Path) -> Header:
    """The header of an archive. Raises MigrationError for a folder without one."""
    path = folder / HEADER
    try:
        body = json.loads(_header_text(folder))
        version = body["version"]
        if body["format"] != FORMAT or type(version) is not int or version < 1:
            raise _bad(path)
        if version != VERSION:
            raise MigrationError(f"{path} is of version {version}, and this Flatline reads version {VERSION}")
        recipient = sealing.Recipient.parse(body["recipient"])
        return Header(str(body["stack"]), str(body["created"]), recipient, str(body["ephemeral"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _bad(path) from None


def _header_text(folder: Path) -> bytes:
    try:
        return (folder / HEADER).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise MigrationError(
            f"{folder} is no archive: it has no {HEADER}", "Make one: `./flatline backup --to <folder>`"
        ) from None


def _part(kind: Kind, name: str, body: dict[str, Any]) -> Part:
    part = Part(**body)
    if part.file != _file(kind, name) or "/" in name:
        raise ValueError("file")
    return part


def _file(kind: Kind, name: str) -> str:
    return f"{kind}/{name}.jsonl.gz.sealed"


def _bad(path: Path) -> MigrationError:
    return MigrationError(f"{path} is not as it was written: the archive is damaged or was edited")


def _refuse_if_taken(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MigrationError(f"{folder} is not empty", "Name a folder that does not exist yet.")


def _locked(path: Path, folder: Path) -> files.Lock:
    try:
        return files.Lock(path)
    except BlockingIOError:
        raise MigrationError(f"another backup to {folder} is running: wait for it to end") from None


def _created(path: Path) -> IO[bytes]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
    return cast(IO[bytes], os.fdopen(descriptor, "wb"))


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _file_digest(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
