"""Where archives are kept: folders, or prefixes of an S3 bucket, which are copied from and to a folder."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cli import stacks
from cli.stacks import LoadedStack, Passphrase, Stack, display_path
from cli.terminal import Terminal
from config import retention
from errors import FlatlineError
from migration import sealing
from migration.archive import HEADER, MANIFEST, Archive, Header, Writer, read_header

SCHEME = "s3://"


@dataclass(frozen=True)
class Prefix:
    """A folder in a bucket of S3. The bucket is reached with AWS's default chain (AWS_ENDPOINT_URL_S3 and the like)."""

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def below(self) -> str:
        """The common beginning of its objects' names."""
        return f"{self.prefix}/" if self.prefix else ""

    def of(self, name: str) -> "Prefix":
        """A folder in this one."""
        return Prefix(self.bucket, f"{self.prefix}/{name}".lstrip("/"))


def prefix(text: str) -> Prefix | None:
    """The place of `s3://BUCKET/PREFIX`, None for anything else. Raises FlatlineError for one without a bucket."""
    if not text.startswith(SCHEME):
        return None
    bucket, _, rest = text.removeprefix(SCHEME).partition("/")
    if not bucket:
        raise FlatlineError(f"{text} names no bucket", "Write s3://BUCKET or s3://BUCKET/PREFIX.")
    return Prefix(bucket, rest.strip("/"))


def new_name(loaded: LoadedStack) -> str:
    """The name of an archive that is made now: the stack and the time (UTC), which sorts."""
    return f"{loaded.stack.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


@contextmanager
def writer(
    to: str, loaded: LoadedStack, recipient: sealing.Recipient, terminal: Terminal
) -> Iterator[tuple[Writer, str]]:
    """The writer of a new archive in a place, and what it is called. It is there once the block has ended."""
    where = prefix(to)
    name = new_name(loaded)
    if where is None:
        with Writer(Path(to) / name, recipient, loaded.stack.name) as made:
            yield made, display_path(made.folder)
        return
    place = where.of(name)
    with aws_errors(f"bucket {place.bucket}"):
        client = _client()
        client.head_bucket(Bucket=place.bucket)
    with TemporaryDirectory(prefix="flatline-") as folder:
        made = Writer(Path(folder) / name, recipient, loaded.stack.name)
        try:
            with made:
                yield made, str(place)
        finally:
            if made.folder.exists():  # it is whole, even where services did not start again after it
                with terminal.step(f"Copying to {place}"), aws_errors(f"copying to {place}"):
                    _upload(client, made.folder, place)


@contextmanager
def reader(source: str, passphrase_file: str | None, stack: Stack, terminal: Terminal) -> Iterator[Archive]:
    """The archive in a place; one in a bucket is copied first, as it is: encrypted.

    It opens with a passphrase in a file, or else with that of its own stack or of the one that it is for.
    """
    where = prefix(source)
    with ExitStack() as held:
        if where is None:
            folder = _archive(Path(source))
        else:
            folder = Path(held.enter_context(TemporaryDirectory(prefix="flatline-")))
            with terminal.step(f"Copying from {where}"), aws_errors(f"copying from {where}"):
                _download(_client(), where, folder)
        header = read_header(folder)
        yield Archive(folder, lambda salt: _identity(header, passphrase_file, stack))


def _identity(header: Header, passphrase_file: str | None, stack: Stack) -> sealing.Identity:
    """The key pair that opens an archive, or the last one that was tried. Raises FlatlineError if there is none."""
    if passphrase_file is not None:
        path = Path(passphrase_file).expanduser()
        try:
            return sealing.identity(path.read_text(encoding="utf-8").strip(), header.recipient.salt)
        except (OSError, UnicodeDecodeError) as problem:
            reason = problem.strerror if isinstance(problem, OSError) else "it is no text"
            raise FlatlineError(f"--passphrase-file {passphrase_file} cannot be read: {reason}") from None
    found: dict[str, sealing.Identity] = {}
    problems: list[FlatlineError] = []
    for each in dict.fromkeys((stacks.named(header.stack), stack)):
        try:
            text = Passphrase(each, may_be_made=False)()
        except FlatlineError as problem:
            problems.append(problem)
            continue
        if text not in found:
            found[text] = sealing.identity(text, header.recipient.salt)
            if found[text].recipient == header.recipient:
                break
    if not found:
        raise FlatlineError(
            f"the archive opens with the passphrase of stack {header.stack}: {problems[0].problem}",
            "Name a file that has it: --passphrase-file FILE.",
        )
    return list(found.values())[-1]


def last(place: str, stack: str) -> str:
    """The newest archive of a stack in a place, by name. Raises FlatlineError if there is none."""
    own = [name for name in _all(place) if retention.made(stack, name) is not None]
    if not own:
        raise FlatlineError(f"{place} has no archive of stack {stack}", f"Make one: `./flatline backup --to {place}`")
    where = prefix(place)
    return str(Path(place) / own[-1] if where is None else where.of(own[-1]))


def keep(place: str, stack: str, rule: retention.Rule, terminal: Terminal, *, written: str) -> None:
    """Deletes the archives of a stack in a place that a rule does not keep, the manifest of each first.

    The one `written` by this run stays, even if a wrong clock dated others after it.
    """
    where = prefix(place)
    for name in retention.superfluous(stack, _all(place), rule):
        if name == written:
            continue
        if where is None:
            (Path(place) / name / MANIFEST).unlink()
            shutil.rmtree(Path(place) / name)
        else:
            with aws_errors(f"deleting {where.of(name)}"):
                _delete(_client(), where.of(name))
        terminal.say(f"Deleted {name}: --keep does not keep it.")


def _all(place: str) -> list[str]:
    """The names of the whole archives in a place, sorted."""
    where = prefix(place)
    if where is None:
        return [path.name for path in _archives(Path(place))]
    with aws_errors(f"looking into {where}"):
        return _inner(_names(_client(), where))


def _archive(folder: Path) -> Path:
    found = [] if (folder / HEADER).exists() else _archives(folder)
    if found:
        raise FlatlineError(
            f"{folder} holds {len(found)} archives, and is none itself",
            f"Name one of them, such as the newest: --from {display_path(found[-1].absolute())}",
        )
    return folder


def _archives(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"[!.]*/{MANIFEST}"))


def _upload(client: Any, folder: Path, place: Prefix) -> None:
    """Copies the manifest last: without it an archive is none."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    for path in sorted(paths, key=lambda path: (path.name == MANIFEST, path)):
        client.upload_file(str(path), place.bucket, f"{place.prefix}/{path.relative_to(folder)}")


def _download(client: Any, place: Prefix, folder: Path) -> None:
    names = _names(client, place)
    if HEADER not in names:
        inner = _inner(names)
        remedy = f"Name one of those there, such as {place.of(inner[-1])}" if inner else "Look with `aws s3 ls`."
        raise FlatlineError(f"{place} is no archive: it has no {HEADER}", remedy)
    for name in names:
        if not name or name.endswith("/"):  # an empty object by which consoles and file browsers show a folder
            continue
        target = folder / name
        if not target.resolve().is_relative_to(folder.resolve()):
            raise FlatlineError(f"{place} has an object whose name leads outside of it", "It is no archive.")
        target.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(place.bucket, f"{place.below}{name}", str(target))


def _delete(client: Any, place: Prefix) -> None:
    for name in sorted(_names(client, place), key=lambda name: name != MANIFEST):
        client.delete_object(Bucket=place.bucket, Key=f"{place.below}{name}")


def _names(client: Any, place: Prefix) -> list[str]:
    """The names of all objects below a place."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=place.below)
    return [entry["Key"].removeprefix(place.below) for page in pages for entry in page.get("Contents", ())]


def _inner(names: Iterable[str]) -> list[str]:
    """The whole archives among objects, by their folder."""
    return sorted(name.partition("/")[0] for name in names if name.count("/") == 1 and name.endswith(f"/{MANIFEST}"))


def _client() -> Any:
    import boto3
    from botocore.config import Config

    checks: dict[str, Any] = dict.fromkeys(
        ("request_checksum_calculation", "response_checksum_validation"), "when_required"
    )
    return boto3.client("s3", config=Config(**checks))


@contextmanager
def aws_errors(doing: str) -> Iterator[None]:
    """Turns an error of AWS into one line."""
    from boto3.exceptions import Boto3Error

    from migration.dynamodb import translated_errors

    try:
        with translated_errors(doing):
            yield
    except Boto3Error as problem:
        raise FlatlineError(f"{doing}: {problem}") from None
