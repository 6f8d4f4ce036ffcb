"""Code that `backup` and `restore` share: access to a stack's stores, progress, and the result."""

import base64
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cli import cluster_stores, document, kubectl, pausing
from cli.choice import named_cluster, named_context
from cli.forms import checks
from cli.port_forward import PortForward
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from config.schema.backup import NAME as BACKUP
from errors import FlatlineError
from migration import endpoints
from migration.endpoints import Addresses, Connection
from migration.records import Collection, Kind
from migration.transfer import Outcome
from migration.transfer import Progress as ProgressReport

AGAIN_SECONDS = 15.0
NOUNS: dict[Kind, str] = {
    "dynamodb": "table",
    "bigtable": "Bigtable table",
    "objects": "bucket",
    "secrets": "Secret",
    "files": "volume",
}


def cluster_of(arguments: Namespace, loaded: LoadedStack) -> str | None:
    """The context of the cluster, if one is named. Raises FlatlineError where neither it nor addresses are."""
    typed = _typed(arguments)
    if typed and arguments.context is not None:
        raise FlatlineError("--context and the stores' addresses exclude each other", "Type one or the other.")
    emulators = endpoints.emulators(loaded.settings)
    if typed and emulators and not (typed.dynamodb and typed.bigtable):
        raise FlatlineError("--dynamodb and --bigtable go together", "Type the addresses of both.")
    context = None if typed else named_context(loaded, arguments.context)
    if context is None and emulators and not typed:
        raise FlatlineError(
            f"nothing tells where the stores of stack {loaded.stack.name} are",
            "Name its cluster (--context, or flatline:target.context in the stack's file), or the stores' addresses "
            "(--dynamodb URL --bigtable HOST:PORT).",
        )
    if context is not None:
        named_cluster(context)
    elif arguments.pause:
        raise FlatlineError("--pause stops services, and no cluster is named", "Name its context: --context.")
    return context


def running_writers(context: str | None, loaded: LoadedStack, terminal: Terminal) -> list[str]:
    """The services that run and write to the stores. Says so where nobody can tell."""
    if context is None:
        terminal.note("No cluster is named, so nobody looks whether the services are stopped: see to it that they are.")
        return []
    running, scheduled = pausing.writers(context, loaded.settings.namespace)
    return [name for each in (*running, *scheduled) if (name := pausing.name(each)) != BACKUP]


def refuse_while_running(names: Sequence[str]) -> None:
    """Raises FlatlineError while services run that write to the stores."""
    if names:
        raise FlatlineError(
            f"these are not stopped, and may write while data is restored: {', '.join(names)}",
            "Add --pause: it stops them, and starts them again at the end.",
        )


@contextmanager
def opened(
    arguments: Namespace, loaded: LoadedStack, context: str | None, *, attachments: bool
) -> Iterator[list[Collection]]:
    """The stores of a stack, over the addresses that were typed, or those of its cluster or cloud."""
    connection = endpoints.connection(
        loaded.settings, region=arguments.region, account=arguments.account, at=_typed(arguments)
    )
    buckets = _typed_buckets(arguments)
    with at(loaded, context, connection, buckets, attachments=attachments, readers=arguments.parallel) as collections:
        yield collections


@contextmanager
def at(
    loaded: LoadedStack,
    context: str | None,
    connection: Connection,
    buckets: Mapping[str, str],
    *,
    attachments: bool,
    readers: int,
) -> Iterator[list[Collection]]:
    """The stores of a stack at a connection, or at its emulators in a cluster. `buckets` have other names, by role."""
    names = endpoints.physical_names(loaded.settings, buckets)
    with ExitStack() as held:
        if context is not None and endpoints.emulators(loaded.settings):
            connection = forwarded(loaded, context, connection, held)
        own = cluster_stores.of(loaded, context, attachments=attachments) if context is not None else []
        from migration import stores  # and with it the clouds' SDKs: not before everything else is right

        yield [*held.enter_context(stores.opened(names, connection, readers=readers)), *own]


def _typed_buckets(arguments: Namespace) -> dict[str, str]:
    typed = {"pre-keys": arguments.pre_keys_bucket, "cdn0": arguments.cdn0_bucket}
    return {role: name for role, name in typed.items() if name is not None}


def _typed(arguments: Namespace) -> Addresses:
    return Addresses(
        dynamodb=arguments.dynamodb,
        s3=arguments.s3 or arguments.dynamodb,
        cdn0=arguments.cdn0 or arguments.s3 or arguments.dynamodb,
        bigtable=arguments.bigtable,
    )


def forwarded(
    loaded: LoadedStack, context: str, connection: Connection, held: ExitStack, *, without: Iterable[str] = ()
) -> Connection:
    """The connection to the emulators of a stack, through port-forwards to all services but those of some names."""
    emulators = {
        role: service for role, service in endpoints.emulators(loaded.settings).items() if service.name not in without
    }
    forwards = {
        service: held.enter_context(PortForward(context, service.namespace, service.name, service.port))
        for service in dict.fromkeys(emulators.values())
    }
    found = {role: forwards[service].address for role, service in emulators.items()}
    return replace(
        connection,
        object_credentials=endpoints.object_credentials(root_secret(context, loaded.settings.namespace)),
        at=Addresses(
            dynamodb=f"http://{found['dynamodb']}",
            s3=f"http://{found['s3']}",
            cdn0=f"http://{found['cdn0']}",
            bigtable=found.get("bigtable"),
        ),
    )


def root_secret(context: str, namespace: str) -> str:
    """The secret key of the object store that runs now, as its pods read it. Raises FlatlineError."""
    data = kubectl.mounted_secret(context, namespace, endpoints.OBJECT_STORE, endpoints.OBJECT_STORE_SECRET)
    return base64.b64decode(data[endpoints.ROOT_SECRET_FILE]).decode()


@contextmanager
def shown_progress() -> Iterator[ProgressReport]:
    """Tells what goes on, on standard error: a bar on a terminal, else a line now and then."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        yield _Lines()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        shown = ""

        def report(doing: str, collection: Collection, done: int, of: int | None) -> None:
            nonlocal shown
            if (text := _doing(doing, collection)) != shown:
                shown = text
                progress.reset(task, description=text, total=of)
            progress.update(task, completed=done, total=of)

        yield report


class _Lines:
    """A line whenever the last one is `AGAIN_SECONDS` old."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def __call__(self, doing: str, collection: Collection, done: int, of: int | None) -> None:
        if time.monotonic() - self._shown >= AGAIN_SECONDS:
            self._shown = time.monotonic()
            count = f"{done} of {of}" if of is not None else str(done)
            print(f"{_doing(doing, collection)}: {count}", file=sys.stderr, flush=True)


def _doing(doing: str, collection: Collection) -> str:
    return f"{doing} {NOUNS[collection.kind]} {collection.name}"


def show_document(stack: str, outcomes: Sequence[Outcome], terminal: Terminal) -> int:
    """The outcomes of a verification for programs; and the exit status."""
    names = checks.Collection.model_fields
    collections = [{name: getattr(outcome, name) for name in names} for outcome in outcomes]
    document.show(checks.Restore, {"stack": stack, "collections": collections}, terminal)
    return 0 if all(outcome.verified for outcome in outcomes) else 1


def show(outcomes: Sequence[Outcome], terminal: Terminal, *, loaded: bool = False) -> int:
    """The outcomes of a verification, or of a load with its own, as a table; and the exit status."""
    columns = ["Collection", "Archive", "Expired", "Missing", "Differing", "Others", "Verified"]
    rows = [
        [
            f"{NOUNS[outcome.kind]} {outcome.name}",
            *map(str, (outcome.archived, outcome.expired, outcome.missing, outcome.differing, outcome.others)),
            "yes" if outcome.verified else "NO",
        ]
        for outcome in outcomes
    ]
    if loaded:
        columns[3:3] = ["Written", "Kept"]
        for row, outcome in zip(rows, outcomes, strict=True):
            row[3:3] = [str(outcome.written), str(outcome.kept)]
    terminal.table(columns, rows, frozenset(columns[1:-1]))
    failed = [outcome.name for outcome in outcomes if not outcome.verified]
    if failed:
        terminal.fail(f"not as in the archive: {', '.join(failed)}")
        return 1
    records = sum(outcome.archived - outcome.expired for outcome in outcomes)
    terminal.say(f"{records} records in {len(outcomes)} collections: counts and checksums are those of the archive.")
    return 0
