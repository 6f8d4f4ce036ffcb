"""The forms of what `--json` prints, by command. docs/json.md and docs/json.schema.json are made of them."""

from collections.abc import Mapping

from cli.forms import accounts, capacity, checks, stack, upgrade
from cli.forms.base import Form

FORMS: Mapping[str, tuple[type[Form], ...]] = {
    "status": (stack.Status,),
    "doctor": (checks.Doctor,),
    "invitations": (stack.Invitations,),
    "accounts list": (accounts.Accounts,),
    "accounts show": (accounts.OneAccount,),
    "outputs": (stack.Outputs,),
    "pins": (stack.Pins, stack.Kit),
    "connect": (checks.Connect,),
    "secret list": (stack.Secrets,),
    "stack list": (stack.Stacks,),
    "images": (checks.Images,),
    "preview": (stack.PreviewOfFiles, stack.PreviewByPulumi),
    "diff": (stack.Diff,),
    "upgrade": (upgrade.Upgrade,),
    "check": (checks.Check,),
    "scan": (checks.Scan,),
    "restore": (checks.Restore,),
    "capacity": (capacity.Capacity,),
}
"""A command prints one of its forms; the docstring of each says when."""
