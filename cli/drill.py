"""`backup --drill`: an archive is restored into a throw-away namespace with stores of its own, and compared."""

import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

from cli import archives, installation, kubectl, objects, recording, stacks, stores
from cli.choice import named_cluster, named_context
from cli.cluster_stores import ATTACHMENTS
from cli.objects import Object
from cli.stacks import LoadedStack, Passphrase
from cli.terminal import Terminal
from config.loading import load
from config.settings import PROJECT
from errors import FlatlineError
from migration import endpoints, transfer
from migration.archive import Archive
from migration.endpoints import Addresses
from render.state import State
from render.values import SeededValues

WORKLOADS = frozenset({"localstack", "object-store", "cbtemulator", "registration"})
"""The workloads that hold data; CDN3 as well where the archive has attachments."""

_RUNNING = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
_LEFT_OUT = frozenset({"CronJob", "HorizontalPodAutoscaler", "IngressRoute", "Middleware", "TLSOption", "TLSStore"})
_READY_SECONDS = 600


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Restores the newest archive of a place and shows the comparison; 1 if something is not as in the archive."""
    began = time.monotonic()
    loaded = stacks.read(arguments.stack)
    context = named_context(loaded, arguments.context)
    if context is None:
        raise FlatlineError(
            "no cluster is named, and a drill needs one", f"Name its context: --context, or {PROJECT}:target.context."
        )
    named_cluster(context)
    source = archives.last(arguments.to, loaded.stack.name)
    with archives.reader(source, None, loaded.stack, terminal) as archive:
        archive.check()
        terminal.say(f"Drill with {source}, made {archive.manifest.created}")
        _check_state(loaded, archive, terminal)
        trial = _trial(loaded)
        with _deployed(trial, archive, context, terminal):
            outcomes = _restored(trial, archive, context)
    status = stores.show(outcomes, terminal, loaded=True)
    if status == 0:
        terminal.say(f"The archive can be restored: done in {time.monotonic() - began:.0f} s, and removed again.")
    return status


def _check_state(loaded: LoadedStack, archive: Archive, terminal: Terminal) -> None:
    """Raises FlatlineError if the archive's secrets do not open with the passphrase, or are damaged."""
    text = archive.manifest.documents.get(installation.STATE)
    if text is None:
        terminal.warn(
            "the archive has no secrets of the stack: to restore it takes the stack's file and secrets from elsewhere. "
            "If the cluster wrote it: `./flatline backup --documents`"
        )
        return
    with TemporaryDirectory(prefix="flatline-") as folder:
        path = Path(folder) / "state.json"
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        passphrase = Passphrase(loaded.stack, may_be_made=False)
        with State(path, project=PROJECT, stack=archive.manifest.stack, passphrase=passphrase) as state:
            state.values()


def _trial(loaded: LoadedStack) -> LoadedStack:
    """A local stack in namespaces of its own, with the images and the storage class of the stack, and defaults."""
    config = loaded.config.config
    kept = {key: text for key, text in config.items() if key in {f"{PROJECT}:images", f"{PROJECT}:domain"}}
    target = '{"kind": "local"}' if loaded.in_cloud else config[f"{PROJECT}:target"]
    kept |= {f"{PROJECT}:target": target, f"{PROJECT}:namespace": f"{loaded.settings.namespace}-drill"}
    return replace(loaded, config=replace(loaded.config, config=kept, secret_keys=()), settings=load(kept))


@contextmanager
def _deployed(trial: LoadedStack, archive: Archive, context: str, terminal: Terminal) -> Iterator[None]:
    """While this lasts the stores of the trial run, with secrets that nobody keeps. Then their namespaces go."""
    namespaces = [trial.settings.namespace, trial.settings.emulator_namespace]
    there = {each["metadata"]["name"] for each in kubectl.read(context, "get", "namespaces")["items"]}
    if left := [each for each in namespaces if each in there]:
        raise FlatlineError(
            f"namespace {', '.join(left)} is on context {context} already, perhaps of a drill that was killed",
            "If nothing in it matters, delete it:",
            commands=[kubectl.command(context, "delete", "namespace", *left)],
        )
    names = WORKLOADS | ({ATTACHMENTS.workload} if ATTACHMENTS.name in archive.manifest.parts["files"] else set())
    wanted = _wanted(trial, names, terminal)
    try:
        with terminal.step(f"Bringing up stores in namespace {namespaces[0]}"):
            for group in (objects.of_kind(wanted, "Namespace"), [each for each in wanted if each.kind != "Namespace"]):
                items = {"items": [each.content for each in group], "metadata": {"name": "of the drill"}}
                kubectl.apply(context, {"apiVersion": "v1", "kind": "List", **items}, manager=kubectl.FIELD_MANAGER)
            for words in _waits(wanted):
                with kubectl.streamed(context, *words) as lines:
                    list(lines)
        yield
    finally:
        with terminal.step("Removing the namespaces of the drill"):
            words = ("delete", "namespace", "--ignore-not-found", *namespaces)
            with kubectl.streamed(context, *words) as lines:
                list(lines)


def _wanted(trial: LoadedStack, names: frozenset[str], terminal: Terminal) -> list[Object]:
    """The objects of the stores: all that is configuration, and the workloads of some names."""
    values = SeededValues(token_hex(), start=datetime.now(UTC))
    found = objects.recorded(recording.recorded_with(trial, values, terminal))
    return [
        each
        for each in found
        if each.kind not in _LEFT_OUT
        and (each.kind not in _RUNNING or each.name in names)
        and (each.kind != "Job" or any(each.role.startswith(name) for name in names))
    ]


def _waits(wanted: list[Object]) -> Iterator[list[str]]:
    limit = ("--timeout", f"{_READY_SECONDS}s")
    for each in objects.of_kind(wanted, "Deployment", "StatefulSet"):
        yield ["-n", each.namespace, "rollout", "status", f"{each.resource}/{each.name}", *limit]
    for each in objects.of_kind(wanted, "Job"):
        yield ["-n", each.namespace, "wait", f"job/{each.name}", "--for", "condition=Complete", *limit]


def _restored(trial: LoadedStack, archive: Archive, context: str) -> list[transfer.Outcome]:
    attachments = ATTACHMENTS.name in archive.manifest.parts["files"]
    connection = endpoints.connection(trial.settings, region=None, account=None, at=Addresses())
    with (
        stores.at(trial, context, connection, {}, attachments=attachments, readers=4) as collections,
        stores.shown_progress() as progress,
    ):
        return transfer.load(collections, archive, time.time(), progress, into_non_empty=False)
