"""Drift: objects of Pulumi's state that a cluster has lost or holds otherwise; and their repair.

Pulumi trusts its state: an object that somebody deleted is "unchanged". Its own refresh drops such an object from the
state, so the next update makes it under another name, which no running pod knows. So the cluster is asked here, with
one list for each kind, and what is missing is applied again exactly as the state has it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli import kubectl
from cli.engine_state import StateObject
from cli.objects import SELECTOR, Object
from errors import FlatlineError

CLAIM = "PersistentVolumeClaim"


@dataclass(frozen=True)
class Drift:
    """Objects of the state that the cluster does not have, and those that it holds otherwise."""

    gone: tuple[StateObject, ...] = ()
    changed: tuple[StateObject, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.gone or self.changed)

    @property
    def lost_claims(self) -> list[str]:
        """Volume claims that are gone, and what they held with them."""
        return [str(each) for each in self.gone if each.applied.kind == CLAIM]

    @property
    def urns(self) -> list[str]:
        """Of everything that is put back."""
        return [each.urn for each in (*self.gone, *self.changed)]


def found(context: str, kept: Sequence[StateObject]) -> Drift:
    """Compares the state with the cluster. Raises FlatlineError if the cluster does not answer or refuses."""
    there = live(context, kept)
    gone, changed = [], []
    for each in kept:
        answer = there.get(each.applied.key)
        if answer is None:
            gone.append(each)
        elif each.applied.kind != CLAIM and differs(each, answer):  # a claim is grown in the cluster, never put back
            changed.append(each)
    return Drift(tuple(gone), tuple(changed))


def live(context: str, kept: Sequence[StateObject]) -> dict[tuple[str, str, str], Mapping[str, Any]]:
    """The cluster's objects of the kinds of some objects, by type, namespace and name."""
    kinds = sorted({each.applied.resource for each in kept})
    if not kinds:
        return {}
    items = kubectl.read(context, "get", ",".join(kinds), "--all-namespaces", "--selector", SELECTOR)["items"]
    return {Object(item).key: item for item in items}


def differs(kept: StateObject, answer: Mapping[str, Any]) -> bool:
    """True if the API server no longer has an object as it was applied. Additions by others do not count."""
    applied, before = kept.applied.content, kept.answered
    if kept.applied.kind == "Secret":  # applied as `stringData`, which is never read back
        return "data" in before and bool(before["data"] != answer.get("data"))
    sections = [key for key in applied if key not in {"apiVersion", "kind", "metadata", "status"}]
    labels = {key: applied["metadata"][key] for key in ("labels", "annotations") if key in applied["metadata"]}
    return any(_differ(applied[key], before.get(key), answer.get(key)) for key in sections) or _differ(
        labels, before.get("metadata", {}), answer["metadata"]
    )


def _differ(applied: Any, before: Any, now: Any) -> bool:
    """Compares two answers of the API server, which has one way to write a value, wherever something was applied."""
    if isinstance(applied, Mapping) and isinstance(before, Mapping):
        return not isinstance(now, Mapping) or any(
            _differ(item, before[key], now.get(key)) for key, item in applied.items() if key in before
        )
    if isinstance(applied, list) and isinstance(before, list) and len(applied) == len(before):
        return (
            not isinstance(now, list)
            or len(now) != len(before)
            or any(_differ(*each) for each in zip(applied, before, now, strict=True))
        )
    return before is not None and bool(before != now)


def put_back(context: str, drift: Drift) -> None:
    """Applies each object again as the state has it, under its name. Raises FlatlineError with kubectl's own words."""
    for each in (*drift.gone, *drift.changed):
        kubectl.apply(context, each.applied.content, manager=each.manager)


def refuse_lost_claims(drift: Drift, agreed: bool, command: Sequence[str]) -> None:
    """Raises FlatlineError if volume claims are gone and nobody agreed to empty ones."""
    if drift.lost_claims and not agreed:
        raise FlatlineError(
            f"the cluster no longer has what held data: {', '.join(drift.lost_claims)}",
            "Restore the volumes from a backup first, under the same names (docs/operations.md).",
            "To begin with empty ones instead:",
            commands=[[*command, "--empty-volumes"]],
        )
