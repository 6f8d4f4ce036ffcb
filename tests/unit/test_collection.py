"""A run without real servers does not import their tests, and leaves out nothing else."""

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import conftest

INTEGRATION = Path(conftest.INTEGRATION)


@pytest.mark.parametrize(
    ("mark", "arguments", "ignored"),
    [
        ("not integration", [], True),
        ("not integration", ["tests"], True),
        ("not integration", ["tests/unit/test_config_tree.py::test_one"], True),
        ("not integration", ["tests/integration/test_redis.py::test_one"], None),
        ("not integration", ["tests/unit", "tests/integration"], None),
        ("integration", [], None),
        ("", [], None),
        ("not integration or slow", [], None),
    ],
)
def test_when_the_folder_is_left_out(
    monkeypatch: pytest.MonkeyPatch, mark: str, arguments: list[str], ignored: bool | None
) -> None:
    monkeypatch.chdir(INTEGRATION.parents[1])
    config: Any = SimpleNamespace(args=arguments, getoption={"markexpr": mark}.get)
    assert conftest.pytest_ignore_collect(INTEGRATION, config) is ignored
    assert conftest.pytest_ignore_collect(INTEGRATION.parent / "unit", config) is None


def test_every_test_of_the_folder_has_the_mark() -> None:
    """Or it would be run neither with real servers nor without them."""
    files = sorted(INTEGRATION.glob("**/test_*.py"))
    assert len(files) > 20
    for file in files:
        marks = [
            ast.unparse(line.value)
            for line in ast.parse(file.read_text()).body
            if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "pytestmark"
        ]
        assert ["pytest.mark.integration" in mark for mark in marks] == [True], file.name
