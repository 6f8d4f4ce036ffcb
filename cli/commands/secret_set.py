"""`secret set`: a value of the operator's own, encrypted into the stack's file."""

import difflib
import json
import sys
from argparse import Namespace

import yaml

from cli import continuity, stack_edit, stacks
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from config import operator_values
from config.loading import load
from config.schema.secrets import BY_NAME, Secret
from config.settings import PROJECT
from errors import FlatlineError
from render import stack_file


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Reads the value, checks it, and writes it."""
    secret = known(arguments.name)
    loaded = stacks.read(arguments.stack)
    refuse_other_providers(loaded, f"secrets.{secret.name}.value")
    value = _value(secret, terminal)
    continuity.note_beginning(loaded.stack)
    encrypted, salt = stack_file.encrypt(value, loaded.passphrase(), loaded.config.encryption_salt)
    before = loaded.stack.file.read_text(encoding="utf-8")
    after = stack_edit.with_secret(before, secret.name, encrypted, salt)
    _check(loaded, secret, value, after)
    stack_edit.replace(loaded.stack.file, after)
    terminal.say(f"Wrote {secret.name}, encrypted, to {loaded.stack.file.name}.")
    source = loaded.passphrase.find()
    if source.created:
        terminal.say(f"The passphrase is in {source.origin}. Keep a copy.")
    terminal.say("Next:")
    terminal.command(["./flatline", "up", "--stack", loaded.stack.name])
    return 0


def known(name: str) -> Secret:
    """The secret of a name. Raises FlatlineError, which may know what was meant."""
    if name in BY_NAME:
        return BY_NAME[name]
    close = difflib.get_close_matches(name, BY_NAME, n=1)
    raise FlatlineError(
        f"{name} is no secret",
        f"Did you mean {close[0]}?" if close else "`./flatline secret list` shows their names.",
    )


def refuse_other_providers(loaded: LoadedStack, key: str) -> None:
    """Raises FlatlineError if the stack's file encrypts with something that only Pulumi can use."""
    provider = (yaml.safe_load(loaded.stack.file.read_text()) or {}).get("secretsprovider")
    if provider not in {None, "", "passphrase", "default"}:
        raise FlatlineError(
            f"{loaded.stack.file.name} encrypts with {provider.partition(':')[0]}, which only Pulumi can do",
            f"`pulumi config set --stack {loaded.stack.name} --secret --path '{PROJECT}:{key}'`",
        )


def _value(secret: Secret, terminal: Terminal) -> str:
    """The value from standard input, checked. A wrong one is never shown."""
    encoding = secret.readers[0].encoding
    if sys.stdin.isatty():
        value = terminal.ask_secret(f"{secret.name} ({encoding}, {secret.length} bytes or more; not shown):")
    else:
        value = sys.stdin.read()
    value = value.strip()
    if not value:
        raise FlatlineError(f"{secret.name}: there is no value", "Type it, or give it on standard input.")
    try:
        operator_values.check_secret(secret, value)
        operator_values.check_random(secret, value)
    except ValueError as problem:
        raise FlatlineError(str(problem)) from None
    return value


def _check(loaded: LoadedStack, secret: Secret, value: str, text: str) -> None:
    """Reads the new text as the engine would: the value is there, and nothing else is different."""
    read = stack_edit.read_back(loaded, text)
    key = f"{PROJECT}:secrets"
    secrets = json.loads(loaded.config.config.get(key) or "{}")
    expected = secrets | {secret.name: {**secrets.get(secret.name, {}), "value": value}}
    others = {name: each for name, each in loaded.config.config.items() if name != key}
    if json.loads(read.pop(key, "{}")) != expected or read != others:
        raise FlatlineError(
            f"{loaded.stack.file.name} is written in a form that this command cannot edit; it is as it was",
            f"Set flatline:secrets.{secret.name}.value with `pulumi config set --secret --path`.",
        )
    load({**others, key: json.dumps(expected)})
