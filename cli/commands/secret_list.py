"""`secret list`: every secret, never a value."""

from argparse import Namespace
from itertools import groupby

from cli import document, stacks
from cli.forms.stack import Secrets
from cli.terminal import Terminal
from config.schema.secrets import SECRETS, Secret
from config.settings import Settings


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Prints them in the schema's order."""
    loaded = stacks.read(arguments.stack)
    settings = loaded.settings
    if arguments.json:
        listed = [
            {
                "name": secret.name,
                "origin": _origin(settings, secret),
                "epoch": settings.secret(secret.name).epoch,
                "readers": _readers(secret),
                "purpose": secret.why,
            }
            for secret in SECRETS
        ]
        document.show(Secrets, {"stack": loaded.stack.name, "secrets": listed}, terminal)
        return 0
    rows = [
        (secret.name, _origin(settings, secret), str(settings.secret(secret.name).epoch), ", ".join(_readers(secret)))
        for secret in SECRETS
    ]
    terminal.table(("Secret", "Origin", "Epoch", "Readers"), rows, frozenset({"Epoch"}))
    terminal.say(
        "To replace one: `./flatline rotate secret <name>`, which says what clients notice. "
        "A value of your own: `./flatline secret set <name>`"
    )
    return 0


def _origin(settings: Settings, secret: Secret) -> str:
    """Who makes its value. In a cloud AWS makes the key pairs of CDN0, and there is no object store of ours."""
    if settings.secret(secret.name).value is not None:
        return "provided"
    if settings.target.kind == "cloud":
        if {reader.service for reader in secret.readers} == {"object-store"}:
            return "unused"
        if secret.name.startswith("cdn0-"):
            return "AWS"
    return "generated"


def _readers(secret: Secret) -> list[str]:
    return [service for service, _ in groupby(reader.service for reader in secret.readers)]
