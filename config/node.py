"""Ports that a node of the cluster has for itself."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

NODE_PORTS = range(30000, 32768)
"""Kubernetes' default range of node ports (kube-apiserver, --service-node-port-range)."""

OVERLAYS: Mapping[int, str] = MappingProxyType({4789: "VXLAN", 6081: "Geneve", 8472: "VXLAN of Flannel and Cilium"})
"""UDP ports between nodes. They take packets for every pod, and ask nobody who sends them."""

TAKEN: Mapping[int, str] = MappingProxyType(
    {
        **OVERLAYS,
        22: "SSH",
        53: "a resolver",
        2379: "etcd",
        2380: "etcd",
        6443: "the API server",
        6444: "the API server",
        7946: "MetalLB",
        10248: "the kubelet",
        10249: "kube-proxy",
        10250: "the kubelet",
        10255: "the kubelet",
        10256: "kube-proxy",
        10257: "the controller manager",
        10258: "the cloud's controller manager",
        10259: "the scheduler",
        51820: "WireGuard of Flannel",
        51821: "WireGuard of Flannel",
    }
)
"""Ports of nodes and who listens there (https://kubernetes.io/docs/reference/networking/ports-and-protocols,
https://docs.k3s.io/installation/requirements)."""


def owner_of(ports: Iterable[int]) -> tuple[int, str] | None:
    """The first of some ports that something else on a node has or may get, and who that is."""
    for port in ports:
        if port in NODE_PORTS:
            return port, "the node ports of Services"
        if port in TAKEN:
            return port, TAKEN[port]
    return None
