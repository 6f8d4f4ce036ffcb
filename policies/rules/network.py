"""Network policies: nothing may talk to anything but what is said."""

import ipaddress
from collections.abc import Iterator

from policies.model import Properties, Resource, Stack, items, mapping, objects, text
from policies.pods import Labelled, Pod, is_empty, pods_of, selected_pods
from policies.rule import Settings, StackRule, Violation, whole_number

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


def _orphans(stack: Stack, settings: Settings) -> Iterator[Violation]:
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
    description="Each network policy, and each peer in it, matches a pod that there is.",
    remedy="Correct the labels of the selector, or remove the policy.",
    check=_orphans,
)


def _wide(stack: Stack, settings: Settings) -> Iterator[Violation]:
    for policy in policies_of(stack):
        opens = any(rules_of(policy, direction) for direction in DIRECTIONS)
        if opens and is_empty(spec_of(policy).get("podSelector")):
            yield Violation(message="opens something for every pod of its namespace", resource=policy)
        for direction, (field, peers) in DIRECTIONS.items():
            for index, rule in enumerate(rules_of(policy, direction)):
                where = f"{field}[{index}]"
                if not objects(rule.get("ports")):
                    yield Violation(message=f"{where}.ports is missing: every port is open", resource=policy)
                if not peers_of(rule, direction):
                    yield Violation(message=f"{where}.{peers} is missing: everybody is meant", resource=policy)
                for peer in peers_of(rule, direction):
                    for message in _wide_peer(peer, settings):
                        yield Violation(message=f"{where}.{peers}: {message}", resource=policy)


def _wide_peer(peer: Properties, settings: Settings) -> Iterator[str]:
    block = mapping(peer.get("ipBlock"))
    if block:
        try:
            network = ipaddress.ip_network(text(block.get("cidr")), strict=False)
        except ValueError:
            yield "ipBlock.cidr is no network"
            return
        if network.prefixlen < settings["ipv4" if network.version == 4 else "ipv6"]:
            yield "ipBlock.cidr is too wide"
    elif is_empty(peer.get("podSelector")):
        yield "every pod of a namespace is meant"
    elif peer.get("namespaceSelector") is not None and is_empty(peer["namespaceSelector"]):
        yield "pods of every namespace are meant"


WIDE = StackRule(
    name="network-wide",
    description="Each opening of a network policy names ports, and pods or a small network.",
    frameworks=("CKV2_K8S_6", "NSA/CISA: Network policies"),
    remedy="Name the ports, and the peers by podSelector and namespaceSelector or by a narrow ipBlock.",
    settings={
        "ipv4": whole_number("the shortest prefix of an IPv4 network that is narrow enough", 16),
        "ipv6": whole_number("the shortest prefix of an IPv6 network that is narrow enough", 48),
    },
    check=_wide,
)

RULES = (DEFAULT_DENY, POD_POLICY, ORPHANS, WIDE)
