"""`accounts delete`: deletes an account as the service does."""

from argparse import Namespace
from collections import Counter

from cli import accounts
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from config.schema.dynamodb import TABLES
from migration.accounts import Accounts


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Shows what goes, and deletes it once the number was typed. What is gone from the tables leaves the cache, too."""
    with accounts.opened(arguments, terminal) as (loaded, _, store):
        account = store.find(accounts.named(arguments.number))
        if account is None:
            return _forgotten(loaded, store, arguments.number, terminal)
        held = store.holdings(account)
        counts = Counter(f"rows of table {TABLES[path].name}" for path, _ in (*held.rows, *held.itself))
        counts.update(f"objects of bucket {role}" for role, _ in held.objects)
        terminal.say(f"{account.number} has account {account.identifier}, with {len(account.devices)} devices.")
        terminal.say("Deleting it deletes, for ever:")
        terminal.points(f"up to {count} {what}" for what, count in sorted(counts.items()))
        terminal.points(["messages and the profile in Redis"])
        terminal.say("What stays is in docs/operations.md, under Accounts.")
        if not accounts.confirmed(account, arguments, terminal, "delete"):
            return 0
        store.check()
        with accounts.recorded(loaded, account, "delete"), terminal.step("Deleting the account"):
            store.delete(account)
    terminal.say(f"Deleted the account of {account.number}. Its devices are signed out.")
    terminal.say(f"It can register again with an invitation: `./flatline invite {account.number}`")
    return 0


def _forgotten(loaded: LoadedStack, store: Accounts, typed: str, terminal: Terminal) -> int:
    """Ends a deletion that an earlier run left between the tables and the cache. Nobody loses anything by it."""
    deleted = store.deleted(accounts.named(typed))
    if deleted is None:
        raise accounts.nobody(typed)
    with accounts.recorded(loaded, deleted, "delete"), terminal.step("Taking the account out of Redis"):
        store.forget(deleted)
    terminal.say(f"Account {deleted.identifier} is deleted already. Redis does not have it any more, either.")
    return 0
