"""Encryption under a passphrase, compatible with Pulumi's passphrase secrets provider.

- Key: PBKDF2-HMAC-SHA256 with 1,000,000 iterations and a salt of 8 bytes gives 32 bytes.
- Value: AES-256-GCM with a random nonce of 12 bytes, written ``v1:<base64 nonce>:<base64 ciphertext>``.
- Salt: ``v1:<base64 salt>:<value>``. The value is the encrypted word ``pulumi``, which shows a wrong passphrase.

Sources: pulumi/pulumi, sdk/go/common/resource/config/crypt.go and pkg/secrets/passphrase.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import files
from errors import FlatlineError

ITERATIONS: Final = 1_000_000
VARIABLE: Final = "PULUMI_CONFIG_PASSPHRASE"
FILE_VARIABLE: Final = "PULUMI_CONFIG_PASSPHRASE_FILE"

_KEY_BYTES: Final = 32
_SALT_BYTES: Final = 8
_NONCE_BYTES: Final = 12
_PROOF: Final = "pulumi"


class PassphraseError(FlatlineError):
    """The passphrase is absent or wrong, or an encrypted value is malformed."""


class Crypter:
    """Encrypts and decrypts values under one key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def encrypt(self, text: str) -> str:
        """Encrypts ``text`` as ``v1:<nonce>:<ciphertext>``, which differs on every call."""
        nonce = os.urandom(_NONCE_BYTES)
        return f"v1:{_base64(nonce)}:{_base64(self._cipher.encrypt(nonce, text.encode(), None))}"

    def decrypt(self, value: str) -> str:
        """Decrypts ``v1:<nonce>:<ciphertext>``. Raises ``PassphraseError`` if it is malformed or of another key."""
        parts = value.split(":")
        if len(parts) != 3 or parts[0] != "v1":
            raise PassphraseError("not an encrypted value of the form v1:<nonce>:<ciphertext>")
        nonce, ciphertext = _unbase64(parts[1]), _unbase64(parts[2])
        if len(nonce) != _NONCE_BYTES:
            raise PassphraseError("an encrypted value has a nonce of the wrong size")
        try:
            return self._cipher.decrypt(nonce, ciphertext, None).decode()
        except (InvalidTag, UnicodeDecodeError):
            raise PassphraseError("an encrypted value does not belong to this passphrase and salt") from None


def new_salt(passphrase: str) -> tuple[str, Crypter]:
    """Makes a new salt, in Pulumi's text form, and its crypter."""
    raw = os.urandom(_SALT_BYTES)
    crypter = Crypter(_derive(passphrase, raw, ITERATIONS))
    return f"v1:{_base64(raw)}:{crypter.encrypt(_PROOF)}", crypter


def unlock(passphrase: str, salt: str) -> Crypter:
    """The crypter of an existing salt. Raises ``PassphraseError`` for a wrong passphrase or a malformed salt."""
    version, _, rest = salt.partition(":")
    raw, _, proof = rest.partition(":")
    if version != "v1" or not proof:
        raise PassphraseError("the encryption salt is not of the form v1:<salt>:v1:<nonce>:<ciphertext>")
    crypter = Crypter(_derive(passphrase, _unbase64(raw), ITERATIONS))
    try:
        is_correct = crypter.decrypt(proof) == _PROOF
    except PassphraseError:
        is_correct = False
    if not is_correct:
        raise PassphraseError("incorrect passphrase")
    return crypter


@dataclass(frozen=True)
class PassphraseSource:
    """A passphrase, and for messages its origin. ``created`` is true if this run made it."""

    text: str
    origin: str
    created: bool = False

    def __repr__(self) -> str:
        return f"PassphraseSource(origin={self.origin!r}, created={self.created})"


def find(
    project: str,
    stack: str,
    *,
    may_create: Callable[[], bool],
    environment: Mapping[str, str] = os.environ,
) -> PassphraseSource:
    """Finds the passphrase of a stack, or creates it.

    It comes from PULUMI_CONFIG_PASSPHRASE, from the file that PULUMI_CONFIG_PASSPHRASE_FILE names (white space around
    it is ignored, as Pulumi does), or from the file of an earlier run. Without any of them a new one is written to
    ``<XDG_CONFIG_HOME or ~/.config>/flatline/<project>-<stack>.passphrase``, mode 0600, if ``may_create()`` is true: a
    local stack that has nothing encrypted yet.

    Raises ``PassphraseError`` if there is none and none may be created, if it is empty, or if others can read the file.
    """
    if VARIABLE in environment:
        if environment[VARIABLE].strip():
            return PassphraseSource(environment[VARIABLE], f"the variable {VARIABLE}")
        if may_create():
            raise PassphraseError(
                f"{VARIABLE} is set to an empty text, which protects nothing: give it a passphrase, or unset it"
            )
        # An earlier version allowed this, so its values can still be decrypted.
        return PassphraseSource(environment[VARIABLE], f"the variable {VARIABLE}, which is empty: it protects nothing")
    if environment.get(FILE_VARIABLE):
        path = Path(environment[FILE_VARIABLE]).expanduser()
        text = _read(path, FILE_VARIABLE)
        _refuse_if_open(path)
        return PassphraseSource(text, f"the file {path} ({FILE_VARIABLE})")
    path = generated_file(project, stack, environment)
    if path.exists():
        text = _read(path, "the passphrase file")
        _refuse_if_open(path)
        return PassphraseSource(text, f"the file {path}")
    if not may_create():
        raise PassphraseError(
            f"no passphrase for the secrets of stack {stack}: neither {VARIABLE} nor {FILE_VARIABLE} is set, and"
            f" {path} does not exist. It was made with the first run and cannot be made again: restore that"
            " file, or set one of the variables"
        )
    created = files.create(path, f"{secrets.token_urlsafe(32)}\n".encode())
    return PassphraseSource(_read(path, "the passphrase file"), f"the {'new ' if created else ''}file {path}", created)


def generated_file(project: str, stack: str, environment: Mapping[str, str] = os.environ) -> Path:
    """The file of a passphrase that ``find`` creates."""
    base = environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME") or Path.home()) / ".config"
    return Path(base) / "flatline" / f"{project}-{stack}.passphrase"


def _read(path: Path, source: str) -> str:
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "not text"
        raise PassphraseError(f"{source}: cannot read {path}: {reason}") from None
    if not text:
        raise PassphraseError(f"{source}: {path} is empty")
    return text


def _refuse_if_open(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise PassphraseError(
            f"{path} can be read by other users of this machine (mode {mode:04o}): run chmod 600 on it, and"
            " change the passphrase if someone else may have read it"
        )


@functools.lru_cache(maxsize=8)
def _derive(passphrase: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, iterations, _KEY_BYTES)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise PassphraseError("an encrypted value is not base64") from None
