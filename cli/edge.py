"""Checks the limits at the edge of a cluster: Traefik supports them, and sees the addresses that they count by.

A Service of type LoadBalancer or NodePort with `externalTrafficPolicy: Cluster`, which is what Kubernetes sets and what
k3s leaves, replaces the address of each client by that of a node.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import indent

import yaml

from cli import kubectl
from cli.doctor.model import Item, labels_of
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from errors import FlatlineError

OUTSIDE = {"LoadBalancer", "NodePort"}
K3S_NAMESPACE, K3S_RELEASE = "kube-system", "traefik"
HELM_CHART_CONFIGS = "helmchartconfigs.helm.cattle.io"
MIDDLEWARES = "middlewares.traefik.io"
VALUES = {"service": {"spec": {"externalTrafficPolicy": "Local"}}}
PATCH = '{"spec":{"externalTrafficPolicy":"Local"}}'


@dataclass(frozen=True)
class Hiding:
    """A Service that hides clients' addresses from Traefik.

    `configured` tells of k3s' Traefik whether its HelmChartConfig exists already; it is None for any other Traefik.
    """

    namespace: str
    name: str
    configured: bool | None


def look(loaded: LoadedStack, context: str, terminal: Terminal, *, briefly: bool = False) -> None:
    """Says which Service of Traefik hides clients, what that means, and the command that ends it; nothing if none does.

    `briefly`: a line for each, because an earlier run has said the rest.
    Says as well if Traefik is too old, and what the cluster does not let this user read: silence means all is well.
    """
    try:
        with terminal.step("Looking at Traefik's Service"):
            found = hiding(loaded, context)
            known = knows_limits(context)
    except FlatlineError as problem:
        unknown(problem.in_a_line, terminal)
        return
    if not known:
        terminal.warn(
            "the definitions of the cluster's Traefik lack ipv6Subnet: it is older than 3.2, and `kubectl apply` will "
            "refuse the limits for clients. Upgrade Traefik (on k3s: upgrade k3s)."
        )
    for service in found:
        if briefly:
            status = shlex.join(["./flatline", "status", "--stack", loaded.stack.name, "--context", context])
            where = f"{service.namespace}/{service.name}"
            terminal.warn(f"Traefik's Service {where} hides the addresses of clients: `{status}` says how to mend it")
        else:
            _explain(service, loaded, context, terminal)


def unknown(reason: str, terminal: Terminal) -> None:
    """Says that nobody looked."""
    terminal.warn(f"whether Traefik sees the addresses of clients is not known: {reason}")


def hiding(loaded: LoadedStack, context: str) -> list[Hiding]:
    """The Services that hide clients from Traefik. Raises FlatlineError when the cluster cannot be read."""
    ingress = loaded.settings.ingress
    there = kubectl.read(context, "-n", ingress.namespace, "get", "services,pods").get("items", ())
    labels = [labels_of(each) for each in there if each.get("kind") == "Pod"]
    pods = [each for each in labels if ingress.pod_labels.items() <= each.items()]
    return [_told(each, context) for each in there if each.get("kind") == "Service" and hides(each, pods)]


def knows_limits(context: str) -> bool:
    """True if Traefik's definitions have the fields of the limits, or if there are no definitions yet.

    Raises FlatlineError when the cluster cannot be read.
    """
    found = _named(context, "customresourcedefinitions", MIDDLEWARES)
    return all(map(has_limits, found))


def has_limits(definition: Item) -> bool:
    """True if Traefik's definition of middlewares has the fields of the limits: that is so from version 3.2 on."""
    return "ipv6Subnet" in json.dumps(definition)


def by_k3s(service: Item) -> bool:
    """True if a Service is that of the Traefik which k3s brings, by the release of Helm that made it."""
    metadata = service["metadata"]
    release = (metadata.get("annotations") or {}).get("meta.helm.sh/release-name")
    return (metadata["namespace"], release) == (K3S_NAMESPACE, K3S_RELEASE)


def selects(service: Item, pods: Sequence[Mapping[str, str]]) -> bool:
    """True if a Service selects one of the pods by its labels."""
    selector = service.get("spec", {}).get("selector") or {}
    return bool(selector) and any(selector.items() <= labels.items() for labels in pods)


def hides(service: Item, pods: Sequence[Mapping[str, str]]) -> bool:
    """True if a Service in front of the pods hides the addresses of clients from them."""
    spec = service.get("spec", {})
    hidden = spec.get("externalTrafficPolicy", "Cluster") == "Cluster"
    return selects(service, pods) and spec.get("type") in OUTSIDE and hidden


def _told(service: Item, context: str) -> Hiding:
    configured = None
    if by_k3s(service) and _named(context, "customresourcedefinitions", HELM_CHART_CONFIGS):
        configured = bool(_named(context, HELM_CHART_CONFIGS, K3S_RELEASE, "-n", K3S_NAMESPACE))
    return Hiding(service["metadata"]["namespace"], service["metadata"]["name"], configured)


def _named(context: str, kind: str, name: str, *where: str) -> list[Item]:
    """The object of that name, or none: that an object is missing is an error of kubectl's, an empty list is not."""
    words = (*where, "get", kind, "--field-selector", f"metadata.name={name}")
    return list(kubectl.read(context, *words).get("items", ()))


def _explain(service: Hiding, loaded: LoadedStack, context: str, terminal: Terminal) -> None:
    in_flight = loaded.settings.ingress.in_flight
    terminal.heading("Traefik does not see the addresses of clients")
    terminal.say(
        f"Its Service {service.namespace}/{service.name} has externalTrafficPolicy: Cluster, so every client has the "
        "address of a node. Each limit for a client address is then one limit for everybody: one client can use up "
        f"{in_flight.requests} requests on each route, and all clients together have at most {in_flight.web_sockets} "
        "WebSockets. Whisper's own limits by address are shared, too."
    )
    if service.configured is None:
        terminal.say("To mend it, and if Helm keeps it, set service.spec.externalTrafficPolicy in its values as well:")
        words = ("-n", service.namespace, "patch", "service", service.name, "--type", "merge", "--patch", PATCH)
        terminal.command(kubectl.command(context, *words))
    elif service.configured:
        terminal.say("k3s' Traefik has a HelmChartConfig of yours. Add this to its spec.valuesContent:")
        terminal.verbatim(indent(yaml.safe_dump(VALUES), "  "))
        terminal.command(kubectl.command(context, "-n", K3S_NAMESPACE, "edit", f"{HELM_CHART_CONFIGS}/{K3S_RELEASE}"))
    else:
        terminal.say("To mend it on k3s:")
        command = shlex.join(kubectl.command(context, "apply", "-f", "-"))
        terminal.verbatim(f"{command} <<'END'\n{helm_chart_config()}END")
    terminal.say("Then only nodes on which Traefik runs answer clients; a single node is always one.")


def helm_chart_config() -> str:
    """The object with which k3s' Traefik keeps the addresses of clients, as YAML."""
    values = indent(yaml.safe_dump(VALUES), "    ")
    return (
        "apiVersion: helm.cattle.io/v1\n"
        "kind: HelmChartConfig\n"
        "metadata:\n"
        f"  name: {K3S_RELEASE}\n"
        f"  namespace: {K3S_NAMESPACE}\n"
        "spec:\n"
        f"  valuesContent: |\n{values}"
    )
