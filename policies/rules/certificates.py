"""Certificates and keys: strong, limited to their purpose, short-lived, and valid for the routed hosts."""

import re
from collections.abc import Iterator

from policies.model import Resource, Stack, items, mapping, number, objects, text
from policies.rule import ResourceRule, Settings, StackRule, Violation, strings, whole_number
from policies.rules.ingress import is_redirect, routes_of
from policies.rules.services import spec_of

KEY = "tls:index/privateKey:PrivateKey"
SELF_SIGNED = "tls:index/selfSignedCert:SelfSignedCert"
SIGNED = "tls:index/locallySignedCert:LocallySignedCert"
REQUEST = "tls:index/certRequest:CertRequest"
HOURS = 24


def _key(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if resource.type != KEY:
        return
    algorithm = resource.properties.get("algorithm")
    if algorithm == "ED25519":
        return
    if algorithm == "ECDSA":
        # The provider's default is P224.
        if resource.properties.get("ecdsaCurve") not in settings["curves"]:
            yield Violation(message="ecdsaCurve is missing or not an allowed curve")
    elif algorithm == "RSA":
        # The provider's default is 2048.
        if (number(resource.properties.get("rsaBits")) or 2048) < settings["rsaBits"]:
            yield Violation(message="rsaBits is too small")
    else:
        yield Violation(message="algorithm is missing or not an allowed one")


KEYS = ResourceRule(
    name="tls-key",
    description="Each private key is Ed25519, ECDSA on an allowed curve, or RSA of a sufficient size.",
    frameworks=("NIST SP 800-57", "FSBP ACM.2"),
    remedy="Set algorithm to ECDSA and ecdsaCurve to P256.",
    settings={
        "curves": strings("allowed curves", ("P256", "P384", "P521")),
        "rsaBits": whole_number("the smallest allowed RSA key, in bits", 2048),
    },
    check=_key,
)

FOR_SIGNING = frozenset({"cert_signing", "crl_signing", "ocsp_signing"})


def _uses(resource: Resource) -> set[str]:
    return {text(use) for use in items(resource.properties.get("allowedUses"))}


def is_authority(resource: Resource) -> bool:
    """True if a certificate can sign others, by its constraints or by its allowed uses."""
    return resource.type in (SELF_SIGNED, SIGNED) and (
        resource.properties.get("isCaCertificate") is True or "cert_signing" in _uses(resource)
    )


def _authority(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if resource.type == SELF_SIGNED and not is_authority(resource):
        yield Violation(message="is self-signed, but not an authority: clients that trust it cannot accept a successor")
    if not is_authority(resource):
        return
    if resource.properties.get("isCaCertificate") is not True:
        yield Violation(message="can sign certificates, but isCaCertificate is not true")
    if not _uses(resource) or not _uses(resource) <= FOR_SIGNING or "cert_signing" not in _uses(resource):
        yield Violation(message="allowedUses is missing, or allows more than signing")
    if number(resource.properties.get("maxPathLength")) != settings["pathLength"]:
        yield Violation(message="maxPathLength is missing, or allows more intermediate authorities")
    if resource.properties.get("setSubjectKeyId") is not True:
        yield Violation(message="setSubjectKeyId is not true")
    hours = number(resource.properties.get("validityPeriodHours"))
    if hours is None or hours > settings["days"] * HOURS:
        yield Violation(message="validityPeriodHours is missing or too long")


AUTHORITY = ResourceRule(
    name="tls-authority",
    description="An authority can only sign server certificates, and it expires.",
    frameworks=("RFC 5280 4.2.1.9", "CA/Browser Forum BR 7.1.2"),
    remedy="Set isCaCertificate, maxPathLength 0, setSubjectKeyId, and allowedUses to cert_signing and crl_signing.",
    settings={
        "days": whole_number("the longest validity of an authority, in days", 3653),
        "pathLength": whole_number("the number of intermediate authorities between it and a server certificate", 0),
    },
    check=_authority,
)


def _leaf(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if resource.type != SIGNED or is_authority(resource):
        return
    hours = number(resource.properties.get("validityPeriodHours"))
    if hours is None or hours > settings["days"] * HOURS:
        yield Violation(message="validityPeriodHours is missing or too long")
    if "server_auth" not in _uses(resource) or "any_extended" in _uses(resource):
        yield Violation(message="allowedUses does not have server_auth, or has any_extended")


LEAF = ResourceRule(
    name="tls-leaf",
    description="A server's certificate is valid for about a year at most, and for servers only.",
    frameworks=("CA/Browser Forum BR 6.3.2",),
    remedy="Set validityPeriodHours to 397 days (9528) at most, and allowedUses to digital_signature and server_auth.",
    settings={"days": whole_number("the longest validity of a server's certificate, in days", 398)},
    check=_leaf,
)

HOST = re.compile(r"(?<![A-Za-z])Host(?:SNI)?\(([^)]*)\)")
QUOTED = re.compile(r"[`\"']([^`\"']+)[`\"']")


def hosts_of(match: str) -> list[str]:
    """The host names in a match rule of Traefik."""
    return [host for group in HOST.findall(match) for host in QUOTED.findall(group)]


def is_covered(host: str, names: set[str]) -> bool:
    """True if a certificate for some names is valid for a host. `*` matches one label (RFC 6125 6.4.3)."""
    return host in names or "*." + host.partition(".")[2] in names


def _names(stack: Stack, settings: Settings) -> Iterator[Violation]:
    certificates = [resource for resource in stack.typed(REQUEST, SELF_SIGNED) if not is_authority(resource)]
    if not certificates:
        return  # the certificate is not part of the stack, so its names are unknown
    names = {text(name) for request in certificates for name in items(request.properties.get("dnsNames"))}
    for resource, where, hosts in _routed_hosts(stack):
        if not hosts or not all(is_covered(host, names) for host in hosts):
            message = f"{where}has no host, or a host without a certificate of the stack"
            yield Violation(message=message, resource=resource)


def _routed_hosts(stack: Stack) -> Iterator[tuple[Resource, str, list[str]]]:
    """Yields (resource, place, hosts) for each rule of a Traefik route with TLS, and for each Ingress."""
    for route in stack.of("IngressRoute", "IngressRouteTCP"):
        if not is_redirect(stack, route) and text(mapping(spec_of(route).get("tls")).get("secretName")):
            for index, rule in enumerate(routes_of(route)):
                yield route, f"routes[{index}]: ", hosts_of(text(rule.get("match")))
    for ingress in stack.of("Ingress"):
        yield ingress, "", [text(rule.get("host")) for rule in objects(spec_of(ingress).get("rules"))]


NAMES = StackRule(
    name="tls-names",
    description="The stack's certificate is valid for every routed host.",
    frameworks=("RFC 6125",),
    remedy="Add the host, or a wildcard for its domain, to dnsNames of the certificate request.",
    check=_names,
)

RULES = (KEYS, AUTHORITY, LEAF, NAMES)
