"""Invitations of a stack: in a Secret of its namespace, changed key by key, and what the program says of each."""

import base64
import json
import random
import shlex
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from cli import kubectl, ownership
from cli.port_forward import PortForward
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from config import installation
from config.schema import invitations as schema
from config.schema.invitations import SECRET, STATUS_PORT, Invitation
from config.settings import PROJECT
from errors import FlatlineError

POD = "registration-0"
PATIENCE_SECONDS = 30.0
ANSWER_SECONDS = 10
KINDS = ("invitation", "webhook")
"""Kinds of registration that read invitations. With a webhook they are for numbers that it cannot reach."""

NEEDS_CARE = ("attacked", "locked")
Values = Mapping[str, str]
"""Data key -> stored value."""
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Seen:
    """The program's state of an invitation: `waiting`, `used`, `expired`, `attacked` or `locked`, and since when."""

    state: str
    wrong: int
    since: datetime | None


@dataclass(frozen=True)
class Store:
    """The Secret. Whoever changes it at the same time loses nothing: a change is of single keys, and is made only if
    nothing was changed since they were read."""

    context: str
    namespace: str
    stack: str

    def read(self) -> Values:
        """Every entry."""
        return self._read()[1]

    def change(self, decide: Callable[[Values], Mapping[str, str | None]]) -> None:
        """Writes what `decide` makes of the entries that there are: new values by key, None for one that goes.

        `decide` is asked again if somebody else was faster. Raises what it raises, and FlatlineError.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            version, values = self._read()
            changes = decide(values)
            try:
                self._write(version, changes)
            except kubectl.ConflictError:
                time.sleep(random.uniform(0.05, 0.5))
                continue
            return
        raise FlatlineError(f"others change the invitations all the time on context {self.context}", "Run it again.")

    def _read(self) -> tuple[str | None, Values]:
        words = ("-n", self.namespace, "get", "secrets", "--field-selector", f"metadata.name={SECRET}")
        for item in kubectl.read(self.context, *words).get("items", ()):
            if item["metadata"]["name"] == SECRET:
                data = item.get("data") or {}
                return item["metadata"]["resourceVersion"], {
                    name: base64.b64decode(value).decode("utf-8", "replace") for name, value in data.items()
                }
        return None, {}

    def _write(self, version: str | None, changes: Mapping[str, str | None]) -> None:
        data = {
            name: None if value is None else base64.b64encode(value.encode()).decode()
            for name, value in changes.items()
        }
        if version is None:
            made = {name: value for name, value in data.items() if value is not None}
            metadata = {"name": SECRET, "namespace": self.namespace, "labels": labels(self.namespace, self.stack)}
            content = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": made}
            kubectl.create(self.context, content)
        else:
            change = {"metadata": {"resourceVersion": version}, "data": data}
            kubectl.merge(self.context, self.namespace, f"secret/{SECRET}", change)


def labels(namespace: str, stack: str) -> dict[str, str]:
    """Labels of the Secret: whose it is. Not `part-of`, by which `down` deletes: it is data, and stays."""
    return {
        "app.kubernetes.io/name": "registration",
        "app.kubernetes.io/instance": namespace,
        installation.STACK_LABEL: installation.stack_label(PROJECT, stack),
    }


def opened(loaded: LoadedStack, typed_context: str | None) -> Store:
    """The invitations of a stack that is on a named cluster. Raises FlatlineError."""
    name, kind = loaded.stack.name, loaded.settings.registration.kind
    if kind not in KINDS:
        raise FlatlineError(
            f"stack {name} registers people by {kind}, which reads no invitations",
            f"For invitations, remove {PROJECT}:registration from {loaded.stack.file.name}, and bring the stack up.",
        )
    context = ownership.own_cluster(loaded, typed_context, "invitations")
    return Store(context, loaded.settings.namespace, name)


def listed(values: Values, terminal: Terminal) -> list[Invitation]:
    """The invitations among the entries, by number. Warns of an entry that is none."""
    found = []
    for name in sorted(values):
        try:
            found.append(schema.read(name, values[name]))
        except ValueError:
            terminal.warn(f"the entry {name} of the Secret {SECRET} is no invitation: `./flatline revoke +{name}`")
    return found


def seen(store: Store) -> dict[str, Seen]:
    """The program's state of each number. Raises FlatlineError if it cannot be asked."""
    with PortForward(store.context, store.namespace, POD, STATUS_PORT, kind="pod") as forward:
        try:
            url = f"http://{forward.address}/invitations"
            with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
                return {str(each["number"]): _seen(each) for each in json.load(answer)["invitations"]}
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise FlatlineError(f"{POD} gives no account of the invitations: {problem}") from None


def _seen(each: Mapping[str, Any]) -> Seen:
    since = each["since"]
    return Seen(str(each["state"]), int(each["wrong"]), None if since is None else datetime.fromtimestamp(since, UTC))


def asked(store: Store, terminal: Terminal) -> dict[str, Seen] | None:
    """The same, or None with a warning where the program cannot be asked."""
    return _known(lambda: seen(store), terminal)


def _known(ask: Callable[[], Answer], terminal: Terminal) -> Answer | None:
    try:
        with terminal.step("Asking the registration service"):
            return ask()
    except FlatlineError as problem:
        terminal.warn(f"whether invitations are attacked is not known: {problem.in_a_line}")
        return None


def look(loaded: LoadedStack, context: str, terminal: Terminal) -> None:
    """Says which invitations are attacked or locked, and what helps; nothing when all is well."""
    lines = found(loaded, context, terminal)
    if lines:
        terminal.heading("Registration")
        terminal.points(lines, "bold red")


@dataclass(frozen=True)
class Care:
    """An invitation that is attacked or locked. `cure` is the command that lets the person in."""

    number: str
    locked: bool
    seen: str
    cure: str

    @property
    def line(self) -> str:
        """For people."""
        what = "is locked" if self.locked else "is under attack"
        return (
            f"the invitation of {self.number} {what}: {self.seen}. To let the person in, "
            f"give two codes instead: `{self.cure}`"
        )


def found(loaded: LoadedStack, context: str, terminal: Terminal) -> list[str]:
    """A line for each invitation that is attacked or locked. Warns where that is not known."""
    return [each.line for each in _known(lambda: cared(loaded, context, terminal), terminal) or ()]


def cared(loaded: LoadedStack, context: str, terminal: Terminal) -> list[Care]:
    """Each invitation that is attacked or locked, by number. Raises FlatlineError where that is not known."""
    if loaded.settings.registration.kind not in KINDS:
        return []
    store = Store(context, loaded.settings.namespace, loaded.stack.name)
    values = store.read()
    states = seen(store) if values else {}
    invited = {each.number: each for each in listed(values, terminal)}
    return [
        _care(store, invited[number], state)
        for number, state in sorted(states.items())
        if number in invited and state.state in NEEDS_CARE
    ]


def _care(store: Store, invitation: Invitation, state: Seen) -> Care:
    since = f" since {state.since:%Y-%m-%d %H:%M} UTC" if state.since else ""
    cured = shlex.join(cure(store, invitation))
    return Care(invitation.number, state.state == "locked", f"{state.wrong} wrong codes{since}", cured)


def cure(store: Store, invitation: Invitation) -> list[str]:
    """The command that lets an invited person in during an attack."""
    again = ["--again"] if invitation.again else []
    where = ["--stack", store.stack, "--context", store.context]
    return ["./flatline", "invite", invitation.number, "--codes", "2", "--replace", *again, *where]
