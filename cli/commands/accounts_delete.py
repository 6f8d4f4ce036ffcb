"""`accounts delete`: deletes an account as the service does."""

from argparse import Namespace
from collections import Counter

from cli import accounts
from cli.terminal import Terminal
from config.schema.dynamodb import TABLES


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Shows what goes, and deletes it once the number was typed."""
    with accounts.opened(arguments, terminal) as (loaded, _, store):
        account = accounts.found(store, arguments.number)
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
