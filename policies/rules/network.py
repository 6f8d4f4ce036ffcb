"""Network policies: all traffic is denied except what a policy allows explicitly."""

import ipaddress
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from policies.model import Properties, Resource, Stack, items, mapping, number, objects, text, whole
from policies.pods import Labelled, Pod, container_ports, is_empty, pods_of, selected_pods
from policies.rule import Settings, Violation, stack_rule, strings, whole_number
from policies.rules.services import EXPOSING, pods_behind, target_of

DIRECTIONS = {"Ingress": ("ingress", "from"), "Egress": ("egress", "to")}


def directions_of(policy: Resource) -> set[str]:
    """The directions that a policy restricts. Without policyTypes: ingress, and egress if it has egress rules."""
    spec = policy.spec
    types = {text(entry) for entry in items(spec.get("policyTypes"))}
    return types or {"Ingress", *(["Egress"] if items(spec.get("egress")) else [])}


def pods_under(stack: Stack, policy: Resource) -> list[Pod]:
    """The pods that a policy selects."""
    return selected_pods(stack, policy.namespace, policy.spec.get("podSelector"))


def rules_of(policy: Resource) -> Iterator[tuple[str, str, Properties]]:
    """Yields (where, direction, rule) for each rule of a policy; `where` is its place, such as `ingress[0]`."""
    for direction, (field, _) in DIRECTIONS.items():
        for index, rule in enumerate(objects(policy.spec.get(field))):
            yield f"{field}[{index}]", direction, rule


def peers_of(rule: Properties, direction: str) -> list[Properties]:
    """The peers of a rule. A rule without peers allows everybody."""
    return objects(rule.get(DIRECTIONS[direction][1]))


def is_default_deny(policy: Resource) -> bool:
    """True if a policy denies all traffic of every pod in its namespace."""
    return (
        is_empty(policy.spec.get("podSelector"))
        and directions_of(policy) >= set(DIRECTIONS)
        and not any(rules_of(policy))
    )


def namespace_labels(stack: Stack, name: str) -> dict[str, str]:
    """The labels of a namespace, including the one for its name, which the API server sets."""
    namespace = stack.get("Namespace", "", name)
    labels = mapping(namespace.metadata.get("labels")) if namespace else {}
    return {**labels, "kubernetes.io/metadata.name": name}


def peer_namespaces(stack: Stack, policy: Resource, peer: Properties) -> list[str]:
    """The namespaces of the stack that a peer selects."""
    if peer.get("ipBlock") is not None:
        return []
    if peer.get("namespaceSelector") is None:
        return [policy.namespace] if policy.namespace in stack.cached(_namespaces) else []
    return stack.cached(_labelled_namespaces).select(peer["namespaceSelector"])


def peer_pods(stack: Stack, policy: Resource, peer: Properties) -> Iterator[Pod]:
    """The pods of the stack that a peer selects."""
    for name in peer_namespaces(stack, policy, peer):
        yield from selected_pods(stack, name, peer.get("podSelector"))


def _namespaces(stack: Stack) -> frozenset[str]:
    """The namespaces that the stack creates or has pods in."""
    created = (namespace.object_name for namespace in stack.of("Namespace"))
    return frozenset([*(pod.namespace for pod in pods_of(stack)), *created])


def _labelled_namespaces(stack: Stack) -> Labelled[str]:
    return Labelled((namespace_labels(stack, name), name) for name in sorted(stack.cached(_namespaces)))


@stack_rule(
    remedy="Add a NetworkPolicy with an empty podSelector, policyTypes [Ingress, Egress] and no rules.",
    frameworks=("NSA/CISA: Network policies", "CIS Kubernetes 5.3.2"),
)
def network_default_deny(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Each namespace denies all traffic, in both directions, that no policy allows."""
    denied = {policy.namespace for policy in stack.of("NetworkPolicy") if is_default_deny(policy)}
    namespaces: dict[str, Resource] = {pod.namespace: pod.owner for pod in reversed(pods_of(stack))}
    namespaces |= {namespace.object_name: namespace for namespace in stack.of("Namespace")}
    for name, resource in sorted(namespaces.items()):
        if name not in denied:
            yield Violation("no policy of its namespace denies all traffic by default", resource)


@stack_rule(
    remedy="Add a NetworkPolicy whose podSelector matches the pod, with policyTypes [Ingress, Egress].",
    frameworks=("CKV2_K8S_6", "NSA/CISA: Network policies"),
)
def network_pod_policy(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """A policy restricts ingress and egress of each pod."""
    covered: dict[int, set[str]] = {}
    for policy in stack.of("NetworkPolicy"):
        if not is_default_deny(policy):
            for pod in pods_under(stack, policy):
                covered.setdefault(id(pod), set()).update(directions_of(policy))
    for pod in pods_of(stack):
        for direction in sorted(set(DIRECTIONS) - covered.get(id(pod), set())):
            yield Violation(f"no policy for {direction.lower()} selects its pods", pod.owner)


NAME_LABEL = "kubernetes.io/metadata.name"
"""The label with a namespace's name, which the API server sets."""


def named_by(selector: Any, *labels: str) -> str:
    """The single value that a selector requires for the first of some labels; empty if there is none, or several."""
    fields = mapping(selector)
    for label in labels:
        value = text(mapping(fields.get("matchLabels")).get(label))
        for expression in objects(fields.get("matchExpressions")):
            values = items(expression.get("values"))
            if (expression.get("key"), expression.get("operator")) == (label, "In") and len(values) == 1:
                value = value or text(values[0])
        if value:
            return value
    return ""


def _known_namespaces(stack: Stack, settings: Settings) -> set[str]:
    """Namespaces that the stack creates or has objects in, and those that every cluster has."""
    releases = stack.typed("kubernetes:helm.sh/v3:Release")
    return {
        *settings["namespaces"],
        *(resource.object_name for resource in stack.of("Namespace")),
        *(text(release.properties.get("namespace")) for release in releases),
        *(o.namespace for o in stack if o.is_object and o.namespace and o.kind != "NetworkPolicy"),
    }


def external_openings(stack: Stack) -> Iterator["Opening"]:
    """The openings for pods outside of the stack."""
    for opening in openings_of(stack):
        peer = opening.peer
        if peer is None or peer.get("ipBlock") is not None or peer.get("namespaceSelector") is None:
            continue
        if next(peer_pods(stack, opening.policy, peer), None) is None:
            yield opening


def _unknown_namespaces(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Reports peers in a namespace that nothing else in the stack mentions: the name may be misspelt.

    The operator decides the namespaces of the proxy and of the cluster's DNS, so a namespace counts as known if
    several policies agree on it and no policy expects the same pods elsewhere. Metrics collectors may be anywhere.
    """
    known = _known_namespaces(stack, settings)
    policies: dict[str, dict[str, set[str]]] = {}
    peers = []
    for opening in external_openings(stack):
        assert opening.peer is not None
        namespace = named_by(opening.peer.get("namespaceSelector"), NAME_LABEL)
        if namespace:
            selector = json.dumps(opening.peer.get("podSelector"), sort_keys=True, default=str)
            policies.setdefault(selector, {}).setdefault(namespace, set()).add(opening.policy.label)
            peers.append((opening, selector, namespace))
    for opening, selector, namespace in peers:
        by_namespace = policies[selector]
        is_agreed = len(by_namespace) == 1 and (len(by_namespace[namespace]) > 1 or opening.is_for_metrics(stack))
        if namespace not in known and not is_agreed:
            yield Violation(
                f"{opening.where}: a peer is in a namespace that nothing else in the stack mentions", opening.policy
            )


@dataclass(frozen=True, kw_only=True)
class Opening:
    """A rule of a policy together with one of its peers. Without a peer, the rule allows everybody."""

    policy: Resource
    where: str
    direction: str
    rule: Properties
    peer: Properties | None

    def ports_of(self, pod: Pod) -> set[tuple[str, int]]:
        """The (protocol, number) of each port of a pod that it opens; all declared ports if the rule names none."""
        declared = {
            (text(port.get("protocol")) or "TCP", whole(port.get("containerPort")), text(port.get("name")))
            for port in container_ports(pod)
        }
        ports = objects(self.rule.get("ports"))
        if not ports:
            return {(protocol, value) for protocol, value, _ in declared}
        opened: set[tuple[str, int]] = set()
        for entry in ports:
            protocol, port = text(entry.get("protocol")) or "TCP", entry.get("port")
            if port is None:
                opened |= {(kind, value) for kind, value, _ in declared if kind == protocol}
            elif number(port) is not None:
                last = whole(entry.get("endPort")) or whole(port)
                opened |= {
                    (kind, value) for kind, value, _ in declared if kind == protocol and whole(port) <= value <= last
                }
                opened.add((protocol, whole(port)))
            else:
                opened |= {(kind, value) for kind, value, name in declared if kind == protocol and name == port}
        return opened

    def is_for_metrics(self, stack: Stack) -> bool:
        """True if it opens only ports for metrics."""
        pods = pods_under(stack, self.policy)
        return self.direction == "Ingress" and all(
            any(
                whole(port.get("containerPort")) == value and text(port.get("name")).startswith("metrics")
                for port in container_ports(pod)
            )
            for pod in pods
            for _, value in self.ports_of(pod)
        )


def openings_of(stack: Stack) -> list[Opening]:
    """Every rule of every policy, once for each of its peers."""
    return stack.cached(_openings_of)


def _openings_of(stack: Stack) -> list[Opening]:
    return [
        Opening(policy=policy, where=where, direction=direction, rule=rule, peer=peer)
        for policy in stack.of("NetworkPolicy")
        for where, direction, rule in rules_of(policy)
        for peer in (*peers_of(rule, direction),) or (None,)
    ]


@stack_rule(
    remedy="Correct the labels or the namespace of the selector, or remove the policy.",
    settings={"namespaces": strings("namespaces of the cluster that are not part of the stack", ("kube-system",))},
)
def network_orphan(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Each network policy and each of its peers match existing pods in existing namespaces."""
    yield from _unknown_namespaces(stack, settings)
    for policy in stack.of("NetworkPolicy"):
        if not is_default_deny(policy) and not pods_under(stack, policy):
            yield Violation("podSelector matches no pod", policy)
        for where, direction, rule in rules_of(policy):
            for peer in peers_of(rule, direction):
                if _matches_nothing(stack, policy, peer):
                    yield Violation(f"{where}: a peer matches no pod of the stack", policy)


def _matches_nothing(stack: Stack, policy: Resource, peer: Properties) -> bool:
    """True if a peer is in namespaces of the stack, but selects none of the stack's pods."""
    is_anywhere = peer.get("namespaceSelector") is not None and is_empty(peer["namespaceSelector"])
    namespaces = [] if is_anywhere else peer_namespaces(stack, policy, peer)
    return bool(namespaces) and not any(peer_pods(stack, policy, peer))


UNSEEN = frozenset(
    {
        "AdminNetworkPolicy",
        "BaselineAdminNetworkPolicy",
        "CiliumClusterwideNetworkPolicy",
        "CiliumNetworkPolicy",
        "ClusterNetworkPolicy",
        "GlobalNetworkPolicy",
        "StagedGlobalNetworkPolicy",
        "StagedNetworkPolicy",
    }
)
"""Kinds of network plugins that allow or deny traffic in addition to Kubernetes' own policies."""


@stack_rule(
    remedy="Name each port, and each peer by the labels of its workload and its namespace, or by a small ipBlock.",
    frameworks=("CKV2_K8S_6", "NSA/CISA: Network policies"),
    settings={
        "identities": strings(
            "labels that identify the workload of a pod", ("app.kubernetes.io/name", "k8s-app", "app", "name")
        ),
        "ipv4": whole_number("the shortest allowed prefix of an IPv4 network", 16),
        "ipv6": whole_number("the shortest allowed prefix of an IPv6 network", 48),
    },
)
def network_wide(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Each rule of a network policy names its ports, and its peers as one workload or a small network; ports that a
    Service exposes may be open to all."""
    for resource in stack:
        foreign = resource.kind == "NetworkPolicy" and not resource.type.startswith("kubernetes:networking.k8s.io/")
        if resource.is_object and (resource.kind in UNSEEN or foreign):
            yield Violation("is a policy of a network plugin, which the rules do not check", resource)
    for policy in stack.of("NetworkPolicy"):
        opens = any(rules_of(policy))
        owners = {pod.owner.urn for pod in pods_under(stack, policy)}
        if opens and is_empty(policy.spec.get("podSelector")):
            yield Violation("allows traffic for every pod of its namespace", policy)
        elif opens and len(owners) > 1:
            yield Violation("allows traffic for several workloads at once", policy)
        for where, direction, rule in rules_of(policy):
            is_public = direction == "Ingress" and _is_public(stack, policy, rule)
            for message in _wide_rule(rule, direction, is_public, settings):
                yield Violation(f"{where}.{message}", policy)


def _is_public(stack: Stack, policy: Resource, rule: Properties) -> bool:
    """True if a rule opens nothing but what Services expose of its pods anyway (service-exposed lists those).

    A range of ports is not looked into: it counts as more.
    """
    exposed = {
        (text(port.get("protocol")) or "TCP", target_of(port))
        for service in stack.of("Service")
        if service.namespace == policy.namespace and service.spec.get("type") in EXPOSING
        for port in objects(service.spec.get("ports"))
        if {id(pod) for pod in pods_behind(stack, service)} >= {id(pod) for pod in pods_under(stack, policy)}
    }
    ports = objects(rule.get("ports"))
    pods = pods_under(stack, policy)
    return bool(ports and pods) and all(
        any(
            (protocol, target) in exposed
            for pod in pods
            for declared in container_ports(pod)
            if (text(declared.get("protocol")) or "TCP") == protocol
            and port.get("port") in (declared.get("containerPort"), declared.get("name"))
            and port.get("endPort") is None
            for target in (declared.get("containerPort"), declared.get("name"))
        )
        for port in ports
        for protocol in [text(port.get("protocol")) or "TCP"]
    )


def _wide_rule(rule: Properties, direction: str, is_public: bool, settings: Settings) -> Iterator[str]:
    peers = DIRECTIONS[direction][1]
    if not objects(rule.get("ports")):
        yield "ports is missing: all ports are allowed"
    for index, port in enumerate(objects(rule.get("ports"))):
        if port.get("port") in (None, "", 0):
            yield f"ports[{index}].port is missing: all ports of the protocol are allowed"
        if port.get("endPort") is not None:
            yield f"ports[{index}].endPort allows a range of ports"
    if not peers_of(rule, direction):
        yield f"{peers} is missing: all peers are allowed"
    for peer in peers_of(rule, direction):
        if not (is_public and peer.get("ipBlock") is not None):
            for message in _wide_peer(peer, direction, settings):
                yield f"{peers}: {message}"


def _wide_peer(peer: Properties, direction: str, settings: Settings) -> Iterator[str]:
    block = mapping(peer.get("ipBlock"))
    if block:
        try:
            network = ipaddress.ip_network(text(block.get("cidr")), strict=False)
        except ValueError:
            yield "ipBlock.cidr is not a network"
            return
        if network.prefixlen < settings["ipv4" if network.version == 4 else "ipv6"]:
            yield "ipBlock.cidr is too wide"
        elif direction == "Ingress" and network.is_private and network.num_addresses > 1:
            yield "ipBlock.cidr is a private network, which can contain any pod"
    elif is_empty(peer.get("podSelector")):
        yield "podSelector matches every pod of a namespace"
    elif not named_by(peer.get("podSelector"), *settings["identities"]):
        yield "podSelector does not identify a workload"
    elif peer.get("namespaceSelector") is not None and is_empty(peer["namespaceSelector"]):
        yield "namespaceSelector matches every namespace"
    elif peer.get("namespaceSelector") is not None and not named_by(peer["namespaceSelector"], NAME_LABEL):
        yield f"namespaceSelector does not name one namespace by {NAME_LABEL}"


@dataclass(frozen=True)
class Edge:
    """Traffic that an opening allows: from the pods of one workload to a port of another."""

    client: str
    server: str
    protocol: str
    port: int


@stack_rule(
    remedy="Add the rule to the policy of the other side, or remove it from this one.",
    frameworks=("NSA/CISA: Network policies",),
)
def network_agreement(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Both sides of a connection allow it: each ingress rule has its egress rule, and the reverse."""
    edges: dict[str, dict[Edge, Opening]] = {direction: {} for direction in DIRECTIONS}
    for opening in openings_of(stack):
        for edge in _edges(stack, opening):
            edges[opening.direction].setdefault(edge, opening)
    alone = [
        (edge, opening, other)
        for direction, other in (("Ingress", "Egress"), ("Egress", "Ingress"))
        for edge, opening in edges[direction].items()
        if edge not in edges[other]
    ]
    if not alone:
        return
    judged = {policy.urn for policy in stack.of("NetworkPolicy")} - _reported_elsewhere(stack)
    restricted = _restricted_workloads(stack, judged)
    names = {pod.owner.urn: pod.owner.label for pod in pods_of(stack)}
    reported = set()
    for edge, opening, other in alone:
        workload = edge.client if other == "Egress" else edge.server
        if workload not in restricted[other] or opening.policy.urn not in judged:
            continue
        name = names[workload]
        if (opening.policy.urn, opening.where, name) not in reported:
            reported.add((opening.policy.urn, opening.where, name))
            message = f"{opening.where}: the policy of {name} has no matching {DIRECTIONS[other][0]} rule"
            yield Violation(message, opening.policy)


def _restricted_workloads(stack: Stack, judged: set[str]) -> dict[str, set[str]]:
    """The workloads whose traffic a policy restricts, by direction, if all of their policies are judged here."""
    restricted: dict[str, set[str]] = {direction: set() for direction in DIRECTIONS}
    unjudged: set[str] = set()
    for policy in stack.of("NetworkPolicy"):
        owners = set() if is_default_deny(policy) else {pod.owner.urn for pod in pods_under(stack, policy)}
        for direction in directions_of(policy) & set(DIRECTIONS):
            restricted[direction] |= owners
        if policy.urn not in judged:
            unjudged |= owners
    return {direction: owners - unjudged for direction, owners in restricted.items()}


def _edges(stack: Stack, opening: Opening) -> Iterator[Edge]:
    peers = pods_of(stack) if opening.peer is None else list(peer_pods(stack, opening.policy, opening.peer))
    for pod in pods_under(stack, opening.policy):
        for peer in peers:
            client, server = (peer, pod) if opening.direction == "Ingress" else (pod, peer)
            for protocol, port in opening.ports_of(server):
                yield Edge(client.owner.urn, server.owner.urn, protocol, port)


def _reported_elsewhere(stack: Stack) -> set[str]:
    """Policies with a violation of another rule. Skipping them here avoids a second report of the same mistake."""
    violations = [
        found for rule in (network_orphan, network_wide) for found in rule.check(stack, rule.with_defaults({}))
    ]
    return {violation.resource.urn for violation in violations if violation.resource is not None}


AGENT = {"169.254.170.23/32": 80, "fd00:ec2::23/128": 80}
"""The agent of EKS Pod Identity on the node, which returns only the credentials of the pod's own role."""
GKE = {"169.254.169.252/32": 988, "169.254.169.254/32": 80}
"""GKE's metadata server, which has two addresses. It intercepts requests to the machine's own metadata server."""
DNS = 53
"""The port of a resolver on the machine (NodeLocal DNSCache, GKE's Cloud DNS), which exposes nothing but names."""
METADATA = tuple(
    ipaddress.ip_network(cidr)
    for cidr in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "100.100.100.200/32", "168.63.129.16/32")
)


@stack_rule(
    remedy="Remove the ipBlock, or exclude link-local addresses with except.",
    frameworks=("MITRE ATT&CK T1552.005", "CIS EKS 4.3.1"),
)
def network_metadata(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """No pod can reach its machine's metadata service, which returns the machine's credentials."""
    for policy in stack.of("NetworkPolicy"):
        blocks = [
            (where, rule, mapping(peer.get("ipBlock")))
            for where, direction, rule in rules_of(policy)
            if direction == "Egress" or not _is_public(stack, policy, rule)
            for peer in peers_of(rule, direction)
            if peer.get("ipBlock") is not None
        ]
        cidrs = {text(block.get("cidr")) for _, _, block in blocks}
        allowed = {**AGENT, **(GKE if set(GKE) <= cidrs else {})}
        for where, rule, block in blocks:
            cidr = text(block.get("cidr"))
            ports = [port.get("port") if port.get("endPort") is None else None for port in objects(rule.get("ports"))]
            if _reaches_metadata(block) and set(ports) != {DNS} and not (cidr in allowed and ports == [allowed[cidr]]):
                yield Violation(f"{where}: allows access to the machine's metadata service", policy)


def _reaches_metadata(block: Properties) -> bool:
    try:
        network = ipaddress.ip_network(text(block.get("cidr")), strict=False)
        holes = [ipaddress.ip_network(text(hole), strict=False) for hole in items(block.get("except"))]
    except ValueError:
        return False  # network-wide reports it
    # Networks are nested or disjoint, so the smaller of two that overlap is their common part.
    common = (max(network, place, key=lambda each: each.prefixlen) for place in METADATA if network.overlaps(place))
    return any(
        not any(part.network_address in hole and hole.prefixlen <= part.prefixlen for hole in holes) for part in common
    )
