"""`up`, `preview` and `down` look before the engine does: at locks, at work that was cut off, and at the cluster."""

import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli import kubectl_cli, pulumi_cli
from tests.unit.cli.checkout import Checkout, calls
from tests.unit.cli.conftest import Clusters

ON_MINE = ("--context", "mine", "--yes")


@pytest.fixture
def pulumi(deployed: Checkout) -> Path:
    """The file of the engine's calls; kubectl is on the PATH as well."""
    deployed.program("kubectl", kubectl_cli.BODY)
    return deployed.programs / "pulumi.calls"


def verbs(engine: Path) -> list[str]:
    """What the CLI was asked to do, without looking."""
    words = [call["arguments"] for call in calls(engine) if "arguments" in call]
    return [each[0] for each in words if each[0] in {"up", "preview", "refresh", "destroy", "cancel", "state"}]


def targets(engine: Path) -> list[str]:
    """The names of the resources that were refreshed."""
    words = next(each["arguments"] for each in calls(engine) if each.get("arguments", [""])[0] == "refresh")
    return [word.rpartition("::")[2] for word in words if "urn:pulumi" in word]


def type_in(checkout: Checkout, lines: str) -> None:
    """Types lines into a shell in the checkout; each must succeed."""
    environment = checkout.environment()
    environment["PATH"] += ":/usr/bin:/bin"
    subprocess.run(["/bin/sh", "-ec", lines], cwd=checkout.root, env=environment, check=True)


def change(checkout: Checkout, kind: str, **content: Any) -> None:
    """Edits an object behind the engine's back."""
    kubectl_cli.write(
        checkout, [{**each, **content} if each["kind"] == kind else each for each in kubectl_cli.read(checkout)]
    )


def delete(checkout: Checkout, *kinds: str) -> None:
    """Deletes objects behind the engine's back."""
    kubectl_cli.write(checkout, [each for each in kubectl_cli.read(checkout) if each["kind"] not in kinds])


def test_what_was_deleted_comes_back_under_its_name(deployed: Checkout, pulumi: Path) -> None:
    before = kubectl_cli.read(deployed)
    delete(deployed, "Secret", "ConfigMap", "Deployment")
    said = deployed.succeed("up", *ON_MINE)
    assert "Gone from the cluster, and put back under the same names by `up`" in said
    for name in ("Secret flatline/keys-1a2b3c4d", "ConfigMap flatline/config-5e6f7a8b", "Deployment flatline/whisper"):
        assert f"- {name}" in said
    after = {each["metadata"]["name"]: each for each in kubectl_cli.read(deployed)}
    assert {name: each.get("data") for name, each in after.items()} == {
        each["metadata"]["name"]: each.get("data") for each in before
    }
    assert verbs(pulumi) == ["refresh", "up"]
    assert targets(pulumi) == ["whisper", "keys-1a2b3c4d", "config-5e6f7a8b"]
    applied = [each["arguments"] for each in calls(deployed.programs / "kubectl.calls") if "apply" in each["arguments"]]
    assert {words[words.index("--field-manager") + 1] for words in applied} == {
        "pulumi-whisper",
        "pulumi-keys-1a2b3c4d",
        "pulumi-config-5e6f7a8b",
    }
    assert "c2VjcmV0" not in said + str(applied)


def test_what_others_changed_is_put_back_and_what_they_added_stays(deployed: Checkout, pulumi: Path) -> None:
    template = {"spec": {"containers": [{"name": "whisper", "image": "whisper:1", "imagePullPolicy": "Always"}]}}
    change(deployed, "Deployment", spec={"replicas": 1, "template": template, "paused": False})
    change(deployed, "PersistentVolumeClaim", spec={"resources": {"requests": {"storage": "40Gi"}}})
    said = deployed.succeed("up", *ON_MINE)
    assert "Changed in the cluster" not in said
    assert verbs(pulumi) == ["up"]
    change(deployed, "Deployment", spec={"replicas": 0, "template": template})
    change(deployed, "Secret", data={"key": "b3RoZXI="})
    said = deployed.succeed("up", *ON_MINE)
    assert said.partition("Changed in the cluster by others")[2].splitlines()[1:3] == [
        "- Deployment flatline/whisper",
        "- Secret flatline/keys-1a2b3c4d",
    ]
    assert targets(pulumi) == ["whisper", "keys-1a2b3c4d"]
    assert [each["spec"]["replicas"] for each in kubectl_cli.read(deployed) if each["kind"] == "Deployment"] == [1]
    assert [each["data"] for each in kubectl_cli.read(deployed) if each["kind"] == "Secret"] == [{"key": "c2VjcmV0"}]


def test_a_cluster_that_is_as_it_should_be_costs_one_list(deployed: Checkout, pulumi: Path) -> None:
    asked = deployed.programs / "kubectl.calls"
    asked.unlink(missing_ok=True)
    deployed.succeed("up", *ON_MINE)
    words = [call["arguments"] for call in calls(asked) if "--all-namespaces" in call["arguments"]]
    lists = [each[each.index("get") + 1] for each in words]
    assert lists == ["configmap,deployment.apps,namespace,persistentvolumeclaim,secret"]
    assert verbs(pulumi) == ["up"]


def test_a_volume_that_is_gone_is_not_made_again_empty(deployed: Checkout, pulumi: Path) -> None:
    delete(deployed, "PersistentVolumeClaim", "Secret")
    said = deployed.fail("up", *ON_MINE)
    assert "no longer has what held data: PersistentVolumeClaim flatline/attachments" in said
    assert kubectl_cli.names(deployed, "Secret") == []
    assert verbs(pulumi) == []
    assert "  ./flatline up --stack dev --context mine --empty-volumes" in said.splitlines()
    deployed.succeed("up", *ON_MINE, "--empty-volumes")
    assert kubectl_cli.names(deployed, "PersistentVolumeClaim") == ["attachments"]


def test_preview_tells_what_is_gone_and_puts_nothing_back(deployed: Checkout, pulumi: Path) -> None:
    delete(deployed, "Secret")
    assert "- Secret flatline/keys-1a2b3c4d" in deployed.succeed("preview", "--context", "mine")
    assert kubectl_cli.names(deployed, "Secret") == []
    assert verbs(pulumi) == ["preview"]


def test_without_kubectl_it_says_that_nobody_looked(deployed: Checkout, pulumi: Path) -> None:
    (deployed.programs / "kubectl").unlink()
    result = deployed.run("up", *ON_MINE)
    assert result.returncode == 0
    assert "kubectl is not on the PATH, so nobody looks" in result.stderr


@pytest.mark.parametrize("command", [("preview",), ("down", "--yes"), ("down", "--delete-data", "--confirm", "dev")])
def test_a_cluster_that_does_not_answer_is_an_error_before_anything_else(
    deployed: Checkout, clusters: Clusters, pulumi: Path, command: tuple[str, ...]
) -> None:
    (deployed.home / "kubeconfig").write_text(clusters.text.replace(clusters.mine.url, "http://127.0.0.1:1"))
    said = deployed.fail(*command, "--context", "mine")
    assert "error: cluster mine (http://127.0.0.1:1) does not answer: Connection refused" in said
    assert verbs(pulumi) == []


@pytest.mark.parametrize(
    "command", [("preview",), ("up", "--yes"), ("down", "--delete-data", "--confirm", "dev")], ids=" ".join
)
def test_so_is_one_that_refuses_the_credentials(deployed: Checkout, pulumi: Path, command: tuple[str, ...]) -> None:
    said = deployed.fail(*command, "--context", "mine", FAKE_KUBECTL_REFUSES="1")
    assert "kubectl could not read from context mine" in said
    assert "Unauthorized" in said
    assert verbs(pulumi) == []


# --- locks ------------------------------------------------------------------------------------------------


def lock(checkout: Checkout, **changed: Any) -> Path:
    """A lock as the file backend writes it, by a process that has ended."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    content = {"pid": ended.pid, "username": "me", "hostname": socket.gethostname(), **changed}
    folder = checkout.root / "state" / "pulumi" / ".pulumi" / "locks" / "organization" / "flatline" / "dev"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "9b1d.json"
    file.write_text(json.dumps({"timestamp": "2026-01-01T10:00:00.123456789+01:00", **content}))
    return file


def test_the_lock_of_a_process_that_has_ended_is_cleared(deployed: Checkout, pulumi: Path) -> None:
    file = lock(deployed)
    result = deployed.run("up", *ON_MINE)
    assert result.returncode == 0, result.stderr
    assert "An earlier run was killed and left its lock: process" in result.stderr
    assert not file.exists()
    assert verbs(pulumi) == ["cancel", "up"]


def test_so_is_one_whose_number_another_process_has_now(deployed: Checkout, pulumi: Path) -> None:
    lock(deployed, pid=os.getpid())  # this process is younger than the lock says
    deployed.succeed("up", *ON_MINE)
    assert verbs(pulumi) == ["cancel", "up"]


@pytest.mark.parametrize("command", [("up", "--yes"), ("down", "--yes")], ids=" ".join)
@pytest.mark.parametrize(
    "changed",
    [{"hostname": "elsewhere.example.org"}, {"pid": os.getpid(), "timestamp": "2999-01-01T00:00:00Z"}],
    ids=["of another machine", "of a process that runs"],
)
def test_any_other_lock_stays(
    deployed: Checkout, pulumi: Path, changed: dict[str, Any], command: tuple[str, ...]
) -> None:
    file = lock(deployed, **changed)
    said = deployed.fail(*command, "--context", "mine")
    assert "stack dev is locked: Pulumi is at work on it" in said
    assert verbs(pulumi) == []
    assert file.exists()
    typed = said.splitlines()[-1]
    type_in(deployed, typed)
    assert not file.exists()


def test_a_lock_in_another_backend_is_explained_once_the_engine_has_met_it(deployed: Checkout, pulumi: Path) -> None:
    url = f"file://{deployed.root}/state/pulumi"
    said = deployed.fail("up", *ON_MINE, FAKE_LOCKED="1", PULUMI_BACKEND_URL=url, PULUMI_CONFIG_PASSPHRASE="p")
    assert "pulumi up failed: another run of Pulumi has locked the stack" in said
    assert said.splitlines()[-1] == "  pulumi cancel --yes --stack dev"


def test_without_agreement_the_lock_stays(deployed: Checkout, pulumi: Path) -> None:
    file = lock(deployed)
    said = deployed.fail("down", "--context", "mine")
    assert "nothing was changed: the stack is locked" in said
    assert file.exists()


# --- work that was cut off --------------------------------------------------------------------------------


def edit_state(checkout: Checkout, edit: Callable[[dict[str, Any]], object]) -> None:
    file = checkout.root / "state" / "pulumi" / ".pulumi" / "stacks" / "flatline" / "dev.json"
    content = json.loads(file.read_text())
    edit(content["checkpoint"]["latest"])
    file.write_text(json.dumps(content))


def cut_off(checkout: Checkout, *operations: dict[str, Any]) -> None:
    edit_state(checkout, lambda state: state.update(pending_operations=list(operations)))


def creating(token: str, name: str, **inputs: Any) -> dict[str, Any]:
    resource = {"urn": f"urn:pulumi:dev::flatline::{token}::{name}", "custom": True, "type": token, "inputs": inputs}
    return {"type": "creating", "resource": resource}


def config_map(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "flatline", "labels": {"app.kubernetes.io/part-of": "flatline"}},
    }


def test_objects_that_a_killed_run_has_made_are_taken_over(deployed: Checkout, pulumi: Path) -> None:
    kubectl_cli.write(
        deployed, [*kubectl_cli.read(deployed), config_map("made-11111111"), config_map("newer-33333333")]
    )
    token = "kubernetes:core/v1:ConfigMap"
    cut_off(
        deployed,
        creating(token, "made", **config_map("made-11111111")),
        creating(token, "not-made", **config_map("not-made-22222222")),
        creating(token, "config-5e6f7a8b", **config_map("newer-33333333")),
        creating("random:index/randomPassword:RandomPassword", "seed", length=40),
        {"type": "updating", "resource": {"urn": "urn:pulumi:dev::flatline::a:b:C::d", "type": "a:b:C", "inputs": {}}},
    )
    result = deployed.run("up", *ON_MINE)
    assert result.returncode == 0, result.stderr
    assert "An earlier run was cut off in the middle of 5 operations." in result.stderr
    imported = next(call["imported"] for call in calls(pulumi) if "imported" in call)
    assert "pending_operations" not in imported
    new = [
        each
        for each in imported["resources"]
        if each.get("inputs", {}).get("metadata", {}).get("name", "")[-8:].isdigit()
    ]
    assert [(each["id"], each.get("delete", False)) for each in new] == [
        ("flatline/made-11111111", False),
        ("flatline/newer-33333333", True),
    ]
    assert "plaintext" not in json.dumps(imported), "secrets of the state were on the disk"
    assert targets(pulumi)[0] == "made"
    assert verbs(pulumi)[-1] == "up"


def test_what_only_a_cloud_can_tell_is_left_to_people(deployed: Checkout, pulumi: Path) -> None:
    cut_off(deployed, creating("aws:dynamodb/table:Table", "accounts", hashKey="U"))
    said = deployed.fail("up", *ON_MINE)
    assert "does not know whether it has made aws:dynamodb/table:Table accounts" in said
    assert "pulumi refresh --clear-pending-creates --yes --stack dev" in said.splitlines()[-1]
    assert verbs(pulumi) == []


# --- namespaces -------------------------------------------------------------------------------------------


def test_a_namespace_of_somebody_else_is_not_taken(checkout: Checkout, clusters: Clusters) -> None:
    kubectl_cli.put(checkout)
    engine = pulumi_cli.put(checkout)
    kubectl_cli.write(checkout, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "flatline-emulators"}}])
    said = checkout.fail("up", *ON_MINE)
    assert "error: namespace flatline-emulators is on context mine already, and stack dev has not made it" in said
    assert "somebody else: write another flatline:namespace into Pulumi.dev.yaml" in said
    assert verbs(engine) == []


def test_a_second_stack_hears_of_the_first_one(deployed: Checkout, pulumi: Path) -> None:
    deployed.file().unlink()  # the first one is of another deployed
    deployed.configure({}, stack="second")
    said = deployed.fail("up", "--stack", "second", *ON_MINE)
    assert "namespace flatline is on context mine already, and stack second has not made it" in said
    assert "It belongs to another stack of Flatline" in said
    assert verbs(pulumi) == []
    deployed.configure({"namespace": "second"}, stack="second")
    deployed.succeed("up", "--stack", "second", *ON_MINE, FAKE_NAMESPACE="second")


@pytest.mark.parametrize("command", [("up", "--yes"), ("preview",)], ids=" ".join)
def test_a_namespace_that_was_renamed_is_an_early_error(
    deployed: Checkout, pulumi: Path, command: tuple[str, ...]
) -> None:
    deployed.configure({"namespace": "chat"})
    said = deployed.fail(*command, "--context", "mine")
    assert "flatline:namespace is chat, but stack dev runs in flatline and flatline-emulators" in said
    assert "Write flatline:namespace: flatline into Pulumi.dev.yaml." in " ".join(said.split())
    assert verbs(pulumi) == []


@pytest.mark.parametrize("made", ["flatline", "flatline-emulators"])
def test_a_run_that_was_cut_off_between_two_namespaces_goes_on(deployed: Checkout, pulumi: Path, made: str) -> None:
    names = {"flatline", "flatline-emulators"}

    def forget(state: dict[str, Any]) -> None:
        state["resources"] = [each for each in state["resources"] if each.get("id") not in names - {made}]

    edit_state(deployed, forget)
    kubectl_cli.write(
        deployed, [each for each in kubectl_cli.read(deployed) if each["metadata"]["name"] not in names - {made}]
    )
    deployed.succeed("up", *ON_MINE)
    assert verbs(pulumi) == ["up"]


# --- what is printed to be typed --------------------------------------------------------------------------


def test_the_commands_that_up_prints_work_as_printed(tmp_path: Path, clusters: Clusters) -> None:
    checkout = Checkout.make(tmp_path / "a folder with 'quotes' & spaces")
    (checkout.home / "kubeconfig").write_text(clusters.text)
    kubectl_cli.put(checkout)
    engine = pulumi_cli.put(checkout)
    said = checkout.succeed("up", *ON_MINE)
    lines = [line for line in said.partition("To go on with plain pulumi")[2].splitlines() if line.startswith("  ")]
    assert len(lines) == 3
    used = next(call for call in calls(engine) if call["arguments"][0] == "up")
    engine.unlink()
    script = "\n".join(lines).replace("preview", "stack export")
    type_in(checkout, script)
    typed = calls(engine)[-1]
    assert {key: typed[key] for key in ("backend", "passphrase_file")} == {
        key: used[key] for key in ("backend", "passphrase_file")
    }
