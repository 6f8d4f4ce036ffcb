"""The kits of a stack: each file read by its language's own tool, and a client built from the files alone."""

import base64
import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import tree_sitter_kotlin
import tree_sitter_rust
import tree_sitter_swift
import yaml
from cryptography import x509
from tree_sitter import Language, Node, Parser

from cli.reissue import NOT_PINS
from client_kit import android, desktop, ios, kit, libsignal, pins
from client_kit.pins import Pins
from tests.graph.stack import Stack
from tests.graph.test_pins import BUNDLE, secret, whisper
from tests.lab import keystores
from tests.lab.fetch import skip_if_missing
from tests.lab.libsignal import Libsignal
from tests.lab.libsignal import libsignal as judge

KOTLIN, SWIFT, RUST = (Language(each.language()) for each in (tree_sitter_kotlin, tree_sitter_swift, tree_sitter_rust))
LITERALS = {"string_literal", "line_string_literal"}


def outputs(stack: Stack) -> dict[str, Any]:
    return {name: value for name, value in stack.recording.outputs.items() if name not in NOT_PINS}


def made(stack: Stack, client: str) -> Mapping[str, bytes]:
    return kit.made(client, "some", outputs(stack), pins.of(outputs(stack)))


@pytest.fixture
def stack(emulated: Stack) -> Stack:
    """One kind of stack: pins are of one form in all of them."""
    return emulated


@pytest.fixture
def known(stack: Stack) -> Pins:
    return pins.of(outputs(stack))


@pytest.fixture(scope="module")
def client() -> Iterator[Libsignal]:
    with judge() as process:
        yield process


def parsed(language: Language, content: bytes) -> Node:
    """The tree of a source that has no mistake."""
    tree = Parser(language).parse(content)
    assert not tree.root_node.has_error, content.decode()
    return tree.root_node


def nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from nodes(child)


def text(node: Node) -> str:
    assert node.text is not None
    return node.text.decode()


def fields(content: bytes) -> dict[str, tuple[str, str]]:
    """Type and Java expression of each field of BuildConfig."""
    found = {}
    for call in nodes(parsed(KOTLIN, content)):
        if call.type == "call_expression" and text(call).startswith("buildConfigField("):
            kind, name, value = (json.loads(text(each)) for each in nodes(call) if each.type in LITERALS)
            assert name not in found
            found[name] = (kind, value)
    return found


def java(expression: str) -> list[str]:
    """The texts of a Java expression that is a text or an array of texts."""
    return [json.loads(each) for each in re.findall(r'"(?:[^"\\]|\\.)*"', expression)]


def swift(content: bytes) -> dict[str, str]:
    """The expression of each constant."""
    constants = [each for each in nodes(parsed(SWIFT, content)) if each.type == "property_declaration"]
    return {match[1]: match[2] for each in constants if (match := re.search(r"let (\w+)[^=]* = (.*)", text(each)))}


def test_the_same_pins_give_the_same_bytes(stack: Stack) -> None:
    for client in kit.CLIENTS:
        assert made(stack, client) == made(stack, client)


def test_a_kit_holds_no_secret(stack: Stack) -> None:
    secrets = [str(each) for each in yaml.safe_load(stack.file("whisper", BUNDLE)).values()]
    assert len(secrets) > 10
    for client in kit.CLIENTS:
        for content in made(stack, client).values():
            assert not [each for each in secrets if each.encode() in content]


def test_android_gets_both_spellings_of_the_trust_root(stack: Stack, known: Pins) -> None:
    found = fields(made(stack, "android")[android.FIELDS])
    assert found["UNIDENTIFIED_SENDER_TRUST_ROOTS"] == ("String[]", f'new String[]{{"{known.trust_root}"}}')
    assert found["UNIDENTIFIED_SENDER_TRUST_ROOT"] == ("String", f'"{known.trust_root}"')


def test_android_is_told_every_service(stack: Stack, known: Pins) -> None:
    found = fields(made(stack, "android")[android.FIELDS])
    urls = {name: java(value) for name, (_, value) in found.items() if name in SERVICES_OF}
    assert urls == {name: [known.urls[service]] for name, service in SERVICES_OF.items()}


SERVICES_OF = {
    "SIGNAL_URL": "whisper",
    "STORAGE_URL": "storage",
    "SIGNAL_CDN_URL": "cdn0",
    "SIGNAL_CDN2_URL": "cdn3",
    "SIGNAL_CDN3_URL": "cdn3",
}


@pytest.mark.parametrize("client", kit.CLIENTS)
def test_a_client_is_sent_nowhere_but_to_the_installation(client: str, stack: Stack, known: Pins) -> None:
    """Every host name in a kit's sources is of the domain, or never resolves."""
    for name, content in made(stack, client).items():
        if name.endswith((".kts", ".rs", ".swift", ".json")):
            hosts = re.findall(r'(?:https|wss)://([^/"\\]+)|hostname: "([^"]+)"', content.decode())
            for host in (one or two for one, two in hosts):
                assert host.endswith((f".{known.domain}", ".invalid")), (name, host)


def test_the_constants_of_ios(stack: Stack, known: Pins) -> None:
    found = swift(made(stack, "ios")[ios.CONSTANTS])
    assert found["mainServiceURL"] == json.dumps(known.urls["whisper"])
    assert found["kUDTrustRoots"] == json.dumps([known.trust_root])
    assert found["callLinkPublicParams"] == f'Data(base64Encoded: "{known.generic_server_public_params}")!'
    assert found.keys() >= PROTOCOL


PROTOCOL = {
    *("mainServiceURL", "textSecureCDN0ServerURL", "textSecureCDN2ServerURL", "textSecureCDN3ServerURL"),
    *("storageServiceURL", "sfuURL", "sfuTestURL", "svr2URL", "registrationCaptchaURL", "challengeCaptchaURL"),
    *("kUDTrustRoots", "updatesURL", "updates2URL", "censorshipFReflectorHost", "censorshipGReflectorHost"),
    *("serviceCensorshipPrefix", "cdn0CensorshipPrefix", "cdn2CensorshipPrefix", "cdn3CensorshipPrefix"),
    *("storageServiceCensorshipPrefix", "svr2CensorshipPrefix", "svr2Enclave", "svr2PreviousEnclaves"),
    *("applicationGroup", "serverPublicParams", "callLinkPublicParams", "backupServerPublicParams"),
}
"""What a class of constants must have (Signal-iOS, TSConstants.swift, protocol TSConstantsProtocol)."""


def test_libsignal_gets_its_certificates_and_hosts(stack: Stack, known: Pins) -> None:
    content = made(stack, "libsignal")
    parsed(RUST, content[libsignal.CERTIFICATES])
    assert tuple(content[name] for name in included(content)) == known.ders
    constants = {
        text(name): text(each)
        for each in nodes(parsed(RUST, content[libsignal.HOSTS]))
        if each.type == "const_item" and (name := each.child_by_field_name("name"))
    }
    assert set(constants) == {f"DOMAIN_CONFIG_{name}_DEV" for name in ("CHAT", "CDSI", "SVR2", "SVRB")}
    chat = constants["DOMAIN_CONFIG_CHAT_DEV"]
    assert f'hostname: "{known.host("whisper")}"' in chat
    assert "min_tls_version: Some(SslVersion::TLS1_3)" in chat
    assert "confirmation_header_name: Some(TIMESTAMP_HEADER_NAME)" in chat


def included(content: Mapping[str, bytes]) -> list[str]:
    """The files that libsignal's list of certificates takes in."""
    return re.findall(r'include_bytes!\("\.\./res/([^"]+)"\)', content[libsignal.CERTIFICATES].decode())


def test_every_certificate_is_a_pinned_authority(stack: Stack, known: Pins) -> None:
    for client in kit.CLIENTS:
        content = made(stack, client)
        assert tuple(x509.load_pem_x509_certificates(content["ca.pem"])) == known.authorities
        ders = [content[name] for name in sorted(content) if name.endswith(".cer")]
        assert ders in ([], [*known.ders])
    configuration = json.loads(made(stack, "desktop")[desktop.CONFIGURATION])
    assert tuple(x509.load_pem_x509_certificates(configuration["certificateAuthority"].encode())) == known.authorities


def test_the_readme_names_every_file(stack: Stack, known: Pins) -> None:
    for client in kit.CLIENTS:
        content = made(stack, client)
        page = content["README.md"].decode()
        assert [name for name in content if name != "README.md" and f"`{name}`" not in page] == []
        assert pins.fingerprint(known.authorities[0]) in page


def credentials(stack: Stack, client: str) -> tuple[bytes, ...]:
    """What a client built from the kit has: parameters of groups, of calls and of backups, and the trust root."""
    content = made(stack, client)
    if client == "android":
        found = fields(content[android.FIELDS])
        names = ("ZKGROUP_SERVER_PUBLIC_PARAMS", "GENERIC_SERVER_PUBLIC_PARAMS", "BACKUP_SERVER_PUBLIC_PARAMS")
        texts = [java(found[name][1])[0] for name in (*names, "UNIDENTIFIED_SENDER_TRUST_ROOTS")]
    elif client == "ios":
        constants = swift(content[ios.CONSTANTS])
        names = ("serverPublicParams", "callLinkPublicParams", "backupServerPublicParams", "kUDTrustRoots")
        texts = [java(constants[name])[0] for name in names]
    else:
        configuration = json.loads(content[desktop.CONFIGURATION])
        names = ("serverPublicParams", "genericServerPublicParams", "backupServerPublicParams")
        texts = [*(configuration[name] for name in names), *configuration["serverTrustRoots"]]
    return tuple(base64.b64decode(each, validate=True) for each in texts)


def test_a_client_of_a_kit_verifies_what_the_server_issues(stack: Stack, client: Libsignal) -> None:
    """The kits of all apps have the same, so libsignal judges one of them."""
    assert credentials(stack, "ios") == credentials(stack, "desktop") == credentials(stack, "android")
    groups, calls, backups, trust_root = credentials(stack, "android")
    kinds = client.ask("exchanges")
    for kind in kinds["server"]:
        client.ask(
            "serverExchange", kind=kind, secret=secret(stack, "zkConfig-libsignal-0.42.serverSecret"), known=groups
        )
    for key, known in (("callingZkConfig.serverSecret", calls), ("backupsZkConfig.serverSecret", backups)):
        for kind in kinds["generic"]:
            client.ask("genericExchange", kind=kind, secret=secret(stack, key), known=known)
    now = int(time.time() * 1000)
    assert client.ask(
        "senderCertificateAccepted",
        trustRoot=trust_root,
        serverCertificate=base64.b64decode(whisper(stack)["unidentifiedDelivery"]["certificate"], validate=True),
        serverKey=secret(stack, "unidentifiedDelivery.privateKey"),
        expiration=now + 60_000,
        time=now,
    )


@pytest.fixture
def store(stack: Stack, tmp_path: Path) -> Path:
    path = tmp_path / android.STORE
    path.write_bytes(made(stack, "android")[android.STORE])
    return path


def test_pyjks_reads_the_trust_store(store: Path, known: Pins) -> None:
    with skip_if_missing():
        read = keystores.by_pyjks(store, android.PASSWORD)
    assert read.returncode == 0, read.stderr
    assert json.loads(read.stdout) == {
        "version": 2,
        "certificates": {
            f"authority-{number}": pins.fingerprint(each).replace(":", "").lower()
            for number, each in enumerate(known.authorities, 1)
        },
        "others": 0,
    }


def test_keytool_reads_the_trust_store(store: Path, known: Pins) -> None:
    with skip_if_missing():
        read = keystores.by_keytool(store, android.PASSWORD)
    assert read.returncode == 0, read.stdout + read.stderr
    listed = re.findall(r"-----BEGIN.*?END CERTIFICATE-----\n", read.stdout, re.S)
    assert tuple(x509.load_pem_x509_certificate(each.encode()) for each in listed) == known.authorities


def test_both_refuse_a_store_that_was_changed(store: Path) -> None:
    content = bytearray(store.read_bytes())
    content[-30] ^= 1
    store.write_bytes(content)
    with skip_if_missing():
        assert keystores.by_pyjks(store, android.PASSWORD).returncode != 0
        assert keystores.by_keytool(store, android.PASSWORD).returncode != 0


def test_a_store_of_two_authorities(stack: Stack, known: Pins, tmp_path: Path) -> None:
    """As they are while one is replaced."""
    both = {**outputs(stack), "caCertificates": known.pem * 2}
    content = kit.made("android", "some", both, pins.of(both))
    (tmp_path / android.STORE).write_bytes(content[android.STORE])
    with skip_if_missing():
        assert keystores.by_keytool(tmp_path / android.STORE, android.PASSWORD).stdout.count("END CERTIFICATE") == 2
    rust = kit.made("libsignal", "some", both, pins.of(both))
    parsed(RUST, rust[libsignal.CERTIFICATES])
    assert tuple(rust[name] for name in included(rust)) == known.ders * 2
