"""`status`: certificates, secrets, images, and the readiness of a named cluster."""

import base64
from argparse import Namespace
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509

from cli import continuity, edge, engine, kubectl, objects, stacks
from cli.choice import named_cluster, named_context
from cli.commands import outputs
from cli.failure import Failure
from cli.objects import SELECTOR
from cli.stacks import Loaded, shown
from cli.terminal import Terminal
from config.images import IMAGES

RENEW_WITHIN = timedelta(days=30)


@dataclass(frozen=True)
class Certificate:
    """A certificate that is in use: what it is for, until when it is valid, how it is renewed."""

    what: str
    ends: datetime
    renewal: str

    def left(self, now: datetime) -> timedelta:
        """Time until it expires; negative afterwards."""
        return self.ends - now


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


def in_use(loaded: Loaded) -> list[Certificate]:
    """The certificates of the last `up`: what clients pin, and what Traefik serves where that can be read."""
    authorities = x509.load_pem_x509_certificates(str(outputs.of(loaded)["caCertificates"]).encode())
    brought = loaded.settings.certificates.provided is not None
    found = [
        Certificate(
            f"authority {_name(each)}",
            each.not_valid_after_utc,
            "bring the next one" if brought else "raise flatline:certificates.authority.epoch (docs/operations.md)",
        )
        for each in authorities
    ]
    pem = _served(loaded)
    if pem is not None:
        leaf = x509.load_pem_x509_certificates(pem)[0]
        renewal = "bring the next one" if brought else "raise flatline:certificates.leaf.epoch by one and run up"
        found.insert(0, Certificate(f"served for {_name(leaf)}", leaf.not_valid_after_utc, renewal))
    return found


def _served(loaded: Loaded) -> bytes | None:
    """The chain that Traefik serves, from the rendered Secret or from the configuration."""
    for each in objects.of_kind(objects.read(loaded.stack.build), "Secret"):
        if each.content.get("type") == "kubernetes.io/tls":
            plain: Mapping[str, str] = each.content.get("stringData", {})
            if "tls.crt" in plain:
                return plain["tls.crt"].encode()
            return base64.b64decode(each.content["data"]["tls.crt"])
    brought = loaded.settings.certificates.provided
    return brought.certificate.encode() if brought else None


def _certificates(loaded: Loaded, terminal: Terminal) -> bool:
    terminal.heading("Certificates")
    try:
        found = in_use(loaded)
    except Failure as none_yet:
        terminal.say(f"None: {none_yet.problem}.")
        return False
    now = datetime.now(UTC)
    terminal.table(
        ("Certificate", "Expires", "Days left"),
        ((each.what, f"{each.ends:%Y-%m-%d}", str(each.left(now).days)) for each in found),
        frozenset({"Days left"}),
    )
    for each in found:
        if each.left(now) < RENEW_WITHIN:
            state = "has expired" if each.left(now) < timedelta() else f"expires in {each.left(now).days} days"
            terminal.say(f"{each.what} {state}: {each.renewal}.", "bold red")
    return any(each.left(now) < timedelta() for each in found)


def _name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string()


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
