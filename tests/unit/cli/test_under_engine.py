"""Plain `pulumi`: what the program says when an engine runs it, and that it looks whether the cluster is there."""

import runpy
from collections.abc import Iterator
from pathlib import Path

import pulumi
import pytest
from pulumi.runtime import config as runtime_config

from cli import under_engine
from tests.unit.cli.checkout import REPOSITORY, Checkout, kubeconfig
from tests.unit.cli.conftest import ApiServer

DEAD = "http://127.0.0.1:1"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An engine runs the program, with a kubeconfig in a folder."""
    monkeypatch.setattr(under_engine, "_by_engine", lambda: True)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    yield tmp_path
    runtime_config.set_all_config({})


def said(**config: str) -> list[str]:
    """The lines that the engine shows as the program's error."""
    runtime_config.set_all_config({f"flatline:{key}": value for key, value in config.items()})
    with pytest.raises(pulumi.RunError) as caught:
        runpy.run_path(str(REPOSITORY / "__main__.py"), run_name="__main__")
    return str(caught.value).splitlines()


def test_each_mistake_is_a_line(home: Path) -> None:
    lines = said(domian="example.org", exposeAdmin="maybe")
    assert sorted(lines) == [
        "flatline:domian is no known key; did you mean domain?",
        'flatline:exposeAdmin is "maybe"; write true or false',
    ]


def test_a_cluster_that_does_not_answer(home: Path) -> None:
    (home / "kubeconfig").write_text(kubeconfig({"mine": DEAD, "other": DEAD}, current="other"))
    named = said(target='{"kind": "local", "context": "mine"}')
    assert named[0] == f"cluster mine ({DEAD}) does not answer: Connection refused"
    assert said()[0] == f"cluster other ({DEAD}) does not answer: Connection refused"


def test_a_cluster_that_nobody_names(home: Path) -> None:
    assert said()[0].startswith("no cluster is named: kubeconfig (")
    (home / "kubeconfig").write_text(kubeconfig({"mine": DEAD}, current="gone"))
    assert said()[0].startswith("there is no context gone in kubeconfig")


def test_one_that_answers_and_the_one_around_a_pod(
    home: Path, api_servers: tuple[ApiServer, ApiServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "kubeconfig").write_text(kubeconfig({"mine": api_servers[0].url}))
    under_engine.check_cluster("mine")
    assert api_servers[0].requests == [("/version", None)]
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.43.0.1")
    under_engine.check_cluster(None)


def test_a_recording_looks_at_no_cluster(tmp_path: Path) -> None:
    checkout = Checkout.make(tmp_path, small=False)
    (checkout.home / "kubeconfig").write_text(kubeconfig({"mine": DEAD}, current="mine"))
    checkout.succeed("render", "--redact")
