"""Finds likely secrets in text, by their format, their randomness or their name.

Results name the place and the reason, and never contain the text itself.
"""

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import Any, Final

from policies import yaml_text
from policies.model import members
from policies.yaml_text import UnreadableError

NAME: Final = re.compile(
    r"pass(word|wd|phrase)?$|passwd|password|secret|token$|api[_-]?key|access[_-]?key|private[_-]?key|auth[_-]?key"
    r"|authentication[_-]?key|signing[_-]?key|encryption[_-]?key|credential|keystore[_-]?pass|requirepass|masterauth",
    re.IGNORECASE,
)
"""Names of secret values."""

REFERENCE_NAME: Final = re.compile(
    r"[_.-]?(file|filename|path|dir|directory|name|id|arn|url|uri|mount|ref|label|header|type|version|policy|format"
    r"|seconds|minutes|hours|days|length|size|count|epoch|enabled|required)s?$",
    re.IGNORECASE,
)
"""Endings of names that describe a secret (its path, its age) instead of holding it."""

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
"""Secrets with a recognisable format. Each pattern takes linear time: a repetition ends at a character that it cannot
contain, or starts only where a run of its characters starts."""

_WORD: Final = re.compile(r"[A-Za-z0-9+/_-]{20,}={0,2}")
_LETTERS: Final = re.compile(r"[A-Z][a-z]{2,}|[a-z]{3,}")
_HEX: Final = re.compile(r"(?<![A-Za-z0-9])[0-9a-f]{32,}(?![A-Za-z0-9])|(?<![A-Za-z0-9])[0-9A-F]{32,}(?![A-Za-z0-9])")
_DIGEST: Final = re.compile(
    r"sha(?:1|224|256|384|512)[\"']?\s*[:=-]\s*[\"']?$|\b(?:git|commit|rev)[:/@]$", re.IGNORECASE
)
"""Text before a public hash: `@sha256:`, `sha256: "`, `commit/`."""

_HEX_BITS: Final = 3.0
"""Bits per character. 32 random hex digits have 3.5 on average, and fewer than 3.0 once in 20,000 times."""


def bits(value: str) -> float:
    """Shannon entropy per character."""
    total = len(value)
    return -sum(count / total * math.log2(count / total) for count in Counter(value).values())


def _is_random_base64(word: str) -> bool:
    """Heuristic for random base64: all character classes, few repetitions, frequent class changes.

    Identifiers, paths and alphabets do not have all three.
    """
    body = word.rstrip("=")
    classes = [_class(character) for character in body]
    if not {"lower", "upper", "digit"} <= set(classes) or len(body) < 20:
        return False
    pairs = list(pairwise(body))
    changes = sum(1 for a, b in pairwise(classes) if a != b) / len(pairs)
    neighbours = sum(1 for a, b in pairs if abs(ord(a) - ord(b)) <= 1) / len(pairs)
    words = sum(len(letters) for letters in _LETTERS.findall(body)) / len(body)
    # In random base64, the class changes at 0.6 of the places, 0.05 of the pairs are neighbours in the alphabet, and
    # 0.2 of the characters are in runs of letters.
    return changes >= 0.4 and neighbours <= 0.25 and words <= 0.6 and bits(body) >= 0.8 * math.log2(min(len(body), 64))


def _class(character: str) -> str:
    if character.isdigit():
        return "digit"
    if character.isalpha():
        return "lower" if character.islower() else "upper"
    return "sign"


_PUBLIC_PEM: Final = re.compile(
    r"-----BEGIN ((?:[A-Z0-9]+ )*(?:CERTIFICATE|PUBLIC KEY|CERTIFICATE REQUEST|X509 CRL|PKCS7|PARAMETERS"
    r"|PUBLIC KEY BLOCK|SIGNATURE))-----.{0,20000}?-----END \1-----",
    re.DOTALL,
)
_PUBLIC_LINE: Final = re.compile(
    r"\b(?:ssh-(?:ed25519|rsa|dss)|ecdsa-sha2-nistp\d+|sk-(?:ssh|ecdsa)-[\w@.-]+)\s+[A-Za-z0-9+/]{40,}={0,2}|\bage1[a-z0-9]{58}\b"
)
"""Public keys of SSH and age."""

_PUBLIC_NAME: Final = re.compile(
    r"public|pub_?key|(?:^|[_.-])pub$|commit|revision|(?:^|[_.-])(?:rev|sha|sha1|sha256|sha512|md5|etag|hash|digest|checksum"
    r"|integrity|fingerprint|thumbprint|git_?ref|uuid|guid|id|kid)$|certificate$|ca_?(?:bundle|cert|data)$",
    re.IGNORECASE,
)
"""Names of public random text: verification keys, hashes and identifiers."""

_PUBLIC_JWK: Final = re.compile(r'\{(?=[^{}]*"kty")(?![^{}]*"(?:d|k|p|q)"\s*:)[^{}]*\}')
_NAMED: Final = re.compile(r"([A-Za-z_][\w.-]*)[\"']?\s*(?:[:=]|\s)\s*[\"'`]?$")
_COMMIT_DIGITS: Final = 40
"""Hexadecimal digits of a commit's hash. A text of this length is one, unless its name is that of a secret."""


def by_form(value: str, name: str = "") -> Iterator[str]:
    """Names the secrets in a text by their format or their randomness: `a private key`, `a random hex text`.

    `name` is the name of the text. Random text is public if that name, or the name before it in the text, is a public
    one. A known format of a secret is always reported.
    """
    for description, pattern in KNOWN_FORMS:
        if pattern.search(value):
            yield description
    plain = value
    for public in (_PUBLIC_PEM, _PUBLIC_LINE, _PUBLIC_JWK):
        plain = public.sub(" ", plain)
    for match in _HEX.finditer(plain):
        digits = match.group()
        mixed = any(c.isdigit() for c in digits) and any(c.isalpha() for c in digits)
        if mixed and bits(digits.lower()) >= _HEX_BITS and not _is_public(plain, match, name):
            yield "a random hex text"
            break
    for match in _WORD.finditer(plain):
        word = match.group()
        if _is_private_bytes(word):
            yield "a private key"
            break
        if _is_random_base64(word) and not _is_public_bytes(word) and not _is_public(plain, match, name):
            yield "a random base64 text"
            break


def _is_public(value: str, match: re.Match[str], name: str) -> bool:
    before = value[max(0, match.start() - 80) : match.start()]
    named = _NAMED.search(before.rpartition("\n")[2])
    if _DIGEST.search(before):
        return True
    plain = _CAMEL.sub("_", named.group(1) if named else name).strip("-_.")
    if NAME.search(plain) and not REFERENCE_NAME.search(plain):
        return False
    return bool(_PUBLIC_NAME.search(plain)) or (len(match.group()) == _COMMIT_DIGITS and not _SUSPICIOUS.search(plain))


_SUSPICIOUS: Final = re.compile(r"key|seed|salt|auth|cookie|hmac|pepper|sign", re.IGNORECASE)


def _bytes_of(word: str) -> bytes:
    """The bytes of a base64 word; empty if it is not base64."""
    plain = word.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _is_public_bytes(word: str) -> bool:
    """True for the base64 of a certificate or a public key: of its DER, of its PEM, or in SSH's format."""
    data = _bytes_of(word)
    if data.startswith(b"-----BEGIN "):
        return not re.match(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY", data)
    if data[:4] == b"\x00\x00\x00" + data[3:4] and re.match(rb"ssh-|ecdsa-sha2-|sk-", data[4:]):
        return True
    first = _der_of(data)
    # SubjectPublicKeyInfo is a sequence of an algorithm and a bit string. A certificate is a sequence whose first
    # sequence has a version in brackets. PKCS#8 and older formats of private keys begin with an integer.
    return first[:1] == b"\x30" and _der_of(first)[:1] in (b"\x06", b"\xa0")


def _is_private_bytes(word: str) -> bool:
    """True for the base64 of a private key's DER or PEM."""
    data = _bytes_of(word)
    if re.match(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY", data):
        return True
    first = _der_of(data)
    return first[:2] == b"\x02\x01" and first[2:3] in (b"\x00", b"\x01") and first[3:4] in (b"\x30", b"\x04", b"\x02")


def _der_of(data: bytes) -> bytes:
    """The content of the DER sequence at the start of the data; empty if there is none, or it exceeds the data."""
    if len(data) < 4 or data[0] != 0x30:
        return b""
    if data[1] < 0x80:
        length, start = data[1], 2
    else:
        size = data[1] & 0x7F
        length, start = int.from_bytes(data[2 : 2 + size], "big"), 2 + size
    return data[start:] if 0 < length <= len(data) - start else b""


def is_secret_name(name: str) -> bool:
    """True for the name of a secret: `REDIS_PASSWORD`, `authenticationKey`, but not `PASSWORD_FILE`."""
    plain = _CAMEL.sub("_", name).strip("-_.")
    return bool(NAME.search(plain) or NAME.search(name)) and not REFERENCE_NAME.search(plain)


_NO_VALUE: Final = re.compile(r"/|\.{1,2}/|\$[({\w]|secret://|<|\{\{|(?:true|false|null|none)$", re.IGNORECASE)
"""Values that are not secrets: paths, references (a variable, a bundle, a template) and words for no value."""


def is_value(value: Any, placeholders: Collection[str] = ()) -> bool:
    """True if a value with a secret's name is a secret: text other than a path, a reference or a known placeholder."""
    if not isinstance(value, str) or value in placeholders:
        return False
    return bool(value.strip()) and not _NO_VALUE.match(value)


_PROGRAM: Final = (".mjs", ".js", ".py", ".sh", ".ts", ".lua", ".rb", ".pl")
_ASSIGNED_LITERAL: Final = re.compile(r"""(?<![\w.-])([\w.-]++)["']?\s*+[=:]\s*+(["'`])([^"'`\n]{6,}+)\2""")
_LINE: Final = re.compile(
    r"^[^\S\n]*+([A-Za-z_][\w.-]*+)(?:[^\S\n]*+[=:][^\S\n]*+|[^\S\n]++)(\S++)[^\S\n]*+$", re.MULTILINE
)


def in_file(name: str, content: str, placeholders: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """Yields (where, why) for each likely secret in a file. `where` is a key or a line, `why` never has the value.

    The name of the file, or else its text, decides its type: data (JSON, YAML), a program, or lines of settings.
    """
    for description in by_form(content, name):
        yield "its text", f"has {description}"
    data = None if name.endswith(_PROGRAM) or content.startswith("#!") else _data(content)
    if isinstance(data, (dict, list)):
        for path, key, value in members(data):
            if is_secret_name(key) and is_value(value, placeholders):
                yield path, "has the name of a secret and a value"
    else:
        pattern, group = (_ASSIGNED_LITERAL, 3) if name.endswith(_PROGRAM) or content.startswith("#!") else (_LINE, 2)
        line, counted = 1, 0
        for match in pattern.finditer(content):
            if is_secret_name(match.group(1)) and is_value(match.group(group).strip("\"'"), placeholders):
                line += content.count("\n", counted, match.start(1))
                counted = match.start(1)
                yield f"line {line}", "assigns a value to the name of a secret"


def _data(content: str) -> Any:
    try:
        return yaml_text.single(content)
    except UnreadableError:
        return None
