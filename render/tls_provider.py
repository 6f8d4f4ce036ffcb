"""The tls provider's resources without the provider: keys, certificate requests and certificates.

Behaviour follows terraform-provider-tls (internal/provider/common_cert.go, common_key.go) and Go's
``x509.CreateCertificate``: extensions, their criticality, the signature hash by the signer's key, the
encodings. Signatures are deterministic, so equal inputs and entropy give equal certificates.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import ipaddress
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from render.entropy import Entropy, SeededEntropy
from render.generated import Clock, Generated, Generator, without_clock

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

_CURVES: Final[Mapping[str, ec.EllipticCurve]] = {
    "P224": ec.SECP224R1(),
    "P256": ec.SECP256R1(),
    "P384": ec.SECP384R1(),
    "P521": ec.SECP521R1(),
}
_CURVE_ORDERS: Final[Mapping[str, int]] = {
    # SEC 2, version 2.0, section 2: the order n of the base point.
    "P224": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFF16A2E0B8F03E13DD29455C5C2A3D,
    "P256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "P384": 2**384 - 1388124618062372383947042015309946732620727252194336364173,
    "P521": 2**521 - 657877501894328237357444332315020117536923257219387276263472201219398408051703,
}
_KEY_USAGES: Final = {
    "digital_signature": "digital_signature",
    "content_commitment": "content_commitment",
    "key_encipherment": "key_encipherment",
    "data_encipherment": "data_encipherment",
    "key_agreement": "key_agreement",
    "cert_signing": "key_cert_sign",
    "crl_signing": "crl_sign",
    "encipher_only": "encipher_only",
    "decipher_only": "decipher_only",
}
_EXTENDED_KEY_USAGES: Final[Mapping[str, ObjectIdentifier]] = {
    "any_extended": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server_auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client_auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code_signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email_protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "ipsec_end_system": ObjectIdentifier("1.3.6.1.5.5.7.3.5"),
    "ipsec_tunnel": ObjectIdentifier("1.3.6.1.5.5.7.3.6"),
    "ipsec_user": ObjectIdentifier("1.3.6.1.5.5.7.3.7"),
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp_signing": ExtendedKeyUsageOID.OCSP_SIGNING,
    "microsoft_server_gated_crypto": ObjectIdentifier("1.3.6.1.4.1.311.10.3.3"),
    "netscape_server_gated_crypto": ObjectIdentifier("2.16.840.1.113730.4.1"),
    "microsoft_commercial_code_signing": ObjectIdentifier("1.3.6.1.4.1.311.2.1.22"),
    "microsoft_kernel_code_signing": ObjectIdentifier("1.3.6.1.4.1.311.61.1.1"),
}
_SUBJECT: Final = (
    # The order in which Go writes the names of a subject (crypto/x509/pkix, Name.ToRDNSequence).
    ("country", NameOID.COUNTRY_NAME),
    ("organization", NameOID.ORGANIZATION_NAME),
    ("organizationalUnit", NameOID.ORGANIZATIONAL_UNIT_NAME),
    ("locality", NameOID.LOCALITY_NAME),
    ("province", NameOID.STATE_OR_PROVINCE_NAME),
    ("streetAddresses", NameOID.STREET_ADDRESS),
    ("postalCode", NameOID.POSTAL_CODE),
    ("commonName", NameOID.COMMON_NAME),
    ("serialNumber", NameOID.SERIAL_NUMBER),
    ("emailAddress", NameOID.EMAIL_ADDRESS),
)
_PRIVATE: Final = frozenset({"privateKeyPem", "privateKeyPemPkcs8", "privateKeyOpenssh"})


def private_key(inputs: Mapping[str, Any], entropy: Entropy) -> Generated:
    """``tls.PrivateKey``: RSA (2048 bits unless told), ECDSA (P224 unless told) or ED25519."""
    defaults = {"rsaBits": 2048, "ecdsaCurve": "P224"}
    settings: dict[str, Any] = {**defaults, **inputs}
    match settings["algorithm"]:
        case "RSA":
            key: PrivateKey = _rsa_key(entropy, settings["rsaBits"])
        case "ECDSA":
            key = _ec_key(entropy, settings["ecdsaCurve"])
        case "ED25519":
            key = ed25519.Ed25519PrivateKey.from_private_bytes(entropy.token_bytes(32))
        case other:
            raise ValueError(f"algorithm is {other!r}, and must be RSA, ECDSA or ED25519")
    outputs = {
        "privateKeyPem": _private_pem(key, _traditional_format(key)),
        "privateKeyPemPkcs8": _private_pem(key, serialization.PrivateFormat.PKCS8),
        **_public_outputs(key.public_key()),
    }
    outputs["privateKeyOpenssh"] = _openssh(key, entropy) if outputs["publicKeyOpenssh"] else ""
    return Generated(_public_key_hash(key.public_key()), outputs, _PRIVATE, defaults)


def self_signed(inputs: Mapping[str, Any], entropy: Entropy, now: Clock) -> Generated:
    """``tls.SelfSignedCert``."""
    key = _parse_key(inputs, "privateKeyPem")
    subject = _name(inputs.get("subject", {}))
    subject_key = None
    if inputs.get("isCaCertificate") or inputs.get("setSubjectKeyId"):
        subject_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    if inputs.get("setAuthorityKeyId") and subject_key is None:
        raise ValueError("setAuthorityKeyId needs setSubjectKeyId or isCaCertificate")
    certificate = _certificate(
        inputs,
        entropy,
        now,
        subject=subject,
        issuer=subject,
        public_key=key.public_key(),
        signer=key,
        names=_alternative_names(inputs),
        subject_key=subject_key,
        authority_key=subject_key if inputs.get("setAuthorityKeyId") else None,
    )
    return _certificate_outputs(certificate, inputs, {"keyAlgorithm": _algorithm(key)})


def certificate_request(inputs: Mapping[str, Any], entropy: Entropy) -> Generated:
    """``tls.CertRequest``. ``entropy`` is not used: the request is a function of its inputs."""
    key = _parse_key(inputs, "privateKeyPem")
    builder = x509.CertificateSigningRequestBuilder(subject_name=_name(inputs.get("subject", {})))
    names = _alternative_names(inputs)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    request = builder.sign(key, _signature_hash(key), ecdsa_deterministic=_deterministic(key))
    der = request.public_bytes(serialization.Encoding.DER)
    outputs = {
        "certRequestPem": request.public_bytes(serialization.Encoding.PEM).decode(),
        "keyAlgorithm": _algorithm(key),
    }
    return Generated(hashlib.sha1(der, usedforsecurity=False).hexdigest(), outputs)


def locally_signed(inputs: Mapping[str, Any], entropy: Entropy, now: Clock) -> Generated:
    """``tls.LocallySignedCert``: subject and alternative names come from the request."""
    request = x509.load_pem_x509_csr(inputs["certRequestPem"].encode())
    issuer = x509.load_pem_x509_certificate(inputs["caCertPem"].encode())
    signer = _parse_key(inputs, "caPrivateKeyPem")
    if signer.public_key() != issuer.public_key():
        raise ValueError("caPrivateKeyPem is not the key of caCertPem")
    public_key = request.public_key()
    if not isinstance(public_key, PublicKey):
        raise ValueError("the key of certRequestPem is neither RSA nor ECDSA nor ED25519")
    subject_key = None
    if inputs.get("isCaCertificate") or inputs.get("setSubjectKeyId"):
        subject_key = x509.SubjectKeyIdentifier.from_public_key(public_key)
    certificate = _certificate(
        inputs,
        entropy,
        now,
        subject=request.subject,
        issuer=issuer.subject,
        public_key=public_key,
        signer=signer,
        names=_requested_names(request),
        subject_key=subject_key,
        authority_key=None if issuer.subject == request.subject else _subject_key_of(issuer),
    )
    return _certificate_outputs(certificate, inputs, {"caKeyAlgorithm": _algorithm(signer)})


def _rsa_key(entropy: Entropy, bits: int) -> rsa.RSAPrivateKey:
    if bits < 2048:
        raise ValueError(f"rsaBits is {bits}, and must be at least 2048")
    if isinstance(entropy, SeededEntropy):
        return _rsa_key_from_seed(entropy.key, bits)
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@functools.lru_cache(maxsize=64)
def _rsa_key_from_seed(seed: bytes, bits: int) -> rsa.RSAPrivateKey:
    """An RSA key that is a function of ``seed``. For tests: primality is probable, timing is not constant."""
    entropy = SeededEntropy(seed)
    exponent = 65537
    while True:
        p, q = _prime(entropy, bits // 2), _prime(entropy, bits - bits // 2)
        if p != q and math.gcd((p - 1) * (q - 1), exponent) == 1:
            break
    d = pow(exponent, -1, math.lcm(p - 1, q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p,
        q,
        d,
        rsa.rsa_crt_dmp1(d, p),
        rsa.rsa_crt_dmq1(d, q),
        rsa.rsa_crt_iqmp(p, q),
        rsa.RSAPublicNumbers(exponent, p * q),
    )
    return numbers.private_key()


@functools.cache
def _small_primes_product() -> int:
    candidates = range(3, 10_000, 2)
    return math.prod(n for n in candidates if all(n % d for d in range(3, math.isqrt(n) + 1, 2)))


def _prime(entropy: Entropy, bits: int) -> int:
    top_two_and_odd = 3 << (bits - 2) | 1
    candidate = int.from_bytes(entropy.token_bytes(bits // 8), "big") | top_two_and_odd
    while not _probably_prime(candidate):
        candidate += 2
    return candidate


def _probably_prime(n: int) -> bool:
    if math.gcd(n, _small_primes_product()) != 1:
        return False
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(_passes_miller_rabin(n, odd, twos, base) for base in (2, 3, 5, 7))


def _passes_miller_rabin(n: int, odd: int, twos: int, base: int) -> bool:
    x = pow(base, odd, n)
    if x in (1, n - 1):
        return True
    for _ in range(twos - 1):
        x = x * x % n
        if x == n - 1:
            return True
    return False


def _ec_key(entropy: Entropy, name: str) -> ec.EllipticCurvePrivateKey:
    curve = _CURVES.get(name)
    if curve is None:
        raise ValueError(f"ecdsaCurve is {name!r}, and must be one of {', '.join(_CURVES)}")
    if not entropy.reproducible:
        return ec.generate_private_key(curve)
    return ec.derive_private_key(1 + entropy.below(_CURVE_ORDERS[name] - 1), curve)


def _traditional_format(key: PrivateKey) -> serialization.PrivateFormat:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return serialization.PrivateFormat.PKCS8
    return serialization.PrivateFormat.TraditionalOpenSSL


def _private_pem(key: PrivateKey, form: serialization.PrivateFormat) -> str:
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def _openssh(key: PrivateKey, entropy: Entropy) -> str:
    """The key in OpenSSH's own format, whose two equal check words come from ``entropy``.

    The check words are the first eight bytes of the private block (OpenSSH, PROTOCOL.key).
    """
    pem = _private_pem(key, serialization.PrivateFormat.OpenSSH)
    raw = bytearray(base64.b64decode("".join(pem.splitlines()[1:-1])))
    position = len(b"openssh-key-v1\0")
    for _ in range(3):  # cipher, key derivation function, its options
        position += 4 + int.from_bytes(raw[position : position + 4], "big")
    position += 4  # the number of keys
    position += 4 + int.from_bytes(raw[position : position + 4], "big")  # the public key
    position += 4  # the length of the private block
    raw[position : position + 8] = entropy.token_bytes(4) * 2
    body = base64.b64encode(raw).decode()
    lines = [body[i : i + 70] for i in range(0, len(body), 70)]
    begin, end = "-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----"
    return "\n".join([begin, *lines, end]) + "\n"


def _public_outputs(key: PublicKey) -> dict[str, str]:
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    outputs = {"publicKeyPem": pem.decode()}
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP224R1):
        # SSH has no P-224; the provider leaves these empty.
        return outputs | dict.fromkeys(
            ("publicKeyOpenssh", "publicKeyFingerprintMd5", "publicKeyFingerprintSha256"), ""
        )
    ssh = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    blob = base64.b64decode(ssh.split()[1])
    md5 = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    sha256 = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return outputs | {
        "publicKeyOpenssh": ssh + "\n",
        "publicKeyFingerprintMd5": ":".join(md5[i : i + 2] for i in range(0, 32, 2)),
        "publicKeyFingerprintSha256": f"SHA256:{sha256}",
    }


def _public_key_hash(key: PublicKey) -> str:
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha1(der, usedforsecurity=False).hexdigest()


def _parse_key(inputs: Mapping[str, Any], name: str) -> PrivateKey:
    if name not in inputs:
        raise ValueError(f"{name} is absent ({name}Wo, the write-only form, needs the provider)")
    try:
        key = serialization.load_pem_private_key(inputs[name].encode(), password=None)
    except (ValueError, TypeError):
        raise ValueError(f"{name} is not an unencrypted private key in PEM") from None
    if not isinstance(key, PrivateKey):
        raise ValueError(f"{name} is neither RSA nor ECDSA nor ED25519")
    return key


def _algorithm(key: PrivateKey) -> str:
    if isinstance(key, rsa.RSAPrivateKey):
        return "RSA"
    return "ECDSA" if isinstance(key, ec.EllipticCurvePrivateKey) else "ED25519"


def _signature_hash(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    """Go's choice: by the curve for ECDSA, SHA-256 for RSA, none for Ed25519."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 384:
        return hashes.SHA512()
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 256:
        return hashes.SHA384()
    return hashes.SHA256()


def _deterministic(key: PrivateKey) -> bool | None:
    return True if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _name(subject: Mapping[str, Any]) -> x509.Name:
    unknown = set(subject) - {field for field, _ in _SUBJECT}
    if unknown:
        raise ValueError(f"subject has {sorted(unknown)}, which no certificate subject has")
    groups = []
    for field, oid in _SUBJECT:
        given = subject.get(field)
        values = given if isinstance(given, list) else [given] if given else []
        if values:
            groups.append(x509.RelativeDistinguishedName([x509.NameAttribute(oid, v) for v in values]))
    return x509.Name(groups)


def _alternative_names(inputs: Mapping[str, Any]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in inputs.get("dnsNames", ())]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in inputs.get("ipAddresses", ())]
    names += [x509.UniformResourceIdentifier(uri) for uri in inputs.get("uris", ())]
    return names


def _requested_names(request: x509.CertificateSigningRequest) -> list[x509.GeneralName]:
    try:
        extension = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    kept = (x509.DNSName, x509.IPAddress, x509.UniformResourceIdentifier)
    return [name for name in extension.value if isinstance(name, kept)]


def _subject_key_of(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return None


def _certificate(
    inputs: Mapping[str, Any],
    entropy: Entropy,
    now: Clock,
    *,
    subject: x509.Name,
    issuer: x509.Name,
    public_key: PublicKey,
    signer: PrivateKey,
    names: list[x509.GeneralName],
    subject_key: x509.SubjectKeyIdentifier | None,
    authority_key: x509.SubjectKeyIdentifier | None,
) -> x509.Certificate:
    authority = bool(inputs.get("isCaCertificate"))
    if authority and not list(subject):
        raise ValueError("subject is empty, and a certificate authority must have one (RFC 5280, 4.1.2.6)")
    hours = inputs["validityPeriodHours"]
    if hours < 0:
        raise ValueError(f"validityPeriodHours is {hours}, and must not be negative")
    start = now().astimezone(UTC).replace(microsecond=0)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(1 + entropy.below(2**128 - 1))
        .not_valid_before(start)
        .not_valid_after(start + timedelta(hours=hours))
    )
    for extension, critical in _extensions(inputs, authority, names, bool(list(subject))):
        builder = builder.add_extension(extension, critical)
    if subject_key is not None:
        builder = builder.add_extension(subject_key, critical=False)
    if authority_key is not None:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_key)
        builder = builder.add_extension(identifier, critical=False)
    return builder.sign(signer, _signature_hash(signer), ecdsa_deterministic=_deterministic(signer))


def _extensions(
    inputs: Mapping[str, Any], authority: bool, names: list[x509.GeneralName], has_subject: bool
) -> list[tuple[x509.ExtensionType, bool]]:
    uses = inputs["allowedUses"]
    unknown = [use for use in uses if use not in _KEY_USAGES and use not in _EXTENDED_KEY_USAGES]
    if unknown:
        raise ValueError(f"allowedUses has {unknown}, which the tls provider does not know")
    extensions: list[tuple[x509.ExtensionType, bool]] = []
    if any(use in _KEY_USAGES for use in uses):
        flags = {flag: name in uses for name, flag in _KEY_USAGES.items()}
        extensions.append((x509.KeyUsage(**flags), True))
    extended = [_EXTENDED_KEY_USAGES[use] for use in uses if use in _EXTENDED_KEY_USAGES]
    if extended:
        extensions.append((x509.ExtendedKeyUsage(extended), False))
    length = inputs.get("maxPathLength", -1) if authority else -1
    extensions.append((x509.BasicConstraints(ca=authority, path_length=length if length >= 0 else None), True))
    if names:
        extensions.append((x509.SubjectAlternativeName(names), not has_subject))
    return extensions


def _certificate_outputs(
    certificate: x509.Certificate, inputs: Mapping[str, Any], algorithm: Mapping[str, str]
) -> Generated:
    outputs = {
        "certPem": certificate.public_bytes(serialization.Encoding.PEM).decode(),
        "validityStartTime": _rfc3339(certificate.not_valid_before_utc),
        "validityEndTime": _rfc3339(certificate.not_valid_after_utc),
        "readyForRenewal": inputs.get("earlyRenewalHours", 0) >= inputs["validityPeriodHours"],
        **algorithm,
    }
    defaults = {"earlyRenewalHours": 0, "isCaCertificate": False, "setSubjectKeyId": False}
    if "keyAlgorithm" in algorithm:
        defaults["setAuthorityKeyId"] = False
    return Generated(str(certificate.serial_number), outputs, defaults=defaults)


def _rfc3339(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


_CERTIFICATE: Final = frozenset({"certPem", "readyForRenewal", "validityStartTime", "validityEndTime"})
_RENEWAL: Final = frozenset({"earlyRenewalHours"})
_PUBLIC: Final = (
    "publicKeyPem",
    "publicKeyOpenssh",
    "publicKeyFingerprintMd5",
    "publicKeyFingerprintSha256",
)

TYPES: Final[Mapping[str, Generator]] = {
    "tls:index/certRequest:CertRequest": without_clock(certificate_request, "certRequestPem", "keyAlgorithm"),
    "tls:index/locallySignedCert:LocallySignedCert": Generator(
        locally_signed, _CERTIFICATE | {"caKeyAlgorithm"}, _RENEWAL
    ),
    "tls:index/privateKey:PrivateKey": without_clock(private_key, *sorted(_PRIVATE), *_PUBLIC),
    "tls:index/selfSignedCert:SelfSignedCert": Generator(self_signed, _CERTIFICATE | {"keyAlgorithm"}, _RENEWAL),
}
"""The resources that are made here, by the provider's types."""
