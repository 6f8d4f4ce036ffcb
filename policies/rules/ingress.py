"""The public edge: TLS on every route, and no route to an administrative port."""

import re
from collections.abc import Iterator

from policies.model import Properties, Resource, Stack, at, items, mapping, objects, text
from policies.pods import container_ports
from policies.rule import Settings, Violation, stack_rule, strings
from policies.rules.services import pods_behind, target_of

ROUTES = ("IngressRoute", "IngressRouteTCP")


def routes_of(route: Resource) -> list[Properties]:
    """The entries of `spec.routes` of a Traefik route."""
    return objects(route.spec.get("routes"))


def backends(resource: Resource) -> Iterator[tuple[str, Properties]]:
    """Yields (where, reference) for each backend of a Traefik route or an Ingress: kind, namespace, name, port."""
    if resource.kind == "Ingress":
        paths = [mapping(resource.spec.get("defaultBackend"))]
        for rule in objects(resource.spec.get("rules")):
            paths += [mapping(path.get("backend")) for path in objects(at(rule, "http", "paths"))]
        for index, backend in enumerate(paths):
            service = mapping(backend.get("service"))
            port = mapping(service.get("port"))
            if service:
                yield f"backend {index}", {"name": service.get("name"), "port": port.get("number") or port.get("name")}
        return
    for index, rule in enumerate(routes_of(resource)):
        for service in objects(rule.get("services")):
            yield f"routes[{index}]", service


def service_of(stack: Stack, route: Resource, backend: Properties) -> Resource | None:
    """The Service of a backend, or None."""
    return stack.get("Service", text(backend.get("namespace")) or route.namespace, text(backend.get("name")))


def is_redirect(stack: Stack, route: Resource) -> bool:
    """True if a route only redirects clients to https: it has no backend and a middleware for the redirect."""
    rules = routes_of(route)
    return route.kind == "IngressRoute" and bool(rules) and all(_redirects(stack, route, rule) for rule in rules)


def _redirects(stack: Stack, route: Resource, rule: Properties) -> bool:
    services = objects(rule.get("services"))
    has_no_backend = all((s.get("kind"), s.get("name")) == ("TraefikService", "noop@internal") for s in services)
    return has_no_backend and any(_to_https(stack, route, entry) for entry in objects(rule.get("middlewares")))


def _to_https(stack: Stack, route: Resource, entry: Properties) -> bool:
    middleware = stack.get("Middleware", text(entry.get("namespace")) or route.namespace, text(entry.get("name")))
    return middleware is not None and at(middleware.spec, "redirectScheme", "scheme") == "https"


@stack_rule(
    remedy="Set spec.tls.secretName, and set spec.entryPoints to the entry point with TLS.",
    frameworks=("CWE-319", "NSA/CISA: Encryption in transit"),
    settings={"entryPoints": strings("the proxy's entry points with TLS", ("websecure",))},
)
def ingress_tls(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Each public route has TLS with a certificate of the stack, except the redirect from http."""
    for ingress in stack.of("Ingress"):
        if not objects(ingress.spec.get("tls")):
            yield Violation("spec.tls is missing", ingress)
    for route in stack.of(*ROUTES):
        if is_redirect(stack, route):
            continue
        tls = route.spec.get("tls")
        points = items(route.spec.get("entryPoints"))
        if not isinstance(tls, dict):
            yield Violation("spec.tls is missing, and the route is not a redirect to https", route)
        elif not text(tls.get("secretName")) and not text(tls.get("certResolver")):
            yield Violation("spec.tls names no certificate: Traefik uses one that clients do not trust", route)
        elif text(tls.get("secretName")) and not _has_certificate(stack, route, text(tls.get("secretName"))):
            yield Violation("spec.tls.secretName is not a certificate of the stack", route)
        if not points or any(point not in settings["entryPoints"] for point in points):
            yield Violation("spec.entryPoints is missing, or has an entry point without TLS", route)


def _has_certificate(stack: Stack, route: Resource, name: str) -> bool:
    """True if the stack has a TLS Secret of this name, or a Certificate for which cert-manager creates it."""
    secret = stack.get("Secret", route.namespace, name)
    certificates = (c for c in stack.of("Certificate") if c.namespace == route.namespace)
    is_issued = any(at(certificate.spec, "secretName") == name for certificate in certificates)
    return is_issued or (secret is not None and secret.properties.get("type") == "kubernetes.io/tls")


@stack_rule(
    remedy="Set spec.tls.options to a TLSOption with minVersion VersionTLS12, ECDHE and AEAD ciphers, and sniStrict.",
    frameworks=("FSBP ELB.17", "NIST SP 800-52r2"),
)
def ingress_tls_version(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Each route has a TLSOption that requires TLS 1.2 or later, strong ciphers and a known host."""
    for route in stack.of(*ROUTES):
        tls = route.spec.get("tls")
        if not isinstance(tls, dict):
            continue
        chosen = mapping(tls.get("options"))
        name, namespace = text(chosen.get("name")), text(chosen.get("namespace")) or route.namespace
        if name:
            option = stack.get("TLSOption", namespace, name)
        else:  # Traefik applies the option `default` to every route without one
            option = next((o for o in stack.of("TLSOption") if o.object_name == "default"), None)
        if option is None:
            yield Violation("spec.tls.options does not name a TLSOption of the stack", route)
    for option in stack.of("TLSOption"):
        for message in _weak_options(option.spec):
            yield Violation(message, option)
    for store in stack.of("TLSStore"):
        yield Violation("changes the certificate of every route without one", store)


STRONG_SUITE = re.compile(r"TLS_ECDHE_(?:ECDSA|RSA)_WITH_(?:AES_(?:128|256)_GCM|CHACHA20_POLY1305)(?:_SHA\d+)?")


def _weak_options(spec: Properties) -> Iterator[str]:
    if spec.get("minVersion") not in ("VersionTLS12", "VersionTLS13"):
        yield "spec.minVersion is missing or older than TLS 1.2"
    if spec.get("maxVersion") not in (None, "", "VersionTLS13"):
        yield "spec.maxVersion excludes TLS 1.3"
    suites = [text(suite) for suite in items(spec.get("cipherSuites"))]
    if spec.get("minVersion") != "VersionTLS13" and not suites:
        yield "spec.cipherSuites is missing: weak suites of TLS 1.2 are enabled"  # Go's defaults include CBC suites
    if not all(STRONG_SUITE.fullmatch(suite) or suite in TLS13_SUITES for suite in suites):
        yield "spec.cipherSuites has a suite without forward secrecy or authenticated encryption"
    if spec.get("sniStrict") is not True:
        yield "spec.sniStrict is not true: requests for unknown hosts get a certificate"


TLS13_SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")


INTERNAL = ("api@internal", "dashboard@internal", "rest@internal", "prometheus@internal")
"""Traefik's own services, which show or change its configuration."""


@stack_rule(
    remedy="Remove the route; reach the port with kubectl port-forward.",
    frameworks=("CWE-749", "NSA/CISA: Control plane hardening"),
    settings={
        "names": strings(
            "parts of names of administrative ports",
            ("admin", "management", "metrics", "prometheus", "debug", "pprof", "dashboard", "actuator"),
        )
    },
)
def ingress_admin(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """No public route leads to an administrative port."""
    pattern = re.compile("|".join(map(re.escape, settings["names"])) or r"(?!)", re.IGNORECASE)
    for route in stack.of(*ROUTES, "Ingress"):
        for where, backend in backends(route):
            names = {text(backend.get("port")), *_port_names(stack, route, backend)}
            if text(backend.get("name")) in INTERNAL or any(pattern.search(name) for name in names):
                yield Violation(f"{where}: routes to an administrative port", route)


def _port_names(stack: Stack, route: Resource, backend: Properties) -> Iterator[str]:
    """The names of a backend's port in its Service and in the pods of that Service."""
    service = service_of(stack, route, backend)
    if service is None:
        return
    targets = {backend.get("port")}
    for port in objects(service.spec.get("ports")):
        if backend.get("port") in (port.get("port"), port.get("name")):
            yield text(port.get("name"))
            targets.add(target_of(port))
    for pod in pods_behind(stack, service):
        for port in container_ports(pod):
            if targets & {port.get("containerPort"), port.get("name")}:
                yield text(port.get("name"))
