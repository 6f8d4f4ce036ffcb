"""The effects of an upgrade: which pods are replaced and why, what clients notice, which data moves.

Pure: it compares the objects of a stack before and after. Nothing of a Secret but its name is ever shown.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli.objects import Object

Pair = tuple[Object | None, Object | None]
"""An object before and after; None where there is none."""

WORKLOADS = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
CLAIM = "PersistentVolumeClaim"
SEED, STORE, BIGTABLE = "localstack-seed", "object-store", "cbtemulator-seed"
"""The roles of the objects that list tables and buckets of a local stack."""
NOTICED = {
    "whisper": "WebSockets stay open for {drain} s after the next pod is ready; then they are closed in order, and "
    "clients connect again; requests go on",
    "whisper-persister": "nothing; messages for offline devices stay in Redis meanwhile",
    "storage": "nothing: requests go to the next pod",
    "cdn0-gate": "nothing: requests go to the next pod",
    "cdn3": "requests wait for the next pod, up to 25 s; what was cut off is resumed",
    "object-store": "avatars and stickers are answered with 502 for some seconds; new pre-keys are refused meanwhile",
    "localstack": "requests fail until its pod is ready again, about half a minute; what was acknowledged is kept",
    "cbtemulator": "groups cannot be read or changed for some seconds",
    "redis": "requests for the keys of a node wait while it restarts; undelivered messages are on its volume",
    "redis-pubsub": "a message for a device that is online may come some seconds later",
    "redis-membership": "nothing",
    "registration": "whoever registers just then begins again",
    "otel-collector": "nothing; measurements of some seconds are lost",
    "turn": "calls that it relays break off, and others go on; a call that begins just then finds no relay",
    "calling-frontend": "nothing: requests go to the next pod, and group calls go on",
    "calling-backend": "group calls end, and people join again once its pod is ready",
    "cdn3-download": "requests go to the next pod; a download that was cut off is asked for again",
}
"""The effect on people of a restart of each workload (docs/operations.md, docs/performance.md)."""
_CONTENT_NAME = re.compile(r"-[0-9a-f]{8,10}$")
_HOST = re.compile(r"[a-z-]+://([a-z0-9-]+)\.[a-z0-9.-]+:\d+")
_CLOUD_DATA = re.compile(
    r"(aws:(dynamodb/table|s3/bucketV?2?|elasticache/replicationGroup)|gcp:bigtable/(table|instance)):"
)


@dataclass(frozen=True)
class Restart:
    """A workload whose pods are replaced. `after` are others that restart as well and that its pods wait for."""

    workload: str
    pods: int
    why: tuple[str, ...]
    how: str
    clients: str
    after: tuple[str, ...]


@dataclass(frozen=True)
class Data:
    """Something that holds data (`table Accounts`, `claim flatline/objects`): `new`, `gone` or `changed`, and how."""

    what: str
    change: str
    how: str = ""


@dataclass(frozen=True)
class Effects:
    """All of it. `new`, `changed` and `gone` count objects."""

    restarts: tuple[Restart, ...]
    data: tuple[Data, ...]
    new: int
    changed: int
    gone: int


def of(pairs: Sequence[Pair], cloud: Iterable[tuple[str, str, str]] = ()) -> Effects:
    """The effects of pairs of objects, and of cloud resources: type, name and change."""
    stores = [Data(f"{kind} {name}", change) for kind, name, change in cloud if _CLOUD_DATA.match(kind)]
    rolling = [(old, new) for old, new in pairs if old and new and old.kind in WORKLOADS and _template(old, new)]
    names = {new.name for _, new in rolling}
    restarts = [_restart(old, new, names) for old, new in rolling]
    differing = [(old, new) for old, new in pairs if old is None or new is None or old.content != new.content]
    return Effects(
        tuple(_in_order(restarts)),
        (*_listed(pairs), *_claims(pairs), *stores),
        sum(old is None for old, _ in differing),
        sum(old is not None and new is not None for old, new in differing),
        sum(new is None for _, new in differing),
    )


# --- pods ---------------------------------------------------------------------------------------------------


def _template(old: Object, new: Object) -> bool:
    return bool(old.content["spec"].get("template") != new.content["spec"].get("template"))


def _restart(old: Object, new: Object, names: set[str]) -> Restart:
    spec = new.content["spec"]
    pod = spec["template"]["spec"]
    waited = {host for each in _containers(pod) for word in each.get("args", ()) for host in _HOST.findall(str(word))}
    notice = NOTICED.get(new.name, "what this workload serves is away until its pod is ready")
    return Restart(
        str(new),
        int(spec.get("replicas", 1)),
        tuple(_reasons(old.content["spec"]["template"], spec["template"])),
        _how(new.kind, spec),
        notice.format(drain=_drain(pod)),
        tuple(sorted((waited & names) - {new.name})),
    )


def _how(kind: str, spec: Mapping[str, Any]) -> str:
    if kind == "StatefulSet":
        return "one pod after the other, each away while it restarts"
    if (spec.get("strategy") or {}).get("type") == "Recreate":
        return "the pod ends before the next one starts"
    return "one pod after the other, each replaced by one that is ready"


def _drain(pod: Mapping[str, Any]) -> int:
    """The seconds that a pod keeps what is open after others have taken over: `lifecycle.preStop.sleep`."""
    sleeps = (((each.get("lifecycle") or {}).get("preStop") or {}).get("sleep") or {} for each in _containers(pod))
    return max((int(each.get("seconds", 0)) for each in sleeps), default=0)


def _containers(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(pod.get("initContainers") or ()), *(pod.get("containers") or ())]


def _reasons(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Why a pod template is another one, without any value of an environment, which may be private."""
    old, new = before["spec"], after["spec"]
    ours, theirs = ({each["name"]: each for each in _containers(pod)} for pod in (old, new))
    for name in sorted(ours.keys() | theirs.keys()):
        one, other = ours.get(name), theirs.get(name)
        if one is None or other is None:
            yield f"container {name} {'is new' if one is None else 'is gone'}"
            continue
        if one.get("image") != other.get("image"):
            yield f"image of {name}: {one.get('image')} becomes {other.get('image')}"
        keys = sorted(key for key in one.keys() | other.keys() if key != "image" and one.get(key) != other.get(key))
        if keys:
            yield f"{', '.join(keys)} of {name}"
    if files := sorted(_files(old) ^ _files(new)):
        yield "files: " + ", ".join(sorted({_CONTENT_NAME.sub("", each) for each in files}))
    elif old.get("volumes") != new.get("volumes"):
        yield "volumes"
    others = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    if others := sorted(others - {"containers", "initContainers", "volumes"}):
        yield ", ".join(others)
    if before.get("metadata") != after.get("metadata"):
        yield "labels or annotations of the pod"


def _files(pod: Mapping[str, Any]) -> set[str]:
    """The ConfigMaps and Secrets that a pod mounts."""
    return set(_named(pod.get("volumes") or ()))


def _named(found: Any) -> Iterator[str]:
    if isinstance(found, Mapping):
        for kind, body in found.items():
            if kind in {"configMap", "secret"} and isinstance(body, Mapping):
                title = "ConfigMap" if kind == "configMap" else "Secret"
                yield f"{title} {body.get('name') or body.get('secretName')}"
            else:
                yield from _named(body)
    elif isinstance(found, (list, tuple)):
        for each in found:
            yield from _named(each)


def _in_order(restarts: Iterable[Restart]) -> list[Restart]:
    """Those that wait for others after these; else by name."""
    left, placed, result = sorted(restarts, key=lambda each: each.workload), set[str](), list[Restart]()
    while left:
        ready = [each for each in left if placed.issuperset(each.after)] or left
        result += ready
        placed |= {each.workload.rpartition("/")[2] for each in ready}
        left = [each for each in left if each not in ready]
    return result


# --- data ---------------------------------------------------------------------------------------------------


def _listed(pairs: Iterable[Pair]) -> Iterator[Data]:
    """Tables and buckets of a local stack, from the objects that list them."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for old, new in pairs:
        for found, each in ((before, old), (after, new)):
            if each is not None:
                found.update(_stores(each))
    for name in sorted(before.keys() | after.keys()):
        if name not in before or name not in after:
            kept = "what is there stays, and nobody uses it" if name in before else "made empty"
            yield Data(name, "gone" if name in before else "new", kept)
        elif before[name] != after[name]:
            yield Data(name, "changed", "its definition; rows stay")


def _stores(each: Object) -> Iterator[tuple[str, Any]]:
    role = _CONTENT_NAME.sub("", each.name)
    if each.kind == "ConfigMap" and role == SEED and "seed.json" in (each.content.get("data") or {}):
        seed = json.loads(each.content["data"]["seed.json"])
        yield from ((f"table {table['TableName']}", table) for table in seed.get("tables", ()))
        yield from ((f"bucket {name}", None) for name in seed.get("buckets", ()))
    elif each.kind in {"Deployment", "Job"} and role in {STORE, BIGTABLE}:
        for container in each.content["spec"]["template"]["spec"]["containers"]:
            for word in map(str, container.get("args", ())):
                if role == STORE and re.fullmatch(r"[a-z0-9.-]+=[a-z0-9-]+", word):
                    yield f"bucket {word.partition('=')[0]}", None
                elif role == BIGTABLE and word.startswith("--table="):
                    name, _, families = word.removeprefix("--table=").partition("=")
                    yield f"table {name} (Bigtable)", families


def _claims(pairs: Iterable[Pair]) -> Iterator[Data]:
    for old, new in pairs:
        before, after = _sizes(old), _sizes(new)
        for name in sorted(before.keys() | after.keys()):
            if name not in after:
                yield Data(name, "gone", "it and its data stay in the cluster until you delete it")
            elif name not in before:
                yield Data(name, "new", f"{after[name]}, empty")
            elif before[name] != after[name]:
                yield Data(name, "changed", f"{before[name]} becomes {after[name]}")


def _sizes(each: Object | None) -> dict[str, str]:
    """The size of each claim that an object is, or that a StatefulSet makes for its pods."""
    if each is None:
        return {}
    space, spec = each.namespace, each.content.get("spec") or {}
    if each.kind == CLAIM:
        return {f"claim {space}/{each.name}": _size(spec)}
    return {
        f"claim {space}/{claim['metadata']['name']}-{each.name}-{pod}": _size(claim["spec"])
        for claim in spec.get("volumeClaimTemplates") or ()
        for pod in range(int(spec.get("replicas", 1)))
    }


def _size(spec: Mapping[str, Any]) -> str:
    return str(spec["resources"]["requests"]["storage"])
