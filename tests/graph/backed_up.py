"""A stack with backups by schedule."""

import json
from functools import cache
from typing import Any

from migration import sealing
from tests.graph.stack import Stack, configuration, recorded

PASSPHRASE = "planted passphrase"
SECRET_KEY = "planted-secret-access-key"
NETWORK, PORT = "203.0.113.9/32", 7070


@cache
def recipient() -> str:
    """The public key of a stack with this passphrase."""
    return str(sealing.identity(PASSPHRASE).recipient)


def settings(**others: Any) -> dict[str, Any]:
    """The block `backup`, as it is written."""
    return {
        "to": "s3://archives/flatline",
        "schedule": "15 3 * * *",
        "recipient": recipient(),
        "endpoint": f"http://203.0.113.9:{PORT}",
        "credentials": {"accessKeyId": "planted-id", "secretAccessKey": SECRET_KEY},
        **others,
    }


def egress() -> dict[str, Any]:
    """The block `egress` that it needs."""
    return {"backup": [{"cidr": NETWORK, "ports": [PORT]}]}


def with_backup(stack: str = "dev", **others: Any) -> Stack:
    """A stack of the repository with backups by schedule."""
    return _recorded(stack, json.dumps(settings(**others), sort_keys=True))


@cache
def _recorded(stack: str, backup: str) -> Stack:
    blocks = {"flatline:backup": backup, "flatline:egress": json.dumps(egress())}
    return Stack(recorded({**configuration(stack), **blocks}, stack=stack))
