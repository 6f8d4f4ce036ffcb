"""Key material against libsignal itself, byte for byte, and in the use that clients and servers make of it."""

import hashlib
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from components import signal_keys
from components.signal_keys import CurveKeyPair, KeyPair
from tests.lab.libsignal import Libsignal, LibsignalError, libsignal

ROOT = Path(signal_keys.__file__).resolve().parent.parent

# Reproducible seeds; the extremes first.
_RANDOM = random.Random(20240207)
SEEDS = [bytes(32), b"\xff" * 32, *(_RANDOM.randbytes(32) for _ in range(28))]
NOW = 1_800_000_000_000
LATER = NOW + 86_400_000

SERVER_EXCHANGES = [
    "authCredential",
    "expiringProfileKeyCredential",
    "receiptCredential",
    "groupSendEndorsement",
    "notarySignature",
]
GENERIC_EXCHANGES = ["callLinkAuthCredential", "createCallLinkCredential", "backupAuthCredential"]

Derivation = Callable[[bytes], KeyPair]
PARAMETERS: list[tuple[str, Derivation, tuple[int, int]]] = [
    ("server", signal_keys.server_secret_params, (2721, 673)),
    ("genericServer", signal_keys.generic_server_secret_params, (385, 225)),
]


@pytest.fixture(scope="session")
def reference() -> Iterator[Libsignal]:
    with libsignal() as process:
        yield process


@pytest.fixture(scope="session")
def trust_root() -> CurveKeyPair:
    return signal_keys.curve_key_pair(SEEDS[2])


@pytest.fixture(scope="session")
def server() -> CurveKeyPair:
    return signal_keys.curve_key_pair(SEEDS[3])


def certificate(root: CurveKeyPair, server: CurveKeyPair, key_id: int = 5, nonce_seed: bytes = SEEDS[4]) -> bytes:
    return signal_keys.server_certificate(root.private, server.serialised, key_id, nonce_seed)


class TestParameters:
    @pytest.mark.parametrize("r", SEEDS, ids=range(len(SEEDS)))
    @pytest.mark.parametrize(("kind", "derive", "lengths"), PARAMETERS)
    def test_params_are_libsignals(
        self, reference: Libsignal, kind: str, derive: Derivation, lengths: tuple[int, int], r: bytes
    ) -> None:
        ours = derive(r)
        assert (len(ours.secret), len(ours.public)) == lengths
        assert {"secret": ours.secret, "public": ours.public} == reference.ask(f"{kind}SecretParams", random=r)

    @pytest.mark.parametrize("r", SEEDS, ids=range(len(SEEDS)))
    def test_the_public_part_follows_from_a_secret_that_was_brought(self, r: bytes) -> None:
        server, generic = signal_keys.server_secret_params(r), signal_keys.generic_server_secret_params(r)
        curve = signal_keys.curve_key_pair(r)
        assert signal_keys.public_half("server-params", server.secret) == server.public
        assert signal_keys.public_half("generic-params", generic.secret) == generic.public
        assert signal_keys.public_half("curve25519", curve.private) == curve.serialised

    @pytest.mark.parametrize("kind", ["server-params", "generic-params", "curve25519"])
    def test_halves_belong_together(self, kind: signal_keys.KeyKind) -> None:
        secret = signal_keys.secret_half(kind, SEEDS[8])
        assert signal_keys.public_half(kind, secret) != signal_keys.public_half(
            kind, signal_keys.secret_half(kind, SEEDS[9])
        )
        with pytest.raises(ValueError, match="secret"):
            signal_keys.public_half(kind, secret[:-1])

    def test_every_exchange_of_the_reference_is_tried(self, reference: Libsignal) -> None:
        expected = {"server": SERVER_EXCHANGES, "generic": GENERIC_EXCHANGES}
        assert reference.ask("exchanges") == expected

    @pytest.mark.parametrize(
        ("exchange", "derive", "kind"),
        [
            *(("serverExchange", signal_keys.server_secret_params, kind) for kind in SERVER_EXCHANGES),
            *(("genericExchange", signal_keys.generic_server_secret_params, kind) for kind in GENERIC_EXCHANGES),
        ],
    )
    def test_params_work(self, reference: Libsignal, exchange: str, derive: Derivation, kind: str) -> None:
        ours, other = map(derive, SEEDS[5:7])
        reference.ask(exchange, kind=kind, secret=ours.secret, known=ours.public)
        with pytest.raises(LibsignalError, match="Verification failure"):
            reference.ask(exchange, kind=kind, secret=ours.secret, known=other.public)

    @pytest.mark.parametrize("derive", [signal_keys.server_secret_params, signal_keys.generic_server_secret_params])
    def test_equal_seeds_give_equal_params_and_different_ones_different(self, derive: Derivation) -> None:
        assert derive(SEEDS[7]) == derive(SEEDS[7])
        assert len({derive(r).secret for r in SEEDS}) == len(SEEDS)
        assert len({derive(r).public for r in SEEDS}) == len(SEEDS)


class TestCurveKeys:
    @pytest.mark.parametrize("r", SEEDS, ids=range(len(SEEDS)))
    def test_keys_are_libsignals(self, reference: Libsignal, r: bytes) -> None:
        ours = signal_keys.curve_key_pair(r)
        expected = {"private": ours.private, "public": ours.public, "serialised": ours.serialised}
        assert reference.ask("curveKey", secret=ours.private) == expected

    @settings(deadline=None)
    @given(st.binary(min_size=32, max_size=32))
    def test_private_keys_are_clamped(self, r: bytes) -> None:
        private = signal_keys.curve_key_pair(r).private
        assert private[0] & 0b111 == 0
        assert private[31] & 0b1100_0000 == 0b0100_0000
        assert private[1:31] == r[1:31]
        assert signal_keys.curve_key_pair(private).private == private


class TestServerCertificate:
    @pytest.mark.parametrize("key_id", [0, 1, 5, 127, 128, 300, 2**14, 2**21, 2**28, 2**31, 2**32 - 1])
    def test_libsignal_reads_what_was_signed(
        self, reference: Libsignal, trust_root: CurveKeyPair, server: CurveKeyPair, key_id: int
    ) -> None:
        ours = reference.ask("serverCertificate", certificate=certificate(trust_root, server, key_id=key_id))
        assert ours["keyId"] == key_id
        assert ours["key"] == server.serialised
        issued = reference.ask(
            "newServerCertificate", keyId=key_id, key=server.serialised, trustRoot=trust_root.private
        )
        theirs = reference.ask("serverCertificate", certificate=issued)
        assert ours["certificate"] == theirs["certificate"]

    @pytest.mark.parametrize("key_id", [0, 5, 127])
    def test_a_small_id_gives_105_bytes(self, trust_root: CurveKeyPair, server: CurveKeyPair, key_id: int) -> None:
        assert len(certificate(trust_root, server, key_id=key_id)) == 105

    @pytest.mark.parametrize("r", SEEDS, ids=range(len(SEEDS)))
    def test_only_the_trust_root_has_signed(
        self, reference: Libsignal, server: CurveKeyPair, trust_root: CurveKeyPair, r: bytes
    ) -> None:
        root = signal_keys.curve_key_pair(signal_keys.expand(r, "root", 32))
        parsed = reference.ask("serverCertificate", certificate=certificate(root, server))
        message, signature = parsed["certificate"], parsed["signature"]
        assert reference.ask("signed", key=root.serialised, message=message, signature=signature) is True
        assert reference.ask("signed", key=trust_root.serialised, message=message, signature=signature) is False
        changed = bytes([signature[0] ^ 1]) + signature[1:]
        assert reference.ask("signed", key=root.serialised, message=message, signature=changed) is False

    @pytest.mark.parametrize(
        ("signer", "pinned", "at", "accepted"),
        [
            pytest.param("server", "root", NOW, True, id="the whole chain"),
            pytest.param("server", "other", NOW, False, id="another trust root"),
            pytest.param("other", "root", NOW, False, id="another server key"),
            pytest.param("server", "root", LATER + 1, False, id="expired"),
        ],
    )
    def test_clients_accept_the_chain(
        self,
        reference: Libsignal,
        trust_root: CurveKeyPair,
        server: CurveKeyPair,
        signer: str,
        pinned: str,
        at: int,
        accepted: bool,
    ) -> None:
        keys = {"root": trust_root, "server": server, "other": signal_keys.curve_key_pair(SEEDS[8])}
        answer = reference.ask(
            "senderCertificateAccepted",
            serverCertificate=certificate(trust_root, server),
            serverKey=keys[signer].private,
            trustRoot=keys[pinned].serialised,
            expiration=LATER,
            time=at,
        )
        assert answer is accepted

    def test_equal_input_gives_an_equal_certificate(self, trust_root: CurveKeyPair, server: CurveKeyPair) -> None:
        once = certificate(trust_root, server)
        assert certificate(trust_root, server) == once
        assert certificate(trust_root, server, nonce_seed=SEEDS[9])[:41] == once[:41]
        assert certificate(trust_root, server, nonce_seed=SEEDS[9]) != once

    def test_certificates_of_existing_stacks_stay_as_they_are(self) -> None:
        """The nonce is ours to derive, so nothing but this says that an update leaves certificates alone."""
        root, server = (signal_keys.curve_key_pair(bytes([n]) * 32) for n in (1, 2))
        ours = signal_keys.server_certificate(root.private, server.serialised, 1, bytes([3]) * 32)
        assert hashlib.sha256(ours).hexdigest() == "2b0895d7cb2798d7581cea70f8ce6c5b84b84ae22d28d6e5e32ea4dde5cbf5f9"


class TestExpand:
    @settings(deadline=None)
    @given(st.binary(min_size=32, max_size=80), st.text(min_size=1, max_size=40), st.integers(1, 200))
    @example(SEEDS[2], "zk", 8160)
    def test_bytes_are_libsignals_hkdf(self, reference: Libsignal, seed: bytes, label: str, length: int) -> None:
        expected = reference.ask("hkdf", length=length, material=seed, label=label.encode(), salt=bytes(32))
        assert signal_keys.expand(seed, label, length) == expected

    @settings(deadline=None)
    @given(st.text(min_size=32, max_size=64))
    def test_text_counts_as_utf_8(self, seed: str) -> None:
        assert signal_keys.expand(seed, "a", 32) == signal_keys.expand(seed.encode(), "a", 32)

    @settings(deadline=None)
    @given(st.binary(min_size=32, max_size=32), st.text(min_size=1), st.text(min_size=1))
    def test_labels_and_seeds_separate(self, seed: bytes, one: str, other: str) -> None:
        assert (signal_keys.expand(seed, one, 32) == signal_keys.expand(seed, other, 32)) == (one == other)
        assert signal_keys.expand(seed, one, 32) != signal_keys.expand(seed + b"\x00", one, 32)


class TestForms:
    @pytest.mark.parametrize(
        ("data", "base64", "hexadecimal"),
        [
            (b"", "", ""),
            (b"\xff", "/w==", "ff"),
            (b"\xfb\xef", "++8=", "fbef"),
            (b"\x00\x01\x02", "AAEC", "000102"),
        ],
    )
    def test_texts(self, data: bytes, base64: str, hexadecimal: str) -> None:
        assert signal_keys.to_base64(data) == base64
        assert signal_keys.to_hex(data) == hexadecimal

    def test_long_values_stay_on_one_line(self) -> None:
        assert re.fullmatch(r"[A-Za-z0-9+/]{896}[A-Za-z0-9+/]{2}==", signal_keys.to_base64(b"\xfe" * 673))


PRIVATE = signal_keys.curve_key_pair(SEEDS[2]).private
SERIALISED = signal_keys.curve_key_pair(SEEDS[3]).serialised
GOOD_CERTIFICATE = (PRIVATE, SERIALISED, 5, SEEDS[4])


def replaced(position: int, value: object) -> tuple[object, ...]:
    return (*GOOD_CERTIFICATE[:position], value, *GOOD_CERTIFICATE[position + 1 :])


REFUSALS = [
    *(
        pytest.param(function, (value,), "r: expected 32 bytes", id=f"{function.__name__}-{label}")
        for function in (
            signal_keys.server_secret_params,
            signal_keys.generic_server_secret_params,
            signal_keys.curve_key_pair,
        )
        for label, value in [
            ("short", b"PLANTED" * 4),
            ("long", b"PLANTED!" * 5),
            ("empty", b""),
            ("text", "PLANTED!" * 4),
            ("bytearray", bytearray(32)),
        ]
    ),
    *(
        pytest.param(signal_keys.server_certificate, replaced(position, value), message, id=f"certificate-{label}")
        for label, position, value, message in [
            ("root-short", 0, PRIVATE[:-1], "trust_root_private: expected 32 bytes"),
            ("root-unclamped", 0, b"\x01" + PRIVATE[1:], "trust_root_private: expected a clamped Curve25519"),
            ("root-high-bit", 0, PRIVATE[:-1] + b"\xff", "trust_root_private: expected a clamped Curve25519"),
            ("key-bare", 1, SERIALISED[1:], "server_public_serialised: expected 33 bytes"),
            ("key-type", 1, b"\x06" + SERIALISED[1:], "server_public_serialised: expected the type byte 05"),
            ("id-negative", 2, -1, "key_id: expected a whole number from 0 to 4294967295"),
            ("id-too-large", 2, 2**32, "key_id: expected a whole number from 0 to 4294967295"),
            ("id-text", 2, "5", "key_id: expected a whole number from 0 to 4294967295"),
            ("id-revoked", 2, 0xDEADC357, "key_id: expected neither 0xdeadc357 nor 0x7357c357"),
            ("id-test", 2, 0x7357C357, "key_id: expected neither 0xdeadc357 nor 0x7357c357"),
            ("nonce-short", 3, b"PLANTED", "nonce_seed: expected 32 bytes"),
        ]
    ),
    *(
        pytest.param(signal_keys.expand, arguments, message, id=f"expand-{label}")
        for label, arguments, message in [
            ("seed-short", ("PLANTED" * 4, "use", 32), "seed: expected text or bytes, at least 32 bytes"),
            ("seed-none", (None, "use", 32), "seed: expected text or bytes"),
            ("label-empty", ("s" * 32, "", 32), "label: expected a text that names the use"),
            ("label-bytes", ("s" * 32, b"use", 32), "label: expected a text that names the use"),
            ("length-zero", ("s" * 32, "use", 0), "length: expected a whole number from 1 to 8160"),
            ("length-large", ("s" * 32, "use", 8161), "length: expected a whole number from 1 to 8160"),
            ("length-text", ("s" * 32, "use", "32"), "length: expected a whole number from 1 to 8160"),
        ]
    ),
]


class TestRefusals:
    @pytest.mark.parametrize(("function", "arguments", "message"), REFUSALS)
    def test_the_argument_and_its_form_are_named_and_no_value(
        self, function: Callable[..., object], arguments: tuple[object, ...], message: str
    ) -> None:
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            function(*arguments)
        shown = str(caught.value)
        assert "PLANTED" not in shown
        assert not any(repr(value) in shown for value in arguments if isinstance(value, bytes) and value)

    def test_representations_hide_secrets(self) -> None:
        assert repr(signal_keys.server_secret_params(SEEDS[2])).startswith("KeyPair(public=")
        assert repr(signal_keys.curve_key_pair(SEEDS[2])).startswith("CurveKeyPair(public=")


class TestImport:
    def test_import_loads_no_engine_and_nothing_slow(self) -> None:
        """Plain imports must stay cheap, because every command of a stack pays for them."""
        program = "import sys, components.signal_keys; print(*sys.modules)"
        modules = run_python(program).split()
        assert "components.signal_keys" in modules
        assert not {"rbcl", "pulumi"} & set(modules)

    def test_nothing_is_left_in_the_temporary_folder(self, tmp_path: Path) -> None:
        program = "import components.signal_keys as k; print(len(k.server_secret_params(bytes(32)).secret))"
        assert run_python(program, TMPDIR=str(tmp_path)) == "2721\n"
        assert list(tmp_path.iterdir()) == []


class TestReference:
    def test_a_process_that_died_is_reported_with_its_last_words(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("tests.lab.libsignal.npm_install", lambda name, folder: tmp_path)
        with (
            libsignal() as process,
            pytest.raises(RuntimeError, match=r"answer to exchanges: exit status 1(.|\n)*Cannot find module"),
        ):
            process.ask("exchanges")

    def test_an_installation_that_failed_says_what_npm_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(name: str, folder: Path) -> Path:
            raise subprocess.CalledProcessError(1, ["npm", "ci"], stderr="npm error code ENOTFOUND")

        monkeypatch.setattr("tests.lab.libsignal.npm_install", fail)
        with pytest.raises(RuntimeError, match=r"package-lock\.json (.|\n)*exit status 1(.|\n)*ENOTFOUND"), libsignal():
            pytest.fail("nothing was installed")


def run_python(program: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
