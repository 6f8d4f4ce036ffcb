"""`preview` without an engine, and the differences that it shows."""

from typing import Any

import pytest

from cli import difference
from cli.objects import Object
from tests.unit.cli.checkout import Checkout


def an_object(kind: str, name: str, **content: Any) -> Object:
    return Object({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "n"}, **content})


def test_nothing_has_changed(brought_up: Checkout) -> None:
    before, state = brought_up.contents(), brought_up.state().read_bytes()
    assert brought_up.succeed("preview").splitlines()[-1] == "Nothing."
    assert brought_up.contents() == before
    assert brought_up.state().read_bytes() == state


def test_it_shows_what_would_change_and_changes_nothing(brought_up: Checkout) -> None:
    before, state = brought_up.contents(), brought_up.state().read_bytes()
    brought_up.configure({"domain": "chat.example.org", "secrets": {"turn": {"epoch": 2}}})
    said = brought_up.succeed("preview")
    assert "-  domain: flatline.internal" in said
    assert "+  domain: chat.example.org" in said
    assert "changed: ConfigMap flatline/web-config-" in said
    assert "changed: Secret flatline/turn-key-" in said
    assert said.splitlines()[-1] == "0 new, 3 changed, 0 gone."  # the namespace has their digests
    assert brought_up.contents() == before
    assert brought_up.state().read_bytes() == state


def test_secrets_are_hidden_before_and_after(brought_up: Checkout) -> None:
    secret = next(brought_up.build().glob("*-secret_*_turn-key-*")).read_text().split("turn: ")[1].split()[0].strip('"')
    brought_up.configure({"secrets": {"turn": {"epoch": 2}}})
    said = brought_up.succeed("preview")
    assert len(secret) == 40
    assert secret not in said
    assert "REDACTED (before)" in said
    assert "REDACTED (after)" in said


def test_of_a_new_stack_everything_is_new_and_nothing_is_made(checkout: Checkout) -> None:
    said = checkout.succeed("preview")
    assert "new: StatefulSet flatline/redis" in said
    assert "changed" not in said.rpartition(" new, ")[0]
    assert not (checkout.root / "state").exists()
    assert not list(checkout.home.rglob("*.passphrase"))


def test_an_object_that_is_gone(brought_up: Checkout) -> None:
    program = brought_up.root / "__main__.py"
    program.write_text(
        program.read_text().replace('kubernetes_object("v1", "Service"', '(lambda *_: None)("v1", "Service"')
    )
    assert "gone: Service flatline/web" in brought_up.succeed("preview")


def test_objects_named_after_their_content_are_matched_by_role() -> None:
    old, new = an_object("ConfigMap", "a-0123456789", data={"k": "1"}), an_object("ConfigMap", "a-abcdef0123", data={})
    assert difference.between([old], [new]).changed == ((old, new),)


def test_two_of_one_role_are_matched_by_name() -> None:
    kept, gone = an_object("ConfigMap", "a-0123456789"), an_object("ConfigMap", "a-abcdef0123")
    found = difference.between([kept, gone], [kept, an_object("ConfigMap", "a-1111111111")])
    assert not found.changed
    assert found.gone == (gone,)
    assert [each.name for each in found.new] == ["a-1111111111"]


def test_kinds_of_two_groups_are_two_objects() -> None:
    ours = an_object("Middleware", "a")
    theirs = Object({**ours.content, "apiVersion": "traefik.io/v1alpha1"})
    found = difference.between([ours], [theirs])
    assert (found.gone, found.new) == ((ours,), (theirs,))


@pytest.mark.parametrize("section", ["data", "stringData"])
def test_values_of_a_secret_are_never_in_its_difference(section: str) -> None:
    before = an_object("Secret", "s", **{section: {"same": "equal-value", "other": "old-value", "gone": "gone-value"}})
    after = an_object("Secret", "s", **{section: {"same": "equal-value", "other": "new-value"}})
    text = "\n".join(difference.lines(before, after))
    assert "-value" not in text
    assert "same: REDACTED" in text
    assert '+  other: "REDACTED (after)"' in text or "+  other: REDACTED (after)" in text
