"""What the stand-ins of the random and tls providers answer with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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
