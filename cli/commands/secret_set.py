"""`secret set`: a value of the operator's own, encrypted into the stack's file."""

import difflib
import sys
from argparse import Namespace

import yaml

from cli import continuity, stack_edit, stacks
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from config import operator_values
from config.schema.secrets import BY_NAME, Secret
from config.settings import PROJECT
from errors import FlatlineError


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Reads the value, checks it, and writes it. The secret's epochs stay: their seeds are in the stack's state."""
    secret = known(arguments.name)
    loaded = stacks.read(arguments.stack)
    refuse_other_providers(loaded, f"secrets.{secret.name}.value")
    value = _value(secret, terminal)
    continuity.note_beginning(loaded.stack)
    text = stack_edit.with_values(loaded, {}, {("secrets", secret.name, "value"): value})
    stack_edit.replace(loaded.stack.file, text)
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


def refuse_other_providers(loaded: LoadedStack, key: str = "", remedy: str = "") -> None:
    """Raises FlatlineError if the stack's file encrypts with something that only Pulumi can use.

    The remedy is to let Pulumi set the `key`, unless there is another one.
    """
    provider = (yaml.safe_load(loaded.stack.file.read_text()) or {}).get("secretsprovider")
    if provider not in {None, "", "passphrase", "default"}:
        raise FlatlineError(
            f"{loaded.stack.file.name} encrypts with {provider.partition(':')[0]}, which only Pulumi can do",
            remedy or f"`pulumi config set --stack {loaded.stack.name} --secret --path '{PROJECT}:{key}'`",
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
