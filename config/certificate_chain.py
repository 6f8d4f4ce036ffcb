"""Verifies a certificate of the operator's as a client does that pins its authority. No message shows a value.

Java, BoringSSL and curl refuse a chain that lacks an intermediate certificate, though a browser may repair it.
Sources: RFC 5280 (paths, extensions), RFC 8446 4.4.2 (order of the list), CA/Browser Forum baseline requirements 7.1.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

EXPIRY_WARNING = timedelta(days=30)
"""How long before its end a certificate is worth a warning."""

_STRONG_HASHES = frozenset({"sha256", "sha384", "sha512"})


def load(pem: str) -> list[x509.Certificate]:
    """The certificates of a PEM text, in its order. Raises ValueError where there is none, or a damaged one."""
    return x509.load_pem_x509_certificates(pem.encode())


def verify(certificate: str, authority: str, hosts: Sequence[str], now: datetime) -> None:
    """Checks that `certificate` (the leaf, then its intermediates) proves `hosts` to a client that pins `authority`.

    Raises ValueError: the key of `certificates.provided` that is wrong, what is wrong, and what to write instead.
    """
    leaf, *intermediates = chain = load(certificate)
    authorities = load(authority)
    for each in authorities:
        _check_authority(each, leaf)
        _check_dates("authority", _title(each), each, now)
    _check_dates("certificate", "the first certificate", leaf, now)
    for position, each in enumerate(intermediates, 2):
        if not is_authority(each):
            raise ValueError(
                f"certificate: number {position} of the list may not sign certificates; write the leaf, then the "
                "certificate of its issuer, then that one's issuer"
            )
        _check_dates("certificate", f"number {position} of the list", each, now)
    for position, each in enumerate(chain, 1):
        _check_strength(position, each)
    _check_usage(leaf)
    _check_names(leaf, hosts)
    _check_order(chain)
    _check_end(chain[-1], authorities)
    _verify_as_client(leaf, intermediates, authorities, hosts, now)


def is_authority(certificate: x509.Certificate) -> bool:
    """True if a certificate may sign others (RFC 5280 4.2.1.9)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _title(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return f'"{names[0].value!s}"' if names else "a certificate without a common name"


def _check_authority(authority: x509.Certificate, leaf: x509.Certificate) -> None:
    if authority == leaf:
        raise ValueError(
            "authority: is the server's own certificate, which changes at each renewal; write the certificate of "
            "the authority that signed it"
        )
    if not is_authority(authority):
        raise ValueError(
            f"authority: {_title(authority)} may not sign certificates (basic constraint CA); write the root "
            "certificate, or the issuer's, that clients will trust"
        )


def _check_dates(key: str, which: str, certificate: x509.Certificate, now: datetime) -> None:
    if now > certificate.not_valid_after_utc:
        raise ValueError(
            f"{key}: {which} expired on {certificate.not_valid_after_utc:%Y-%m-%d}; write one that is valid"
        )
    if now < certificate.not_valid_before_utc:
        raise ValueError(
            f"{key}: {which} is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on; write one that is "
            "valid now (or set this machine's clock)"
        )


def _check_strength(position: int, certificate: x509.Certificate) -> None:
    which = "the first certificate" if position == 1 else f"number {position} of the list"
    hash_algorithm = certificate.signature_hash_algorithm
    if hash_algorithm is not None and hash_algorithm.name not in _STRONG_HASHES:
        raise ValueError(
            f"certificate: {which} is signed with {hash_algorithm.name.upper()}, which clients refuse; write one that "
            "is signed with SHA-256 or better"
        )
    key = certificate.public_key()
    weak_rsa = isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048
    weak_curve = isinstance(key, ec.EllipticCurvePublicKey) and key.curve.key_size < 256
    if weak_rsa or weak_curve or not isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)):
        raise ValueError(
            f"certificate: the key of {which} is too weak, or of a kind that clients refuse; write one with an RSA "
            "key of 2048 bits or an ECDSA key of 256 bits, or more"
        )


def _check_usage(leaf: x509.Certificate) -> None:
    if is_authority(leaf):
        raise ValueError(
            "certificate: the first certificate is an authority; write the server's own certificate first, then its "
            "intermediates"
        )
    try:
        usages = list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        usages = []
    if ExtendedKeyUsageOID.SERVER_AUTH not in usages:
        raise ValueError(
            "certificate: the first certificate is not for servers (extended key usage serverAuth is missing); write "
            "the server's own certificate first, made for TLS servers"
        )


def _check_names(leaf: x509.Certificate, hosts: Sequence[str]) -> None:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        covered = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    except x509.ExtensionNotFound:
        covered = []
    missing = [host for host in hosts if host not in covered and f"*.{host.partition('.')[2]}" not in covered]
    if missing:
        raise ValueError(
            f"certificate: does not cover {', '.join(missing)}; write one whose subject alternative names do, such as "
            f"*.{missing[0].partition('.')[2]} (it covers {', '.join(covered) or 'none'})"
        )


def _check_order(chain: Sequence[x509.Certificate]) -> None:
    for position, (certificate, issuer) in enumerate(pairwise(chain), 1):
        if _issued(certificate, issuer):
            continue
        if any(_issued(certificate, other) for other in chain if other is not certificate):
            raise ValueError(
                "certificate: the list is not in order; write the leaf, then its issuer, then that one's issuer"
            )
        raise ValueError(
            f"certificate: number {position + 1} of the list did not sign number {position}; write the certificate of "
            f"the issuer {_issuer(certificate)} there"
        )


def _check_end(last: x509.Certificate, authorities: Sequence[x509.Certificate]) -> None:
    if last in authorities or any(_issued(last, authority) for authority in authorities):
        return
    if any(last.issuer == authority.subject for authority in authorities):
        raise ValueError(
            f"authority: has the name of the issuer {_issuer(last)} but another key; write the certificate that signed "
            "the last one of the list"
        )
    raise ValueError(
        f"certificate: does not lead to the authority; write the intermediate certificate {_issuer(last)} after it, or "
        "the authority that signed it under authority"
    )


def _issuer(certificate: x509.Certificate) -> str:
    names = certificate.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return f'"{names[0].value!s}"' if names else "(without a common name)"


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _verify_as_client(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    hosts: Sequence[str],
    now: datetime,
) -> None:
    """Path length, name constraints, key usage and unknown critical extensions, which only a whole verifier knows."""
    # private authorities leave out identifiers of keys, and no client insists on them
    signer = ExtensionPolicy.webpki_defaults_ca().may_be_present(x509.SubjectKeyIdentifier, Criticality.AGNOSTIC, None)
    signer = signer.may_be_present(x509.AuthorityKeyIdentifier, Criticality.AGNOSTIC, None)
    signer = signer.may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_sign)
    server = ExtensionPolicy.webpki_defaults_ee().may_be_present(
        x509.AuthorityKeyIdentifier, Criticality.AGNOSTIC, None
    )
    policy = PolicyBuilder().store(Store(list(authorities))).time(now)
    policy = policy.extension_policies(ca_policy=signer, ee_policy=server)
    for host in hosts:
        try:
            policy.build_server_verifier(x509.DNSName(host)).verify(leaf, list(intermediates))
        except VerificationError as problem:
            raise ValueError(
                f"certificate: a client would refuse it for {host}: {problem}; write a certificate and an authority "
                "that are made for TLS servers"
            ) from None


def _may_sign(_policy: object, _certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("an authority's key usage does not allow it to sign certificates")
