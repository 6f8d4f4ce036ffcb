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
from components.capabilities import Endpoint, Network, NetworkPeer, Pods
from components.kubernetes.namespace import WorkloadNamespace

DNS_PORT = 53


@dataclass(frozen=True, kw_only=True)
class NetworkPoliciesArgs:
    """`network_peers` are the pods in `namespaces`; `external_peers` connect to them and belong to others (Traefik).

    Pods resolve names at the pods `dns` and at the addresses `dns_networks` (CIDRs).
    """

    namespaces: tuple[WorkloadNamespace, ...]
    network_peers: tuple[NetworkPeer, ...]
    external_peers: tuple[NetworkPeer, ...]
    dns: Pods
    dns_networks: tuple[str, ...] = ()


class NetworkPolicies(Component):
    """Default deny in both directions, and a policy for each peer with exactly its edges and DNS."""

    TYPE = "flatline:kubernetes:NetworkPolicies"

    def __init__(self, name: str, args: NetworkPoliciesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        namespaces = {namespace.name: namespace.metadata_name for namespace in args.namespaces}
        for namespace in args.namespaces:
            self._policy(
                f"{namespace.name}-default-deny", "default-deny", namespace.metadata_name, LabelSelectorArgs(), [], []
            )
        for network_peer in args.network_peers:
            callers = [
                (caller, target)
                for caller in (*args.network_peers, *args.external_peers)
                for target in caller.egress
                if target.pods == network_peer.pods
            ]
            self._policy(
                network_peer.name,
                network_peer.name,
                namespaces[network_peer.pods.namespace],
                LabelSelectorArgs(match_labels=dict(network_peer.pods.labels)),
                [
                    *(_ingress(caller.pods, target) for caller, target in callers),
                    *(_external_ingress(network) for network in network_peer.external_ingress),
                ],
                [
                    *([_dns(args)] if network_peer.egress or network_peer.external_egress else []),
                    *(_egress(target) for target in network_peer.egress),
                    *(_external_egress(network) for network in network_peer.external_egress),
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
            opts=self.child_opts,
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


def _block(cidr: str, excluded: tuple[str, ...] = ()) -> NetworkPolicyPeerArgs:
    return NetworkPolicyPeerArgs(ip_block=IPBlockArgs(cidr=cidr, except_=list(excluded) or None))


def _dns(args: NetworkPoliciesArgs) -> NetworkPolicyEgressRuleArgs:
    ports = [NetworkPolicyPortArgs(port=DNS_PORT, protocol=protocol) for protocol in ("UDP", "TCP")]
    return NetworkPolicyEgressRuleArgs(to=[_peer(args.dns), *map(_block, args.dns_networks)], ports=ports)


def _ports(network: Network) -> list[NetworkPolicyPortArgs]:
    ranges = (port if isinstance(port, range) else range(port, port + 1) for port in network.ports)
    return [
        NetworkPolicyPortArgs(port=each[0], end_port=each[-1] if len(each) > 1 else None, protocol=network.protocol)
        for each in ranges
    ]


def _external_egress(network: Network) -> NetworkPolicyEgressRuleArgs:
    return NetworkPolicyEgressRuleArgs(to=[_block(network.cidr, network.excluded)], ports=_ports(network))


def _external_ingress(network: Network) -> NetworkPolicyIngressRuleArgs:
    return NetworkPolicyIngressRuleArgs(from_=[_block(network.cidr, network.excluded)], ports=_ports(network))
