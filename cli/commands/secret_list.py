"""`secret list`: every secret, never a value."""

from argparse import Namespace
from itertools import groupby

from cli import stacks
from cli.terminal import Terminal
from config.schema.secrets import SECRETS, Secret
from config.settings import Settings


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Prints them in the schema's order."""
    settings = stacks.read(arguments.stack).settings
    rows = [
        (secret.name, _origin(settings, secret), str(settings.secret(secret.name).epoch), _readers(secret))
        for secret in SECRETS
    ]
    terminal.table(("Secret", "Origin", "Epoch", "Readers"), rows, frozenset({"Epoch"}))
    terminal.say("Raise flatline:secrets.<name>.epoch by one to make a secret anew; what that means for clients is")
    terminal.say("in docs/operations.md. A value of your own: ./flatline secret set <name>")
    return 0


def _origin(settings: Settings, secret: Secret) -> str:
    setting = settings.secrets.get(secret.name)
    return "provided" if setting is not None and setting.value is not None else "generated"


def _readers(secret: Secret) -> str:
    return ", ".join(service for service, _ in groupby(reader.service for reader in secret.readers))
