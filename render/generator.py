"""Interface of the generators of random and tls resources, which take the place of these providers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from render.entropy import Entropy

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class GeneratedResource:
    """The ID of a resource, and the outputs that its provider adds to the inputs.

    ``secrets`` names the outputs that the provider's schema declares secret. ``defaults`` holds the values of
    inputs that the program left out.
    """

    id: str
    outputs: Mapping[str, Any]
    secrets: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Generator:
    """Generates resources of one type.

    ``function`` raises ``ValueError`` for inputs that are not valid. ``inputs`` names those that it supports, and
    ``outputs`` those that it adds, which a preview of a new resource does not know yet.
    """

    function: Callable[[Mapping[str, Any], Entropy, Clock], GeneratedResource]
    inputs: frozenset[str]
    outputs: frozenset[str]

    def generate(self, inputs: Mapping[str, Any], entropy: Entropy, clock: Clock) -> GeneratedResource:
        """A new resource. Raises ``ValueError`` for an input that is not supported or not valid."""
        for name in sorted(inputs.keys() - self.inputs):
            raise ValueError(f"the input {name} needs the Pulumi engine and its provider")
        return self.function(inputs, entropy, clock)


def without_clock(
    function: Callable[[Mapping[str, Any], Entropy], GeneratedResource],
) -> Callable[[Mapping[str, Any], Entropy, Clock], GeneratedResource]:
    """Adapts a function whose result does not depend on the time."""
    return lambda inputs, entropy, clock: function(inputs, entropy)
