"""Measures the cost of one more recorded stack, as the number of them in one process grows.

As a program of its own (python -m benchmarks.recording <stacks>) it is that process: it records as many stacks, each
with a name and a domain of its own, and prints for each the seconds of processor time since the start of the first,
and the memory of the process, as JSON.
"""

import gc
import json
import resource
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.process import run
from benchmarks.sample import spread
from benchmarks.stack import recorded
from render.values import SeededValues

COUNTS = (1, 2, 5, 10, 20, 50)


@dataclass(frozen=True)
class Step:
    """The process after some stack."""

    seconds: float
    """Of processor time, since the first stack began."""
    megabytes: float
    """Resident, after the recording was dropped."""


@dataclass(frozen=True)
class Growth:
    """Some runs of the process: the steps of each, of one length."""

    runs: tuple[tuple[Step, ...], ...]

    def rows(self) -> list[dict[str, Any]]:
        """For each of `COUNTS` that was reached: time and memory of a stack, relative to the first one's."""
        return [self._row(count, before) for before, count in self._intervals()]

    def _intervals(self) -> list[tuple[int, int]]:
        reached = [count for count in COUNTS if count <= len(self.runs[0])]
        return list(zip([0, *reached], reached, strict=False))

    def _row(self, count: int, before: int) -> dict[str, Any]:
        first = [run[0].seconds for run in self.runs]
        total = [run[count - 1].seconds for run in self.runs]
        since = [
            (run[count - 1].seconds - (run[before - 1].seconds if before else 0)) / (count - before)
            for run in self.runs
        ]
        more = [(run[count - 1].megabytes - run[0].megabytes) / max(count - 1, 1) for run in self.runs]
        return {
            "stacks": count,
            "seconds": round(statistics.median(total), 3),
            "seconds_for_each": round(statistics.median(total) / count, 3),
            "ratio_of_each_to_the_first": spread([t / count / f for t, f in zip(total, first, strict=True)]),
            "ratio_of_the_last_to_the_first": spread([s / f for s, f in zip(since, first, strict=True)]),
            "megabytes_for_each_more": round(statistics.median(more), 3),
        }


def measure(runs: int, stacks: int = COUNTS[-1]) -> Growth:
    """Starts the process some times."""
    outputs = (run("recording", str(stacks)) for _ in range(runs))
    return Growth(tuple(tuple(Step(*pair) for pair in json.loads(output)) for output in outputs))


def record_many(stacks: int) -> list[Step]:
    """Records them one after the other, and keeps none."""
    steps, seconds = [], 0.0
    for number in range(stacks):
        began = time.process_time()
        recorded(SeededValues(f"{number}"), stack=f"stack-{number}", domain=f"chat-{number}.example.org")
        seconds += time.process_time() - began
        gc.collect()
        steps.append(Step(seconds, _resident() / 2**20))
    return steps


def _resident() -> int:
    """Bytes (proc(5))."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    made = record_many(int(sys.argv[1]))
    print(json.dumps([[step.seconds, step.megabytes] for step in made]))
