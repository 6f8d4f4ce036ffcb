"""What is installed is pinned, with hashes, and the same for every way to install it."""

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.lab.fetch import packaged

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "uv.lock").read_text()
PROJECT = (ROOT / "pyproject.toml").read_text()
PUBLIC = ("https://pypi.org/simple", "https://files.pythonhosted.org/packages/")


def uv(*words: str) -> subprocess.CompletedProcess[str]:
    """uv without a network, and without what this machine tells it about registries."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    return subprocess.run(
        [packaged("uv", "uv"), "--offline", "--no-config", "--project", ROOT, *words],
        env={**environment, "UV_PYTHON_DOWNLOADS": "never"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def pins(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_the_lock_is_of_the_project() -> None:
    result = uv("lock", "--check")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("name", "group"), [("requirements.txt", "cloud"), ("policies/requirements.txt", "policies")])
def test_requirements_are_those_of_the_lock(name: str, group: str) -> None:
    written = (ROOT / name).read_text()
    command = f"export --frozen --no-default-groups --group {group} --no-annotate"
    assert written.splitlines()[1] == f"#    uv {command} --output-file {name}"
    assert pins(uv(*command.split()).stdout) == pins(written)


def test_the_lock_names_public_registries_alone() -> None:
    found = re.findall(r'"([a-z+]+://[^"]*)"', LOCK)
    assert len(found) > 1000
    assert [url for url in found if not url.startswith(PUBLIC)] == []


def test_every_file_has_a_hash() -> None:
    packages: list[dict[str, Any]] = tomllib.loads(LOCK)["package"]
    files = [file for each in packages for file in (*each.get("wheels", ()), *filter(None, [each.get("sdist")]))]
    assert len(files) > 1000
    assert [file["url"] for file in files if not re.fullmatch(r"sha256:[0-9a-f]{64}", file.get("hash", ""))] == []


def test_every_package_has_an_exact_version_and_a_reason() -> None:
    groups = PROJECT.partition("[dependency-groups]")[2].partition("[tool.uv]")[0]
    lines = [line.strip() for line in groups.splitlines() if line.startswith('    "')]
    assert len(lines) > 20
    assert [line for line in lines if not re.fullmatch(r'"[a-z0-9-]+(\[[a-z]+\])?==[0-9.]+", +# .+', line)] == []
