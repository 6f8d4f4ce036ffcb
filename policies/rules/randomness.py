"""Secrets that programs make are long enough, and are not made anew by mistake."""

import math
from collections.abc import Iterator

from policies.model import Resource, number, text
from policies.rule import ResourceRule, Settings, Violation, whole_number
from policies.rules.certificates import is_authority

PASSWORDS = ("random:index/randomPassword:RandomPassword", "random:index/randomString:RandomString")
BYTES = "random:index/randomBytes:RandomBytes"
ID = "random:index/randomId:RandomId"
SPECIAL = "!@#$%&*()-_=+[]{}<>:?"
"""The provider's own characters for `special`."""


def entropy_of(resource: Resource) -> float | None:
    """Bits of a random resource; None for anything else. A length that is missing is none."""
    properties = resource.properties
    if resource.type in PASSWORDS:
        characters = 0
        for name, count in (("lower", 26), ("upper", 26), ("numeric", 10)):
            characters += count if properties.get(name) in (None, True) else 0
        if properties.get("special") in (None, True):
            characters += len(set(text(properties.get("overrideSpecial")) or SPECIAL))
        return (number(properties.get("length")) or 0) * math.log2(characters or 1)
    if resource.type == BYTES:
        return (number(properties.get("length")) or 0) * 8
    if resource.type == ID:
        return (number(properties.get("byteLength")) or 0) * 8
    return None


def _entropy(resource: Resource, settings: Settings) -> Iterator[Violation]:
    bits = entropy_of(resource)
    if bits is not None and bits < settings["bits"]:
        yield Violation(message="its length, or its set of characters, is too small")


ENTROPY = ResourceRule(
    name="random-entropy",
    description="Each random secret has at least 256 bits.",
    frameworks=("NIST SP 800-133", "CWE-331"),
    remedy="Make it longer: 43 letters and digits, or 32 bytes.",
    settings={"bits": whole_number("the smallest entropy", 256)},
    check=_entropy,
)


def _kept(resource: Resource, settings: Settings) -> Iterator[Violation]:
    made = resource.type in (PASSWORDS[0], BYTES)
    if (made or is_authority(resource)) and not (resource.protect or resource.retain_on_delete):
        yield Violation(message="is not protected: made anew, it locks out whoever holds what it made")


KEPT = ResourceRule(
    name="random-protected",
    description="Secrets and authorities that others rely on cannot be deleted by mistake.",
    remedy="Set protect on it, and take it off only to rotate it.",
    check=_kept,
)

RULES = (ENTROPY, KEPT)
