"""The forms of what `accounts list --json` and `accounts show --json` print."""

from cli.forms.base import Block, OfStack


class Device(Block):
    """A device of an account."""

    id: int
    """1 for the phone itself."""
    created: str
    """When it was linked."""
    last_seen: str
    """The day on which it last made a request."""


class Account(Block):
    """An account, without anything that its owner wrote."""

    number: str
    """With `+` and country code."""
    identifier: str
    """The account's identifier in the service (its ACI)."""
    registered: str
    """When it got its first device that is there."""
    blocked: bool
    """True if `accounts block` has signed its devices out."""
    username: bool
    """True if it has one."""
    devices: list[Device]
    """The phone and what is linked to it."""


class Accounts(OfStack):
    """By number."""

    accounts: list[Account]
    """Everybody who has one."""


class OneAccount(OfStack):
    """The account of the number that was typed."""

    account: Account
    """It, as in the list."""
