"""Where clients come in: Traefik, its definitions and entry points, and the addresses that it sees; certificates."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from cli import edge
from cli.doctor.model import Check, Evidence, Finding, Item, condition, finding, is_ready, labels_of
from cli.expiry import Certificate
from config.certificate_chain import EXPIRY_WARNING

DEFINITIONS = tuple(
    f"{name}.traefik.io" for name in ("ingressroutes", "middlewares", "serverstransports", "tlsoptions")
)
READ_TIMEOUT = re.compile(r"^--entrypoints\.([^.]+)\.transport\.respondingtimeouts\.readtimeout=(.*)$", re.I)
ENTRY_POINT = re.compile(r"^--entrypoints\.([^.=]+)\.address=", re.I)
DEFAULT_READ_TIMEOUT = ("", "60", "60s", "1m")


def traefik(evidence: Evidence) -> Iterator[Finding]:
    """Its pods, and the entry points that they were started with."""
    ingress = evidence.settings.ingress
    pods = _pods(evidence)
    if ingress.install is not None and not evidence.deployed:
        return  # `up` brings it
    if not pods:
        labels = ",".join(f"{key}={value}" for key, value in ingress.pod_labels.items())
        yield Finding(symptom="traefik-missing", about=f"pods {labels} in {ingress.namespace}", found="there are none")
        return
    for pod in pods:
        if not is_ready(pod):
            why = condition(pod, "Ready").get("message") or pod["status"].get("phase", "unknown")
            yield finding("traefik-not-ready", pod, str(why))
    words = _words(pods[0])
    points = [found[1] for found in map(ENTRY_POINT.match, words) if found]
    wanted = (ingress.plain_entry_point, ingress.tls_entry_point)
    lacking = [each for each in wanted if each.lower() not in {point.lower() for point in points}]
    # With a file or variables in place of arguments nobody can tell from outside.
    if points and lacking:
        found = f"it has {', '.join(points)}, and not {' and '.join(lacking)}"
        yield finding("traefik-entry-point", pods[0], found)
    if points and not lacking:
        limits = {found[1].lower(): found[2] for found in map(READ_TIMEOUT.match, words) if found}
        limit = limits.get(ingress.tls_entry_point.lower(), "")
        if limit in DEFAULT_READ_TIMEOUT:
            yield finding("traefik-read-timeout", pods[0], f"readTimeout of {ingress.tls_entry_point} is 60 s")


def definitions(evidence: Evidence) -> Iterator[Finding]:
    """Traefik's definitions: all that routes are made of, with the limits of version 3.2."""
    if evidence.settings.ingress.install is not None and not evidence.deployed:
        return
    there = {each["metadata"]["name"]: each for each in evidence.items("definitions")}
    lacking = [name for name in DEFINITIONS if name not in there]
    if lacking:
        yield Finding(symptom="traefik-definitions", about="definitions", found=f"there is no {', '.join(lacking)}")
    middlewares = there.get(edge.MIDDLEWARES)
    if middlewares is not None and not edge.has_limits(middlewares):
        yield Finding(symptom="traefik-old", about=f"definition {edge.MIDDLEWARES}", found="it has no ipv6Subnet")


def addresses(evidence: Evidence) -> Iterator[Finding]:
    """Services in front of Traefik: whether they keep the addresses of clients, and have an address themselves."""
    labels = [labels_of(pod) for pod in _pods(evidence)]
    for service in evidence.items("system", "Service"):
        if service["metadata"]["namespace"] != evidence.settings.ingress.namespace:
            continue
        if edge.hides(service, labels):
            yield _hidden(evidence, service)
        pending = service["spec"].get("type") == "LoadBalancer" and not _address(service)
        if pending and edge.selects(service, labels):
            yield finding("load-balancer-pending", service, "it has no address")


def certificates(evidence: Evidence) -> Iterator[Finding]:
    """When what clients pin, and what Traefik serves, ends."""
    found: Sequence[Certificate] = evidence.readings["certificates"]
    for each in found:
        left = each.left(evidence.now)
        if left < EXPIRY_WARNING:
            gone = left < timedelta()
            yield Finding(
                symptom="certificate-expired" if gone else "certificate-ending",
                about=f"certificate {each.what}",
                found=f"it ended on {each.ends:%Y-%m-%d}" if gone else f"it ends in {left.days} days",
                names={"renewal": each.renewal[0].upper() + each.renewal[1:]},
            )


def secrets(evidence: Evidence) -> Iterator[Finding]:
    """Compares the secrets with those that the stack was brought up with."""
    problem = evidence.readings["continuity"]
    if problem:
        yield Finding(symptom="secrets-lost", about=f"stack {evidence.stack}", found=str(problem))


def passphrase(evidence: Evidence) -> Iterator[Finding]:
    """Tries to decrypt them here."""
    problem = evidence.readings["passphrase"]
    if problem:
        yield Finding(symptom="passphrase", about=f"stack {evidence.stack}", found=str(problem))


def _pods(evidence: Evidence) -> list[Item]:
    ingress = evidence.settings.ingress
    return [
        pod
        for pod in evidence.items("system", "Pod")
        if pod["metadata"]["namespace"] == ingress.namespace and ingress.pod_labels.items() <= labels_of(pod).items()
    ]


def _words(pod: Item) -> list[str]:
    containers = pod["spec"]["containers"]
    return [word for each in containers for word in (*(each.get("command") or ()), *(each.get("args") or ()))]


def _address(service: Item) -> bool:
    return bool(service.get("status", {}).get("loadBalancer", {}).get("ingress"))


def _hidden(evidence: Evidence, service: Item) -> Finding:
    """The finding with what mends it: a patch, or of k3s' Traefik the HelmChartConfig that there is not yet."""
    patch = ("patch", "service", service["metadata"]["name"], "--type", "merge", "--patch", edge.PATCH)
    found = finding("client-address-hidden", service, "its externalTrafficPolicy is Cluster", patch)
    if not edge.by_k3s(service) or evidence.readings.get("charts") is None:
        return found
    if any(each["metadata"]["name"] == edge.K3S_RELEASE for each in evidence.items("charts")):
        return replace(found, fix=())  # the operator's own, which nobody else edits
    return replace(found, fix=("apply", "-f", "-"), manifest=edge.helm_chart_config())


CHECKS: Iterable[Check] = (
    Check("traefik", "Traefik's pods, entry points and time-outs", ("system",), traefik),
    Check("definitions", "Traefik's definitions", ("definitions",), definitions),
    Check("addresses", "the addresses of clients that Traefik sees", ("system",), addresses),
    Check("secrets", "the stack's secrets, and what was made with them", ("continuity",), secrets),
    Check("passphrase", "whether the secrets can be decrypted", ("passphrase",), passphrase),
    Check("certificates", "when certificates end", ("certificates",), certificates),
)
