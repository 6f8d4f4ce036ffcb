"""`backup --schedule` writes settings, and `backup --documents` a Secret: nothing else, and no secret in plain text."""

import json
from pathlib import Path

import pytest

from config.loading import load
from config.settings import Settings
from migration import sealing
from render import stack_file
from tests.unit.cli.checkout import Checkout, calls, kubeconfig

PASSPHRASE = "planted passphrase"
KEY = "planted+secret/access=key"
TO = ("--to", "s3://archives/flatline")
WORDS = ("backup", *TO, "--schedule", "*/30 3 * * *", "--endpoint", "http://203.0.113.9:7070")


@pytest.fixture
def named(checkout: Checkout) -> Checkout:
    """With the bucket's key pair in a file."""
    checkout.variables["PULUMI_CONFIG_PASSPHRASE"] = PASSPHRASE
    (checkout.root / "bucket-key").write_text(
        f"[default]\naws_access_key_id = planted-id\naws_secret_access_key = {KEY}\n"
    )
    return checkout


def settings(checkout: Checkout) -> Settings:
    return load(stack_file.read(checkout.file(), lambda: PASSPHRASE).config)


def test_the_settings_are_written_and_the_secret_is_encrypted(named: Checkout) -> None:
    before = named.file().read_text()
    said = named.succeed(*WORDS, "--credentials", "bucket-key", "--keep", "daily=7,weekly=4", "--attachments")
    text = named.file().read_text()
    assert KEY not in text + said
    assert [line for line in before.splitlines() if line not in text.splitlines()] == []
    found = settings(named)
    assert found.backup is not None
    assert (found.backup.to, found.backup.schedule) == ("s3://archives/flatline", "*/30 3 * * *")
    assert (found.backup.keep, found.backup.attachments) == ("daily=7,weekly=4", True)
    assert found.backup.credentials.access_key_id == "planted-id"
    assert found.backup.credentials.secret_access_key.get_secret_value() == KEY
    assert [(way.cidr, way.ports) for way in found.egress["backup"]] == [("203.0.113.9/32", [7070])]
    recipient = sealing.Recipient.parse(found.backup.recipient)
    assert sealing.identity(PASSPHRASE, recipient.salt).recipient == recipient
    assert "./flatline up" in said


def test_what_is_not_given_stays(named: Checkout) -> None:
    named.succeed(*WORDS, "--credentials", "bucket-key", "--keep", "daily=7")
    first = settings(named).backup
    named.succeed("backup", *TO, "--schedule", "0 4 * * *")
    second = settings(named).backup
    assert first is not None
    assert second == first.model_copy(update={"schedule": "0 4 * * *"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (WORDS, "--credentials is missing"),
        ((*WORDS, "--credentials", "nowhere"), "--credentials nowhere cannot be read"),
        ((*WORDS, "--credentials", "Pulumi.yaml"), "--credentials Pulumi.yaml has no key pair in the profile default"),
        ((*WORDS[:-1], "https://s3.example.org", "--credentials", "bucket-key"), "--network is missing"),
        ((*WORDS, "--credentials", "bucket-key", "--context", "mine"), "Leave --context out"),
        (("backup", "--to", "backups", *WORDS[3:], "--credentials", "bucket-key"), '"backups" is no place'),
        (("backup", *TO, "--network", "203.0.113.9/32"), "--network belongs to --schedule"),
        (("backup", "--schedule", "0 4 * * *"), "--to is missing"),
        (("backup", "--documents"), "stack dev has no backups by schedule"),
    ],
)
def test_what_cannot_be_right_changes_nothing(named: Checkout, words: tuple[str, ...], said: str) -> None:
    before = named.file().read_text()
    assert said in named.fail(*words)
    assert named.file().read_text() == before


# A cluster that has the stack's namespace, and takes what is applied.
KUBECTL = """
words = sys.argv[1:]
if "apply" in words:
    record(words=words, applied=json.loads(sys.stdin.read()))
elif "namespaces" in words:
    labels = {"flatline.org/stack": "flatline.dev", "app.kubernetes.io/part-of": "flatline"}
    print(json.dumps({"items": [{"metadata": {"name": "flatline", "labels": labels}}]}))
else:
    print(json.dumps({"items": []}))
"""


def test_the_documents_go_to_a_secret_as_an_archive_has_them(named: Checkout) -> None:
    named.program("kubectl", KUBECTL)
    (named.home / "kubeconfig").write_text(kubeconfig({"mine": "https://127.0.0.1:9"}))
    named.succeed(*WORDS, "--credentials", "bucket-key")
    named.succeed("up", "--engine", "none")
    said = named.succeed("backup", "--documents", "--context", "mine")
    (applied,) = (each["applied"] for each in calls(named.programs / "kubectl.calls") if "applied" in each)
    assert applied["metadata"]["name"] == "backup-documents"
    assert set(applied["data"]) == {"configuration", "state", "pins", "images", "release"}
    assert KEY not in json.dumps(applied) + said
    assert Path(named.root / "state" / "dev.json").exists()
