"""`flatline`, the file that needs nothing but Python."""

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

from config.version import VERSION
from tests.lab.fetch import packaged
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
    shutil.copy(REPOSITORY / "uv.lock", root)
    monkeypatch.setattr(module, "ROOT", str(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return module


def an_environment(folder: Path, *, marker: bool = True) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    if marker:
        (folder / ".complete").touch()
    return folder


def test_an_old_python_is_told_which_one_is_needed(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit) as ended:
        bootstrap.main(["up"])
    assert "needs Python 3.11 or newer" in str(ended.value)
    assert "is 3.9." in str(ended.value)


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
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in {module, "pip"} else found(name))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit) as ended:
        bootstrap.prepared("local")
    assert f"no module {module}" in str(ended.value)
    assert f"apt install python3.{sys.version_info.minor}-venv" in str(ended.value)


def test_the_folder_belongs_to_the_group_the_lock_and_the_python(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bootstrap.environment("local")
    assert first == bootstrap.environment("local") != bootstrap.environment("test")
    Path(bootstrap.ROOT, "uv.lock").write_text("version = 2\n")
    second = bootstrap.environment("local")
    assert second != first
    monkeypatch.setattr(sys, "version", "3.12.0")
    assert bootstrap.environment("local") != second


@pytest.mark.parametrize(
    ("arguments", "group"),
    [
        (["up"], "local"),
        ([], "local"),
        (["render", "migrate"], "local"),
        (["migrate", "secrets"], "local"),
        *(([action, "--stack", "dev"], "migration") for action in ("backup", "restore")),
        (["test"], "test"),
    ],
    ids=str,
)
def test_a_command_has_a_group_of_packages(bootstrap: ModuleType, arguments: list[str], group: str) -> None:
    assert bootstrap.group_of(arguments) == group


def test_once_the_packages_of_a_cloud_are_there_they_are_used(bootstrap: ModuleType) -> None:
    an_environment(Path(bootstrap.environment("cloud")))
    assert bootstrap.group_of(["up"]) == "cloud"


@pytest.mark.parametrize("group", ["local", "cloud", "test", "policies"])
def test_a_complete_environment_is_used_as_it_is(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    folder = an_environment(Path(bootstrap.environment(group)))
    monkeypatch.setattr(bootstrap, "make", lambda *_: pytest.fail("made anew"))
    assert bootstrap.prepared(group) == str(folder / "bin" / "python")
    assert Path(bootstrap.ROOT, ".venv").is_symlink() == (group in {"local", "cloud"})


@pytest.mark.parametrize("defect", ["no marker", "no python"])
def test_half_an_environment_is_made_anew(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, defect: str) -> None:
    folder = an_environment(Path(bootstrap.environment("local")), marker=defect != "no marker")
    if defect == "no python":
        (folder / "bin" / "python").unlink()
        (folder / "bin" / "python").symlink_to("/nowhere/python")

    def install(made: str, _group: str, _log: object) -> None:
        assert not Path(made).exists()
        an_environment(Path(made), marker=False)

    monkeypatch.setattr(bootstrap, "install", install)
    bootstrap.prepared("local")
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
    bootstrap.make(str(folder), "local")
    finisher.join()
    assert "waiting for another run" in capsys.readouterr().err


def test_a_signal_ends_the_step_that_runs(bootstrap: ModuleType, tmp_path: Path) -> None:
    """As a command's own handlers do, which raise neither KeyboardInterrupt nor an Exception."""

    class Stopped(BaseException):
        pass

    def stop(*_: object) -> None:
        raise Stopped

    done = tmp_path / "done"
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with (tmp_path / "log").open("wb") as log, pytest.raises(Stopped):
            bootstrap.run("step", ["sh", "-c", f"sleep 2 && touch {done}"], log, dict(os.environ))
    finally:
        signal.signal(signal.SIGALRM, before)
    time.sleep(2.5)
    assert not done.exists()


def up_without_packages(checkout: Checkout, **variables: str) -> subprocess.CompletedProcess[str]:
    """`up` where nothing is installed, with the uv that the tests have."""
    (checkout.programs / "uv").symlink_to(packaged("uv", "uv"))
    environment = checkout.environment(XDG_CACHE_HOME=str(checkout.home / "cache"), **variables)
    environment.pop("FLATLINE_PYTHON")
    return subprocess.run(
        [sys.executable, str(checkout.root / "flatline"), "up"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_failing_packages_leave_nothing_and_show_why(checkout: Checkout) -> None:
    result = up_without_packages(checkout, PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "virtual environment" in result.stderr
    assert "annotated-types" in result.stderr
    assert "PIP_INDEX_URL" in result.stderr
    folder = next(path for path in (checkout.home / "cache" / "flatline").glob("venv-*") if path.is_dir())
    assert not (folder / ".complete").exists()
    log = Path(f"{folder}.log")
    assert str(log) in result.stderr
    assert "annotated-types" in log.read_text()


SMALL_LOCK = """\
version = 1
revision = 3
requires-python = ">=3.11"

[[package]]
name = "flatline"
version = "0.1.0"
source = {{ virtual = "." }}

[package.dev-dependencies]
local = [{{ name = "thing" }}]

[[package]]
name = "debugpy"
version = "1.0"
source = {{ registry = "https://pypi.org/simple" }}
wheels = [{{ url = "https://files.pythonhosted.org/packages/debugpy-1.0-py3-none-any.whl", hash = "sha256:{hash}" }}]

[[package]]
name = "thing"
version = "1.0"
source = {{ registry = "https://pypi.org/simple" }}
dependencies = [{{ name = "debugpy" }}]
wheels = [{{ url = "https://files.pythonhosted.org/packages/thing-1.0-py3-none-any.whl", hash = "sha256:{hash}" }}]

[[package]]
name = "uv"
version = "0.1"
source = {{ registry = "https://pypi.org/simple" }}
"""


@pytest.mark.parametrize("forged", [False, True], ids=["as locked", "forged"])
def test_what_an_index_gives_must_have_the_lock_s_hash(checkout: Checkout, tmp_path: Path, forged: bool) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "thing-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("thing.py", "")
        metadata = "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\nRequires-Dist: debugpy\n"  # which nobody gives
        wheel.writestr("thing-1.0.dist-info/METADATA", metadata)
        wheel.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("thing-1.0.dist-info/RECORD", "")
    digest = hashlib.sha256((wheels / "thing-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    (checkout.root / "uv.lock").write_text(SMALL_LOCK.format(hash="0" * 64 if forged else digest))
    (checkout.root / "pyproject.toml").write_text(
        '[project]\nname = "flatline"\nversion = "0.1.0"\nrequires-python = ">=3.11"\n'
        '[dependency-groups]\nlocal = ["thing==1.0"]\n[tool.uv]\npackage = false\n'
    )
    given = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": str(wheels)}
    result = up_without_packages(checkout, **given)
    (folder,) = (path for path in (checkout.home / "cache" / "flatline").glob("venv-*") if path.is_dir())
    assert (folder / ".complete").exists() != forged, result.stderr
    assert ("hash" in result.stderr.lower()) == forged
    if not forged:
        assert f"{folder}/bin/python has no Python package" in result.stderr  # it goes on there


def test_uv_of_the_path_must_be_as_new_as_the_lock_s(bootstrap: ModuleType, checkout: Checkout) -> None:
    version = bootstrap.locked_uv()["version"]
    os.environ["PATH"], before = str(checkout.programs), os.environ["PATH"]
    try:
        for found, taken in ((version, True), ("0.13.8", False), ("99.0", True), ("", False)):
            checkout.program("uv", f"print('uv {found}')" if found else "sys.exit(1)")
            assert (bootstrap.uv_of_path() is not None) == taken, found
        (checkout.programs / "uv").unlink()
        assert bootstrap.uv_of_path() is None
    finally:
        os.environ["PATH"] = before


def test_pip_fetches_the_lock_s_uv_once(bootstrap: ModuleType, checkout: Checkout, tmp_path: Path) -> None:
    pip = checkout.program(
        "pip",
        """
        record(requirements=open(sys.argv[-1]).read())
        folder = sys.argv[sys.argv.index("--target") + 1] + "/bin"
        os.makedirs(folder)
        open(folder + "/uv", "w").close()
        os.chmod(folder + "/uv", 0o755)
        """,
    )
    Path(bootstrap.cache()).mkdir(parents=True)
    for number in range(2):
        temporary = tmp_path / str(number)
        temporary.mkdir()
        with (tmp_path / "log").open("wb") as log:
            uv = bootstrap.fetched_uv([str(checkout.programs / "pip")], str(temporary), log)
    locked = bootstrap.locked_uv()
    assert uv == f"{bootstrap.cache()}/uv-{locked['version']}/bin/uv"
    (call,) = calls(pip)
    pin, *hashes = call["requirements"].split()
    assert pin == f"uv=={locked['version']}"
    assert {f"--hash={wheel['hash']}" for wheel in locked["wheels"]} < set(hashes)


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


def test_uv_learns_what_pip_was_told(bootstrap: ModuleType, checkout: Checkout) -> None:
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
    assert bootstrap.settings_of_pip([str(checkout.programs / "pip")]) == {
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_DEFAULT_INDEX": "https://other.example.org/simple",
        "UV_FIND_LINKS": "/wheels,/more",
    }
    assert calls(pip) == [{"arguments": ["config", "list"]}]


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


def test_the_end_of_a_command_is_not_a_search_for_garbage() -> None:
    """The classes of the SDKs are a million objects: Python would visit each before it gives their memory back."""
    program = (
        "import atexit, gc; atexit.register(lambda: print(gc.get_count()[0], gc.get_freeze_count()))\n"
        "from cli.__main__ import run; run(['stack', 'list'])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    young, frozen = map(int, done.stdout.splitlines()[-1].split())
    assert frozen > 10_000 > young
