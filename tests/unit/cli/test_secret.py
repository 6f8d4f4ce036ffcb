"""`secret set` and `secret list`."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from cli import stack_edit
from tests.unit.cli.checkout import Checkout

VALUE = "f389e4e6033a5b1df128250eed059a2988fd9eda6bd603a7bbfffa62e7681b99"

COMMENTED = """\
# The family's server.
config:
  flatline:domain: chat.example.org   # ours

  # Rotated in spring.
  flatline:secrets:
    link-device:
      epoch: 2   # lost phone
    # the old one leaked
    turn:
      epoch: 3
  pulumi:disable-default-providers: ["*"]
# end
"""


def test_a_value_is_written_encrypted_and_used(brought_up: Checkout) -> None:
    said = brought_up.succeed("secret", "set", "turn", stdin=VALUE + "\n")
    text = brought_up.file().read_text()
    assert VALUE not in text + said
    assert re.search(r"^      value:\n        secure: v1:\S+:\S+$", text, re.M)
    brought_up.succeed("up")
    secret = next(brought_up.build().glob("*-secret_*_turn-key-*")).read_text()
    assert VALUE in secret
    line = next(line for line in brought_up.succeed("secret", "list").splitlines() if line.startswith("turn "))
    assert line.split()[1] == "provided"


def test_everything_else_in_the_file_stays(checkout: Checkout) -> None:
    checkout.file().write_text(COMMENTED)
    checkout.succeed("secret", "set", "turn", stdin=VALUE)
    before, after = COMMENTED.splitlines(), checkout.file().read_text().splitlines()
    # The epoch stays: its seeds are protected, and may not leave the program.
    assert [line for line in before if line not in after] == []
    added = [line.split(":")[0].strip() for line in after if line not in before]
    assert added == ["value", "secure", "encryptionsalt"]


def test_the_salt_and_other_values_stay(checkout: Checkout) -> None:
    checkout.succeed("secret", "set", "turn", stdin=VALUE)
    first = yaml.safe_load(checkout.file().read_text())
    checkout.succeed("secret", "set", "redis", stdin=VALUE)
    second = yaml.safe_load(checkout.file().read_text())
    assert second["encryptionsalt"] == first["encryptionsalt"]
    assert second["config"]["flatline:secrets"]["turn"] == first["config"]["flatline:secrets"]["turn"]
    checkout.succeed("up")


def test_another_passphrase_is_refused(checkout: Checkout) -> None:
    checkout.succeed("secret", "set", "turn", stdin=VALUE, PULUMI_CONFIG_PASSPHRASE="one")
    before = checkout.file().read_bytes()
    said = checkout.fail("secret", "set", "redis", stdin=VALUE, PULUMI_CONFIG_PASSPHRASE="two")
    assert "incorrect passphrase" in said
    assert checkout.file().read_bytes() == before


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("turn", "x" * 70, "not hex"),
        ("turn", "abcd", "2 bytes"),
        ("turn", "00" * 32, "not random"),
        ("turn", "0123456789abcdef" * 4, "not random"),
        ("zk-server", "c2VjcmV0dmFsdWU=", "exactly 2721"),
        ("link-device", "not base64!", "not base64"),
        ("fcm", "{}", "cannot be brought"),
        ("turn", "", "no value"),
        ("trun", VALUE, "Did you mean turn?"),
    ],
)
def test_a_value_of_the_wrong_form(checkout: Checkout, name: str, value: str, expected: str) -> None:
    before = checkout.file().read_bytes()
    said = checkout.fail("secret", "set", name, stdin=value)
    assert expected in said
    assert not value or value == "{}" or value not in said
    assert checkout.file().read_bytes() == before
    assert not list(checkout.home.rglob("*.passphrase"))


def test_a_file_of_another_provider_is_left_to_pulumi(checkout: Checkout) -> None:
    text = checkout.file().read_text() + "secretsprovider: awskms://alias/secret-key\n"
    checkout.file().write_text(text)
    said = checkout.fail("secret", "set", "turn", stdin=VALUE)
    assert "pulumi config set --stack dev --secret --path 'flatline:secrets.turn.value'" in said
    assert "alias" not in said
    assert checkout.file().read_text() == text


def test_the_list_shows_every_secret_and_no_value(brought_up: Checkout) -> None:
    from config.schema.secrets import SECRETS

    said = brought_up.succeed("secret", "list")
    rows = {line.split()[0]: line for line in said.splitlines() if line.strip()}
    assert {secret.name for secret in SECRETS} <= rows.keys()
    assert "whisper, storage" in rows["storage-authentication"]
    assert " generated " in rows["turn"]


EDITS = {
    "no config": "",
    "comments alone": "# nothing yet\n",
    "an empty config": "config:\n",
    "an empty config and more": "config:\nencryptionsalt: v1:old\n",
    "no secrets": "config:\n  flatline:domain: a.b\n",
    "no secrets, then a salt": "config:\n  flatline:domain: a.b\n\n# the salt\nencryptionsalt: v1:old\n",
    "empty secrets": "config:\n  flatline:secrets: {}\n  flatline:domain: a.b\n",
    "null secrets": "config:\n  flatline:secrets:\n  flatline:domain: a.b\n",
    "without the project": "config:\n  secrets:\n    redis: {epoch: 2}\n",
    "deeper indentation": "config:\n    flatline:secrets:\n        redis:\n            epoch: 2\n    flatline:x: y\n",
    "the secret in braces": "config:\n  flatline:secrets:\n    turn: {epoch: 2}\n    redis: {epoch: 3}\n",
    "the secret last": "config:\n  flatline:secrets:\n    redis: {epoch: 3}\n    turn:\n      epoch: 2\n# end\n",
    "no last line end": "config:\n  flatline:secrets:\n    turn:\n      epoch: 2",
    "a block of text before": "config:\n  x: |\n    one\n\n    # two\n  flatline:secrets:\n    redis: {epoch: 2}\n",
    "all in braces": "{config: {}}",
    "a config in braces": "config: {flatline:domain: a.b}\n",
    "secrets in braces": "config:\n  flatline:secrets: {redis: {epoch: 2}}\n",
    "a plain value": "config:\n  flatline:secrets:\n    turn:\n      value: old\n      epoch: 2\n",
    "a plain value on lines": "config:\n  flatline:secrets:\n    turn:\n      value: |\n        old\n      epoch: 2\n",
    "a block of text last": "config:\n  flatline:x: |\n    one\n    two\n",
}


@pytest.mark.parametrize("name", EDITS)
def test_a_file_keeps_what_it_says(name: str) -> None:
    before = yaml.safe_load(EDITS[name]) or {}
    text = stack_edit.with_secret(EDITS[name], ("secrets", "turn", "value"), "v1:new:value", "v1:salt")
    after = yaml.safe_load(text)
    config = dict(before.get("config") or {})
    key = "secrets" if "secrets" in config else "flatline:secrets"
    secrets = config.get(key) or {}
    config[key] = {**secrets, "turn": {**secrets.get("turn", {}), "value": {"secure": "v1:new:value"}}}
    assert after == {"encryptionsalt": "v1:salt", **before, "config": config}
    assert text == stack_edit.with_secret(text, ("secrets", "turn", "value"), "v1:new:value", "v1:salt")
    comments = [line for line in EDITS[name].splitlines() if line.lstrip().startswith("#")]
    assert [line for line in text.splitlines() if line.lstrip().startswith("#")] == comments


def test_the_list_of_a_stack_in_a_cloud_says_who_makes_what(checkout: Checkout) -> None:
    shutil.copy(Path(__file__).parents[3] / "Pulumi.prod.yaml", checkout.file("prod"))
    rows = [line.split() for line in checkout.succeed("secret", "list", "--stack", "prod").splitlines()]
    origins = {row[0]: row[1] for row in rows if len(row) > 2}
    assert origins["object-store-root"] == "unused"
    assert origins["cdn0-whisper-access-key"] == origins["cdn0-storage-secret-key"] == "AWS"
    assert origins["turn"] == "generated"
