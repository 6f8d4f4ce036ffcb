"""The pack as Pulumi starts it: by the folder, with the Python of the PATH, which does not have the pack's packages."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "policies", tmp_path / "policies", ignore=shutil.ignore_patterns(".venv", "__pycache__"))
    for name in ("flatline", "uv.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def start(checkout: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs it in the folder of a program; the engine's address is its argument."""
    return subprocess.run(
        [sys.executable, "-u", "policies", "127.0.0.1:9"],
        cwd=checkout,
        env={"PATH": os.environ["PATH"], "HOME": str(checkout), "XDG_CACHE_HOME": str(checkout / "cache"), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def prepared(folder: Path) -> None:
    """An environment whose Python says how it was called."""
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    (folder / ".complete").touch()


def test_it_goes_on_in_an_environment_of_its_own(checkout: Path) -> None:
    prepared(checkout / "policies" / ".venv")
    assert start(checkout).stdout == "-u policies 127.0.0.1:9\n"


def test_without_one_it_uses_what_it_made_earlier(checkout: Path) -> None:
    launcher = runpy.run_path(str(checkout / "flatline"))
    prepared(checkout / "cache" / "flatline" / Path(launcher["environment"]("policies")).name)
    assert start(checkout).stdout == "-u policies 127.0.0.1:9\n"


def test_where_none_can_be_made_it_says_so_and_ends(checkout: Path) -> None:
    result = start(checkout, PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0")
    assert result.returncode == 1
    assert result.stdout == "", "the engine reads a port from standard output"
    assert "flatline: could not install the packages" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_copy_without_the_program_names_what_it_needs(checkout: Path) -> None:
    (checkout / "flatline").unlink()
    result = start(checkout)
    assert result.returncode == 1
    assert result.stderr.startswith(f"the policy pack needs the packages of {checkout}/policies/requirements.txt")
