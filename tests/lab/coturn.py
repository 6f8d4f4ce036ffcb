"""coturn of Debian, in place of the release of the container image."""

from pathlib import Path

from tests.lab.cache import digest
from tests.lab.debian import WRAPPER, unpack, wrap
from tests.lab.fetch import fetched

SUITE = "trixie"
PACKAGES = ("coturn",)
TOOLS = ("turnserver",)

WITHOUT_METRICS = """#!/bin/sh
# turnserver, but for the flag --prometheus, for which Debian's build lacks a library
for word do
  shift
  [ "$word" = --prometheus ] || set -- "$@" "$word"
done
exec "$(dirname "$(readlink -f "$0")")/turnserver" "$@"
"""


def turnserver() -> Path:
    """The program `without-metrics`, with the libraries of its release, fetched once (about 20 MB)."""
    return fetched("coturn", digest(SUITE, *PACKAGES, *TOOLS, WRAPPER, WITHOUT_METRICS), _build) / "without-metrics"


prepare = turnserver


def _build(target: Path) -> None:
    unpack(target / "root", SUITE, PACKAGES, dependencies=True)
    wrap(target, TOOLS)
    program = target / "without-metrics"
    program.write_text(WITHOUT_METRICS)
    program.chmod(0o755)
