"""`cluster remove`: removes the k3s that `up` has installed, with everything that its cluster holds."""

from argparse import Namespace

from cli import k3s
from cli.terminal import Terminal
from errors import FlatlineError


def run(arguments: Namespace, terminal: Terminal, machine: k3s.Machine = k3s.THIS) -> int:
    """Says what goes, and does it for whoever gives the name."""
    if not k3s.is_ours(machine):
        raise FlatlineError(
            "there is no k3s on this machine that `./flatline up` has installed",
            "Nothing was changed. A k3s of your own has a command for it: k3s-uninstall.sh",
        )
    terminal.warn(
        "This ends k3s and deletes its cluster for ever: every pod of every stack on it, and all volumes, which hold "
        "accounts, messages, groups and attachments. Secrets and state of stacks on this machine stay."
    )
    typed = arguments.confirm or terminal.ask(f"Type {k3s.CONTEXT} to delete all of it:")
    if typed != k3s.CONTEXT:
        raise FlatlineError("nothing was changed: the name was not given", f"Scripts write --confirm {k3s.CONTEXT}.")
    k3s.remove(terminal, machine)
    terminal.say("k3s and its cluster are gone. Rules of iptables that it made stay until this machine restarts.")
    return 0
