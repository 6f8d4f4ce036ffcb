"""`render --secrets`: a tree for a git repository, whose Secrets are hidden by a tool or kept in a store elsewhere."""

import base64
import json
import os
import re
import shutil
import subprocess
from argparse import Namespace
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import files
from cli.recording import RecordedStack
from cli.stacks import LoadedStack, display_path
from cli.terminal import Terminal
from errors import FlatlineError
from render import gitops
from render.gitops import Object

PURPOSE = "secrets in git"
"""Of the key, derived from the state's, that keeps the digests of hidden Secrets."""

TOOLS = {
    "sops": ("sops", "https://github.com/getsops/sops/releases"),
    "sealed": ("kubeseal", "https://github.com/bitnami-labs/sealed-secrets/releases"),
}
OPTIONS = {"sops": ("recipient",), "sealed": ("certificate",), "external-secrets": ("store", "values")}
"""The options that a way needs; those of the other ways are refused beside it."""

STORES = ("ClusterSecretStore", "SecretStore")
TOOL_SECONDS = 60
_RECIPIENT = re.compile(r"age1[02-9ac-hj-np-z]{20,}")
"""A public key of age: Bech32 with this prefix (age-encryption.org/v1). Plugins have longer ones."""


def check(arguments: Namespace) -> None:
    """Raises FlatlineError for options that do not go together, and for what is missing, before anything is made."""
    way = arguments.secrets
    given = [name for names in OPTIONS.values() for name in names if getattr(arguments, name)]
    if way is None:
        if given:
            raise FlatlineError(f"--{given[0]} belongs to --secrets", f"Add: --secrets {_way_of(given[0])}")
        return
    if arguments.redact:
        raise FlatlineError("--secrets and --redact exclude each other: a redacted tree has no secrets to hide")
    if arguments.output is None:
        raise FlatlineError("--secrets writes into a repository of yours", "Name a folder in it: --output DIR")
    for name in given:
        if name not in OPTIONS[way]:
            raise FlatlineError(f"--{name} belongs to --secrets {_way_of(name)}, not to {way}")
    for name in OPTIONS[way]:
        if name not in given:
            raise FlatlineError(f"--secrets {way} needs --{name}", "See `./flatline render --help`.")
    for recipient in arguments.recipient or ():
        if not _RECIPIENT.fullmatch(recipient):
            raise FlatlineError(
                f"--recipient {recipient[:8]}... is no public key of age",
                "It begins with age1, and `age-keygen` prints it. A key that begins with AGE-SECRET-KEY is the other "
                "half: it belongs to the cluster alone.",
            )
    if way in TOOLS:
        _found(TOOLS[way][0])
    if way == "sealed" and not Path(arguments.certificate).is_file():
        raise FlatlineError(
            f"there is no file {arguments.certificate}",
            "Fetch the cluster's certificate: `kubeseal --fetch-cert --context CONTEXT > FILE`",
        )
    if way == "external-secrets":
        _store(arguments.store)
        _refuse_in_repository(Path(arguments.values).absolute(), Path(arguments.output).absolute())


def _found(tool: str) -> str:
    path = shutil.which(tool)
    if path is None:
        raise FlatlineError(f"{tool} is not on the PATH", f"Install it: {dict(TOOLS.values())[tool]}")
    return path


def _way_of(option: str) -> str:
    return next(way for way, names in OPTIONS.items() if option in names)


def _store(text: str) -> tuple[str, str]:
    kind, _, name = text.rpartition("/")
    if kind not in ("", *STORES) or not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name):
        raise FlatlineError(
            f"--store {text} names no store",
            f"Write NAME, of a {STORES[0]}, or {STORES[1]}/NAME, one in each namespace.",
        )
    return kind or STORES[0], name


def _refuse_in_repository(values: Path, folder: Path) -> None:
    """Raises FlatlineError for a file of plain values in the tree, or in the git work tree that the tree is in."""
    folder = folder.resolve()
    holders = [each for each in (folder, *folder.parents) if (each / ".git").exists()]
    for holder in (folder, *holders[:1]):
        if values.resolve().is_relative_to(holder):
            raise FlatlineError(
                f"--values {values} is in {holder}, whose files go into git",
                "Name a file elsewhere: it holds the secrets as they are.",
            )


def write(loaded: LoadedStack, kept: RecordedStack, arguments: Namespace, folder: Path, terminal: Terminal) -> None:
    """Writes the tree, and the file of values, and says where."""
    way = arguments.secrets
    values: dict[str, Mapping[str, str]] = {}
    if way == "external-secrets":
        store = _store(arguments.store)
        salt = json.dumps([way, *store])

        def hidden(secret: Object) -> Object:
            return gitops.external(secret, store=store, key=_key(loaded, secret))

        for secret in gitops.secrets(kept.recording):
            values[_key(loaded, secret)] = secret["data"]
    elif way == "sops":
        recipients = sorted(set(arguments.recipient))
        salt = json.dumps([way, *recipients])
        hidden = partial(by_sops, recipients=recipients)
    else:
        certificate = Path(arguments.certificate).absolute()
        try:
            salt = json.dumps([way, certificate.read_text()])
        except (OSError, UnicodeDecodeError):
            raise FlatlineError(f"--certificate {certificate} cannot be read", "Fetch it again.") from None
        hidden = partial(by_kubeseal, certificate=certificate)
    with terminal.step("Hiding the secrets"):
        texts = gitops.tree(kept.recording, hidden, kept.state.key(PURPOSE), salt, folder)
    if values:  # first: the tree that names them is worth nothing without them
        _write_values(Path(arguments.values).absolute(), values)
    changed, removed = gitops.write(folder, texts)
    terminal.say(f"{len(texts)} files in {display_path(folder)}/, none with a secret in plain text.")
    differing = len(changed) + len(removed)
    terminal.say(
        f"{differing} files differ from the last run." if differing else "Nothing has changed since the last run."
    )
    if values:
        terminal.warn(
            f"{arguments.values} holds the secrets as they are (mode 0600): put them into the store, delete it"
        )


def _key(loaded: LoadedStack, secret: Object) -> str:
    """Where a store has a Secret: lower-case letters, digits, hyphens, which every store takes."""
    metadata = secret["metadata"]
    return re.sub(r"[^a-z0-9-]", "-", f"{loaded.stack.name}-{metadata['namespace']}-{metadata['name']}".lower())


def _write_values(path: Path, values: Mapping[str, Mapping[str, str]]) -> None:
    text = json.dumps(values, indent=1, sort_keys=True) + "\n"
    try:
        files.write(path, text.encode())
    except OSError as problem:
        raise FlatlineError(f"{path} cannot be written: {problem.strerror}; nothing was changed") from None


def by_sops(secret: Object, *, recipients: Sequence[str]) -> Object:
    """The Secret with its values encrypted for those who have a key. Flux decrypts it (fluxcd.io, "Mozilla SOPS")."""
    words = ["encrypt", "--age", ",".join(recipients), "--encrypted-regex", "^(data|stringData)$"]
    return _run("sops", [*words, "--input-type", "json", "--output-type", "json", "/dev/stdin"], secret)


def by_kubeseal(secret: Object, *, certificate: Path) -> Object:
    """The SealedSecret for the controller that has the certificate's key, for this name and namespace alone."""
    sealed = _run("kubeseal", ["--cert", str(certificate), "--scope", "strict", "--format", "json"], secret)
    metadata = {name: value for name, value in secret["metadata"].items() if name != "annotations"}
    notes = secret["metadata"].get("annotations", {})
    return {
        "apiVersion": sealed["apiVersion"],
        "kind": sealed["kind"],
        "metadata": {**metadata, "annotations": notes},
        "spec": sealed["spec"],
    }


def _run(tool: str, words: Sequence[str], secret: Object) -> Object:
    """Runs a tool with a Secret on its standard input. Variables that change what the tools do are left out."""
    path, name = _found(tool), secret["metadata"]["name"]
    environment = {each: os.environ[each] for each in ("PATH", "HOME") if each in os.environ}
    try:
        done = subprocess.run(
            [path, *words],
            input=json.dumps(secret, sort_keys=True),  # sops authenticates values in their order
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=TOOL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FlatlineError(f"{tool} did not hide the Secret {name} within {TOOL_SECONDS} s") from None
    if done.returncode:
        raise FlatlineError(f"{tool} cannot hide the Secret {name}: {_last_line(done.stderr, secret)}")
    try:
        made: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        made = {}
    if not made.get("kind"):
        raise FlatlineError(f"{tool} printed no object for the Secret {name}")
    return made


def _last_line(text: str, secret: Object) -> str:
    """The last line that a tool said, unless a value is in it."""
    line = (text.strip().splitlines() or ["it says nothing"])[-1]
    values = [
        *secret["data"].values(),
        *(base64.b64decode(each).decode("utf-8", "replace") for each in secret["data"].values()),
    ]
    return "its words hold a secret and are not shown" if any(each and each in line for each in values) else line
