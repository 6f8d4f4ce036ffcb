"""Middlewares of the proxy: limits per client, headers, and the identification of clients."""

import re
from collections.abc import Iterator
from typing import Any, Final

from policies.model import Properties, Resource, Stack, at, items, mapping, members, number, objects, text
from policies.rule import Settings, Violation, stack_rule, strings, whole_number
from policies.rules.routes import rules_of_routes
from policies.traefik import clauses_of, hosts


def chain_of(stack: Stack, route: Resource, rule: Properties) -> tuple[list[Resource], bool]:
    """The middlewares of a rule in order, with chains expanded, and True if the stack has all of them."""
    chain: list[Resource] = []
    is_complete = True
    queue = _names_of(rule, route.namespace)
    seen = set()
    while queue:
        place = queue.pop(0)
        middleware = stack.get("Middleware", *place)
        if middleware is None:
            is_complete = False
        elif place not in seen:
            seen.add(place)
            chain.append(middleware)
            queue = _names_of(mapping(middleware.spec.get("chain")), place[0]) + queue
    return chain, is_complete


def _names_of(holder: Properties, namespace: str) -> list[tuple[str, str]]:
    references = objects(holder.get("middlewares"))
    return [(text(reference.get("namespace")) or namespace, text(reference.get("name"))) for reference in references]


_PERIOD: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(value: Any) -> float | None:
    """The seconds of a Go duration (`1m30s`), or of a number; None for any other value."""
    if (plain := number(value)) is not None:
        return plain
    parts = _PERIOD.findall(text(value))
    if not parts or "".join(amount + unit for amount, unit in parts) != text(value):
        return None
    return sum(float(amount) * _UNITS[unit] for amount, unit in parts)


def _is_rate(spec: Properties, settings: Settings) -> bool:
    limit = mapping(spec.get("rateLimit"))
    average, burst = number(limit.get("average")), number(limit.get("burst"))
    period = 1.0 if limit.get("period") is None else seconds(limit.get("period"))
    return (
        average is not None
        and average > 0  # an average of 0 disables the limit (Traefik)
        and period is not None
        and period > 0
        and average / period <= settings["requestsPerSecond"]
        and (burst is None or burst <= settings["burst"])
    )


def _is_concurrency(spec: Properties, settings: Settings) -> bool:
    amount = number(mapping(spec.get("inFlightReq")).get("amount"))
    return amount is not None and 0 < amount <= settings["inFlight"]


@stack_rule(
    remedy="Add middlewares of the stack with rateLimit and with inFlightReq to each route.",
    frameworks=("CWE-770", "OWASP API4:2023"),
    settings={
        "requestsPerSecond": whole_number("the highest allowed rate of a client", 1000),
        "burst": whole_number("the largest allowed burst of a client", 5000),
        "inFlight": whole_number("the most concurrent requests of a client", 5000),
    },
)
def ingress_limits(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Each route limits the request rate and the concurrent requests of a client."""
    for route, index, rule in rules_of_routes(stack):
        chain, is_complete = chain_of(stack, route, rule)
        specs = [middleware.spec for middleware in chain]
        where = f"routes[{index}].middlewares"
        if not is_complete:
            yield Violation(f"{where}: names a middleware outside of the stack", route)
        if not any(_is_rate(spec, settings) for spec in specs):
            yield Violation(f"{where}: no middleware limits the request rate of a client", route)
        if not any(_is_concurrency(spec, settings) for spec in specs):
            yield Violation(f"{where}: no middleware limits concurrent requests of a client", route)
    for ingress in stack.of("Ingress"):
        names = text(mapping(ingress.metadata.get("annotations")).get(ANNOTATION)).replace(" ", "").split(",")
        known = {f"{m.namespace}-{m.object_name}@kubernetescrd": m.spec for m in stack.of("Middleware")}
        specs = [known[name] for name in names if name in known]
        if not any(_is_rate(spec, settings) for spec in specs):
            yield Violation(f"the annotation {ANNOTATION} names no rate limit", ingress)
    for middleware in stack.of("Middleware"):
        spec = middleware.spec
        if spec.get("rateLimit") is not None and not _is_rate(spec, settings):
            yield Violation("rateLimit is disabled or too high", middleware)
        if spec.get("inFlightReq") is not None and not _is_concurrency(spec, settings):
            yield Violation("inFlightReq is disabled or too high", middleware)


ANNOTATION = "traefik.ingress.kubernetes.io/router.middlewares"


@stack_rule(
    remedy="Add a middleware that sets each of these request headers to an empty string, with stsSeconds and nosniff.",
    frameworks=("CWE-348", "CWE-290"),
    settings={
        "removed": strings(
            "request headers that must be removed", ("Forwarded", "X-Proxied-Https", "Proxy-Ssl-Id", "Proxy-Auth-Cert")
        ),
        "stsSeconds": whole_number("the shortest allowed Strict-Transport-Security, in seconds", 31536000),
    },
)
def ingress_headers(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Each route removes request headers that only a proxy may set, and sends HSTS and nosniff headers."""
    for route, index, rule in rules_of_routes(stack):
        chain, _ = chain_of(stack, route, rule)
        requests: dict[str, Any] = {}
        responses: dict[str, Any] = {}
        for middleware in chain:
            headers = mapping(middleware.spec.get("headers"))
            custom = mapping(headers.get("customRequestHeaders"))
            requests |= {str(name).lower(): value for name, value in custom.items()}
            responses |= {name: headers[name] for name in ("stsSeconds", "contentTypeNosniff") if name in headers}
        where = f"routes[{index}].middlewares"
        for name in settings["removed"]:
            if requests.get(name.lower()) != "":
                yield Violation(f"{where}: the request header {name} of clients is not removed", route)
        if (number(responses.get("stsSeconds")) or 0) < settings["stsSeconds"]:
            yield Violation(f"{where}: headers.stsSeconds is missing or too short", route)
        if responses.get("contentTypeNosniff") is not True:
            yield Violation(f"{where}: headers.contentTypeNosniff is not true", route)


_FOREIGN_URL: Final = re.compile(r"^\s*([a-z][a-z0-9+.-]*:)?//([^/$]*)", re.IGNORECASE)
_IN_CLUSTER: Final = re.compile(r"https?://[a-z0-9-]+\.[a-z0-9-]+\.svc(?:[.:/]|$)")
FORGED: Final = re.compile(r"(x-forwarded-|x-real-ip$|forwarded$|true-client-ip$|cf-connecting-ip$)", re.IGNORECASE)


@stack_rule(
    remedy="Take the client's address from the connection; verify certificates; keep requests in the cluster.",
    frameworks=("CWE-348", "CWE-295", "CWE-601"),
)
def ingress_trust(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """The proxy trusts no headers of clients, no unverified certificates, and no third-party code or hosts."""
    public = {
        host
        for route in stack.of("IngressRoute")
        for rule in objects(route.spec.get("routes"))
        for clause in clauses_of(text(rule.get("match"))) or ()
        for host in hosts(clause)
    }
    for middleware in stack.of("Middleware", "MiddlewareTCP"):
        for message in _misplaced_trust(middleware.spec, public):
            yield Violation(message, middleware)
    for transport in stack.of("ServersTransport", "ServersTransportTCP"):
        for path in (("insecureSkipVerify",), ("tls", "insecureSkipVerify")):
            if at(transport.spec, *path) not in (None, False):
                yield Violation(f"{'.'.join(path)} accepts any certificate", transport)
    for route in stack.of("IngressRoute"):
        for index, rule in enumerate(objects(route.spec.get("routes"))):
            for service in objects(rule.get("services")):
                for message in _service_options(stack, route, service):
                    yield Violation(f"routes[{index}]: {message}", route)


def _service_options(stack: Stack, route: Resource, service: Properties) -> Iterator[str]:
    name = text(service.get("serversTransport"))
    namespace = text(service.get("namespace")) or route.namespace
    if name and stack.get("ServersTransport", namespace, name.rpartition("/")[2]) is None:
        yield "names a ServersTransport outside of the stack"
    if service.get("passHostHeader") not in (None, True):
        yield "passHostHeader hides the host from the service"


def _misplaced_trust(spec: Properties, public: set[str]) -> Iterator[str]:
    yield from _client_identity(spec)
    yield from _forward_auth(spec)
    if spec.get("plugin") is not None:
        yield "plugin runs third-party code in the proxy"
    headers = mapping(spec.get("headers"))
    for name, value in mapping(headers.get("customRequestHeaders")).items():
        if FORGED.match(str(name)) and value != "":
            yield f"headers.customRequestHeaders sets {name}, which identifies the client"
    if "*" in [text(entry) for entry in items(headers.get("accessControlAllowOriginList"))] or items(
        headers.get("accessControlAllowOriginListRegex")
    ):
        yield "headers.accessControlAllowOriginList allows every web page to read responses"
    target = _FOREIGN_URL.match(text(mapping(spec.get("redirectRegex")).get("replacement")))
    if target and target.group(2).partition(":")[0] not in public:
        yield "redirectRegex.replacement redirects clients to a host outside of the stack"


FROM_HEADER = "takes the client's address from a header that the client can set", (None, 0, [])
CHOSEN = "allows a client to choose the source that its requests count for", (None, "", False)
CLIENT_IDENTITY: Final[dict[str, tuple[str, tuple[object, ...]]]] = {
    "ipStrategy.depth": FROM_HEADER,
    "ipStrategy.excludedIPs": FROM_HEADER,
    "sourceCriterion.requestHeaderName": CHOSEN,
    "sourceCriterion.requestHost": CHOSEN,
}
"""Options that decide who a client is: the effect, and the values without it."""


def _client_identity(spec: Properties) -> Iterator[str]:
    for where, _, value in members(spec):
        problem, harmless = CLIENT_IDENTITY.get(".".join(where.split(".")[-2:]), ("", ()))
        if problem and value not in harmless:
            yield f"{where} {problem}"
    for name in ("ipAllowList", "ipWhiteList"):
        ranges = [text(entry) for entry in items(mapping(spec.get(name)).get("sourceRange"))]
        if spec.get(name) is not None and (not ranges or any(entry.endswith("/0") for entry in ranges)):
            yield f"{name}.sourceRange is missing, or allows every address"


def _forward_auth(spec: Properties) -> Iterator[str]:
    forward = mapping(spec.get("forwardAuth"))
    if forward.get("trustForwardHeader") not in (None, False):
        yield "forwardAuth.trustForwardHeader trusts headers that the client can set"
    if at(forward, "tls", "insecureSkipVerify") not in (None, False):
        yield "forwardAuth.tls.insecureSkipVerify accepts any certificate"
    if spec.get("forwardAuth") is not None and not _IN_CLUSTER.match(text(forward.get("address"))):
        yield "forwardAuth.address, which receives every request, is not a Service of the cluster"
