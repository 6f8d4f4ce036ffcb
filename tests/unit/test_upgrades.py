"""Upgrade notes: one table for `up`, `upgrade --check` and the changelog."""

import re
from pathlib import Path

import pytest

from cli import deployed
from cli.deployed import Deployed
from config import upgrades
from config.upgrades import UPGRADES
from config.version import VERSION
from docs import generate

ROOT = Path(__file__).parents[2]
TABLE = upgrades.parsed(
    """
    "0.4.0": {backTo: "0.3.0"}
    "0.3.0": {backTo: "0.3.0", backup: [groups are written anew], notes: [run it at night]}
    "0.2.0": {backTo: "0.1.0", step: moves the groups}
    "0.1.0": {backTo: "0.1.0"}
    """
)


def refused(version: str, here: str, back_to: str | None = None) -> str:
    return ". ".join(deployed.refusal(Deployed(version, back_to or version, "there"), "dev", here, TABLE) or ())


def test_every_version_of_the_changelog_has_its_notes() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert list(UPGRADES) == re.findall(r"^## (\S+) ", text, re.M)
    assert next(iter(UPGRADES)) == VERSION
    assert generate.changelog(text) == text
    assert text.count("### Upgrade\n") == len(UPGRADES)


def test_the_changelog_shows_all_that_the_table_has() -> None:
    assert upgrades.document("0.2.0", TABLE)[0].endswith("moves the groups")
    points = upgrades.document("0.3.0", TABLE)
    assert points[0] == "**Back up first**: groups are written anew"
    assert "does not go back" in points[1]
    assert points[2] == "run it at night"
    assert "goes back from it to 0.3.0" in upgrades.document("0.4.0", TABLE)[0]


@pytest.mark.parametrize("here", ["0.3.0", "0.4.0"])
def test_a_version_with_a_step_is_not_jumped_over(here: str) -> None:
    said = refused("0.1.0", here)
    assert "0.2.0 has a step of its own: moves the groups" in said
    assert "`git checkout v0.2.0`" in said


@pytest.mark.parametrize(("version", "here"), [("0.1.0", "0.2.0"), ("0.2.0", "0.4.0"), ("0.4.0", "0.4.0")])
def test_others_follow_at_once(version: str, here: str) -> None:
    assert refused(version, here) == ""


def test_back_only_to_what_can_serve_the_data() -> None:
    assert refused("0.4.0", "0.3.0", "0.3.0") == ""
    said = refused("0.4.0", "0.2.0", "0.3.0")
    assert "0.2.0 cannot serve what 0.3.0 writes" in said
    assert "restore a backup" in said
    # An `up` of 0.3.0 that has failed: 0.2.0 is deployed still, and something newer may have been written.
    assert "cannot serve" in refused("0.2.0", "0.2.0", "0.3.0")


def test_a_version_that_is_none_is_named() -> None:
    assert "newest is no version of three numbers" in refused("newest", "0.4.0")


def test_the_way_is_in_the_order_of_numbers() -> None:
    table = dict.fromkeys(("0.10.0", "0.9.0", "0.2.0"), TABLE["0.4.0"])
    assert upgrades.on_the_way("0.2.0", "0.10.0", table) == ["0.9.0", "0.10.0"]


@pytest.mark.parametrize("text", ['"0.1": {backTo: "0.1.0"}', '"0.1.0": {}', '"0.1.0": {backTo: "0.1.0", stop: x}'])
def test_a_table_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="validation error"):
        upgrades.parsed(text)
