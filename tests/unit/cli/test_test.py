"""`test`: the developer's command."""

import os
import shutil
import subprocess
import sys

import pytest

from cli.arguments import parse
from cli.commands.test import pytest_command
from tests.unit.cli.checkout import REPOSITORY, Checkout

DEFAULT = ["-n", "4", "--dist", "loadfile", "--no-loadscope-reorder"]


@pytest.mark.parametrize(
    ("typed", "module", "expected"),
    [
        ([], "pytest", [*DEFAULT, "-m", "not integration"]),
        (["--fast"], "pytest", [*DEFAULT, "-m", "not integration"]),
        (["--all"], "tests.lab.run", DEFAULT),
        (["--integration"], "tests.lab.run", [*DEFAULT, "-m", "integration"]),
        (["--integration", "-k", "redis"], "tests.lab.run", [*DEFAULT, "-m", "integration", "-k", "redis"]),
        (
            ["-k", "redis", "-x", "tests/unit"],
            "pytest",
            [*DEFAULT, "-m", "not integration", "-k", "redis", "-x", "tests/unit"],
        ),
        (
            ["--fast", "tests/a.py::test_b"],
            "pytest",
            ["-n", "0", *DEFAULT[2:], "-m", "not integration", "tests/a.py::test_b"],
        ),
        (
            ["tests/a.py", "tests/b.py"],
            "pytest",
            ["-n", "2", *DEFAULT[2:], "-m", "not integration", "tests/a.py", "tests/b.py"],
        ),
        (["-n", "0"], "pytest", ["-m", "not integration", "-n", "0"]),
        (["--pdb"], "pytest", ["-m", "not integration", "--pdb"]),
        (["-m", "integration"], "pytest", [*DEFAULT, "-m", "integration"]),
    ],
    ids=str,
)
def test_what_was_typed_reaches_pytest(typed: list[str], module: str, expected: list[str]) -> None:
    arguments = parse(["test", *typed])
    command = pytest_command(arguments.selection, arguments.pytest, colours=False)
    assert command[1:] == ["-m", module, *expected]


@pytest.fixture
def project(checkout: Checkout) -> Checkout:
    """A checkout that holds nothing but its commands and one test."""
    for name in ("components", "programs", "__main__.py"):
        path = checkout.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (checkout.root / "tests").mkdir()
    (checkout.root / "tests" / "test_one.py").write_text("def test_one() -> None:\n    assert 1 + 1 == 2\n")
    return checkout


ONE = ("test", "--fast", "tests/test_one.py")  # in one process


def test_each_step_has_its_line_and_pytest_the_last_word(project: Checkout) -> None:
    said = project.succeed(*ONE).splitlines()
    assert [line.split()[:2] for line in said[:2]] == [["lint", "ok"], ["format", "ok"]]
    assert said[-1].startswith("=")
    assert "1 passed" in said[-1]


def test_lint_alone_fails_the_run(project: Checkout) -> None:
    (project.root / "tests" / "other.py").write_text("import os\n")
    result = project.run(*ONE)
    assert "1 passed" in result.stdout
    assert result.returncode == 1


def test_ci_shows_what_failed_and_ends_with_pytest_s_closing_line(project: Checkout) -> None:
    (project.programs / "python3").symlink_to(os.path.realpath(sys.executable))
    (project.root / ".ci").mkdir()
    shutil.copy(REPOSITORY / ".ci" / "run", project.root / ".ci" / "run")
    (project.root / "tests" / "test_one.py").write_text("import os\n\ndef test_one() -> None:\n    assert 1 == 2\n")
    result = subprocess.run(
        ["bash", str(project.root / ".ci" / "run"), *ONE[1:]],
        cwd="/",
        env={**project.environment(), "PATH": f"{project.programs}:/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 1, result.stdout
    assert "FAILED" in result.stdout
    assert "F401" in result.stdout
    assert "error: failed: lint, format" in result.stdout
    last = result.stdout.splitlines()[-1]
    assert "1 failed" in last
    assert last.startswith("=")
