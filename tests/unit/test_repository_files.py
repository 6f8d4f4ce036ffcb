"""What a public repository has beside the program: each file names things that exist, and pins what it uses."""

import importlib.metadata
import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import arguments
from config.images import IMAGES, TRAEFIK_CHART

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
STARTED = re.compile(r"^(?:sudo (?:--\S+ )*)?(?:\.ci/run|\./flatline)\b")


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in yaml.safe_load(path.read_text())["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_only_read_and_use_actions_at_exact_commits(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}
    used = re.findall(r"uses: (\S+)(.*)", path.read_text())
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action
    checkouts = [step["with"] for step in steps(path) if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(each["persist-credentials"] is False for each in checkouts)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_start_what_exists(path: Path) -> None:
    """Titles and branches of pull requests are somebody else's text, so no command line has an expression."""
    lines = [line for step in steps(path) for line in step.get("run", "").splitlines()]
    assert not [line for line in lines if "${{" in line]
    started = [line.split(" | ")[0] for line in lines if STARTED.match(line)]
    assert started
    for line in started:
        program, *words = shlex.split(line[line.index("./flatline" if "./flatline" in line else ".ci/run") :])
        assert (ROOT / program).is_file()
        assert arguments.parse([*(["test"] if program == ".ci/run" else []), *words])


def test_pre_commit_lints_as_the_tests_do() -> None:
    (ruff,) = (
        each
        for each in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        if each["repo"].endswith("/ruff-pre-commit")
    )
    assert ruff["rev"] == f"v{importlib.metadata.version('ruff')}"


def test_what_pre_commit_runs_here_can_be_typed() -> None:
    (local,) = (
        each
        for each in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        if each["repo"] == "local"
    )
    for hook in local["hooks"]:
        program, *words = shlex.split(hook["entry"])
        assert program == "./flatline"
        assert arguments.parse(words)


def test_renovate_finds_every_version_of_the_images() -> None:
    """By the regular expressions of its file. A moving tag has no version to update."""
    text = (ROOT / "renovate.json5").read_text()
    quoted = re.findall(r'"(?:\\.|[^"\\])*"', text)
    patterns = [yaml.safe_load(each).replace("(?<", "(?P<") for each in quoted if "(?<" in each]
    assert len(patterns) == 4
    source = (ROOT / "config" / "images.py").read_text()
    found = {each["currentValue"] for pattern in patterns for each in re.finditer(pattern, source)}
    assert found == {TRAEFIK_CHART, *(image.tag for image in IMAGES.values() if not image.moving)}


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "README.md"])
def test_files_that_are_named_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    linked = [each for each in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in each]
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)(?:::\w+)?`", text) if name == "CONTRIBUTING.md" else []
    missing = [each for each in {*linked, *named} if not (ROOT / each).exists()]
    assert not missing
    for file, function in re.findall(r"`(tests/[\w./]+\.py)::(\w+)`", text):
        assert f"def {function}(" in (ROOT / file).read_text(), f"{file} has no {function}"


def test_commands_of_contributing_can_be_typed() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for line in re.findall(r"`\./flatline ([^`\n]+)`", text) + re.findall(r"^\./flatline (.*?)(?:  |$)", text, re.M):
        with suppress(SystemExit):
            assert arguments.parse(shlex.split(line)), line
