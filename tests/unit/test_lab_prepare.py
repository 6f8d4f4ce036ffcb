"""All that the integration tests fetch or build is made beforehand: their private network reaches no registry."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import run

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "tests" / "lab"
BLOCKS = frozenset({"cache", "debian", "fetch", "go", "node"})
"""The modules that fetch and build what the others name."""
OUTSIDE = frozenset({"programs"})
"""Lint and types of programs/: `./flatline test` runs them outside of the private network."""
FETCHING = frozenset(
    {
        *("cached", "fetched", "fetching", "packaged", "retried", "unpack"),
        *("go_build", "go_module_dir", "npm_install", "scan.environment"),
    }
)

Place = tuple[str, str]
"""A module of tests.lab and the name of a function or constant of its top level, or of a class with all its methods."""


class Calls:
    """Who calls whom in tests.lab, read from the sources."""

    def __init__(self, sources: dict[str, str]) -> None:
        self.fetching: dict[Place, set[str]] = {}
        """The calls that fetch, as they are written, of each function."""
        self._called: dict[Place, set[Place]] = {}
        for module, source in sources.items():
            self._read(module, ast.parse(source))

    def prepared(self) -> set[Place]:
        """All that runs when each `prepare` is called."""
        left = [place for place in self._called if place[1] == "prepare"]
        found: set[Place] = set()
        while left:
            place = left.pop()
            if place not in found:
                found.add(place)
                left += [each for each in self._called[place] if each in self._called]
        return found

    def lazy(self) -> list[str]:
        """What is fetched or built by some function, but by no preparation."""
        prepared = self.prepared()
        made = {call for place in prepared for call in self.fetching[place]}
        return sorted(
            f"{place[0]}.{place[1]}: {call}"
            for place, calls in self.fetching.items()
            if place not in prepared
            for call in calls - made
        )

    def _read(self, module: str, tree: ast.Module) -> None:
        origins: dict[str, Place] = {}
        modules: set[str] = set()
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module == "tests.lab":
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests.lab."):
                home = str(node.module).removeprefix("tests.lab.")
                origins.update({alias.asname or alias.name: (home, alias.name) for alias in node.names})
            else:
                origins.update({name: (module, name) for name in _defined(node)})
        for node in tree.body:
            for name in _defined(node):
                place = (module, name)
                walked = list(ast.walk(node))
                self._called[place] = {
                    origins[each.id] for each in walked if isinstance(each, ast.Name) and each.id in origins
                } | {
                    (each.value.id, each.attr)
                    for each in walked
                    if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id in modules
                }
                calls = [each for each in ast.walk(node) if isinstance(each, ast.Call)]
                self.fetching[place] = {
                    ast.unparse(each) for each in calls for asked in _asked(each) if asked in FETCHING
                }


def _defined(node: ast.stmt) -> list[str]:
    """The function, class or constant that a statement of the top level defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [each.id for each in targets if isinstance(each, ast.Name)]


def _asked(call: ast.Call) -> Iterator[str]:
    """What is called, and what is handed over to be called."""
    yield from (ast.unparse(each) for each in (call.func, *call.args) if isinstance(each, ast.Name | ast.Attribute))


def lab_sources() -> dict[str, str]:
    return {path.stem: path.read_text() for path in sorted(LAB.glob("*.py")) if path.stem not in BLOCKS | OUTSIDE}


def test_everything_that_the_lab_fetches_or_builds_is_prepared() -> None:
    assert Calls(lab_sources()).lazy() == []


def test_what_is_fetched_is_seen() -> None:
    """So that the test above is no test of nothing."""
    calls = Calls(lab_sources())
    assert {place[0] for place, asked in calls.fetching.items() if asked} == {
        *("bigtable", "checkov", "engine", "kubernetes", "libsignal", "localstack", "otel", "policy_pack", "redis"),
        *("keystores", "promtool", "registry"),
        *("images", "k3s_images", "kubernetes_client", "kubernetes_node", "machine_system"),
        *("traefik", "traefik_crds", "tus", "versitygw"),
    }


@pytest.mark.parametrize(
    ("source", "lazy"),
    [
        ("def binary():\n    return go_build('x', HERE)\n", ["new.binary: go_build('x', HERE)"]),
        ("def binary():\n    return go_build('x', HERE)\ndef prepare():\n    binary()\n", []),
        (
            "class Server:\n    def start(self):\n        npm_install('x', HERE)\n",
            ["new.Server: npm_install('x', HERE)"],
        ),
        ("from tests.lab.other import binary\ndef prepare():\n    binary()\n", []),
        ("def prepare():\n    packaged('a', 'b')\ndef start():\n    packaged('a', 'b')\n", []),
        (
            "def prepare():\n    packaged('a', 'b')\ndef start():\n    packaged('a', 'c')\n",
            ["new.start: packaged('a', 'c')"],
        ),
        ("def look():\n    retried('x', scan.environment)\n", ["new.look: retried('x', scan.environment)"]),
    ],
)
def test_what_no_preparation_makes_is_found(source: str, lazy: list[str]) -> None:
    other = "def binary():\n    return fetched('other', '1', build)\n"
    found = Calls({"new": source, "other": other}).lazy()
    assert [each for each in found if each.startswith("new")] == lazy


def test_tests_fetch_through_the_lab_alone() -> None:
    """What a test asked a registry for by itself would be prepared by nobody."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if LAB in path.parents or path.name.startswith("test_lab_"):
            continue
        named = {each.id for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.Name)}
        assert not named & FETCHING - {"packaged"}, path


def test_every_preparation_is_run() -> None:
    defined = {module for module, source in lab_sources().items() if "\ndef prepare() -> None:" in source}
    assert set(run.preparations()) == defined


@pytest.fixture
def inside(tmp_path: Path) -> list[str]:
    """Pytest's arguments for one test that passes."""
    file = tmp_path / "test_one.py"
    file.write_text("def test_one():\n    pass\n")
    return ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", f"--rootdir={tmp_path}", str(file)]


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_in_ci_what_could_not_be_prepared_fails_the_run_and_is_named_at_its_end(
    inside: list[str], ci: str, status: int
) -> None:
    program = (
        "import sys\nfrom tests.lab import run\n"
        "def fail() -> None:\n    raise RuntimeError('no such\\nmodule')\n"
        "run.preparations = lambda: {'first': fail, 'second': lambda: None}\n"
        f"sys.exit(run.main({json.dumps(inside)}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert done.stdout.rstrip().endswith("lab: not prepared: first: no such\nmodule")
