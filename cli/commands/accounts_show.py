"""`accounts show`: one account and its devices."""

from argparse import Namespace

from cli import accounts
from cli import document as documents
from cli.forms.accounts import OneAccount
from cli.terminal import Terminal


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Prints what the service keeps of an account; nothing that its owner wrote."""
    with accounts.opened(arguments, terminal) as (loaded, _, store):
        account = accounts.found(store, arguments.number)
    if arguments.json:
        documents.show(OneAccount, {"stack": loaded.stack.name, "account": accounts.document(account)}, terminal)
        return 0
    terminal.say(f"{account.number} has account {account.identifier}{', which is blocked' if account.blocked else ''}.")
    terminal.say(f"It has {'a' if account.username is not None else 'no'} username.")
    rows = (
        (str(each.number), f"{each.created:%Y-%m-%d %H:%M}", f"{each.seen:%Y-%m-%d}", "yes" if each.blocked else "no")
        for each in account.devices
    )
    terminal.table(("Device", "Created (UTC)", "Last seen", "Blocked"), rows, frozenset({"Device"}))
    return 0
