"""Generates the random resources that the program uses, with the defaults and the alphabet of the provider.

They follow terraform-provider-random. The output ``bcryptHash`` is left out, because nothing reads it.
"""

from __future__ import annotations

import base64
import string
from collections.abc import Mapping
from typing import Any, Final

from render.entropy import Entropy
from render.generator import GeneratedResource, Generator, without_clock

_ALPHANUMERIC: Final = string.ascii_uppercase + string.ascii_lowercase + string.digits
_SPECIAL: Final = "!@#$%&*()-_=+[]{}<>:?"
_PASSWORD_DEFAULTS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("upper", "lower", "special", "numeric", "number"), True),
    **dict.fromkeys(("minUpper", "minLower", "minNumeric", "minSpecial"), 0),
}


def password(inputs: Mapping[str, Any], entropy: Entropy) -> GeneratedResource:
    """``random.RandomPassword``. Its ID is the word ``none``, because IDs are not secret."""
    length = inputs["length"]
    if length < 1:
        raise ValueError(f"length is {length}, and must be at least 1")
    alphabet = _ALPHANUMERIC + (_SPECIAL if inputs.get("special", True) else "")
    characters = [alphabet[entropy.below(len(alphabet))] for _ in range(length)]
    # The provider shuffles. It adds no randomness here, but seeded passwords, and the names of redacted objects that
    # are made from them, would differ between versions without it.
    for last in range(length - 1, 0, -1):
        other = entropy.below(last + 1)
        characters[last], characters[other] = characters[other], characters[last]
    return GeneratedResource("none", {"result": "".join(characters)}, frozenset({"result"}), _PASSWORD_DEFAULTS)


def identifier(inputs: Mapping[str, Any], entropy: Entropy) -> GeneratedResource:
    """``random.RandomId``: ``byteLength`` bytes in four encodings. It is not secret."""
    length = inputs["byteLength"]
    if length < 1:
        raise ValueError(f"byteLength is {length}, and must be at least 1")
    raw = entropy.token_bytes(length)
    url = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    outputs = {
        "hex": raw.hex(),
        "dec": str(int.from_bytes(raw, "big")),
        "b64Std": base64.b64encode(raw).decode(),
        "b64Url": url,
    }
    return GeneratedResource(url, outputs)


TYPES: Final[Mapping[str, Generator]] = {
    "random:index/randomId:RandomId": Generator(
        without_clock(identifier), frozenset({"byteLength", "keepers"}), frozenset({"hex", "dec", "b64Std", "b64Url"})
    ),
    "random:index/randomPassword:RandomPassword": Generator(
        without_clock(password), frozenset({"length", "special", "keepers"}), frozenset({"result"})
    ),
}
"""The generators by the provider's type tokens."""
