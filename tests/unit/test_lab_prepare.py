"""What could not be fetched or built for the integration tests is named.

A run in CI fails for it, and for every test that then lacks something (tests/skips.py): their network reaches no
registry.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def inside(tmp_path: Path) -> list[str]:
    """Pytest's arguments for one test that passes."""
    file = tmp_path / "test_one.py"
    file.write_text("def test_one():\n    pass\n")
    return ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", f"--rootdir={tmp_path}", str(file)]


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_in_ci_what_could_not_be_prepared_fails_the_run_and_is_named_at_its_end(
    inside: list[str], ci: str, status: int
) -> None:
    program = (
        "import sys\nfrom tests.lab import run\n"
        "def fail() -> None:\n    raise RuntimeError('no such\\nmodule')\n"
        "run.preparations = lambda: {'first': fail, 'second': lambda: None}\n"
        f"sys.exit(run.main({json.dumps(inside)}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert done.stdout.rstrip().endswith("lab: not prepared: first: no such\nmodule")
