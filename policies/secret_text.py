"""Finds what looks like a secret in text, by its form, its randomness or the name that it is given.

Everything answers with where and why, never with the text itself.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import Any, Final

from policies import yaml_text
from policies.yaml_text import UnreadableError

NAME: Final = re.compile(
    r"pass(word|wd|phrase)?$|passwd|password|secret|token$|api[_-]?key|access[_-]?key|private[_-]?key|auth[_-]?key"
    r"|authentication[_-]?key|signing[_-]?key|encryption[_-]?key|credential|keystore[_-]?pass|requirepass|masterauth",
    re.IGNORECASE,
)
"""Names whose value is a secret."""

REFERENCE_NAME: Final = re.compile(
    r"[_.-]?(file|filename|path|dir|directory|name|id|arn|url|uri|mount|ref|label|header|type|version|policy|format"
    r"|seconds|minutes|hours|days|length|size|count|epoch|enabled|required)s?$",
    re.IGNORECASE,
)
"""Names that end like this say something about a secret (where it is, how old) instead of being one."""

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

KNOWN_FORMS: Final = (
    ("a private key", re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")),
    ("an AWS access key", re.compile(r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b")),
    ("a GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})")),
    ("a Slack token", re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}")),
    ("a Stripe key", re.compile(r"\b[rs]k_live_[A-Za-z0-9]{20,}")),
    ("a Google API key", re.compile(r"\bAIza[A-Za-z0-9_-]{35}")),
    (
        "a JSON web token",
        re.compile(
            r"(?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]*?\beyJ[A-Za-z0-9_-]{10})"
            r"[A-Za-z0-9_-]++\.[A-Za-z0-9_-]{10,}+\.[A-Za-z0-9_-]{10,}+"
        ),
    ),
    ("a password in a URL", re.compile(r"(?<=[a-z0-9+.-]://)[^\s/:@'\"`${}]*+:[^\s/:@'\"`${}<>]++@")),
)
"""Each is linear: what repeats is followed by what it cannot be, or begins where a run of its characters begins."""

_WORD: Final = re.compile(r"[A-Za-z0-9+/_-]{20,}={0,2}")
_LETTERS: Final = re.compile(r"[A-Z][a-z]{2,}|[a-z]{3,}")
_HEX: Final = re.compile(r"(?<![A-Za-z0-9])[0-9a-f]{32,}(?![A-Za-z0-9])|(?<![A-Za-z0-9])[0-9A-F]{32,}(?![A-Za-z0-9])")
_DIGEST: Final = re.compile(r"sha(?:256|384|512)[:-]\Z")
_DIGEST_LENGTH: Final = len("sha256:")
_HEX_BITS: Final = 3.0
"""Bits per character. 32 random hex digits have 3.5 on average, and fewer than 3.0 once in 20 000 times."""


def bits(value: str) -> float:
    """Shannon's entropy per character."""
    total = len(value)
    return -sum(count / total * math.log2(count / total) for count in Counter(value).values())


def _is_random_base64(word: str) -> bool:
    """Whether a word of letters, digits and `+/-_` is random: it has every sort of character, few of them twice,
    and changes between sorts as often as chance does. Identifiers, paths and alphabets do not."""
    body = word.rstrip("=")
    sorts = [_sort(character) for character in body]
    if not {"lower", "upper", "digit"} <= set(sorts) or len(body) < 20:
        return False
    pairs = list(pairwise(body))
    changes = sum(1 for a, b in pairwise(sorts) if a != b) / len(pairs)
    neighbours = sum(1 for a, b in pairs if abs(ord(a) - ord(b)) <= 1) / len(pairs)
    words = sum(len(found) for found in _LETTERS.findall(body)) / len(body)
    # Random base64 changes its sort at 0.6 of the places, goes on in the alphabet at 0.05 and has words on 0.2.
    return changes >= 0.4 and neighbours <= 0.25 and words <= 0.6 and bits(body) >= 0.8 * math.log2(min(len(body), 64))


def _sort(character: str) -> str:
    if character.isdigit():
        return "digit"
    if character.isalpha():
        return "lower" if character.islower() else "upper"
    return "sign"


def _is_digest(match: re.Match[str]) -> bool:
    """Whether the text before says that this is a digest."""
    return bool(_DIGEST.search(match.string[max(0, match.start() - _DIGEST_LENGTH) : match.start()]))


def by_form(value: str) -> Iterator[str]:
    """What a text has in it that is a secret by its form or its randomness: `a private key`, `a random hex text`."""
    for what, pattern in KNOWN_FORMS:
        if pattern.search(value):
            yield what
    for match in _HEX.finditer(value):
        digits = match.group()
        mixed = any(c.isdigit() for c in digits) and any(c.isalpha() for c in digits)
        if mixed and bits(digits.lower()) >= _HEX_BITS and not _is_digest(match):
            yield "a random hex text"
            break
    for match in _WORD.finditer(value):
        if _is_random_base64(match.group()) and not _is_digest(match):
            yield "a random base64 text"
            break


def is_secret_name(name: str) -> bool:
    """Whether what has this name is a secret: `REDIS_PASSWORD`, `authenticationKey`, but not `PASSWORD_FILE`."""
    plain = _CAMEL.sub("_", name).strip("-_.")
    return bool(NAME.search(plain) or NAME.search(name)) and not REFERENCE_NAME.search(plain)


_NO_VALUE: Final = re.compile(r"/|\.{1,2}/|\$[({\w]|secret://|<|\{\{|(?:true|false|null|none)$", re.IGNORECASE)
"""Paths, references to elsewhere (a variable, a bundle, a template), and words for nothing."""


def is_value(value: Any, placeholders: Collection[str] = ()) -> bool:
    """Whether a value under a secret's name is one: text that is no path, no reference and no known placeholder."""
    if not isinstance(value, str) or value in placeholders:
        return False
    return bool(value.strip()) and not _NO_VALUE.match(value)


_PROGRAM: Final = (".mjs", ".js", ".py", ".sh", ".ts", ".lua", ".rb", ".pl")
_ASSIGNED_LITERAL: Final = re.compile(r"""(?<![\w.-])([\w.-]++)["']?\s*+[=:]\s*+(["'`])([^"'`\n]{6,}+)\2""")
_LINE: Final = re.compile(
    r"^[^\S\n]*+([A-Za-z_][\w.-]*+)(?:[^\S\n]*+[=:][^\S\n]*+|[^\S\n]++)(\S++)[^\S\n]*+$", re.MULTILINE
)


def in_file(name: str, content: str, placeholders: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """(where, why) of everything in a file that looks like a secret. `where` is a key or a line, `why` has no value.

    What the file is follows from its name, else from its text: data (JSON, YAML), a program, or lines of settings.
    """
    for what in by_form(content):
        yield "its text", f"has {what}"
    data = None if name.endswith(_PROGRAM) or content.startswith("#!") else _data(content)
    if isinstance(data, dict | list):
        for path in _named(data, "", placeholders):
            yield path, "has the name of a secret and a value"
    else:
        pattern, value = (_ASSIGNED_LITERAL, 3) if name.endswith(_PROGRAM) or content.startswith("#!") else (_LINE, 2)
        line, counted = 1, 0
        for match in pattern.finditer(content):
            if is_secret_name(match.group(1)) and is_value(match.group(value).strip("\"'"), placeholders):
                line += content.count("\n", counted, match.start(1))
                counted = match.start(1)
                yield f"line {line}", "gives a value to what has the name of a secret"


def _data(content: str) -> Any:
    try:
        return yaml_text.single(content)
    except UnreadableError:
        return None


def _named(value: Any, path: str, placeholders: Collection[str]) -> Iterator[str]:
    if isinstance(value, dict):
        for key, entry in value.items():
            where = f"{path}.{key}" if path else str(key)
            if is_secret_name(str(key)) and is_value(entry, placeholders):
                yield where
            yield from _named(entry, where, placeholders)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _named(entry, f"{path}[{index}]", placeholders)
