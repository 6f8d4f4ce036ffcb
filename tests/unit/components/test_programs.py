"""What containers get of programs/: each program with all that it imports, and nothing that is too large to read."""

import posixpath
import re
from pathlib import Path

import pytest

from cli import cluster_stores
from components import programs
from components.programs import FOLDER, Program

PROGRAMS = [value for value in vars(programs).values() if isinstance(value, Program)]
SOURCES = [path for path in FOLDER.rglob("*.*") if path.suffix in {".mjs", ".sh", ".py", ".conf"}]
SOURCES = sorted(path for path in SOURCES if "node_modules" not in path.parts)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_every_import_of_a_mounted_program_is_mounted(program: Program) -> None:
    for name, text in program.files.items():
        for found in re.finditer(r"""from '(\.[^']+)'|import\('(\.[^']+)'\)|^\. "\$\{0%/\*\}/([^"]+)\"""", text, re.M):
            imported = next(filter(None, found.groups()))
            assert posixpath.normpath(posixpath.join(posixpath.dirname(name), imported)) in program.files


def test_every_source_belongs_to_a_program() -> None:
    shipped = {name for program in PROGRAMS for name in program.files}
    by_commands = {str(cluster_stores.PROGRAM.relative_to(FOLDER))}
    assert {str(path.relative_to(FOLDER)) for path in SOURCES} == shipped | by_commands


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_program_fits_a_config_map(program: Program) -> None:
    """It may have 1 MiB, and etcd's own limit is not much larger."""
    assert sum(len(text.encode()) for text in program.files.values()) < 128 * 1024


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_source_can_be_read_at_once(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 300
    assert max(map(len, lines)) <= 120
