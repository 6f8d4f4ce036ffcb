"""`status`: certificates, secrets, images, and the readiness of a named cluster."""

from argparse import Namespace
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cli import continuity, edge, engine, expiry, kubectl, redis, stacks
from cli.choice import named_cluster, named_context
from cli.commands import outputs
from cli.failure import Failure
from cli.objects import SELECTOR
from cli.stacks import Loaded, shown
from cli.terminal import Terminal
from config.images import IMAGES


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Prints the status; 1 if a certificate has expired."""
    loaded = stacks.read(arguments.stack)
    terminal.say(f"Stack {loaded.stack.name}, {loaded.settings.domain}", "bold")
    terminal.say(_keeper(loaded))
    expired = _certificates(loaded, terminal)
    _epochs(loaded, terminal)
    _images(loaded, terminal)
    context = named_context(loaded, arguments.context)
    if context is not None:
        _readiness(loaded, context, terminal)
        redis.look(loaded, context, terminal)
        edge.look(loaded, context, terminal)
    return 1 if expired else 0


def _keeper(loaded: Loaded) -> str:
    problem = continuity.judge(continuity.gather(loaded))
    if problem is not None:
        return f"Secrets: {problem.problem}"
    backend, _, _ = engine.keeper(loaded.stack)
    if backend is not None:
        return f"Secrets: Pulumi, {backend}"
    if loaded.stack.state.exists():
        return f"Secrets: {shown(loaded.stack.state)} (engine-less)"
    return "Secrets: none yet; `./flatline up` makes them"


def _certificates(loaded: Loaded, terminal: Terminal) -> bool:
    terminal.heading("Certificates")
    try:
        found = expiry.certificates(loaded, outputs.of(loaded))
    except Failure as none_yet:
        terminal.say(f"None: {none_yet.problem}.")
        return False
    now = datetime.now(UTC)
    terminal.table(
        ("Certificate", "Expires", "Days left"),
        ((each.what, f"{each.ends:%Y-%m-%d}", str(each.left(now).days)) for each in found),
        frozenset({"Days left"}),
    )
    for warning in filter(None, (each.warning(now) for each in found)):
        terminal.say(warning, "bold red")
    return any(each.left(now) < timedelta() for each in found)


def _epochs(loaded: Loaded, terminal: Terminal) -> None:
    terminal.heading("Rotation epochs")
    certificates = loaded.settings.certificates
    rows = []
    if certificates.provided is None:
        rows = [
            ("certificate authority", str(certificates.authority.epoch)),
            ("certificate leaf", str(certificates.leaf.epoch)),
        ]
    secrets = loaded.settings.secrets
    rows += [(name, str(secrets[name].epoch)) for name in sorted(secrets) if secrets[name].epoch > 1]
    terminal.table(("What", "Epoch"), rows, frozenset({"Epoch"}))
    provided = sorted(name for name, setting in secrets.items() if setting.value is not None)
    if provided:
        terminal.say(f"Values of your own: {', '.join(provided)}.")
    terminal.say("Every other secret is at epoch 1.")


def _images(loaded: Loaded, terminal: Terminal) -> None:
    terminal.heading("Images")
    moving = loaded.settings.images.moving()
    if not moving:
        terminal.say("All of them are exact.")
    else:
        terminal.points(
            (f"{IMAGES[name].reference()} has no digest: flatline:images.digests.{name}" for name in moving), "yellow"
        )


def _readiness(loaded: Loaded, context: str, terminal: Terminal) -> None:
    terminal.heading(f"Cluster, context {context}")
    named_cluster(context)
    rows: list[tuple[str, str, str]] = []
    for namespace in (loaded.settings.namespace, loaded.settings.emulator_namespace):
        with terminal.step(f"Asking for the workloads in {namespace}"):
            words = ("-n", namespace, "get", "deployments,statefulsets", "--selector", SELECTOR)
            answer = kubectl.read(context, *words)
        rows += _workloads(answer.get("items", ()))
    if not rows:
        terminal.say("There are no workloads of this stack.")
        return
    terminal.table(("Workload", "Namespace", "Ready"), rows, frozenset({"Ready"}))


def _workloads(items: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Name, namespace and `ready/wanted` of each."""
    return [
        (
            item["metadata"]["name"],
            item["metadata"]["namespace"],
            f"{item.get('status', {}).get('readyReplicas', 0)}/{item['spec'].get('replicas', 1)}",
        )
        for item in items
    ]
