"""`accounts block`: signs an account's devices out, and keeps its number from registering again."""

from argparse import Namespace

from cli import accounts, invitations
from cli.invitations import Store
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from config.schema import invitations as schema
from migration.accounts import Account


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Says what happens, and does it once the number was typed."""
    with accounts.opened(arguments, terminal) as (loaded, context, store):
        account = accounts.found(store, arguments.number)
        if account.blocked:
            store.forget(account)  # an earlier run may have ended between the table and the cache
            terminal.say(f"The account of {account.number} is blocked already.")
            return 0
        terminal.say(f"{account.number} has account {account.identifier}, with {len(account.devices)} devices.")
        terminal.say("Blocking it:")
        terminal.points(_effects(loaded))
        if not accounts.confirmed(account, arguments, terminal, "block"):
            return 0
        store.check()
        with accounts.recorded(loaded, account, "block"), terminal.step("Blocking the account"):
            _revoke(Store(context, loaded.settings.namespace, loaded.stack.name), loaded, account)
            store.block(account)
    terminal.say(f"Blocked the account of {account.number}. To take it back:")
    terminal.command(
        ["./flatline", "accounts", "unblock", account.number, "--stack", loaded.stack.name, "--context", context]
    )
    return 0


def _effects(loaded: LoadedStack) -> list[str]:
    kind = loaded.settings.registration.kind
    again = {
        "invitation": "takes its invitation back: it registers again only with one that has --again",
        "webhook": "takes its invitation back; whoever gets the codes of the number can still register it again",
    }
    return [
        "signs out its devices: requests and connections are refused from now on",
        "deletes the password by which the app registers again without a code",
        again.get(kind, f"does not keep the number from registering again, because {kind} registers any number"),
        "keeps its data; others can still write to it",
    ]


def _revoke(store: Store, loaded: LoadedStack, account: Account) -> None:
    key = schema.key(account.number)
    if loaded.settings.registration.kind in invitations.KINDS and key in store.read():
        store.change(lambda values: {key: None} if key in values else {})
