"""A client that is built from the exported pins alone understands the server: libsignal is the judge."""

import base64
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.graph.stack import Stack
from tests.lab.libsignal import Libsignal, LibsignalError, libsignal

CONFIG, BUNDLE = "/usr/share/signal/dev.yml", "/usr/share/signal/secrets-bundle.yml"


@pytest.fixture(scope="module")
def client() -> Iterator[Libsignal]:
    with libsignal() as process:
        yield process


def pin(stack: Stack, name: str) -> bytes:
    return base64.b64decode(stack.recording.outputs[name], validate=True)


def secret(stack: Stack, name: str) -> bytes:
    return base64.b64decode(yaml.safe_load(stack.file("whisper", BUNDLE))[name], validate=True)


def whisper(stack: Stack) -> Any:
    return yaml.safe_load(stack.file("whisper", CONFIG))


def test_every_credential_that_whisper_issues_verifies_against_the_pins(stack: Stack, client: Libsignal) -> None:
    kinds = client.ask("exchanges")
    server = {
        "secret": secret(stack, "zkConfig-libsignal-0.42.serverSecret"),
        "known": pin(stack, "serverPublicParams"),
    }
    for kind in kinds["server"]:
        client.ask("serverExchange", kind=kind, **server)
    pairs = [("callingZkConfig.serverSecret", "genericServerPublicParams")]
    pairs.append(("backupsZkConfig.serverSecret", "backupServerPublicParams"))
    for key, name in pairs:
        for kind in kinds["generic"]:
            client.ask("genericExchange", kind=kind, secret=secret(stack, key), known=pin(stack, name))


def test_calling_and_backups_have_keys_of_their_own(stack: Stack, client: Libsignal) -> None:
    (kind, *_) = client.ask("exchanges")["generic"]
    crossed = {"secret": secret(stack, "callingZkConfig.serverSecret"), "known": pin(stack, "backupServerPublicParams")}
    with pytest.raises(LibsignalError, match="Verification failure"):
        client.ask("genericExchange", kind=kind, **crossed)


def test_the_public_parameters_in_whispers_file_are_the_pinned_ones(stack: Stack) -> None:
    assert base64.b64decode(whisper(stack)["zkConfig"]["serverPublic"]) == pin(stack, "serverPublicParams")


def test_a_sealed_sender_is_accepted_by_the_pinned_trust_root(stack: Stack, client: Libsignal) -> None:
    now = int(time.time() * 1000)
    chain = {
        "serverCertificate": base64.b64decode(whisper(stack)["unidentifiedDelivery"]["certificate"], validate=True),
        "serverKey": secret(stack, "unidentifiedDelivery.privateKey"),
        "expiration": now + 60_000,
        "time": now,
    }
    assert client.ask("senderCertificateAccepted", trustRoot=pin(stack, "unidentifiedSenderTrustRoot"), **chain)
    assert not client.ask("senderCertificateAccepted", trustRoot=pin(stack, "noisePublicKey"), **chain)


def test_the_noise_key_belongs_to_its_pin(stack: Stack, client: Libsignal) -> None:
    key = client.ask("curveKey", secret=secret(stack, "noiseTunnel.noiseStaticPrivateKey"))
    assert key["serialised"] == pin(stack, "noisePublicKey")
