"""The arguments of `./flatline`. Standard library only: help and typing mistakes need no packages."""

from __future__ import annotations

import argparse
import difflib
import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field
from functools import cache, partial
from inspect import cleandoc
from itertools import groupby
from textwrap import wrap
from typing import Any, NoReturn, TypeAlias

from capacity import workload
from config import retention
from config.version import VERSION

USAGE_ERROR = 2
RENAMED = {"plan": "capacity"}
"""Former names of commands and their present names, for the error that a former name gets."""
DEFAULT_STACK = "dev"
CLIENTS = ("android", "ios", "desktop", "libsignal")
"""Those of client_kit/kit.py, which needs packages."""
WIDEST = 100
TEST_SELECTIONS = {
    "--fast": "lint and unit tests alone: no type check, no integration tests",
    "--integration": "only the tests that run real servers (fetches and builds them the first time)",
    "--all": "everything: lint, types, unit and integration tests",
}


class _Help(argparse.RawDescriptionHelpFormatter):
    """Wraps paragraphs to the terminal and leaves indented lines, which are examples, as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines: list[str] = []
        for indented, group in groupby(text.splitlines(), lambda line: not line or line.startswith(" ")):
            several = list(group)
            lines += several if indented else wrap(" ".join(several), min(width, WIDEST))
        return "\n".join(indent + line for line in lines)


class _Parser(argparse.ArgumentParser):
    """Answers a typing mistake with one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"error: {message}{'' if message.endswith('?') else f'; see `{self.prog} --help`'}\n")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, `command` among them (`secret set` and the like are one word each: `secret-set`).

    Ends the program with status 2 for a typing mistake, and with 0 after printing help. What follows `test` and is
    none of its own options is in `pytest`, in its order.
    """
    words = list(argv)
    top = parser()
    if not words:
        top.print_help()
        raise SystemExit(0)
    passed_on: list[str] = []
    if words[0] == "test":
        own = [word for word in words[1:] if word in {*TEST_SELECTIONS, "-h", "--help"}]
        passed_on = [word for word in words[1:] if word not in own]
        words = ["test", *own]
    command = _command(top, words)
    arguments, unknown = top.parse_known_args(words)
    if unknown:
        command.error(_unknown(command, unknown[0].partition("=")[0]))
    arguments.pytest = passed_on
    return arguments


def _command(top: argparse.ArgumentParser, words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of the command that was typed. Ends the program for one that there is not."""
    here = top
    for word in words:
        groups = [action for action in here._actions if isinstance(action, argparse._SubParsersAction)]
        if not groups or word.startswith("-"):
            break
        if here is top and word in RENAMED:
            here.error(f"{word} is called {RENAMED[word]} now: ./flatline {RENAMED[word]}")
        if word not in groups[0].choices:
            here.error(f"{word} is no command{_did_you_mean(word, groups[0].choices)}")
        here = groups[0].choices[word]
    return here


def _unknown(command: argparse.ArgumentParser, word: str) -> str:
    if word.startswith("-"):
        options = [option for action in command._actions for option in action.option_strings]
        return f"there is no option {word}{_did_you_mean(word, options)}"
    if command.get_default("command") == "secret-set":
        return "the value is never an argument, which others can read; type it, or give it on standard input"
    return f"{word} is one word too many"


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


@cache
def parser() -> argparse.ArgumentParser:
    """The parser of everything but what is passed on to pytest."""
    top = _Parser(
        prog="./flatline",
        description="Runs your own Signal server: turns a stack's configuration into a deployment.",
        formatter_class=_Help,
        epilog=cleandoc(
            """
            A stack is one installation, configured in Pulumi.<stack>.yaml; `dev` is there already.

            examples:
              ./flatline up                   bring up the stack dev, or render it
              ./flatline stack new home --domain chat.example.org
              ./flatline up --stack home --context my-k3s
              ./flatline pins --stack home    what clients must be built with
              ./flatline up --help            every command explains itself like this

            exit status: 0 done, 1 the configuration or something needed is not right, 2 a typing mistake

            More is in README.md and docs/commands.md."""
        ),
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"flatline {VERSION}", help="show the version and exit")
    commands = {"": top.add_subparsers(dest="command", metavar="<command>", required=True, title="commands")}
    for add, options, has_stack in _COMMANDS:
        group, _, name = add.__name__.strip("_").rpartition("_")
        if group not in commands:
            parent = commands[""].add_parser(group, help=_GROUPS[group], allow_abbrev=False)
            commands[group] = parent.add_subparsers(dest="action", metavar="<action>", required=True, title="actions")
        short, _, long = cleandoc(add.__doc__ or "").partition("\n\n")
        command = commands[group].add_parser(
            name, help=short, description=long, formatter_class=_Help, allow_abbrev=False
        )
        command.set_defaults(command=f"{group}-{name}" if group else name)
        if has_stack:
            command.add_argument(
                "--stack", "-s", default=DEFAULT_STACK, metavar="NAME", help="the stack (default: %(default)s)"
            )
        for each in (*options, add):
            each(command)
    return top


_Adder: TypeAlias = Callable[[argparse.ArgumentParser], None]
_COMMANDS: list[tuple[_Adder, tuple[_Adder, ...], bool]] = []
"""Every command in the order of the help, with options that others have too, and whether it is about one stack."""
_GROUPS = {
    "cluster": "remove the k3s that `up` has installed",
    "accounts": "list, show, delete, block accounts",
    "secret": "list secrets, or bring a value of your own",
    "turn": "configure a TURN server outside of the cluster",
    "rotate": "replace the certificate, the authority or a secret",
    "stack": "make or list stacks",
    "migrate": "give a stack the secrets of another one",
}


def _listed(*options: _Adder, stack: bool = True) -> Callable[[_Adder], _Adder]:
    """Registers a command. The function's name is that of the command, `_secret_set` that of `secret set`.

    Its docstring has the line for the list of commands and the help with examples. `options` add those that other
    commands have too, and then the function its own.
    """

    def listed(add: _Adder) -> _Adder:
        _COMMANDS.append((add, options, stack))
        return add

    return listed


def _flag(command: argparse._ActionsContainer, *names: str, help: str) -> None:
    command.add_argument(*names, action="store_true", help=help)


def _context(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--context", metavar="NAME", help="the kubeconfig context of the cluster; no other one is ever touched"
    )


def _confirm(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--confirm",
        metavar="STACK",
        help="the stack's name, instead of asking, where pins, host names or the authority change",
    )


def _json(command: argparse._ActionsContainer) -> None:
    _flag(command, "--json", help="one JSON object for programs (docs/json.md)")


@_listed(_context)
def _up(command: argparse.ArgumentParser) -> None:
    """bring a stack up: deploy it, or render it where that cannot be

    Looks at what is there, says what it chose and why, and does it:

      with a cluster that you named and that answers, and a Pulumi CLI
          `pulumi up` on that cluster (the CLI is fetched if you agree)
      else
          writes every Kubernetes object to build/<stack>/, and shows the
          commands that apply them; a stack in a cloud needs the engine

    A cluster is named by --context, by flatline:target.context in the stack's file, or by typing its name when
    asked. Without a name no cluster is looked at. Secrets are made once and kept, encrypted, between runs.
    Secrets that are missing or older than what was made with them end it, and it asks before pins, host names or
    the authority change: type the stack's name, or give it after --confirm.

    examples:
      ./flatline up
      ./flatline up --stack home --context my-k3s
      ./flatline up --stack home --context my-k3s --yes    for scripts
      ./flatline up --engine none                          only render
    """
    _flag(command, "--yes", "-y", help="answer yes to questions; counts only with a named context")
    command.add_argument(
        "--engine",
        choices=("auto", "pulumi", "none"),
        default="auto",
        help="auto chooses; pulumi deploys or fails; none renders (default: %(default)s)",
    )
    command.add_argument(
        "--start-over",
        metavar="STACK",
        help="the stack's name: leave its secrets behind, and make new ones that no client knows",
    )
    _flag(
        command,
        "--empty-volumes",
        help="where volume claims of the stack were deleted in the cluster: make them again, empty",
    )
    _confirm(command)
    command.set_defaults(renews=True)


@_listed()
def _render(command: argparse.ArgumentParser) -> None:
    """write the Kubernetes objects of a stack as files

    Writes one file per object, a kustomization and the stack's outputs, for review or for `kubectl apply -k`.
    The files hold secrets (mode 0600) unless --redact is given: that tree is for review, with throw-away secrets
    that nobody sees, and needs no passphrase and makes no state.

    A stack in a cloud is written for review alone, without credentials: always without secrets, its cloud
    resources as a plan in cloud-plan.yaml, and what only the cloud can tell as "(known after creation: ...)".

    With --secrets it writes a tree for a git repository, from which Argo CD or Flux deploys (docs/gitops.md):

      sops              Secrets encrypted for keys of age, by sops
      sealed            SealedSecrets for the cluster's controller, by kubeseal
      external-secrets  ExternalSecrets, and a file of the values for the
                        store that they read from

    examples:
      ./flatline render
      ./flatline render --redact --output review    without secrets
      ./flatline render --secrets sops --recipient age1... -o ../deploy
    """
    command.add_argument(
        "--secrets", choices=("external-secrets", "sops", "sealed"), help="hide the secrets in this way, for git"
    )
    command.add_argument(
        "--recipient", action="append", metavar="KEY", help="with sops: a public key of age; may be repeated"
    )
    command.add_argument(
        "--certificate", metavar="FILE", help="with sealed: the controller's, from `kubeseal --fetch-cert`"
    )
    command.add_argument(
        "--store", metavar="NAME", help="with external-secrets: a ClusterSecretStore, or SecretStore/NAME"
    )
    command.add_argument(
        "--values", metavar="FILE", help="with external-secrets: where the values go for the store (mode 0600)"
    )
    _flag(command, "--redact", help="write REDACTED in place of every secret")
    _confirm(command)
    command.add_argument(
        "--output",
        "-o",
        metavar="DIR",
        help="where to (default: build/<stack>, or build/<stack>.redacted; --secrets needs one)",
    )


@_listed(_context, _json)
def _preview(command: argparse.ArgumentParser) -> None:
    """show what `up` would change

    For a stack that Pulumi keeps: `pulumi preview`. Otherwise the difference between build/<stack>/ and what
    `up` would write there: objects that are new, changed or gone, secrets hidden. Changes nothing.

    examples:
      ./flatline preview
      ./flatline preview --stack home --context my-k3s
    """


@_listed()
def _diff(command: argparse.ArgumentParser) -> None:
    """show what changes in a stack's objects between two git revisions

    For reviews: lets each revision render the stack without secrets (as `render --redact` does), and shows a
    unified difference for each Kubernetes object, cloud resource and stack output. Needs git, and no cluster. A
    stack whose file only this checkout has is compared with that file on both sides.

    examples:
      ./flatline diff --from main                what the files as they are change
      ./flatline diff --from v0.1.0 --to main --stack prod
      ./flatline diff --from HEAD~1 --to HEAD --json
    """
    command.add_argument("--from", required=True, dest="before", metavar="REV", help="a branch, a tag or a commit")
    command.add_argument("--to", dest="after", metavar="REV", help="another one (default: the files as they are now)")
    _json(command)


@_listed()
def _upgrade(command: argparse.ArgumentParser) -> None:
    """say what `up` of this checkout does to what is deployed

    Compares the deployed version and objects with this checkout: which pods are replaced, why and in which order,
    what clients notice, which tables, buckets and volume claims are new, gone or changed, and what has to be backed
    up before. Changes nothing; `up` does it.

    `up` records the version on the cluster when a deployment has succeeded. A version that has a step of its own
    cannot be jumped over, and not every version can be followed by an earlier one: `up` refuses, and this says so.

    exit status: 0 `up` may follow, 1 it must not

    examples:
      git fetch --tags && git checkout v0.2.0
      ./flatline upgrade --check --context my-k3s
      ./flatline upgrade --check --stack home --context my-k3s --json
    """
    command.add_argument("--check", action="store_true", required=True, help="compare, and change nothing")
    _context(command)
    _json(command)


@_listed(_context)
def _down(command: argparse.ArgumentParser) -> None:
    """take a stack down, keeping its data and secrets

    Removes what runs and keeps what could not be had again: volumes, namespaces, secrets, certificate
    authorities. It lists what it keeps. `up` brings everything back with the same data and the same pins.

    For an engine-less stack it shows the kubectl commands, and runs them if you name the context and agree.

    --delete-data deletes the volumes, the namespaces and the secrets as well, for ever: every account, every
    group and every client's pin. It asks for the stack's name; scripts write it after --confirm.

    examples:
      ./flatline down
      ./flatline down --stack home --context my-k3s
      ./flatline down --stack trial --context my-k3s --delete-data --confirm trial
    """
    _flag(command, "--yes", "-y", help="do not ask; counts only with a named context")
    _flag(command, "--delete-data", help="delete data, secrets and state, for ever")
    command.add_argument("--confirm", metavar="STACK", help="with --delete-data: the stack's name, instead of asking")
    _flag(command, "--no-cluster", help="with --delete-data: the cluster is gone, or there never was one")


@_listed(stack=False)
def _cluster_remove(command: argparse.ArgumentParser) -> None:
    """end and delete the k3s that `up` has installed, with all data on it

    Ends the k3s that `./flatline up` has installed on this machine and deletes its binary, its service, its
    configuration, its openings of the firewall and its cluster: all pods and all volumes of every stack on it, for
    ever. It asks for the name k3s; scripts write it after --confirm. A k3s that somebody else installed is left
    alone. Needs root, or sudo.

    examples:
      ./flatline cluster remove
      ./flatline cluster remove --confirm k3s
    """
    command.add_argument("--confirm", metavar="NAME", help="k3s, instead of asking")


@_listed(_json)
def _outputs(command: argparse.ArgumentParser) -> None:
    """show a stack's outputs, as of the last `up`

    Shows everything that the stack exports: the pins and URLs of clients, and what a restart loses.

    examples:
      ./flatline outputs
      ./flatline outputs --json
    """


@_listed()
def _pins(command: argparse.ArgumentParser) -> None:
    """show what clients must be built with, or write the files of a build

    Shows the URLs, certificates and public keys that a client is built with. None of it is secret.

    With --for it writes the files that the build of such a client takes, with a README that says where each
    goes and what else must be changed (docs/client.md). The folder is written whole or not at all. One that
    holds another kit is left as it is, unless --overwrite is given.

    examples:
      ./flatline pins
      ./flatline pins --stack home --json > pins.json
      ./flatline pins --stack home --for android
      ./flatline pins --stack home --for libsignal --output kit --overwrite
    """
    command.add_argument("--for", dest="client", choices=CLIENTS, help="write the files for the build of this client")
    command.add_argument(
        "--output", "-o", metavar="DIR", help="with --for: where to (default: clients/<stack>/<client>)"
    )
    _flag(command, "--overwrite", help="with --for: replace the files of an earlier kit")
    _json(command)


@_listed()
def _connect(command: argparse.ArgumentParser) -> None:
    """prove that a client with these pins would be served

    Does from this machine what a client does, for each public host: finds its name, connects, opens TLS 1.3 with
    the pinned authorities alone, then opens a WebSocket to Whisper, and asks Storage and both CDNs. Names the
    cause of each failure and its cure. Needs no access to the cluster, sends no secret, and changes nothing,
    unless --call asks for a group call, which ends after half a minute.
    Takes less than a minute. Ends with status 1 where a client would not be served.

    examples:
      ./flatline connect --stack home
      ./flatline connect --pins pins.json          without the stack's secrets
      ./flatline connect --address 192.0.2.10      before DNS has the names
      ./flatline connect --address 127.0.0.1 --port 8443    by a tunnel
      ./flatline connect --call --context my-k3s    joins a group call, too
    """
    _flag(
        command,
        "--call",
        help="join a group call too, with a token that is signed with a key from the cluster of --context",
    )
    command.add_argument(
        "--context",
        metavar="NAME",
        help="the kubeconfig context of the cluster, for --call and the TURN server's secret",
    )
    command.add_argument(
        "--pins", metavar="FILE", help="pins from a file that `pins --json` or --for wrote, not a stack"
    )
    command.add_argument("--address", type=_address, metavar="IP", help="connect there, and ask no DNS")
    command.add_argument("--port", type=_tcp_port, default=443, metavar="N", help="the TCP port (default: %(default)s)")
    _json(command)


def _address(text: str, read: Callable[[str], object] = ipaddress.ip_address, example: str = "192.0.2.10") -> str:
    kind = "IP" if read is ipaddress.ip_address else "IPv4"
    try:
        return str(read(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no {kind} address; write one such as {example}") from None


_ipv4 = partial(_address, read=ipaddress.IPv4Address, example="198.51.100.7")


def _tcp_port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; write a number from 1 to 65535")
    return int(text)


@_listed(_context)
def _status(command: argparse.ArgumentParser) -> None:
    """show certificates, secrets, images and (with a context) readiness

    Shows when certificates expire and how to renew them, the rotation epochs of the configuration, images
    that only a moving tag names and, for a cluster that you name, which workloads are ready.
    Ends with status 1 if a certificate has expired.

    examples:
      ./flatline status
      ./flatline status --stack home --context my-k3s
      ./flatline status --context my-k3s --watch
      ./flatline status --json
    """
    one = command.add_mutually_exclusive_group()
    _json(one)
    _flag(one, "--watch", help="with a context: show what is ready until everything is, or Ctrl-C")


@_listed()
def _invite(command: argparse.ArgumentParser) -> None:
    """let a phone number register: makes its code

    Makes a six-digit code with which the number can be registered once, and shows it this one time on standard
    output. The cluster keeps a slow hash of it, in the Secret registration-invitations; the code works in at most
    two minutes. Nothing is restarted, and neither the stack's file nor its state has any of it.

    A number that has an account needs --again: whoever gets that code takes the account over, as on a new phone.
    During an attack on an invitation, --codes 2 lets the person in (docs/first-people.md).

    examples:
      ./flatline invite +12025550123 --context my-k3s
      ./flatline invite --next --context my-k3s         somebody without a number
      ./flatline invite +12025550123 --again --valid 2h --context my-k3s
    """
    whom = command.add_mutually_exclusive_group(required=True)
    whom.add_argument("number", nargs="?", metavar="NUMBER", help="with + and country code, such as +12025550123")
    _flag(whom, "--next", help="the next number that nobody owns and nobody here has had: +1 202 555 01..")
    _flag(command, "--again", help="the number has an account, which may be taken over")
    command.add_argument(
        "--valid", type=_validity, default="7d", metavar="TIME", help="how long: 15m to 30d (default: %(default)s)"
    )
    command.add_argument(
        "--codes", type=int, choices=(1, 2), default=1, help="2: two codes in a row, which cannot be guessed"
    )
    _flag(command, "--replace", help="the number has an invitation; the old code ends")
    _context(command)


_UNITS = {"m": 60, "h": 3600, "d": 86400}
_SHORTEST, _LONGEST = 15 * 60, 30 * 86400


def _validity(text: str) -> int:
    """Seconds of `90m`, `12h` or `7d`."""
    count, unit = text[:-1], text[-1:]
    seconds = int(count) * _UNITS[unit] if count.isascii() and count.isdecimal() and unit in _UNITS else 0
    if not _SHORTEST <= seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not from 15m to 30d; write minutes, hours or days: 90m, 12h, 7d")
    return seconds


@_listed(_context, _json)
def _invitations(command: argparse.ArgumentParser) -> None:
    """show who is invited, and whose invitation is attacked

    Shows every invitation: its number, how long it is valid, and what the registration service says of it: waiting,
    used, expired, attacked (somebody tries codes) or locked (too many were tried; no code works any more). Codes
    are never shown: nobody has them any more.

    examples:
      ./flatline invitations --context my-k3s
      ./flatline invitations --json --context my-k3s
    """


@_listed()
def _revoke(command: argparse.ArgumentParser) -> None:
    """take an invitation back

    Ends the invitation of a number: its code is refused in at most two minutes. An account that was registered with
    it stays.

    example:
      ./flatline revoke +12025550123 --context my-k3s
    """
    command.add_argument("number", metavar="NUMBER", help="as `./flatline invitations` shows it")
    _context(command)


def _number(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "number", metavar="NUMBER", help="with + and country code, such as +12025550123; or the account's identifier"
    )


def _confirmed_number(command: argparse.ArgumentParser) -> None:
    _number(command)
    command.add_argument("--confirm", metavar="NUMBER", help="the number, instead of asking")


@_listed(_json, _context)
def _accounts_list(command: argparse.ArgumentParser) -> None:
    """show who has an account

    Shows every account: number, when it was registered, when it was last seen, how many devices it has, and whether
    it is blocked. What people wrote is never read: names, profiles, messages. For stacks whose stores are in the
    cluster.

    example:
      ./flatline accounts list --context my-k3s
    """


@_listed(_number, _json, _context)
def _accounts_show(command: argparse.ArgumentParser) -> None:
    """show one account and its devices

    Shows the identifier of an account, and when each of its devices was linked and last seen.

    example:
      ./flatline accounts show +12025550123 --context my-k3s
    """


@_listed(_confirmed_number, _context)
def _accounts_delete(command: argparse.ArgumentParser) -> None:
    """delete an account, for ever

    Shows what would be deleted, asks for the number, and deletes the account in the tables, the buckets and the
    cache as the service does (docs/operations.md). Scripts write the number after --confirm; without it and without
    a terminal nothing is deleted. state/<stack>.accounts.log gets a line, with the account's identifier. Run it
    again where Redis failed in the middle: it takes an account that the tables do not have any more out of Redis.

    examples:
      ./flatline accounts delete +12025550123 --context my-k3s
      ./flatline accounts delete +12025550123 --confirm +12025550123
    """


@_listed(_confirmed_number, _context)
def _accounts_block(command: argparse.ArgumentParser) -> None:
    """sign an account's devices out, until it is unblocked

    Makes the service refuse the devices of an account, deletes the password by which the app could register again,
    and takes the number's invitation back. Data stays. It asks for the number, as `accounts delete` does.

    examples:
      ./flatline accounts block +12025550123 --context my-k3s
      ./flatline accounts block +12025550123 --confirm +12025550123
    """


@_listed(_number, _context)
def _accounts_unblock(command: argparse.ArgumentParser) -> None:
    """let a blocked account's devices in again

    Gives the devices of a blocked account their passwords back.

    example:
      ./flatline accounts unblock +12025550123 --context my-k3s
    """


@_listed(_context, _json)
def _doctor(command: argparse.ArgumentParser) -> None:
    """find out what is wrong, what it means, and what mends it

    Looks at everything that a stack stands on, before the first `up` and ever after: the cluster, its disks,
    names, clocks and network policies, Traefik, images, secrets, certificates, pods, stores and logs. It says
    what is wrong, what that means for people, and the command that mends it.

    The network is tried with two throw-away pods, stores by a throw-away pod that writes and reads something of
    its own. They are removed again. Nothing else is changed, unless --fix is given: that does what is safe, asks
    before each, and never touches data.

    exit status: 0 all is well, 1 something is wrong, 2 something could not be looked at

    examples:
      ./flatline doctor --context my-k3s
      ./flatline doctor --stack home --context my-k3s --fix
      ./flatline doctor --context my-k3s --json
    """
    _flag(command, "--fix", help="do what is safe of what mends it; asks before each")
    _flag(command, "--yes", "-y", help="with --fix: do not ask")


def _secret_name(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", help="the secret's name; `./flatline secret list` shows them")


@_listed(_secret_name)
def _secret_set(command: argparse.ArgumentParser) -> None:
    """encrypt a value of your own into the stack's file

    Reads a value from standard input, or asks for it without showing it; checks its form; and writes it,
    encrypted as Pulumi does, into Pulumi.<stack>.yaml. The value is never an argument.

    examples:
      ./flatline secret set turn
      openssl rand -hex 32 | ./flatline secret set turn --stack home
    """


@_listed(_json)
def _secret_list(command: argparse.ArgumentParser) -> None:
    """show every secret: who reads it, where it comes from

    Shows the name, the origin (generated or provided), the rotation epoch and the readers of every secret.
    Never a value.

    example:
      ./flatline secret list --stack home
    """


@_listed()
def _turn_config(command: argparse.ArgumentParser) -> None:
    """write turnserver.conf for a server of your own

    Writes the configuration of coturn for the server that flatline:turn names: the stack's secret, limits, and
    every private network closed. The file has the secret, so only you can read it. Nothing is printed of it,
    unless --print is given (docs/calls.md).

    examples:
      ./flatline turn config --address 198.51.100.7
      ./flatline turn config --address 198.51.100.7 --private 10.0.0.5
    """
    command.add_argument("--address", type=_ipv4, required=True, metavar="IP", help="the server's public IPv4 address")
    command.add_argument("--private", type=_ipv4, metavar="IP", help="its own address, if it is behind a router")
    command.add_argument("--output", "-o", metavar="FILE", help="where to (default: state/<stack>.turnserver.conf)")
    _flag(command, "--print", help="print it, with the secret, and write no file")
    _context(command)


def _raising(command: argparse.ArgumentParser) -> None:
    """Options of `up`, which runs at the end."""
    _context(command)
    _flag(command, "--yes", "-y", help="answer yes to what `up` asks; needs a named context")
    command.add_argument(
        "--engine",
        choices=("auto", "pulumi", "none"),
        default="auto",
        help="as for `up` (default: %(default)s)",
    )
    command.add_argument("--confirm", metavar="STACK", help="the stack's name, instead of asking")


@_listed(_raising)
def _rotate_certificate(command: argparse.ArgumentParser) -> None:
    """renew the certificate that is served

    Raises flatline:certificates.leaf.epoch in the stack's file and runs `up`. Clients pin the authority, which
    stays, and notice nothing. flatline:certificates.leaf.renewBeforeDays lets `up` do this by itself.

    examples:
      ./flatline rotate certificate
      ./flatline rotate certificate --stack home --context my-k3s --yes
    """


@_listed(_raising)
def _rotate_authority(command: argparse.ArgumentParser) -> None:
    """take the next step of a change of the authority

    Clients pin the authority, so it changes in two steps. The first adds a new authority to the pins, while the
    present one signs: build clients with both. The second, of the same command, lets the new one sign: clients
    that were built before the first step cannot connect any more. Each step says what it does, edits the
    stack's file, and runs `up`; it wants the stack's name, typed or after --confirm.

    example:
      ./flatline rotate authority --stack home
    """


@_listed(_secret_name, _raising)
def _rotate_secret(command: argparse.ArgumentParser) -> None:
    """replace a secret

    Says who reads the secret, what people notice and for how long; raises flatline:secrets.<NAME>.epoch in the
    stack's file; and runs `up`. Where people are hurt (clients must be built again, something cannot be read any
    more, a program of yours needs the new value, requests fail for minutes) it wants the stack's name, typed or
    after --confirm. Earlier values stay in the encrypted state.

    examples:
      ./flatline rotate secret attachments
      ./flatline rotate secret redis --stack home --confirm home
    """


@_listed(stack=False)
def _stack_new(command: argparse.ArgumentParser) -> None:
    """write the file of a new stack

    Writes Pulumi.<NAME>.yaml. Every stack has secrets, certificates and data of its own.

    examples:
      ./flatline stack new home --domain chat.example.org
      ./flatline stack new home --domain chat.example.org --context my-k3s
    """
    command.add_argument("name", metavar="NAME", help="letters, digits, hyphens, dots and underscores")
    command.add_argument("--domain", required=True, help="clients reach whisper., storage., cdn0. and cdn3. below it")
    _context(command)


@_listed(_json, stack=False)
def _stack_list(command: argparse.ArgumentParser) -> None:
    """show the stacks that are there

    Shows each stack, its domain, and who keeps its secrets.

    example:
      ./flatline stack list
    """


@_listed(_json)
def _images(command: argparse.ArgumentParser) -> None:
    """show every image with its digest, lock digests, or bundle all images

    Asks the registries, through skopeo, for the digest, the platforms and the size of every image of the stack.

    --lock writes the digests of what the tags are now into the stack's file, so that a restart brings the same
    software. --verify asks whether what is locked is still served, byte for byte, and says which tags have moved
    on. --bundle writes all images into one file, for machines that reach no registry: `k3s ctr images import`
    takes it. --bundle with --verify looks into such a file instead, and asks no registry.

    examples:
      ./flatline images
      ./flatline images --lock --stack home
      ./flatline images --bundle images.tar --architecture amd64
      ./flatline images --bundle images.tar --verify
    """
    either = command.add_mutually_exclusive_group()
    _flag(either, "--lock", help="write flatline:images.digests into the stack's file")
    _flag(either, "--verify", help="status 1 where an image is not as it should be")
    command.add_argument("--bundle", metavar="FILE", help="the file to write; never one that exists")
    command.add_argument(
        "--architecture",
        action="append",
        choices=("amd64", "arm64"),
        help="with --bundle: for this processor alone; may be repeated (default: all)",
    )


@_listed()
def _check(command: argparse.ArgumentParser) -> None:
    """check a stack, or any manifests, against the policies

    Runs the rules of the policy pack (docs/policies.md) over what a stack registers, without an engine, or over
    manifests from anywhere. Shows each finding with its remedy, and every exemption with its reason. Values are
    never shown. Ends with status 1 where a mandatory rule is broken.

    examples:
      ./flatline check
      ./flatline check --stack home --sarif > findings.sarif      for code review
      ./flatline check --manifests some/folder --namespace chat
    """
    command.add_argument("--manifests", metavar="DIR", help="check the Kubernetes objects in a folder, not a stack")
    command.add_argument(
        "--namespace", metavar="NAME", default="", help="with --manifests: where objects go that name no namespace"
    )
    form = command.add_mutually_exclusive_group()
    _json(form)
    _flag(form, "--sarif", help="findings as SARIF 2.1.0, for code review")


@_listed(_json)
def _scan(command: argparse.ArgumentParser) -> None:
    """let an independent scanner look at the rendered stack

    Renders the stack without its secrets and runs checkov over it, in an environment of its own that is made
    the first time. What is passed over is listed with its reason. Ends with status 1 where a check fails.

    example:
      ./flatline scan
    """


@_listed(stack=False)
def _capacity(command: argparse.ArgumentParser) -> None:
    """estimate resources, limits and monthly cost for a number of users

    Estimates request units and storage of DynamoDB, memory and shards of Redis, nodes of Bigtable, objects, pods,
    data transfer, and the monthly cost at list prices. Prints which limits are exceeded, the number of users at
    which each limit begins, what to change, and settings to paste. Prints every assumption as well;
    docs/capacity.md explains them.

    Reads this checkout only. Retentions and sizes are the settings' defaults, or those of --stack.

    examples:
      ./flatline capacity --users 5000 --messages-per-day 40
      ./flatline capacity --users 1000000 --messages-per-day 40 --json
      ./flatline capacity --users 20000 --messages-per-day 60 --stack dev
      ./flatline capacity --users 20000 --messages-per-day 60 --group-size 25
    """
    command.add_argument("--stack", "-s", metavar="NAME", help="take retentions and sizes from this stack's file")
    command.add_argument("--region", metavar="REGION", help="the AWS region whose prices count (default: the stack's)")
    command.add_argument("--prices", metavar="FILE", help="prices of your own (default: config/prices.yaml)")
    _json(command)
    for number in workload.OPTIONS:
        default = workload.default(number)
        command.add_argument(
            workload.option(number),
            required=workload.required(number),
            type=_within(number),
            metavar="N",
            default=default,
            help=workload.about(number).meaning
            + ("" if default is None else f" (default: {workload.display(default)})"),
        )


def _within(number: Field[Any]) -> Callable[[str], float]:
    """A parser for a number of the model. argparse reports what is not a number, or out of bounds, as a usage error."""
    whole, about = number.type is int, workload.about(number)
    wanted = f"write {'a whole number' if whole else 'a number'}, {about.range}"

    def read(text: str) -> float:
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is none; {wanted}") from None
        if not about.low <= value <= about.high:
            raise argparse.ArgumentTypeError(f"{text} is out of bounds; {wanted}")
        return value

    return read


@_listed()
def _backup(command: argparse.ArgumentParser) -> None:
    """write everything that cannot be made again into one encrypted archive

    Reads tables, groups, avatars, pre-keys, invitations and, by choice, attachments, and adds the stack's file,
    its encrypted secrets, its pins and the digests of its images. The archive is a new folder below --to, named
    after the stack and the time. It opens with the stack's passphrase alone. docs/migration.md has the format.

    Services may run meanwhile; each record is whole then, but not all are of one moment. --pause stops them first,
    lets undelivered messages move from Redis to DynamoDB, and starts them again.

    --schedule writes no archive: it writes flatline:backup into the stack's file. From the next `up` on a CronJob
    writes archives to --to at those times (UTC), encrypted for the stack's passphrase, with the key pair in the
    file of --credentials. `up` also gives it the stack's file and its encrypted secrets; where files are applied
    without the engine, --documents does that. docs/migration.md has an example ("By schedule").

    --drill writes no archive: it restores the newest one of --to into a throw-away namespace of the cluster, with
    stores and secrets of its own, compares counts and checksums, and removes the namespace again.

    examples:
      ./flatline backup --to backups --context my-k3s
      ./flatline backup --to backups --attachments --pause --context my-k3s
      ./flatline backup --to s3://some-bucket/flatline --stack prod
      ./flatline backup --to backups --drill --context my-k3s
      ./flatline backup --documents --context my-k3s
    """
    command.add_argument("--to", metavar="PLACE", help="a folder, or s3://BUCKET/PREFIX, for the new archive")
    _flag(command, "--attachments", help="take the attachments of CDN3 as well")
    command.add_argument(
        "--keep",
        type=_kept,
        metavar="RULE",
        help="then delete older archives of the stack but for so many: daily=7,weekly=4,monthly=6",
    )
    either = command.add_mutually_exclusive_group()
    _flag(either, "--pause", help="stop the services meanwhile, and start them again")
    _flag(either, "--drill", help="try whether the newest archive can be restored")
    either.add_argument("--schedule", metavar="CRON", help="let the cluster write archives at these times (UTC)")
    _flag(either, "--documents", help="give the cluster's backups the stack's file and encrypted secrets")
    scheduled = command.add_argument_group("with --schedule")
    scheduled.add_argument("--credentials", metavar="FILE", help="AWS's credentials file, with the bucket's key pair")
    scheduled.add_argument("--endpoint", metavar="URL", help="the S3 server, where it is not that of AWS in --region")
    scheduled.add_argument("--network", metavar="CIDR", help="where the S3 server is, for the network policy")
    _stores(command)


def _kept(text: str) -> retention.Rule:
    try:
        return retention.parse(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


@_listed()
def _restore(command: argparse.ArgumentParser) -> None:
    """bring an archive back into a stack, or compare both

    On a machine without the stack's file and secrets it writes them, and says how to go on. Then it writes what
    the archive has into stores that are there and empty, reads everything back, and compares counts and checksums.
    It makes no table, deletes nothing, and overwrites nothing. One that was interrupted is run again.

    The services must be stopped, so that nothing is written meanwhile: --pause does it, and starts them again.

    examples:
      ./flatline restore --from backups/dev-1 --context my-k3s --pause
      ./flatline restore --from s3://some-bucket/dev-1 --stack prod
      ./flatline restore --from backups/dev-1 --verify --context my-k3s
    """
    command.add_argument(
        "--from", required=True, dest="source", metavar="ARCHIVE", help="a folder or s3:// place of `backup`"
    )
    _flag(command, "--verify", help="only compare; change nothing")
    _flag(command, "--pause", help="stop the services meanwhile, and start them again")
    _flag(command, "--into-non-empty", help="other records may be there; what differs is never overwritten")
    command.add_argument(
        "--passphrase-file", metavar="FILE", help="has the archive's passphrase, where the stacks have another one"
    )
    _json(command)
    _stores(command)


@_listed(stack=False)
def _migrate_secrets(command: argparse.ArgumentParser) -> None:
    """give a stack the secrets of another one

    Writes the keys that clients, accounts and groups depend on into the stack's file, encrypted with its own
    passphrase, and the certificate with the authority that clients pin. No value is shown. For a stack that has
    not been brought up yet. Data moves with `backup` and `restore`.

    example:
      ./flatline migrate secrets --from-stack dev --to-stack prod
    """
    command.add_argument("--from-stack", required=True, metavar="NAME", help="whose secrets")
    command.add_argument("--to-stack", required=True, metavar="NAME", help="which stack gets them")


def _stores(command: argparse.ArgumentParser) -> None:
    """How the stores of a stack are reached."""
    _context(command)
    command.add_argument("--dynamodb", metavar="URL", help="where DynamoDB is, instead of by a cluster")
    command.add_argument("--s3", metavar="URL", help="where the bucket of pre-keys is (default: as --dynamodb)")
    command.add_argument("--cdn0", metavar="URL", help="where the bucket of avatars is (default: as --s3)")
    command.add_argument("--bigtable", metavar="HOST:PORT", help="where a Bigtable emulator is")
    command.add_argument("--region", help="the AWS region (default: the stack's)")
    command.add_argument("--account", metavar="ID", help="the AWS account that the credentials must belong to")
    command.add_argument("--pre-keys-bucket", metavar="NAME", help="the bucket of pre-keys, where AWS named it")
    command.add_argument("--cdn0-bucket", metavar="NAME", help="the bucket of avatars, where AWS named it")
    command.add_argument("--parallel", type=_readers, default=4, metavar="N", help="readers a table (default: 4)")


def _readers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError("write a number from 1 to 64")
    return int(text)


@_listed(stack=False)
def _test(command: argparse.ArgumentParser) -> None:
    """test this program (not an installation): lint, types and tests

    For those who change this program: tests the program itself, and no stack or cluster of yours (that is what
    `status` and `check` are for). Runs ruff, pyrefly and pytest, a line for each with its time, and the output of
    what failed. Everything else on the line goes to pytest. Installs the tools the first time.

    examples:
      ./flatline test
      ./flatline test --fast tests/unit/cli
      ./flatline test -k redis -x
      ./flatline test --all                  with real servers too
    """
    selection = command.add_mutually_exclusive_group()
    for option, text in TEST_SELECTIONS.items():
        selection.add_argument(option, action="store_const", const=option[2:], dest="selection", help=text)


@_listed(stack=False)
def _schema(command: argparse.ArgumentParser) -> None:
    """write what editors know of settings

    Writes config/stack.schema.json from the settings' models. Editors find it by the first line of a stack's
    file and then complete and check what you type.

    examples:
      ./flatline schema
      ./flatline schema --check        status 1 if the committed file is not current
    """
    _flag(command, "--check", help="write nothing; say whether the file is current")
