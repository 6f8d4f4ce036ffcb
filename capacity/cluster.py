"""Kubernetes: pods of each service, and the nodes that they need."""

import math
from dataclasses import dataclass

from capacity.bigtable import BigtableDemand
from capacity.installation import Installation
from capacity.objects import Prefix
from capacity.traffic import Traffic, per_second
from capacity.workload import MIB, Workload

LEAST_PODS = 2
"""So that one may go."""

NODE_CORES, NODE_MIB, NODE_PODS = 7.5, 28_500, 58
"""What pods may use of an m6i.2xlarge (8 vCPU, 32 GiB, 58 addresses with the VPC CNI)."""


@dataclass(frozen=True, kw_only=True)
class Pods:
    """Replicas of a service: for the mean (`replicas`), for the peak (`most`); each pod's cores and MiB."""

    service: str
    replicas: int
    most: int
    cores: float
    mib: int
    why: str


@dataclass(frozen=True, kw_only=True)
class ClusterDemand:
    """The pods at the peak and the nodes that hold them."""

    pods: tuple[Pods, ...]
    nodes: int

    def of(self, service: str) -> Pods:
        """A service's."""
        return next(pods for pods in self.pods if pods.service == service)

    @property
    def most_pods(self) -> int:
        """All of them at the peak."""
        return sum(pods.most for pods in self.pods)


def whisper(workload: Workload, traffic: Traffic) -> Pods:
    """Whisper's pods: by WebSockets, and by requests and deliveries."""
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
    """The persister's: one, unless queues come faster than its threads move them."""
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
) -> ClusterDemand:
    """The pods of every service that grows, and the nodes for all of them."""
    w, t = workload, traffic
    storage_core = w.storage_requests * w.cpu_percent / 100
    rows = sum(table.reads_mean + table.writes_mean for table in bigtable.tables)
    moved = (t.uploads + t.downloads) * t.attachment_bytes
    uploads = next(prefix for prefix in prefixes if prefix.bucket == "uploads")
    public = [prefix for prefix in prefixes if prefix.bucket == "cdn0"]
    avatars = sum(prefix.gets_mean + prefix.puts_mean for prefix in public)
    avatar_bytes = avatars * w.avatar_kib * 1024
    pods = (
        whisper(w, t),
        persister(w, t, installation),
        _pods("storage", 0, 0, rows / storage_core, w.peak, 1.0, 768, f"{storage_core:,.0f} requests/s each"),
        _pods(
            "cdn3",
            per_second(moved) / (w.cdn_mib * MIB),
            per_second(moved, w.peak) / (w.cdn_mib * MIB),
            (uploads.gets_mean + uploads.puts_mean) / w.cdn_requests,
            w.peak,
            1.0,
            512,
            f"{w.cdn_mib:,.0f} MiB/s or {w.cdn_requests:,.0f} requests/s each",
        ),
        _pods(
            "cdn0",
            avatar_bytes / (w.cdn_mib * MIB),
            avatar_bytes * w.peak / (w.cdn_mib * MIB),
            avatars / w.cdn_requests,
            w.peak,
            0.5,
            256,
            f"{w.cdn_mib:,.0f} MiB/s or {w.cdn_requests:,.0f} requests/s each",
        ),
        _pods(
            "traefik",
            t.connections / w.traefik_connections,
            t.connections / w.traefik_connections,
            0,
            w.peak,
            2.0,
            2048,
            f"{w.traefik_connections:,.0f} connections each",
        ),
    )
    return ClusterDemand(pods=pods, nodes=nodes(pods))


def _pods(service: str, quiet: float, busy: float, mean: float, peak: float, cores: float, mib: int, why: str) -> Pods:
    """By what is held (`quiet`, `busy`) and by work (`mean`, times the peak), each in pods."""
    replicas = max(LEAST_PODS, math.ceil(quiet), math.ceil(mean))
    most = max(replicas, math.ceil(busy), math.ceil(mean * peak))
    return Pods(service=service, replicas=replicas, most=most, cores=cores, mib=mib, why=why)


def nodes(pods: tuple[Pods, ...]) -> int:
    """Nodes for the peak; three at least, one for each zone."""
    cores = sum(each.most * each.cores for each in pods) / NODE_CORES
    mib = sum(each.most * each.mib for each in pods) / NODE_MIB
    count = sum(each.most for each in pods) / NODE_PODS
    return max(3, math.ceil(max(cores, mib, count)))
