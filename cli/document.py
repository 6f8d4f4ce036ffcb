"""The output of `--json`: one object on standard output, described in docs/json.md."""

import json
from collections.abc import Mapping
from typing import Any

from cli.terminal import Terminal

VERSION = 1
"""Raised when a key goes away or means something else; new keys may come at any time."""


def show(content: Mapping[str, Any], terminal: Terminal) -> None:
    """Prints it, with its version first."""
    terminal.document(json.dumps({"version": VERSION, **content}, indent=2, ensure_ascii=False, allow_nan=False))
