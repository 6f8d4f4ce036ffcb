"""Reads ``Pulumi.<stack>.yaml`` and ``Pulumi.yaml`` as the Pulumi engine does, without the engine.

The result is what a program would see: every value as text, objects and lists as JSON, keys with their
namespace, defaults of the project filled in, secure values decrypted and their keys marked. Scalars follow
gopkg.in/yaml.v3, which the engine reads with: YAML 1.2 booleans, so ``yes`` is text
(pulumi/pulumi, sdk/go/common/workspace/loaders.go, sdk/go/common/resource/config/object.go).

Stricter than the engine, because each of these is a mistake that it passes on silently: unknown keys beside
``config``, dates that are not quoted, a key written both with and without the project's namespace.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import yaml

from render import passphrase as secrets_provider
from render.passphrase import Crypter, PassphraseError

_FILE_NAME: Final = re.compile(r"Pulumi\.(?P<stack>[A-Za-z0-9_.-]+)\.ya?ml")
_STACK_KEYS: Final = ("config", "encryptionsalt", "secretsprovider", "encryptedkey", "environment")
_NULL: Final = ("", "~", "null", "Null", "NULL")
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER: Final = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|0[0-7]*|[1-9][0-9]*)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_DATE: Final = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([Tt ].*)?")
_DEEPEST: Final = 50
_MOST_VALUES: Final = 20_000
_PATH_CHARACTERS: Final = re.compile(r'[.\[\]"]')


class StackFileError(Exception):
    """A stack or project file is absent, malformed or cannot be decrypted. Names the file, the line, the key."""


@dataclass(frozen=True)
class StackConfig:
    """The configuration of one stack, as the engine hands it to the program.

    ``config`` maps full keys (``flatline:domain``) to text; ``secret_keys`` are those that hold a secret,
    sorted; ``encryption_salt`` is that of the passphrase provider, if the file has one; ``lines`` has the line of each
    key that the file holds, by its path (``flatline:redis.masters``).
    """

    project: str
    stack: str
    config: Mapping[str, str] = field(repr=False)
    secret_keys: tuple[str, ...] = ()
    encryption_salt: str | None = None
    lines: Mapping[str, int] = field(default_factory=dict, repr=False)


def read(path: Path, passphrase: Callable[[], str]) -> StackConfig:
    """Reads the stack file ``path`` and the ``Pulumi.yaml`` beside it.

    ``passphrase`` is asked only if a value is encrypted. Raises ``StackFileError``, and whatever
    ``passphrase`` raises.
    """
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        raise StackFileError(f"{path.name}: a stack file is called Pulumi.<stack>.yaml")
    project = _Document(path.with_name("Pulumi.yaml"))
    name = project.text("name")
    document = _Document(path, known=_STACK_KEYS)
    if document.top.get("environment"):
        raise document.error(
            "environment", "Pulumi ESC environments are kept in Pulumi Cloud; write their values under config"
        )
    entries = _namespaced(document, "config", name)
    _apply_project(project, name, entries, document)
    crypter = _crypter(document, entries.values(), passphrase)
    config = {key: entry.text(document, key, crypter) for key, entry in sorted(entries.items())}
    secret = tuple(sorted(key for key, entry in entries.items() if _has_secure(entry.value)))
    salt = document.top.get("encryptionsalt")
    lines = {
        ".".join((_full_key(first, name) or first, *inner)): line
        for (first, *inner), line in document.lines("config").items()
    }
    return StackConfig(name, match["stack"], config, secret, salt if isinstance(salt, str) else None, lines)


def encrypt(value: str, passphrase: str, salt: str | None) -> tuple[str, str]:
    """``value`` as a stack file holds it (``secure: v1:...``), and the file's ``encryptionsalt``: the one given,
    or a new one if ``None``. Raises ``PassphraseError`` if the passphrase does not belong to the salt.
    """
    if salt is None:
        salt, crypter = secrets_provider.new_salt(passphrase)
    else:
        crypter = secrets_provider.unlock(passphrase, salt)
    return crypter.encrypt(value), salt


_LONG = re.compile(r"[\w+/=-]{16,}")
_WORDS = re.compile(r"[A-Za-z_-]{1,40}")


def _shown(text: str) -> str:
    """A text of the file in a message: without what may be a secret that was pasted in the place of a name."""
    return _LONG.sub(lambda run: run[0] if _WORDS.fullmatch(run[0]) else f"<a text of {len(run[0])} characters>", text)


def _key_shown(key: str) -> str:
    """A key in a message; one that may be a secret, or has a part of one, is only described."""
    return key if _shown(key) == key and "\n" not in key else f"<a text of {len(key)} characters>"


class _Loader(yaml.SafeLoader):
    """Composes nodes without resolving scalars: whether one was plain decides what it is."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute
    anchors: dict[str, yaml.Node]

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """An anchor's name may be given again: an alias means the last one (YAML 1.2, 7.1)."""
        event: Any = self.peek_event()
        if not isinstance(event, yaml.AliasEvent):
            self.anchors.pop(event.anchor, None)
        return super().compose_node(parent, index)

    def compose_scalar_node(self, anchor: dict[Any, yaml.Node]) -> yaml.ScalarNode:
        event: Any = self.peek_event()
        node: yaml.ScalarNode = super().compose_scalar_node(anchor)
        if event.tag in ("!", "tag:yaml.org,2002:str"):
            node.style = "'"
        elif event.tag is not None:
            raise yaml.MarkedYAMLError(problem=f"the tag {event.tag} is not supported", problem_mark=node.start_mark)
        return node


class _Document:
    """One YAML file: its top-level mapping as plain values, and the line of every key."""

    def __init__(self, path: Path, known: tuple[str, ...] | None = None) -> None:
        self.path = path
        self._lines: dict[tuple[str, ...], int] = {}
        self._open: list[yaml.Node] = []
        self._values = 0
        node = self._compose()
        value = {} if node is None else self._value(node, ())
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise StackFileError(f"{path.name}:1: must be a mapping")
        self.top: dict[str, Any] = value
        for key in value if known is not None else ():
            if known is not None and key not in known:
                raise self.error(key, f"unknown key; this file may have {', '.join(known)}")

    def lines(self, *above: str) -> dict[tuple[str, ...], int]:
        """The line of each key below `above`, by its path."""
        return {path[len(above) :]: line for path, line in self._lines.items() if path[: len(above)] == above != path}

    def line(self, *keys: str) -> int:
        """The line of a key, counted from 1."""
        return self._lines.get(keys, 1)

    def error(self, key: str, problem: str, *, under: str = "") -> StackFileError:
        keys = (under, key) if under else (key,)
        return StackFileError(f"{self.path.name}:{self.line(*keys)}: {_key_shown(key)}: {problem}")

    def text(self, key: str) -> str:
        """A top-level value that must be text."""
        value = self.top.get(key)
        if not isinstance(value, str) or not value:
            raise self.error(key, "must be given, as text")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        """A top-level value that must be a mapping, empty if absent."""
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
            raise StackFileError(f"{self.path.name}:{line}: malformed YAML: {_shown(problem.problem or '')}") from None
        except yaml.YAMLError:
            raise StackFileError(f"{self.path.name}: malformed YAML: a character that YAML forbids") from None
        except RecursionError:
            raise StackFileError(f"{self.path.name}: is nested too deeply; write at most {_DEEPEST} levels") from None

    def _absent(self) -> str:
        names = sorted(path.name for path in self.path.parent.glob("Pulumi.*.yaml"))
        there = f"; there are {', '.join(names)}" if names else ""
        return f"{self.path.name}: no such file in {self.path.parent.resolve()}{there}"

    def _value(self, node: yaml.Node, path: tuple[str, ...]) -> Any:
        self._values += 1
        problem = (
            "an alias is inside of what it names; remove it"
            if any(node is each for each in self._open)
            else f"is nested too deeply; write at most {_DEEPEST} levels"
            if len(self._open) > _DEEPEST
            else f"its aliases make more than {_MOST_VALUES} values; write fewer"
            if self._values > _MOST_VALUES
            else ""
        )
        if problem:
            raise StackFileError(f"{self.path.name}:{node.start_mark.line + 1}: {problem}")
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self._value(item, (*path, str(i))) for i, item in enumerate(node.value)]
            return self._scalar(node, ".".join(path))
        finally:
            self._open.pop()

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = self._scalar(key_node, "a key") if isinstance(key_node, yaml.ScalarNode) else None
            if key == "<<" and key_node.style is None:
                raise StackFileError(f"{self.path.name}:{line}: merge keys (<<) are not supported")
            if not isinstance(key, str):
                raise StackFileError(f"{self.path.name}:{line}: every key must be text: put it in quotes")
            if key in result:
                first = self._lines[(*path, key)]
                raise StackFileError(f"{self.path.name}:{line}: {_key_shown(key)}: already given in line {first}")
            self._lines[(*path, key)] = line
            result[key] = self._value(value_node, (*path, key))
        return result

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
            line = node.start_mark.line + 1
            raise StackFileError(f"{self.path.name}:{line}: {where}: a date or not a number; if it is text, quote it")
        if _INTEGER.fullmatch(plain) and -(2**63) <= _integer(plain) < 2**64:
            return _integer(plain)
        if _FLOAT.fullmatch(plain):
            return float(plain)
        return text


def _integer(text: str) -> int:
    """As Go's ``strconv.ParseInt`` with base 0: a leading zero means octal."""
    digits = text.lstrip("+-")
    octal = re.fullmatch(r"0[0-7]+", digits)
    number = int(digits, 8 if octal else 0)
    return -number if text.startswith("-") else number


@dataclass(frozen=True)
class _Entry:
    """One configuration value, and where it was written (``None``: in the project file)."""

    value: Any
    written_as: str | None

    def text(self, document: _Document, key: str, crypter: Crypter | None) -> str:
        try:
            plain = _decrypted(self.value, crypter)
        except PassphraseError as problem:
            raise document.error(self.written_as or key, str(problem), under="config") from None
        if plain is None:
            # The engine of today reads an absent value as empty text, and warns that it may change.
            return ""
        return plain if isinstance(plain, str) else _json(plain)


def _namespaced(document: _Document, section: str, project: str) -> dict[str, _Entry]:
    entries: dict[str, _Entry] = {}
    for written, value in document.mapping(section).items():
        key = _full_key(written, project)
        if key is None:
            raise document.error(written, "a key has the form <namespace>:<name>, or <name>", under=section)
        if key in entries:
            raise document.error(
                written, f"already given as {_key_shown(entries[key].written_as or key)}", under=section
            )
        entries[key] = _Entry(value, written)
    return entries


def _full_key(written: str, project: str) -> str | None:
    parts = written.split(":")
    if len(parts) == 3 and parts[1] == "config":
        parts = [parts[0], parts[2]]
    if len(parts) == 1:
        parts = [project, *parts]
    return ":".join(parts) if len(parts) == 2 and all(parts) else None


def _apply_project(document: _Document, project: str, entries: dict[str, _Entry], stack: _Document) -> None:
    """Fills in what the project file declares, and checks the types that it declares."""
    missing = []
    for key, entry in _namespaced(document, "config", project).items():
        namespace, _, name = key.partition(":")
        if _PATH_CHARACTERS.search(name):
            raise document.error(
                entry.written_as or key, "the path of a part of a value needs the engine", under="config"
            )
        own = namespace == project
        declaration = _declaration(document, entry, own=own)
        given = declaration.get("default", declaration.get("value"))
        if key not in entries and given is not None:
            entries[key] = _Entry(given, None)
        if key in entries:
            problem = _problem(declaration, entries[key].value)
            if problem:
                where, written = (
                    (stack, entries[key].written_as) if entries[key].written_as else (document, entry.written_as)
                )
                raise where.error(written or key, f"{problem} ({document.path.name} says so)", under="config")
        elif own:
            missing.append(name)
    if missing:
        raise StackFileError(
            f"{stack.path.name}: config: {', '.join(missing)}: must be given ({document.path.name} says so)"
        )


def _declaration(document: _Document, entry: _Entry, *, own: bool) -> dict[str, Any]:
    value = entry.value
    if value is None or not isinstance(value, dict):
        return {"default" if own else "value": value}
    unknown = set(value) - {"type", "items", "description", "default", "value", "secret"}
    if unknown:
        raise document.error(entry.written_as or "", f"unknown {', '.join(sorted(unknown))}", under="config")
    return value


def _problem(declaration: Mapping[str, Any], value: Any) -> str | None:
    if "type" not in declaration:
        return None
    if declaration.get("secret") and not _has_secure(value):
        return "must be encrypted"
    if not _is_of_type(value, declaration["type"], declaration.get("items")):
        return f"must be of type {declaration['type']}"
    return None


def _is_of_type(value: Any, kind: Any, items: Any) -> bool:
    if _is_secure(value):
        return kind in ("string", "integer", "boolean")
    match kind:
        case "string":
            # A scalar reaches the program as text, whatever it looks like in YAML.
            return not isinstance(value, (dict, list))
        case "integer":
            return isinstance(value, int | float | str) and re.fullmatch(r"[-+]?\d+", _as_text(value)) is not None
        case "boolean":
            return isinstance(value, bool) or value in ("true", "false")
        case "object":
            return isinstance(value, dict)
        case "array":
            if not isinstance(value, list) or not isinstance(items, dict):
                return False
            return all(_is_of_type(item, items.get("type"), items.get("items")) for item in value)
    return False


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _is_secure(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["secure"] and isinstance(value["secure"], str)


def _has_secure(value: Any) -> bool:
    if _is_secure(value):
        return True
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_has_secure(child) for child in children)


def _crypter(document: _Document, entries: Iterable[_Entry], passphrase: Callable[[], str]) -> Crypter | None:
    if not any(_has_secure(entry.value) for entry in entries):
        return None
    provider = document.top.get("secretsprovider")
    if provider not in (None, "passphrase"):
        raise document.error("secretsprovider", "its secrets need the Pulumi CLI; use a passphrase")
    salt = document.top.get("encryptionsalt")
    if not isinstance(salt, str):
        raise StackFileError(f"{document.path.name}: has encrypted values but no encryptionsalt to decrypt them with")
    try:
        return secrets_provider.unlock(passphrase(), salt)
    except PassphraseError as problem:
        raise document.error("encryptionsalt", str(problem)) from None


def _decrypted(value: Any, crypter: Crypter | None) -> Any:
    if _is_secure(value) and crypter is not None:
        return crypter.decrypt(value["secure"])
    if isinstance(value, dict):
        return {key: _decrypted(item, crypter) for key, item in value.items()}
    if isinstance(value, list):
        return [_decrypted(item, crypter) for item in value]
    return value


def _json(value: Any) -> str:
    """JSON as Go's ``encoding/json`` writes it: sorted keys, no spaces, ``<``, ``>`` and ``&`` escaped."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_json(key)}:{_json(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_json(item) for item in value) + "]"
    if isinstance(value, float):
        return _number(value)
    text = json.dumps(value, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _number(value: float) -> str:
    if value != 0 and not 1e-6 <= math.fabs(value) < 1e21:
        mantissa, _, exponent = repr(value).partition("e")
        return f"{mantissa}e{exponent[0]}{exponent[1:].lstrip('0')}"
    return f"{Decimal(repr(value)):f}".removesuffix(".0")
