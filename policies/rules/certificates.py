"""Certificates and keys: strong, limited to their purpose, short-lived, and valid for the routed hosts."""

import re
from collections.abc import Iterator

from policies.model import Resource, Stack, items, mapping, number, objects, text
from policies.rule import Settings, Violation, resource_rule, stack_rule, strings, whole_number
from policies.rules.ingress import is_redirect, routes_of

KEY = "tls:index/privateKey:PrivateKey"
SELF_SIGNED = "tls:index/selfSignedCert:SelfSignedCert"
SIGNED = "tls:index/locallySignedCert:LocallySignedCert"
REQUEST = "tls:index/certRequest:CertRequest"
HOURS = 24


@resource_rule(
    of=[KEY],
    remedy="Set algorithm to ECDSA and ecdsaCurve to P256.",
    frameworks=("NIST SP 800-57", "FSBP ACM.2"),
    settings={
        "curves": strings("allowed curves", ("P256", "P384", "P521")),
        "rsaBits": whole_number("the smallest allowed RSA key, in bits", 2048),
    },
)
def tls_key(resource: Resource, settings: Settings) -> Iterator[str]:
    """Each private key is Ed25519, ECDSA on an allowed curve, or RSA of a sufficient size."""
    algorithm = resource.properties.get("algorithm")
    if algorithm == "ED25519":
        return
    if algorithm == "ECDSA":
        # The provider's default is P224.
        if resource.properties.get("ecdsaCurve") not in settings["curves"]:
            yield "ecdsaCurve is missing or not an allowed curve"
    elif algorithm == "RSA":
        # The provider's default is 2048.
        if (number(resource.properties.get("rsaBits")) or 2048) < settings["rsaBits"]:
            yield "rsaBits is too small"
    else:
        yield "algorithm is missing or not an allowed one"


FOR_SIGNING = frozenset({"cert_signing", "crl_signing", "ocsp_signing"})


def _uses(resource: Resource) -> set[str]:
    return {text(use) for use in items(resource.properties.get("allowedUses"))}


def is_authority(resource: Resource) -> bool:
    """True if a certificate can sign others, by its constraints or by its allowed uses."""
    return resource.type in (SELF_SIGNED, SIGNED) and (
        resource.properties.get("isCaCertificate") is True or "cert_signing" in _uses(resource)
    )


@resource_rule(
    remedy="Set isCaCertificate, maxPathLength 0, setSubjectKeyId, and allowedUses to cert_signing and crl_signing.",
    frameworks=("RFC 5280 4.2.1.9", "CA/Browser Forum BR 7.1.2"),
    settings={
        "days": whole_number("the longest validity of an authority, in days", 3653),
        "pathLength": whole_number("the number of intermediate authorities between it and a server certificate", 0),
    },
)
def tls_authority(resource: Resource, settings: Settings) -> Iterator[str]:
    """An authority can only sign server certificates, and it expires."""
    if resource.type == SELF_SIGNED and not is_authority(resource):
        yield "is self-signed, but not an authority: clients that trust it cannot accept a successor"
    if not is_authority(resource):
        return
    if resource.properties.get("isCaCertificate") is not True:
        yield "can sign certificates, but isCaCertificate is not true"
    if not _uses(resource) or not _uses(resource) <= FOR_SIGNING or "cert_signing" not in _uses(resource):
        yield "allowedUses is missing, or allows more than signing"
    if number(resource.properties.get("maxPathLength")) != settings["pathLength"]:
        yield "maxPathLength is missing, or allows more intermediate authorities"
    if resource.properties.get("setSubjectKeyId") is not True:
        yield "setSubjectKeyId is not true"
    hours = number(resource.properties.get("validityPeriodHours"))
    if hours is None or hours > settings["days"] * HOURS:
        yield "validityPeriodHours is missing or too long"


@resource_rule(
    remedy="Set validityPeriodHours to 397 days (9528) at most, and allowedUses to digital_signature and server_auth.",
    frameworks=("CA/Browser Forum BR 6.3.2",),
    settings={"days": whole_number("the longest validity of a server's certificate, in days", 398)},
)
def tls_leaf(resource: Resource, settings: Settings) -> Iterator[str]:
    """A server's certificate is valid for about a year at most, and for servers only."""
    if resource.type != SIGNED or is_authority(resource):
        return
    hours = number(resource.properties.get("validityPeriodHours"))
    if hours is None or hours > settings["days"] * HOURS:
        yield "validityPeriodHours is missing or too long"
    if "server_auth" not in _uses(resource) or "any_extended" in _uses(resource):
        yield "allowedUses does not have server_auth, or has any_extended"


HOST = re.compile(r"(?<![A-Za-z])Host(?:SNI)?\(([^)]*)\)")
QUOTED = re.compile(r"[`\"']([^`\"']+)[`\"']")


def hosts_of(match: str) -> list[str]:
    """The host names in a match rule of Traefik."""
    return [host for group in HOST.findall(match) for host in QUOTED.findall(group)]


def is_covered(host: str, names: set[str]) -> bool:
    """True if a certificate for some names is valid for a host. `*` matches one label (RFC 6125 6.4.3)."""
    return host in names or "*." + host.partition(".")[2] in names


@stack_rule(
    remedy="Add the host, or a wildcard for its domain, to dnsNames of the certificate request.",
    frameworks=("RFC 6125",),
)
def tls_names(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """The stack's certificate is valid for every routed host."""
    certificates = [resource for resource in stack.typed(REQUEST, SELF_SIGNED) if not is_authority(resource)]
    if not certificates:
        return  # the certificate is not part of the stack, so its names are unknown
    names = {text(name) for request in certificates for name in items(request.properties.get("dnsNames"))}
    for resource, where, hosts in _routed_hosts(stack):
        if not hosts or not all(is_covered(host, names) for host in hosts):
            yield Violation(f"{where}has no host, or a host without a certificate of the stack", resource)


def _routed_hosts(stack: Stack) -> Iterator[tuple[Resource, str, list[str]]]:
    """Yields (resource, place, hosts) for each rule of a Traefik route with TLS, and for each Ingress."""
    for route in stack.of("IngressRoute", "IngressRouteTCP"):
        if not is_redirect(stack, route) and text(mapping(route.spec.get("tls")).get("secretName")):
            for index, rule in enumerate(routes_of(route)):
                yield route, f"routes[{index}]: ", hosts_of(text(rule.get("match")))
    for ingress in stack.of("Ingress"):
        yield ingress, "", [text(rule.get("host")) for rule in objects(ingress.spec.get("rules"))]
