"""Encryption of an archive: for a public key, so that whoever writes one needs no key that opens it.

The key pair of a stack follows from its passphrase and a salt (scrypt), so the passphrase alone opens an archive on any
machine. Each file has a key of its own and is a sequence of AES-256-GCM chunks, the last of them marked, as in STREAM
(Hoang and others, "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", 2015). docs/migration.md has
the format for other programs.
"""

import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from migration.errors import MigrationError
from migration.records import from_base64, to_base64

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

CHUNK_BYTES = 1 << 20
"""Of plain text; each chunk is 16 bytes longer in the archive."""

TAG_BYTES = 16
_SALT_BYTES, _KEY_BYTES = 16, 32
SCRYPT = {"n": 2**17, "r": 8, "p": 1, "maxmem": 2**28, "dklen": _KEY_BYTES}
"""128 MiB and about half a second for each guess of a passphrase."""


@dataclass(frozen=True)
class Recipient:
    """A public key, and the salt that leads from its passphrase to the private one. Neither is secret."""

    salt: bytes
    public: bytes

    def __str__(self) -> str:
        return f"v1:{to_base64(self.salt)}:{to_base64(self.public)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The recipient of `v1:<base64 salt>:<base64 public key>`. Raises ValueError for another form."""
        version, _, rest = text.partition(":")
        salt, _, public = rest.partition(":")
        found = cls(from_base64(salt), from_base64(public))
        if version != "v1" or len(found.salt) != _SALT_BYTES or len(found.public) != _KEY_BYTES:
            raise ValueError("recipient")
        return found


@dataclass(frozen=True)
class Identity:
    """A key pair."""

    recipient: Recipient
    private: X25519PrivateKey = field(repr=False)


def identity(passphrase: str, salt: bytes | None = None) -> Identity:
    """The key pair of a passphrase and a salt, a new one where none is given."""
    salt = os.urandom(_SALT_BYTES) if salt is None else salt
    private = X25519PrivateKey.from_private_bytes(hashlib.scrypt(passphrase.encode(), salt=salt, **SCRYPT))
    return Identity(Recipient(salt, private.public_key().public_bytes_raw()), private)


class Keys:
    """The keys of one archive's files, by their names."""

    def __init__(self, shared: bytes, header: bytes) -> None:
        self._main = _derived(shared, hashlib.sha256(header).digest(), b"flatline-archive 2")

    def of(self, file: str) -> AESGCM:
        """The cipher of a file by its name below the archive's folder."""
        return AESGCM(_derived(self._main, None, b"file " + file.encode()))


def keys_to_write(recipient: Recipient, header: Callable[[str], bytes]) -> tuple[bytes, Keys]:
    """A header and the keys that only the recipient finds again. `header` makes it of a new public key in base64."""
    private = X25519PrivateKey.generate()
    text = header(to_base64(private.public_key().public_bytes_raw()))
    return text, Keys(private.exchange(X25519PublicKey.from_public_bytes(recipient.public)), text)


def keys_to_read(own: Identity, ephemeral: str, header: bytes) -> Keys:
    """The keys of an archive by its header, which names the public key that was made for it."""
    return Keys(own.private.exchange(X25519PublicKey.from_public_bytes(from_base64(ephemeral))), header)


class Sealer(io.RawIOBase):
    """Encrypts what is written to it into a file. Only `finish` marks the end: without it the file cannot be read."""

    def __init__(self, file: IO[bytes], cipher: AESGCM) -> None:
        self._file = file
        self._cipher = cipher
        self._buffer = bytearray()
        self._number = 0

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: "ReadableBuffer") -> int:
        """Takes all of it."""
        view = memoryview(data)
        self._buffer += view
        while len(self._buffer) > CHUNK_BYTES:
            self._seal(bytes(self._buffer[:CHUNK_BYTES]), last=False)
            del self._buffer[:CHUNK_BYTES]
        return view.nbytes

    def finish(self) -> None:
        """Writes the last chunk."""
        self._seal(bytes(self._buffer), last=True)

    def _seal(self, chunk: bytes, *, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._number, last=last), chunk, None))
        self._number += 1


class Opener(io.RawIOBase):
    """Decrypts a file. Reading raises MigrationError where a byte was changed, left out, added or cut off."""

    def __init__(self, file: IO[bytes], cipher: AESGCM, damaged: Callable[[], MigrationError]) -> None:
        self._file = file
        self._cipher = cipher
        self._damaged = damaged
        self._number = 0
        self._plain = memoryview(b"")
        self._next = file.read(CHUNK_BYTES + TAG_BYTES)
        self._ended = False

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fills a buffer; 0 at the authenticated end."""
        target = memoryview(buffer)
        while not self._plain and not self._ended:
            self._open()
        count = min(len(self._plain), len(target))
        target[:count] = self._plain[:count]
        self._plain = self._plain[count:]
        return count

    def close(self) -> None:
        """Closes the file as well."""
        self._file.close()
        super().close()

    def _open(self) -> None:
        chunk, self._next = self._next, self._file.read(CHUNK_BYTES + TAG_BYTES)
        self._ended = not self._next
        try:
            self._plain = memoryview(self._cipher.decrypt(_nonce(self._number, last=self._ended), chunk, None))
        except (InvalidTag, ValueError):
            raise self._damaged() from None
        self._number += 1


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _derived(key: bytes, salt: bytes | None, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=salt, info=purpose).derive(key)
