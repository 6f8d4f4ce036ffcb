"""The clouds' SDKs: nothing needs them but a stack in the cloud, which adds them by itself."""

import os
import sys
from pathlib import Path
from typing import Any

import pulumi
import pytest

from cli import packages, stacks, under_engine
from tests.unit.cli.checkout import Checkout


def hidden(folder: Path) -> str:
    """A folder for PYTHONPATH, with which Python finds no SDK of a cloud."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        f"import sys; sys.modules.update(dict.fromkeys({packages.SDKS!r}))\n",
    )
    return str(folder)


@pytest.fixture
def without_sdks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "missing_sdks", lambda *_: ["pulumi_aws"])


def without_them(folder: Path) -> str:
    """A Python that finds no SDK of a cloud."""
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={hidden(folder / "hidden")} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return str(python)


def test_a_local_stack_needs_none(tmp_path: Path) -> None:
    python = without_them(tmp_path)
    Checkout.make(tmp_path / "whole", small=False).succeed("up", FLATLINE_PYTHON=python)
    checked = Checkout.make(tmp_path / "small").run("check", FLATLINE_PYTHON=python)
    assert " resources, " in checked.stdout, checked.stderr


def test_a_cloud_stack_and_a_python_of_ones_own_without_them(tmp_path: Path) -> None:
    checkout = Checkout.make(tmp_path / "whole")
    (checkout.root / "Pulumi.prod.yaml").write_text((stacks.ROOT / "Pulumi.prod.yaml").read_text())
    said = checkout.fail("check", "--stack", "prod", FLATLINE_PYTHON=without_them(tmp_path))
    assert said == (
        f"error: {sys.executable} has no Python package pulumi_aws, which stack prod needs: it is in the cloud\n"
        "  Unset FLATLINE_PYTHON, or install requirements.txt there.\n"
    )


@pytest.mark.usefixtures("without_sdks")
def test_a_cloud_stack_goes_on_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLATLINE_PYTHON", raising=False)
    monkeypatch.setattr(sys, "argv", ["flatline", "check", "--stack", "prod"])
    real = packages.runpy.run_path
    prepared: list[str] = []

    def run_path(path: str) -> dict[str, Any]:
        launcher = real(path)
        launcher["prepared"] = lambda group: prepared.append(group) or "/environment/bin/python"
        return launcher

    started: list[list[str]] = []

    def execute(_path: str, words: list[str]) -> None:
        started.append(words)
        raise InterruptedError

    monkeypatch.setattr(packages.runpy, "run_path", run_path)
    monkeypatch.setattr(os, "execv", execute)
    monkeypatch.setenv("FLATLINE_ENTERED", "")
    with pytest.raises(InterruptedError):
        stacks.read("prod")
    assert prepared == ["cloud"]
    assert started == [["/environment/bin/python", str(stacks.ROOT / "flatline"), "check", "--stack", "prod"]]
    assert os.environ["FLATLINE_ENTERED"] == str(stacks.ROOT)


def test_plain_pulumi_is_told_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "error", said.append)
    monkeypatch.setattr(under_engine, "_by_engine", lambda: True)
    monkeypatch.setattr(under_engine.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended, under_engine.mistakes_as_lines():
        raise ModuleNotFoundError(name="pulumi_aws.dynamodb")
    assert ended.value.code == under_engine.SAID
    assert said[0].startswith(f"{sys.executable} has no Python package pulumi_aws, which a stack in the cloud needs\n")
    assert "./flatline check --stack" in said[0]
    with pytest.raises(ModuleNotFoundError), under_engine.mistakes_as_lines():
        raise ModuleNotFoundError(name="yaml")
