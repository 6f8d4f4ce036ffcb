"""Trust stores in Bouncy Castle's form BKS, version 2, which Android's clients read.

No library writes it: pyjks reads alone. The form is Bouncy Castle's BcKeyStoreSpi.engineStore; its integers are
big-endian, its texts have a length of two bytes before them. The key of the checksum is the one of PKCS#12 (RFC 7292,
appendix B) with SHA-1.
"""

import hashlib
import hmac
import struct
from collections.abc import Mapping
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

_VERSION = 2
_ITERATIONS = 1631
_CERTIFICATE, _END = b"\x01", b"\x00"
_BLOCK, _DIGEST = 64, 20
"""Bytes of SHA-1."""
_INTEGRITY = 3
"""Purpose of the derived key: a MAC."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def trust_store(certificates: Mapping[str, x509.Certificate], password: str) -> bytes:
    """A store of trusted certificates by alias (ASCII).

    The same certificates give the same bytes: salt and times are made from them, and nothing in the store is secret.
    """
    entries = b"".join(_entry(alias, each) for alias, each in certificates.items()) + _END
    salt = hashlib.sha1(entries, usedforsecurity=False).digest()
    key = _derived(password, salt)
    header = struct.pack(">iI", _VERSION, len(salt)) + salt + struct.pack(">i", _ITERATIONS)
    return header + entries + hmac.digest(key, entries, "sha1")


def _entry(alias: str, certificate: x509.Certificate) -> bytes:
    content = certificate.public_bytes(Encoding.DER)
    made = int((certificate.not_valid_before_utc - _EPOCH).total_seconds() * 1000)
    chain = 0
    return (
        _CERTIFICATE
        + _text(alias)
        + struct.pack(">qi", made, chain)
        + _text("X.509")
        + struct.pack(">i", len(content))
        + content
    )


def _text(text: str) -> bytes:
    content = text.encode("ascii")
    return struct.pack(">H", len(content)) + content


def _derived(password: str, salt: bytes) -> bytes:
    """RFC 7292, appendix B.2, where the key is no longer than one digest."""
    secret = (password + "\0").encode("utf-16-be")
    content = bytes([_INTEGRITY]) * _BLOCK + _filled(salt) + _filled(secret)
    for _ in range(_ITERATIONS):
        content = hashlib.sha1(content, usedforsecurity=False).digest()
    return content[:_DIGEST]


def _filled(text: bytes) -> bytes:
    """Repeated up to a whole number of blocks."""
    length = -(-len(text) // _BLOCK) * _BLOCK
    return (text * (length // len(text) + 1))[:length]
