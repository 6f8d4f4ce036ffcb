"""The errors of pydantic as lines for operators: key, mistake, remedy. Secrets are not shown."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

_REMEDIES = {
    "int_type": "is {given}; write a whole number",
    "bool_type": "is {given}; write true or false",
    "string_type": "is {given}; write text (quote it in YAML)",
    "dict_type": "is {given}; write a block of keys",
    "model_type": "is {given}; write a block of keys",
    "model_attributes_type": "is {given}; write a block of keys",
    "list_type": "is {given}; write a list",
    "float_type": "is {given}; write a number",
    "finite_number": "is {given}; write a number",
    "missing": "is missing; write it",
    "none_required": "is {given}; remove it",
    "greater_than_equal": "is {given}; write {ge} or more",
    "less_than_equal": "is {given}; write {le} or less",
    "greater_than": "is {given}; write more than {gt}",
    "literal_error": "is {given}; write {expected}",
    "union_tag_invalid": "names kind {tag}; write {expected_tags}",
    "union_tag_not_found": "is missing; write it",
    "string_too_short": "is empty; write a value or remove the key",
    "too_short": "is empty; write at least one",
    "string_pattern_mismatch": "is {given}; write text of the form {pattern}",
}

_KEY_BLOCKS = (["secrets"], ["certificates", "provided"], ["backup", "credentials"])
_LONGEST_SHOWN = 40
_RUN = re.compile(r"[A-Za-z0-9+/=_]{16,}")
"""The form of the shortest secret as base64 or hexadecimal text; one without a digit is a word."""


def lines_of(error: ValidationError, model: type[BaseModel], root: str) -> list[str]:
    """One line for each mistake. Keys are shown behind `root`, such as `flatline:`."""
    lines: dict[str, str] = {}
    for entry in error.errors(include_url=False, include_input=True):
        steps = list(_steps(model, entry["loc"]))
        path = [step.key for step in steps]
        key = root + ".".join(map(_Step.shown, steps)) if steps else root.rstrip(": ")
        kind, context = entry["type"], entry.get("ctx", {})
        if kind in {"union_tag_invalid", "union_tag_not_found"}:
            key = f"{key}.kind"
        if kind == "extra_forbidden":
            text = f"is no known key;{suggestion(path[-1], steps[-1].known)}"
        elif kind == "literal_error" and entry["loc"][-1] == "[key]":
            names = re.findall("'(.*?)'", context["expected"])
            text = f"is no known key;{suggestion(path[-1], names)}"
        elif kind == "value_error":
            shown = f"{_shown(entry['input'])} " if isinstance(entry["input"], str) and not _is_secret(path) else ""
            text = _RUN.sub(lambda run: hidden(run[0]) or run[0], str(context["error"]))
            inner = re.match(r"([A-Za-z0-9][\w./-]*): ", text)
            if inner is not None and not shown:  # a check of a whole block names the key in it
                key, text = ".".join((key, inner[1])) if steps else f"{root}{inner[1]}", text[inner.end() :]
            text = shown + text
        else:
            given = "of the wrong type" if _is_secret(path) else _shown(entry["input"])
            safe = {name: _in_remedy(name, each) for name, each in context.items()}
            text = _REMEDIES.get(kind, "is {given}; " + entry["msg"]).format(given=given, **safe)
        plain = text.startswith(("is ", "has ", "names "))
        if not any(key.startswith(f"{other}.") and "no known key" in lines[other] for other in lines):
            lines.setdefault(key, f"{key}{' ' if plain else ': '}{text}")
    return list(lines.values())


def path_shown(path: Sequence[str], model: type[BaseModel]) -> str:
    """A key in a message. A part that is no known key may be a value that was pasted in the place of one."""
    return ".".join(step.shown() for step in _steps(model, path))


def _is_secret(path: list[str]) -> bool:
    """True if key material belongs below this key, so that somebody may have pasted it a line too high."""
    return any(path[: len(block)] == block for block in _KEY_BLOCKS)


def _shown(value: Any) -> str:
    """A value in a message. A text that may be a key is only described."""
    if isinstance(value, str):
        return hidden(value) or f'"{value}"'
    names = {dict: "a block", list: "a list", type(None): "nothing", bool: str(value).lower()}
    return names.get(type(value)) or str(value)


def hidden(text: str) -> str | None:
    """The description of a text that may be a key, because it is long, has several lines or looks random."""
    line = text.strip()
    if "PRIVATE KEY" in line:
        return "a private key (not shown)"
    random = any(re.search("[0-9+=]", run) for run in _RUN.findall(line))
    return f"a text of {len(line)} characters" if random or "\n" in line or len(line) > _LONGEST_SHOWN else None


def _in_remedy(name: str, value: Any) -> Any:
    """A part of a remedy: whole numbers without a fraction, and no text that may be a key."""
    if isinstance(value, str) and "expected" not in name:
        return hidden(value) or value
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True)
class _Step:
    """A key on the way to a mistake, and the keys that its block knows."""

    key: str
    known: Sequence[str]

    def shown(self) -> str:
        described = None if self.key in self.known else hidden(self.key)
        return f"<{described}>" if described else self.key


def _steps(model: type[BaseModel], path: Iterable[str | int]) -> Iterator[_Step]:
    """The keys in a path of pydantic's, which also has the tags of unions and a mark for the key of a mapping."""
    inside: Any = model
    for part in path:
        tagged = _tagged(inside)
        if part in tagged:
            inside = tagged[part]
        elif part != "[key]":
            block = _model_in(inside)
            fields = {field.alias or name: field for name, field in block.model_fields.items()} if block else {}
            yield _Step(str(part), sorted(fields))
            inside = fields[part].annotation if part in fields else _value_of(inside)


def _tagged(annotation: Any) -> dict[Any, Any]:
    """The models of a tagged union by their tags."""
    found: dict[Any, Any] = {}
    for each in get_args(annotation) if get_origin(annotation) in {Union, UnionType} else ():
        model = _model_in(each)
        if model is not None and "kind" in model.model_fields:
            found |= dict.fromkeys(get_args(model.model_fields["kind"].annotation), model)
    return found


def _value_of(annotation: Any) -> Any:
    """The type of a mapping's or list's values; nothing for others, whose keys are not known."""
    for each in (annotation, *get_args(annotation)):
        if get_origin(each) in {dict, list}:
            return get_args(each)[-1]
    return None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The first model in an annotation that is no mapping and no list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in {dict, list}:
        return None
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Suggests a name in place of one that is not known: the nearest one, or all."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f" did you mean {close[0]}?"
    return f" write one of {', '.join(names)}" if names else " remove it"
