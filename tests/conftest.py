"""Settings of every test."""

import os

import pytest

os.environ["PULUMI_ERROR_OUTPUT_STRING"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew, for review")
