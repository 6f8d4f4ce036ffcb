"""`rotate`, and certificates that `up` renews by itself."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from cli import rotation, stack_edit, stacks
from cli.terminal import Terminal
from config.schema.rotations import consequence
from config.schema.secrets import BY_NAME, SECRETS, Epochs, Secret
from errors import FlatlineError
from tests.unit.cli.certificates import certificate
from tests.unit.cli.checkout import Checkout
from tests.unit.cli.conftest import Clusters
from tests.unit.cli.test_clusters import answer

VALUE = "f389e4e6033a5b1df128250eed059a2988fd9eda6bd603a7bbfffa62e7681b99"

COMMENTED = """\
# The family's server.
config:
  flatline:domain: flatline.internal   # ours
  flatline:secrets:
    # the old one leaked
    turn: { epoch: 3 }   # in spring
  pulumi:disable-default-providers: ["*"]
# end
"""


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret.name)
def test_every_secret_has_a_consequence(secret: Secret) -> None:
    found = consequence(secret.name)
    assert found.effect
    assert found.until
    pinned = secret.kind in {"server-params", "generic-params"} or secret.name in {
        "unidentified-delivery-trust-root",
        "noise-tunnel",
    }
    assert found.hurts or not pinned, "clients pin its public half"


def test_a_secret_without_a_consequence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    new = Secret(name="new", readers=BY_NAME["turn"].readers, why="signs something")
    monkeypatch.setitem(BY_NAME, "new", new)
    with pytest.raises(KeyError, match="no entry for new"):
        consequence("new")


def test_a_rotation_edits_one_place_and_runs_up(brought_up: Checkout) -> None:
    brought_up.file().write_text(COMMENTED.replace("epoch: 3", "epoch: 1"))
    before = brought_up.file().read_text()
    said = brought_up.succeed("rotate", "secret", "turn", "--confirm", "dev")
    assert "a TURN server of your own refuses" in said
    assert "whisper" in said
    assert brought_up.file().read_text() == before.replace("epoch: 1", "epoch: 2")
    assert "turn-2" in brought_up.state().read_text()
    assert "nothing has changed" in brought_up.succeed("up").lower()


def test_without_agreement_the_file_stays(brought_up: Checkout) -> None:
    before = brought_up.file().read_bytes(), brought_up.contents(), brought_up.state().read_bytes()
    for words, expected in (
        (("secret", "redis"), "--confirm dev"),
        (("secret", "redis", "--yes"), "--confirm dev"),
        (("secret", "redis", "--confirm", "home"), "--confirm names home"),
        (("authority",), "--confirm dev"),
        (("secret", "redsi"), "Did you mean redis?"),
    ):
        assert expected in brought_up.fail("rotate", *words)
    assert (brought_up.file().read_bytes(), brought_up.contents(), brought_up.state().read_bytes()) == before


def test_on_a_terminal_the_name_is_typed(brought_up: Checkout, clusters: Clusters) -> None:
    answer(brought_up, ("rotate", "secret", "turn"), {"Type dev to agree": "dev"})
    assert yaml.safe_load(brought_up.file().read_text())["config"]["flatline:secrets"] == {"turn": {"epoch": 2}}


def test_an_authority_changes_in_two_steps(brought_up: Checkout) -> None:
    steps = []
    for _ in range(3):
        brought_up.succeed("rotate", "authority", "--confirm", "dev")
        config = yaml.safe_load(brought_up.file().read_text())["config"]
        steps.append(config["flatline:certificates"]["authority"])
    assert steps == [
        {"epoch": 2, "signingEpoch": 1},
        {"epoch": 2, "signingEpoch": 2},
        {"epoch": 3, "signingEpoch": 2},
    ]


def test_a_value_of_ones_own_has_no_epoch(brought_up: Checkout) -> None:
    brought_up.succeed("secret", "set", "turn", stdin=VALUE)
    before = brought_up.file().read_bytes()
    assert "is a value of your own" in brought_up.fail("rotate", "secret", "turn", "--confirm", "dev")
    assert brought_up.file().read_bytes() == before


def test_what_fails_in_up_says_how_to_go_on(brought_up: Checkout) -> None:
    said = brought_up.fail("rotate", "certificate", "--engine", "pulumi")
    assert "has the new epoch already" in said
    assert "epoch: 2" in brought_up.file().read_text()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(stacks, "ROOT", tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("name: flatline\nruntime: python\n")
    return tmp_path / "Pulumi.mine.yaml"


FORMS = {
    "nothing": "",
    "comments": "# mine\n",
    "an empty config": "config:\n",
    "braces": "config: {}\n",
    "another setting": "config:\n  flatline:domain: a.example # mine\n",
    "a block": "config:\n  flatline:certificates:\n    leaf:\n      # soon\n      validityDays: 90\n    # end\n",
    "an epoch": "config:\n  certificates:\n    leaf:\n      epoch: 1 # first\n      validityDays: 90\n",
    "braces with something": "config:\n  flatline:certificates: {leaf: {validityDays: 90}, authority: {}}\n",
    "empty braces": "config:\n  flatline:config:certificates: {}\n  flatline:domain: a.example\n",
    "no last line end": "config:\n  flatline:certificates:\n    leaf: {epoch: 1}",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_each_form_of_a_file_is_edited(root: Path, text: str) -> None:
    root.write_text(text)
    loaded = stacks.read("mine")
    edited = stack_edit.with_values(loaded, {("certificates", "leaf", "epoch"): 7})
    root.write_text(edited)
    changed = stacks.read("mine").settings
    assert changed.certificates.leaf.epoch == 7
    assert changed.certificates.leaf.validity_days == loaded.settings.certificates.leaf.validity_days
    assert changed.domain == loaded.settings.domain
    assert set(re.findall("#.*", text)) <= set(re.findall("#.*", edited))


def test_a_form_that_cannot_be_edited_is_refused(root: Path) -> None:
    root.write_text("config:\n  flatline:secrets:\n    turn: &both { epoch: 2 }\n    redis: *both\n")
    with pytest.raises(FlatlineError, match="cannot edit"):
        stack_edit.with_values(stacks.read("mine"), {("secrets", "turn", "epoch"): 3})


def test_a_rotation_that_was_taken_back_goes_on_from_the_newest(root: Path) -> None:
    root.write_text("config:\n  flatline:secrets:\n    turn: { epoch: 3, activeEpoch: 2 }\n")
    loaded = stacks.read("mine")
    root.write_text(stack_edit.with_values(loaded, rotation.of_secret(loaded, "turn").values))
    assert stacks.read("mine").settings.secret("turn").epochs == Epochs(4, 4)


@pytest.mark.parametrize(("days", "renews"), [(31, False), (29, True), (0, True), (-5, True)])
def test_a_certificate_is_renewed_when_the_clock_says_so(root: Path, days: int, renews: bool) -> None:
    root.write_text("config:\n  flatline:certificates:\n    leaf: { renewBeforeDays: 30 } # by itself\n")
    loaded = stacks.read("mine")
    outputs = {"servedCertificate": certificate(timedelta(days=100))}
    now = datetime.now(UTC) + timedelta(days=100 - days)
    renewed = rotation.renewed(loaded, outputs, now, Terminal())
    assert (renewed.settings.certificates.leaf.epoch == 2) == renews
    assert ("epoch: 2, renewBeforeDays: 30 } # by itself" in root.read_text()) == renews


def test_nothing_is_renewed_unless_it_is_set(root: Path) -> None:
    root.write_text("config: {}\n")
    outputs = {"servedCertificate": certificate(timedelta(days=-1))}
    rotation.renewed(stacks.read("mine"), outputs, datetime.now(UTC), Terminal())
    assert root.read_text() == "config: {}\n"


def test_a_certificate_that_is_rotated_is_not_renewed_once_more(brought_up: Checkout) -> None:
    outputs = brought_up.build() / "stack-outputs.json"
    content = {**json.loads(outputs.read_text()), "servedCertificate": certificate(timedelta(days=10))}
    outputs.write_text(json.dumps(content))
    brought_up.configure({"certificates": {"leaf": {"renewBeforeDays": 20}}})
    brought_up.succeed("rotate", "certificate")
    read = yaml.safe_load(brought_up.file().read_text())["config"]["flatline:certificates"]["leaf"]
    assert read["epoch"] == 2


def test_up_renews_what_ends_soon(brought_up: Checkout) -> None:
    outputs = brought_up.build() / "stack-outputs.json"
    content = {**json.loads(outputs.read_text()), "servedCertificate": certificate(timedelta(days=10))}
    for setting, epoch in ({}, None), ({"renewBeforeDays": 20}, 2):
        outputs.write_text(json.dumps(content))
        brought_up.configure({"certificates": {"leaf": setting}})
        said = brought_up.succeed("up")
        assert ("renewBeforeDays is 20" in said) == (epoch is not None)
        read = yaml.safe_load(brought_up.file().read_text())["config"]["flatline:certificates"]["leaf"]
        assert read.get("epoch") == epoch
