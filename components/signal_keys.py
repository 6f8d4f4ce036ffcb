"""Signal's key material as pure functions of a seed, byte for byte what libsignal derives.

A stack keeps only random seeds. `expand` turns a seed into the bytes for one use, and the other functions
turn such bytes into the zero-knowledge parameters of Whisper and Storage and into the keys and the
certificate of sealed sender. Equal input gives equal output, so nothing derived has to be stored.

Source: libsignal, crates `poksho`, `zkcredential`, `zkgroup` and `libsignal-protocol`; Signal's specification
"The XEdDSA and VXEdDSA Signature Schemes"; RFC 9496 (Ristretto255), RFC 7748 (X25519), RFC 5869 (HKDF).

Every function refuses an argument of the wrong form with a ValueError that names the argument and the form
that it expects, and never repeats the value.
"""

import base64
import functools
import hashlib
import hmac
import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, assert_never

import xeddsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MINIMUM_SEED = 32
MAXIMUM_EXPANSION = 255 * 32
REFUSED_KEY_IDS = frozenset({0xDEADC357, 0x7357C357})

_RISTRETTO_ORDER = 2**252 + 27742317777372353535851937790883648493
_VERSION = b"\x00"
_DJB_TYPE = b"\x05"


KeyKind = Literal["server-params", "generic-params", "curve25519"]
"""Kinds of Signal key material: ServerSecretParams, GenericServerSecretParams, a Curve25519 private key."""


@dataclass(frozen=True)
class KeyPair:
    """A secret and the public part that belongs to it, both in libsignal's serialised form."""

    secret: bytes = field(repr=False)
    public: bytes


@dataclass(frozen=True)
class CurveKeyPair:
    """A Curve25519 key pair: the clamped private scalar and the public u-coordinate, 32 bytes each."""

    private: bytes = field(repr=False)
    public: bytes

    @property
    def serialised(self) -> bytes:
        """The public key as Signal writes it: the type byte 05, then the 32 bytes."""
        return _DJB_TYPE + self.public


def to_base64(data: bytes) -> str:
    """RFC 4648 base64 in one line: standard alphabet, padded as Whisper's plain byte fields demand."""
    return base64.b64encode(data).decode("ascii")


def to_hex(data: bytes) -> str:
    """Lower-case hex without separators, the form of Storage's and the calling frontend's keys."""
    return data.hex()


def expand(seed: str | bytes, label: str, length: int) -> bytes:
    """`length` bytes (1 to 8160) for the use that `label` names: HKDF-SHA256, no salt, the label as its info.

    The seed is text (its UTF-8 form counts) or bytes, at least 32 of them. Different labels give independent
    results; for one label, a shorter result is the beginning of a longer one.
    """
    material = seed.encode() if isinstance(seed, str) else seed
    if not isinstance(material, bytes) or len(material) < MINIMUM_SEED:
        raise ValueError(f"seed: expected text or bytes, at least {MINIMUM_SEED} bytes long")
    if not isinstance(label, str) or not label:
        raise ValueError("label: expected a text that names the use, not empty")
    if not isinstance(length, int) or not 1 <= length <= MAXIMUM_EXPANSION:
        raise ValueError(f"length: expected a whole number from 1 to {MAXIMUM_EXPANSION}")
    return _hkdf(material, label.encode(), length)


def server_secret_params(r: bytes) -> KeyPair:
    """libsignal's ServerSecretParams (2721 bytes) and ServerPublicParams (673 bytes) of 32 random bytes."""
    _check_bytes("r", r, 32)
    sho = _HmacSho(b"Signal_ZKGroup_20200424_Random_ServerSecretParams_Generate", r)
    parts = [
        _credential(sho, scalars=4, attributes=3),  # auth
        _credential(sho, scalars=4, attributes=4),  # profile key
        _point_key(sho, public_in_secret=True),  # notary signature
        _credential(sho, scalars=4, attributes=2),  # receipt
        _credential(sho, scalars=6, attributes=6),  # PNI
        _credential(sho, scalars=5, attributes=5),  # expiring profile key
        _credential(sho, scalars=5, attributes=5),  # auth with PNI
        _generic_credential(r),
        _point_key(_HmacSho(b"Signal_ZKCredential_Endorsements_ServerRootKeyPair_generate_20240207", r)),
    ]
    return _versioned(parts)


def generic_server_secret_params(r: bytes) -> KeyPair:
    """libsignal's GenericServerSecretParams (385 bytes) and the public part (225 bytes) of 32 random bytes.

    Call links and backups each need a pair of their own.
    """
    _check_bytes("r", r, 32)
    return _versioned([_generic_credential(r)])


def curve_key_pair(r: bytes) -> CurveKeyPair:
    """The Curve25519 key pair of 32 random bytes, clamped as RFC 7748 demands."""
    _check_bytes("r", r, 32)
    private = _clamp(r)
    return CurveKeyPair(private, X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw())


def secret_half(kind: KeyKind, r: bytes) -> bytes:
    """The secret part of a kind of key material, made of 32 random bytes."""
    match kind:
        case "server-params":
            return server_secret_params(r).secret
        case "generic-params":
            return generic_server_secret_params(r).secret
        case "curve25519":
            return curve_key_pair(r).private
        case _:
            assert_never(kind)


def public_half(kind: KeyKind, secret: bytes) -> bytes:
    """The public part that belongs to a secret one, however that was made (an operator may bring it).

    Raises ValueError when the secret does not have the length or the version byte of its kind.
    """
    match kind:
        case "server-params":
            return _public_of_server_params(secret)
        case "generic-params":
            _check_bytes("secret", secret, 385)
            return _VERSION + _generic_public(_words(secret[1:]))
        case "curve25519":
            _check_bytes("secret", secret, 32)
            public = X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
            return CurveKeyPair(secret, public).serialised
        case _:
            assert_never(kind)


def server_certificate(
    trust_root_private: bytes, server_public_serialised: bytes, key_id: int, nonce_seed: bytes
) -> bytes:
    """The sealed-sender ServerCertificate: the server's public key and its id, signed by the trust root.

    `trust_root_private` is a clamped private key (`CurveKeyPair.private`); `server_public_serialised` the
    33-byte form of the server's public key; `key_id` a uint32 that no client refuses; `nonce_seed` 32 secret
    bytes for XEdDSA, so that equal input gives an equal signature. The result is a serialised protocol
    buffer, 105 bytes for an id below 128.
    """
    _check_bytes("trust_root_private", trust_root_private, 32)
    if trust_root_private != _clamp(trust_root_private):
        raise ValueError("trust_root_private: expected a clamped Curve25519 private key")
    _check_bytes("server_public_serialised", server_public_serialised, 33)
    if not server_public_serialised.startswith(_DJB_TYPE):
        raise ValueError("server_public_serialised: expected the type byte 05, then a Curve25519 public key")
    if not isinstance(key_id, int) or not 0 <= key_id < 2**32:
        raise ValueError("key_id: expected a whole number from 0 to 4294967295")
    if key_id in REFUSED_KEY_IDS:
        raise ValueError("key_id: expected neither 0xdeadc357 nor 0x7357c357, which clients refuse")
    _check_bytes("nonce_seed", nonce_seed, 32)

    # Protocol Buffers: a tag is `field << 3 | wire type`, 0 for a varint and 2 for length-delimited bytes.
    certificate = b"\x08" + _varint(key_id) + b"\x12" + _delimited(server_public_serialised)
    signature = _sign(trust_root_private, certificate, nonce_seed)
    return b"\x0a" + _delimited(certificate) + b"\x12" + _delimited(signature)


def _check_bytes(name: str, value: bytes, length: int) -> None:
    if not isinstance(value, bytes) or len(value) != length:
        raise ValueError(f"{name}: expected {length} bytes")


def _hkdf(material: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(material)


def _clamp(r: bytes) -> bytes:
    return bytes([r[0] & 0xF8, *r[1:31], r[31] & 0x7F | 0x40])


def _sign(private: bytes, message: bytes, nonce_seed: bytes) -> bytes:
    """XEdDSA: verifiers take the Edwards public key whose sign bit is clear, so the private key must fit it."""
    nonce = _hkdf(nonce_seed, b"XEdDSA nonce" + message, xeddsa.NONCE_SIZE)
    return xeddsa.ed25519_priv_sign(xeddsa.priv_force_sign(private, False), message, nonce)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _delimited(data: bytes) -> bytes:
    return _varint(len(data)) + data


@functools.cache
def _ristretto() -> Any:
    """The bindings to libsodium's Ristretto255, loaded when first needed: that takes tens of milliseconds.

    At import the package writes its shared library to a temporary file, loads it, and leaves the file behind.
    What is loaded no longer needs the file.
    """
    bindings = importlib.import_module("rbcl")
    Path(importlib.import_module("rbcl._sodium").lib_path).unlink(missing_ok=True)
    return bindings


def _times(scalar: bytes, point: bytes) -> bytes:
    return bytes(_ristretto().crypto_scalarmult_ristretto255(scalar, point))


def _times_base(scalar: bytes) -> bytes:
    return bytes(_ristretto().crypto_scalarmult_ristretto255_base(scalar))


class _HmacSho:
    """A stateful hash object: it absorbs data, then gives out points and scalars, each call new ones.

    Over HMAC-SHA256, keyed by the chaining value; a last byte separates the steps.
    """

    def __init__(self, label: bytes, *absorbed: bytes) -> None:
        self._chain = bytes(32)
        for data in (label, *absorbed):
            self._chain = self._absorbed(data)

    def points(self, count: int) -> list[bytes]:
        return [bytes(_ristretto().crypto_core_ristretto255_from_hash(self._squeeze())) for _ in range(count)]

    def scalar(self) -> bytes:
        return (int.from_bytes(self._squeeze(), "little") % _RISTRETTO_ORDER).to_bytes(32, "little")

    def scalars(self, count: int) -> list[bytes]:
        return [self.scalar() for _ in range(count)]

    def _squeeze(self) -> bytes:
        """64 uniform bytes, what a point or a scalar is made from."""
        output = b"".join(self._hash(1, index.to_bytes(8, "big")) for index in range(2))
        self._chain = self._hash(2, len(output).to_bytes(8, "big"))
        return output

    def _absorbed(self, data: bytes) -> bytes:
        return self._hash(0, data)

    def _hash(self, step: int, data: bytes) -> bytes:
        return hmac.digest(self._chain, data + bytes([step]), "sha256")


class _Sha256Sho(_HmacSho):
    """The variant over SHA-256: each input follows a block of 64 bytes whose last one separates the steps."""

    def _absorbed(self, data: bytes) -> bytes:
        return hashlib.sha256(super()._absorbed(data)).digest()

    def _hash(self, step: int, data: bytes) -> bytes:
        return hashlib.sha256(bytes(63) + bytes([step]) + self._chain + data).digest()


@dataclass(frozen=True)
class _System:
    """The public base points of a system of keyed-verification credentials, as libsignal names them."""

    w: bytes
    wprime: bytes
    x0: bytes
    x1: bytes
    v: bytes
    y: tuple[bytes, ...]


@functools.cache
def _zkgroup_system() -> _System:
    sho = _HmacSho(b"Signal_ZKGroup_20200424_Constant_Credentials_SystemParams_Generate", b"")
    w, wprime, x0, x1 = sho.points(4)
    y1_to_y4, _m1_to_m4 = sho.points(4), sho.points(4)
    v, _z = sho.points(2)
    return _System(w, wprime, x0, x1, v, (*y1_to_y4, *sho.points(2)))


@functools.cache
def _zkcredential_system() -> _System:
    sho = _Sha256Sho(b"Signal_ZKCredential_ConstantSystemParams_generate_20230410")
    w, wprime, x0, x1, v, _z = sho.points(6)
    return _System(w, wprime, x0, x1, v, tuple(sho.points(7)))


def _credential(sho: _HmacSho, *, scalars: int, attributes: int) -> KeyPair:
    """A zkgroup credential key pair: so many y scalars, the first ones of which stand for the attributes."""
    system = _zkgroup_system()
    w, wprime, x0, x1, *y = sho.scalars(4 + scalars)
    big_w = _times(w, system.w)
    commitment = _commitment(big_w, wprime, system)
    issuer = _issuer_points(system, [x0, x1, *y[:attributes]])[-1]
    return KeyPair(b"".join([w, wprime, big_w, x0, x1, *y, commitment, issuer]), commitment + issuer)


def _generic_credential(r: bytes) -> KeyPair:
    system = _zkcredential_system()
    sho = _HmacSho(b"Signal_ZKCredential_CredentialPrivateKey_generate_20230410", r)
    w, wprime, *rest = sho.scalars(4 + len(system.y))
    words = [w, wprime, _times(w, system.w), *rest]
    return KeyPair(b"".join(words), _generic_public(words))


def _generic_public(words: Sequence[bytes]) -> bytes:
    """The public part of a zkcredential key pair: an issuer point for each number of attributes from two on."""
    system = _zkcredential_system()
    _w, wprime, big_w, *scalars = words
    commitment = _commitment(big_w, wprime, system)
    return b"".join([commitment, *_issuer_points(system, scalars)[1:]])


def _public_of_server_params(secret: bytes) -> bytes:
    """The public parts stand at the end of each part of the secret, but for the last two, which are computed."""
    _check_bytes("secret", secret, 2721)
    words = _words(secret[1:])
    public = []
    for scalars in (4, 4, None, 4, 6, 5, 5):
        length, shown = (2, 1) if scalars is None else (7 + scalars, 2)
        public += words[length - shown : length]
        words = words[length:]
    return b"".join([_VERSION, *public, _generic_public(words[:12]), _times_base(words[12])])


def _commitment(big_w: bytes, wprime: bytes, system: _System) -> bytes:
    return bytes(_ristretto().crypto_core_ristretto255_add(big_w, _times(wprime, system.wprime)))


def _words(data: bytes) -> list[bytes]:
    return [data[start : start + 32] for start in range(0, len(data), 32)]


def _issuer_points(system: _System, scalars: Sequence[bytes]) -> list[bytes]:
    """V minus x0*X0, x1*X1 and each y*Y: the running difference after the first y, the second, and so on."""
    bases = (system.x0, system.x1, *system.y)
    point, points = system.v, []
    for scalar, base in zip(scalars, bases, strict=False):
        point = bytes(_ristretto().crypto_core_ristretto255_sub(point, _times(scalar, base)))
        points.append(point)
    return points[2:]


def _point_key(sho: _HmacSho, *, public_in_secret: bool = False) -> KeyPair:
    """One scalar and its multiple of the group's base point."""
    scalar = sho.scalar()
    public = _times_base(scalar)
    return KeyPair(scalar + public if public_in_secret else scalar, public)


def _versioned(parts: Sequence[KeyPair]) -> KeyPair:
    return KeyPair(
        _VERSION + b"".join(part.secret for part in parts),
        _VERSION + b"".join(part.public for part in parts),
    )
