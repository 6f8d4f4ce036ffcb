"""python -m benchmarks: measures, and prints the tables (or --json). With --update-docs writes docs/performance.md."""

import argparse
import json
import sys
from collections.abc import Sequence

from benchmarks import in_network, policies, recording, registration, rendering
from benchmarks.report import DOCUMENT, Report, update

PARTS = ("rendering", "policies", "cluster", "engine", "node", "recording")
BY_NAME = ("registration",)
"""Measured only when it is asked for: it takes ten minutes, and its figures are in docs/security.md."""
RUNS_OF_RECORDING = 3


def main(words: Sequence[str]) -> int:
    """Returns 1 if something that was asked for could not be measured."""
    arguments = _parser().parse_args(words)
    report = measured(arguments.part or PARTS, arguments.rounds)
    print(json.dumps(report.as_json(), indent=2) if arguments.json else report.as_markdown())
    if report.missing:
        return 1
    if arguments.update_docs:
        update(DOCUMENT, report.as_markdown())
    return 0


def measured(parts: Sequence[str], rounds: int) -> Report:
    """One run of some of `PARTS`."""
    ratios, missing, growth = [], [], None
    in_a_network = [name for name in in_network.PARTS if name in parts]
    for name in in_a_network:
        in_network.PARTS[name].prepare()  # builds, which would disturb what is measured
    if "rendering" in parts:
        ratios += rendering.measure(rounds)
    if "policies" in parts:
        ratios += policies.measure(rounds)
    for name in in_a_network:
        found = in_network.measure(name, rounds)
        if isinstance(found, str):
            missing.append(f"{name}: {found}")
        else:
            ratios += found
    if "recording" in parts:
        growth = recording.measure(min(rounds, RUNS_OF_RECORDING))
    alike = tuple(registration.measure()) if "registration" in parts else ()
    return Report(tuple(ratios), growth, alike, tuple(missing))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    help_ = f"what to measure: {', '.join(PARTS)} (default: all), or {', '.join(BY_NAME)}"
    parser.add_argument("part", nargs="*", type=_part, help=help_)
    parser.add_argument("--rounds", type=_positive, default=7, help="measurements of each kind (default: 7)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--update-docs", action="store_true", help="write the tables into docs/performance.md")
    return parser


def _part(text: str) -> str:
    if text not in (*PARTS, *BY_NAME):
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join((*PARTS, *BY_NAME))}")
    return text


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
