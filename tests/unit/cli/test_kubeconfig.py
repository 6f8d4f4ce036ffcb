"""kubeconfig: contexts by name, whatever the current one is."""

from pathlib import Path

import pytest
import yaml

from cli import kubeconfig
from errors import FlatlineError
from tests.unit.cli import checkout


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'one'}:{tmp_path / 'two'}")
    return tmp_path


def test_files_are_merged_and_the_first_wins(files: Path) -> None:
    (files / "one").write_text(checkout.kubeconfig({"a": "https://a.one"}))
    (files / "two").write_text(checkout.kubeconfig({"a": "https://a.two", "b": "https://b.two"}))
    assert kubeconfig.contexts() == ["a", "b"]
    found = kubeconfig.cluster("a")
    assert found is not None
    assert found.server == "https://a.one"


def test_without_files_there_are_no_contexts(files: Path) -> None:
    assert kubeconfig.contexts() == []
    assert kubeconfig.cluster("a") is None


def test_without_the_variable_it_is_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text(checkout.kubeconfig({"home": "https://home"}))
    assert kubeconfig.contexts() == ["home"]


def test_what_the_engine_gets_holds_one_context_and_absolute_paths(files: Path) -> None:
    content = yaml.safe_load(checkout.kubeconfig({"a": "https://a", "b": "https://b"}, current="b"))
    content["clusters"][0]["cluster"]["certificate-authority"] = "certificates/ca.pem"
    content["users"][0]["user"] = {"client-certificate": "a.pem", "client-key": "/keys/a.pem"}
    (files / "one").write_text(yaml.safe_dump(content))
    found = kubeconfig.cluster("a")
    assert found is not None
    told = yaml.safe_load(found.kubeconfig())
    assert told["current-context"] == "a"
    assert [each["name"] for each in told["clusters"] + told["users"] + told["contexts"]] == ["a"] * 3
    assert told["clusters"][0]["cluster"]["certificate-authority"] == str(files / "certificates" / "ca.pem")
    assert told["users"][0]["user"] == {
        "client-certificate": str(files / "a.pem"),
        "client-key": "/keys/a.pem",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[", "no YAML"),
        ("- a", "no mapping"),
        ("contexts: [{context: {}}]", "without a name"),
        ("contexts: [{name: a, context: {cluster: c}}]", "names the cluster c"),
        ("contexts: [{name: a, context: {cluster: c}}]\nclusters: [{name: c, cluster: {}}]", "no server"),
        (
            "contexts: [{name: a, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: 'file:///x'}}]",
            "no server",
        ),
    ],
)
def test_a_broken_file_is_an_error_that_names_it(files: Path, text: str, expected: str) -> None:
    (files / "one").write_text(text)
    with pytest.raises(FlatlineError, match="kubeconfig") as raised:
        kubeconfig.cluster("a")
    assert expected in raised.value.problem


def test_credentials_are_not_in_what_is_printed_of_it(files: Path) -> None:
    (files / "one").write_text(checkout.kubeconfig({"a": "https://a"}))
    assert "token-of-a" not in repr(kubeconfig.cluster("a"))


@pytest.mark.parametrize(
    "authority", [{"certificate-authority": "/nowhere/ca.pem"}, {"certificate-authority-data": "%%%"}]
)
def test_an_authority_that_cannot_be_read_is_a_problem_and_no_crash(files: Path, authority: dict[str, str]) -> None:
    content = yaml.safe_load(checkout.kubeconfig({"a": "https://127.0.0.1:1"}))
    content["clusters"][0]["cluster"] |= authority
    (files / "one").write_text(yaml.safe_dump(content))
    found = kubeconfig.cluster("a")
    assert found is not None
    assert found.problem()
