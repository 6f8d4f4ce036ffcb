"""The tables of docs/testing.md name tests that exist."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
DOCUMENT = TESTS.parent / "docs" / "testing.md"
SECTION = "Defects put back, and the tests that saw them"
CODE = re.compile(r"`([^`]+)`")
NAME = re.compile(r"([\w/]+\.py)?(?:::(test_\w+))?")


def rows(document: str) -> list[tuple[str, str]]:
    """(defect, tests) of every row of the section's tables."""
    (section,) = (text for text in document.split("\n## ") if text.startswith(SECTION))
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    assert all(len(row) == 2 for row in cells)
    return [(defect, tests) for defect, tests in cells if defect != "defect" and set(defect) != {"-"}]


def named(tests: str) -> Iterator[tuple[str, str]]:
    """(file, function) of a row; a file alone has no function, a function alone is of the file before it."""
    file = ""
    for text in CODE.findall(tests):
        found = NAME.fullmatch(text)
        assert found, f"{text} is neither a file nor a test"
        file = found[1] or file
        yield file, found[2] or ""


@cache
def functions(file: str) -> set[str]:
    """The functions of a file below tests/."""
    return {node.name for node in ast.walk(ast.parse((TESTS / file).read_text())) if isinstance(node, ast.FunctionDef)}


ROWS = rows(DOCUMENT.read_text())


def missing(tests: str) -> Iterator[str]:
    """What is wrong with the cell of a row."""
    names = list(named(tests))
    if not names:
        yield "no test is named"
    for file, function in names:
        if not (TESTS / file).is_file():
            yield f"there is no tests/{file}"
        elif function and function not in functions(file):
            yield f"{file} has no {function}"


def test_the_tests_of_each_defect_exist() -> None:
    problems = [f"{defect}: {problem}" for defect, tests in ROWS for problem in missing(tests)]
    assert not problems, "\n".join(problems)


def test_no_defect_stands_twice() -> None:
    defects = [defect for defect, _ in ROWS]
    assert len(defects) == len(set(defects)) > 100


@pytest.mark.parametrize(
    ("tests", "found"),
    [
        ("`unit/test_a.py`", [("unit/test_a.py", "")]),
        ("`a/test_b.py::test_c`, `::test_d`", [("a/test_b.py", "test_c"), ("a/test_b.py", "test_d")]),
        ("`a.py::test_c`, `b.py::test_d`, in words", [("a.py", "test_c"), ("b.py", "test_d")]),
    ],
)
def test_names_are_read(tests: str, found: list[tuple[str, str]]) -> None:
    assert list(named(tests)) == found


def test_what_is_no_name_is_refused() -> None:
    with pytest.raises(AssertionError, match="neither"):
        list(named("`test_a`"))
