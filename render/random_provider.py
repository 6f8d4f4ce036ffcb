"""The random provider's resources without the provider: same inputs, same outputs, same alphabet.

Defaults and the alphabet are terraform-provider-random's. ``bcryptHash`` is not given: nothing here needs
it, and a program that uses it is told so when it is recorded.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from typing import Any, Final

from render.entropy import Entropy
from render.generated import Generated, Generator, without_clock

_NUMERIC: Final = "0123456789"
_LOWER: Final = "abcdefghijklmnopqrstuvwxyz"
_UPPER: Final = _LOWER.upper()
_SPECIAL: Final = "!@#$%&*()-_=+[]{}<>:?"
_CLASSES: Final = ("Upper", "Lower", "Numeric", "Special")


def password(inputs: Mapping[str, Any], entropy: Entropy) -> Generated:
    """``random.RandomPassword``: the result is secret and the ID is the word ``none``."""
    return Generated("none", {"result": _text(inputs, entropy)}, frozenset({"result"}), defaults=_text_defaults(inputs))


def string(inputs: Mapping[str, Any], entropy: Entropy) -> Generated:
    """``random.RandomString``: not secret, and its own ID."""
    text = _text(inputs, entropy)
    return Generated(text, {"result": text}, defaults=_text_defaults(inputs))


def identifier(inputs: Mapping[str, Any], entropy: Entropy) -> Generated:
    """``random.RandomId``: ``byteLength`` bytes in four spellings, each behind ``prefix``."""
    length = inputs["byteLength"]
    if length < 1:
        raise ValueError(f"byteLength is {length}, and must be at least 1")
    raw = entropy.token_bytes(length)
    prefix = inputs.get("prefix", "")
    url = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    spellings = {
        "hex": raw.hex(),
        "dec": str(int.from_bytes(raw, "big")),
        "b64Std": base64.b64encode(raw).decode(),
        "b64Url": url,
    }
    return Generated(url, {name: prefix + text for name, text in spellings.items()})


def integer(inputs: Mapping[str, Any], entropy: Entropy) -> Generated:
    """``random.RandomInteger`` between ``min`` and ``max``, both included."""
    if "seed" in inputs:
        raise ValueError("seed is set, and its generator exists only in the provider")
    low, high = inputs["min"], inputs["max"]
    if high < low:
        raise ValueError(f"max ({high}) is less than min ({low})")
    result = low + entropy.below(high - low + 1)
    return Generated(str(result), {"result": result})


def universal_id(inputs: Mapping[str, Any], entropy: Entropy) -> Generated:
    """``random.RandomUuid``: a version 4 UUID."""
    result = str(uuid.UUID(bytes=entropy.token_bytes(16), version=4))
    return Generated(result, {"result": result})


def _text_defaults(inputs: Mapping[str, Any]) -> dict[str, Any]:
    numeric = inputs.get("numeric", inputs.get("number", True))
    defaults: dict[str, Any] = {"upper": True, "lower": True, "special": True}
    defaults |= {"numeric": numeric, "number": numeric}
    return defaults | {f"min{name}": 0 for name in _CLASSES}


def _text(inputs: Mapping[str, Any], entropy: Entropy) -> str:
    settings = {**_text_defaults(inputs), **inputs}
    length = settings["length"]
    alphabets = {
        "Upper": _UPPER,
        "Lower": _LOWER,
        "Numeric": _NUMERIC,
        "Special": settings.get("overrideSpecial") or _SPECIAL,
    }
    if length < 1:
        raise ValueError(f"length is {length}, and must be at least 1")
    needed = sum(settings[f"min{name}"] for name in _CLASSES)
    if needed > length:
        raise ValueError(f"length is {length}, less than the {needed} characters that minUpper and so on ask")
    chosen = "".join(alphabet for name, alphabet in alphabets.items() if settings[name.lower()])
    characters = [
        alphabet[entropy.below(len(alphabet))]
        for name, alphabet in alphabets.items()
        for _ in range(settings[f"min{name}"])
    ]
    if len(characters) < length and not chosen:
        raise ValueError("upper, lower, numeric and special are all false")
    while len(characters) < length:
        characters.append(chosen[entropy.below(len(chosen))])
    for last in range(len(characters) - 1, 0, -1):
        other = entropy.below(last + 1)
        characters[last], characters[other] = characters[other], characters[last]
    return "".join(characters)


TYPES: Final[Mapping[str, Generator]] = {
    "random:index/randomId:RandomId": without_clock(identifier, "hex", "dec", "b64Std", "b64Url"),
    "random:index/randomInteger:RandomInteger": without_clock(integer, "result"),
    "random:index/randomPassword:RandomPassword": without_clock(password, "result"),
    "random:index/randomString:RandomString": without_clock(string, "result"),
    "random:index/randomUuid:RandomUuid": without_clock(universal_id, "result"),
}
"""The resources that are made here, by the provider's types."""
