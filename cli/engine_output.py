"""Filters the engine's output: a run without changes prints one line instead."""

import re
from collections.abc import Callable

_UNCHANGED = re.compile(r"(\d+) unchanged")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NOTHING = re.compile(
    r"|(previewing update|updating|view live|view in browser|loading policy packs)\b.*"
    r"|@ (previewing update|updating)\.*"
    r"|pulumi:pulumi:stack \S+( running)?|resources:|\d+ unchanged|duration: .*",
    re.IGNORECASE,
)
"""Lines that stand around the changes (pulumi/pulumi, pkg/backend/display, version 3.276.0)."""


class Changes:
    """Takes the engine's lines one by one; shows all of them from the first one on that tells of a change.

    `unchanged` is the number of resources that did not change, once the engine has printed it.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._kept: list[str] = []
        self.any = False
        self.unchanged = 0

    def __call__(self, line: str) -> None:
        plain = _COLOUR.sub("", line).strip()
        self.any = self.any or not _NOTHING.fullmatch(plain)
        if counted := _UNCHANGED.fullmatch(plain):
            self.unchanged = int(counted[1])
        self._kept.append(line)
        if self.any:
            for each in self._kept:
                self._show(each)
            self._kept.clear()
