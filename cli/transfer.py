"""Carries a stack's secrets from its state file into the Pulumi engine, and back: both ways are the same stack.

Each way has one step after which the other side is in charge, and which happens whole or not at all: `pulumi stack
import` of a checkpoint with every secret, or of one without any resource. Until then nothing but copies is touched.
Whoever is interrupted between that step and the end finds the same secrets on both sides; Pulumi's count then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

import files
from cli import continuity, engine, recording
from cli.before_update import unlock
from cli.engine import Cli
from cli.kubeconfig import Cluster
from cli.objects import Object
from cli.recording import RecordedStack
from cli.stacks import ROOT, LoadedStack, Stack, display_path
from cli.terminal import Terminal
from config.settings import PROJECT
from errors import FlatlineError
from render import checkpoint
from render.checkpoint import ExportedResource
from render.state import State
from render.values import CloudStateValues, StateValues

if TYPE_CHECKING:
    from pulumi import automation

_STAYS = frozenset({"same", "update", "refresh", "read"})
"""Operations that leave a secret that was carried as it is: none, or a change of something else than its value."""


@dataclass(frozen=True)
class Prepared:
    """A checkpoint that is ready to be imported, the state that it is from, the URNs of the secrets in it, and the
    outputs that the stack will have.
    """

    state: State
    content: Mapping[str, Any] = field(repr=False)
    secrets: frozenset[str]
    outputs: Mapping[str, Any]


@contextmanager
def prepared(loaded: LoadedStack, terminal: Terminal) -> Iterator[Prepared]:
    """The checkpoint of a stack whose secrets are in its state, which stays locked and as it is."""
    from pulumi._version import version

    with recording.opened_state(loaded) as state:
        values = CloudStateValues(state) if loaded.in_cloud else StateValues(state)
        kept = recording.recorded(loaded, state, values, terminal)
        content = checkpoint.deployment(
            kept.recording,
            state.crypter,
            state.salt,
            now=datetime.now(UTC),
            engine=str(version),
            exclude=kept.made,  # the engine makes them: they are new with this configuration
            include_kubernetes=not loaded.in_cloud,
        )
        secrets = {
            each["urn"] for each in checkpoint.custom_resources(content) if each["type"].startswith(("random:", "tls:"))
        }
        yield Prepared(state, content, frozenset(secrets), kept.recording.outputs)


def rehearse(
    loaded: LoadedStack, cli: Cli, cluster: Cluster, made: Prepared, terminal: Terminal, *, show: bool
) -> dict[str, int]:
    """How often the engine would do what, which it says on a copy of the stack. With `show` people see it.

    Raises FlatlineError if the engine refuses, or would make a secret again.
    """
    with _copy(loaded, cli, cluster) as stack:
        engine.import_state(cli, stack, made.content, "pulumi does not accept the stack's secrets")
        if not loaded.in_cloud:
            _read_cluster(stack, terminal)
        found = engine.previewed(stack, terminal, "" if show else "Trying it on a copy of the stack")
    steps = [(str(each.urn), str(each.op.value)) for each in found]
    lost = sorted({urn.rpartition("::")[2] for urn, step in steps if urn in made.secrets and step not in _STAYS})
    if lost:
        raise FlatlineError(
            f"Pulumi would make {len(lost)} secrets of stack {loaded.stack.name} again: {', '.join(lost)}",
            "Nothing was changed: the stack is as it was. This is a defect of Flatline, or of a provider's version.",
            f"To go on without the engine: `./flatline up --stack {loaded.stack.name} --engine none`",
        )
    return dict(Counter(step for _, step in steps))


def take_charge(
    loaded: LoadedStack, cli: Cli, cluster: Cluster, made: Prepared, terminal: Terminal, *, agreed: bool
) -> None:
    """Gives the secrets to the engine, and lets it read which of the stack's objects the cluster has.

    Raises FlatlineError; before the engine has the secrets, everything is as it was.
    """
    noted, file = loaded.stack.backend.exists(), loaded.stack.file.read_bytes()
    try:
        with engine.opened(loaded, cli, cluster) as stack:
            unlock(loaded, cli, stack, terminal, agreed)
            there = checkpoint.generated_resources(engine.exported(stack))
            _refuse_two_sets(loaded.stack, _differing(made.state, there))
            if made.secrets <= there.keys():
                return  # an earlier run was interrupted when the engine had them
            engine.note_backend(loaded.stack)
            engine.import_state(cli, stack, made.content, "pulumi does not accept the stack's secrets")
    except BaseException:
        if not noted:
            loaded.stack.backend.unlink(missing_ok=True)
        _put_back(loaded.stack.file, file)
        raise
    if not loaded.in_cloud:
        with engine.opened(loaded, cli, cluster) as stack:
            _read_cluster(stack, terminal)


def applied(stack: automation.Stack) -> list[Object]:
    """The Kubernetes objects that the engine keeps."""
    return [Object(content) for content in checkpoint.kubernetes_objects(engine.exported(stack))]


def expected(loaded: LoadedStack, deployment: Mapping[str, Any], terminal: Terminal) -> Mapping[str, Any]:
    """The outputs that a stack will have, whose secrets a deployment of the engine has.

    What the engine has yet to make has a value here that nobody will use.
    """
    with TemporaryDirectory(prefix="flatline-") as folder:
        path = Path(folder) / "state.json"
        with State(path, project=PROJECT, stack=loaded.stack.name, passphrase=token_hex) as state:
            carried = checkpoint.generated_resources({"version": checkpoint.VERSION, "deployment": deployment})
            return recording.recorded(loaded, state, StateValues(state, exported=carried), terminal).recording.outputs


def retire(stack: Stack) -> Path:
    """Moves the state file aside, once the engine has deployed with its secrets. Overwrites nothing."""
    aside, number = stack.carried, 1
    while aside.exists():
        number += 1
        aside = stack.carried.with_name(f"{stack.carried.name}.{number}")
    stack.state.rename(aside)
    return aside


def check_one_set(loaded: LoadedStack, cli: Cli) -> None:
    """Raises FlatlineError if the state file and the engine hold different values for what may never change."""
    with engine.opened(loaded, cli, None) as stack:
        found = engine.exported(stack)
    with recording.opened_state(loaded) as state:
        _refuse_two_sets(loaded.stack, _differing(state, checkpoint.generated_resources(found)))


@contextmanager
def brought_back(loaded: LoadedStack, cli: Cli, terminal: Terminal) -> Iterator[RecordedStack]:
    """The program with the secrets that the engine keeps. Its `save` makes them the state file's, and empties Pulumi's
    stack. Until then nothing is changed. Raises FlatlineError.
    """
    with engine.opened(loaded, cli, None) as stack:
        unlock(loaded, cli, stack, terminal, agreed=False)
        with terminal.step("Reading the secrets from Pulumi"):
            exported = engine.exported(stack)
        carried = checkpoint.generated_resources(exported)
        with _state_for(loaded, carried) as (state, merged):
            values = StateValues(state, exported=carried)
            kept = recording.recorded(loaded, state, values, terminal)
            values.import_unused()
            again = [urn.rpartition("::")[2] for urn in values.created if urn in carried]
            notices = [f"made again, because the configuration has changed: {', '.join(again)}"] if again else []
            yield _BroughtBack(
                kept.recording,
                state,
                kept.made,
                [*kept.notices, *notices],
                [Object(content) for content in checkpoint.kubernetes_objects(exported)],
                give=lambda: engine.import_state(
                    cli, stack, checkpoint.without_resources(exported), "pulumi does not let the stack go"
                ),
                stack=loaded.stack,
                merged=merged,
            )


def copied_state(loaded: LoadedStack, cli: Cli, terminal: Terminal) -> str:
    """The text of a state file with the secrets that the engine keeps, encrypted; nothing is changed."""
    with engine.opened(loaded, cli, None) as stack, terminal.step("Reading the secrets from Pulumi"):
        carried = checkpoint.generated_resources(engine.exported(stack))
    with TemporaryDirectory(prefix="flatline-") as folder:
        path = Path(folder) / "state.json"
        earlier = loaded.stack.carried if loaded.stack.carried.exists() else None
        with State(
            path,
            project=PROJECT,
            stack=loaded.stack.name,
            passphrase=loaded.passphrase,
            salt=loaded.config.encryption_salt,
            fallback=earlier,
        ) as state:
            values = (CloudStateValues if loaded.in_cloud else StateValues)(state, exported=carried)
            kept = recording.recorded(loaded, state, values, terminal)
            values.import_unused()
            state.add_digests(continuity.recorded_digests(kept.recording))
            state.save()
        return path.read_text(encoding="utf-8")


@dataclass
class _BroughtBack(RecordedStack):
    """A recording with secrets that the engine keeps until `save`."""

    give: Callable[[], None] = field(kw_only=True)
    stack: Stack = field(kw_only=True)
    merged: bool = field(kw_only=True)

    def save(self) -> None:
        """Writes the state file, then takes everything from the engine; leaves both as they were if that fails."""
        before = self.state.path.read_bytes() if self.state.path.exists() else None
        self.state.save()
        try:
            self.give()
        except BaseException:
            if before is None:
                self.state.path.unlink()
            else:
                _put_back(self.state.path, before)
            raise
        self.stack.backend.unlink(missing_ok=True)
        if self.merged:
            self.stack.carried.unlink()


@contextmanager
def _state_for(loaded: LoadedStack, carried: Mapping[str, ExportedResource]) -> Iterator[tuple[State, bool]]:
    """The state file to bring secrets back into: the one that is there, or that was, if it is of the same secrets.

    Whether it is the one that was.
    """
    earlier = loaded.stack.carried if loaded.stack.carried.exists() and not loaded.stack.state.exists() else None
    with recording.opened_state(loaded, earlier) as state:
        differing = _differing(state, carried)
        if earlier is None:
            _refuse_two_sets(loaded.stack, differing)
        if not differing:
            yield state, earlier is not None
            return
    with recording.opened_state(loaded) as state:
        yield state, False


def _differing(state: State, carried: Mapping[str, ExportedResource]) -> list[str]:
    """The names of protected secrets that both have, with different values."""
    kept = state.values()
    return sorted(
        urn.rpartition("::")[2]
        for urn, each in carried.items()
        if each.protect and urn in kept and _clash(kept[urn].outputs, each.generated.outputs)
    )


def _clash(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return any(one[name] != other[name] for name in one.keys() & other.keys())


def _refuse_two_sets(stack: Stack, differing: Sequence[str]) -> None:
    """Raises FlatlineError if anything differs."""
    if not differing:
        return
    some = ", ".join(differing[:3])
    more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
    raise FlatlineError(
        f"stack {stack.name} has two sets of secrets: {display_path(stack.state)}, and one that Pulumi keeps "
        f"({some}{more} differ)",
        "Clients know one of them: compare `./flatline pins` with what they were built with. Nothing was changed.",
        "To go on with Pulumi's, move the file away: "
        f"`mv {display_path(stack.state)} {display_path(stack.state)}.other`",
        "To go on with the file's, remove Pulumi's stack from its backend: "
        f"`pulumi stack rm --force --preserve-config {stack.name}`",
    )


@contextmanager
def _copy(loaded: LoadedStack, cli: Cli, cluster: Cluster) -> Iterator[automation.Stack]:
    """The same stack without any resource, in a backend and with a stack file that nobody else sees."""
    with TemporaryDirectory(prefix="flatline-") as name:
        folder = Path(name)
        (folder / "program").symlink_to(ROOT)
        (folder / "backend").mkdir()
        project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
        project.pop("backend", None)
        project["main"] = "program"
        project["runtime"]["options"]["virtualenv"] = str(ROOT / ".venv")
        (folder / "Pulumi.yaml").write_text(yaml.safe_dump(project))
        (folder / loaded.stack.file.name).write_text(loaded.stack.file.read_text())
        with engine.opened(loaded, cli, cluster, folder, f"file://{folder / 'backend'}") as stack:
            yield stack


def _read_cluster(stack: automation.Stack, terminal: Terminal) -> None:
    """Lets the engine see which of the objects that it believes in are there, and how."""
    with terminal.step("Looking for the stack's objects"), engine.engine_errors("pulumi cannot read the cluster"):
        stack.refresh()


def _put_back(path: Path, content: bytes) -> None:
    """Makes a file what it was, whole or not at all."""
    if path.read_bytes() != content:
        files.write(path, content, path.stat().st_mode & 0o777)
