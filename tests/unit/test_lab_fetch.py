"""What the lab can't have is said by name, and nothing is fetched where there is no network."""

import json
from pathlib import Path

import pytest

from tests.lab import cache, fetch, go
from tests.lab.fetch import Missing, fetched, packaged, skip_if_missing


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
        environments.append(environment)
        Path(environment["GOMODCACHE"]).mkdir(parents=True, exist_ok=True)
        Path(arguments[arguments.index("-o") + 1]).write_text("built")
        return ""

    monkeypatch.setattr(go, "_go", run)
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
