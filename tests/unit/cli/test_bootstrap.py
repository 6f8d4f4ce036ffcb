"""`flatline`, the file that needs nothing but Python."""

import fcntl
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

from config.version import VERSION
from tests.unit.cli.checkout import REPOSITORY, Checkout, calls


@pytest.fixture
def bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The file as a module, in a folder of its own with a cache of its own."""
    loader = SourceFileLoader("flatline_bootstrap", str(REPOSITORY / "flatline"))
    specification = importlib.util.spec_from_loader(loader.name, loader)
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader.exec_module(module)
    root = tmp_path / "root"
    root.mkdir()
    for name in ("requirements.txt", "requirements-dev.txt"):
        (root / name).write_text("pydantic==1\n")
    monkeypatch.setattr(module, "ROOT", str(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return module


def an_environment(folder: Path, *, marker: bool = True) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    if marker:
        (folder / ".complete").touch()
    return folder


def test_an_old_python_is_told_which_one_is_needed(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit) as ended:
        bootstrap.main(["up"])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "needs Python 3.11 or newer" in said
    assert "is 3.9." in said


def test_an_old_python_goes_on_in_a_newer_one(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python3.11").write_text("#!/bin/sh\nexit 127\n")  # a version manager's stand-in for what is not there
    (folder / "python3.12").write_text("#!/bin/sh\nexit 0\n")
    for path in folder.iterdir():
        path.chmod(0o755)
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(sys, "argv", ["flatline", "up"])
    started: list[list[str]] = []

    def execute(_path: str, words: list[str]) -> None:
        started.append(words)
        raise InterruptedError

    monkeypatch.setattr(os, "execv", execute)
    with pytest.raises(InterruptedError):
        bootstrap.main(["up"])
    assert started == [[str(folder / "python3.12"), str(REPOSITORY / "flatline"), "up"]]


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_missing_module_is_named_with_its_package(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else found(name))
    with pytest.raises(SystemExit):
        bootstrap.make(bootstrap.cache() + "/venv-x", "requirements.txt")
    said = capsys.readouterr().err
    assert f"no module {module}" in said
    assert f"apt install python3.{sys.version_info.minor}-venv" in said


def test_the_folder_belongs_to_the_requirements_and_the_python(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["requirements.txt"]
    first = bootstrap.digest(names)
    assert first == bootstrap.digest(names) != bootstrap.digest([*names, "requirements-dev.txt"])
    Path(bootstrap.ROOT, "requirements.txt").write_text("pydantic==2\n")
    second = bootstrap.digest(names)
    assert second != first
    monkeypatch.setattr(sys, "version", "3.12.0")
    assert bootstrap.digest(names) != second


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["up"], ["requirements.txt"]),
        (["test"], ["requirements.txt", "requirements-dev.txt"]),
    ],
)
def test_a_complete_environment_is_used_as_it_is(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, arguments: list[str], names: list[str]
) -> None:
    folder = an_environment(Path(bootstrap.cache()) / f"venv-{bootstrap.digest(names)}")
    monkeypatch.setattr(bootstrap, "make", lambda *_: pytest.fail("made anew"))
    assert bootstrap.prepared(arguments, arguments == ["test"]) == str(folder / "bin" / "python")
    assert Path(bootstrap.ROOT, ".venv").is_symlink() == (arguments == ["up"])


@pytest.mark.parametrize("defect", ["no marker", "no python"])
def test_half_an_environment_is_made_anew(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, defect: str) -> None:
    folder = an_environment(
        Path(bootstrap.cache()) / f"venv-{bootstrap.digest(['requirements.txt'])}", marker=defect != "no marker"
    )
    if defect == "no python":
        (folder / "bin" / "python").unlink()
        (folder / "bin" / "python").symlink_to("/nowhere/python")

    def install(made: str, _requirements: str, _log: object) -> None:
        assert not Path(made).exists()
        an_environment(Path(made), marker=False)

    monkeypatch.setattr(bootstrap, "install", install)
    bootstrap.prepared(["up"], False)
    assert bootstrap.complete(str(folder))
    assert not Path(f"{folder}.log").exists()


def test_two_runs_build_it_once(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(bootstrap.cache()) / "venv-x"
    folder.parent.mkdir(parents=True)
    other = Path(f"{folder}.lock").open("w")  # noqa: SIM115 - closed by the other run's end
    fcntl.flock(other, fcntl.LOCK_EX)

    def finish() -> None:
        time.sleep(0.5)
        an_environment(folder)
        other.close()

    monkeypatch.setattr(bootstrap, "install", lambda *_: pytest.fail("built twice"))
    finisher = threading.Thread(target=finish)
    finisher.start()
    bootstrap.make(str(folder), "requirements.txt")
    finisher.join()
    assert "waiting for another run" in capsys.readouterr().err


def test_failing_packages_leave_nothing_and_show_why(checkout: Checkout) -> None:
    (checkout.root / "requirements.txt").write_text("no-such-package==1\n")
    cache = checkout.home / "cache"
    variables = checkout.environment(XDG_CACHE_HOME=str(cache), PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull)
    variables.pop("FLATLINE_PYTHON")
    result = subprocess.run(
        [sys.executable, str(checkout.root / "flatline"), "up"],
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "virtual environment" in result.stderr
    assert "no-such-package" in result.stderr
    assert "PIP_INDEX_URL" in result.stderr
    folder = next(path for path in (cache / "flatline").iterdir() if path.is_dir())
    assert not (folder / ".complete").exists()
    log = Path(f"{folder}.log")
    assert str(log) in result.stderr
    assert "no-such-package" in log.read_text()


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["up", "--help"], ["upp"], []], ids=" ".join)
def test_help_and_typing_mistakes_install_nothing(checkout: Checkout, words: list[str]) -> None:
    variables = checkout.environment(XDG_CACHE_HOME=str(checkout.home / "cache"))
    variables.pop("FLATLINE_PYTHON")
    result = subprocess.run(
        [sys.executable, str(checkout.root / "flatline"), *words],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == (2 if words == ["upp"] else 0)
    others = {"upp": "error: upp is no command; did you mean up?", "--version": f"flatline {VERSION}\n"}
    assert others.get(" ".join(words), "usage: ./flatline") in result.stdout + result.stderr
    assert not (checkout.home / "cache").exists()


def test_uv_learns_what_pip_was_told(
    bootstrap: ModuleType, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = checkout.program(
        "pip",
        """
        record(arguments=sys.argv[1:])
        print("global.index-url='https://mirror.example.org/simple'")
        print("global.find-links='/wheels /more'")
        print("install.user='true'")
        print(":env:.index-url='https://other.example.org/simple'")
        """,
    )
    for variable in bootstrap.SHARED_SETTINGS.values():
        monkeypatch.delenv(variable, raising=False)
    assert bootstrap.settings_of_uv([str(checkout.programs / "pip")]) == {
        "UV_DEFAULT_INDEX": "https://other.example.org/simple",
        "UV_FIND_LINKS": "/wheels,/more",
    }
    assert calls(pip) == [{"arguments": ["config", "list"]}]
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://mine.example.org/simple")
    assert "UV_DEFAULT_INDEX" not in bootstrap.settings_of_uv([str(checkout.programs / "pip")])


@pytest.mark.parametrize("before", ["nothing", "ours", "dangling", "a folder", "somebody's link"])
def test_the_link_for_plain_pulumi(bootstrap: ModuleType, tmp_path: Path, before: str) -> None:
    new, old = an_environment(tmp_path / "flatline" / "venv-new"), an_environment(tmp_path / "flatline" / "venv-old")
    mine = an_environment(tmp_path / "mine")
    link = Path(bootstrap.ROOT, ".venv")
    target = {"ours": old, "dangling": tmp_path / "gone", "somebody's link": mine}.get(before)
    if target:
        link.symlink_to(target)
    elif before == "a folder":
        link.mkdir()
    bootstrap.link(str(new))
    kept = before in {"a folder", "somebody's link"}
    assert link.resolve() == ((mine if target else link) if kept else new).resolve()


def test_it_runs_from_any_folder_and_passes_everything_on(checkout: Checkout, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "cli.py").write_text("raise SystemExit('a stranger')\n")
    result = subprocess.run(
        [sys.executable, str(checkout.root / "flatline"), "render", "--output", "here"],
        cwd=elsewhere,
        env=checkout.environment(PYTHONSAFEPATH="1"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads((elsewhere / "here" / "stack-outputs.json").read_text())
    assert not (checkout.root / "here").exists()
