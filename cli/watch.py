"""`status --watch`: what is ready of a stack, shown again whenever it changes, until all of it is."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from cli.terminal import Terminal
from errors import FlatlineError

PAUSE_SECONDS = 3.0
WIDTH = 24

Workloads = Sequence[dict[str, Any]]


def until_ready(look: Callable[[], Workloads], terminal: Terminal) -> None:
    """Shows each change. Ends when there are workloads and every wanted pod is ready; a signal ends it before.

    Where the cluster does not answer for a while it says so once and goes on.
    Raises FlatlineError if the first look fails.
    """
    terminal.heading("Ready")
    shown: list[str] = []
    workloads = look()
    while True:
        lines = picture(workloads)
        if lines != shown:
            for line in lines:
                if line not in shown:
                    terminal.say(line)
            shown = lines
        if workloads and all(each["ready"] >= each["wanted"] for each in workloads):
            terminal.say("Everything is ready.", "bold green")
            return
        time.sleep(PAUSE_SECONDS)
        try:
            workloads = look()
        except FlatlineError as problem:
            lines = [f"The cluster does not tell: {problem.problem}"]
            if lines != shown:
                terminal.warn(lines[0])
            shown = lines


def picture(workloads: Workloads) -> list[str]:
    """A line for each workload, and one for all of them."""
    ready, wanted = (sum(each[key] for each in workloads) for key in ("ready", "wanted"))
    names = max((len(each["name"]) for each in workloads), default=0)
    lines = [f"{each['name']:<{names}}  {_bar(each['ready'], each['wanted'])}" for each in workloads]
    return [*lines, f"{'pods':<{names}}  {_bar(ready, wanted)}"] if workloads else ["There are no workloads yet."]


def _bar(ready: int, wanted: int) -> str:
    full = WIDTH if ready >= wanted else WIDTH * ready // wanted
    return f"[{'#' * full}{'.' * (WIDTH - full)}] {ready}/{wanted}"
