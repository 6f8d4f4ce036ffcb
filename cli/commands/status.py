"""`status`: certificates, secrets, images, and the readiness of a named cluster."""

from argparse import Namespace
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cli import (
    continuity,
    document,
    edge,
    engine,
    expiry,
    invitations,
    kubectl,
    published_images,
    redis,
    skopeo,
    stacks,
    watch,
)
from cli.choice import named_cluster, named_context
from cli.commands import outputs
from cli.expiry import Certificate
from cli.forms.stack import Status
from cli.objects import SELECTOR
from cli.stacks import LoadedStack, display_path
from cli.terminal import Terminal
from config.images import IMAGES, ImageName
from config.registration import VERIFIES_NOTHING
from errors import FlatlineError

REGISTRY_SECONDS = 10.0


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Prints the status; 1 if a certificate has expired."""
    loaded = stacks.read(arguments.stack)
    if arguments.json:
        return _document(loaded, named_context(loaded, arguments.context), terminal)
    terminal.say(f"Stack {loaded.stack.name}, {loaded.settings.domain}", "bold")
    terminal.say(_keeper(loaded))
    _registration(loaded, terminal)
    expired = _certificates(loaded, terminal)
    _epochs(loaded, terminal)
    _images(loaded, terminal)
    context = named_context(loaded, arguments.context)
    if arguments.watch:
        if context is None:
            raise FlatlineError("--watch needs a cluster: name it with --context")
        named_cluster(context)
        watch.until_ready(lambda: _as_objects(_items(loaded, context, terminal)), terminal)
    elif context is not None:
        _readiness(loaded, context, terminal)
        redis.look(loaded, context, terminal)
        invitations.look(loaded, context, terminal)
        edge.look(loaded, context, terminal)
    return 1 if expired else 0


def _document(loaded: LoadedStack, context: str | None, terminal: Terminal) -> int:
    """The status for programs. What is wrong at Traefik goes to standard error, as warnings."""
    problem, backend = _kept(loaded)
    now = datetime.now(UTC)
    try:
        certificates = expiry.certificates(loaded, outputs.of(loaded))
    except FlatlineError:
        certificates = []
    cluster = None
    if context is not None:
        named_cluster(context)
        workloads = _as_objects(_items(loaded, context, terminal))
        cluster = {
            "context": context,
            "workloads": workloads,
            "redis": redis.found(loaded, context, terminal),
            "registration": invitations.found(loaded, context, terminal),
        }
        edge.look(loaded, context, terminal, briefly=True)
    content = {
        "stack": loaded.stack.name,
        "domain": loaded.settings.domain,
        "secrets": {
            "keptBy": backend or (display_path(loaded.stack.state) if loaded.stack.state.exists() else None),
            "problem": problem,
        },
        "registration": loaded.settings.registration.kind,
        "certificates": [
            {"what": each.what, "expires": each.ends.isoformat(), "daysLeft": each.left(now).days}
            for each in certificates
        ],
        "epochs": dict(_raised(loaded)),
        "ownValues": _provided(loaded),
        "imagesWithoutDigest": [
            {"name": name, "reference": IMAGES[name].reference()} for name in loaded.settings.moving_images
        ],
        "imagesMoved": [{"name": name, "digest": now} for name, now in _tags_moved(loaded, terminal)],
        "cluster": cluster,
    }
    document.show(Status, content, terminal)
    return 1 if _expired(certificates, now) else 0


def _kept(loaded: LoadedStack) -> tuple[str | None, str | None]:
    """The problem with the secrets, if any, and the Pulumi backend that manages them."""
    problem = continuity.judge(continuity.gather(loaded))
    return (problem.problem, None) if problem is not None else (None, engine.managing_cli(loaded.stack)[0])


def _keeper(loaded: LoadedStack) -> str:
    problem, backend = _kept(loaded)
    if problem is not None:
        return f"Secrets: {problem}"
    if backend is not None:
        return f"Secrets: Pulumi, {backend}"
    if loaded.stack.state.exists():
        return f"Secrets: {display_path(loaded.stack.state)} (engine-less)"
    return "Secrets: none yet; `./flatline up` makes them"


def _registration(loaded: LoadedStack, terminal: Terminal) -> None:
    kind = loaded.settings.registration.kind
    terminal.say(f"Registration: {kind}")
    if kind == "development":
        terminal.warn(VERIFIES_NOTHING)


def _certificates(loaded: LoadedStack, terminal: Terminal) -> bool:
    terminal.heading("Certificates")
    try:
        found = expiry.certificates(loaded, outputs.of(loaded))
    except FlatlineError as none_yet:
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
    return _expired(found, now)


def _expired(found: Iterable[Certificate], now: datetime) -> bool:
    return any(each.left(now) < timedelta() for each in found)


def _epochs(loaded: LoadedStack, terminal: Terminal) -> None:
    terminal.heading("Rotation epochs")
    rows = [(name, str(epoch)) for name, epoch in _raised(loaded)]
    terminal.table(("What", "Epoch"), rows, frozenset({"Epoch"}))
    provided = _provided(loaded)
    if provided:
        terminal.say(f"Values of your own: {', '.join(provided)}.")
    terminal.say("Every other secret is at epoch 1.")


def _raised(loaded: LoadedStack) -> list[tuple[str, int]]:
    """The epochs of the certificates that are made here, and those of secrets that are not the first."""
    certificates, secrets = loaded.settings.certificates, loaded.settings.secrets
    made = [("certificate authority", certificates.authority.epoch), ("certificate leaf", certificates.leaf.epoch)]
    raised = [(name, secrets[name].epoch) for name in sorted(secrets) if secrets[name].epoch > 1]
    return [*(made if certificates.provided is None else []), *raised]


def _provided(loaded: LoadedStack) -> list[str]:
    return sorted(name for name, setting in loaded.settings.secrets.items() if setting.value is not None)


def _images(loaded: LoadedStack, terminal: Terminal) -> None:
    terminal.heading("Images")
    moving = loaded.settings.moving_images
    if not moving:
        terminal.say("All of them are exact.")
    else:
        terminal.points(
            (f"{IMAGES[name].reference()} has no digest: flatline:images.digests.{name}" for name in moving), "yellow"
        )

    for name, now in _tags_moved(loaded, terminal):
        tag = published_images.tagged(loaded.settings, name)
        terminal.points([f"{tag} has moved on to {now}: `./flatline images --lock` takes it"])


def _tags_moved(loaded: LoadedStack, terminal: Terminal) -> list[tuple[ImageName, str]]:
    """Of the images that only a digest makes exact, those whose tag is another one now. Needs skopeo."""
    images = loaded.settings.images
    pinned = [name for name in loaded.settings.used_images if IMAGES[name].moving and name in images.digests]
    if not pinned or not skopeo.is_installed():
        return []
    found = []
    with terminal.step("Asking the registries"):
        for name in pinned:
            try:
                now = published_images.moved(loaded.settings, name, REGISTRY_SECONDS)
            except FlatlineError as problem:
                terminal.warn(f"Nobody knows whether its tag has moved: {problem.problem}")
                break
            found += [(name, now)] if now is not None else []
    return found


def _readiness(loaded: LoadedStack, context: str, terminal: Terminal) -> None:
    terminal.heading(f"Cluster, context {context}")
    named_cluster(context)
    workloads = _as_objects(_items(loaded, context, terminal))
    if not workloads:
        terminal.say("There are no workloads of this stack.")
        return
    rows = [(each["name"], each["namespace"], f"{each['ready']}/{each['wanted']}") for each in workloads]
    terminal.table(("Workload", "Namespace", "Ready"), rows, frozenset({"Ready"}))


def _items(loaded: LoadedStack, context: str, terminal: Terminal) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for namespace in loaded.settings.namespaces:
        with terminal.step(f"Asking for the workloads in {namespace}"):
            words = ("-n", namespace, "get", "deployments,statefulsets", "--selector", SELECTOR)
            found += kubectl.read(context, *words).get("items", ())
    return found


def _as_objects(items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Name, namespace, and how many pods are ready and wanted, of each."""
    return [
        {
            "name": item["metadata"]["name"],
            "namespace": item["metadata"]["namespace"],
            "ready": item.get("status", {}).get("readyReplicas", 0),
            "wanted": item["spec"].get("replicas", 1),
        }
        for item in items
    ]
