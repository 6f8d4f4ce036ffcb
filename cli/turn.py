"""The TURN server of a stack, with the secret that it shares with Whisper, for those who try or configure it."""

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import yaml

from cli import choice, engine, kubectl
from cli.recording import record_with_state
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from client_kit.pins import Pins
from components.services.whisper import BUNDLE
from connectivity.relay import Server
from errors import FlatlineError
from render import manifests

PATH = "turn.coturn.secret"
_FILE = BUNDLE.rpartition("/")[2]


def server(loaded: LoadedStack, pins: Pins, known: Callable[[], str]) -> Server | None:
    """The TURN server that clients of the stack are told of; None where there is none.

    `known` gives the secret, and is asked only where there is a server; it may raise FlatlineError.
    """
    settings = loaded.settings
    relay, own = settings.calls.turn, settings.turn
    if relay is not None:
        host, port, tls_port, address = settings.host("turn"), relay.plain_port, relay.secure_port, relay.address
    elif own is not None:
        host, port, tls_port, address = own.host, own.port, own.tls_port or 0, None
    else:
        return None
    return Server(host=host, port=port, tls_port=tls_port, secret=known(), authorities=pins.pem, address=address)


def secret(loaded: LoadedStack, context: str | None, terminal: Terminal) -> str:
    """The text of the secret `turn`: from the stack's own file or state, or from the cluster. Raises FlatlineError."""
    stack = loaded.stack
    if stack.state.exists() and engine.managing_cli(stack)[0] is None:
        with record_with_state(loaded, terminal) as recorded:
            if any(urn.rpartition("::")[2].startswith("turn-") for urn in recorded.made):
                raise _never(loaded)
            return _in_bundle(loaded, (each.outputs for each in manifests.kubernetes_objects(recorded.recording)))
    context = choice.named_context(loaded, context)
    if context is None:
        raise FlatlineError(
            f"stack {stack.name} has no secrets on this machine that can be read",
            "Name the cluster, whose Secret has this one: `--context <context>`.",
            f"If the stack has never been brought up: `./flatline up --stack {stack.name}`",
        )
    return in_cluster(loaded, context)


def in_cluster(loaded: LoadedStack, context: str) -> str:
    """The same, from the Secret that Whisper's newest pods mount."""
    listed = kubectl.read(context, "-n", loaded.settings.namespace, "get", "secrets").get("items", [])
    newest = sorted(listed, key=lambda each: str(each["metadata"].get("creationTimestamp")), reverse=True)
    return _in_bundle(loaded, newest)


def _in_bundle(loaded: LoadedStack, secrets: Iterable[Mapping[str, Any]]) -> str:
    """The value in the first of Whisper's bundles. The API server shows Secrets as base64."""
    for each in secrets:
        text = each.get("stringData", {}).get(_FILE)
        encoded = (each.get("data") or {}).get(_FILE)
        if text is None and encoded is not None:
            text = base64.b64decode(encoded).decode()
        if text is not None:
            return str(yaml.safe_load(text)[PATH])
    raise _never(loaded)


def _never(loaded: LoadedStack) -> FlatlineError:
    name = loaded.stack.name
    return FlatlineError(f"stack {name} has no secret turn yet", f"Bring it up first: `./flatline up --stack {name}`")
