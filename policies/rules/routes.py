"""Where public routes lead and what they take: hosts, methods and paths by name, to what is open to the proxy."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from policies.model import Properties, Resource, Stack, mapping, number, objects, text, whole
from policies.pods import Pod, container_ports
from policies.rule import ResourceRule, Settings, StackRule, Violation, strings
from policies.rules.ingress import INTERNAL, backends, is_redirect, routes_of
from policies.rules.network import outsiders, pods_under, policies_of
from policies.rules.services import pods_behind, spec_of, target_of
from policies.traefik import Clause, clauses_of, hosts, is_scoped, methods, overlap

UNSEEN = {
    "IngressRouteTCP": "a route of plain TCP: no limit and no header rule holds on it",
    "IngressRouteUDP": "a route of UDP: no limit and no TLS holds on it",
    "TraefikService": "spreads or mirrors requests to services that no rule sees",
    "Gateway": "a gateway beside the proxy whose routes the rules know",
    **dict.fromkeys(
        ("HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute", "UDPRoute", "HTTPProxy", "VirtualService", "Route"),
        "a route of another kind than the rules know",
    ),
    "ReferenceGrant": "lets routes of another namespace lead here",
}


def _kinds(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if resource.is_object and resource.kind in UNSEEN:
        yield Violation(message=UNSEEN[resource.kind])


KINDS = ResourceRule(
    name="ingress-kinds",
    description="The ways in are routes of HTTP that the rules can read.",
    frameworks=("NSA/CISA: Network separation",),
    remedy="Use an IngressRoute; reach what is no HTTP from inside of the cluster.",
    check=_kinds,
)


def rules_of_routes(stack: Stack) -> Iterator[tuple[Resource, int, Properties]]:
    """Each rule of each route that is no mere redirect to https."""
    for route in stack.of("IngressRoute"):
        if not is_redirect(stack, route):
            for index, rule in enumerate(routes_of(route)):
                yield route, index, rule


def _hosts(stack: Stack, settings: Settings) -> Iterator[Violation]:
    for route in stack.of("IngressRoute"):
        if not routes_of(route):
            yield Violation(message="has no routes", resource=route)
        for index, rule in enumerate(routes_of(route)):
            clauses = clauses_of(text(rule.get("match")))
            if not clauses:
                yield Violation(message=f"routes[{index}].match is missing or cannot be read", resource=route)
            elif not all(hosts(clause) for clause in clauses):
                yield Violation(message=f"routes[{index}].match takes requests for any host", resource=route)
    for ingress in stack.of("Ingress"):
        for index, rule in enumerate(objects(spec_of(ingress).get("rules"))):
            if not text(rule.get("host")) or "*" in text(rule.get("host")):
                yield Violation(message=f"rules[{index}].host is missing or a pattern", resource=ingress)


HOSTS = StackRule(
    name="ingress-hosts",
    description="Each route names the hosts that it is for.",
    frameworks=("CWE-346",),
    remedy="Write Host(`...`) with a full name into each alternative of the match.",
    check=_hosts,
)


def service_of(stack: Stack, route: Resource, backend: Properties) -> Resource | None:
    """The Service that a backend names."""
    return stack.get("Service", text(backend.get("namespace")) or route.namespace, text(backend.get("name")))


def port_of(service: Resource, backend: Properties) -> Properties | None:
    """The Service's port that a backend names, by number or by name."""
    wanted = backend.get("port")
    for port in objects(spec_of(service).get("ports")):
        if wanted is not None and (wanted == port.get("name") or number(wanted) == number(port.get("port"))):
            return port
    return None


def pod_ports(stack: Stack, service: Resource, port: Properties) -> Iterator[tuple[Pod, int]]:
    """The pods behind a Service's port, each with the number that it is sent to."""
    target = target_of(port)
    for pod in pods_behind(stack, service):
        for declared in container_ports(pod):
            value = whole(declared.get("containerPort"))
            if target == declared.get("name") or number(target) == value:
                yield pod, value


def _backends(stack: Stack, settings: Settings) -> Iterator[Violation]:
    open_to_proxy = {
        (pod.owner.urn, port)
        for opening in outsiders(stack)
        if opening.direction == "Ingress" and not opening.is_for_metrics(stack)
        for pod in pods_under(stack, opening.policy)
        for _, port in opening.ports_of(pod)
    }
    for route in stack.of("IngressRoute", "Ingress"):
        redirect = is_redirect(stack, route)
        for index, rule in enumerate(routes_of(route) if route.kind == "IngressRoute" else []):
            if not objects(rule.get("services")):
                yield Violation(message=f"routes[{index}].services is missing", resource=route)
        for where, backend in [] if redirect else list(backends(route)):
            if text(backend.get("name")) in INTERNAL:
                continue  # ingress-admin tells
            if backend.get("kind") not in (None, "Service"):
                yield Violation(message=f"{where}: leads to something else than a Service", resource=route)
                continue
            service = service_of(stack, route, backend)
            port = port_of(service, backend) if service else None
            if service is None:
                yield Violation(message=f"{where}: leads to a Service that is none of the stack's", resource=route)
            elif port is None:
                yield Violation(message=f"{where}: leads to a port that the Service has not", resource=route)
            elif not policies_of(stack):
                continue  # network-pod-policy tells
            else:
                ends = {(pod.owner.urn, value) for pod, value in pod_ports(stack, service, port)}
                if ends and not ends <= open_to_proxy:
                    yield Violation(
                        message=f"{where}: leads to a port that no policy opens to the proxy", resource=route
                    )


BACKENDS = StackRule(
    name="ingress-backends",
    description="Each route leads to a Service of the stack whose policy lets the proxy in.",
    frameworks=("CWE-441", "NSA/CISA: Network separation"),
    remedy="Lead the route to the endpoint that is meant to be public; others are for pods of the stack.",
    check=_backends,
)


def _proxy_ports(stack: Stack, settings: Settings) -> Iterator[Violation]:
    routed = set()
    for route in stack.of("IngressRoute", "IngressRouteTCP", "IngressRouteUDP", "Ingress"):
        for _, backend in backends(route):
            service = service_of(stack, route, backend)
            port = port_of(service, backend) if service else None
            if service is not None and port is not None:
                routed |= {(pod.owner.urn, value) for pod, value in pod_ports(stack, service, port)}
    told = set()
    for opening in outsiders(stack):
        if opening.direction != "Ingress":
            continue
        for pod in pods_under(stack, opening.policy):
            for _, value in opening.ports_of(pod):
                if (pod.owner.urn, value) in routed or (opening.is_for_metrics(stack) and not _proxy(opening.peer)):
                    continue
                if (opening.policy.urn, opening.where) not in told:
                    told.add((opening.policy.urn, opening.where))
                    yield Violation(
                        message=f"{opening.where}: opens a port to the outside that no route leads to",
                        resource=opening.policy,
                    )


def _proxy(peer: Properties | None) -> bool:
    """Whether a peer is a proxy, which brings in anybody."""
    labels = mapping(mapping(mapping(peer).get("podSelector")).get("matchLabels"))
    return any(name in text(value) for value in labels.values() for name in ("traefik", "nginx", "envoy", "haproxy"))


PROXY_PORTS = StackRule(
    name="network-proxy",
    description="Pods of others reach ports that a route leads to, or that are for metrics, and no other.",
    frameworks=("CWE-749", "NSA/CISA: Network policies"),
    remedy="Remove the opening; reach administrative ports with kubectl port-forward.",
    check=_proxy_ports,
)


@dataclass(frozen=True)
class Way:
    """An alternative of a route with where it leads."""

    route: Resource
    clause: Clause
    ends: tuple[frozenset[str], frozenset[str]]


def _scope(stack: Stack, settings: Settings) -> Iterator[Violation]:
    ways = []
    for route, index, rule in rules_of_routes(stack):
        where = f"routes[{index}]"
        names = {
            f"{text(service.get('namespace')) or route.namespace}/{text(service.get('name'))}"
            for service in objects(rule.get("services"))
        }
        ports = {str(service.get("port")) for service in objects(rule.get("services"))}
        is_open = all(any(fnmatchcase(name, pattern) for pattern in settings["open"]) for name in names)
        if rule.get("priority") not in (None, 0):
            yield Violation(message=f"{where}.priority puts it before routes that are more exact", resource=route)
        for clause in clauses_of(text(rule.get("match"))) or ():
            ways.append(Way(route, clause, (frozenset(names), frozenset(ports))))
            taken, only = methods(clause)
            if only and not taken <= set(settings["methods"]):
                yield Violation(message=f"{where}.match takes methods that nothing needs", resource=route)
            if not is_open and not only and not taken:
                yield Violation(message=f"{where}.match takes every method", resource=route)
            if not is_open and not is_scoped(clause):
                yield Violation(message=f"{where}.match takes paths that it does not name", resource=route)
    told = set()
    for place, one in enumerate(ways):
        for other in ways[place + 1 :]:
            both = hosts(one.clause) & hosts(other.clause)
            if both and one.ends != other.ends and overlap(one.clause, other.clause) and one.route.urn not in told:
                told.add(one.route.urn)
                yield Violation(
                    message=f"takes the same methods of a host as {other.route.label}, which leads elsewhere",
                    resource=one.route,
                )


SCOPE = StackRule(
    name="ingress-scope",
    description="A route takes the methods and paths that it is for, and no request that another one is for.",
    frameworks=("CWE-749",),
    remedy="Write Method(`...`) and Path, PathPrefix or an anchored PathRegexp into each alternative of the match.",
    settings={
        "open": strings("patterns of the Services that are public as a whole, as `namespace/name`"),
        "methods": strings("methods that a route may name", ("GET", "HEAD", "POST", "OPTIONS")),
    },
    check=_scope,
)

RULES = (KINDS, HOSTS, BACKENDS, PROXY_PORTS, SCOPE)
