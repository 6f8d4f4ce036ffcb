"""The Secret from which the CronJob of backups takes the stack's file, its encrypted secrets and its pins.

The program cannot make it: it would have to hold its own state. What is secret in it is encrypted with the stack's
passphrase, as in the stack's own files.
"""

import base64
from argparse import Namespace

from cli import installation, invitations, kubectl, ownership, stacks
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from config.schema.backup import DOCUMENTS
from config.settings import PROJECT
from errors import FlatlineError

MOST_BYTES = 1 << 20
"""Of a Secret (Kubernetes' limit)."""


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Writes it to the stack's cluster."""
    loaded = stacks.read(arguments.stack)
    if loaded.settings.backup is None:
        raise FlatlineError(
            f"stack {loaded.stack.name} has no backups by schedule ({PROJECT}:backup)",
            "Set them up: `./flatline backup --schedule CRON --to s3://BUCKET/PREFIX`",
        )
    context = ownership.own_cluster(loaded, arguments.context, "the documents of backups")
    write(loaded, context, terminal)
    terminal.say(f"Wrote the Secret {DOCUMENTS}: archives from now on hold the stack's file and its secrets.")
    return 0


def note(loaded: LoadedStack, context: str, terminal: Terminal) -> None:
    """Writes it after an `up`. Warns where it cannot: the deployment stands."""
    if loaded.settings.backup is None or not kubectl.is_installed():
        return
    try:
        write(loaded, context, terminal)
    except FlatlineError as problem:
        terminal.warn(
            f"Archives of the cluster lack the stack's file and secrets of today: {problem.in_a_line}. The next `up` "
            "tries again."
        )


def write(loaded: LoadedStack, context: str, terminal: Terminal) -> None:
    """Writes the documents as they are now. Raises FlatlineError."""
    documents = installation.documents(loaded, context, terminal)
    if sum(map(len, documents.values())) > MOST_BYTES * 3 // 4:
        raise FlatlineError(
            "the stack's file and its state are too large for a Secret", "Keep copies of both yourself."
        )
    namespace = loaded.settings.namespace
    labels = invitations.labels(namespace, loaded.stack.name) | {"app.kubernetes.io/name": "backup"}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": DOCUMENTS, "namespace": namespace, "labels": labels},
        "type": "Opaque",
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in documents.items()},
    }
    kubectl.apply(context, secret, manager=kubectl.FIELD_MANAGER)
