"""Repeated measurements, and how they are told: as medians, and as ratios with their spread."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ratio:
    """The seconds of something and of its minimum, measured in turn: one of each in every round."""

    name: str
    against: str
    """The name of the minimum."""
    seconds: tuple[float, ...]
    minimum: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.seconds or len(self.seconds) != len(self.minimum):
            raise ValueError(f"{self.name}: every round has one measurement of each kind")

    @property
    def each(self) -> list[float]:
        """The ratio of every round."""
        return [mine / least for mine, least in zip(self.seconds, self.minimum, strict=True)]

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "against": self.against,
            "rounds": len(self.seconds),
            "seconds": round(statistics.median(self.seconds), 6),
            "minimum_seconds": round(statistics.median(self.minimum), 6),
            "ratio": spread(self.each),
        }


def by_step(name: str, against: str, taken: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]) -> list[Ratio]:
    """A ratio for each step of what is done; `taken` has the seconds of both by step, for every round."""
    return [
        Ratio(
            f"{name}: {step}", against, tuple(mine[step] for mine, _ in taken), tuple(least[step] for _, least in taken)
        )
        for step in taken[0][0]
    ]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most, to three digits after the point."""
    named = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: round(value, 3) for name, value in named.items()}
