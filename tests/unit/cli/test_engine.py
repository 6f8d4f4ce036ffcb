"""`up` and its companions with the Pulumi CLI, played by a stand-in: what it is told, and what it must not do."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from cli.rollout import PATIENCE_LOOKS
from tests.unit.cli import pulumi_cli
from tests.unit.cli.certificates import certificate
from tests.unit.cli.checkout import Checkout, calls
from tests.unit.cli.conftest import Clusters

ON_MINE = ("--context", "mine", "--yes")


def verbs(engine: Path) -> list[str]:
    """What the CLI was asked to do, without asking for its version."""
    return [" ".join(call["arguments"][:2]) for call in calls(engine) if call["arguments"] != ["version"]]


def deploy(engine: Path) -> dict[str, object]:
    """How `pulumi up` was called."""
    return next(call for call in calls(engine) if call["arguments"][0] == "up")


def test_a_named_cluster_and_a_cli_deploy(checkout: Checkout, clusters: Clusters, engine: Path) -> None:
    """The engine sees the named context alone, and is told of the passphrase by a file."""
    said = checkout.succeed("up", *ON_MINE)
    assert f"cluster: context mine ({clusters.mine.url}) answers" in said
    assert f"engine: Pulumi {pulumi_cli.VERSION} ({checkout.programs}/pulumi)" in said
    assert f"backend: file://{checkout.root}/state/pulumi" in said
    assert "+ 4 created" in said
    assert "Lost by this upgrade" not in said, "of a stack that is not there yet"
    assert not checkout.build().exists()
    assert not checkout.state().exists()
    call = deploy(engine)
    told = yaml.safe_load(str(call["kubeconfig"]))
    assert told["current-context"] == "mine"
    for section in ("contexts", "clusters", "users"):
        assert [each["name"] for each in told[section]] == ["mine"]
    assert clusters.other.requests == []
    assert call["passphrase"] is None
    assert Path(str(call["passphrase_file"])).read_text().strip()
    assert call["output_as_text"] == "1"


def test_what_an_upgrade_loses_is_said_before_anything_is_done(deployed: Checkout) -> None:
    said = deployed.succeed("up", *ON_MINE)
    assert "pictures" in said.partition("Lost by this upgrade, once")[2].partition("Nothing has changed")[0]


def test_an_own_backend_and_an_own_passphrase_stay(checkout: Checkout, engine: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/mine"
    checkout.succeed("up", *ON_MINE, PULUMI_BACKEND_URL=url, PULUMI_CONFIG_PASSPHRASE="my own")
    call = deploy(engine)
    assert (call["backend"], call["passphrase"], call["passphrase_file"]) == (url, "my own", None)
    assert not list(checkout.home.rglob("*.passphrase"))
    assert (checkout.root / "state" / "dev.backend").read_text().strip() == url


def test_a_login_is_the_backend(checkout: Checkout, engine: Path, tmp_path: Path) -> None:
    (checkout.home / ".pulumi").mkdir()
    (checkout.home / ".pulumi" / "credentials.json").write_text(json.dumps({"current": f"file://{tmp_path}/login"}))
    said = checkout.succeed("up", *ON_MINE, PULUMI_CONFIG_PASSPHRASE="p")
    assert f"backend: file://{tmp_path}/login" in said
    assert deploy(engine)["backend"] is None


def test_a_failing_deployment_is_said_and_repeated_nowhere(checkout: Checkout, engine: Path) -> None:
    result = checkout.run("up", *ON_MINE, FAKE_PULUMI_FAILS="1")
    assert result.returncode == 1
    assert (result.stdout + result.stderr).count("the cluster said no") == 1
    assert "error: pulumi up failed" in result.stderr


def test_a_deployment_that_waits_names_the_pods_that_cannot_run(checkout: Checkout, engine: Path) -> None:
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}
    named = {"namespace": "flatline", "name": "whisper"}
    pod = {"kind": "Pod", "metadata": named, "status": {"conditions": [unschedulable]}}
    kubectl = checkout.programs / "kubectl"
    enough = checkout.home / "enough"
    calls_made = checkout.program(
        "kubectl",
        f"""
        record(arguments=sys.argv[1:])
        print(json.dumps({{"items": [{pod!r}] if "flatline" in sys.argv else []}}))
        if open({f"{kubectl}.calls"!r}).read().count("pods,events") > 2 * {PATIENCE_LOOKS}:
            open({str(enough)!r}, "w")
        """,
    )
    result = checkout.run("up", *ON_MINE, FAKE_PULUMI_WAITS_FOR=str(enough))
    assert result.returncode == 0, result.stderr
    assert {tuple(call["arguments"][:4]) for call in calls(calls_made)} >= {
        ("--context", "mine", "-n", "flatline"),
        ("--context", "mine", "-n", "flatline-emulators"),
    }
    assert "warning: pod flatline/whisper: cannot be scheduled: no room" in result.stderr


@pytest.mark.usefixtures("clusters")
def test_an_old_cli_is_not_used(checkout: Checkout) -> None:
    engine = pulumi_cli.put(checkout, version="2.0.0")
    said = checkout.succeed("up", *ON_MINE)
    assert "rendering: the Pulumi CLI cannot be used" in said
    assert verbs(engine) == []
    assert checkout.build().is_dir()


@pytest.mark.usefixtures("clusters")
def test_new_secrets_are_made_when_they_are_asked_for(brought_up: Checkout) -> None:
    engine = pulumi_cli.put(brought_up)
    state = brought_up.state().read_bytes()
    result = brought_up.run("up", *ON_MINE, "--engine", "pulumi", "--start-over", "dev")
    assert result.returncode == 0, result.stderr
    assert "groups and profiles become unreadable" in result.stderr
    assert "up --yes" in verbs(engine)
    assert not brought_up.state().exists()
    assert (brought_up.root / "state" / "dev.earlier-1" / "dev.json").read_bytes() == state


def test_a_stack_of_pulumi_s_is_not_rendered_but_for_review(deployed: Checkout) -> None:
    deployed.succeed("render", "--redact")
    text = b"".join(deployed.contents(deployed.root / "build" / "dev.redacted").values())
    assert b"REDACTED" in text
    (deployed.programs / "pulumi").unlink()
    for command in (("up",), ("up", *ON_MINE), ("up", "--engine", "none"), ("render",)):
        said = deployed.fail(*command)
        assert "kept by Pulumi" in said
        assert "second set of secrets" in said
    assert not deployed.state().exists()
    assert not deployed.build().exists()


def test_a_stack_in_a_backend_of_one_s_own_is_not_rendered(checkout: Checkout, engine: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/mine"
    checkout.succeed("up", *ON_MINE, PULUMI_BACKEND_URL=url, PULUMI_CONFIG_PASSPHRASE="p")
    # By the note, without the CLI; by asking the CLI, without the note.
    (checkout.programs / "pulumi").rename(checkout.programs / "away")
    assert "kept by Pulumi" in checkout.fail("render")
    (checkout.programs / "away").rename(checkout.programs / "pulumi")
    (checkout.root / "state" / "dev.backend").unlink()
    assert "kept by Pulumi" in checkout.fail("render", PULUMI_BACKEND_URL=url)


def test_outputs_and_pins_come_from_the_engine_without_secrets(deployed: Checkout) -> None:
    outputs = json.loads(deployed.succeed("outputs", "--json"))["outputs"]
    assert outputs["urls"] == {"whisper": "https://whisper.flatline.internal"}
    assert outputs["hidden"] == "REDACTED"
    assert "lostOnRestart" not in json.loads(deployed.succeed("pins", "--json"))["pins"]
    calls_made = calls(deployed.programs / "pulumi.calls")
    reading = [call for call in calls_made if call["arguments"][:2] == ["stack", "output"]]
    assert reading[-1]["kubeconfig"] == ""


def test_outputs_leave_the_page_of_the_stack_to_pulumi_cloud(deployed: Checkout) -> None:
    kept = json.dumps({"readme": "# Flatline", "version": "1.2.3"})
    outputs = json.loads(deployed.run("outputs", "--json", FAKE_OUTPUTS=kept).stdout)["outputs"]
    assert outputs["version"] == "1.2.3"
    pins = json.loads(deployed.run("pins", "--json", FAKE_OUTPUTS=kept).stdout)["pins"]
    assert "readme" not in outputs | pins


def test_the_end_of_a_certificate_that_pulumi_keeps_is_said(checkout: Checkout, engine: Path) -> None:
    """Nothing of such a stack is rendered on this machine."""
    served = json.dumps({"servedCertificate": certificate(timedelta(days=29))})
    result = checkout.run("up", *ON_MINE, FAKE_OUTPUTS=served)
    assert "expires in 28 days: run `./flatline rotate certificate`" in " ".join(result.stderr.split())
    assert not checkout.build().exists()
    assert "expires in 28 days" in checkout.run("status", FAKE_OUTPUTS=served).stdout
    assert "servedCertificate" not in checkout.run("pins", "--json", FAKE_OUTPUTS=served).stdout


def test_preview_is_the_engine_s(checkout: Checkout, engine: Path) -> None:
    assert "+ 4 to create" in checkout.succeed("preview", "--context", "mine")
    assert "up --yes" not in verbs(engine)


def destroyed(deployed: Checkout) -> list[str]:
    """How `pulumi destroy` was called last."""
    found = [call["arguments"] for call in calls(deployed.programs / "pulumi.calls") if "arguments" in call]
    return next((each for each in reversed(found) if each[0] == "destroy"), [])


def test_down_keeps_what_is_protected_and_deleting_data_needs_the_name(deployed: Checkout) -> None:
    engine = deployed.programs / "pulumi.calls"
    assert "no cluster is named" in deployed.fail("down")
    assert "nothing was deleted: no agreement" in deployed.fail("down", "--context", "mine")
    assert not destroyed(deployed)
    said = deployed.succeed("down", *ON_MINE)
    kept = said.partition("These stay:")[2]
    assert "Namespace flatline" in kept
    assert "PersistentVolumeClaim flatline/attachments" in kept
    assert "1 secrets and certificate authorities" in kept
    assert "--exclude-protected" in destroyed(deployed)
    # The secrets stay Pulumi's, so rendering is still refused.
    assert "kept by Pulumi" in deployed.fail("render")
    for words in ((), ("--confirm", "home")):
        assert "was not typed" in deployed.fail("down", *ON_MINE, "--delete-data", *words)
    assert "state unprotect" not in verbs(engine)
    deployed.succeed("down", *ON_MINE, "--delete-data", "--confirm", "dev")
    assert "--exclude-protected" not in destroyed(deployed)
    assert verbs(engine)[-1] == "stack rm"
    deployed.succeed("render")


def test_what_has_lost_its_protection_is_not_taken_down_as_the_rest(deployed: Checkout) -> None:
    """`down --delete-data` was cut off after it had taken the protection away."""
    (state,) = (deployed.root / "state" / "pulumi").rglob("dev.json")
    state.write_text(state.read_text().replace('"protect": true', '"protect": false'))
    said = deployed.fail("down", *ON_MINE)
    assert "./flatline up --stack dev --context mine" in said
    assert not destroyed(deployed)
    deployed.succeed("down", *ON_MINE, "--delete-data", "--confirm", "dev")
