"""Checks of what an operator brings instead of a generated value. Errors never contain the value."""

import base64
import binascii
from collections import Counter
from itertools import pairwise
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from config.schema.secrets import Secret

LENGTHS = {"server-params": 2721, "generic-params": 385, "curve25519": 32}
"""Bytes of Signal key material (libsignal's serialised forms)."""


def certificate_chain(value: str) -> str:
    """A PEM text of one or more X.509 certificates."""
    if "PRIVATE KEY-----" in value:
        raise ValueError("holds a private key; write certificates alone here, and the key into privateKey, encrypted")
    try:
        x509.load_pem_x509_certificates(value.encode())
    except ValueError:
        raise ValueError(
            "holds no PEM certificate; write the text from -----BEGIN CERTIFICATE----- on, as a YAML block (|)"
        ) from None
    return value


def _public_bytes(key: Any) -> bytes:
    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def check_key(certificate: str, private_key: str) -> None:
    """That a PEM private key belongs to a certificate, and that it is strong enough."""
    try:
        key = load_pem_private_key(private_key.encode(), password=None)
    except (ValueError, TypeError):
        raise ValueError("privateKey: is no unencrypted PEM key; write the text from -----BEGIN on") from None
    leaf = x509.load_pem_x509_certificates(certificate.encode())[0]
    if _public_bytes(key.public_key()) != _public_bytes(leaf.public_key()):
        raise ValueError("privateKey: belongs to another certificate; write the key of the first certificate")
    strong = (isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048) or (
        isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size >= 256
    )
    if not strong:
        raise ValueError("privateKey: is weak; write an RSA key of 2048 bits or an ECDSA key of 256 bits, or more")


def check_secret(secret: Secret, value: str) -> None:
    """That a value of the operator's has the form that the secret's first reader takes."""
    encoding = secret.readers[0].encoding
    if encoding in {"pem", "json"}:
        raise ValueError(f"{secret.name} is used by nothing and cannot be brought; remove it")
    try:
        data = decode(value, encoding)
    except ValueError:
        raise ValueError(
            f"{secret.name}: value is not {encoding}; write standard {encoding} without line ends"
        ) from None
    wanted = LENGTHS.get(secret.kind)
    if wanted is not None and len(data) != wanted:
        raise ValueError(f"{secret.name}: value has {len(data)} bytes; write {encoding} of exactly {wanted}")
    if wanted is None and len(data) < secret.length:
        raise ValueError(
            f"{secret.name}: value has {len(data)} bytes; write {encoding} of {secret.length} or more random bytes"
        )


def check_random(secret: Secret, value: str) -> None:
    """That a value which `check_secret` takes looks random. For a new value: one that is in use stays in use."""
    encoding = secret.readers[0].encoding
    data = decode(value, encoding)
    if is_predictable(data) or is_predictable(value.encode(), share=0.5):
        raise ValueError(
            f"{secret.name}: value is not random (it repeats itself, counts, or reads like a text); "
            f"write {encoding} of {len(data)} bytes from a random generator, such as openssl rand"
        )


def is_predictable(data: bytes, share: float = 0.25) -> bool:
    """True if bytes obviously come from no random generator.

    That is so where one step from a byte to the next (none, when it repeats itself; one, when it counts) makes up
    more than `share` of all steps, where a shorter text is repeated, where few different bytes occur, or where all are
    letters, spaces and punctuation. Sixteen random bytes look so less than once in a million times, longer ones never.
    """
    steps = Counter((b - a) % 256 for a, b in pairwise(data))
    if steps and steps.most_common(1)[0][1] > share * steps.total() + 1:
        return True
    if any(data[length:] == data[:-length] for length in range(1, len(data) // 2 + 1)):
        return True
    if share < 0.5 and all(0x20 <= byte < 0x7F and not 0x30 <= byte <= 0x39 for byte in data):
        return True
    return share < 0.5 and len(set(data)) < min(len(data), 128) / 2


def decode(value: str, encoding: str) -> bytes:
    """The bytes of a `base64` (standard alphabet, padded or not) or `hex` text. Raises ValueError."""
    try:
        if encoding == "hex":
            return bytes.fromhex(value)
        return base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
