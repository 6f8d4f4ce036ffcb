"""Kubernetes: the pods of each service, and the nodes for them."""

import math
from dataclasses import dataclass

from capacity.bigtable import BigtableDemand
from capacity.calls import CallsDemand
from capacity.installation import Installation
from capacity.objects import Prefix
from capacity.traffic import Traffic, per_second
from capacity.workload import MIB, Workload

LEAST_PODS = 2
"""Minimum replicas, so that Kubernetes can evict one pod."""

NODE_CORES, NODE_MIB, NODE_PODS = 7.5, 28_500, 58
"""Cores, memory and addresses of an m6i.2xlarge that are free for pods (8 vCPU, 32 GiB, 58 pods with the VPC CNI)."""


@dataclass(frozen=True, kw_only=True)
class Pods:
    """A service: pods for the mean (`replicas`) and for the peak (`most`), and the cores and MiB of each pod."""

    service: str
    replicas: int
    most: int
    cores: float
    mib: int
    why: str


@dataclass(frozen=True, kw_only=True)
class ClusterDemand:
    """The pods of each service, and the nodes for all of them at the peak."""

    pods: tuple[Pods, ...]
    nodes: int

    def of(self, service: str) -> Pods:
        """The pods of a service."""
        return next(pods for pods in self.pods if pods.service == service)

    @property
    def most_pods(self) -> int:
        """All pods at the peak."""
        return sum(pods.most for pods in self.pods)


def whisper(workload: Workload, traffic: Traffic) -> Pods:
    """Whisper's pods, for the WebSockets and for the requests and deliveries, whichever needs more."""
    core = workload.whisper_requests * workload.cpu_percent / 100
    return _pods(
        "whisper",
        traffic.connections / workload.websockets_per_pod,
        traffic.connections / workload.websockets_per_pod,
        per_second(traffic.requests) / core,
        workload.peak,
        1.0,
        1536,
        f"{workload.websockets_per_pod:,.0f} WebSockets or {core:,.0f} requests/s each",
    )


def persister(workload: Workload, traffic: Traffic, installation: Installation) -> Pods:
    """The persister's pods: one, unless message queues arrive faster than its threads move them."""
    queues = per_second(traffic.persisted, workload.peak) / workload.messages_per_queue
    rate = installation.persister_threads * workload.queues_per_thread
    needed = max(1, math.ceil(queues / rate))
    return Pods(
        service="whisper-persister",
        replicas=needed,
        most=needed,
        cores=0.5,
        mib=1024,
        why=f"{rate:,.0f} message queues/s each",
    )


def demand(
    workload: Workload,
    traffic: Traffic,
    installation: Installation,
    bigtable: BigtableDemand,
    prefixes: tuple[Prefix, ...],
    calls: CallsDemand,
) -> ClusterDemand:
    """The pods of every service that is there for users, and the nodes for all of them."""
    peak = workload.peak
    storage_core = workload.storage_requests * workload.cpu_percent / 100
    rows = sum(table.reads_mean + table.writes_mean for table in bigtable.tables)
    moved = (traffic.uploads + traffic.downloads) * traffic.attachment_bytes
    cdn_bytes = workload.cdn_mib * MIB
    cdn_rates = f"{workload.cdn_mib:,.0f} MiB/s or {workload.cdn_requests:,.0f} requests/s each"
    traefik = traffic.connections / workload.traefik_connections
    uploads = next(prefix for prefix in prefixes if prefix.bucket == "uploads")
    public = [prefix for prefix in prefixes if prefix.bucket == "cdn0"]
    avatars = sum(prefix.gets_mean + prefix.puts_mean for prefix in public)
    avatar_bytes = avatars * workload.avatar_kib * 1024
    pods = (
        whisper(workload, traffic),
        persister(workload, traffic, installation),
        _pods("storage", 0, 0, rows / storage_core, peak, 1.0, 768, f"{storage_core:,.0f} requests/s each"),
        _pods(
            "cdn3",
            per_second(moved) / cdn_bytes,
            per_second(moved, peak) / cdn_bytes,
            (uploads.gets_mean + uploads.puts_mean) / workload.cdn_requests,
            peak,
            1.0,
            512,
            cdn_rates,
        ),
        _pods(
            "cdn0",
            avatar_bytes / cdn_bytes,
            avatar_bytes * peak / cdn_bytes,
            avatars / workload.cdn_requests,
            peak,
            0.5,
            256,
            cdn_rates,
        ),
        _single("registration", 0.1, 256, "its sessions are in its memory"),
        _pods("traefik", traefik, traefik, 0, peak, 2.0, 2048, f"{workload.traefik_connections:,.0f} connections each"),
    )
    if calls.groups:
        why = f"{workload.sfu_mbit:,.0f} Mbit/s for each core; calls are in its memory"
        pods += (
            _single("calling-frontend", 0.1, 512, "asked when members look or join"),
            _single("calling-backend", max(2.0, calls.groups.cores), 2048, why),
        )
    if calls.relayed:
        why = f"{workload.turn_mbit:,.0f} Mbit/s for each core; calls are bound to its address"
        pods += (_single("turn", max(0.1, calls.relayed.cores), 512, why),)
    return ClusterDemand(pods=pods, nodes=nodes(pods))


def _single(service: str, cores: float, mib: int, why: str) -> Pods:
    """A service that is one pod however much it does, with tenths of cores."""
    return Pods(service=service, replicas=1, most=1, cores=math.ceil(cores * 10) / 10, mib=mib, why=why)


def _pods(service: str, quiet: float, busy: float, mean: float, peak: float, cores: float, mib: int, why: str) -> Pods:
    """Pods for held state (`quiet` for the mean, `busy` for the peak) and for work (`mean`, multiplied by `peak`)."""
    replicas = max(LEAST_PODS, math.ceil(quiet), math.ceil(mean))
    most = max(replicas, math.ceil(busy), math.ceil(mean * peak))
    return Pods(service=service, replicas=replicas, most=most, cores=cores, mib=mib, why=why)


def nodes(pods: tuple[Pods, ...]) -> int:
    """Nodes for the peak; at least three, one in each zone."""
    cores = sum(service.most * service.cores for service in pods) / NODE_CORES
    mib = sum(service.most * service.mib for service in pods) / NODE_MIB
    count = sum(service.most for service in pods) / NODE_PODS
    return max(3, math.ceil(max(cores, mib, count)))
