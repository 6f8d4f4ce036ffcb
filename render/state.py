"""The state of a stack without an engine: its generated values, with encrypted secrets.

One JSON file per stack. Types, certificates and public keys are plain text; every secret value is encrypted on its
own, as ``render.passphrase`` does. A message authentication code over the whole file shows any change from outside;
its random key is in the file, encrypted. Unchanged values keep their ciphertext, so a run that changes nothing leaves
the file byte for byte as it is.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import files
from errors import FlatlineError
from render.generator import GeneratedResource
from render.passphrase import Crypter, PassphraseError, new_salt, unlock

VERSION: Final = 1
_KEY_BYTES: Final = 32


class StateError(FlatlineError):
    """The state file cannot be used: it is locked, damaged, of another stack, or from a newer version."""


@dataclass(frozen=True)
class Header:
    """The part of a state file that is readable without its passphrase.

    ``digests`` is as in ``State.digests``. It is empty in a file of a version that did not write any.
    """

    project: str
    stack: str
    digests: Mapping[str, tuple[str, ...]]


def read_header(path: Path) -> Header | None:
    """Reads the header of a state file; ``None`` if there is no file. Raises ``StateError`` if it is damaged."""
    text = _read(path)
    if text is None:
        return None
    try:
        content = json.loads(text)
        digests = {str(name): tuple(map(str, values)) for name, values in content.get("digests", {}).items()}
        return Header(str(content["project"]), str(content["stack"]), digests)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StateError(_damaged(path)) from None


class State:
    """The generated values of one stack. A context manager that holds a lock on the file while it is open.

    ``passphrase`` is called once. ``salt`` is the stack file's ``encryptionsalt``; a new state uses it, so that one key
    derivation serves both files. If the file does not exist, the values of ``fallback`` are used, if that exists.
    Nothing is written before ``save``.

    Raises ``StateError`` and ``PassphraseError``.
    """

    def __init__(
        self,
        path: Path,
        *,
        project: str,
        stack: str,
        passphrase: Callable[[], str],
        salt: str | None = None,
        fallback: Path | None = None,
    ) -> None:
        self.path = path
        self.notices: list[str] = []
        self._project = project
        self._stack = stack
        self._used: set[str] = set()
        self._lock = _lock(path)
        try:
            self._saved_text = _read(path)
            source = path if self._saved_text is not None or fallback is None else fallback
            text = self._saved_text if source is path else _read(source)
            if text is None:
                self._initialize(passphrase(), salt)
            else:
                self._load(source, text, passphrase)
                self._restrict_mode(source)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Releases the lock. Does not save."""
        self._lock.release()

    @property
    def salt(self) -> str:
        """The salt of the passphrase, in Pulumi's form."""
        return self._salt

    @property
    def crypter(self) -> Crypter:
        """Encrypts values under the key of this file."""
        return self._crypter

    def key(self, purpose: str) -> bytes:
        """Derives a key of 32 bytes for one purpose. It is the same for the life of the stack."""
        return hmac.digest(self._key, purpose.encode(), hashlib.sha256)

    def get(self, urn: str, inputs: str) -> GeneratedResource | None:
        """The value of ``urn`` if it was generated from inputs with this digest, else ``None``."""
        self._used.add(urn)
        entry = self._resources.get(urn)
        if entry is None or entry["inputs"] != inputs:
            return None
        return self._decrypted(entry)

    def values(self) -> dict[str, GeneratedResource]:
        """All values by URN, whatever their inputs were."""
        return {urn: self._decrypted(entry) for urn, entry in self._resources.items()}

    def has(self, urn: str) -> bool:
        """True if a value was ever generated for ``urn``."""
        return urn in self._resources

    def put(self, urn: str, token: str, inputs: str, generated: GeneratedResource) -> None:
        """Sets the value of ``urn``, with its type token and the digest of its inputs."""
        self._used.add(urn)
        self._resources[urn] = {
            "type": token,
            "inputs": inputs,
            "id": generated.id,
            "defaults": dict(generated.defaults),
            "outputs": {name: value for name, value in generated.outputs.items() if name not in generated.secrets},
            "secrets": {name: self._crypter.encrypt(generated.outputs[name]) for name in sorted(generated.secrets)},
        }

    @property
    def digests(self) -> Mapping[str, tuple[str, ...]]:
        """The digests of all values that this stack ever had under a name, the latest last. See ``add_digests``."""
        return {name: tuple(digests) for name, digests in self._digests.items()}

    def add_digests(self, digests: Mapping[str, str]) -> None:
        """Adds digests by which generated values can be recognised. They are not secret, and are never removed."""
        for name, digest in digests.items():
            known = self._digests.setdefault(name, [])
            if digest in known:
                known.remove(digest)
            known.append(digest)

    def unused(self) -> tuple[str, ...]:
        """URNs whose values were not read or set since the file was opened. The file keeps them."""
        return tuple(sorted(set(self._resources) - self._used))

    def save(self) -> bool:
        """Writes the file atomically if anything changed. Returns true if it wrote."""
        body = self._body()
        text = _canonical({**body, "mac": self._mac(body)}, indent=1) + "\n"
        if text == self._saved_text:
            return False
        try:
            files.write(self.path, text.encode())
        except OSError as problem:
            raise StateError(f"{self.path} cannot be written, and is as it was: {problem.strerror}") from None
        self._saved_text = text
        return True

    def _decrypted(self, entry: Mapping[str, Any]) -> GeneratedResource:
        secrets = {name: self._crypter.decrypt(value) for name, value in entry["secrets"].items()}
        outputs = {**entry["outputs"], **secrets}
        return GeneratedResource(entry["id"], outputs, frozenset(secrets), defaults=entry["defaults"])

    def _initialize(self, passphrase: str, salt: str | None) -> None:
        if salt is None:
            self._salt, self._crypter = new_salt(passphrase)
        else:
            self._salt, self._crypter = salt, unlock(passphrase, salt)
        self._key = os.urandom(_KEY_BYTES)
        self._encrypted_key = self._crypter.encrypt(self._key.hex())
        self._resources: dict[str, dict[str, Any]] = {}
        self._digests: dict[str, list[str]] = {}

    def _load(self, path: Path, text: str, passphrase: Callable[[], str]) -> None:
        damaged = _damaged(path)
        try:
            content = json.loads(text)
            version = content["version"]
            if not isinstance(version, int) or version < 1:
                raise StateError(damaged)
            if version > VERSION:
                raise StateError(
                    f"{path} is of version {version}, and this Flatline reads up to {VERSION}: it was"
                    " written by a newer Flatline"
                )
            self._check_owner(path, content["project"], content["stack"])
            self._salt, self._encrypted_key = content["encryptionsalt"], content["key"]
        except (ValueError, KeyError, TypeError):
            raise StateError(damaged) from None
        try:
            self._crypter = unlock(passphrase(), self._salt)
        except PassphraseError as problem:
            raise PassphraseError(f"{path}: {problem}") from None
        try:
            self._key = bytes.fromhex(self._crypter.decrypt(self._encrypted_key))
        except (PassphraseError, ValueError, AttributeError):
            raise StateError(damaged) from None
        mac = content.pop("mac", "")
        if not isinstance(mac, str) or not hmac.compare_digest(mac, self._mac(content)):
            raise StateError(f"{path} was changed by something else than Flatline; {damaged}")
        self._resources = content["resources"]
        self._digests = content.get("digests", {})

    def _check_owner(self, path: Path, project: str, stack: str) -> None:
        if (project, stack) != (self._project, self._stack):
            raise StateError(f"{path} belongs to the stack {project}/{stack}, not to {self._project}/{self._stack}")

    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "version": VERSION,
            "project": self._project,
            "stack": self._stack,
            "encryptionsalt": self._salt,
            "key": self._encrypted_key,
            "resources": self._resources,
        }
        return {**body, "digests": self._digests} if self._digests else body

    def _mac(self, body: dict[str, Any]) -> str:
        return hmac.digest(self.key("mac"), _canonical(body).encode(), hashlib.sha256).hex()

    def _restrict_mode(self, path: Path) -> None:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            path.chmod(files.FILE_MODE)
            self.notices.append(
                f"{path} was open to other users (mode {mode:04o}) and is now 0600; its secrets are"
                " encrypted, so only the passphrase must have stayed private"
            )


def _canonical(value: Any, indent: int | None = None) -> str:
    return json.dumps(
        value,
        sort_keys=True,
        ensure_ascii=False,
        indent=indent,
        separators=None if indent else (",", ":"),
    )


def _lock(path: Path) -> files.Lock:
    """Locks a file beside the state file, because the state file itself is replaced on every change."""
    path.parent.mkdir(mode=files.DIRECTORY_MODE, parents=True, exist_ok=True)
    try:
        return files.Lock(path.with_name(path.name + ".lock"))
    except BlockingIOError:
        raise StateError(f"another run is using {path}: wait for it to end") from None


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise StateError(f"{path} cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise StateError(_damaged(path)) from None


def _damaged(path: Path) -> str:
    return f"{path} is damaged: restore it from a copy"
