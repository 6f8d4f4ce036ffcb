"""Settings of every test."""

import os

import pytest
from hypothesis import settings

pytest_plugins = ("tests.skips",)

os.environ["PULUMI_ERROR_OUTPUT_STRING"] = "1"

# No time limits in tests; in CI the same examples each time, so that a failure is of the change that it is shown for.
settings.register_profile("flatline", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("flatline")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew, for review")
