"""Reports measurements as JSON, as text for a terminal, and as the tables of docs/performance.md."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.recording import Growth
from benchmarks.registration import Alike
from benchmarks.sample import Ratio

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- measured -->", "<!-- /measured -->"

Row = Sequence[str]


@dataclass(frozen=True)
class Report:
    """One run. A part that was not asked for is empty; `missing` says what this machine could not measure, and why."""

    ratios: tuple[Ratio, ...] = ()
    growth: Growth | None = None
    alike: tuple[Alike, ...] = ()
    missing: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "machine": machine(),
            "ratios": [ratio.as_json() for ratio in self.ratios],
            "growth": self.growth.rows() if self.growth else [],
            "alike": [each.as_json() for each in self.alike],
            "missing": list(self.missing),
        }

    def as_markdown(self) -> str:
        """The machine and the tables."""
        told = self.as_json()
        parts = [_machine_line(told["machine"])]
        if self.ratios:
            parts.append(_table(RATIO_HEADER, [_ratio_row(ratio) for ratio in told["ratios"]]))
        if self.growth:
            parts.append(_table(GROWTH_HEADER, [_growth_row(row) for row in told["growth"]]))
        if self.alike:
            parts.append(_table(ALIKE_HEADER, [_alike_row(each) for each in told["alike"]]))
        return "\n\n".join([*parts, *(f"Not measured: {each}" for each in self.missing)])


RATIO_HEADER = ("measured", "against", "median", "minimum", "ratio", "least to most", "rounds")
GROWTH_HEADER = ("stacks", "all", "each", "each to the first", "the last to the first", "memory for each more")

ALIKE_HEADER = ("call", "tries", "invited", "uninvited", "chance by K-S", "guessed right", "chance of that", "contents")


def machine() -> dict[str, Any]:
    """The machine that the figures depend on: processors that this process may use, and the Python."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def update(document: Path, tables: str) -> None:
    """Replaces what is between the document's marks. Raises ValueError where they are not there once."""
    text = document.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{document.name} does not have {BEGIN} and {END} once, in this order")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    document.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}")


def _machine_line(known: dict[str, Any]) -> str:
    return (
        f"{known['cores']} cores ({known['architecture']}), Python {known['python']}; "
        f"load average at the end: {known['load']}."
    )


def _ratio_row(ratio: dict[str, Any]) -> Row:
    return (
        ratio["name"],
        ratio["against"],
        _seconds(ratio["seconds"]),
        _seconds(ratio["minimum_seconds"]),
        f"**{ratio['ratio']['median']:.2f}**",
        _range(ratio["ratio"]),
        str(ratio["rounds"]),
    )


def _growth_row(row: dict[str, Any]) -> Row:
    return (
        str(row["stacks"]),
        _seconds(row["seconds"]),
        _seconds(row["seconds_for_each"]),
        _with_range(row["ratio_of_each_to_the_first"]),
        _with_range(row["ratio_of_the_last_to_the_first"]),
        f"{row['megabytes_for_each_more']:.2f} MiB",
    )


def _alike_row(each: dict[str, Any]) -> Row:
    return (
        each["call"],
        f"{each['tries']:,}",
        f"{each['invited_seconds'] * 1000:.3f} ms",
        f"{each['uninvited_seconds'] * 1000:.3f} ms",
        f"{each['kolmogorov_smirnov_chance']:.3f}",
        f"{each['guessed_right']:.1%}",
        f"{each['guesser_chance']:.3f}",
        "the same" if each["same_contents"] else "DIFFERENT",
    )


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms" if value >= 0.1 else f"{value * 1000:.1f} ms"


def _range(known: dict[str, float]) -> str:
    return f"{known['least']:.2f} to {known['most']:.2f}"


def _with_range(known: dict[str, float]) -> str:
    return f"**{known['median']:.2f}** ({_range(known)})"


def _table(header: Row, rows: Sequence[Row]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
