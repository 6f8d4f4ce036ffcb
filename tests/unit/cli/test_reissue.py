"""Before what clients depend on is issued again, somebody must have agreed."""

import pytest

from tests.unit.cli.checkout import Checkout
from tests.unit.cli.conftest import Clusters
from tests.unit.cli.test_clusters import answer

MOVED = {"domain": "chat.example.org"}
OTHER_AUTHORITY = {"certificates": {"leaf": {"validityDays": 30}}}
"""In the small program, whose authority has the leaf's setting."""


def settled(checkout: Checkout) -> tuple[dict[str, bytes], bytes]:
    return checkout.contents(), checkout.state().read_bytes()


@pytest.mark.parametrize("command", [("up",), ("render",), ("up", "--context", "mine", "--yes")], ids=" ".join)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (MOVED, ("https://whisper.flatline.internal becomes https://whisper.chat.example.org", "pin urls")),
        (OTHER_AUTHORITY, ("pin caCertificates: clients that do not trust", "certificate that is served")),
    ],
)
def test_without_agreement_nothing_is_written(
    brought_up: Checkout, clusters: Clusters, command: tuple[str, ...], change: dict[str, object], expected: tuple[str]
) -> None:
    before = settled(brought_up)
    brought_up.configure(change)
    said = brought_up.fail(*command)
    assert all(each in said for each in expected)
    assert "--confirm dev" in said
    assert "names home" in brought_up.fail(*command, "--confirm", "home")
    assert settled(brought_up) == before
    brought_up.succeed(*command, "--confirm", "dev")
    assert settled(brought_up) != before


def test_an_emptied_file_shows_what_it_would_issue_again(brought_up: Checkout) -> None:
    brought_up.configure(MOVED)
    brought_up.succeed("up", "--confirm", "dev")
    before = settled(brought_up)
    for text in ("", "config: {}\n"):
        brought_up.file().write_text(text)
        assert "https://whisper.chat.example.org becomes https://whisper.flatline.internal" in brought_up.fail("up")
    assert settled(brought_up) == before


def test_preview_shows_it_too(brought_up: Checkout) -> None:
    brought_up.configure(OTHER_AUTHORITY)
    result = brought_up.run("preview")
    assert result.returncode == 0
    assert "pin caCertificates" in result.stderr


def test_on_a_terminal_the_name_is_typed(brought_up: Checkout) -> None:
    brought_up.configure(MOVED)
    shown = answer(brought_up, ("up",), {"Type dev to agree": "dev"})
    assert "pin urls" in shown
    assert b"chat.example.org" in (brought_up.build() / "stack-outputs.json").read_bytes()


def test_what_clients_do_not_notice_needs_no_agreement(whole: Checkout) -> None:
    for change in ({"certificates": {"leaf": {"epoch": 2}}}, {"secrets": {"attachments": {"epoch": 2}}}):
        whole.configure(change | {"certificates": {"leaf": {"epoch": 2}}})
        whole.succeed("up")
    before = settled(whole)
    # The certificate of the first epoch is older than the one that is served.
    whole.configure({})
    assert "certificate that is served" in whole.fail("up")
    assert settled(whole) == before


def test_each_pin_says_what_it_means(whole: Checkout) -> None:
    before = settled(whole)
    whole.configure(
        {
            "certificates": {"authority": {"epoch": 2, "signingEpoch": 1}},
            "secrets": {"zk-server": {"epoch": 2}, "noise-tunnel": {"epoch": 2}},
        }
    )
    said = whole.fail("up")
    assert "pin caCertificates: an authority is added; clients that trust the earlier one go on" in said
    assert "pin serverPublicParams: existing groups and profiles become unreadable" in said
    assert "pin noisePublicKey" in said
    assert "pin genericServerPublicParams" not in said
    assert settled(whole) == before
