"""Texts that belong to an installation and go into its archives: its file, its state, its pins, its images."""

import json
from collections.abc import Iterable
from typing import Any

from cli import engine, kubectl, reissue
from cli.objects import SELECTOR
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from config.version import VERSION

CONFIGURATION, STATE, PINS, IMAGES, RELEASE = "configuration", "state", "pins", "images", "release"
_CHANGING = frozenset({"urls", "caCertificates", "caCertificatesDer"})
"""Pins that no account and no group depends on."""


def documents(loaded: LoadedStack, context: str | None, terminal: Terminal) -> dict[str, str]:
    """The texts by name. Secrets in them are encrypted once more, with the stack's passphrase."""
    found = {CONFIGURATION: loaded.stack.file.read_text(encoding="utf-8"), RELEASE: VERSION}
    state = _state(loaded, terminal)
    if state is not None:
        found[STATE] = state
        found[PINS] = json.dumps(pins(loaded))
    if context is not None:
        found[IMAGES] = json.dumps(_images(context, loaded.settings.namespaces))
    return found


def pins(loaded: LoadedStack) -> dict[str, Any]:
    """The stack's pins that accounts and groups depend on, as of the last `up`."""
    from cli.commands import pins as command

    return {name: value for name, value in command.of(loaded).items() if name not in _CHANGING | reissue.NOT_PINS}


def _state(loaded: LoadedStack, terminal: Terminal) -> str | None:
    """The secrets, encrypted, in the form of a state file, whoever keeps them. None before the first `up`."""
    backend, cli, no_cli = engine.managing_cli(loaded.stack)
    if backend is None:
        return loaded.stack.state.read_text(encoding="utf-8") if loaded.stack.state.exists() else None
    if cli is None:
        raise engine.without_cli(loaded.stack, backend, no_cli)
    from cli import transfer

    return transfer.copied_state(loaded, cli, terminal)


def _images(context: str, namespaces: Iterable[str]) -> dict[str, str]:
    """The digest of every image that runs, by what its pod calls it."""
    found: dict[str, str] = {}
    for namespace in namespaces:
        pods = kubectl.read(context, "-n", namespace, "get", "pods", "--selector", SELECTOR)["items"]
        for pod in pods:
            for each in pod.get("status", {}).get("containerStatuses", ()):
                found[each["image"]] = each["imageID"]
    return dict(sorted(found.items()))
