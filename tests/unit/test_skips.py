"""In CI a skip that nobody expected fails the run."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cli.commands.test import pytest_command
from tests import skips
from tests.skips import EXPECTED, OPTION, Expected

pytest_plugins = ("pytester",)

ROOT = Path(__file__).resolve().parents[2]
NO_ENGINE = "needs pulumi, pulumi-resource-random on the PATH"
EXAMPLE = Expected("tests/integration/test_engine.py", r"needs pulumi[\w-]*(, pulumi[\w-]*)* on the PATH", "an example")
NO_NAMESPACE = "needs a private network namespace (unshare --net); up here: eth0"


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Runs pytest with the plugin, which expects EXAMPLE alone, as if this were no worker of xdist."""
    for variable in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p tests.skips -p no:cacheprovider")
    monkeypatch.setattr(skips, "EXPECTED", (EXAMPLE,))
    pytester.makeconftest(f"from tests import skips\nskips.EXPECTED = (skips.{EXAMPLE!r},)\n")
    return pytester


def skipping(pytester: pytest.Pytester, file: str, reason: str) -> None:
    """A test file with one test that is skipped by its fixture, and one that passes."""
    path = pytester.path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"""
import pytest

@pytest.fixture
def server():
    pytest.skip({reason!r})

def test_one(server):
    pass

def test_two():
    pass
""")


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("test_other.py", NO_ENGINE),
        ("tests/integration/test_engine.py", NO_NAMESPACE),
        ("tests/integration/test_engine.py", f"{NO_ENGINE}; {NO_NAMESPACE}"),
        ("tests/integration/test_engine.py", "needs npm"),
    ],
)
def test_an_unexpected_skip_fails_the_run_and_is_named(run: pytest.Pytester, file: str, reason: str) -> None:
    skipping(run, file, reason)
    result = run.runpytest(OPTION)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, skipped=1)
    text = result.stdout.str()
    assert "1 unexpected skips" in text
    assert f"{file}::test_one: {reason}" in text


def test_an_expected_skip_does_not(run: pytest.Pytester) -> None:
    skipping(run, EXAMPLE.file, NO_ENGINE)
    result = run.runpytest(OPTION)
    assert result.ret == pytest.ExitCode.OK
    assert "unexpected" not in result.stdout.str()


def test_without_the_option_every_skip_is_accepted(run: pytest.Pytester) -> None:
    skipping(run, "test_other.py", NO_NAMESPACE)
    result = run.runpytest()
    assert result.ret == pytest.ExitCode.OK
    assert "unexpected" not in result.stdout.str()


def skipped_as_a_whole(pytester: pytest.Pytester) -> None:
    (pytester.path / "test_whole.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")


def test_a_file_that_is_skipped_as_a_whole_counts(run: pytest.Pytester) -> None:
    skipped_as_a_whole(run)
    result = run.runpytest(OPTION)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert re.search(r"^test_whole\.py: .*no_such_module", result.stdout.str(), re.MULTILINE)


def test_the_skips_of_all_processes_are_seen(run: pytest.Pytester) -> None:
    """One that is expected, one that is not, and a whole file."""
    skipping(run, EXAMPLE.file, NO_ENGINE)
    skipping(run, "test_other.py", NO_ENGINE)
    skipped_as_a_whole(run)
    result = run.runpytest_subprocess(OPTION, "-n", "2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = result.stdout.str()
    assert "2 unexpected skips" in text
    assert f"test_other.py::test_one: {NO_ENGINE}" in text
    assert re.search(r"^test_whole\.py: .*no_such_module", text, re.MULTILINE)


def test_an_expected_failure_is_no_skip(run: pytest.Pytester) -> None:
    (run.path / "test_one.py").write_text("import pytest\n@pytest.mark.xfail\ndef test_one():\n    assert 1 == 2\n")
    assert run.runpytest(OPTION).ret == pytest.ExitCode.OK


def test_a_failed_run_keeps_its_status(run: pytest.Pytester) -> None:
    skipping(run, "test_other.py", NO_NAMESPACE)
    (run.path / "conftest.py").write_text("def pytest_sessionstart():\n    raise KeyboardInterrupt\n")
    assert run.runpytest_subprocess(OPTION).ret == pytest.ExitCode.INTERRUPTED


def test_every_expected_skip_is_of_a_file_that_is_there_and_says_why() -> None:
    for each in EXPECTED:
        assert (ROOT / each.file).is_file()
        assert each.why


@pytest.mark.parametrize(
    ("selection", "in_ci", "strict"),
    [("all", True, True), ("all", False, False), ("integration", True, False), (None, True, False)],
)
def test_only_a_run_of_everything_in_ci_is_strict(selection: str | None, in_ci: bool, strict: bool) -> None:
    assert (OPTION in pytest_command(selection, [], colours=False, in_ci=in_ci)) is strict


@pytest.mark.parametrize(("typed", "passed"), [([], "--all"), (["--fast", "-k", "a b"], "--fast|-k|a b")])
def test_the_ci_script_runs_everything_as_ci(tmp_path: Path, typed: list[str], passed: str) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    flatline = tmp_path / "flatline"
    flatline.write_text('#!/bin/sh\n[ "$1" = test ] && shift\nIFS="|"\necho "$CI: $*"\nexit 3\n')
    flatline.chmod(0o755)
    environment = {name: text for name, text in os.environ.items() if name != "CI"}
    done = subprocess.run(
        [tmp_path / ".ci" / "run", *typed], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (3, f"true: {passed}\n"), done.stderr
