"""Keys and certificates, verified by an independent reading of what was made."""

import base64
import hashlib
import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from render import tls_provider
from render.entropy import Entropy, SeededEntropy, SystemEntropy

START = datetime(2026, 1, 1, tzinfo=UTC)
ALGORITHMS: list[dict[str, Any]] = [
    {"algorithm": "RSA"},
    {"algorithm": "ECDSA"},
    {"algorithm": "ECDSA", "ecdsaCurve": "P256"},
    {"algorithm": "ECDSA", "ecdsaCurve": "P384"},
    {"algorithm": "ECDSA", "ecdsaCurve": "P521"},
    {"algorithm": "ED25519"},
]
HEADS = {"RSA": "RSA PRIVATE KEY", "ECDSA": "EC PRIVATE KEY", "ED25519": "PRIVATE KEY"}


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
        self.check_ssh(outputs, public, on_p224=len(inputs) == 1 and inputs["algorithm"] == "ECDSA")

    def check_ssh(self, outputs: Any, public: Any, *, on_p224: bool) -> None:
        ssh = ("privateKeyOpenssh", "publicKeyOpenssh", "publicKeyFingerprintMd5", "publicKeyFingerprintSha256")
        if on_p224:
            assert [outputs[name] for name in ssh] == ["", "", "", ""]
            return
        private = serialization.load_ssh_private_key(outputs["privateKeyOpenssh"].encode(), password=None)
        assert private.public_key() == public
        assert outputs["publicKeyOpenssh"].endswith("\n")
        blob = base64.b64decode(outputs["publicKeyOpenssh"].split()[1])
        assert serialization.load_ssh_public_key(outputs["publicKeyOpenssh"].encode()) == public
        digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
        assert outputs["publicKeyFingerprintSha256"] == f"SHA256:{digest}"
        assert bytes.fromhex(outputs["publicKeyFingerprintMd5"].replace(":", "")) == hashlib.md5(blob).digest()

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
            ({"algorithm": "ECDSA", "ecdsaCurve": "P255"}, "ecdsaCurve is 'P255'"),
            ({"algorithm": "RSA", "rsaBits": 1024}, "rsaBits is 1024"),
        ],
    )
    def test_impossible_inputs(self, inputs: dict[str, Any], problem: str) -> None:
        with pytest.raises(ValueError, match=problem):
            tls_provider.private_key(inputs, SystemEntropy())

    def test_curve_orders(self) -> None:
        """The order of the base point: n - 1 is the last private key, n is none."""
        for name, order in tls_provider._CURVE_ORDERS.items():
            curve = tls_provider._CURVES[name]
            assert ec.derive_private_key(order - 1, curve).private_numbers().private_value == order - 1
            with pytest.raises(ValueError, match=r"."):
                ec.derive_private_key(order, curve)


class TestChains:
    @pytest.mark.parametrize("algorithm", ["RSA", "ECDSA", "ED25519"])
    def test_leaf_of_an_authority_verifies(self, algorithm: str) -> None:
        ca_key = key(algorithm)
        ca = self_signed(ca_key, setSubjectKeyId=True)
        leaf = signed(ca, ca_key, request(key(), subject={"commonName": "flatline.internal"}))
        self.verify_signature(parsed(leaf), parsed(ca))
        parsed(leaf).verify_directly_issued_by(parsed(ca))
        if algorithm != "ED25519":  # the verifier follows the web's rules, which leave it out
            verify(leaf, ca, at=START + timedelta(hours=50))

    def verify_signature(self, leaf: x509.Certificate, ca: x509.Certificate) -> None:
        public, signature, content = ca.public_key(), leaf.signature, leaf.tbs_certificate_bytes
        if isinstance(public, rsa.RSAPublicKey):
            public.verify(signature, content, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(signature, content, ec.ECDSA(hashes.SHA256()))
        else:
            assert isinstance(public, ed25519.Ed25519PublicKey)
            public.verify(signature, content)

    def test_intermediate(self) -> None:
        root_key, middle_key = key(), key()
        root = self_signed(root_key)
        middle = signed(
            root,
            root_key,
            request(middle_key, subject={"commonName": "Middle"}, dnsNames=[]),
            isCaCertificate=True,
            maxPathLength=0,
            allowedUses=["cert_signing"],
        )
        leaf = signed(middle, middle_key, request(key()))
        verify(leaf, middle, root, at=START + timedelta(hours=1))

    @pytest.mark.parametrize(
        ("name", "hours"), [("other.internal", 50), ("flatline.internal", 101), ("flatline.internal", -1)]
    )
    def test_wrong_name_or_time_does_not_verify(self, name: str, hours: int) -> None:
        ca_key = key()
        ca = self_signed(ca_key)
        leaf = signed(ca, ca_key, request(key()))
        with pytest.raises(VerificationError):
            verify(leaf, ca, name=name, at=START + timedelta(hours=hours))

    def test_another_authority_does_not_verify(self) -> None:
        ca_key = key()
        leaf = signed(self_signed(ca_key), ca_key, request(key()))
        with pytest.raises(VerificationError):
            verify(leaf, self_signed(key()), at=START + timedelta(hours=1))

    def test_wrong_key_of_the_authority_is_refused(self) -> None:
        with pytest.raises(ValueError, match="caPrivateKeyPem is not the key of caCertPem"):
            signed(self_signed(key()), key(), request(key()))

    @pytest.mark.parametrize(
        ("curve", "digest"), [("P256", hashes.SHA256), ("P384", hashes.SHA384), ("P521", hashes.SHA512)]
    )
    def test_signature_hash_fits_the_curve(self, curve: str, digest: type[hashes.HashAlgorithm]) -> None:
        ca = parsed(self_signed(key(ecdsaCurve=curve)))
        assert isinstance(ca.signature_hash_algorithm, digest)


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
        ca_key = key()
        subject = {
            "commonName": "flatline.internal",
            "country": "DE",
            "organization": "Flatline",
            "organizationalUnit": "Chat",
            "locality": "Berlin",
            "province": "BE",
            "postalCode": "10115",
            "serialNumber": "7",
            "streetAddresses": ["One", "Two"],
        }
        names = {"dnsNames": ["a.internal", "*.a.internal"], "ipAddresses": ["10.0.0.1", "::1"], "uris": ["urn:x"]}
        leaf = parsed(signed(self_signed(ca_key), ca_key, request(key(), subject=subject, **names)))
        assert leaf.subject.rfc4514_string() == (
            "2.5.4.5=7,CN=flatline.internal,2.5.4.17=10115,STREET=One+STREET=Two,ST=BE,L=Berlin,OU=Chat,O=Flatline,C=DE"
        )
        alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert alternative.get_values_for_type(x509.DNSName) == ["a.internal", "*.a.internal"]
        addresses = [ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("::1")]
        assert alternative.get_values_for_type(x509.IPAddress) == addresses
        assert alternative.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:x"]
        assert leaf.issuer.rfc4514_string() == "CN=CA"

    def test_usages(self) -> None:
        uses = ["key_encipherment", "server_auth", "digital_signature", "client_auth"]
        certificate = parsed(self_signed(key(), isCaCertificate=False, allowedUses=uses))
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical
        assert usage.value.digital_signature
        assert usage.value.key_encipherment
        assert not usage.value.key_cert_sign
        extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        assert list(extended.value) == [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        assert not extended.critical

    def test_without_usages_there_is_no_such_extension(self) -> None:
        extensions = parsed(self_signed(key(), isCaCertificate=False, allowedUses=[])).extensions
        assert [extension.oid._name for extension in extensions] == ["basicConstraints"]

    def test_unknown_usage(self) -> None:
        with pytest.raises(ValueError, match=r"allowedUses has \['servr_auth'\]"):
            self_signed(key(), allowedUses=["servr_auth"])

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
        ca_key, leaf_key = key(), key()
        ca = self_signed(ca_key, setAuthorityKeyId=True)
        leaf = signed(ca, ca_key, request(leaf_key), setSubjectKeyId=True)
        own = [_subject_key(parsed(outputs)) for outputs in (ca, leaf)]
        issuers = [_authority_key(parsed(outputs)) for outputs in (ca, leaf)]
        assert own[0] != own[1]
        assert issuers == [own[0], own[0]]
        without = parsed(signed(ca, ca_key, request(leaf_key)))
        with pytest.raises(x509.ExtensionNotFound):
            _subject_key(without)

    def test_authority_needs_a_subject(self) -> None:
        with pytest.raises(ValueError, match="subject is empty"):
            self_signed(key(), subject={})

    def test_alternative_names_are_critical_without_a_subject(self) -> None:
        inputs = {"isCaCertificate": False, "dnsNames": ["a.internal"]}
        for subject, critical in (({}, True), ({"commonName": "a"}, False)):
            certificate = parsed(self_signed(key(), subject=subject, **inputs))
            extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            assert extension.critical is critical

    def test_ready_for_renewal(self) -> None:
        assert not self_signed(key(), earlyRenewalHours=999)["readyForRenewal"]
        assert self_signed(key(), earlyRenewalHours=1000)["readyForRenewal"]

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
