"""`check` and `scan`: findings in a form for people and for machines, and an exit status for scripts."""

import json
from pathlib import Path

import pytest
import yaml

from tests.unit.cli.checkout import Checkout

OPEN = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "open", "namespace": "chat"},
    "spec": {"hostNetwork": True, "containers": [{"name": "main", "image": "registry.test/main:latest"}]},
}


@pytest.fixture
def checkout(checkout_folder: Path) -> Checkout:
    """The real program: the rules are about what it registers."""
    return Checkout.make(checkout_folder, small=False)


def test_our_stack_passes_and_its_exemptions_are_told(checkout: Checkout) -> None:
    done = checkout.run("check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "LocalStack" in done.stdout


def test_findings_for_machines(checkout: Checkout) -> None:
    found = json.loads(checkout.run("check", "--json").stdout)
    assert found
    sarif = json.loads(checkout.run("check", "--sarif").stdout)
    assert sarif["version"] == "2.1.0"


def test_a_broken_rule_ends_with_1_and_names_its_remedy(checkout: Checkout, tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "pod.yaml").write_text(yaml.safe_dump(OPEN))
    done = checkout.run("check", "--manifests", str(folder))
    assert done.returncode == 1
    assert "hostNetwork" in done.stdout


def test_what_cannot_be_read_is_named_and_the_rest_is_checked(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("a: [hidden\n")
    (tmp_path / "emoji.json").write_text(json.dumps({**OPEN, "metadata": {"name": "\ud83d\ude00"}}))
    (tmp_path / "pod.YAML").write_text(yaml.safe_dump(OPEN))
    (tmp_path / "values.yaml").write_text("a: 1\n")
    done = checkout.run("check", "--manifests", str(tmp_path))
    assert done.returncode == 1
    assert "hostNetwork" in done.stdout
    assert "not read: broken.yaml, line" in done.stdout
    assert "values.yaml, line 1" in done.stdout
    assert "hidden" not in done.stdout + done.stderr
    assert done.stderr == ""
    found = json.loads(checkout.run("check", "--manifests", str(tmp_path), "--json").stdout)
    assert found["resources"] == 2
    assert len(found["unread"]) == 1


def test_a_folder_that_is_not_there_is_one_line(checkout: Checkout, tmp_path: Path) -> None:
    done = checkout.run("check", "--manifests", str(tmp_path / "none"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "/none" in done.stderr
