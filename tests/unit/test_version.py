"""The version: one place, the newest one of the changelog, shown by the program and by its stacks."""

import re
import subprocess
import sys
from pathlib import Path

from config.version import VERSION

ROOT = Path(__file__).parents[2]
HEADING = re.compile(r"^## (\S+) \((\d{4}-\d\d-\d\d|not released yet)\)$", re.M)


def test_the_changelog_begins_with_the_version() -> None:
    versions = [version for version, _ in HEADING.findall((ROOT / "CHANGELOG.md").read_text())]
    assert len(versions) == (ROOT / "CHANGELOG.md").read_text().count("\n## ")
    assert versions[0] == VERSION
    assert versions == sorted(versions, key=lambda each: [int(part) for part in each.split(".")], reverse=True)


def test_no_other_file_has_the_version_as_a_constant() -> None:
    """`config.version` reads it, and everything else imports it from there."""
    found = [
        str(path.relative_to(ROOT))
        for folder in (
            "capacity",
            "cli",
            "client_kit",
            "components",
            "config",
            "connectivity",
            "migration",
            "package",
            "render",
        )
        for path in (ROOT / folder).rglob("*.py")
        if re.search(rf"""["']v?{re.escape(VERSION)}["']""", path.read_text())
    ]
    assert found == []


def test_the_version_is_shown_without_any_package() -> None:
    command = [sys.executable, "-I", "-S", str(ROOT / "flatline"), "--version"]
    done = subprocess.run(
        command, env={"XDG_CACHE_HOME": "/nowhere", "PATH": ""}, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == (f"flatline {VERSION}\n", "", 0)
