"""Code that `migrate export`, `load` and `verify` share: access to a stack's stores, progress, and the result."""

import base64
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cli import document, kubectl
from cli.choice import named_cluster, named_context
from cli.forms.checks import MigrateVerify
from cli.port_forward import PortForward
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from errors import FlatlineError
from migration import endpoints
from migration.archive import Archive
from migration.endpoints import Addresses, Connection
from migration.records import Collection, Kind
from migration.transfer import Outcome
from migration.transfer import Progress as ProgressReport

AGAIN_SECONDS = 15.0
NOUNS: dict[Kind, str] = {"dynamodb": "table", "bigtable": "Bigtable table", "objects": "bucket"}


@contextmanager
def opened(arguments: Namespace, loaded: LoadedStack, terminal: Terminal) -> Iterator[list[Collection]]:
    """The stores of a stack, over the addresses that were typed, or those of its cluster or cloud."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # port-forwards are ended, archives left restartable
    names = endpoints.physical_names(loaded.settings, _typed_buckets(arguments))
    with ExitStack() as held:
        connection = _connection(arguments, loaded, terminal, held)
        from migration import stores  # and with it the clouds' SDKs: not before everything else is right

        yield held.enter_context(stores.opened(names, connection, readers=arguments.parallel))


def _typed_buckets(arguments: Namespace) -> dict[str, str]:
    typed = {"pre-keys": arguments.pre_keys_bucket, "cdn0": arguments.cdn0_bucket}
    return {role: name for role, name in typed.items() if name is not None}


def _connection(arguments: Namespace, loaded: LoadedStack, terminal: Terminal, held: ExitStack) -> Connection:
    typed = Addresses(
        dynamodb=arguments.dynamodb,
        s3=arguments.s3 or arguments.dynamodb,
        cdn0=arguments.cdn0 or arguments.s3 or arguments.dynamodb,
        bigtable=arguments.bigtable,
    )
    connection = endpoints.connection(loaded.settings, region=arguments.region, account=arguments.account, at=typed)
    context = named_context(loaded, arguments.context)
    emulators = endpoints.emulators(loaded.settings)
    if typed:
        if arguments.context is not None:
            raise FlatlineError("--context and the stores' addresses exclude each other", "Type one or the other.")
        if emulators and not (typed.dynamodb and typed.bigtable):
            raise FlatlineError("--dynamodb and --bigtable go together", "Type the addresses of both.")
        terminal.note("Whether the services are stopped cannot be told from addresses: see to it that they are.")
        return connection
    if context is None and emulators:
        raise FlatlineError(
            f"nothing tells where the stores of stack {loaded.stack.name} are",
            "Name its cluster (--context, or flatline:target.context in the stack's file), or the stores' addresses "
            "(--dynamodb URL --bigtable HOST:PORT).",
        )
    if context is None:
        terminal.note("No cluster is named, so nobody looks whether the services are stopped: see to it that they are.")
        return connection
    named_cluster(context)
    if not arguments.live:
        _refuse_while_running(context, loaded)
    forwards = {
        service: held.enter_context(PortForward(context, service.namespace, service.name, service.port))
        for service in dict.fromkeys(emulators.values())
    }
    if not forwards:
        return connection
    found = {name: forwards[service].address for name, service in emulators.items()}
    return replace(
        connection,
        object_credentials=endpoints.object_credentials(_root_secret(context, loaded.settings.namespace)),
        at=Addresses(
            dynamodb=f"http://{found['dynamodb']}",
            s3=f"http://{found['s3']}",
            cdn0=f"http://{found['cdn0']}",
            bigtable=found["bigtable"],
        ),
    )


def _root_secret(context: str, namespace: str) -> str:
    """The secret key of the object store that runs now, as its pods read it. Raises FlatlineError."""
    where = ("--namespace", namespace)
    pod = kubectl.read(context, "get", "deployment.apps", endpoints.OBJECT_STORE, *where)["spec"]["template"]["spec"]
    names = [each["secret"]["secretName"] for each in pod["volumes"] if each["name"] == endpoints.OBJECT_STORE_SECRET]
    if not names:
        problem = f"the deployment {endpoints.OBJECT_STORE} has no volume {endpoints.OBJECT_STORE_SECRET}"
        raise FlatlineError(problem, "Bring the stack up first, with this release.")
    data = kubectl.read(context, "get", "secret", names[0], *where)["data"]
    return base64.b64decode(data[endpoints.ROOT_SECRET_FILE]).decode()


def _refuse_while_running(context: str, loaded: LoadedStack) -> None:
    """Raises FlatlineError, with the commands that stop them, while services run that write to the stores."""
    namespace = loaded.settings.namespace
    found = kubectl.read(context, "get", "deployments.apps,cronjobs.batch", "--namespace", namespace)["items"]
    running = [each for each in found if _name(each) in endpoints.WRITERS and _pods(each)]
    scheduled = [each for each in found if each["kind"] == "CronJob" and not each["spec"].get("suspend")]
    if not running and not scheduled:
        return
    stop = kubectl.command(context, "--namespace", namespace)
    commands = []
    if running:
        commands.append([*stop, "scale", *(f"deployment/{_name(each)}" for each in running), "--replicas", "0"])
    if scheduled:
        suspend = ["--patch", """'{"spec":{"suspend":true}}'"""]
        commands += [[*stop, "patch", f"cronjob/{_name(each)}", *suspend] for each in scheduled]
    names = ", ".join(_name(each) for each in (*running, *scheduled))
    raise FlatlineError(
        f"these are not stopped, and may write while data is moved: {names}",
        *(" ".join(words) for words in commands),
        "Whisper's persister comes last, five minutes after the server (docs/migration.md). --live goes on regardless.",
    )


def _name(found: dict[str, Any]) -> str:
    return str(found["metadata"]["name"])


def _pods(deployment: dict[str, Any]) -> int:
    """Those that are wanted, and those that are still there."""
    wanted: int = deployment.get("spec", {}).get("replicas", 1)
    return wanted + int(deployment.get("status", {}).get("replicas", 0))


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
        self._told = time.monotonic()

    def __call__(self, doing: str, collection: Collection, done: int, of: int | None) -> None:
        if time.monotonic() - self._told >= AGAIN_SECONDS:
            self._told = time.monotonic()
            count = f"{done} of {of}" if of is not None else str(done)
            print(f"{_doing(doing, collection)}: {count}", file=sys.stderr, flush=True)


def _doing(doing: str, collection: Collection) -> str:
    return f"{doing} {NOUNS[collection.kind]} {collection.name}"


def report_origin(archive: Archive, terminal: Terminal) -> None:
    """Shows the origin of an archive, on standard error."""
    manifest = archive.manifest
    terminal.note(f"Archive of stack {manifest.stack}, made {manifest.created}")
    if manifest.live:
        terminal.warn("it was made with --live: services may have written while it was made")


def show_document(stack: str, outcomes: Sequence[Outcome], terminal: Terminal) -> int:
    """The outcomes of a verification for programs; and the exit status."""
    collections = [
        {
            "kind": outcome.kind,
            "name": outcome.name,
            "archived": outcome.archived,
            "expired": outcome.expired,
            "missing": outcome.missing,
            "differing": outcome.differing,
            "others": outcome.others,
            "verified": outcome.verified,
        }
        for outcome in outcomes
    ]
    document.show(MigrateVerify, {"stack": stack, "collections": collections}, terminal)
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
