"""Whatever opens a connection that was closed is found, however it is spelt: random rules, and what they mean.

What a rule admits is computed here from the definition of NetworkPolicy, without the pack's code.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from policies.check import check
from policies.model import Resource
from policies.rules import BY_NAME
from tests.graph.stack import Object, load
from tests.graph.test_policies import config_of, resources_of

NAME, PLACE = "app.kubernetes.io/name", "kubernetes.io/metadata.name"
RULES = [rule for name, rule in BY_NAME.items() if name.startswith("network-")]


@dataclass(frozen=True)
class Place:
    """A pod with its labels and those of its namespace, or an address without labels."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()
    namespace: str = ""
    address: str = ""


@cache
def places() -> tuple[Place, ...]:
    """The stack's pods, pods of others, and addresses outside."""
    own = {
        Place(pod.name, tuple(sorted(pod.labels.items())), pod.namespace)
        for pod in load("dev").pods()
        if pod.owner["kind"] != "Job"
    }
    strangers = (
        Place("stranger", (), "other"),
        Place("named", (("app", "debug"), (NAME, "debug")), "other"),
        Place("inside", (), "flatline"),
    )
    addresses = ("8.8.8.8", "203.0.113.77", "10.42.0.9", "169.254.169.254", "2001:db8::1")
    return (*sorted(own, key=lambda place: place.name), *strangers, *(Place(each, address=each) for each in addresses))


PORTS = (22, 53, 443, 5000, 6379, 8080, 16379, 50051)


def selects(selector: Object | None, labels: dict[str, str]) -> bool:
    """Whether a label selector matches; an empty one matches everything."""
    selector = selector or {}
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    meanings: dict[str, Callable[[str, Any], bool]] = {
        "In": lambda key, values: labels.get(key) in values,
        "NotIn": lambda key, values: labels.get(key) not in values,
        "Exists": lambda key, _: key in labels,
        "DoesNotExist": lambda key, _: key not in labels,
    }
    return all(
        meanings[each["operator"]](each["key"], each.get("values", ())) for each in selector.get("matchExpressions", ())
    )


def peer_is(peer: Object, place: Place, home: str) -> bool:
    if block := peer.get("ipBlock"):
        if not place.address:
            return False
        address = ip_address(place.address)
        inside = [address in ip_network(each) for each in (block["cidr"], *block.get("except", ()))]
        return inside[0] and not any(inside[1:])
    if place.address:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], {PLACE: place.namespace}):
            return False
    elif place.namespace != home:
        return False
    return selects(peer.get("podSelector"), dict(place.labels))


def port_is(entry: Object, port: int) -> bool:
    first = entry.get("port")
    return entry.get("protocol", "TCP") == "TCP" and (first is None or first <= port <= (entry.get("endPort") or first))


def admitted(rule: Object, side: str, home: str) -> set[tuple[str, int]]:
    """Places and TCP ports."""
    peers, ports = rule.get(side), rule.get("ports")
    return {
        (place.name, port)
        for place in places()
        if not peers or any(peer_is(peer, place, home) for peer in peers)
        for port in PORTS
        if not ports or any(port_is(entry, port) for entry in ports)
    }


KEYS = (NAME, "app", "app.kubernetes.io/part-of", "k8s-app", "nobody")
VALUES = ("redis", "whisper", "flatline", "debug", "kube-dns", "nobody")
EXISTENCE = st.sampled_from(["Exists", "DoesNotExist"])
expressions = st.one_of(
    st.builds(lambda key, operator: {"key": key, "operator": operator}, st.sampled_from(KEYS), EXISTENCE),
    st.builds(
        lambda key, operator, values: {"key": key, "operator": operator, "values": values},
        st.sampled_from(KEYS),
        st.sampled_from(["In", "NotIn"]),
        st.lists(st.sampled_from(VALUES), min_size=1, max_size=4, unique=True),
    ),
)
selectors = st.one_of(
    st.just({}),
    st.builds(lambda key, value: {"matchLabels": {key: value}}, st.sampled_from(KEYS), st.sampled_from(VALUES)),
    st.builds(lambda each: {"matchExpressions": each}, st.lists(expressions, min_size=1, max_size=2)),
)
namespaces = st.one_of(
    st.just({}),
    st.builds(lambda operator: {"matchExpressions": [{"key": PLACE, "operator": operator}]}, EXISTENCE),
    st.builds(
        lambda operator, value: {"matchExpressions": [{"key": PLACE, "operator": operator, "values": [value]}]},
        st.sampled_from(["In", "NotIn"]),
        st.sampled_from(["flatline", "flatline-emulators", "other", "kube-public"]),
    ),
    st.builds(lambda value: {"matchLabels": {PLACE: value}}, st.sampled_from(["flatline", "flatline-emulators"])),
)
WIDE = ("0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "8.0.0.0/5", "10.0.0.0/8", "169.254.0.0/16", "2000::/3")
peers = st.one_of(
    st.builds(lambda cidr: {"ipBlock": {"cidr": cidr}}, st.sampled_from(WIDE)),
    st.builds(lambda pods: {"podSelector": pods}, selectors),
    st.builds(lambda spaces: {"namespaceSelector": spaces}, namespaces),
    st.builds(lambda pods, spaces: {"podSelector": pods, "namespaceSelector": spaces}, selectors, namespaces),
)
port_entries = st.one_of(
    st.just({}),
    st.just({"protocol": "TCP"}),
    st.builds(lambda port: {"port": port, "protocol": "TCP"}, st.sampled_from(PORTS)),
    st.builds(lambda first: {"port": first, "endPort": 65535, "protocol": "TCP"}, st.sampled_from(PORTS)),
    st.just({"port": 1, "endPort": 65535}),
)
MISSING = st.none()


@st.composite
def rules(draw: st.DrawFn, side: str) -> Object:
    """A rule of a policy; a part that is absent and one that is empty both mean everything."""
    rule: Object = {}
    for key, entries in ((side, peers), ("ports", port_entries)):
        if (found := draw(st.one_of(MISSING, st.lists(entries, max_size=2)))) is not None:
            rule[key] = found
    return rule


def policies() -> list[Resource]:
    found = [each for each in resources_of("dev") if each.kind == "NetworkPolicy" and each.provider]
    return [each for each in found if each.properties["spec"]["podSelector"]]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(data=st.data())
def test_whatever_opens_a_connection_that_was_closed_is_found(data: st.DataObject) -> None:
    policy = data.draw(st.sampled_from(policies()), label="policy")
    direction, side = data.draw(st.sampled_from([("egress", "to"), ("ingress", "from")]), label="direction")
    rule = data.draw(rules(side), label="rule")
    home = policy.properties["metadata"]["namespace"]
    spec: Any = deepcopy(dict(policy.properties))
    before = list(spec["spec"].get(direction) or ())
    known = set().union(*(admitted(each, side, home) for each in before)) if before else set()
    assume(admitted(rule, side, home) - known)
    spec["spec"][direction] = [*before, rule]
    edited = [replace(each, properties=spec) if each is policy else each for each in resources_of("dev")]
    assert check(edited, config_of("dev"), RULES).findings
