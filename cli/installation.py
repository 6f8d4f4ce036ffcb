"""Texts that belong to an installation and go into its archives: its file, its state, its pins, its images."""

import json
from collections.abc import Iterable
from typing import Any

import files
from cli import engine, kubectl, reissue
from cli.objects import SELECTOR
from cli.stacks import LoadedStack, Stack, display_path
from cli.terminal import Terminal
from config.version import VERSION
from errors import FlatlineError
from migration.archive import Manifest

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


def check_pins(loaded: LoadedStack, manifest: Manifest) -> None:
    """Raises FlatlineError if accounts and groups of an archive depend on other keys than the stack has."""
    if PINS not in manifest.documents:
        return
    wanted, own = json.loads(manifest.documents[PINS]), pins(loaded)
    differing = sorted(name for name in wanted.keys() & own.keys() if wanted[name] != own[name])
    if differing:
        raise FlatlineError(
            f"stack {loaded.stack.name} has other keys than the archive's stack {manifest.stack}: "
            f"{', '.join(differing)}; nothing was written",
            "With them nobody could read the groups and profiles of the archive.",
            f"Before the first `up` of the stack: `./flatline migrate secrets --from-stack {manifest.stack} "
            f"--to-stack {loaded.stack.name}`",
        )


def put_back(stack: Stack, manifest: Manifest, terminal: Terminal) -> bool:
    """Writes the stack's file and its state where they are missing and the archive is of this stack. True if it did."""
    if manifest.stack != stack.name:
        return False
    written = []
    state = manifest.documents.get(STATE)
    engineless = state is not None and not stack.backend.exists()
    if engineless and files.create(stack.state, str(state).encode()):
        written.append(stack.state)
    if not stack.file.exists() and files.create(stack.file, manifest.documents[CONFIGURATION].encode(), 0o644):
        written.append(stack.file)
    for path in written:
        terminal.say(f"Wrote {display_path(path)}, as it was on {manifest.created}.")
    return bool(written)


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
