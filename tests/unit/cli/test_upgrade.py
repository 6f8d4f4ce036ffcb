"""The deployed version: recorded when a deployment has succeeded, and what must not follow it is refused."""

import json
import shlex

import pytest

from config.installation import BACK_TO_ANNOTATION, VERSION_ANNOTATION
from config.version import VERSION
from tests.unit.cli import kubectl_cli
from tests.unit.cli.checkout import Checkout
from tests.unit.cli.conftest import Clusters
from tests.unit.cli.test_json import as_documented

ON_MINE = ("--context", "mine", "--yes")
TABLE = """
"0.5.0": {backTo: "0.4.0", notes: [run it at night]}
"0.4.0": {backTo: "0.4.0", step: moves the groups}
"0.3.0": {backTo: "0.1.0"}
"0.2.0": {backTo: "0.1.0", backup: [groups are written anew]}
"0.1.0": {backTo: "0.1.0"}
"""


def becomes(checkout: Checkout, version: str) -> None:
    """Makes the checkout that of a version, whose table knows no later one."""
    project = checkout.module("pyproject.toml")
    project.write_text(project.read_text().replace(f'version = "{current(checkout)}"', f'version = "{version}"', 1))
    known = [line for line in TABLE.splitlines() if line and line.split('"')[1] <= version]
    checkout.module("config/upgrades.yaml").write_text("\n".join(known))


def current(checkout: Checkout) -> str:
    return next(
        line.split('"')[1]
        for line in (checkout.root / "pyproject.toml").read_text().splitlines()
        if line.startswith("version = ")
    )


def notes(checkout: Checkout) -> dict[str, str]:
    """The record on the services' namespace."""
    (space,) = (each for each in kubectl_cli.read(checkout) if each["metadata"]["name"] == "flatline")
    found: dict[str, str] = space["metadata"].get("annotations", {})
    return {key: value for key, value in found.items() if key in {VERSION_ANNOTATION, BACK_TO_ANNOTATION}}


@pytest.fixture
def running(deployed: Checkout) -> Checkout:
    """A cluster that answers, kubectl and a CLI on the PATH, and a stack on it."""
    deployed.program("kubectl", kubectl_cli.BODY)
    return deployed


@pytest.mark.usefixtures("engine")
def test_up_records_the_version_when_the_engine_has_succeeded(checkout: Checkout) -> None:
    kubectl_cli.put(checkout)
    result = checkout.run("up", *ON_MINE)
    assert "could not be recorded" not in result.stderr
    assert notes(checkout) == {VERSION_ANNOTATION: VERSION, BACK_TO_ANNOTATION: VERSION}


def test_a_deployment_that_fails_leaves_the_version_and_narrows_the_way_back(running: Checkout) -> None:
    becomes(running, "0.4.0")
    running.fail("up", *ON_MINE, FAKE_PULUMI_FAILS="yes")
    assert notes(running) == {VERSION_ANNOTATION: "0.1.0", BACK_TO_ANNOTATION: "0.4.0"}
    becomes(running, "0.3.0")
    assert "0.3.0 cannot serve what 0.4.0 writes" in running.fail("up", *ON_MINE)


def test_up_and_upgrade_refuse_to_jump_and_nothing_is_changed(running: Checkout) -> None:
    before = kubectl_cli.read(running)
    becomes(running, "0.5.0")
    said = running.fail("up", *ON_MINE)
    assert "0.5.0 cannot follow at once, because 0.4.0 has a step of its own: moves the groups" in said
    assert kubectl_cli.read(running) == before
    assert "`git checkout v0.4.0`" in running.fail("upgrade", "--check", "--context", "mine")
    becomes(running, "0.4.0")
    running.succeed("up", *ON_MINE)
    becomes(running, "0.5.0")
    running.succeed("up", *ON_MINE)
    assert notes(running) == {VERSION_ANNOTATION: "0.5.0", BACK_TO_ANNOTATION: "0.4.0"}
    becomes(running, "0.4.0")
    result = running.run("up", *ON_MINE)
    assert result.returncode == 0
    assert "This goes back from 0.5.0 to 0.4.0" in result.stderr
    becomes(running, "0.1.0")
    assert "0.1.0 cannot serve what 0.4.0 writes" in running.fail("up", *ON_MINE)


def test_without_a_record_the_last_run_counts(brought_up: Checkout) -> None:
    becomes(brought_up, "0.5.0")
    said = brought_up.fail("up")
    assert "stack dev was last brought up with 0.1.0 (build/dev)" in said
    assert f"{VERSION_ANNOTATION}=<version>" in said


def test_the_printed_command_records_what_was_applied(brought_up: Checkout, clusters: Clusters) -> None:
    kubectl_cli.put(brought_up)
    brought_up.configure({"domain": "chat.example.org"})
    said = brought_up.succeed("up", "--engine", "none", "--context", "mine", "--confirm", "dev")
    (line,) = (line for line in said.splitlines() if " annotate " in line)
    words = shlex.split(line)
    assert words[:6] == ["kubectl", "--context", "mine", "annotate", "namespace", "flatline"]
    assert words[6:] == ["--overwrite", f"{VERSION_ANNOTATION}={VERSION}", f"{BACK_TO_ANNOTATION}={VERSION}"]


def test_a_record_that_cannot_be_written_is_a_warning(running: Checkout) -> None:
    body = kubectl_cli.BODY.replace('elif "patch" in words', 'elif "patch" in words and sys.exit("error: forbidden")')
    running.program("kubectl", body)
    becomes(running, "0.3.0")
    result = running.run("up", *ON_MINE)
    assert result.returncode == 0, result.stderr
    assert "The deployed version could not be recorded" in result.stderr
    assert "forbidden" in result.stderr


def test_a_record_that_cannot_be_read_stops_up_and_is_said(running: Checkout) -> None:
    """The state may be of another version than what runs: another checkout may have deployed it."""
    refusing = 'elif "get" in words and "--selector" in words:\n    sys.exit("error: forbidden")\nelif "get" in words:'
    running.program("kubectl", kubectl_cli.BODY.replace('elif "get" in words:', refusing))
    before = kubectl_cli.read(running)
    said = running.fail("up", *ON_MINE)
    assert "namespace flatline on context mine records, cannot be read" in said
    assert "forbidden" in said
    assert "Nothing was changed" in said
    assert kubectl_cli.read(running) == before
    result = running.run("upgrade", "--check", "--context", "mine")
    assert f"Nobody looked whether {VERSION} may follow what runs" in result.stderr
    assert "no version is known" in result.stdout


def test_files_are_rendered_for_a_cluster_that_cannot_be_read_and_that_is_said(
    brought_up: Checkout, clusters: Clusters
) -> None:
    kubectl_cli.put(brought_up)
    result = brought_up.run("up", "--engine", "none", "--context", "mine", FAKE_KUBECTL_REFUSES="yes")
    assert result.returncode == 0, result.stderr
    assert f"Nobody looked whether {VERSION} may follow what runs" in result.stderr


def test_check_compares_files(brought_up: Checkout) -> None:
    said = brought_up.succeed("upgrade", "--check")
    assert "from 0.1.0 to 0.1.0 (build/dev/; it is the version of the last run" in said
    assert "None: clients notice nothing." in said
    assert "0 new, 0 changed, 0 gone" in said
    becomes(brought_up, "0.3.0")
    brought_up.configure({"redis": {"masters": 4}, "domain": "chat.example.org"})
    before = brought_up.contents()
    said = brought_up.succeed("upgrade", "--check")
    assert "Upgrade notes of 0.2.0" in said
    assert "- groups are written anew" in said.partition("Back up first")[2]
    assert "claim flatline/data-redis-3 is new: 2Gi, empty" in said
    assert brought_up.contents() == before
    found = json.loads(brought_up.succeed("upgrade", "--check", "--json"))
    assert as_documented("upgrade", found)
    assert (found["deployed"], found["checkout"], found["recorded"]) == ("0.1.0", "0.3.0", False)
    assert list(found["upgrade"]) == ["0.2.0", "0.3.0"]
    assert found["objects"]["changed"] > 1


def test_check_before_the_first_up(checkout: Checkout) -> None:
    said = checkout.succeed("upgrade", "--check")
    assert f"no version is known; this checkout is {VERSION}" in said
    assert "`up` makes everything" in said
    assert not checkout.state().exists()


def test_check_by_the_engine_names_pods_by_its_preview(running: Checkout) -> None:
    template = {"spec": {"containers": [{"name": "whisper", "image": "whisper:1"}]}}
    old = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "whisper", "namespace": "flatline"},
        "spec": {"replicas": 2, "template": template},
    }
    new = json.loads(json.dumps(old).replace("whisper:1", "whisper:2"))
    urn = "urn:pulumi:dev::flatline::kubernetes:apps/v1:Deployment::whisper"
    state = {
        "type": "kubernetes:apps/v1:Deployment",
        "urn": urn,
        "id": "x",
        "parent": "",
        "outputs": {},
        "provider": "",
    }
    event = {
        "resourcePreEvent": {
            "metadata": {
                "op": "update",
                "urn": urn,
                "type": "kubernetes:apps/v1:Deployment",
                "provider": "",
                "old": {**state, "inputs": old},
                "new": {**state, "inputs": new},
            }
        },
        "sequence": 0,
        "timestamp": 0,
    }
    pulumi = running.programs / "pulumi.py"
    text = pulumi.read_text()
    needle = "iter([StringValue(value=json.dumps(summary))])"
    assert needle in text
    both = needle.replace("iter([", f"iter([StringValue(value={json.dumps(event)!r}), ")
    pulumi.write_text(text.replace(needle, both))
    said = running.succeed("upgrade", "--check", "--context", "mine")
    assert "1. Deployment flatline/whisper: 2 pods" in said
    assert "why: image of whisper: whisper:1 becomes whisper:2" in said
