"""Checks that the secrets at hand are those with which a stack was brought up.

Secrets that are lost, older, or another stack's must never be replaced in silence: clients are built with their public
half, and accounts and groups depend on the rest. Facts are gathered, judged by a pure function, and only then acted on.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from cli import engine, kubectl, objects, reissue
from cli.objects import SELECTOR
from cli.recording import RecordedStack
from cli.stacks import STATE, LoadedStack, Stack, display_path
from cli.terminal import Terminal
from config import installation
from config.settings import PROJECT
from errors import FlatlineError
from render import state
from render.manifests import INVENTORY
from render.model import Recording
from render.passphrase import generated_file
from render.state import StateError

_BEGUN, _UP, _DELETED = "begun", "up", "deleted"


@dataclass(frozen=True)
class Trace:
    """Something that shows that a stack was brought up, and the digests of the secrets that it was brought up with.

    A `rendered` one may be older than Pulumi's state: nothing is rendered while Pulumi keeps the secrets.
    """

    what: str
    digests: Mapping[str, str] = field(default_factory=dict)
    rendered: bool = False


@dataclass(frozen=True)
class Held:
    """The secrets that there are: where, whose, and every digest that each ever had; None where it does not say.

    `unreadable` says why they cannot be read.
    """

    where: str
    stack: str
    digests: Mapping[str, tuple[str, ...]] | None = None
    by_pulumi: bool = False
    unreadable: str = ""


@dataclass(frozen=True)
class Facts:
    """All that is known about a stack. `expected` is where its secrets belong."""

    stack: str
    expected: str
    held: Held | None
    traces: tuple[Trace, ...]


def judge(facts: Facts) -> FlatlineError | None:
    """Why a stack may not go on with the secrets that there are, None if it may."""
    held = facts.held
    if held is None:
        return _lost(facts) if facts.traces else None
    if held.unreadable:
        return FlatlineError(held.unreadable, *_restore(facts))
    if held.stack != f"{PROJECT}/{facts.stack}":
        return FlatlineError(
            f"{held.where} holds the secrets of stack {held.stack}, not of {PROJECT}/{facts.stack}",
            f"Nothing was written. Restore {facts.expected} from your backup.",
            *_begin_again(facts.stack),
        )
    if held.digests is None:
        return None
    for trace in facts.traces:
        missing = [name for name, digest in trace.digests.items() if digest not in held.digests.get(name, ())]
        if missing:
            return _older(facts, held, trace, sorted(missing))
    return None


def _lost(facts: Facts) -> FlatlineError:
    traces = [trace.what for trace in facts.traces]
    shows = f"{', '.join(traces[:-1])} and {traces[-1]} show" if len(traces) > 1 else f"{traces[0]} shows"
    return FlatlineError(
        f"the secrets of stack {facts.stack} are missing: {shows} that it was brought up before, but there is no "
        f"{facts.expected}",
        *_restore(facts),
    )


def _restore(facts: Facts) -> tuple[str, ...]:
    return (
        f"Nothing was written. Restore {facts.expected} from your backup (docs/operations.md), then run this again.",
        *_begin_again(facts.stack),
    )


def _older(facts: Facts, held: Held, trace: Trace, missing: list[str]) -> FlatlineError:
    some = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    if len(missing) == len(trace.digests):
        problem = f"{held.where} holds other secrets than {trace.what} was made with: those of another installation"
    else:
        problem = f"{held.where} is older than {trace.what}: it does not know {some}"
    on_purpose = f"If it was replaced in Pulumi on purpose, delete {trace.what}, which has the earlier one."
    return FlatlineError(
        problem,
        f"Nothing was written. Restore the newest copy of {facts.expected} (docs/operations.md), then run this again.",
        *([on_purpose] if trace.rendered and held.by_pulumi else []),
        *_begin_again(facts.stack),
    )


def _begin_again(name: str) -> tuple[str, ...]:
    return (
        "Only if those secrets are gone for good, or this is to be a new installation: new secrets, which no client "
        f"knows, are made by `./flatline up --stack {name} --start-over {name}`",
    )


def check(loaded: LoadedStack, context: str | None = None) -> None:
    """Raises FlatlineError for secrets that are lost, older or another stack's. Reads only a named cluster."""
    problem = judge(gather(loaded, context))
    if problem is not None:
        raise problem


def gather(loaded: LoadedStack, context: str | None = None) -> Facts:
    """Reads what this machine, and the cluster of a named context, know about a stack."""
    traces = [*_traces_here(loaded), *(_traces_there(loaded, context) if context else ())]
    return Facts(loaded.stack.name, _expected(loaded.stack), _held(loaded.stack, bool(traces)), tuple(traces))


def check_before(loaded: LoadedStack, context: str | None, start_over: str | None) -> None:
    """`check` on a named cluster, before a passphrase is made; not where somebody has asked to start over."""
    if context is not None and start_over is None:
        check(loaded, context)


def check_recorded(loaded: LoadedStack, digests: Mapping[str, str], context: str | None = None) -> None:
    """As `check`; raises FlatlineError as well if a recording made again what a trace has another value of."""
    facts = gather(loaded, context)
    problem = judge(facts) or made_again(facts, digests)
    if problem is not None:
        raise problem


def made_again(facts: Facts, digests: Mapping[str, str]) -> FlatlineError | None:
    """Why a recording with these digests must not be kept: it has other values than those that were brought up."""
    held = facts.held or Held(facts.expected, f"{PROJECT}/{facts.stack}")
    for trace in facts.traces:
        again = [
            name
            for name, digest in trace.digests.items()
            if digests.get(name, digest) != digest
            and digest not in (held.digests or {}).get(name, ())
            and not installation.may_change(name)
        ]
        if again:
            return _older(facts, held, trace, sorted(again))
    return None


def check_deployment(loaded: LoadedStack, deployment: Mapping[str, Any], context: str) -> None:
    """Raises FlatlineError if what the engine keeps is not what the cluster, or an earlier run, was brought up with."""
    namespaces = [
        each.get("outputs", {})
        for each in deployment.get("resources", ())
        if each.get("type") == "kubernetes:core/v1:Namespace"
    ]
    traces = [*_traces_here(loaded), *_traces_there(loaded, context)]
    expected = f"state in {engine.backend()}"
    held = None
    if deployment.get("resources"):
        digests = {name: (digest,) for name, digest in _digests(namespaces).items()}
        own = f"{PROJECT}/{loaded.stack.name}"
        held = Held(f"Pulumi's state ({engine.backend()})", own, digests or None, by_pulumi=True)
    lasting = tuple(
        replace(
            trace, digests={name: each for name, each in trace.digests.items() if not installation.may_change(name)}
        )
        for trace in traces
    )
    problem = judge(Facts(loaded.stack.name, expected, held, lasting))
    if problem is not None:
        raise problem


def check_backend(stack: Stack) -> None:
    """Raises FlatlineError if another backend than the one that is chosen keeps the stack."""
    noted = stack.backend.read_text().strip() if stack.backend.is_file() else ""
    if noted and noted != engine.backend():
        raise FlatlineError(
            f"Pulumi keeps stack {stack.name} in {noted}, but the backend that is chosen now is {engine.backend()}",
            f"Nothing was written. Use the one that has its secrets: export {engine.BACKEND_VARIABLE}={noted}",
            f"If the stack has moved there with its secrets (pulumi stack export and import), remove "
            f"{display_path(stack.backend)}.",
        )


def _held(stack: Stack, ask: bool) -> Held | None:
    """The secrets of a stack; the engine is asked only where something shows that there must be some."""
    try:
        found = state.read_header(stack.state)
    except StateError as problem:
        return Held(display_path(stack.state), f"{PROJECT}/{stack.name}", unreadable=str(problem))
    if found is not None:
        return Held(display_path(stack.state), f"{found.project}/{found.stack}", found.digests or None)
    backend = engine.managing_backend(stack, engine.installed()[0]) if ask else None
    return Held(f"Pulumi ({backend})", f"{PROJECT}/{stack.name}", by_pulumi=True) if backend else None


def _traces_here(loaded: LoadedStack) -> Iterator[Trace]:
    stack = loaded.stack
    tree = stack.build if stack.build.is_dir() else stack.build.with_name(f".{stack.name}.previous")
    if (tree / INVENTORY).is_file():
        yield Trace(display_path(tree), _digests(_namespaces(tree)), rendered=True)
    if stack.carried.is_file():
        yield Trace(display_path(stack.carried))
    passphrase = generated_file(PROJECT, stack.name)
    said, _ = _noted(stack)
    # A value that was brought, or a beginning with Pulumi, explains a passphrase that no state belongs to.
    explained = loaded.config.encryption_salt is not None or engine.has_begun(stack)
    unexplained = passphrase.is_file() and not explained
    if said == _UP or (said is None and unexplained):
        yield Trace(
            f"its passphrase {display_path(passphrase)}" if passphrase.is_file() else display_path(_note(stack))
        )


def _traces_there(loaded: LoadedStack, context: str) -> Iterator[Trace]:
    """The stack's namespaces on a cluster. Those of another stack are none; a cluster that cannot be read has none."""
    if not kubectl.is_installed():
        return
    try:
        found = kubectl.read(context, "get", "namespaces", "--selector", SELECTOR).get("items", ())
    except (FlatlineError, ValueError):
        return
    mine = installation.stack_label(PROJECT, loaded.stack.name)
    wanted = {*loaded.settings.namespaces}
    for each in found:
        name, labels = each["metadata"]["name"], each["metadata"].get("labels", {})
        if name in wanted and labels.get(installation.STACK_LABEL, mine) == mine:
            yield Trace(f"namespace {name} on context {context}", _digests([each]))


def _namespaces(tree: Path) -> Iterator[Mapping[str, Any]]:
    for name in (tree / INVENTORY).read_text().splitlines():
        if name.startswith("01-namespace_") and (tree / name).is_file():
            yield yaml.safe_load((tree / name).read_text())


def _digests(namespaces: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The digests of secrets that namespaces carry."""
    found: dict[str, str] = {}
    for each in namespaces:
        annotations = (each.get("metadata") or {}).get("annotations") or {}
        found |= installation.read(annotations.get(installation.SECRETS_ANNOTATION, "{}"))
    return found


def recorded_digests(recording: Recording) -> dict[str, str]:
    """The digests of the secrets that a recording was made with."""
    return _digests(each.content for each in objects.of_kind(objects.recorded(recording), "Namespace"))


def save(
    loaded: LoadedStack,
    kept: RecordedStack,
    confirmed: str | None,
    terminal: Terminal,
    context: str | None = None,
    *,
    started_over: bool = False,
) -> None:
    """Keeps what a recording made, once it is sure that nothing is lost and somebody agreed to what clients notice."""
    digests = recorded_digests(kept.recording)
    if not started_over:
        check_recorded(loaded, digests, context)
    tree = loaded.stack.build
    new = objects.recorded(kept.recording)
    found = reissue.between(objects.outputs(tree), kept.recording.outputs, objects.read(tree, "Secret"), new)
    reissue.agree(loaded, found, confirmed, terminal)
    kept.state.add_digests(digests)
    kept.save()
    note_up(loaded.stack)


# --- what was brought up, and what begins again -------------------------------------------------------------


def note_beginning(stack: Stack) -> None:
    """Remembers, before a passphrase is made, that nothing is encrypted with it: a run that fails has lost nothing."""
    if not _note(stack).exists() and not generated_file(PROJECT, stack.name).exists():
        _write_note(stack, _BEGUN)


def note_up(stack: Stack, backend: str = "") -> None:
    """Remembers, beside the passphrase and away from the checkout, that a stack has been brought up.

    `backend` is Pulumi's, where that keeps the secrets.
    """
    _write_note(stack, f"{_UP} {backend}".strip())


def note_deleted(stack: Stack) -> None:
    """Remembers that a stack's secrets were deleted because somebody asked for it by name."""
    _write_note(stack, _DELETED)


def _note(stack: Stack) -> Path:
    return generated_file(PROJECT, stack.name).with_suffix(".brought-up")


def _noted(stack: Stack) -> tuple[str | None, str]:
    """The last note about a stack, if any, and the Pulumi backend that managed the stack then."""
    note = _note(stack)
    words = note.read_text().split(maxsplit=1) if note.is_file() else []
    return (words[0] if words else None), (words[1].strip() if len(words) > 1 else "")


def _expected(stack: Stack) -> str:
    """Where the secrets of a stack belong, as far as that is known."""
    said, backend = _noted(stack)
    return f"state of it in {backend}" if said == _UP and backend else display_path(stack.state)


def _write_note(stack: Stack, text: str) -> None:
    """Where the folder cannot be written, the rendered files and the cluster have to show what there was."""
    note = _note(stack)
    with suppress(OSError):
        if not note.is_file() or note.read_text().strip() != text:
            note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            note.touch(mode=0o600)
            note.write_text(text + "\n")


def wants_to_start_over(stack: Stack, typed: str | None) -> bool:
    """True if `--start-over` was given. Raises FlatlineError if it names another stack."""
    if typed is not None and typed != stack.name:
        raise FlatlineError(
            f"--start-over names {typed}, but the stack is {stack.name}: nothing was changed",
            f"New secrets for this one are made by `./flatline up --stack {stack.name} --start-over {stack.name}`",
        )
    return typed is not None


@contextmanager
def starting_over(loaded: LoadedStack, terminal: Terminal) -> Iterator[None]:
    """Moves a stack's secrets and files aside, so that new ones are made; back again if that fails.

    Nothing is deleted. Raises FlatlineError where Pulumi keeps the secrets.
    """
    stack = loaded.stack
    backend = engine.managing_backend(stack, engine.installed()[0]) if not stack.backend.is_file() else None
    if backend is not None and not stack.state.exists():
        raise FlatlineError(
            f"Pulumi keeps the secrets of stack {stack.name} ({backend}), so nothing is made again",
            f"To begin again, delete what there is: `./flatline down --stack {stack.name} --delete-data`",
        )
    terminal.warn(
        f"Stack {stack.name} starts over with new secrets. Every client must be built with the new pins; existing "
        "groups and profiles become unreadable, and messages that wait cannot be delivered."
    )
    folder = _free_folder(stack)
    moves = [(path, folder / path.name) for path in (stack.state, stack.backend) if path.exists()]
    moves += [(stack.build, folder / "build")] if stack.build.exists() else []
    if moves:
        folder.mkdir(mode=0o700, parents=True)
    for path, aside in moves:
        path.rename(aside)
    try:
        yield
    except BaseException:
        if not stack.state.exists() and not _engine_has_something(stack):
            for path, aside in moves:
                if not path.exists():
                    aside.rename(path)
            if moves:
                folder.rmdir()
        raise
    if moves:
        terminal.say(f"What was there before is in {display_path(folder)}/.")


def _engine_has_something(stack: Stack) -> bool:
    try:
        return engine.managing_backend(stack, engine.installed()[0]) is not None
    except FlatlineError:
        return False


def _free_folder(stack: Stack) -> Path:
    return next(folder for n in count(1) if not (folder := STATE / f"{stack.name}.earlier-{n}").exists())
