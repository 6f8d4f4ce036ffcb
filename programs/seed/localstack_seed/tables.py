"""Compares a table with the request for it."""

from typing import Any

Json = dict[str, Any]


def by_name(table: Json, kind: str) -> dict[str, Json]:
    return {index["IndexName"]: index for index in table.get(kind) or []}


def unmendable(wanted: Json, found: Json) -> str:
    """The difference between a table (`found`) and its request (`wanted`) that cannot be mended; empty if none."""
    if difference := _key_difference("", wanted["KeySchema"], wanted, found["KeySchema"], found):
        return difference
    for kind, word in (("LocalSecondaryIndexes", "local"), ("GlobalSecondaryIndexes", "global")):
        existing = by_name(found, kind)
        for name, index in by_name(wanted, kind).items():
            if name not in existing:
                if word == "local":
                    return f"local index {name} is missing"
                continue
            title = f"{word} index {name}: "
            other = existing[name]
            if difference := _key_difference(title, index["KeySchema"], wanted, other["KeySchema"], found):
                return difference
            if not _covers(other["Projection"], index["Projection"]):
                return f"{title}projects {_projection(other)}, wanted {_projection(index)}"
    return ""


def _key_difference(title: str, wanted: list[Json], request: Json, found: list[Json], description: Json) -> str:
    ours, theirs = _key_text(wanted, request), _key_text(found, description)
    return "" if ours == theirs else f"{title}key schema is {theirs}, wanted {ours}"


def _key_text(schema: list[Json], table: Json) -> str:
    types = {d["AttributeName"]: d["AttributeType"] for d in table["AttributeDefinitions"]}
    parts = sorted(schema, key=lambda part: str(part["KeyType"]))
    return ", ".join(f"{p['AttributeName']} {types.get(p['AttributeName'], '?')} {p['KeyType']}" for p in parts)


def _covers(projection: Json, wanted: Json) -> bool:
    kind = projection["ProjectionType"]
    if kind == "ALL" or wanted["ProjectionType"] == "KEYS_ONLY":
        return True
    attributes = set(projection.get("NonKeyAttributes") or [])
    return kind == wanted["ProjectionType"] and attributes >= set(wanted.get("NonKeyAttributes") or [])


def _projection(index: Json) -> str:
    projection = index["Projection"]
    return " ".join([projection["ProjectionType"], *sorted(projection.get("NonKeyAttributes") or [])])


def surplus_indexes(wanted: Json, found: Json) -> list[str]:
    """Names of the indexes that a described table has beyond the request."""
    return sorted(
        name
        for kind in ("LocalSecondaryIndexes", "GlobalSecondaryIndexes")
        for name in by_name(found, kind).keys() - by_name(wanted, kind).keys()
    )
