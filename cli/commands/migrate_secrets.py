"""`migrate secrets`: gives a stack the key material of another one, encrypted, in its file."""

import json
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from cli import engine, key_material, stack_edit, stacks
from cli.commands.secret_set import refuse_other_providers
from cli.key_material import KeyMaterial
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from config import operator_values
from config.loading import load
from config.schema.secrets import BY_NAME, SECRETS
from config.settings import PROJECT
from errors import FlatlineError
from render import stack_file

_SECRETS, _CERTIFICATES = f"{PROJECT}:secrets", f"{PROJECT}:certificates"


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Reads the one stack's, refuses where the other has differing ones, writes what is missing, checks the file."""
    source, target = stacks.read(arguments.from_stack), stacks.read(arguments.to_stack)
    if source.stack == target.stack:
        raise FlatlineError("--from-stack and --to-stack name the same stack")
    refuse_other_providers(
        target,
        remedy="Start the stack with a passphrase, move the secrets, and change the provider afterwards: "
        f"`pulumi stack change-secrets-provider --stack {target.stack.name} <provider>`",
    )
    material = key_material.of(source, target.settings.domain, terminal)
    missing = _missing(target, material)
    certificate = _certificate_is_missing(target, material)
    if not missing and not certificate:
        terminal.say(f"Stack {target.stack.name} has the secrets of stack {source.stack.name} already.")
        return 0
    _refuse_if_in_use(target, material, terminal)
    before = target.stack.file.read_text(encoding="utf-8")
    after = _text(target, before, {name: material.values[name] for name in missing}, material if certificate else None)
    _check(target, material, after)
    stack_edit.replace(target.stack.file, after)
    _tell(source, target, missing, certificate, terminal)
    return 0


def _missing(target: LoadedStack, material: KeyMaterial) -> list[str]:
    """The secrets that the target's file does not give yet. Raises FlatlineError for one that differs."""
    missing, differing = [], []
    for name, value in material.values.items():
        setting = target.settings.secrets.get(name)
        if setting is None or setting.value is None:
            missing.append(name)
        elif _bytes(name, setting.value.get_secret_value()) != _bytes(name, value):
            differing.append(name)
    if differing:
        raise FlatlineError(
            f"{target.stack.file.name} has values of its own, which differ: {', '.join(differing)}; it is as it was",
            "Remove their `value` from the file if the other stack's shall be used.",
        )
    return missing


def _bytes(name: str, value: str) -> bytes:
    return operator_values.decode(value, BY_NAME[name].readers[0].encoding)


def _certificate_is_missing(target: LoadedStack, material: KeyMaterial) -> bool:
    if _CERTIFICATES not in target.config.config:
        return True
    has = target.settings.certificates.provided
    if has is not None and has.authority.strip() == material.authority.strip():
        return False
    raise FlatlineError(
        f"{target.stack.file.name} has {_CERTIFICATES} of its own; it is as it was",
        "Remove that block if the other stack's authority shall be used, which its clients pin.",
    )


def _refuse_if_in_use(target: LoadedStack, material: KeyMaterial, terminal: Terminal) -> None:
    """Raises FlatlineError for a stack that has been brought up with other secrets."""
    problem = FlatlineError(
        f"stack {target.stack.name} has been brought up with secrets of its own; nothing was changed",
        "Other secrets would lock out the clients that know these. Move secrets into a stack before its first `up`.",
    )
    if target.stack.state.exists():
        if key_material.of(target, target.settings.domain, terminal).values != material.values:
            raise problem
    elif engine.managing_cli(target.stack)[0] is not None:
        raise problem


def _text(target: LoadedStack, text: str, values: Mapping[str, str], certificate: KeyMaterial | None) -> str:
    """The file's text with what is new, every secret encrypted under its own salt."""
    salt = target.config.encryption_salt

    def encrypt(value: str) -> str:
        nonlocal salt
        encrypted, salt = stack_file.encrypt(value, target.passphrase(), salt)
        return encrypted

    for name, value in values.items():
        encrypted = encrypt(value)
        text = stack_edit.with_secret(text, ("secrets", name, "value"), encrypted, salt or "")
    return text if certificate is None else _with_certificate(text, certificate, encrypt(certificate.private_key))


def _with_certificate(text: str, material: KeyMaterial, encrypted_key: str) -> str:
    """The file's text with the certificate as the first entry of its configuration, which is a block by now."""
    lines = text.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("config:")) + 1
    first = next(line for line in lines[at:] if line.strip() and not line.lstrip().startswith("#"))
    indent = " " * (len(first) - len(first.lstrip()))
    block = [
        f"{_CERTIFICATES}:",
        "  provided:",
        *_literal("certificate", material.certificate),
        "    privateKey:",
        f"      secure: {encrypted_key}",
        *_literal("authority", material.authority),
    ]
    return "\n".join([*lines[:at], *(indent + line for line in block), *lines[at:]]) + "\n"


def _literal(key: str, text: str) -> list[str]:
    return [f"    {key}: |", *(f"      {line}" for line in text.strip().splitlines())]


def _check(target: LoadedStack, material: KeyMaterial, text: str) -> None:
    """Reads the new text as the engine would: everything is there, and nothing else is different."""
    found = stack_edit.read_back(target, text)
    settings = load(found)
    brought = {name: setting.value.get_secret_value() for name, setting in settings.secrets.items() if setting.value}
    there = all(_bytes(name, brought.get(name, "")) == _bytes(name, value) for name, value in material.values.items())
    certificate = settings.certificates.provided
    there = there and certificate is not None and certificate.authority.strip() == material.authority.strip()
    if not there or _others(found) != _others(target.config.config):
        raise FlatlineError(
            f"{target.stack.file.name} is written in a form that this command cannot edit; it is as it was",
            "Write `config` and `flatline:secrets` as blocks of keys, a line each.",
        )


def _others(config: Mapping[str, str]) -> dict[str, Any]:
    """Everything that the command must not change: all other keys, and the settings of secrets that are no values."""
    secrets = json.loads(config.get(_SECRETS) or "{}")
    settings = {name: {key: each for key, each in entry.items() if key != "value"} for name, entry in secrets.items()}
    kept = {key: text for key, text in config.items() if key not in {_SECRETS, _CERTIFICATES}}
    return {**kept, _SECRETS: {name: entry for name, entry in settings.items() if entry}}


def _tell(source: LoadedStack, target: LoadedStack, written: list[str], certificate: bool, terminal: Terminal) -> None:
    terminal.say(f"Wrote, encrypted, to {target.stack.file.name}:")
    terminal.points([*written, *(["the certificate, with the authority that clients pin"] if certificate else [])])
    stay = [secret.name for secret in SECRETS if not key_material.moves(secret)]
    terminal.say(f"Stack {target.stack.name} makes its own: {', '.join(stay)}.")
    passphrase = target.passphrase.find()
    if passphrase.created:
        terminal.say(f"The passphrase is in {passphrase.origin}. Keep a copy.")
    if source.settings.domain != target.settings.domain:
        terminal.warn(
            f"the domain is another one ({target.settings.domain} instead of {source.settings.domain}): "
            "clients must be built again for its URLs, though not for its keys"
        )
    terminal.say("Next:")
    terminal.command(["./flatline", "up", "--stack", target.stack.name])
