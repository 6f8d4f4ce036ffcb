"""Public routes: they name hosts, methods and paths, and their backends accept traffic of the proxy."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from policies.model import Properties, Resource, Stack, mapping, number, objects, text, whole
from policies.pods import Pod, container_ports
from policies.rule import Settings, Violation, resource_rule, stack_rule, strings
from policies.rules.ingress import INTERNAL, backends, is_redirect, routes_of, service_of
from policies.rules.network import external_openings, pods_under
from policies.rules.services import pods_behind, target_of
from policies.traefik import Clause, clauses_of, hosts, is_scoped, methods, overlap

UNSEEN = {
    "IngressRouteTCP": "is a TCP route, without request limits and header rules",
    "IngressRouteUDP": "is a UDP route, without limits and TLS",
    "TraefikService": "balances or mirrors requests to services that the rules do not see",
    "Gateway": "is a second gateway, whose routes the rules do not check",
    **dict.fromkeys(
        ("HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute", "UDPRoute", "HTTPProxy", "VirtualService", "Route"),
        "is a kind of route that the rules do not check",
    ),
    "ReferenceGrant": "allows routes of another namespace to use services of this one",
}


@resource_rule(
    remedy="Use an IngressRoute; keep other protocols inside of the cluster.",
    frameworks=("NSA/CISA: Network separation",),
)
def ingress_kinds(resource: Resource, settings: Settings) -> Iterator[str]:
    """Public routes are HTTP routes of kinds that the rules check."""
    if resource.is_object and resource.kind in UNSEEN:
        yield UNSEEN[resource.kind]


def rules_of_routes(stack: Stack) -> Iterator[tuple[Resource, int, Properties]]:
    """Yields (route, index, rule) for each rule of each route, except redirects to https."""
    for route in stack.of("IngressRoute"):
        if not is_redirect(stack, route):
            for index, rule in enumerate(routes_of(route)):
                yield route, index, rule


@stack_rule(remedy="Add Host(`...`) with a full name to each alternative of the match.", frameworks=("CWE-346",))
def ingress_hosts(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Each route names its hosts."""
    for route in stack.of("IngressRoute"):
        if not routes_of(route):
            yield Violation("has no routes", route)
        for index, rule in enumerate(routes_of(route)):
            clauses = clauses_of(text(rule.get("match")))
            if not clauses:
                yield Violation(f"routes[{index}].match is missing or cannot be parsed", route)
            elif not all(hosts(clause) for clause in clauses):
                yield Violation(f"routes[{index}].match accepts requests for any host", route)
    for ingress in stack.of("Ingress"):
        for index, rule in enumerate(objects(ingress.spec.get("rules"))):
            if not text(rule.get("host")) or "*" in text(rule.get("host")):
                yield Violation(f"rules[{index}].host is missing or a pattern", ingress)


def port_of(service: Resource, backend: Properties) -> Properties | None:
    """The Service's port of a backend, by number or by name; None if the Service has no such port."""
    target = backend.get("port")
    for port in objects(service.spec.get("ports")):
        if target is not None and (target == port.get("name") or number(target) == number(port.get("port"))):
            return port
    return None


def pod_ports(stack: Stack, service: Resource, port: Properties) -> Iterator[tuple[Pod, int]]:
    """Yields (pod, port number) for each pod that receives traffic of a Service's port."""
    target = target_of(port)
    for pod in pods_behind(stack, service):
        for declared in container_ports(pod):
            value = whole(declared.get("containerPort"))
            if target == declared.get("name") or number(target) == value:
                yield pod, value


@stack_rule(
    remedy="Route to the public endpoint; other endpoints are for pods of the stack only.",
    frameworks=("CWE-441", "NSA/CISA: Network separation"),
)
def ingress_backends(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """The backend of each route is a Service of the stack that the proxy is allowed to reach."""
    open_to_proxy = {
        (pod.owner.urn, port)
        for opening in external_openings(stack)
        if opening.direction == "Ingress" and not opening.is_for_metrics(stack)
        for pod in pods_under(stack, opening.policy)
        for _, port in opening.ports_of(pod)
    }
    for route in stack.of("IngressRoute", "Ingress"):
        redirect = is_redirect(stack, route)
        for index, rule in enumerate(routes_of(route) if route.kind == "IngressRoute" else []):
            if not objects(rule.get("services")):
                yield Violation(f"routes[{index}].services is missing", route)
        for where, backend in [] if redirect else list(backends(route)):
            problem = _backend_problem(stack, route, backend, open_to_proxy)
            if problem:
                yield Violation(f"{where}: {problem}", route)


def _backend_problem(stack: Stack, route: Resource, backend: Properties, open_to_proxy: set[tuple[str, int]]) -> str:
    """The reason why a backend is not a Service that the proxy can reach; empty if it is one."""
    if text(backend.get("name")) in INTERNAL:
        return ""  # ingress-admin reports it
    if backend.get("kind") not in (None, "Service"):
        return "the backend is not a Service"
    service = service_of(stack, route, backend)
    if service is None:
        return "the backend is a Service outside of the stack"
    port = port_of(service, backend)
    if port is None:
        return "the Service does not have the backend's port"
    if not stack.of("NetworkPolicy"):
        return ""  # network-pod-policy reports it
    targets = {(pod.owner.urn, value) for pod, value in pod_ports(stack, service, port)}
    is_reachable = not targets or targets <= open_to_proxy
    return "" if is_reachable else "no network policy allows the proxy to reach the backend's port"


@stack_rule(
    remedy="Remove the rule; reach administrative ports with kubectl port-forward.",
    frameworks=("CWE-749", "NSA/CISA: Network policies"),
)
def network_proxy(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Pods outside of the stack can only reach ports with a public route, and ports for metrics."""
    routed: set[tuple[str, int]] = set()
    reported: set[tuple[str, str]] = set()
    for route in stack.of("IngressRoute", "IngressRouteTCP", "IngressRouteUDP", "Ingress"):
        for _, backend in backends(route):
            service = service_of(stack, route, backend)
            port = port_of(service, backend) if service else None
            if service is not None and port is not None:
                routed |= {(pod.owner.urn, value) for pod, value in pod_ports(stack, service, port)}
    for opening in external_openings(stack):
        if opening.direction != "Ingress":
            continue
        exposed = {
            (pod.owner.urn, value)
            for pod in pods_under(stack, opening.policy)
            for _, value in opening.ports_of(pod)
            if not opening.is_for_metrics(stack) or _is_proxy(opening.peer)
        }
        place = (opening.policy.urn, opening.where)
        if exposed - routed and place not in reported:
            reported.add(place)
            message = f"{opening.where}: allows pods outside of the stack to reach a port without a route"
            yield Violation(message, opening.policy)


def _is_proxy(peer: Properties | None) -> bool:
    """True if a peer is a proxy, through which any client can come."""
    labels = mapping(mapping(mapping(peer).get("podSelector")).get("matchLabels"))
    return any(name in text(value) for value in labels.values() for name in ("traefik", "nginx", "envoy", "haproxy"))


@dataclass(frozen=True)
class Alternative:
    """An alternative of a rule's match, with the rule's Services and their ports."""

    route: Resource
    clause: Clause
    services: frozenset[str]
    ports: frozenset[str]

    def conflicts(self, other: "Alternative") -> bool:
        """True if both take the same methods of a host, but have different backends."""
        is_same_backend = (self.services, self.ports) == (other.services, other.ports)
        has_common_host = bool(hosts(self.clause) & hosts(other.clause))
        return has_common_host and not is_same_backend and overlap(self.clause, other.clause)


def _alternatives(route: Resource, rule: Properties) -> list[Alternative]:
    services = objects(rule.get("services"))
    names = frozenset(f"{text(s.get('namespace')) or route.namespace}/{text(s.get('name'))}" for s in services)
    ports = frozenset(str(service.get("port")) for service in services)
    return [Alternative(route, clause, names, ports) for clause in clauses_of(text(rule.get("match"))) or ()]


@stack_rule(
    remedy="Add Method(`...`) and Path, PathPrefix or an anchored PathRegexp to each alternative of the match.",
    frameworks=("CWE-749",),
    settings={
        "open": strings("patterns of Services that are public on all paths, as `namespace/name`"),
        "methods": strings("methods that a route may name", ("GET", "HEAD", "POST", "OPTIONS")),
    },
)
def ingress_scope(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """A route names its methods and paths, and does not accept requests for another route."""
    alternatives: list[Alternative] = []
    for route, index, rule in rules_of_routes(stack):
        where = f"routes[{index}]"
        if rule.get("priority") not in (None, 0):
            yield Violation(f"{where}.priority overrides routes with a more exact match", route)
        for alternative in _alternatives(route, rule):
            alternatives.append(alternative)
            for message in _wide_match(alternative, settings):
                yield Violation(f"{where}.match {message}", route)
    reported = set()
    for index, first in enumerate(alternatives):
        for second in alternatives[index + 1 :]:
            if first.route.urn not in reported and first.conflicts(second):
                reported.add(first.route.urn)
                message = f"accepts the same methods of a host as {second.route.label}, which has another backend"
                yield Violation(message, first.route)


def _wide_match(alternative: Alternative, settings: Settings) -> Iterator[str]:
    is_open = all(any(fnmatchcase(name, pattern) for pattern in settings["open"]) for name in alternative.services)
    named, are_only = methods(alternative.clause)
    if are_only and not named <= set(settings["methods"]):
        yield "accepts methods that are not allowed"
    if not is_open and not are_only and not named:
        yield "accepts every method"
    if not is_open and not is_scoped(alternative.clause):
        yield "accepts paths that it does not name"
