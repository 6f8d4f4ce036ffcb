"""`migrate`: which stores, whether services run, port-forwards, packages of its own, and secrets for another stack."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import key_material
from cli.port_forward import PortForward
from config.schema.secrets import BY_NAME, SECRETS
from errors import FlatlineError
from tests.lab.process import wait_until
from tests.unit.cli.checkout import REPOSITORY, Checkout, calls, kubeconfig

STOPPED: dict[str, Any] = {
    "items": [
        {"kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": 0}, "status": {}}
        for name in ("whisper", "whisper-persister", "storage", "cdn0-gate")
    ]
    + [
        {"kind": "Deployment", "metadata": {"name": "localstack"}, "spec": {"replicas": 1}, "status": {"replicas": 1}},
        {"kind": "CronJob", "metadata": {"name": "whisper-remove-expired-accounts"}, "spec": {"suspend": True}},
    ]
}

STORE: dict[str, Any] = {
    "spec": {
        "template": {
            "spec": {
                "volumes": [
                    {"name": "objects", "persistentVolumeClaim": {"claimName": "objects"}},
                    {"name": "object-store-accounts", "secret": {"secretName": "accounts-1"}},
                ]
            }
        }
    }
}

# Answers `get` from files, and forwards until it is ended.
KUBECTL = """
import time
words = sys.argv[1:]
record(words=words)
if "deployment.apps" in words:
    print(os.environ["STORE"])
elif "accounts-1" in words:
    print(json.dumps({"data": {"root-secret": "cGxhbnRlZC1rZXk="}}))
elif "get" in words:
    print(open(os.environ["ANSWER"]).read())
elif "port-forward" in words:
    if os.environ.get("REFUSED"):
        sys.exit("error: services \\"localstack\\" not found")
    local, _, port = words[-1].partition(":")
    print(f"Forwarding from 127.0.0.1:{local or 45678} -> {port}", flush=True)
    record(pid=os.getpid())
    time.sleep(600)
"""


@pytest.fixture
def moving(checkout: Checkout) -> Checkout:
    """A checkout with a cluster that is named."""
    checkout.program("kubectl", KUBECTL)
    (checkout.home / "kubeconfig").write_text(kubeconfig({"mine": "https://127.0.0.1:9"}, current="other"))
    checkout.variables["ANSWER"] = str(checkout.home / "answer.json")
    checkout.variables["STORE"] = json.dumps(STORE)
    answer(checkout, STOPPED)
    return checkout


def answer(checkout: Checkout, what: dict[str, Any]) -> None:
    (checkout.home / "answer.json").write_text(json.dumps(what))


def changed(name: str, **content: Any) -> dict[str, Any]:
    return {"items": [{**each, **content} if each["metadata"]["name"] == name else each for each in STOPPED["items"]]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing tells where the stores of stack dev are"),
        (["--dynamodb", "http://127.0.0.1:1"], "--dynamodb and --bigtable go together"),
        (["--bigtable", "127.0.0.1:1"], "--dynamodb and --bigtable go together"),
        (["--context", "mine", "--dynamodb", "http://127.0.0.1:1"], "exclude each other"),
        (["--context", "typo"], "there is no context typo"),
    ],
)
def test_the_stores_are_named_by_a_cluster_or_by_addresses(moving: Checkout, words: list[str], said: str) -> None:
    assert said in moving.fail("migrate", "export", "--to", "backup", *words)
    assert calls(moving.programs / "kubectl.calls") == []
    assert not (moving.root / "backup").exists()


@pytest.mark.parametrize(
    ("running", "command"),
    [
        (changed("whisper", spec={"replicas": 2}), "scale deployment/whisper --replicas 0"),
        (changed("storage", spec={}), "scale deployment/storage --replicas 0"),
        (changed("cdn0-gate", status={"replicas": 1}), "scale deployment/cdn0-gate --replicas 0"),
        (
            changed("whisper-remove-expired-accounts", spec={"suspend": False}),
            """patch cronjob/whisper-remove-expired-accounts --patch '{"spec":{"suspend":true}}'""",
        ),
    ],
)
@pytest.mark.parametrize("action", ["export", "load"])
def test_services_must_be_stopped(moving: Checkout, running: dict[str, Any], command: str, action: str) -> None:
    answer(moving, running)
    folder = ["--to", "backup"] if action == "export" else ["--from", "backup"]
    said = moving.fail("migrate", action, *folder, "--context", "mine")
    assert f"kubectl --context mine --namespace flatline {command}" in " ".join(said.split())
    assert not any("port-forward" in call.get("words", ()) for call in calls(moving.programs / "kubectl.calls"))
    assert not (moving.root / "backup").exists()


def test_a_cluster_is_reached_by_port_forwards_that_end_with_the_command(moving: Checkout) -> None:
    (moving.root / "backup").mkdir()
    said = moving.fail("migrate", "load", "--from", "backup", "--context", "mine")
    assert "is no archive" in said
    recorded = calls(moving.programs / "kubectl.calls")
    forwards = [call["words"] for call in recorded if "port-forward" in call.get("words", ())]
    assert {(words[words.index("--namespace") + 1], words[-2], words[-1]) for words in forwards} == {
        ("flatline-emulators", "service/localstack", ":4566"),
        ("flatline", "service/object-store", ":7070"),
        ("flatline", "service/cbtemulator", ":9000"),
    }
    assert all(words[:2] == ["--context", "mine"] for words in forwards)
    asked = [call["words"] for call in recorded if "accounts-1" in call.get("words", ())]
    assert len(asked) == 1, "the key pair of the store's operator is that of the cluster"
    assert "planted-key" not in said + json.dumps(recorded)
    for call in recorded:
        if "pid" in call:
            with pytest.raises(ProcessLookupError):
                os.kill(call["pid"], 0)


def test_a_store_of_another_form(moving: Checkout) -> None:
    (moving.root / "backup").mkdir()
    nothing = json.dumps({"spec": {"template": {"spec": {"volumes": []}}}})
    said = moving.fail("migrate", "load", "--from", "backup", "--context", "mine", STORE=nothing)
    assert "the deployment object-store has no volume object-store-accounts" in said


def test_a_cluster_without_the_service(moving: Checkout) -> None:
    said = moving.fail("migrate", "export", "--to", "backup", "--context", "mine", "--live", REFUSED="1")
    assert "kubectl cannot forward a port to the service flatline-emulators/localstack" in said
    assert 'services "localstack" not found' in said
    assert list(moving.root.glob(".backup*")) == []


def test_a_port_forward_that_ends_is_made_again_on_the_same_port(
    moving: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(moving.programs))
    monkeypatch.setattr("cli.port_forward.PAUSE_SECONDS", 0.01)
    log = moving.programs / "kubectl.calls"

    def pids() -> list[int]:
        return [call["pid"] for call in calls(log) if "pid" in call]

    with PortForward("mine", "space", "localstack", 4566) as forward:
        assert forward.address == "127.0.0.1:45678"
        wait_until(lambda: len(pids()) == 1, 10, "kubectl")
        os.kill(pids()[0], signal.SIGKILL)
        wait_until(lambda: len(pids()) == 2, 10, "kubectl again")
        assert forward.address == "127.0.0.1:45678"
    assert [call["words"][-1] for call in calls(log) if "words" in call] == [":4566", "45678:4566"]
    wait_until(lambda: not Path(f"/proc/{pids()[1]}").exists(), 10, "its end")


def test_without_kubectl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(FlatlineError, match="kubectl is not on the PATH"),
        PortForward("mine", "space", "localstack", 1),
    ):
        pass


def test_a_folder_with_something_in_it_is_refused_before_anything_is_asked(moving: Checkout) -> None:
    (moving.root / "backup").mkdir()
    (moving.root / "backup" / "file").touch()
    assert "is not empty" in moving.fail("migrate", "export", "--to", "backup", "--context", "mine")
    assert calls(moving.programs / "kubectl.calls") == []


def test_secrets_move_without_the_packages_of_the_move() -> None:
    code = "import sys; sys.modules.update(boto3=None, botocore=None); import cli.commands.migrate_secrets"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


# --- secrets ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _two(_whole: tuple[Checkout, str], tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    made = _whole[0].copy(tmp_path_factory.mktemp("two"))
    made.succeed("stack", "new", "prod", "--domain", "flatline.internal")
    return made


@pytest.fixture
def two(_two: Checkout, tmp_path: Path) -> Checkout:
    """A checkout of Flatline itself: the stack dev has been brought up, the stack prod has not."""
    return _two.copy(tmp_path / "copy")


def bundle(checkout: Checkout, stack: str) -> dict[str, Any]:
    """Whisper's secrets, as its pod reads them."""
    found = {}
    for path in checkout.build(stack).glob("*-secret_*"):
        for text in (yaml.safe_load(path.read_text()).get("stringData") or {}).values():
            if "storageService.userAuthenticationTokenSharedSecret" in text:
                found = yaml.safe_load(text)
    assert found
    return found


def test_a_stack_gets_the_key_material_of_another_one(two: Checkout) -> None:
    before = two.file("prod").read_text()
    said = two.succeed("migrate", "secrets", "--from-stack", "dev", "--to-stack", "prod")
    text = two.file("prod").read_text()
    two.succeed("up", "--stack", "prod", "--engine", "none")
    pins = [json.loads(two.succeed("pins", "--stack", stack, "--json"))["pins"] for stack in ("dev", "prod")]
    assert pins[0] == pins[1]
    assert {"serverPublicParams", "unidentifiedSenderTrustRoot", "noisePublicKey", "caCertificates"} <= pins[0].keys()
    own, moved = bundle(two, "dev"), bundle(two, "prod")
    stays = {
        reader.path
        for secret in SECRETS
        for reader in secret.readers
        if reader.service == "whisper" and not key_material.moves(secret)
    }
    assert {path: value for path, value in own.items() if path not in stays} == {
        path: value for path, value in moved.items() if path not in stays
    }
    assert moved["cdn.accessSecret"] != own["cdn.accessSecret"], "keys of the servers are each installation's own"
    assert len(own) - len(stays) > 15
    values = [value for path, value in own.items() if path not in stays]
    assert not [value for value in values if value in said + text], "nothing is shown, and nothing is in plain text"
    assert [line for line in before.splitlines() if line not in text.splitlines()] == []


def test_moving_twice_changes_nothing(two: Checkout) -> None:
    two.succeed("migrate", "secrets", "--from-stack", "dev", "--to-stack", "prod")
    text, state = two.file("prod").read_bytes(), two.state().read_bytes()
    said = two.succeed("migrate", "secrets", "--from-stack", "dev", "--to-stack", "prod")
    assert "has the secrets of stack dev already" in said
    assert (two.file("prod").read_bytes(), two.state().read_bytes()) == (text, state)


def test_values_that_differ_are_kept(two: Checkout) -> None:
    two.succeed(
        "secret",
        "set",
        "turn",
        "--stack",
        "prod",
        stdin="0854728bd6f092bbff2743d36b21866776f371d4e79c7eba04a9be498f775f93",
    )
    before = two.file("prod").read_bytes()
    said = two.fail("migrate", "secrets", "--from-stack", "dev", "--to-stack", "prod")
    assert "has values of its own, which differ: turn" in said
    assert "abab" not in said
    assert two.file("prod").read_bytes() == before


def test_a_stack_that_is_in_use_keeps_its_secrets(two: Checkout) -> None:
    two.succeed("up", "--stack", "prod", "--engine", "none")
    before = two.file("prod").read_bytes()
    said = two.fail("migrate", "secrets", "--from-stack", "dev", "--to-stack", "prod")
    assert "has been brought up with secrets of its own" in said
    assert two.file("prod").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from-stack", "prod", "--to-stack", "dev"], "stack prod has no secrets in state/prod.json"),
        (["--from-stack", "dev", "--to-stack", "dev"], "the same stack"),
        (["--from-stack", "dev", "--to-stack", "nowhere"], "there is no stack nowhere"),
    ],
)
def test_what_cannot_be_moved(two: Checkout, words: list[str], said: str) -> None:
    assert said in two.fail("migrate", "secrets", *words)


def test_a_certificate_block_is_not_replaced(two: Checkout) -> None:
    text = two.file("prod").read_text()
    two.file("prod").write_text(
        text.replace("config:\n", "config:\n  flatline:certificates: {leaf: {validityDays: 90}}\n")
    )
    said = two.fail("migrate", "secrets", "--from-stack", "dev", "--to-stack", "prod")
    assert "has flatline:certificates of its own" in said


def test_another_domain_gets_a_certificate_of_the_same_authority(two: Checkout) -> None:
    two.succeed("stack", "new", "other", "--domain", "chat.example.org")
    said = two.run("migrate", "secrets", "--from-stack", "dev", "--to-stack", "other")
    assert said.returncode == 0, said.stderr
    assert "clients must be built anew for its URLs" in " ".join(said.stderr.split())
    two.succeed("up", "--stack", "other", "--engine", "none")
    pins = [json.loads(two.succeed("pins", "--stack", stack, "--json"))["pins"] for stack in ("dev", "other")]
    assert pins[0]["caCertificates"] == pins[1]["caCertificates"]
    assert pins[0]["urls"] != pins[1]["urls"]


def test_what_moves_is_decided_for_every_secret() -> None:
    stays = {secret.name for secret in SECRETS if not key_material.moves(secret)}
    assert stays == {
        *("redis", "cdn0-whisper-access-key", "cdn0-whisper-secret-key"),
        *("cdn0-storage-access-key", "cdn0-storage-secret-key"),
        *("object-store-root", "object-store-pre-keys", "object-store-cdn0"),
        *("apn-signing", "app-store", "fcm", "google-play"),
    }
    assert key_material.moves(BY_NAME["zk-server"])
