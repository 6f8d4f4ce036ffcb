"""The TURN server (coturn), which relays calls of devices that do not reach each other."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.core.v1 import ServicePortArgs, ServiceSpecArgs
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.base import Component
from components.capabilities import Endpoint, Network, ServedCertificate, TurnServer
from components.kubernetes.mounted_files import MountedFiles, secret_files
from components.kubernetes.namespace import WorkloadNamespace
from components.kubernetes.pod import Container, Port, ProbeAction, Probes, Resources, labels, managed_labels
from components.kubernetes.workload import Workload, WorkloadArgs
from components.secrets import Secrets
from config.node import OVERLAYS
from config.services.coturn import (
    CERTIFICATE,
    CONFIG,
    DENIED_IPV4,
    METADATA,
    METRICS_PORT,
    PRIVATE_KEY,
    WRITTEN,
    Coturn,
)

NAME = "turn"
"""Of its Service, by which its metrics are found."""
ANYWHERE = "0.0.0.0/0"
SECRET = "static-auth-secret"
_ANNOTATIONS = {
    "prometheus.io/scrape": "true",
    "prometheus.io/path": "/metrics",
    "prometheus.io/port": str(METRICS_PORT),
}

PUBLIC_PORTS = tuple(range(before + 1, after) for before, after in pairwise((1023, *sorted(OVERLAYS), 65536)))
"""Where devices behind any router are: all ports but those of servers, and of overlays between nodes, which would take
the server's packets for a node's."""
DEVICE_PORTS = range(32768, 65536)
"""Ports that phones and computers take for themselves (Linux: net.ipv4.ip_local_port_range; others begin at 49152).
Node ports and most servers are below."""


@dataclass(frozen=True, kw_only=True)
class TurnArgs:
    """`address` is the one that clients reach, and `host` its name; ports as in `config.calls.TurnRelay`.

    `network` is `node-ports` for a pod with a network of its own, or `host` for the node's. If `annotated`, the Service
    says where metrics are, for a Prometheus that looks for annotations.
    """

    namespace: WorkloadNamespace
    secrets: Secrets
    certificate: ServedCertificate
    host: str
    address: str
    network: Literal["node-ports", "host"]
    port: int
    tls_port: int
    relay: range
    max_kbit_per_second: int
    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    node_labels: tuple[tuple[str, str], ...] = ()
    annotated: bool = False


class Turn(Component):
    """One pod: a relayed call is bound to its address, so it never moves, and an update ends relayed calls."""

    TYPE = "flatline:services:Turn"

    def __init__(self, name: str, args: TurnArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._name, self._args, self._in_node = name, args, args.network == "host"
        self._workload = Workload(name, self._pod(self._config()), self.child_opts)
        if not self._in_node:
            self._node_ports()
        self.server = TurnServer(args.host, args.port, args.tls_port, address=args.address)
        self.network_peers = (self._workload.network_peer,)
        self.register_outputs({"address": f"{args.address}:{args.port}"})

    @property
    def metrics(self) -> tuple[Endpoint, ...]:
        """Where Prometheus reads it; nowhere in the node's network, where anybody could."""
        return () if self._in_node else (self._workload.endpoint("metrics"),)

    def _config(self) -> MountedFiles:
        """Configuration, certificate and key in one Secret, so that a change of any of them is a new pod."""
        args = self._args
        text = args.secrets.of("turn")[SECRET].apply(
            lambda secret: Coturn(
                realm=args.host,
                port=args.port,
                tls_port=args.tls_port,
                relay_first=args.relay[0],
                relay_last=args.relay[-1],
                max_kbit_per_second=args.max_kbit_per_second,
                secret=secret,
                allowed=args.allowed,
                denied=args.denied,
            ).text()
        )
        files = {CONFIG: text, CERTIFICATE: args.certificate.chain, PRIVATE_KEY: args.certificate.private_key}
        namespace = args.namespace.metadata_name
        return secret_files(f"{self._name}-config", namespace, files, self.child_opts)

    def _pod(self, config: MountedFiles) -> WorkloadArgs:
        listening = ProbeAction(port="stun-tcp")
        return WorkloadArgs(
            kind="recreate",
            external_ingress=self._callers(),
            external_egress=self._peers(),
            namespace=self._args.namespace,
            name=self._name,
            component="turn",
            node_labels=dict(self._args.node_labels),
            annotations=_ANNOTATIONS if self._args.annotated and not self._in_node else {},
            host_network=self._in_node,
            containers=(
                Container(
                    name=self._name,
                    image="coturn",
                    command=("turnserver",),
                    args=self._flags(),
                    field_env={"OWN_ADDRESS": "status.hostIP" if self._in_node else "status.podIP"},
                    ports=self._ports(),
                    files=(config,),
                    empty_dirs={WRITTEN: "8Mi"},
                    probes=Probes.all(listening),
                    resources=Resources(cpu="50m", memory="64Mi", memory_limit="512Mi"),
                    capabilities=("NET_BIND_SERVICE",),
                ),
            ),
        )

    def _flags(self) -> tuple[str, ...]:
        """What only the pod knows: its own address, which the one of clients stands for.

        In a network of its own a device may relay to another device of this server. In the node's that would open each
        UDP port of the node behind its firewall (the overlay network's among them), so there it may not. With both
        addresses in one `external-ip` coturn allows the second as a peer, whatever is denied (src/apps/relay/
        mainrelay.c).
        """
        own, address = "$(OWN_ADDRESS)", self._args.address
        listening = ("-c", CONFIG, f"--listening-ip={own}", f"--relay-ip={own}")
        if self._in_node:
            return (*listening, f"--external-ip={address}", f"--denied-peer-ip={own}", f"--denied-peer-ip={address}")
        return (*listening, f"--external-ip={address}/{own}", "--prometheus")

    def _ports(self) -> tuple[Port, ...]:
        args = self._args
        listening = (
            Port(name="stun-udp", number=args.port, protocol="UDP", published=False),
            Port(name="stun-tcp", number=args.port, published=False),
            Port(name="turn-tls", number=args.tls_port, published=False),
        )
        if self._in_node:
            return listening
        relay = (Port(name=f"relay-{each}", number=each, protocol="UDP", published=False) for each in args.relay)
        return (*listening, Port(name="metrics", number=METRICS_PORT), *relay)

    def _callers(self) -> tuple[Network, ...]:
        args = self._args
        return (
            Network(ANYWHERE, (args.port, *args.relay), "UDP", excluded=METADATA),
            Network(ANYWHERE, (args.port, args.tls_port), "TCP", excluded=METADATA),
        )

    def _peers(self) -> tuple[Network, ...]:
        """The policy repeats what coturn denies, so that a mistake in one opens nothing, and adds what coturn cannot
        deny: ports."""
        denied = (each for each in self._args.denied if ":" not in each)
        return (
            Network(ANYWHERE, PUBLIC_PORTS, "UDP", excluded=(*DENIED_IPV4, *denied)),
            *(Network(each, (DEVICE_PORTS,), "UDP") for each in self._args.allowed),
        )

    def _node_ports(self) -> None:
        """A node port for each port, of the same number: it is the one that clients and other devices are given.

        `Local` keeps their addresses, by which coturn decides who may send to a relayed port.
        """
        pod = self._workload.args
        ports = [port for port in self._ports() if port.name != "metrics"]
        kubernetes.core.v1.Service(
            f"{self._name}-public",
            metadata=ObjectMetaArgs(
                name=f"{self._name}-public",
                namespace=self._args.namespace.metadata_name,
                labels=managed_labels(pod),
                annotations={"pulumi.com/skipAwait": "true"},
            ),
            spec=ServiceSpecArgs(
                type="NodePort",
                external_traffic_policy="Local",
                selector=labels(pod),
                ports=[
                    ServicePortArgs(
                        name=port.name,
                        port=port.number,
                        target_port=port.name,
                        node_port=port.number,
                        protocol=port.protocol,
                    )
                    for port in ports
                ],
            ),
            opts=self.child_opts,
        )
