"""The reference of the settings, from their models: rows of keys, and the names that stand for `<name>`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from config import descriptions
from config.exporters import EXPORTERS
from config.schema import bigtable, dynamodb, released
from config.schema.secrets import SECRETS
from config.settings import Settings

NAME, ITEM = ".<name>", "[]"

_TABLES = tuple(sorted({table.name for table in dynamodb.TABLES.values()} | set(released.DYNAMODB)))

CHECKED_NAMES: Mapping[str, tuple[str, ...]] = {
    "flatline:secrets": tuple(secret.name for secret in SECRETS),
    "flatline:target.aws.adopt.tables": _TABLES,
    "flatline:telemetry.exporters": tuple(sorted(EXPORTERS)),
}
"""Names that a validator knows, and no type."""

CHECKED_ITEMS: Mapping[str, tuple[str, ...]] = {
    "flatline:target.aws.replaceTables": _TABLES,
    "flatline:target.gcp.replaceTables": tuple(
        sorted({table.name for table in bigtable.TABLES.values()} | set(released.BIGTABLE))
    ),
}
"""Lists of names that a validator knows."""

FREE_NAMES: Mapping[str, str] = {
    "flatline:target.aws.tags": "the key of a tag",
    "flatline:monitoring.labels": "the key of a label",
    "flatline:monitoring.dashboardLabels": "the key of a label",
    "flatline:telemetry.scrapers[].podLabels": "the key of a label",
    "flatline:registration.podLabels": "the key of a label",
    "flatline:ingress.podLabels": "the key of a label",
    "flatline:ingress.loadBalancer.annotations": "the key of an annotation",
    "flatline:clusterDns.podLabels": "the key of a label",
    "flatline:calls.turn.nodeLabels": "the key of a label",
    "flatline:calls.groups.nodeLabels": "the key of a label",
    "flatline:calls.groups.loadBalancer.annotations": "the key of an annotation",
    "flatline:whisper.dynamicConfig.experiments": "the name of an experiment, as the service's code has it",
    "flatline:whisper.dynamicConfig.e164Experiments": "the name of an experiment, as the service's code has it",
    "flatline:whisper.remoteConfig": "a key that clients know",
}
"""The text in place of a name where any text is accepted."""

AFTER_THE_NAME = {"flatline:telemetry.exporters": "the type, and if there are several of it `/` and a word of yours"}


@dataclass(frozen=True)
class Row:
    """A key as the documents write it, and what may be written there. `kinds` is for which kinds of its block."""

    key: str
    form: str
    default: str
    meaning: str
    kinds: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The row of a Markdown table."""
        kinds = " or ".join(f"`kind: {kind}`" for kind in self.kinds)
        meaning = f"{kinds}: {self.meaning}" if kinds else self.meaning
        return f"| `{self.key}` | {self.form} | {self.default} | {one_line(meaning)} |"


def rows() -> list[Row]:
    """Every key once, in the order of the models."""
    found: dict[str, Row] = {}
    for row in _settings(Settings, "flatline:", ()):
        found[row.key] = _merged(found[row.key], row) if row.key in found else row
    return list(found.values())


def names() -> list[tuple[str, str]]:
    """The meaning of each `<name>`, and of names in lists: the key up to it, and the names or their description."""
    mappings = [(f"{key}{NAME}", _names(key, kind)) for key, kind in _mappings(Settings, "flatline:")]
    return [*mappings, *((f"{key}{ITEM}", _listed(items)) for key, items in CHECKED_ITEMS.items())]


def _names(key: str, kind: Any) -> str:
    known = get_args(kind) if get_origin(kind) is Literal else CHECKED_NAMES.get(key, ())
    if not known:
        return FREE_NAMES[key]
    return f"{AFTER_THE_NAME[key]}: {_listed(known)}" if key in AFTER_THE_NAME else _listed(known)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _mappings(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, Any]]:
    seen = set()
    for key, field in _fields(model, prefix):
        suffix, kinds, mappings = shape(field.annotation)
        for at, kind in mappings:
            yield f"{key}{at}", kind
        for kind in kinds:
            if is_block(kind):
                for found in _mappings(kind, f"{key}{suffix}."):
                    if found[0] not in seen:
                        seen.add(found[0])
                        yield found


def _fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{field.alias or name}", field


def _described(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo, str]]:
    """The same, each with what it is for."""
    texts = descriptions.of(model)
    names = model.model_fields
    return ((key, field, texts.get(name, "")) for name, (key, field) in zip(names, _fields(model, prefix), strict=True))


def _settings(model: type[BaseModel], prefix: str, kinds: tuple[str, ...]) -> Iterator[Row]:
    for key, field, text in _described(model, prefix):
        suffix, parts, _ = shape(field.annotation)
        blocks = [part for part in parts if is_block(part)]
        union = len(blocks) > 1
        if union:
            tags = " or ".join(f"`kind: {_kind(block)}`" for block in blocks)
            meaning = " ".join(f"`{_kind(block)}`: {block.__doc__}" for block in blocks)
            yield Row(f"{key}{suffix}", tags, _default(field), one_line(meaning), kinds)
        elif not blocks or suffix or not isinstance(field.default, BaseModel):
            meaning = text or (blocks[0].__doc__ if blocks else "") or ""
            yield Row(f"{key}{suffix}", _form(field, parts), _default(field), one_line(meaning), kinds)
        for block in blocks:
            inner = (_kind(block),) if union else kinds
            yield from (
                row
                for row in _settings(block, f"{key}{suffix}.", inner)
                if not (union and row.key == f"{key}{suffix}.kind")
            )


def _merged(one: Row, other: Row) -> Row:
    """The same key of two kinds of a block."""
    if one.meaning == other.meaning:
        return replace(one, kinds=(*one.kinds, *other.kinds))
    both = " ".join(f"`kind: {'`, `'.join(row.kinds)}`: {row.meaning}" for row in (one, other))
    return replace(one, meaning=both, kinds=())


def shape(annotation: Any) -> tuple[str, list[Any], list[tuple[str, Any]]]:
    """The text after the key (`.<name>`, `[]`), the types at its end, and each mapping's place and type of names."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return shape(inner[0])
    if origin is dict and inner[1] is not Any:
        suffix, kinds, mappings = shape(inner[1])
        return NAME + suffix, kinds, [("", inner[0]), *((NAME + at, kind) for at, kind in mappings)]
    if origin is list:
        suffix, kinds, mappings = shape(inner[0])
        return ITEM + suffix, kinds, [(ITEM + at, kind) for at, kind in mappings]
    if origin is Union or origin is UnionType:
        shapes = [shape(part) for part in inner if part is not NoneType]
        return shapes[0][0], [kind for shape in shapes for kind in shape[1]], shapes[0][2]
    return "", [annotation], []


def is_block(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _kind(block: type[BaseModel]) -> str:
    return str(get_args(block.model_fields["kind"].annotation)[0])


def _form(field: FieldInfo, kinds: list[Any]) -> str:
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", SecretStr: "secret text"}
    found = []
    for kind in kinds:
        literals = " or ".join(f"`{value}`" for value in get_args(kind)) if get_origin(kind) is Literal else ""
        found.append(literals or ("block" if is_block(kind) else names.get(kind, "block")))
    bounds = _bounds([*field.metadata, *_metadata(field.annotation)])
    limits = [f"{word} {bounds[rule]}" for rule, word in (("ge", "from"), ("le", "to")) if rule in bounds]
    return " ".join([" or ".join(dict.fromkeys(found)), *limits])


def _metadata(annotation: Any) -> Iterator[Any]:
    """The constraints at the end of an annotation, with those of `Field` taken apart."""
    if get_origin(annotation) is Annotated:
        for rule in annotation.__metadata__:
            yield from rule.metadata if isinstance(rule, FieldInfo) else [rule]
    inner = get_args(annotation)
    if get_origin(annotation) is dict:
        yield from _metadata(inner[1])
    elif get_origin(annotation) in (list, Union, UnionType, Annotated):
        yield from _metadata(inner[0])


def _bounds(rules: list[Any]) -> dict[str, Any]:
    """The bounds of constraints such as `Ge(ge=1)`; none of a validator."""
    return {name: getattr(rule, name) for rule in rules for name in ("ge", "le") if hasattr(rule, name)}


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return "required"
    if value is None or value == {} or value == []:
        return "none"
    if isinstance(value, BaseModel):
        return f"`kind: {getattr(value, 'kind')}`"  # noqa: B009 - the blocks of a union, which have it
    return f"`{_typed(value)}`"


def _typed(value: Any) -> str:
    """A value as one types it into YAML."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("...\n").strip()


def one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
