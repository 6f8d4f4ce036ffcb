"""The doctor's evidence and findings. A check is a function of the evidence: it asks nobody by itself."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from config.settings import Settings

Area = Literal["cluster", "edge", "outside", "secrets", "pods", "stores", "logs"]
Severity = Literal["wrong", "notice"]
Item = Mapping[str, Any]
Row = tuple[str, str, str, str]
"""A row of the table of symptoms: name, title, what it means for people, and what mends it."""


@dataclass(frozen=True, kw_only=True)
class Symptom:
    """One thing that can be wrong. `mend` may name {stack}, {context}, {namespace}, {name} and what a finding adds.

    A `notice` is told, and does not change the exit status. `fix` says what `--fix` does, where that is safe.
    """

    name: str
    area: Area
    title: str
    means: str
    mend: str
    severity: Severity = "wrong"
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A symptom that is there. `about` is the object, `found` what was seen of it, `fix` kubectl's words.

    `manifest` is what `fix` applies, as YAML, where it applies something.
    """

    symptom: str
    about: str
    found: str
    names: Mapping[str, str] = field(default_factory=dict)
    fix: tuple[str, ...] = ()
    manifest: str = ""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that was read, once. `unread` says of each reading that failed why it did."""

    settings: Settings
    stack: str
    context: str | None
    now: datetime
    readings: Mapping[str, Any]
    unread: Mapping[str, str] = field(default_factory=dict)

    def items(self, reading: str, kind: str = "") -> list[Item]:
        """The objects of a reading, of one kind."""
        found = self.readings.get(reading) or []
        return [each for each in found if not kind or each.get("kind") == kind]

    @property
    def deployed(self) -> bool:
        """True if the cluster has workloads of this stack."""
        return any(self.items("stack", kind) for kind in ("Deployment", "StatefulSet"))


@dataclass(frozen=True)
class Check:
    """`looks` says what is looked at; `needs` are the readings it takes, without one of which it says nothing.

    A check of what runs (`running`) has nothing to say before the first `up`.
    """

    name: str
    looks: str
    needs: tuple[str, ...]
    run: Callable[[Evidence], Iterable[Finding]]
    running: bool = False


@dataclass(frozen=True)
class Result:
    """The result of a check. `unread`: why it could not look. `passed_over`: there is nothing to look at yet."""

    check: Check
    findings: tuple[Finding, ...] = ()
    unread: str = ""
    passed_over: bool = False


def examine(checks: Iterable[Check], evidence: Evidence) -> Iterator[Result]:
    """Each check's result, in their order."""
    for check in checks:
        lacking = [evidence.unread[need] for need in check.needs if need in evidence.unread]
        if lacking:
            yield Result(check, unread=lacking[0])
        elif (check.running and not evidence.deployed) or any(need not in evidence.readings for need in check.needs):
            yield Result(check, passed_over=True)
        else:
            yield Result(check, tuple(check.run(evidence)))


def name_of(item: Item) -> str:
    """`pod flatline/whisper-0`."""
    metadata = item["metadata"]
    namespace = metadata.get("namespace")
    return f"{item['kind'].lower()} {namespace + '/' if namespace else ''}{metadata['name']}"


def labels_of(item: Item) -> Mapping[str, str]:
    """The labels of an object."""
    labels: Mapping[str, str] = item["metadata"].get("labels") or {}
    return labels


def condition(item: Item, kind: str) -> Item:
    """The condition of a type; empty where there is none."""
    conditions: list[Item] = item.get("status", {}).get("conditions") or []
    return next((each for each in conditions if each.get("type") == kind), {})


def is_ready(item: Item) -> bool:
    """True if a node or a pod says that it is."""
    return condition(item, "Ready").get("status") == "True"


def moment(event: Item) -> datetime:
    """When an event was seen last."""
    return datetime.fromisoformat(
        event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    )


def finding(symptom: str, item: Item, found: str, fix: tuple[str, ...] = (), **names: str) -> Finding:
    """A finding about an object, whose name and namespace its mend can use. `fix` is for kubectl in that namespace."""
    metadata = item["metadata"]
    place = {"name": metadata["name"], "namespace": metadata.get("namespace", "")}
    words = ("-n", place["namespace"], *fix) if fix else ()
    return Finding(symptom=symptom, about=name_of(item), found=found, names=place | names, fix=words)


def short(text: str, longest: int = 240) -> str:
    """One line of some length."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[:longest]}..."
