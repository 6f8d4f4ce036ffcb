"""Generated keys and certificates are verified by an independent parser and verifier."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from render import tls_provider
from render.entropy import Entropy, SeededEntropy, SystemEntropy

START = datetime(2026, 1, 1, tzinfo=UTC)
ALGORITHMS: list[dict[str, Any]] = [{"algorithm": "RSA"}, {"algorithm": "ECDSA", "ecdsaCurve": "P256"}]
HEADS = {"RSA": "RSA PRIVATE KEY", "ECDSA": "EC PRIVATE KEY"}


def clock() -> datetime:
    return START


def key(algorithm: str = "ECDSA", **inputs: Any) -> str:
    curve = {"ecdsaCurve": "P256"} if algorithm == "ECDSA" else {}
    generated = tls_provider.private_key({"algorithm": algorithm, **curve, **inputs}, SystemEntropy())
    return str(generated.outputs["privateKeyPem"])


def self_signed(private_key: str, **inputs: Any) -> dict[str, Any]:
    settings = {
        "privateKeyPem": private_key,
        "subject": {"commonName": "CA"},
        "isCaCertificate": True,
        "allowedUses": ["cert_signing", "crl_signing"],
        "validityPeriodHours": 1000,
        **inputs,
    }
    return dict(tls_provider.self_signed(settings, SystemEntropy(), clock).outputs)


def signed(ca: dict[str, Any], ca_key: str, request: str, **inputs: Any) -> dict[str, Any]:
    settings = {
        "caCertPem": ca["certPem"],
        "caPrivateKeyPem": ca_key,
        "certRequestPem": request,
        "allowedUses": ["digital_signature", "server_auth"],
        "validityPeriodHours": 100,
        **inputs,
    }
    return dict(tls_provider.locally_signed(settings, SystemEntropy(), clock).outputs)


def request(private_key: str, **inputs: Any) -> str:
    settings = {"privateKeyPem": private_key, "dnsNames": ["flatline.internal"], **inputs}
    return str(tls_provider.certificate_request(settings, SystemEntropy()).outputs["certRequestPem"])


def chain(algorithm: str = "ECDSA", leaf: dict[str, Any] | None = None, **inputs: Any) -> tuple[Any, Any]:
    """A leaf, of a request with these inputs, and its authority, whose key has this algorithm."""
    ca_key = key(algorithm)
    ca = self_signed(ca_key, setSubjectKeyId=True)
    return signed(ca, ca_key, request(key(), **inputs), **leaf or {}), ca


def parsed(outputs: dict[str, Any]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(outputs["certPem"].encode())


def verify(leaf: dict[str, Any], *authorities: dict[str, Any], name: str = "flatline.internal", at: datetime) -> None:
    policy = PolicyBuilder().store(Store([parsed(authorities[-1])])).time(at)
    verifier = policy.build_server_verifier(x509.DNSName(name))
    verifier.verify(parsed(leaf), [parsed(authority) for authority in authorities[:-1]])


class TestPrivateKeys:
    @pytest.mark.parametrize("inputs", ALGORITHMS, ids=lambda inputs: "-".join(map(str, inputs.values())))
    @pytest.mark.parametrize("entropy", [SystemEntropy(), SeededEntropy(b"key")], ids=["system", "seeded"])
    def test_every_encoding_is_of_the_same_key(self, inputs: dict[str, Any], entropy: Entropy) -> None:
        outputs = tls_provider.private_key(inputs, entropy).outputs
        assert outputs["privateKeyPem"].startswith(f"-----BEGIN {HEADS[inputs['algorithm']]}-----\n")
        assert outputs["privateKeyPemPkcs8"].startswith("-----BEGIN PRIVATE KEY-----\n")
        public = serialization.load_pem_public_key(outputs["publicKeyPem"].encode())
        for name in ("privateKeyPem", "privateKeyPemPkcs8"):
            private = serialization.load_pem_private_key(outputs[name].encode(), password=None)
            assert private.public_key() == public

    @pytest.mark.parametrize("inputs", ALGORITHMS, ids=lambda inputs: "-".join(map(str, inputs.values())))
    def test_seeded_is_reproducible_and_system_is_not(self, inputs: dict[str, Any]) -> None:
        def make(entropy: Entropy) -> Any:
            return tls_provider.private_key(inputs, entropy).outputs

        assert make(SeededEntropy(b"a")) == make(SeededEntropy(b"a"))
        assert make(SeededEntropy(b"a"))["privateKeyPem"] != make(SeededEntropy(b"b"))["privateKeyPem"]
        assert make(SystemEntropy())["privateKeyPem"] != make(SystemEntropy())["privateKeyPem"]

    def test_seeded_rsa_is_a_working_key(self) -> None:
        outputs = tls_provider.private_key({"algorithm": "RSA"}, SeededEntropy(b"k")).outputs
        private = serialization.load_pem_private_key(outputs["privateKeyPem"].encode(), password=None)
        assert isinstance(private, rsa.RSAPrivateKey)
        assert private.key_size == 2048
        signature = private.sign(b"text", padding.PKCS1v15(), hashes.SHA256())
        private.public_key().verify(signature, b"text", padding.PKCS1v15(), hashes.SHA256())

    @pytest.mark.parametrize(
        ("inputs", "problem"),
        [
            ({"algorithm": "DSA"}, "algorithm is 'DSA'"),
            ({"algorithm": "ECDSA"}, "ecdsaCurve is 'P224'"),
            ({"algorithm": "ECDSA", "ecdsaCurve": "P384"}, "ecdsaCurve is 'P384'"),
            ({"algorithm": "RSA", "rsaBits": 1024}, "rsaBits is 1024"),
        ],
    )
    def test_impossible_inputs(self, inputs: dict[str, Any], problem: str) -> None:
        with pytest.raises(ValueError, match=problem):
            tls_provider.private_key(inputs, SystemEntropy())

    def test_curve_order(self) -> None:
        """The order n of the base point: n - 1 is the last private key, and n is not one."""
        order, curve = tls_provider._CURVE_ORDER, tls_provider._CURVE
        assert ec.derive_private_key(order - 1, curve).private_numbers().private_value == order - 1
        with pytest.raises(ValueError, match=r"."):
            ec.derive_private_key(order, curve)


class TestChains:
    @pytest.mark.parametrize("algorithm", ["RSA", "ECDSA"])
    def test_leaf_of_an_authority_verifies(self, algorithm: str) -> None:
        leaf, ca = chain(algorithm, subject={"commonName": "flatline.internal"})
        parsed(leaf).verify_directly_issued_by(parsed(ca))
        verify(leaf, ca, at=START + timedelta(hours=50))

    @pytest.mark.parametrize(
        ("name", "hours"), [("other.internal", 50), ("flatline.internal", 101), ("flatline.internal", -1)]
    )
    def test_wrong_name_or_time_does_not_verify(self, name: str, hours: int) -> None:
        leaf, ca = chain()
        with pytest.raises(VerificationError):
            verify(leaf, ca, name=name, at=START + timedelta(hours=hours))

    def test_another_authority_does_not_verify(self) -> None:
        leaf, _ = chain()
        with pytest.raises(VerificationError):
            verify(leaf, self_signed(key()), at=START + timedelta(hours=1))

    def test_wrong_key_of_the_authority_is_refused(self) -> None:
        with pytest.raises(ValueError, match="caPrivateKeyPem is not the key of caCertPem"):
            signed(self_signed(key()), key(), request(key()))


class TestContents:
    def test_times_and_serial(self) -> None:
        generated = tls_provider.self_signed(
            {"privateKeyPem": key(), "allowedUses": [], "validityPeriodHours": 24}, SystemEntropy(), clock
        )
        certificate = x509.load_pem_x509_certificate(generated.outputs["certPem"].encode())
        assert certificate.not_valid_before_utc == START
        assert certificate.not_valid_after_utc == START + timedelta(hours=24)
        assert generated.outputs["validityStartTime"] == "2026-01-01T00:00:00Z"
        assert generated.outputs["validityEndTime"] == "2026-01-02T00:00:00Z"
        assert generated.id == str(certificate.serial_number)

    def test_subject_and_alternative_names_come_from_the_request(self) -> None:
        subject = {"commonName": "flatline.internal", "organization": "Flatline"}
        names = ["a.internal", "*.a.internal"]
        leaf = parsed(chain(subject=subject, dnsNames=names)[0])
        assert leaf.subject.rfc4514_string() == "CN=flatline.internal,O=Flatline"
        alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert alternative.get_values_for_type(x509.DNSName) == names
        assert leaf.issuer.rfc4514_string() == "CN=CA"

    def test_usages(self) -> None:
        uses = ["server_auth", "digital_signature"]
        certificate = parsed(self_signed(key(), isCaCertificate=False, allowedUses=uses))
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical
        assert usage.value.digital_signature
        assert not usage.value.key_cert_sign
        extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        assert list(extended.value) == [ExtendedKeyUsageOID.SERVER_AUTH]
        assert not extended.critical

    def test_without_usages_there_is_no_such_extension(self) -> None:
        extensions = parsed(self_signed(key(), isCaCertificate=False, allowedUses=[])).extensions
        assert [extension.oid._name for extension in extensions] == ["basicConstraints"]

    @pytest.mark.parametrize(
        ("inputs", "problem"),
        [
            (
                {"allowedUses": ["client_auth"]},
                r"allowedUses has \['client_auth'\], and may have \['digital_signature'",
            ),
            (
                {"subject": {"country": "DE"}},
                r"subject has \['country'\], and may have \['organization', 'commonName'\]",
            ),
            ({"validityPeriodHours": 0}, "validityPeriodHours is 0"),
        ],
    )
    def test_inputs_that_are_not_supported(self, inputs: dict[str, Any], problem: str) -> None:
        with pytest.raises(ValueError, match=problem):
            self_signed(key(), **inputs)

    @pytest.mark.parametrize(
        ("authority", "length", "expected"), [(True, 0, 0), (True, 2, 2), (True, None, None), (False, 1, None)]
    )
    def test_basic_constraints(self, authority: bool, length: int | None, expected: int | None) -> None:
        inputs = {} if length is None else {"maxPathLength": length}
        certificate = parsed(self_signed(key(), isCaCertificate=authority, **inputs))
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert constraints.critical
        assert constraints.value.ca == authority
        assert constraints.value.path_length == expected

    def test_key_identifiers(self) -> None:
        leaf, ca = chain(leaf={"setSubjectKeyId": True})
        assert _subject_key(parsed(leaf)) != _subject_key(parsed(ca))
        assert _authority_key(parsed(leaf)) == _subject_key(parsed(ca))
        with pytest.raises(x509.ExtensionNotFound):
            _subject_key(parsed(chain()[0]))

    def test_authority_needs_a_subject(self) -> None:
        with pytest.raises(ValueError, match="subject is empty"):
            self_signed(key(), subject={})

    def test_alternative_names_are_critical_without_a_subject(self) -> None:
        for subject, critical in (({}, True), ({"commonName": "a"}, False)):
            extension = parsed(chain(subject=subject)[0]).extensions.get_extension_for_class(
                x509.SubjectAlternativeName
            )
            assert extension.critical is critical

    def test_reproducible_from_a_seed(self) -> None:
        inputs = {"privateKeyPem": key(), "allowedUses": [], "validityPeriodHours": 1}
        first, second = (tls_provider.self_signed(inputs, SeededEntropy(b"k"), clock) for _ in range(2))
        assert first == second

    def test_request_is_a_function_of_its_inputs(self) -> None:
        private_key = key()
        assert request(private_key) == request(private_key)
        assert x509.load_pem_x509_csr(request(private_key).encode()).is_signature_valid


def _subject_key(certificate: x509.Certificate) -> bytes:
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def _authority_key(certificate: x509.Certificate) -> bytes | None:
    return certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
