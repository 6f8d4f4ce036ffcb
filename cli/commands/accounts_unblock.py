"""`accounts unblock`: takes back what `accounts block` did to the devices."""

from argparse import Namespace

from cli import accounts
from cli.terminal import Terminal


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Signs the devices in again; nobody is hurt, so nothing is asked."""
    with accounts.opened(arguments, terminal) as (loaded, _, store):
        account = accounts.found(store, arguments.number)
        if not any(device.blocked for device in account.devices):
            store.forget(account)  # an earlier run may have ended between the table and the cache
            terminal.say(f"The account of {account.number} is not blocked.")
            return 0
        store.check()
        with accounts.recorded(loaded, account, "unblock"), terminal.step("Unblocking the account"):
            store.unblock(account)
    terminal.say(
        f"The devices of {account.number} are known again. Where an app insists on registering, give the person "
        f"another invitation: `./flatline invite {account.number} --again`"
    )
    return 0
