"""`accounts list`: who has an account."""

from argparse import Namespace

from cli import accounts
from cli import document as documents
from cli.forms.accounts import Accounts
from cli.terminal import Terminal


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Prints every account by number; nothing that its owner wrote."""
    with accounts.opened(arguments, terminal) as (loaded, _, store):
        everybody = sorted(store.all(), key=lambda each: each.number)
    if arguments.json:
        documents.show(
            Accounts,
            {"stack": loaded.stack.name, "accounts": [accounts.document(each) for each in everybody]},
            terminal,
        )
        return 0
    if not everybody:
        terminal.say("Nobody has an account. To let a number register: `./flatline invite NUMBER`")
        return 0
    rows = (
        (
            each.number,
            f"{accounts.registered(each):%Y-%m-%d}",
            f"{max(device.seen for device in each.devices):%Y-%m-%d}",
            str(len(each.devices)),
            "yes" if each.blocked else "no",
        )
        for each in everybody
    )
    terminal.table(("Number", "Registered", "Last seen", "Devices", "Blocked"), rows, frozenset({"Devices"}))
    terminal.say(f"{len(everybody)} accounts.")
    return 0
