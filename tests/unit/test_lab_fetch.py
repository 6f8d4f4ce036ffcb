"""What the lab can't have is said by name; nothing is fetched where there is no network, and again where it falters."""

import json
import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import cache, fetch, go
from tests.lab.fetch import FetchError, Missing, fetched, fetching, packaged, retried, skip_if_missing
from tests.lab.node import npm_install


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(Missing, match="needs the PyPI package no-such-package"):
        packaged("no-such-package", "program")


def test_a_program_that_its_package_lacks_is_named() -> None:
    with pytest.raises(Missing, match="needs no-such-program, which the PyPI package pytest does not have"):
        packaged("pytest", "no-such-program")


def test_a_packaged_program_is_found() -> None:
    assert packaged("pytest", "pytest").is_file()


def test_what_is_missing_skips_the_test() -> None:
    with pytest.raises(pytest.skip.Exception, match="needs a thing"), skip_if_missing():
        raise Missing("needs a thing")


def test_inside_the_private_network_only_the_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "ROOT", tmp_path)
    built = []

    def build(target: Path) -> None:
        built.append(target)

    monkeypatch.setattr(fetch, "why_not_private", lambda: "")
    with pytest.raises(Missing, match=r"needs server, which python -m tests\.lab\.run"):
        fetched("server", "1", build)
    assert built == []
    monkeypatch.setattr(fetch, "why_not_private", lambda: "up here: eth0")
    folder = fetched("server", "1", build)
    monkeypatch.setattr(fetch, "why_not_private", lambda: "")
    assert fetched("server", "1", build) == folder
    assert len(built) == 1


def test_inside_the_private_network_npm_is_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "ROOT", tmp_path / "cache")
    monkeypatch.setattr(fetch, "why_not_private", lambda: "")
    for name in ("package.json", "package-lock.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(Missing, match="needs reference"):
        npm_install("reference", tmp_path)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made; none takes any time."""
    made: list[float] = []
    monkeypatch.setattr("time.sleep", made.append)
    return made


def failing(times: int, error: Exception) -> Callable[[], str]:
    left = [error] * times

    def attempt() -> str:
        if left:
            raise left.pop()
        return "done"

    return attempt


@pytest.mark.parametrize("times", [0, 1, len(fetch.PAUSES)])
def test_what_falters_is_tried_again_after_longer_and_longer_pauses(
    pauses: list[float], capsys: pytest.CaptureFixture[str], times: int
) -> None:
    error = urllib.error.URLError("Temporary failure in name resolution")
    assert retried("a.jar", failing(times, error)) == "done"
    assert pauses == list(fetch.PAUSES[:times])
    assert pauses == sorted(set(pauses))
    assert capsys.readouterr().out.count("lab: a.jar: <urlopen error Temporary failure in name resolution>") == times


def test_what_never_works_fails_in_the_end(pauses: list[float]) -> None:
    with pytest.raises(ConnectionResetError):
        retried("a.jar", failing(len(fetch.PAUSES) + 1, ConnectionResetError()))
    assert len(pauses) == len(fetch.PAUSES)


@pytest.mark.parametrize("error", [ValueError("not the file"), Missing("needs apt-get")])
def test_what_no_second_attempt_mends_fails_at_once(pauses: list[float], error: Exception) -> None:
    with pytest.raises(type(error)):
        retried("a.jar", failing(1, error))
    assert pauses == []


FALTERING = """
import os, pathlib, sys
tries = pathlib.Path("tries")
tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
if len(tries.read_text()) < int(sys.argv[1]):
    sys.exit("connection reset")
print(os.environ["WHO"], end="")
"""


def test_a_command_that_fetches_is_tried_again(tmp_path: Path, pauses: list[float]) -> None:
    assert fetching([sys.executable, "-c", FALTERING, "3"], cwd=tmp_path, environment={"WHO": "you"}) == "you"
    assert (tmp_path / "tries").read_text() == "xxx"
    assert len(pauses) == 2


def test_a_command_that_keeps_failing_is_named_with_its_last_words(tmp_path: Path, pauses: list[float]) -> None:
    with pytest.raises(FetchError, match=r"(?s)python.* \.\.\. 99 ended with status 1\nconnection reset"):
        fetching([sys.executable, "-c", FALTERING, "99"], cwd=tmp_path)
    assert (tmp_path / "tries").read_text() == "x" * (1 + len(fetch.PAUSES))


def test_the_required_version_is_read_from_go_mod(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text(
        "module x\n\ngo 1.26\n\nrequire example.test/one v1.2.3\n\n"
        "require (\n\texample.test/two/v2 v2.0.1 // indirect\n)\n\n"
        "replace example.test/three => example.test/three v0.1.0\n"
    )
    assert go.required_version(tmp_path, "example.test/one") == "v1.2.3"
    assert go.required_version(tmp_path, "example.test/two/v2") == "v2.0.1"
    with pytest.raises(ValueError, match=r"does not require example\.test/three"):
        go.required_version(tmp_path, "example.test/three")


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The environment of each `go build`, which writes a file and compiles nothing."""
    environments: list[dict[str, str]] = []

    def run(arguments: list[str], folder: Path, environment: dict[str, str]) -> str:
        if arguments[0] == "env":
            return json.dumps({name: environment[name] for name in arguments[2:]})
        assert arguments[0] == "build"
        assert Path(environment["GOMODCACHE"]).is_dir(), "the modules are fetched first"
        environments.append(environment)
        Path(arguments[arguments.index("-o") + 1]).write_text("built")
        return ""

    def fetch_modules(arguments: list[str], folder: Path, environment: dict[str, str]) -> str:
        assert arguments[:2] == ["list", "-deps"]
        Path(environment["GOMODCACHE"]).mkdir(parents=True, exist_ok=True)
        return ""

    monkeypatch.setattr(go, "_go", run)
    monkeypatch.setattr(go, "_fetch", fetch_modules)
    return environments


@pytest.fixture
def hello(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sources of a program, with the lab's cache and Go's own below tmp_path."""
    monkeypatch.setattr(cache, "ROOT", tmp_path / "lab")
    monkeypatch.setenv("GOPATH", str(tmp_path / "gopath"))
    monkeypatch.setenv("GOCACHE", str(tmp_path / "gocache"))
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "gomodcache"))
    monkeypatch.setattr(fetch, "why_not_private", lambda: "up here: eth0")
    for name, text in {"go.mod": "module x\n", "go.sum": "", "main.go": "package main\n"}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_build_is_kept_by_all_that_defines_it(hello: Path, builds: list[dict[str, str]]) -> None:
    first = go.go_build("hello", hello, variables={"main.who": "you"})
    assert first.read_text() == "built"
    assert go.go_build("hello", hello, variables={"main.who": "you"}) == first
    assert len(builds) == 1
    others = [go.go_build("hello", hello), go.go_build("hello", hello, package="example.test/hello")]
    (hello / "main.go").write_text("package main // changed\n")
    others.append(go.go_build("hello", hello, variables={"main.who": "you"}))
    assert len({first, *others}) == len(builds) == 4


def test_a_build_leaves_no_caches_behind(hello: Path, builds: list[dict[str, str]]) -> None:
    go.go_build("hello", hello)
    assert Path(builds[0]["GOMODCACHE"]).is_relative_to(hello / "lab")
    assert not Path(builds[0]["GOMODCACHE"]).exists()
    (folder,) = (path for path in (hello / "lab").iterdir() if path.is_dir())
    assert [path.name for path in folder.iterdir()] == ["hello"]


def test_a_build_uses_the_caches_that_are_there(hello: Path, builds: list[dict[str, str]]) -> None:
    (hello / "gomodcache").mkdir()
    go.go_build("hello", hello)
    assert builds[0]["GOMODCACHE"] == str(hello / "gomodcache")
    assert not Path(builds[0]["GOCACHE"]).is_relative_to(hello / "gocache")
