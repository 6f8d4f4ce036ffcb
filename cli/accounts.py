"""Shared by the `accounts` commands: access to a stack's accounts in its cluster, and the log of what was done."""

import getpass
import json
import os
import re
import subprocess
import uuid
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import files
from cli import kubectl, numbers, ownership, stacks
from cli.stacks import LoadedStack
from cli.stores import forwarded
from cli.terminal import Terminal
from errors import FlatlineError
from migration import endpoints
from migration.endpoints import Addresses

if TYPE_CHECKING:
    from migration.accounts import Account, Accounts, Deleted

REDIS_NODE, PUBLICATIONS = "pod/redis-0", "deployment/redis-pubsub"
REDIS_CLI = (
    'REDISCLI_AUTH=$(cat "$REDIS_PASSWORD_FILE"); export REDISCLI_AUTH; exec redis-cli -c -h "$POD_IP" -p "$REDIS_PORT"'
)
"""Commands come by standard input: arguments of `exec` are in the log of the API server."""

REDIS_SECONDS = 60
_IDENTIFIER = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
"""Of an account (its ACI), as `accounts show` and the log write it."""


class ClusterRedis:
    """The stack's Redis, through `redis-cli` in its pods."""

    def __init__(self, context: str, namespace: str) -> None:
        self._context, self._namespace = context, namespace

    def cluster(self, commands: Sequence[Sequence[str]]) -> None:
        """Runs commands on the nodes that have their keys. Raises FlatlineError for an answer that is no number."""
        self._run(REDIS_NODE, [" ".join(words) for words in commands])

    def publish(self, channel: str, message: bytes) -> None:
        """Publishes on the server for publications. Raises FlatlineError."""
        text = "".join(f"\\x{byte:02x}" for byte in message)
        self._run(PUBLICATIONS, [f'PUBLISH {channel} "{text}"'])

    def check(self) -> None:
        """Raises FlatlineError if one of the two does not answer."""
        self.cluster([["EXISTS", "flatline"]])
        self._run(PUBLICATIONS, ["PUBSUB NUMPAT"])

    def _command(self, where: str) -> list[str]:
        words = ("-n", self._namespace, "exec", "-i", where, "--", "sh", "-c", REDIS_CLI)
        return kubectl.command(self._context, *words)

    def _run(self, where: str, lines: Sequence[str]) -> None:
        answers = answered(self._command(where), lines, where)
        if len(answers) != len(lines) or not all(answer.isdecimal() for answer in answers):
            refused = next((answer for answer in answers if not answer.isdecimal()), "too few answers")
            raise FlatlineError(f"Redis in {where} of namespace {self._namespace} refused: {refused.split(' ')[0]}")


def answered(command: Sequence[str], lines: Sequence[str], where: str) -> list[str]:
    """The answers of a `redis-cli`, a line each, to commands. Raises FlatlineError if it cannot be asked.

    Between them it says where it was sent to (`-> Redirected`), which is left out.
    """
    asked = "".join(f"{line}\n" for line in lines)
    try:
        done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=REDIS_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        raise FlatlineError(f"Redis in {where} does not answer") from None
    if done.returncode != 0:
        raise FlatlineError(f"Redis in {where} cannot be asked", *done.stderr.strip().splitlines()[-2:])
    return [line for line in done.stdout.splitlines() if not line.startswith("-> ")]


@contextmanager
def opened(arguments: Namespace, terminal: Terminal) -> Iterator[tuple[LoadedStack, str, "Accounts"]]:
    """The stack, its namespace's context, and its accounts. Raises FlatlineError.

    It is for stacks whose stores are in their cluster: ElastiCache takes connections from its network alone.
    """
    loaded = stacks.read(arguments.stack)
    name, namespace = loaded.stack.name, loaded.settings.namespace
    if not endpoints.emulators(loaded.settings):
        raise FlatlineError(
            f"stack {name} is in a cloud: this command reaches stores in a cluster alone",
            "There, a cache outside of the cluster would keep a deleted account for two days.",
        )
    context = ownership.own_cluster(loaded, arguments.context, "accounts")
    with ExitStack() as held:
        with terminal.step("Reaching the stores"):
            here = endpoints.connection(loaded.settings, region=None, account=None, at=Addresses())
            connection = forwarded(loaded, context, here, held, without=("cbtemulator",))
        from migration.accounts import Accounts
        from migration.stores import clients

        dynamodb, buckets = clients(connection)
        names = endpoints.physical_names(loaded.settings, {})
        yield loaded, context, Accounts(dynamodb, buckets, names, ClusterRedis(context, namespace))


def named(typed: str) -> str | uuid.UUID:
    """The number or the identifier that was typed. Raises FlatlineError for what is neither."""
    text = typed.strip()
    return uuid.UUID(text) if _IDENTIFIER.fullmatch(text) else numbers.read(text)


def found(accounts: "Accounts", typed: str) -> "Account":
    """The account of a number or an identifier that was typed. Raises FlatlineError if there is none."""
    account = accounts.find(named(typed))
    if account is None:
        raise nobody(typed)
    return account


def nobody(typed: str) -> FlatlineError:
    """The error for a number or an identifier that no account has."""
    return FlatlineError(f"{named(typed)} has no account", "Those that there are: `./flatline accounts list`")


def confirmed(account: "Account", arguments: Namespace, terminal: Terminal, doing: str) -> bool:
    """Whether the number was typed: after --confirm, or now. Without a terminal nothing was, and nothing is done."""
    typed = arguments.confirm
    if typed is None and not terminal.interactive:
        terminal.say(f"Nothing was changed. To {doing} it, add: --confirm {account.number}")
        return False
    if typed is None:
        typed = terminal.ask(f"Type {account.number} to {doing} it:")
    if "".join(typed.split()) != account.number:
        raise FlatlineError("nothing was changed: the number of the account was not typed")
    return True


@contextmanager
def recorded(loaded: LoadedStack, account: "Account | Deleted", doing: str) -> Iterator[None]:
    """Appends to the log of the stack what begins, and how it ended. Raises FlatlineError before anything is done."""
    _append(loaded, account, doing, "begun")
    try:
        yield
    except BaseException:
        _append(loaded, account, doing, "failed")
        raise
    _append(loaded, account, doing, "done")


def log(loaded: LoadedStack) -> Path:
    """Who did what to which account: lines of JSON, only ever added to, for the owner alone."""
    return loaded.stack.state.with_name(f"{loaded.stack.name}.accounts.log")


def _append(loaded: LoadedStack, account: "Account | Deleted", doing: str, result: str) -> None:
    """An account is named by its identifier: numbers can be guessed from any digest of them."""
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": getpass.getuser(),
        "action": doing,
        "account": str(account.identifier),
        "result": result,
    }
    path = log(loaded)
    try:
        path.parent.mkdir(mode=files.DIRECTORY_MODE, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, files.FILE_MODE)
        with os.fdopen(descriptor, "a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        raise FlatlineError(f"{path} cannot be written: {problem.strerror}; nothing was changed") from None


def document(account: "Account") -> dict[str, Any]:
    """An account for programs (docs/json.md)."""
    return {
        "number": account.number,
        "identifier": str(account.identifier),
        "registered": registered(account).isoformat(timespec="seconds"),
        "blocked": account.blocked,
        "username": account.username is not None,
        "devices": [
            {
                "id": each.number,
                "created": each.created.isoformat(timespec="seconds"),
                "lastSeen": each.seen.date().isoformat(),
            }
            for each in account.devices
        ],
    }


def registered(account: "Account") -> datetime:
    """When the account got its present phone."""
    return min(each.created for each in account.devices)
