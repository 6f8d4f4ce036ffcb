"""Objects that earlier runs rendered and the last one did not: what may still be in a cluster, until it is deleted.

`kubectl apply` deletes nothing, and nobody says whether a deletion that was shown was also done. So the list is kept
in the rendered folder from run to run. An object that is part of the stack again leaves it.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from cli import objects
from cli.objects import Object

FILE = "no-longer-part.json"
_KEPT_KINDS = frozenset({"Namespace", "PersistentVolumeClaim"})
"""Kinds that hold data. They are never part of a command that cleans up."""


@dataclass(frozen=True, order=True)
class Retired:
    """An object by what kubectl calls it; `namespace` is empty for what belongs to the whole cluster."""

    namespace: str
    resource: str
    name: str


def after(folder: Path, rendered: Iterable[Object], applied: Iterable[Object] = ()) -> list[Retired]:
    """Objects that are no longer part of a stack, sorted. Earlier ones are in a folder, or were `applied` otherwise."""
    now = {_key(each) for each in rendered}
    before = {_key(each) for each in (*objects.read(folder), *applied) if each.kind not in _KEPT_KINDS}
    return sorted((before | set(_remembered(folder))) - now)


def file(retired: list[Retired]) -> dict[str, str]:
    """The file that remembers them, by its name; no file where there are none."""
    return {FILE: json.dumps([asdict(each) for each in retired], indent=1) + "\n"} if retired else {}


def _key(each: Object) -> Retired:
    return Retired(each.namespace, each.resource, each.name)


def _remembered(folder: Path) -> list[Retired]:
    path = folder / FILE
    return [Retired(**each) for each in json.loads(path.read_text())] if path.is_file() else []
