"""Data that is in a stack's cluster alone, as collections: invitations, and files on volumes of its pods."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cli import invitations, kubectl
from cli.objects import SELECTOR
from cli.stacks import ROOT, LoadedStack
from components.services import cdn3_store, registration
from migration.errors import MigrationError, SchemaMismatchError
from migration.records import Collection, Record, Schema, canonical, digest, fields, from_base64

PROGRAM = ROOT / "programs" / "backup" / "files.mjs"


class Invitations(Collection):
    """The Secret with the invitations, an entry each. It is made if it is not there."""

    kind = "secrets"
    name = "invitations"
    writers, most, heaviest = 1, 200, 4 << 20

    def __init__(self, store: invitations.Store) -> None:
        self._store = store

    def check(self, expected: Schema | None = None) -> Schema:
        """See `Collection`."""
        return {}

    def read(self) -> Iterator[Record]:
        """See `Collection`."""
        for name, value in self._store.read().items():
            yield _entry(name, value)

    def count(self) -> int:
        """See `Collection`."""
        return len(self._store.read())

    def record(self, document: Any) -> Record:
        """See `Collection`."""
        entry = fields(fields(document, {"Entry": dict})["Entry"], {"key": str, "value": str})
        return _entry(entry["key"], entry["value"])

    def existing(self, records: Sequence[Record]) -> dict[bytes, Record]:
        """See `Collection`."""
        there = {record.key: record for record in self.read()}
        return {record.key: there[record.key] for record in records if record.key in there}

    def write(self, records: Sequence[Record], *, exclusive: bool) -> None:
        """See `Collection`."""

        def decide(values: invitations.Values) -> dict[str, str | None]:
            if any(values.get(name, value) != value for name, value in (record.body for record in records)):
                raise MigrationError(
                    "an invitation that differs from the archive's appeared while it was loaded", "Run it again."
                )
            return dict(record.body for record in records)

        self._store.change(decide)


def _entry(name: str, value: str) -> Record:
    text = canonical({"Entry": {"key": name, "value": value}})
    return Record(key=name.encode(), text=text, digest=digest(text), body=(name, value))


@dataclass(frozen=True)
class Folder:
    """A folder of a volume, the workload whose pods have it, and what they are called in messages."""

    name: str
    workload: str
    path: str


REGISTRATION = Folder("registration", "registration", registration.STATE)
ATTACHMENTS = Folder("attachments", "cdn3", cdn3_store.FOLDER)


class PodFiles(Collection):
    """The files of a folder on a volume, in pieces, read and written by a program in the pod that has it."""

    kind = "files"
    writers, most, heaviest = 1, 200, 4 << 20

    def __init__(self, context: str, namespace: str, folder: Folder) -> None:
        self.name = folder.name
        self._context, self._namespace, self._folder = context, namespace, folder
        self._where: tuple[str, str] | None = None

    def check(self, expected: Schema | None = None) -> Schema:
        """See `Collection`. A pod with the volume must run."""
        self._where = self._container()
        return {}

    def read(self) -> Iterator[Record]:
        """See `Collection`."""
        yield from map(_piece, self._run("read"))

    def count(self) -> int:
        """See `Collection`."""
        (found,) = self._run("count")
        return int(found)

    def record(self, document: Any) -> Record:
        """See `Collection`."""
        wanted = {"path": str, "modified": int, "size": int, "offset": int, "data": str}
        return _piece(fields(fields(document, {"File": dict})["File"], wanted))

    def existing(self, records: Sequence[Record]) -> dict[bytes, Record]:
        """See `Collection`."""
        asked = ({"path": record.body["path"], "offset": record.body["offset"]} for record in records)
        return {record.key: record for record in map(_piece, self._run("look", asked))}

    def is_partial(self, present: Record, wanted: Record) -> bool:
        """See `Collection`. A file that was written in part has the pieces of its beginning."""
        one, other = present.body, wanted.body
        return one["size"] <= other["size"] and from_base64(other["data"]).startswith(from_base64(one["data"]))

    def write(self, records: Sequence[Record], *, exclusive: bool) -> None:
        """See `Collection`."""
        (written,) = self._run("write", (record.body for record in records))
        if written != len(records):
            raise MigrationError(f"the volume of {self.name} took {written} of {len(records)} pieces")

    def _container(self) -> tuple[str, str]:
        """The pod and the container that may write to the folder and has Node.js."""
        workload, path = self._folder.workload, self._folder.path
        labels = f"{SELECTOR},app.kubernetes.io/name={workload}"
        pods = kubectl.read(self._context, "-n", self._namespace, "get", "pods", "--selector", labels)["items"]
        for pod in pods:
            if pod["status"].get("phase") != "Running" or "deletionTimestamp" in pod["metadata"]:
                continue
            for container in pod["spec"]["containers"]:
                mounts = [each for each in container.get("volumeMounts", ()) if each["mountPath"] == path]
                if container.get("command", [""])[0] == "node" and mounts and not mounts[0].get("readOnly"):
                    return pod["metadata"]["name"], container["name"]
        raise SchemaMismatchError(
            f"no pod of {workload} runs on context {self._context} with the volume of {self.name}",
            "Bring the stack up first: the pod has to run.",
        )

    def _run(self, action: str, lines: Iterable[Any] | None = None) -> Iterator[Any]:
        pod, container = self._where or self._container()
        node = ("node", "--input-type=module", "--eval", PROGRAM.read_text(), "--", action, self._folder.path)
        words = ("-n", self._namespace, "exec", "-i", pod, "-c", container, "--", *node)
        text = None if lines is None else "".join(f"{json.dumps(line)}\n" for line in lines)
        with kubectl.streamed(self._context, *words, stdin=text) as output:
            for line in output:
                yield json.loads(line)


def _piece(found: dict[str, Any]) -> Record:
    text = canonical({"File": found})
    # Its first bytes make a piece, not the size of the file, which grows while it is written.
    key = canonical([found["path"], found["offset"]]).encode()
    return Record(key=key, text=text, digest=digest(text), body=found)


def of(loaded: LoadedStack, context: str, *, attachments: bool) -> list[Collection]:
    """Data that is in a stack's cluster alone: with the attachments of a local stack by choice."""
    found: list[Collection] = []
    namespace = loaded.settings.namespace
    if loaded.settings.registration.kind in invitations.KINDS:
        store = invitations.Store(context, namespace, loaded.stack.name)
        found += [Invitations(store), PodFiles(context, namespace, REGISTRATION)]
    if attachments:
        found.append(PodFiles(context, namespace, ATTACHMENTS))
    return found
