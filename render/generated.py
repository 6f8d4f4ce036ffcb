"""What the stand-ins of the random and tls providers answer with, and how one type of resource is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from render.entropy import Entropy

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Generated:
    """The ID and the outputs that a provider makes up, without the inputs that it echoes.

    ``secrets`` names the outputs that the provider's schema declares secret. ``defaults`` are what it fills
    in for absent inputs.
    """

    id: str
    outputs: Mapping[str, Any]
    secrets: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Generator:
    """How one type of resource is made, and which inputs may change without a replacement.

    ``outputs`` names what ``generate`` makes up: what a preview of a new resource cannot know yet.
    """

    generate: Callable[[Mapping[str, Any], Entropy, Clock], Generated]
    outputs: frozenset[str]
    updated_in_place: frozenset[str] = frozenset()


def without_clock(generate: Callable[[Mapping[str, Any], Entropy], Generated], *outputs: str) -> Generator:
    """A generator of what does not depend on the time."""
    return Generator(lambda inputs, entropy, now: generate(inputs, entropy), frozenset(outputs))
