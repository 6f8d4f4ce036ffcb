"""promtool, which checks and tests rules of Prometheus: out of Debian's package.

As a Go module Prometheus needs a newer Go than the other servers of the lab.
"""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.lab.cache import digest
from tests.lab.debian import unpack
from tests.lab.fetch import fetched

SUITE, PACKAGE = "trixie", "promtool"


def promtool() -> Path:
    """The executable, fetched once (about 50 MB unpacked). Raises `Missing`."""
    return fetched("promtool", digest(SUITE, PACKAGE), _build) / "promtool"


prepare = promtool


def tested_rules(folder: Path, rules: Mapping[str, Any], tests: Mapping[str, Any]) -> str:
    """What `promtool test rules` says against `rules` under `tests`; empty when all of them pass.

    `tests` is the content of its test file without `rule_files`.
    """
    (folder / "rules.yaml").write_text(yaml.safe_dump(dict(rules), sort_keys=False))
    (folder / "tests.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], **tests}, sort_keys=False))
    return _run(folder, "test", "rules", "tests.yaml")


def _run(folder: Path, *words: str) -> str:
    done = subprocess.run([str(promtool()), *words], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def _build(target: Path) -> None:
    unpacked = target / "package"
    unpack(unpacked, SUITE, [PACKAGE])
    shutil.move(unpacked / "usr/bin/promtool", target / "promtool")
    shutil.rmtree(unpacked)
