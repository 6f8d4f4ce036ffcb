"""Parses the YAML of stack and project files into plain values, and keeps the line of every key for messages.

Scalars follow gopkg.in/yaml.v3, which the Pulumi engine reads with: YAML 1.2 booleans, so ``yes`` is text. Stricter
than that: dates and numbers that are not finite must be quoted, and merge keys and custom tags are refused.
Messages never repeat text that may be a secret.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

from errors import FlatlineError

_NULL: Final = ("", "~", "null", "Null", "NULL")
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER: Final = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|0[0-7]*|[1-9][0-9]*)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_DATE: Final = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([Tt ].*)?")
_MAX_DEPTH: Final = 50
_MAX_VALUES: Final = 20_000
_LONG_WORD: Final = re.compile(r"[\w+/=-]{16,}")
_LETTERS: Final = re.compile(r"[A-Za-z_-]{1,40}")


class StackFileError(FlatlineError):
    """A stack or project file is absent, malformed or cannot be decrypted. Names the file, the line and the key."""


def display_text(text: str) -> str:
    """Text of the file for a message, without words that may be a secret pasted in place of a name."""
    return _LONG_WORD.sub(
        lambda word: word[0] if _LETTERS.fullmatch(word[0]) else f"<a text of {len(word[0])} characters>", text
    )


def display_key(key: str) -> str:
    """A key for a message. One that may be, or contain, a secret is replaced by its length."""
    return key if display_text(key) == key and "\n" not in key else f"<a text of {len(key)} characters>"


class Document:
    """A YAML file. ``top`` is its top-level mapping; an empty file has an empty one.

    Raises ``StackFileError`` if the file is absent or malformed, or has a top-level key other than ``allowed_keys``.
    """

    def __init__(self, path: Path, allowed_keys: tuple[str, ...] | None = None) -> None:
        self.path = path
        self._lines: dict[tuple[str, ...], int] = {}
        self._open_nodes: list[yaml.Node] = []
        self._count = 0
        node = self._compose()
        value = {} if node is None else self._value(node, ())
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise StackFileError(f"{path.name}:1: must be a mapping")
        self.top: dict[str, Any] = value
        for key in value if allowed_keys is not None else ():
            if allowed_keys is not None and key not in allowed_keys:
                raise self.error(key, f"unknown key; this file may have {', '.join(allowed_keys)}")

    def lines(self, *above: str) -> dict[tuple[str, ...], int]:
        """The lines, counted from 1, of the keys below ``above``, by their paths."""
        return {path[len(above) :]: line for path, line in self._lines.items() if path[: len(above)] == above != path}

    def error(self, key: str, problem: str, *, under: str = "") -> StackFileError:
        """An error that names the file, the key and its line."""
        path = (under, key) if under else (key,)
        return StackFileError(f"{self.path.name}:{self._lines.get(path, 1)}: {display_key(key)}: {problem}")

    def text(self, key: str) -> str:
        """The text of a required top-level key."""
        value = self.top.get(key)
        if not isinstance(value, str) or not value:
            raise self.error(key, "must be given, as text")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        """The mapping of an optional top-level key."""
        value = self.top.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.error(key, "must be a mapping")
        return value

    def _compose(self) -> yaml.Node | None:
        try:
            content = self.path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise StackFileError(self._absent()) from None
        except UnicodeDecodeError:
            raise StackFileError(f"{self.path.name}: is not UTF-8 text") from None
        except OSError as problem:
            raise StackFileError(f"{self.path.name}: cannot be read: {problem.strerror}") from None
        try:
            return yaml.compose(content, Loader=_Loader)
        except yaml.MarkedYAMLError as problem:
            mark = problem.problem_mark or problem.context_mark
            line = mark.line + 1 if mark else 1
            text = display_text(problem.problem or "")
            raise StackFileError(f"{self.path.name}:{line}: malformed YAML: {text}") from None
        except yaml.YAMLError:
            raise StackFileError(f"{self.path.name}: malformed YAML: a character that YAML forbids") from None
        except RecursionError:
            problem_text = f"is nested too deeply; write at most {_MAX_DEPTH} levels"
            raise StackFileError(f"{self.path.name}: {problem_text}") from None

    def _absent(self) -> str:
        names = sorted(path.name for path in self.path.parent.glob("Pulumi.*.yaml"))
        others = f"; there are {', '.join(names)}" if names else ""
        return f"{self.path.name}: no such file in {self.path.parent.resolve()}{others}"

    def _value(self, node: yaml.Node, path: tuple[str, ...]) -> Any:
        self._count += 1
        problem = (
            "an alias is inside of what it names; remove it"
            if any(node is ancestor for ancestor in self._open_nodes)
            else f"is nested too deeply; write at most {_MAX_DEPTH} levels"
            if len(self._open_nodes) > _MAX_DEPTH
            else f"its aliases make more than {_MAX_VALUES} values; write fewer"
            if self._count > _MAX_VALUES
            else ""
        )
        if problem:
            raise self._node_error(node, problem)
        self._open_nodes.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self._value(item, (*path, str(i))) for i, item in enumerate(node.value)]
            return self._scalar(node, ".".join(path))
        finally:
            self._open_nodes.pop()

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._scalar(key_node, "a key") if isinstance(key_node, yaml.ScalarNode) else None
            if key == "<<" and key_node.style is None:
                raise self._node_error(key_node, "merge keys (<<) are not supported")
            if not isinstance(key, str):
                raise self._node_error(key_node, "every key must be text: put it in quotes")
            if key in mapping:
                first = self._lines[(*path, key)]
                raise self._node_error(key_node, f"{display_key(key)}: already given in line {first}")
            self._lines[(*path, key)] = key_node.start_mark.line + 1
            mapping[key] = self._value(value_node, (*path, key))
        return mapping

    def _scalar(self, node: yaml.Node, where: str) -> Any:
        text: str = node.value
        if not isinstance(node, yaml.ScalarNode) or node.style is not None:
            return text
        if text in _NULL:
            return None
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        plain = text.replace("_", "") if text[:1].isdigit() or text[:1] in "+-" else text
        if _DATE.fullmatch(plain) or _NOT_FINITE.fullmatch(plain):
            raise self._node_error(node, f"{where}: a date or not a number; if it is text, quote it")
        if _INTEGER.fullmatch(plain) and -(2**63) <= _integer(plain) < 2**64:
            return _integer(plain)
        if _FLOAT.fullmatch(plain):
            return float(plain)
        return text

    def _node_error(self, node: yaml.Node, problem: str) -> StackFileError:
        return StackFileError(f"{self.path.name}:{node.start_mark.line + 1}: {problem}")


class _Loader(yaml.SafeLoader):
    """Composes nodes without resolving scalars, because whether a scalar is quoted decides its type."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute
    anchors: dict[str, yaml.Node]

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Allows an anchor's name to be used again: an alias means the last one (YAML 1.2, 7.1)."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if not isinstance(event, yaml.AliasEvent):
            self.anchors.pop(event.anchor, None)
        return super().compose_node(parent, index)

    def compose_scalar_node(self, anchor: dict[Any, yaml.Node]) -> yaml.ScalarNode:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        node: yaml.ScalarNode = super().compose_scalar_node(anchor)
        if event.tag in ("!", "tag:yaml.org,2002:str"):
            node.style = "'"
        elif event.tag is not None:
            raise yaml.MarkedYAMLError(problem=f"the tag {event.tag} is not supported", problem_mark=node.start_mark)
        return node


def _integer(text: str) -> int:
    """Parses like Go's ``strconv.ParseInt`` with base 0: a leading zero means octal."""
    digits = text.lstrip("+-")
    octal = re.fullmatch(r"0[0-7]+", digits)
    number = int(digits, 8 if octal else 0)
    return -number if text.startswith("-") else number
