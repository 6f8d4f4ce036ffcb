"""Network policies: nothing may talk to anything but what is said."""

import ipaddress
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from policies.model import Properties, Resource, Stack, items, mapping, number, objects, text, whole
from policies.pods import Labelled, Pod, container_ports, is_empty, pods_of, selected_pods
from policies.rule import Settings, StackRule, Violation, strings, whole_number

DIRECTIONS = {"Ingress": ("ingress", "from"), "Egress": ("egress", "to")}


def policies_of(stack: Stack) -> list[Resource]:
    """The network policies of a stack."""
    return stack.of("NetworkPolicy")


def spec_of(policy: Resource) -> Properties:
    return mapping(policy.properties.get("spec"))


def directions_of(policy: Resource) -> set[str]:
    """What a policy restricts. Without policyTypes: ingress, and egress if it has rules for it."""
    spec = spec_of(policy)
    types = {text(entry) for entry in items(spec.get("policyTypes"))}
    return types or {"Ingress", *(["Egress"] if items(spec.get("egress")) else [])}


def pods_under(stack: Stack, policy: Resource) -> list[Pod]:
    """The pods that a policy is about."""
    return selected_pods(stack, policy.namespace, spec_of(policy).get("podSelector"))


def rules_of(policy: Resource, direction: str) -> list[Properties]:
    """The openings of a policy in one direction."""
    return objects(spec_of(policy).get(DIRECTIONS[direction][0]))


def peers_of(rule: Properties, direction: str) -> list[Properties]:
    """Whom an opening names; nobody named is everybody."""
    return objects(rule.get(DIRECTIONS[direction][1]))


def is_default_deny(policy: Resource) -> bool:
    """Whether a policy closes everything for every pod of its namespace."""
    return (
        is_empty(spec_of(policy).get("podSelector"))
        and directions_of(policy) >= set(DIRECTIONS)
        and not any(rules_of(policy, direction) for direction in DIRECTIONS)
    )


def namespace_labels(stack: Stack, name: str) -> dict[str, str]:
    """The labels of a namespace, its name among them, which the API server sets."""
    found = stack.get("Namespace", "", name)
    given = mapping(found.metadata.get("labels")) if found else {}
    return {**given, "kubernetes.io/metadata.name": name}


def peer_namespaces(stack: Stack, policy: Resource, peer: Properties) -> list[str]:
    """Those of the stack's own namespaces that an opening's peer is in."""
    if peer.get("ipBlock") is not None:
        return []
    if peer.get("namespaceSelector") is None:
        return [policy.namespace] if policy.namespace in stack.kept(_namespaces) else []
    return stack.kept(_labelled_namespaces).select(peer["namespaceSelector"])


def peer_pods(stack: Stack, policy: Resource, peer: Properties) -> Iterator[Pod]:
    """The pods that an opening's peer is."""
    for name in peer_namespaces(stack, policy, peer):
        yield from selected_pods(stack, name, peer.get("podSelector"))


def _namespaces(stack: Stack) -> frozenset[str]:
    """The namespaces that the stack makes, or has pods in."""
    return frozenset(
        [*(pod.namespace for pod in pods_of(stack)), *(found.object_name for found in stack.of("Namespace"))]
    )


def _labelled_namespaces(stack: Stack) -> Labelled[str]:
    return Labelled((namespace_labels(stack, name), name) for name in sorted(stack.kept(_namespaces)))


def _default_deny(stack: Stack, settings: Settings) -> Iterator[Violation]:
    closed = {policy.namespace for policy in policies_of(stack) if is_default_deny(policy)}
    places: dict[str, Resource] = {pod.namespace: pod.owner for pod in reversed(pods_of(stack))}
    places |= {namespace.object_name: namespace for namespace in stack.of("Namespace")}
    for name, resource in sorted(places.items()):
        if name not in closed:
            yield Violation(message="its namespace has no policy that denies everything by default", resource=resource)


DEFAULT_DENY = StackRule(
    name="network-default-deny",
    description="Each namespace denies all traffic, in both directions, that no policy allows.",
    frameworks=("NSA/CISA: Network policies", "CIS Kubernetes 5.3.2"),
    remedy="Add a NetworkPolicy with an empty podSelector, policyTypes [Ingress, Egress] and no rules.",
    check=_default_deny,
)


def _pod_policy(stack: Stack, settings: Settings) -> Iterator[Violation]:
    covered: dict[int, set[str]] = {}
    for policy in policies_of(stack):
        if not is_default_deny(policy):
            for pod in pods_under(stack, policy):
                covered.setdefault(id(pod), set()).update(directions_of(policy))
    for pod in pods_of(stack):
        for direction in sorted(set(DIRECTIONS) - covered.get(id(pod), set())):
            yield Violation(message=f"no policy of its own for {direction.lower()}", resource=pod.owner)


POD_POLICY = StackRule(
    name="network-pod-policy",
    description="A policy says of each pod whom it may talk to and who may talk to it.",
    frameworks=("CKV2_K8S_6", "NSA/CISA: Network policies"),
    remedy="Add a NetworkPolicy whose podSelector matches the pod, with policyTypes [Ingress, Egress].",
    check=_pod_policy,
)


NAME_LABEL = "kubernetes.io/metadata.name"
"""The label that the API server gives to each namespace: its name."""


def named_by(selector: Any, *labels: str) -> str:
    """What a selector says that one of some labels must be; empty where it leaves that open or allows several."""
    wanted = mapping(selector)
    for label in labels:
        value = text(mapping(wanted.get("matchLabels")).get(label))
        for expression in objects(wanted.get("matchExpressions")):
            values = items(expression.get("values"))
            if (expression.get("key"), expression.get("operator")) == (label, "In") and len(values) == 1:
                value = value or text(values[0])
        if value:
            return value
    return ""


def _known_namespaces(stack: Stack, settings: Settings) -> set[str]:
    """Namespaces that the stack makes, has something in, or may take for granted."""
    releases = stack.typed("kubernetes:helm.sh/v3:Release")
    return {
        *settings["namespaces"],
        *(resource.object_name for resource in stack.of("Namespace")),
        *(text(release.properties.get("namespace")) for release in releases),
        *(o.namespace for o in stack if o.is_object and o.namespace and o.kind != "NetworkPolicy"),
    }


def outsiders(stack: Stack) -> Iterator["Opening"]:
    """The openings for pods that are none of the stack's."""
    for opening in openings_of(stack):
        peer = opening.peer
        if peer is None or peer.get("ipBlock") is not None or peer.get("namespaceSelector") is None:
            continue
        if next(peer_pods(stack, opening.policy, peer), None) is None:
            yield opening


def _lost_namespaces(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Peers in a namespace that nothing else of the stack knows: a name misspelt, or somebody whom nobody meant.

    Where the proxy and the cluster's DNS are is for the operator to say, so several policies that agree on a place
    are believed, unless others look for the same pods elsewhere. Who collects metrics may be anywhere.
    """
    known = _known_namespaces(stack, settings)
    places: dict[str, dict[str, set[str]]] = {}
    found = []
    for opening in outsiders(stack):
        assert opening.peer is not None
        place = named_by(opening.peer.get("namespaceSelector"), NAME_LABEL)
        if place:
            who = json.dumps(opening.peer.get("podSelector"), sort_keys=True, default=str)
            places.setdefault(who, {}).setdefault(place, set()).add(opening.policy.label)
            found.append((opening, who, place))
    for opening, who, place in found:
        agreed = len(places[who]) == 1 and (len(places[who][place]) > 1 or opening.is_for_metrics(stack))
        if place not in known and not agreed:
            yield Violation(
                message=f"{opening.where}: a peer is in a namespace that nothing else of the stack knows",
                resource=opening.policy,
            )


@dataclass(frozen=True, kw_only=True)
class Opening:
    """One peer of one opening; no peer is everybody."""

    policy: Resource
    direction: str
    index: int
    rule: Properties
    peer: Properties | None

    @property
    def where(self) -> str:
        return f"{DIRECTIONS[self.direction][0]}[{self.index}]"

    def ports_of(self, pod: Pod) -> set[tuple[str, int]]:
        """The ports of a pod that it opens, as protocol and number. Where it names none: all that the pod declares."""
        declared = {
            (text(port.get("protocol")) or "TCP", whole(port.get("containerPort")), text(port.get("name")))
            for port in container_ports(pod)
        }
        opened = objects(self.rule.get("ports"))
        if not opened:
            return {(protocol, value) for protocol, value, _ in declared}
        found: set[tuple[str, int]] = set()
        for port in opened:
            protocol, wanted = text(port.get("protocol")) or "TCP", port.get("port")
            if wanted is None:
                found |= {(kind, value) for kind, value, _ in declared if kind == protocol}
            elif number(wanted) is not None:
                found.add((protocol, whole(wanted)))
            else:
                found |= {(kind, value) for kind, value, name in declared if kind == protocol and name == wanted}
        return found

    def is_for_metrics(self, stack: Stack) -> bool:
        """Whether it opens ports for metrics and nothing else."""
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
    """Every opening of every policy."""
    return stack.kept(_openings_of)


def _openings_of(stack: Stack) -> list[Opening]:
    return [
        Opening(policy=policy, direction=direction, index=index, rule=rule, peer=peer)
        for policy in policies_of(stack)
        for direction in DIRECTIONS
        for index, rule in enumerate(rules_of(policy, direction))
        for peer in (*peers_of(rule, direction),) or (None,)
    ]


def _orphans(stack: Stack, settings: Settings) -> Iterator[Violation]:
    yield from _lost_namespaces(stack, settings)
    for policy in policies_of(stack):
        if not is_default_deny(policy) and not pods_under(stack, policy):
            yield Violation(message="podSelector matches no pod", resource=policy)
        for direction in DIRECTIONS:
            for index, rule in enumerate(rules_of(policy, direction)):
                for peer in peers_of(rule, direction):
                    if _is_lost(stack, policy, peer):
                        field = DIRECTIONS[direction][0]
                        yield Violation(
                            message=f"{field}[{index}]: a peer matches no pod of the stack", resource=policy
                        )


def _is_lost(stack: Stack, policy: Resource, peer: Properties) -> bool:
    """Whether a peer is in the stack's own namespaces, so that its pods must be among the stack's, and is none."""
    anywhere = peer.get("namespaceSelector") is not None and is_empty(peer["namespaceSelector"])
    ours = not anywhere and peer_namespaces(stack, policy, peer)
    return bool(ours) and not any(peer_pods(stack, policy, peer))


ORPHANS = StackRule(
    name="network-orphan",
    description="Each network policy, and each peer in it, matches a pod that there is, in a namespace that there is.",
    remedy="Correct the labels of the selector or the namespace, or remove the policy.",
    settings={"namespaces": strings("namespaces that every cluster has, or that yours has", ("kube-system",))},
    check=_orphans,
)


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
"""Kinds of network plugins that open and close traffic beside the policies of Kubernetes."""


def _wide(stack: Stack, settings: Settings) -> Iterator[Violation]:
    for resource in stack:
        foreign = resource.kind == "NetworkPolicy" and not resource.type.startswith("kubernetes:networking.k8s.io/")
        if resource.is_object and (resource.kind in UNSEEN or foreign):
            yield Violation(message="a policy of a network plugin, whose openings no rule sees", resource=resource)
    for policy in policies_of(stack):
        opens = any(rules_of(policy, direction) for direction in DIRECTIONS)
        owners = {pod.owner.urn for pod in pods_under(stack, policy)}
        if opens and is_empty(spec_of(policy).get("podSelector")):
            yield Violation(message="opens something for every pod of its namespace", resource=policy)
        elif opens and len(owners) > 1:
            yield Violation(message="opens something for several workloads at once", resource=policy)
        for direction, (field, peers) in DIRECTIONS.items():
            for index, rule in enumerate(rules_of(policy, direction)):
                where = f"{field}[{index}]"
                if not objects(rule.get("ports")):
                    yield Violation(message=f"{where}.ports is missing: every port is open", resource=policy)
                for message in _wide_ports(rule):
                    yield Violation(message=f"{where}.{message}", resource=policy)
                if not peers_of(rule, direction):
                    yield Violation(message=f"{where}.{peers} is missing: everybody is meant", resource=policy)
                for peer in peers_of(rule, direction):
                    for message in _wide_peer(peer, direction, settings):
                        yield Violation(message=f"{where}.{peers}: {message}", resource=policy)


def _wide_ports(rule: Properties) -> Iterator[str]:
    for index, port in enumerate(objects(rule.get("ports"))):
        if port.get("port") in (None, "", 0):
            yield f"ports[{index}].port is missing: every port of the protocol is open"
        if port.get("endPort") is not None:
            yield f"ports[{index}].endPort opens a range"


def _wide_peer(peer: Properties, direction: str, settings: Settings) -> Iterator[str]:
    block = mapping(peer.get("ipBlock"))
    if block:
        try:
            network = ipaddress.ip_network(text(block.get("cidr")), strict=False)
        except ValueError:
            yield "ipBlock.cidr is no network"
            return
        if network.prefixlen < settings["ipv4" if network.version == 4 else "ipv6"]:
            yield "ipBlock.cidr is too wide"
        elif direction == "Ingress" and network.is_private and network.num_addresses > 1:
            yield "ipBlock.cidr is a network of the inside, where any pod may be"
    elif is_empty(peer.get("podSelector")):
        yield "every pod of a namespace is meant"
    elif not named_by(peer.get("podSelector"), *settings["identities"]):
        yield "podSelector does not say which workload is meant"
    elif peer.get("namespaceSelector") is not None and is_empty(peer["namespaceSelector"]):
        yield "pods of every namespace are meant"
    elif peer.get("namespaceSelector") is not None and not named_by(peer["namespaceSelector"], NAME_LABEL):
        yield f"namespaceSelector does not name one namespace by {NAME_LABEL}"


WIDE = StackRule(
    name="network-wide",
    description="Each opening of a network policy names ports, and pods or a small network.",
    frameworks=("CKV2_K8S_6", "NSA/CISA: Network policies"),
    remedy="Name each port, and each peer by the labels of its workload and of its namespace, or by a narrow ipBlock.",
    settings={
        "identities": strings(
            "labels that say which workload a pod belongs to", ("app.kubernetes.io/name", "k8s-app", "app", "name")
        ),
        "ipv4": whole_number("the shortest prefix of an IPv4 network that is narrow enough", 16),
        "ipv6": whole_number("the shortest prefix of an IPv6 network that is narrow enough", 48),
    },
    check=_wide,
)


@dataclass(frozen=True)
class Edge:
    """Traffic that an opening means: from pods of one workload to a port of another."""

    client: str
    server: str
    protocol: str
    port: int


def _agreement(stack: Stack, settings: Settings) -> Iterator[Violation]:
    judged = {policy.urn for policy in policies_of(stack)} - _found_elsewhere(stack)
    edges: dict[str, dict[Edge, Opening]] = {direction: {} for direction in DIRECTIONS}
    for opening in openings_of(stack):
        for edge in _edges(stack, opening):
            edges[opening.direction].setdefault(edge, opening)
    names = {pod.owner.urn: pod.owner.label for pod in pods_of(stack)}
    restricted: dict[str, set[str]] = {direction: set() for direction in DIRECTIONS}
    unjudged: set[str] = set()
    for policy in policies_of(stack):
        owners = set() if is_default_deny(policy) else {pod.owner.urn for pod in pods_under(stack, policy)}
        for direction in directions_of(policy) & set(DIRECTIONS):
            restricted[direction] |= owners
        if policy.urn not in judged:
            unjudged |= owners
    restricted = {direction: owners - unjudged for direction, owners in restricted.items()}
    told = set()
    for direction, other in (("Ingress", "Egress"), ("Egress", "Ingress")):
        for edge, opening in edges[direction].items():
            theirs = edge.client if other == "Egress" else edge.server
            if edge in edges[other] or theirs not in restricted[other] or opening.policy.urn not in judged:
                continue
            name = names[theirs]
            if (opening.policy.urn, opening.where, name) not in told:
                told.add((opening.policy.urn, opening.where, name))
                says = f"{opening.where}: the policy of {name} has no {DIRECTIONS[other][0]} for this"
                yield Violation(message=says, resource=opening.policy)


def _edges(stack: Stack, opening: Opening) -> Iterator[Edge]:
    theirs = pods_of(stack) if opening.peer is None else list(peer_pods(stack, opening.policy, opening.peer))
    for mine in pods_under(stack, opening.policy):
        for other in theirs:
            client, server = (other, mine) if opening.direction == "Ingress" else (mine, other)
            for protocol, port in opening.ports_of(server):
                yield Edge(client.owner.urn, server.owner.urn, protocol, port)


def _found_elsewhere(stack: Stack) -> set[str]:
    """Policies that another rule finds: what they do not say is told once."""
    found = [*_orphans(stack, ORPHANS.with_defaults({})), *_wide(stack, WIDE.with_defaults({}))]
    return {violation.resource.urn for violation in found if violation.resource is not None}


AGREEMENT = StackRule(
    name="network-agreement",
    description="Both policies of a connection allow it: nobody is let in who declares no use of it.",
    frameworks=("NSA/CISA: Network policies",),
    remedy="Add the opening to the policy of the other side, or remove it from this one.",
    check=_agreement,
)

AGENT = {"169.254.170.23/32": 80, "fd00:ec2::23/128": 80}
"""EKS Pod Identity's agent on the node: it gives a pod the credentials of its own role and nothing else."""
GKE = {"169.254.169.252/32": 988, "169.254.169.254/32": 80}
"""GKE's metadata server, which two addresses belong to; it stands in front of the machine's own."""
DNS = 53
"""A resolver on the machine (NodeLocal DNSCache, Cloud DNS of GKE) answers for names and gives away nothing else."""
METADATA = tuple(
    ipaddress.ip_network(each)
    for each in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "100.100.100.200/32", "168.63.129.16/32")
)


def _metadata(stack: Stack, settings: Settings) -> Iterator[Violation]:
    for policy in policies_of(stack):
        blocks = [
            (f"{DIRECTIONS[direction][0]}[{index}]", rule, mapping(peer.get("ipBlock")))
            for direction in DIRECTIONS
            for index, rule in enumerate(rules_of(policy, direction))
            for peer in peers_of(rule, direction)
            if peer.get("ipBlock") is not None
        ]
        written = {text(block.get("cidr")) for _, _, block in blocks}
        allowed = {**AGENT, **(GKE if set(GKE) <= written else {})}
        for where, rule, block in blocks:
            cidr = text(block.get("cidr"))
            ports = [port.get("port") for port in objects(rule.get("ports"))]
            if _reaches_metadata(block) and set(ports) != {DNS} and not (cidr in allowed and ports == [allowed[cidr]]):
                yield Violation(message=f"{where}: leads to where machines get their credentials", resource=policy)


def _reaches_metadata(block: Properties) -> bool:
    try:
        network = ipaddress.ip_network(text(block.get("cidr")), strict=False)
        holes = [ipaddress.ip_network(text(hole), strict=False) for hole in items(block.get("except"))]
    except ValueError:
        return False  # network-wide tells
    return any(
        network.version == place.version
        and network.overlaps(place)
        and not any(hole.version == place.version and _covers(hole, place, network) for hole in holes)
        for place in METADATA
    )


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _covers(hole: Network, place: Network, network: Network) -> bool:
    """Whether an exception takes away all that a network has of a place. Networks nest or are apart."""
    inner = place if place.prefixlen >= network.prefixlen else network
    return hole.prefixlen <= inner.prefixlen and inner.network_address in hole


METADATA_RULE = StackRule(
    name="network-metadata",
    description="No pod reaches the metadata of its machine, which gives away the machine's own credentials.",
    frameworks=("MITRE ATT&CK T1552.005", "CIS EKS 4.3.1"),
    remedy="Remove the ipBlock, or leave link-local addresses out with except.",
    check=_metadata,
)

RULES = (DEFAULT_DENY, POD_POLICY, ORPHANS, WIDE, AGREEMENT, METADATA_RULE)
