"""Differences between two sets of rendered objects, with secrets hidden.

Objects that are named after their content (`whisper-config-3acd746736`) are matched by the role that their name begins
with, so that a changed ConfigMap is one changed object and not a lost and a new one.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cli.objects import Object
from render import yaml_text
from render.manifests import REDACTED

_Key = tuple[str, str, str]


@dataclass(frozen=True)
class Difference:
    """Objects that are `new`, `gone`, or `changed` (before, after), each sorted by kind, namespace and role."""

    new: tuple[Object, ...]
    gone: tuple[Object, ...]
    changed: tuple[tuple[Object, Object], ...]

    def __bool__(self) -> bool:
        return bool(self.new or self.gone or self.changed)


def between(before: Iterable[Object], after: Iterable[Object]) -> Difference:
    """The changes that lead from one set to the other."""
    old, new = _by_key(before), _by_key(after)
    pairs = [(old[key], new[key]) for key in sorted(old.keys() & new.keys())]
    return Difference(
        new=tuple(new[key] for key in sorted(new.keys() - old.keys())),
        gone=tuple(old[key] for key in sorted(old.keys() - new.keys())),
        changed=tuple((a, b) for a, b in pairs if a.content != b.content),
    )


def lines(before: Object, after: Object) -> Iterator[str]:
    """The change of an object as a unified difference of YAML, the values of a Secret hidden."""
    old, new = _hidden(before, after)
    return unified((str(before), old), (str(after), new), context=2)


def unified(before: tuple[str, Any], after: tuple[str, Any], context: int = 3) -> Iterator[str]:
    """The unified difference of two titled contents as YAML; a content is None where there is none."""
    (one, old), (other, new) = before, after
    return difflib.unified_diff(_dumped(old), _dumped(new), one, other, lineterm="", n=context)


def _dumped(content: Any) -> list[str]:
    return yaml_text.dump(content).splitlines() if content is not None else []


def _by_key(objects: Iterable[Object]) -> dict[_Key, Object]:
    """By kind, namespace and role; by the whole name where one role has several objects."""
    everything = list(objects)
    roles = [(each.resource, each.namespace, each.role) for each in everything]
    return {
        role if roles.count(role) == 1 else (each.resource, each.namespace, each.name): each
        for role, each in zip(roles, everything, strict=True)
    }


def _hidden(before: Object, after: Object) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    if before.kind != "Secret":
        return before.content, after.content
    old, new = dict(before.content), dict(after.content)
    for section in ("data", "stringData"):
        ours, theirs = old.get(section, {}), new.get(section, {})
        same = {key for key in ours if key in theirs and ours[key] == theirs[key]}
        for content, word in ((old, "before"), (new, "after")):
            if section in content:
                content[section] = {
                    key: REDACTED if key in same else f"{REDACTED} ({word})" for key in content[section]
                }
    return old, new
