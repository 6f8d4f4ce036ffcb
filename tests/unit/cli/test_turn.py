"""`turn config`: the file for a TURN server outside of the cluster, with the stack's own secret."""

import re
import stat

import yaml

from config.services.coturn import DENIED_IPV4, DENIED_IPV6, range_of
from tests.unit.cli.checkout import Checkout

ADDRESS = ("--address", "198.51.100.7")


def configured(checkout: Checkout, **turn: object) -> None:
    file = checkout.file()
    content = yaml.safe_load(file.read_text())
    content["config"]["flatline:turn"] = {"host": "turn.example.org", **turn}
    file.write_text(yaml.safe_dump(content))


def secret(checkout: Checkout) -> str:
    """That which Whisper makes credentials with."""
    (rendered,) = checkout.build().glob("*secret_*_whisper-config-*")
    found = re.search(r"turn\.coturn\.secret: ([0-9a-f]{64})", rendered.read_text())
    assert found
    return found[1]


def test_the_file_has_the_stack_s_secret_and_only_its_user_reads_it(whole: Checkout) -> None:
    configured(whole, tlsPort=5349)
    said = whole.succeed("turn", "config", *ADDRESS, "--private", "10.0.0.5")
    file = whole.root / "state" / "dev.turnserver.conf"
    lines = file.read_text().splitlines()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert f"static-auth-secret={secret(whole)}" in lines
    assert secret(whole) not in said
    assert {"realm=turn.example.org", "listening-port=3478", "tls-listening-port=5349"} <= set(lines)
    denied = (*map(range_of, DENIED_IPV4), *DENIED_IPV6)
    assert {"no-dtls", "no-software-attribute", *(f"denied-peer-ip={each}" for each in denied)} <= set(lines)


def test_its_own_addresses_are_closed(whole: Checkout) -> None:
    """With both of them in one `external-ip` coturn would allow the second, whatever is denied."""
    configured(whole)
    said = whole.succeed("turn", "config", *ADDRESS, "--private", "10.0.0.5", "--print")
    lines = [line.strip() for line in said.splitlines()]
    assert {"external-ip=198.51.100.7", "listening-ip=10.0.0.5", "relay-ip=10.0.0.5", "no-tls"} <= set(lines)
    assert {"denied-peer-ip=198.51.100.7", "denied-peer-ip=10.0.0.5"} <= set(lines)
    assert not any(line.startswith("allowed-peer-ip") for line in lines)
    assert f"static-auth-secret={secret(whole)}" in lines
    assert not (whole.root / "state" / "dev.turnserver.conf").exists()


def test_without_a_server_of_the_operators_it_says_what_to_write(whole: Checkout) -> None:
    said = whole.fail("turn", "config", *ADDRESS)
    assert "flatline:turn is not set" in said
    assert "flatline:turn: {host: turn.example.org}" in said
    assert not (whole.root / "state" / "dev.turnserver.conf").exists()


def test_a_stack_that_was_never_brought_up_has_no_secret_to_write(whole: Checkout) -> None:
    configured(whole)
    (whole.root / "state" / "dev.json").unlink()
    said = whole.fail("turn", "config", *ADDRESS)
    assert "./flatline up --stack dev" in said
