"""Certificates for tests: authorities, intermediates and leaves with one property changed."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def private_pem(self) -> str:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def signs(self, name: str, **options: Any) -> "Issued":
        return issue(name, issuer=self, **options)


def issue(
    name: str,
    *,
    issuer: Issued | None = None,
    authority: bool = True,
    path_length: int | None = None,
    names: tuple[str, ...] = (),
    usages: tuple[x509.ObjectIdentifier, ...] = (),
    begins: datetime = NOW - DAY,
    ends: datetime = NOW + 300 * DAY,
    key: Key | None = None,
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    organisation: str = "",
) -> Issued:
    """A certificate, signed by `issuer` or by itself."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)] if organisation else []
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    by = issuer.certificate.subject if issuer else subject
    builder = x509.CertificateBuilder(by, subject, key.public_key(), x509.random_serial_number(), begins, ends)
    builder = builder.add_extension(
        x509.BasicConstraints(ca=authority, path_length=path_length if authority else None), critical=True
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return Issued(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def leaf(issuer: Issued, domain: str, **options: Any) -> Issued:
    """A server's wildcard certificate."""
    given = {"authority": False, "names": (f"*.{domain}", domain), "usages": SERVER, **options}
    return issuer.signs(f"*.{domain}", **given)
