"""Settings of every test."""

import gc
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

pytest_plugins = ("tests.skips",)

os.environ["PULUMI_ERROR_OUTPUT_STRING"] = "1"

# No time limits in tests; in CI the same examples each time, so that a failure is of the change that it is shown for.
settings.register_profile(
    "flatline",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("flatline")


def pytest_collection_finish() -> None:
    """The classes of the SDKs are a million objects that stay: they are not searched for garbage.

    What tests leave is: tasks of asyncio that are garbage make each later recording slower.
    """
    gc.freeze()
    gc.set_threshold(20_000, 10, 5)


INTEGRATION = Path(__file__).parent / "integration"
NODE = "tests/integration/node/"
"""The files of the one node. They take longest, and need the same stack: one process has them all, and begins so."""
LONG = (NODE, "tests/integration/", "tests/unit/cli/", "tests/unit/test_wait.py")


class Scheduling(LoadFileScheduling):
    """A file's tests run in one process, those of all files of `NODE` in the same."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return NODE if file.startswith(NODE) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew, for review")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A run without real servers does not import their tests, unless a path among its arguments is theirs."""
    named = any(Path(word.partition("::")[0]).resolve().is_relative_to(INTEGRATION) for word in config.args)
    unwanted = config.getoption("markexpr") == "not integration" and not named
    return True if unwanted and collection_path == INTEGRATION else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that at the end no process works alone (with --no-loadscope-reorder)."""
    items.sort(key=lambda item: _rank(item.nodeid))


def _rank(nodeid: str) -> int:
    """Its place among `LONG`, of which the longest beginning counts; the others come last."""
    places = [(len(beginning), place) for place, beginning in enumerate(LONG) if nodeid.startswith(beginning)]
    return max(places)[1] if places else len(LONG)
