"""`migrate secrets`: the key material of one stack for another one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import key_material
from config.schema.secrets import BY_NAME, SECRETS
from tests.unit.cli.checkout import REPOSITORY, Checkout, at_home


def test_secrets_move_without_the_packages_of_the_clouds() -> None:
    code = "import sys; sys.modules.update(boto3=None, botocore=None); import cli.commands.migrate_secrets"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


@pytest.fixture(scope="session")
def _two(_whole: tuple[Checkout, str], tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    folder = tmp_path_factory.mktemp("two")
    with at_home(folder) as place:
        made = _whole[0].copy(place)
        made.succeed("stack", "new", "prod", "--domain", "flatline.internal")
    return made.at(folder)


@pytest.fixture
def two(_two: Checkout, checkout_folder: Path) -> Checkout:
    """A checkout of Flatline itself: the stack dev has been brought up, the stack prod has not."""
    return _two.copy(checkout_folder)


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
    text, state = two.file("prod").read_text(), two.state().read_bytes()
    again = two.succeed("migrate", "secrets", "--from-stack", "dev", "--to-stack", "prod")
    assert "has the secrets of stack dev already" in again
    assert (two.file("prod").read_text(), two.state().read_bytes()) == (text, state)
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
    assert "clients must be built again for its URLs" in " ".join(said.stderr.split())
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
