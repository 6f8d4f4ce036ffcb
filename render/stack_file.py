"""Reads ``Pulumi.<stack>.yaml`` as the Pulumi engine does, without the engine.

A program sees every value as text: objects and lists as JSON, keys with their namespace, secure values decrypted
(pulumi/pulumi, sdk/go/common/workspace/loaders.go, sdk/go/common/resource/config/object.go).

Stricter than the engine, which ignores these mistakes: unknown keys beside ``config``, and a key that is written
both with and without the project's namespace. Configuration of ``Pulumi.yaml`` itself is not supported.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from render import passphrase as secrets_provider
from render.passphrase import Crypter, PassphraseError
from render.yaml_document import Document, display_key
from render.yaml_document import StackFileError as StackFileError

_FILE_NAME: Final = re.compile(r"Pulumi\.(?P<stack>[A-Za-z0-9_.-]+)\.ya?ml")
_STACK_KEYS: Final = ("config", "encryptionsalt", "secretsprovider", "encryptedkey", "environment")


@dataclass(frozen=True)
class StackConfig:
    """The configuration of one stack, as the engine passes it to the program.

    ``config`` maps full keys (``flatline:domain``) to text. ``secret_keys`` are the keys that hold a secret, sorted.
    ``encryption_salt`` is the salt of the passphrase provider, if the file has one. ``lines`` maps the path of each
    key of the file (``flatline:redis.masters``) to its line.
    """

    project: str
    stack: str
    config: Mapping[str, str] = field(repr=False)
    secret_keys: tuple[str, ...] = ()
    encryption_salt: str | None = None
    lines: Mapping[str, int] = field(default_factory=dict, repr=False)


def read(path: Path, passphrase: Callable[[], str]) -> StackConfig:
    """Reads the stack file ``path``, and the project's name from the ``Pulumi.yaml`` beside it.

    ``passphrase`` is called only if a value is encrypted. Raises ``StackFileError``, and any error of ``passphrase``.
    """
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        raise StackFileError(f"{path.name}: a stack file is called Pulumi.<stack>.yaml")
    project_file = Document(path.with_name("Pulumi.yaml"))
    project = project_file.text("name")
    if project_file.top.get("config"):
        raise project_file.error("config", "is not supported here; write the values into Pulumi.<stack>.yaml")
    document = Document(path, _STACK_KEYS)
    if document.top.get("environment"):
        raise document.error(
            "environment", "Pulumi ESC environments are kept in Pulumi Cloud; write their values under config"
        )
    entries = _entries(document, project)
    crypter = _crypter(document, entries.values(), passphrase)
    config = {key: entry.text(document, crypter) for key, entry in sorted(entries.items())}
    secret_keys = tuple(sorted(key for key, entry in entries.items() if _has_secure(entry.value)))
    salt = document.top.get("encryptionsalt")
    lines = {
        ".".join((_full_key(first, project) or first, *inner)): line
        for (first, *inner), line in document.lines("config").items()
    }
    return StackConfig(project, match["stack"], config, secret_keys, salt if isinstance(salt, str) else None, lines)


def encrypt(value: str, passphrase: str, salt: str | None) -> tuple[str, str]:
    """The ``secure`` form of a value (``v1:...``), and the ``encryptionsalt`` of its file.

    Without a ``salt`` a new one is made. Raises ``PassphraseError`` if the passphrase does not belong to the salt.
    """
    if salt is None:
        salt, crypter = secrets_provider.new_salt(passphrase)
    else:
        crypter = secrets_provider.unlock(passphrase, salt)
    return crypter.encrypt(value), salt


@dataclass(frozen=True)
class _Entry:
    """A configuration value, and its key as the file has it."""

    value: Any
    written_key: str

    def text(self, document: Document, crypter: Crypter | None) -> str:
        try:
            plain = _decrypted(self.value, crypter)
        except PassphraseError as problem:
            raise document.error(self.written_key, str(problem), under="config") from None
        if plain is None:
            # Today's engine reads an absent value as empty text, and warns that this may change.
            return ""
        return plain if isinstance(plain, str) else _json(plain)


def _entries(document: Document, project: str) -> dict[str, _Entry]:
    """The entries under ``config`` by their full keys."""
    entries: dict[str, _Entry] = {}
    for written_key, value in document.mapping("config").items():
        key = _full_key(written_key, project)
        if key is None:
            raise document.error(written_key, "a key has the form <namespace>:<name>, or <name>", under="config")
        if key in entries:
            first = display_key(entries[key].written_key)
            raise document.error(written_key, f"already given as {first}", under="config")
        entries[key] = _Entry(value, written_key)
    return entries


def _full_key(written_key: str, project: str) -> str | None:
    parts = written_key.split(":")
    if len(parts) == 3 and parts[1] == "config":
        parts = [parts[0], parts[2]]
    if len(parts) == 1:
        parts = [project, *parts]
    return ":".join(parts) if len(parts) == 2 and all(parts) else None


def _is_secure(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["secure"] and isinstance(value["secure"], str)


def _has_secure(value: Any) -> bool:
    if _is_secure(value):
        return True
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_has_secure(child) for child in children)


def _crypter(document: Document, entries: Iterable[_Entry], passphrase: Callable[[], str]) -> Crypter | None:
    if not any(_has_secure(entry.value) for entry in entries):
        return None
    provider = document.top.get("secretsprovider")
    if provider not in (None, "passphrase"):
        raise document.error("secretsprovider", "its secrets need the Pulumi CLI; use a passphrase")
    salt = document.top.get("encryptionsalt")
    if not isinstance(salt, str):
        raise StackFileError(f"{document.path.name}: has encrypted values but no encryptionsalt to decrypt them with")
    try:
        return secrets_provider.unlock(passphrase(), salt)
    except PassphraseError as problem:
        raise document.error("encryptionsalt", str(problem)) from None


def _decrypted(value: Any, crypter: Crypter | None) -> Any:
    if _is_secure(value) and crypter is not None:
        return crypter.decrypt(value["secure"])
    if isinstance(value, dict):
        return {key: _decrypted(item, crypter) for key, item in value.items()}
    if isinstance(value, list):
        return [_decrypted(item, crypter) for item in value]
    return value


def _json(value: Any) -> str:
    """Encodes like Go's ``encoding/json``: sorted keys, no spaces, ``<``, ``>`` and ``&`` escaped."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_json(key)}:{_json(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_json(item) for item in value) + "]"
    if isinstance(value, float):
        return _number(value)
    text = json.dumps(value, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _number(value: float) -> str:
    if value != 0 and not 1e-6 <= math.fabs(value) < 1e21:
        mantissa, _, exponent = repr(value).partition("e")
        return f"{mantissa}e{exponent[0]}{exponent[1:].lstrip('0')}"
    return f"{Decimal(repr(value)):f}".removesuffix(".0")
