"""Generates the tls resources that the program uses: keys, certificate requests and certificates.

They follow terraform-provider-tls (internal/provider/common_cert.go, common_key.go) and Go's
``x509.CreateCertificate``: the extensions and which of them are critical, the signature hash, the encodings.
Signatures are deterministic, so equal inputs and entropy give equal certificates. Keys are RSA with 2048 bits or
ECDSA on P-256. The OpenSSH forms of keys and their fingerprints are left out, because nothing reads them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from render import seeded_rsa
from render.entropy import Entropy, SeededEntropy
from render.generator import Clock, GeneratedResource, Generator, without_clock

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
Extension = TypeVar("Extension", bound=x509.ExtensionType)

_KEY_DEFAULTS: Final[Mapping[str, Any]] = {"rsaBits": 2048, "ecdsaCurve": "P224"}
_RSA_BITS: Final = 2048
_CURVE: Final = ec.SECP256R1()
_CURVE_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order n of the base point of P-256 (SEC 2, version 2.0, section 2.4.2)."""

_KEY_USAGES: Final = {
    "digital_signature": "digital_signature",
    "cert_signing": "key_cert_sign",
    "crl_signing": "crl_sign",
}
_OTHER_KEY_USAGES: Final = (
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "encipher_only",
    "decipher_only",
)
_EXTENDED_KEY_USAGES: Final = {"server_auth": ExtendedKeyUsageOID.SERVER_AUTH}
_SUBJECT: Final = {
    # The order in which Go writes the names of a subject (crypto/x509/pkix, Name.ToRDNSequence).
    "organization": NameOID.ORGANIZATION_NAME,
    "commonName": NameOID.COMMON_NAME,
}


def private_key(inputs: Mapping[str, Any], entropy: Entropy) -> GeneratedResource:
    """``tls.PrivateKey``."""
    settings = {**_KEY_DEFAULTS, **inputs}
    match settings["algorithm"]:
        case "RSA":
            key: PrivateKey = _rsa_key(entropy, settings["rsaBits"])
        case "ECDSA":
            key = _ec_key(entropy, settings["ecdsaCurve"])
        case other:
            raise ValueError(f"algorithm is {other!r}, and must be RSA or ECDSA")
    public = key.public_key()
    outputs = {
        "privateKeyPem": _private_pem(key, serialization.PrivateFormat.TraditionalOpenSSL),
        "privateKeyPemPkcs8": _private_pem(key, serialization.PrivateFormat.PKCS8),
        "publicKeyPem": _public_bytes(public, serialization.Encoding.PEM).decode(),
    }
    identifier = hashlib.sha1(_public_bytes(public, serialization.Encoding.DER), usedforsecurity=False).hexdigest()
    return GeneratedResource(identifier, outputs, _SECRET_OUTPUTS, _KEY_DEFAULTS)


def self_signed(inputs: Mapping[str, Any], entropy: Entropy, clock: Clock) -> GeneratedResource:
    """``tls.SelfSignedCert``."""
    key = _parse_key(inputs, "privateKeyPem")
    subject = _name(inputs.get("subject", {}))
    is_authority = bool(inputs.get("isCaCertificate"))
    if is_authority and not list(subject):
        raise ValueError("subject is empty, and a certificate authority must have one (RFC 5280, 4.1.2.6)")
    builder = _builder(inputs, entropy, clock, subject, subject, key.public_key(), is_authority=is_authority)
    if is_authority or inputs.get("setSubjectKeyId"):
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return _generated(builder, key, {"keyAlgorithm": _algorithm(key)}, {"setAuthorityKeyId": False})


def certificate_request(inputs: Mapping[str, Any], entropy: Entropy) -> GeneratedResource:
    """``tls.CertRequest``. It is a function of its inputs, so ``entropy`` is not used."""
    key = _parse_key(inputs, "privateKeyPem")
    builder = x509.CertificateSigningRequestBuilder(subject_name=_name(inputs.get("subject", {})))
    names = [x509.DNSName(name) for name in inputs.get("dnsNames", ())]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    request = builder.sign(key, hashes.SHA256(), ecdsa_deterministic=_deterministic(key))
    der = request.public_bytes(serialization.Encoding.DER)
    outputs = {
        "certRequestPem": request.public_bytes(serialization.Encoding.PEM).decode(),
        "keyAlgorithm": _algorithm(key),
    }
    return GeneratedResource(hashlib.sha1(der, usedforsecurity=False).hexdigest(), outputs)


def locally_signed(inputs: Mapping[str, Any], entropy: Entropy, clock: Clock) -> GeneratedResource:
    """``tls.LocallySignedCert``. Its subject and alternative names come from the request."""
    request = x509.load_pem_x509_csr(inputs["certRequestPem"].encode())
    issuer = x509.load_pem_x509_certificate(inputs["caCertPem"].encode())
    signer = _parse_key(inputs, "caPrivateKeyPem")
    if signer.public_key() != issuer.public_key():
        raise ValueError("caPrivateKeyPem is not the key of caCertPem")
    public_key = request.public_key()
    if not isinstance(public_key, PublicKey):
        raise ValueError("the key of certRequestPem is neither RSA nor ECDSA")
    builder = _builder(inputs, entropy, clock, request.subject, issuer.subject, public_key)
    requested = _extension(request, x509.SubjectAlternativeName) or ()
    names = [name for name in requested if isinstance(name, x509.DNSName)]
    if names:
        has_subject = bool(list(request.subject))
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not has_subject)
    if inputs.get("setSubjectKeyId"):
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    authority_key = None if issuer.subject == request.subject else _extension(issuer, x509.SubjectKeyIdentifier)
    if authority_key is not None:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_key)
        builder = builder.add_extension(identifier, critical=False)
    return _generated(builder, signer, {"caKeyAlgorithm": _algorithm(signer)}, {})


def _rsa_key(entropy: Entropy, bits: int) -> rsa.RSAPrivateKey:
    if bits != _RSA_BITS:
        raise ValueError(f"rsaBits is {bits}, and must be {_RSA_BITS}")
    if isinstance(entropy, SeededEntropy):
        return seeded_rsa.private_key(entropy.key, bits)
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def _ec_key(entropy: Entropy, curve: str) -> ec.EllipticCurvePrivateKey:
    if curve != "P256":
        raise ValueError(f"ecdsaCurve is {curve!r}, and must be 'P256'")
    if isinstance(entropy, SeededEntropy):
        return ec.derive_private_key(1 + entropy.below(_CURVE_ORDER - 1), _CURVE)
    return ec.generate_private_key(_CURVE)


def _private_pem(key: PrivateKey, form: serialization.PrivateFormat) -> str:
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def _public_bytes(key: PublicKey, encoding: serialization.Encoding) -> bytes:
    return key.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


def _parse_key(inputs: Mapping[str, Any], name: str) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(inputs.get(name, "").encode(), password=None)
    except (ValueError, TypeError):
        raise ValueError(f"{name} is not an unencrypted private key in PEM") from None
    if not isinstance(key, PrivateKey):
        raise ValueError(f"{name} is neither RSA nor ECDSA")
    return key


def _algorithm(key: PrivateKey) -> str:
    return "RSA" if isinstance(key, rsa.RSAPrivateKey) else "ECDSA"


def _deterministic(key: PrivateKey) -> bool | None:
    return True if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _name(subject: Mapping[str, Any]) -> x509.Name:
    unsupported = sorted(set(subject) - set(_SUBJECT))
    if unsupported:
        raise ValueError(f"subject has {unsupported}, and may have {list(_SUBJECT)}")
    names = [(identifier, subject.get(field)) for field, identifier in _SUBJECT.items()]
    return x509.Name([x509.NameAttribute(identifier, text) for identifier, text in names if text])


def _extension(of: x509.Certificate | x509.CertificateSigningRequest, kind: type[Extension]) -> Extension | None:
    try:
        return of.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _builder(
    inputs: Mapping[str, Any],
    entropy: Entropy,
    clock: Clock,
    subject: x509.Name,
    issuer: x509.Name,
    public_key: PublicKey,
    *,
    is_authority: bool = False,
) -> x509.CertificateBuilder:
    """A certificate with its usages and basic constraints, in the order in which Go writes extensions."""
    hours = inputs["validityPeriodHours"]
    if hours < 1:
        raise ValueError(f"validityPeriodHours is {hours}, and must be at least 1")
    start = clock().astimezone(UTC).replace(microsecond=0)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(1 + entropy.below(2**128 - 1))
        .not_valid_before(start)
        .not_valid_after(start + timedelta(hours=hours))
    )
    uses = inputs["allowedUses"]
    unsupported = [use for use in uses if use not in _KEY_USAGES and use not in _EXTENDED_KEY_USAGES]
    if unsupported:
        raise ValueError(f"allowedUses has {unsupported}, and may have {[*_KEY_USAGES, *_EXTENDED_KEY_USAGES]}")
    if any(use in _KEY_USAGES for use in uses):
        flags = {flag: use in uses for use, flag in _KEY_USAGES.items()} | dict.fromkeys(_OTHER_KEY_USAGES, False)
        builder = builder.add_extension(x509.KeyUsage(**flags), critical=True)
    extended = [_EXTENDED_KEY_USAGES[use] for use in uses if use in _EXTENDED_KEY_USAGES]
    if extended:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    length = inputs.get("maxPathLength", -1) if is_authority else -1
    constraints = x509.BasicConstraints(ca=is_authority, path_length=length if length >= 0 else None)
    return builder.add_extension(constraints, critical=True)


def _generated(
    builder: x509.CertificateBuilder, signer: PrivateKey, outputs: Mapping[str, str], defaults: Mapping[str, bool]
) -> GeneratedResource:
    """The signed certificate as a resource, with the outputs and defaults that its type alone has."""
    certificate = builder.sign(signer, hashes.SHA256(), ecdsa_deterministic=_deterministic(signer))
    return GeneratedResource(
        str(certificate.serial_number),
        {
            "certPem": certificate.public_bytes(serialization.Encoding.PEM).decode(),
            "validityStartTime": _rfc3339(certificate.not_valid_before_utc),
            "validityEndTime": _rfc3339(certificate.not_valid_after_utc),
            "readyForRenewal": False,
            **outputs,
        },
        defaults={"earlyRenewalHours": 0, "isCaCertificate": False, "setSubjectKeyId": False, **defaults},
    )


def _rfc3339(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


_SECRET_OUTPUTS: Final = frozenset({"privateKeyPem", "privateKeyPemPkcs8"})
_CERTIFICATE_INPUTS: Final = frozenset({"validityPeriodHours", "allowedUses", "setSubjectKeyId"})
_CERTIFICATE_OUTPUTS: Final = frozenset({"certPem", "readyForRenewal", "validityStartTime", "validityEndTime"})

TYPES: Final[Mapping[str, Generator]] = {
    "tls:index/certRequest:CertRequest": Generator(
        without_clock(certificate_request),
        frozenset({"privateKeyPem", "subject", "dnsNames"}),
        frozenset({"certRequestPem", "keyAlgorithm"}),
    ),
    "tls:index/locallySignedCert:LocallySignedCert": Generator(
        locally_signed,
        _CERTIFICATE_INPUTS | {"certRequestPem", "caCertPem", "caPrivateKeyPem"},
        _CERTIFICATE_OUTPUTS | {"caKeyAlgorithm"},
    ),
    "tls:index/privateKey:PrivateKey": Generator(
        without_clock(private_key),
        frozenset({"algorithm", "rsaBits", "ecdsaCurve"}),
        _SECRET_OUTPUTS | {"publicKeyPem"},
    ),
    "tls:index/selfSignedCert:SelfSignedCert": Generator(
        self_signed,
        _CERTIFICATE_INPUTS | {"privateKeyPem", "subject", "isCaCertificate", "maxPathLength"},
        _CERTIFICATE_OUTPUTS | {"keyAlgorithm"},
    ),
}
"""The generators by the provider's type tokens."""
