"""The pack stands alone: it imports nothing of the program that it audits, and only its entry needs the engine."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACK = Path(__file__).parent.parent.parent.parent / "policies"
FILES = sorted(path for path in PACK.rglob("*.py") if ".venv" not in path.parts)
ALLOWED = {"policies", "yaml"}
MORE = {"pack.py": {"pulumi_policy"}}
"""What single files may import besides."""


def imported(source: str) -> Iterator[str]:
    """The packages that a source imports, at its top or inside of functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACK)))
def test_only_allowed_packages_are_imported(file: Path) -> None:
    foreign = set(imported(file.read_text())) - set(sys.stdlib_module_names)
    assert foreign <= ALLOWED | MORE.get(file.name, set())


def test_an_import_of_the_program_would_be_noticed() -> None:
    assert set(imported("def f():\n    from render.recorder import record\nimport config.settings")) == {
        "render",
        "config",
    }


def test_rules_are_pure() -> None:
    """No rule reads files, the environment, the network or a process."""
    for file in (PACK / "rules").glob("*.py"):
        assert not set(imported(file.read_text())) & {"os", "pathlib", "subprocess", "socket", "urllib", "io"}, file


def test_one_module_makes_the_policy_pack() -> None:
    assert [file.name for file in FILES if "PolicyPack(" in file.read_text()] == ["pack.py"]


def test_the_packs_own_environment_has_the_programs_versions() -> None:
    groups = tomllib.loads((PACK.parent / "pyproject.toml").read_text())["dependency-groups"]
    own, program = set(groups["policies"]), {pin for pin in groups["local"] if isinstance(pin, str)}
    assert {pin.partition("==")[0] for pin in own - program} == {"pulumi-policy"}
