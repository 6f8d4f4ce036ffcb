"""Messages of STUN and TURN, as a client needs them to try a relay (RFC 8489, RFC 8656)."""

import binascii
import hashlib
import hmac
import ipaddress
import secrets
import struct
from dataclasses import dataclass, field
from enum import IntEnum

HEADER = 20
_COOKIE = 0x2112A442
_INTEGRITY, _FINGERPRINT = 0x0008, 0x8028
_FINGERPRINT_XOR = 0x5354554E
_FAMILIES = {4: 1, 6: 2}

Address = tuple[str, int]
"""An IP address and a port."""


class Kind(IntEnum):
    """Method and class of a message."""

    BINDING = 0x0001
    BOUND = 0x0101
    ALLOCATE = 0x0003
    ALLOCATED = 0x0103
    REFRESH = 0x0004
    PERMIT = 0x0008
    SEND = 0x0016
    DATA = 0x0017


class Attribute(IntEnum):
    """Types of attributes."""

    USERNAME = 0x0006
    ERROR_CODE = 0x0009
    LIFETIME = 0x000D
    PEER = 0x0012
    DATA = 0x0013
    REALM = 0x0014
    NONCE = 0x0015
    RELAYED = 0x0016
    FAMILY = 0x0017
    TRANSPORT = 0x0019
    MAPPED = 0x0020
    PRIORITY = 0x0024
    ICE_CONTROLLING = 0x802A


class NoStunError(Exception):
    """What was received is no message of STUN."""


@dataclass(frozen=True)
class Credentials:
    """What Whisper hands out, and what the server asks for."""

    username: str
    password: str = field(repr=False)
    realm: bytes = b""
    nonce: bytes = b""

    @property
    def key(self) -> bytes:
        """The key of a message's integrity: long-term credentials by MD5, as WebRTC's clients use them."""
        text = b":".join((self.username.encode(), self.realm, self.password.encode()))
        return hashlib.md5(text, usedforsecurity=False).digest()


@dataclass(frozen=True)
class Message:
    """A message. `kind` is method and class; of attributes that repeat the first counts."""

    kind: int
    attributes: tuple[tuple[int, bytes], ...] = ()
    transaction: bytes = field(default_factory=lambda: secrets.token_bytes(12))

    def get(self, attribute: Attribute) -> bytes | None:
        """The value of an attribute."""
        return next((value for name, value in self.attributes if name == attribute), None)

    @property
    def error(self) -> int:
        """The number of the refusal, such as 401; 0 for none."""
        value = self.get(Attribute.ERROR_CODE)
        return 0 if value is None or len(value) < 4 else value[2] * 100 + value[3]

    def address(self, attribute: Attribute) -> Address | None:
        """An address, which is written xor-ed."""
        value = self.get(attribute)
        if value is None or len(value) not in (8, 20):
            return None
        mask = struct.pack("!I", _COOKIE) + self.transaction
        port = struct.unpack("!H", value[2:4])[0] ^ (_COOKIE >> 16)
        raw = bytes(a ^ b for a, b in zip(value[4:], mask, strict=False))
        return str(ipaddress.ip_address(raw)), port

    def encoded(self, credentials: Credentials | None = None) -> bytes:
        """The bytes of the message, with an attribute of integrity if there are credentials."""
        attributes = list(self.attributes)
        if credentials is not None:
            name = (Attribute.USERNAME, credentials.username.encode())
            attributes += [name, (Attribute.REALM, credentials.realm), (Attribute.NONCE, credentials.nonce)]
        body = b"".join(_attribute(name, value) for name, value in attributes)
        if credentials is not None:
            body = self._signed(body, credentials.key)
        return self._header(len(body)) + body

    def checked(self, password: str) -> bytes:
        """The bytes of a connectivity check of ICE: with integrity by a short-term password, and a fingerprint."""
        body = self._signed(b"".join(_attribute(name, value) for name, value in self.attributes), password.encode())
        counted = self._header(len(body) + 8) + body
        return counted + _attribute(_FINGERPRINT, struct.pack("!I", binascii.crc32(counted) ^ _FINGERPRINT_XOR))

    def _signed(self, body: bytes, key: bytes) -> bytes:
        """With the attribute of integrity, which is counted in the length that it signs."""
        return body + _attribute(_INTEGRITY, hmac.digest(key, self._header(len(body) + 24) + body, "sha1"))

    def _header(self, length: int) -> bytes:
        return struct.pack("!HHI", self.kind, length, _COOKIE) + self.transaction


def peer(address: Address, transaction: bytes) -> tuple[int, bytes]:
    """The attribute of the address to which, or from which, is relayed."""
    ip, port = ipaddress.ip_address(address[0]), address[1]
    mask = struct.pack("!I", _COOKIE) + transaction
    raw = bytes(a ^ b for a, b in zip(ip.packed, mask, strict=False))
    return Attribute.PEER, struct.pack("!BBH", 0, _FAMILIES[ip.version], port ^ (_COOKIE >> 16)) + raw


def decoded(data: bytes) -> Message:
    """The message in some bytes. Raises NoStunError."""
    if len(data) < HEADER:
        raise NoStunError
    kind, length, cookie = struct.unpack("!HHI", data[:8])
    if cookie != _COOKIE or kind >> 14 or length % 4 or len(data) != HEADER + length:
        raise NoStunError
    attributes, at = [], HEADER
    while at < len(data):
        name, size = struct.unpack("!HH", data[at : at + 4])
        attributes.append((name, data[at + 4 : at + 4 + size]))
        at += 4 + size + -size % 4
    return Message(kind, tuple(attributes), data[8:HEADER])


def _attribute(name: int, value: bytes) -> bytes:
    return struct.pack("!HH", name, len(value)) + value + bytes(-len(value) % 4)
