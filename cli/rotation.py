"""Replaces a certificate, an authority or a secret: raises its epoch in the stack's file, and runs `up`.

What is refused, and what fails before `up`, leaves the file as it was. An epoch never gets lower, so what `up` has
begun is not taken back: the next `up` goes on with it.
"""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cli import continuity, engineless, expiry, ownership, stack_edit, stacks
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from config.schema.rotations import consequence
from config.schema.secrets import BY_NAME
from errors import FlatlineError

LEAF_EPOCH = ("certificates", "leaf", "epoch")


@dataclass(frozen=True)
class Rotation:
    """One rotation: what is replaced, new values of the stack's file, what people notice, and whether it hurts them."""

    what: str
    values: stack_edit.Values
    effects: tuple[str, ...]
    hurts: bool


def of_certificate(loaded: LoadedStack) -> Rotation:
    """The certificate that is served, under the authority that clients pin already."""
    certificates = loaded.settings.certificates
    if certificates.provided is not None:
        raise FlatlineError(
            "this stack serves a certificate of your own (flatline:certificates.provided), which has no epoch",
            f"Write the next one into {loaded.stack.file.name}, and run `./flatline up`.",
        )
    epoch = certificates.leaf.epoch + 1
    return Rotation(
        f"the certificate that is served (epoch {epoch})",
        {LEAF_EPOCH: epoch},
        (
            "Who notices: nobody. Clients pin the authority, which stays; Traefik serves the new certificate to the "
            "next connections, and open ones go on.",
        ),
        hurts=False,
    )


def of_authority(loaded: LoadedStack) -> Rotation:
    """The next step of a change of authority: first one is added to the pins, then it signs."""
    authority = loaded.settings.certificates.authority
    if loaded.settings.certificates.provided is not None:
        raise FlatlineError(
            "clients of this stack pin an authority of your own (flatline:certificates.provided), which has no epoch",
            f"Write the next chain into {loaded.stack.file.name}, and run `./flatline up`.",
        )
    if authority.signer == authority.epoch:
        epoch = authority.epoch + 1
        return Rotation(
            f"the authority, step 1 of 2: epoch {epoch} is added to the pins, epoch {authority.epoch} signs",
            {("certificates", "authority", "epoch"): epoch, ("certificates", "authority", "signingEpoch"): epoch - 1},
            (
                "Who notices: nobody yet. Clients that pin the present authority go on.",
                "Next: build clients with the pins of this step (`./flatline pins`), which hold both authorities. Once "
                "enough people have them, run this command again for step 2.",
            ),
            hurts=True,
        )
    return Rotation(
        f"the authority, step 2 of 2: epoch {authority.epoch} signs from now on",
        {("certificates", "authority", "signingEpoch"): authority.epoch},
        (
            "Who notices: every client that was built before step 1. It refuses to connect, at its next connection, "
            f"until it is built again with the pin of epoch {authority.epoch}.",
            "Clients that were built since step 1 notice nothing.",
        ),
        hurts=True,
    )


def of_secret(loaded: LoadedStack, name: str) -> Rotation:
    """A secret by its name in config/schema/secrets.py."""
    secret, setting = BY_NAME[name], loaded.settings.secret(name)
    if setting.value is not None:
        raise FlatlineError(
            f"{name} is a value of your own, which has no epoch",
            "Bring the next one: `./flatline secret set <name>`, then `./flatline up`.",
        )
    if loaded.in_cloud and {reader.service for reader in secret.readers} == {"object-store"}:
        raise FlatlineError(f"{name} is not used by stack {loaded.stack.name}: in a cloud AWS keeps the objects")
    if loaded.in_cloud and name.startswith("cdn0-") and name.endswith("-access-key"):
        other = name.removesuffix("access-key") + "secret-key"
        raise FlatlineError(f"{name} is one half of a key pair of AWS", f"Rotate both with its other half: {other}")
    epoch = setting.epoch + 1
    values: dict[tuple[str, ...], int | str] = {("secrets", name, "epoch"): epoch}
    if setting.active_epoch is not None:
        values["secrets", name, "activeEpoch"] = epoch
    found = consequence(name)
    services = sorted({reader.service for reader in secret.readers} - {"signer"})
    return Rotation(
        f"the secret {name} (epoch {epoch}): {secret.why}",
        values,
        (
            f"Who reads it, and restarts: {', '.join(services) or 'whisper, whose certificate it signs'}.",
            f"What people notice: {found.effect}.",
            f"How long: {found.until}.",
        ),
        found.hurts,
    )


def carry_out(loaded: LoadedStack, rotation: Rotation, arguments: Namespace, terminal: Terminal) -> int:
    """Says what it means, asks where people are hurt, edits the file, and runs `up`."""
    from cli.commands import up

    ownership.check_own(loaded)
    continuity.check(loaded)
    text = stack_edit.with_values(loaded, rotation.values)
    terminal.say(f"Replaces: {rotation.what}.", "bold")
    terminal.points(rotation.effects)
    confirmed = _agreed(loaded, rotation, arguments.confirm, terminal)
    stack_edit.replace(loaded.stack.file, text)
    for path, value in rotation.values.items():
        terminal.say(f"{loaded.stack.file.name}: flatline:{'.'.join(path)} is {value} now.")
    going_on = Namespace(
        command="up",
        stack=loaded.stack.name,
        context=arguments.context,
        engine=arguments.engine,
        yes=arguments.yes,
        confirm=confirmed,
        start_over=None,
        empty_volumes=False,
        renews=LEAF_EPOCH not in rotation.values,
    )
    try:
        return up.run(going_on, terminal)
    except Exception:
        terminal.warn(
            f"{loaded.stack.file.name} has the new epoch already. To go on, run `up`, and not this command again:"
        )
        command = ["./flatline", "up", *engineless.stack_option(loaded)]
        terminal.command([*command, "--confirm", loaded.stack.name] if rotation.hurts else command)
        raise


def _agreed(loaded: LoadedStack, rotation: Rotation, confirmed: str | None, terminal: Terminal) -> str | None:
    """The stack's name where it was typed, for what `up` asks about the same. Raises FlatlineError if it was not."""
    name = loaded.stack.name
    if confirmed is not None and confirmed != name:
        raise FlatlineError(f"--confirm names {confirmed}, but the stack is {name}: nothing was changed")
    if not rotation.hurts or confirmed == name:
        return confirmed
    if terminal.ask(f"Type {name} to agree:") != name:
        raise FlatlineError(
            f"nothing was changed: nobody agreed to what the people of stack {name} would notice",
            f"To agree without a terminal, add: --confirm {name}",
        )
    return name


def renewed(loaded: LoadedStack, outputs: Mapping[str, Any], now: datetime, terminal: Terminal) -> LoadedStack:
    """The stack with the next epoch of its certificate, in its file too, where the settings say that it is time.

    `outputs` are those of the last `up`; `now` is when that is judged.
    """
    wanted = loaded.settings.certificates.leaf.renew_before_days
    if wanted is None:
        return loaded
    for each in expiry.served(loaded, outputs):
        left = each.left(now)
        if left < timedelta(days=wanted):
            rotation = of_certificate(loaded)
            stack_edit.replace(loaded.stack.file, stack_edit.with_values(loaded, rotation.values))
            terminal.say(
                f"Renews {rotation.what}: the present one ends in {max(left.days, 0)} days, and "
                f"flatline:certificates.leaf.renewBeforeDays is {wanted}. Clients notice nothing."
            )
            return stacks.read(loaded.stack.name)
    return loaded
