"""Network policies: nothing may talk to anything but what is said."""

import ipaddress
from collections.abc import Iterator

from policies.model import Properties, Resource, Stack, items, mapping, objects, text
from policies.pods import Pod, is_empty, pods_of, selects
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


def applies(policy: Resource, pod: Pod) -> bool:
    """Whether a policy is about a pod."""
    return policy.namespace == pod.namespace and selects(spec_of(policy).get("podSelector"), pod.labels)


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


def is_peer(stack: Stack, policy: Resource, peer: Properties, pod: Pod) -> bool:
    """Whether an opening's peer is this pod."""
    if peer.get("ipBlock") is not None:
        return False
    if peer.get("namespaceSelector") is None:
        same_place = pod.namespace == policy.namespace
    else:
        same_place = selects(peer.get("namespaceSelector"), namespace_labels(stack, pod.namespace))
    return same_place and selects(peer.get("podSelector"), pod.labels)


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
    own = [policy for policy in policies_of(stack) if not is_default_deny(policy)]
    for pod in pods_of(stack):
        covered = {direction for policy in own if applies(policy, pod) for direction in directions_of(policy)}
        for direction in sorted(set(DIRECTIONS) - covered):
            yield Violation(message=f"no policy of its own for {direction.lower()}", resource=pod.owner)


POD_POLICY = StackRule(
    name="network-pod-policy",
    description="A policy says of each pod whom it may talk to and who may talk to it.",
    frameworks=("CKV2_K8S_6", "NSA/CISA: Network policies"),
    remedy="Add a NetworkPolicy whose podSelector matches the pod, with policyTypes [Ingress, Egress].",
    check=_pod_policy,
)


def _orphans(stack: Stack, settings: Settings) -> Iterator[Violation]:
    pods = pods_of(stack)
    ours = {pod.namespace for pod in pods} | {namespace.object_name for namespace in stack.of("Namespace")}
    for policy in policies_of(stack):
        if not is_default_deny(policy) and not any(applies(policy, pod) for pod in pods):
            yield Violation(message="podSelector matches no pod", resource=policy)
        for direction in DIRECTIONS:
            for index, rule in enumerate(rules_of(policy, direction)):
                for peer in peers_of(rule, direction):
                    meant = [name for name in ours if _names(stack, policy, peer, name)]
                    if meant and not any(is_peer(stack, policy, peer, pod) for pod in pods):
                        field = DIRECTIONS[direction][0]
                        yield Violation(
                            message=f"{field}[{index}]: a peer matches no pod of the stack", resource=policy
                        )


def _names(stack: Stack, policy: Resource, peer: Properties, namespace: str) -> bool:
    """Whether a peer is in one of the stack's own namespaces, so that its pods must be among the stack's."""
    if peer.get("ipBlock") is not None:
        return False
    if peer.get("namespaceSelector") is None:
        return policy.namespace == namespace
    return not is_empty(peer["namespaceSelector"]) and selects(
        peer["namespaceSelector"], namespace_labels(stack, namespace)
    )


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
