"""`backup --schedule`: writes the block `backup` of the stack's file, by which the cluster backs itself up."""

import configparser
import ipaddress
from argparse import Namespace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cli import stack_edit, stacks
from cli.commands.secret_set import refuse_other_providers
from cli.stack_edit import Secrets
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from config.backup import ScheduledBackup
from config.types import web_port
from errors import FlatlineError
from migration import sealing

_ID, _SECRET = "aws_access_key_id", "aws_secret_access_key"


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Writes the block, and says what `up` will do. What is not given stays as the file has it."""
    if arguments.context is not None:
        raise FlatlineError("--schedule writes the stack's file alone", "Leave --context out; `up` takes it.")
    loaded = stacks.read(arguments.stack)
    refuse_other_providers(loaded, "backup.credentials.secretAccessKey")
    before = loaded.settings.backup
    values: dict[tuple[str, ...], Any] = {
        ("backup", "to"): arguments.to,
        ("backup", "schedule"): arguments.schedule,
        ("backup", "recipient"): _recipient(loaded, before),
    }
    given = {"endpoint": arguments.endpoint, "region": arguments.region}
    values |= {("backup", name): value for name, value in given.items() if value is not None}
    if arguments.keep is not None:
        values["backup", "keep"] = str(arguments.keep)
    if arguments.attachments:
        values["backup", "attachments"] = True
    secrets = _credentials(arguments.credentials, before, values)
    _network(arguments, loaded, before, values)
    stack_edit.replace(loaded.stack.file, stack_edit.with_values(loaded, values, secrets))
    terminal.say(f"Wrote flatline:backup into {loaded.stack.file.name}.")
    source = loaded.passphrase.find()
    terminal.say(
        f"From the next `up` on the cluster writes archives to {arguments.to} at {arguments.schedule} (UTC). They open "
        f"with the stack's passphrase, which is in {source.origin}. Keep a copy of it elsewhere."
    )
    terminal.say("Next:")
    terminal.command(["./flatline", "up", "--stack", loaded.stack.name])
    return 0


def _recipient(loaded: LoadedStack, before: ScheduledBackup | None) -> str:
    """The one that the file has, if it is of this passphrase: a new one would change the file for nothing."""
    passphrase = loaded.passphrase()
    if before is not None:
        known = sealing.Recipient.parse(before.recipient)
        if sealing.identity(passphrase, known.salt).recipient == known:
            return before.recipient
    return str(sealing.identity(passphrase).recipient)


def _credentials(path: str | None, before: ScheduledBackup | None, values: dict[tuple[str, ...], Any]) -> Secrets:
    """The secret of the key pair; its id goes to `values`."""
    if path is None:
        if before is None:
            raise FlatlineError(
                "--credentials is missing",
                "Name a file with the bucket's key pair, in the form of AWS's: [default], "
                f"{_ID} = ..., {_SECRET} = ...",
            )
        return {}
    file = configparser.ConfigParser(interpolation=None)
    try:
        file.read_string(Path(path).expanduser().read_text(encoding="utf-8"))
        pair = file["default"]
        values["backup", "credentials", "accessKeyId"] = pair[_ID]
        secret = pair[_SECRET]
    except OSError as problem:
        raise FlatlineError(f"--credentials {path} cannot be read: {problem.strerror}") from None
    except (configparser.Error, UnicodeDecodeError, KeyError):
        raise FlatlineError(
            f"--credentials {path} has no key pair in the profile default",
            f"Write it as AWS has it: [default], {_ID} = ..., {_SECRET} = ...",
        ) from None
    if "aws_session_token" in pair:
        raise FlatlineError(f"--credentials {path} has a key pair that ends by itself", "Take one that lasts.")
    return {("backup", "credentials", "secretAccessKey"): secret}


def _network(
    arguments: Namespace, loaded: LoadedStack, before: ScheduledBackup | None, values: dict[tuple[str, ...], Any]
) -> None:
    """The way out of the cluster, where it is given, or where the server is an address."""
    server = arguments.endpoint or (before and before.endpoint) or "https://s3"
    network = arguments.network
    if network is None and arguments.endpoint is not None:
        try:
            network = str(ipaddress.ip_network(urlsplit(server).hostname or ""))
        except ValueError:
            network = None
    if network is not None:
        values["egress", "backup"] = [{"cidr": network, "ports": [web_port(server)]}]
    elif "backup" not in loaded.settings.egress:
        raise FlatlineError(
            "--network is missing: pods reach nothing outside of the cluster unless a network is opened",
            "Name that of the S3 server, such as --network 203.0.113.9/32 (0.0.0.0/0 for all of them).",
        )
