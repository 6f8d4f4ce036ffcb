"""Which tests may be skipped in CI, and why; with --no-unexpected-skips any other skip fails the run.

A pytest plugin, loaded by tests/conftest.py. `./flatline test --all` gives the option where the variable CI is set.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

OPTION = "--no-unexpected-skips"


@dataclass(frozen=True)
class Expected:
    """A skip that is accepted: `file` from the root, `reason` a pattern for all of the skip's words, and why it is."""

    file: str
    reason: str
    why: str

    def covers(self, skip: "Skip") -> bool:
        return skip.test.split("::")[0] == self.file and re.fullmatch(self.reason, skip.reason) is not None


EXPECTED: tuple[Expected, ...] = (
    Expected(
        file="tests/integration/node/test_node_engine.py",
        reason=".*needs the previous release in the history of the clone.*",
        why="a shallow clone has no commit but its own",
    ),
)
"""All skips that CI accepts."""


@dataclass(frozen=True, order=True)
class Skip:
    """A test, or a file or folder of tests, that was skipped."""

    test: str
    reason: str


class Skips:
    """Collects the skips of a run (of all its processes, with -n) and fails it for those that are not expected."""

    def __init__(self, expected: tuple[Expected, ...]) -> None:
        self._expected = expected
        self._unexpected: set[Skip] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._add(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._add(report)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self._unexpected and exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._unexpected:
            terminalreporter.section(f"{len(self._unexpected)} unexpected skips (tests/skips.py has the expected ones)")
            for line in self._lines():
                terminalreporter.line(line, red=True)

    def _add(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        assert isinstance(report.longrepr, tuple), "pytest tells of a skip as its file, line and reason"
        skip = Skip(report.nodeid, report.longrepr[2].removeprefix("Skipped: "))
        if not any(each.covers(skip) for each in self._expected):
            self._unexpected.add(skip)

    def _lines(self) -> Iterator[str]:
        for skip in sorted(self._unexpected):
            yield f"{skip.test}: {skip.reason}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, action="store_true", help="fail if a test is skipped that tests/skips.py does not name")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption(OPTION) and not hasattr(config, "workerinput"):  # with -n, the first process alone reports
        config.pluginmanager.register(Skips(EXPECTED), "unexpected-skips")
