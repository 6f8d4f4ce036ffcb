"""Reads YAML and JSON text as kubectl does, in time and memory that grow linearly with its length.

Scalars follow gopkg.in/yaml.v2, kubectl's parser: dates and `22:22` are text, `yes` and `on` are booleans, `1e3` is a
number, `=` is text. The last of equal keys wins, a merge (`<<`) takes effect at its place, and an anchor's name can be
reused. Keys become text, as in JSON. All of this was compared with kubectl 1.32. In addition to what kubectl reads,
this module accepts null keys, language-specific tags (which it ignores), and surrogate escapes in JSON after a `---`.
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import yaml

DEEPEST: Final = 100
"""Levels of nesting. Custom resource definitions have about 40."""
ALIASED: Final = 2_000
"""Values that aliases may repeat in a text, in addition to two for each of its characters."""
_CHARACTERS_OF_A_VALUE: Final = 32

LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The C implementation if there is one. Of manifests only its events are used, because kubectl resolves anchors, tags
and dates differently."""

_SEPARATOR: Final = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
_INTEGER: Final = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|0[0-7]*|[1-9][0-9]*)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LONGEST_INTEGER: Final = 66
"""Characters of the longest 64-bit integer, which is a binary one; kubectl reads longer integers as floats."""
_TEXT: Final = re.compile(r"\S")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_CORE: Final = "tag:yaml.org,2002:"
_RESOLVED_TAGS: Final = frozenset(_CORE + name for name in ("bool", "float", "int", "null"))


@dataclass(frozen=True)
class Document:
    """The plain data of a document, and the line (from 1) on which it begins."""

    line: int
    value: Any


class UnreadableError(Exception):
    """A document that cannot be read, or is too large. The text gives the reason and never repeats the content."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


class Mapping(dict[str, Any]):
    """A mapping with the line (from 1) on which it begins; 0 in JSON."""

    line = 0


def documents(content: str) -> Iterator[Document | UnreadableError]:
    """Every document of a text that is not empty. An unreadable document does not stop the following ones."""
    allowed = _Allowance(ALIASED + 2 * len(content))
    for line, part in _parts(content):
        yield from _part(part, line, allowed)


def single(content: str) -> Any:
    """The plain data of a text with one document. Raises UnreadableError if it has none or several."""
    parts = documents(content)
    first = next(parts, None)
    if isinstance(first, UnreadableError):
        raise first
    if first is None or next(parts, None) is not None:
        raise UnreadableError(1, "does not have exactly one document")
    return first.value


def _parts(content: str) -> Iterator[tuple[int, str]]:
    """The text between separators, with the line of each part. Directives belong to the part that follows them."""
    content = content.removeprefix("\ufeff").replace("\n\ufeff", "\n")
    line, held = 1, 0
    for begin, end in pairwise([0, *(match.start() for match in _SEPARATOR.finditer(content)), len(content)]):
        if _is_directives(content[begin:end]):
            continue
        part = content[held:end]
        if part.strip() not in ("", "---"):
            yield line, part
        line += part.count("\n")
        held = end


def _is_directives(part: str) -> bool:
    if not part.lstrip().startswith(("%", "#")) or "%" not in part:
        return False
    return all(line.startswith(("%", "#")) or not line.strip() for line in part.splitlines())


def _part(part: str, line: int, allowed: "_Allowance") -> Iterator[Document | UnreadableError]:
    try:
        parsed = list(_json(part, line))
    except _NotJsonError:
        parsed = None
    except RecursionError:
        yield _too_deep(line)
        return
    except UnreadableError as problem:
        yield UnreadableError(problem.line, str(problem))  # without the frames of the caught error
        return
    try:
        yield from _yaml(part, line, allowed) if parsed is None else parsed
    except UnreadableError as problem:
        yield UnreadableError(problem.line, str(problem))


class _NotJsonError(Exception):
    """The text is not JSON."""


def _json(part: str, line: int) -> Iterator[Document]:
    text = part.removeprefix("---").strip()
    if not text.startswith(("{", "[")):
        raise _NotJsonError
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    start, counted = part.index(text[0]), 0
    while start < len(part):
        line += part.count("\n", counted, start)
        counted = start
        try:
            value, end = decoder.raw_decode(part, start)
        except ValueError:
            raise _NotJsonError from None
        yield Document(line, _plain(value, line, 1))
        following = _TEXT.search(part, end)
        start = following.start() if following else len(part)


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _plain(value: Any, line: int, depth: int) -> Any:
    """The value without unpaired surrogates, which are not valid in text."""
    if depth > DEEPEST:
        raise _too_deep(line)
    if isinstance(value, dict):
        return Mapping((_plain(key, line, depth), _plain(entry, line, depth + 1)) for key, entry in value.items())
    if isinstance(value, list):
        return [_plain(entry, line, depth + 1) for entry in value]
    return _SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value


def _too_deep(line: int) -> UnreadableError:
    return UnreadableError(line, f"is nested deeper than {DEEPEST} levels")


def _yaml(part: str, line: int, allowed: "_Allowance") -> Iterator[Document]:
    loader = LOADER(part)
    try:
        composer = _Composer(loader, line, allowed)
        while not loader.check_event(yaml.StreamEndEvent):
            event = loader.get_event()
            if isinstance(event, yaml.DocumentStartEvent):
                composer.anchors = {}
            elif isinstance(event, yaml.NodeEvent):
                begin = composer.line(event)
                value = composer.node(event, 1)
                if value is not None:
                    yield Document(begin, value)
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None) or getattr(problem, "context_mark", None)
        reason = getattr(problem, "problem", None) or "it has a character that YAML forbids"
        raise UnreadableError(line + (mark.line if mark else 0), f"is not valid YAML: {reason}") from None
    finally:
        loader.dispose()


@dataclass
class _Allowance:
    """The number of values that aliases may still repeat."""

    left: int


@dataclass
class _Anchored:
    """The target of an anchor: its value and its number of values, both unknown until its end is read."""

    value: Any = None
    size: int | None = None


class _Composer:
    """Builds plain data from the events of a parser. The targets of aliases are shared, but counted at each use."""

    def __init__(self, loader: Any, line: int, allowed: _Allowance) -> None:
        self._loader = loader
        self._line = line
        self._allowed = allowed
        self._size = 0
        self.anchors: dict[str, _Anchored] = {}

    def node(self, event: Any, depth: int) -> Any:
        """The value that begins with an event."""
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if depth > DEEPEST:
            raise _too_deep(self.line(event))
        before, anchored = self._size, None
        if event.anchor is not None:
            anchored = self.anchors[event.anchor] = _Anchored()
        if isinstance(event, yaml.ScalarEvent):
            self._size += 1 + len(event.value) // _CHARACTERS_OF_A_VALUE
            value = _scalar(event)
        else:
            self._size += 1
            value = self._mapping(event, depth) if isinstance(event, yaml.MappingStartEvent) else self._sequence(depth)
        if anchored is not None:
            anchored.value, anchored.size = value, self._size - before
        return value

    def line(self, event: Any) -> int:
        """The line of the text on which an event begins."""
        begin: int = event.start_mark.line
        return self._line + begin

    def _alias(self, event: Any) -> Any:
        line = self.line(event)
        anchored = self.anchors.get(event.anchor)
        if anchored is None:
            raise UnreadableError(line, "an alias names an anchor that is not defined before it")
        if anchored.size is None:
            raise UnreadableError(line, "an alias is inside of its own anchor")
        self._size += anchored.size
        self._allowed.left -= anchored.size
        if self._allowed.left < 0:
            raise UnreadableError(line, "its aliases repeat too many values")
        return anchored.value

    def _sequence(self, depth: int) -> list[Any]:
        values = []
        while not isinstance(event := self._loader.get_event(), yaml.SequenceEndEvent):
            values.append(self.node(event, depth + 1))
        return values

    def _mapping(self, start: Any, depth: int) -> Mapping:
        values = Mapping()
        values.line = self.line(start)
        while not isinstance(event := self._loader.get_event(), yaml.MappingEndEvent):
            key = self.node(event, depth + 1)
            value = self.node(self._loader.get_event(), depth + 1)
            line = self.line(event)
            if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
                _merge(values, value, line)
            elif isinstance(key, (dict, list)):
                raise UnreadableError(line, "a key is a mapping or a list: write it in quotes")
            else:
                values[_key(key)] = value
        return values


def _merge(values: Mapping, merged: Any, line: int) -> None:
    """Adds the mapping, or the list of mappings, of a `<<`. The first mapping of a list wins."""
    for source in reversed(merged) if isinstance(merged, list) else [merged]:
        if not isinstance(source, dict):
            raise UnreadableError(line, "a merge (<<) names something other than a mapping")
        values.update(source)


def _key(key: Any) -> str:
    """A key as text, as in JSON."""
    if isinstance(key, str):
        return key
    return json.dumps(key)


def _scalar(event: yaml.ScalarEvent) -> Any:
    text: str = event.value
    if event.tag == f"{_CORE}binary":
        try:
            return base64.b64decode(text, validate=False).decode("utf-8", "replace")
        except binascii.Error:
            return text
    is_plain = event.implicit[0] and event.tag != "!"
    return _resolved(text) if is_plain or event.tag in _RESOLVED_TAGS else text


def _resolved(text: str) -> Any:
    """The value of a scalar without quotes."""
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text[0] not in "+-.0123456789":
        return text
    plain = text.replace("_", "")
    if len(plain) <= _LONGEST_INTEGER and _INTEGER.fullmatch(plain):
        number = _integer(plain)
        if -(2**63) <= number < 2**64:
            return number
    if _FLOAT.fullmatch(plain):
        value = float(plain)
        if math.isfinite(value):
            return int(value) if value.is_integer() and abs(value) < 2**63 else value
    return text


def _integer(text: str) -> int:
    """Parses like Go's `strconv.ParseInt` with base 0: a leading zero means octal."""
    digits = text.lstrip("+-")
    number = int(digits, 8 if re.fullmatch("0[0-7]+", digits) else 0)
    return -number if text.startswith("-") else number
