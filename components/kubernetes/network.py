"""Network policies: nothing may talk to anything, but the declared edges."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs
from pulumi_kubernetes.networking.v1 import (
    IPBlockArgs,
    NetworkPolicyEgressRuleArgs,
    NetworkPolicyIngressRuleArgs,
    NetworkPolicyPeerArgs,
    NetworkPolicyPortArgs,
    NetworkPolicySpecArgs,
)

from components.base import Component
from components.capabilities import Endpoint, Member, Network, Pods
from components.kubernetes.platform import Platform

DNS_PORT = 53


@dataclass(frozen=True, kw_only=True)
class NetworkPoliciesArgs:
    """`members` are the pods of the platforms; `outsiders` open connections to them but are not ours (Traefik).

    Names are asked of the pods `dns` and of `dns_networks` (CIDRs).
    """

    platforms: tuple[Platform, ...]
    members: tuple[Member, ...]
    outsiders: tuple[Member, ...]
    dns: Pods
    dns_networks: tuple[str, ...] = ()


class NetworkPolicies(Component):
    """Default deny in both directions, and a policy for each member with exactly its edges and DNS."""

    TYPE = "flatline:kubernetes:NetworkPolicies"

    def __init__(self, name: str, args: NetworkPoliciesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        namespaces = {platform.name: platform.namespace for platform in args.platforms}
        for platform in args.platforms:
            self._policy(
                f"{platform.name}-default-deny", "default-deny", platform.namespace, LabelSelectorArgs(), [], []
            )
        for member in args.members:
            callers = [
                (caller, target)
                for caller in (*args.members, *args.outsiders)
                for target in caller.egress
                if target.pods == member.pods
            ]
            self._policy(
                member.name,
                member.name,
                namespaces[member.pods.namespace],
                LabelSelectorArgs(match_labels=dict(member.pods.labels)),
                [_ingress(caller.pods, target) for caller, target in callers],
                [
                    *([_dns(args)] if member.egress or member.internet else []),
                    *(_egress(target) for target in member.egress),
                    *(_internet(network) for network in member.internet),
                ],
            )
        self.register_outputs({})

    def _policy(
        self,
        logical: str,
        name: str,
        namespace: pulumi.Input[str],
        selector: LabelSelectorArgs,
        ingress: Sequence[NetworkPolicyIngressRuleArgs],
        egress: Sequence[NetworkPolicyEgressRuleArgs],
    ) -> None:
        kubernetes.networking.v1.NetworkPolicy(
            logical,
            metadata=ObjectMetaArgs(name=name, namespace=namespace, labels={"app.kubernetes.io/part-of": "flatline"}),
            spec=NetworkPolicySpecArgs(
                pod_selector=selector,
                policy_types=["Ingress", "Egress"],
                ingress=list(ingress),
                egress=list(egress),
            ),
            opts=self.child,
        )


def _peer(pods: Pods) -> NetworkPolicyPeerArgs:
    return NetworkPolicyPeerArgs(
        namespace_selector=LabelSelectorArgs(match_labels={"kubernetes.io/metadata.name": pods.namespace}),
        pod_selector=LabelSelectorArgs(match_labels=dict(pods.labels)),
    )


def _port(target: Endpoint) -> list[NetworkPolicyPortArgs]:
    return [NetworkPolicyPortArgs(port=target.port, protocol=target.protocol)]


def _ingress(source: Pods, target: Endpoint) -> NetworkPolicyIngressRuleArgs:
    return NetworkPolicyIngressRuleArgs(from_=[_peer(source)], ports=_port(target))


def _egress(target: Endpoint) -> NetworkPolicyEgressRuleArgs:
    return NetworkPolicyEgressRuleArgs(to=[_peer(target.pods)], ports=_port(target))


def _block(cidr: str) -> NetworkPolicyPeerArgs:
    return NetworkPolicyPeerArgs(ip_block=IPBlockArgs(cidr=cidr))


def _dns(args: NetworkPoliciesArgs) -> NetworkPolicyEgressRuleArgs:
    ports = [NetworkPolicyPortArgs(port=DNS_PORT, protocol=protocol) for protocol in ("UDP", "TCP")]
    return NetworkPolicyEgressRuleArgs(to=[_peer(args.dns), *map(_block, args.dns_networks)], ports=ports)


def _internet(network: Network) -> NetworkPolicyEgressRuleArgs:
    return NetworkPolicyEgressRuleArgs(
        to=[_block(network.cidr)],
        ports=[NetworkPolicyPortArgs(port=port, protocol=network.protocol) for port in network.ports],
    )
