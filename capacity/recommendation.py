"""Recommended settings for an estimate: node types, shards and pods, as keys of a stack's file."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from capacity import calls
from capacity.cluster import LEAST_PODS
from capacity.estimate import Estimate
from capacity.installation import (
    LEAST_MASTERS,
    MOST_BIGTABLE_NODES,
    MOST_MASTERS,
    MOST_REPLICAS,
    MOST_SHARDS,
    SCALED,
)
from capacity.redis import USABLE_IN_CLUSTER, USABLE_MANAGED, shards
from capacity.workload import GIB, MIB
from config.prices import CacheNode

MOST_GIB = 999_999
"""The largest size of a volume that the settings accept, in GiB."""

LEAST_SHARDS = 3
"""Minimum shards, so that a majority remains when one is lost."""

MOST_NODES = 500
"""Nodes of an ElastiCache cluster."""

BURSTABLE, BURSTABLE_COMMANDS = "cache.t", 5000
"""The prefix of burstable node types, and the commands a second that they sustain."""

MEMORIES = tuple(512 * MIB * 2**step for step in range(7))
"""Memory sizes of Redis nodes on Kubernetes: 512 MiB to 32 GiB."""

_SCALING, _TARGET, _CALLS = "flatline:scaling", "flatline:target", "flatline:calls"


@dataclass(frozen=True, kw_only=True)
class Cache:
    """An ElastiCache cluster."""

    node: CacheNode
    shards: int
    replicas_per_shard: int

    @property
    def nodes(self) -> int:
        """All nodes, primaries and replicas."""
        return self.shards * (1 + self.replicas_per_shard)


@dataclass(frozen=True, kw_only=True)
class InCluster:
    """A Redis Cluster on Kubernetes; `memory` is the bytes of each node."""

    masters: int
    replicas_per_master: int
    memory: int


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """Redis as a managed service, and Redis on Kubernetes unless it would be too small."""

    cache: Cache
    pubsub: CacheNode
    in_cluster: InCluster | None


def recommend(estimate: Estimate, nodes: Iterable[CacheNode]) -> Recommendation:
    """Chooses the cheapest node type whose cluster stays within its bounds, and sizes Redis on Kubernetes."""
    known = tuple(nodes)
    caches = [_cache(estimate, node) for node in known]
    steady = [cache for cache in caches if not cache.node.type.startswith(BURSTABLE)]
    small = [cache for cache in caches if cache.shards == LEAST_SHARDS]
    fitting = [cache for cache in steady if cache.shards <= MOST_SHARDS and cache.nodes <= MOST_NODES]
    return Recommendation(
        cache=min(small + fitting, key=_cheapest) if small + fitting else min(steady or caches, key=_least),
        pubsub=min(known, key=lambda node: node.hour),
        in_cluster=_in_cluster(estimate),
    )


def _cheapest(cache: Cache) -> tuple[float, int]:
    return cache.nodes * cache.node.hour, cache.shards


def _least(cache: Cache) -> tuple[int, float]:
    return cache.shards, cache.node.hour


def _cache(estimate: Estimate, node: CacheNode) -> Cache:
    commands = estimate.workload.redis_shard_commands
    if node.type.startswith(BURSTABLE):
        commands = min(commands, BURSTABLE_COMMANDS)
    return Cache(
        node=node,
        shards=max(LEAST_SHARDS, shards(estimate.redis, node.memory_gib * GIB * USABLE_MANAGED, commands)),
        replicas_per_shard=estimate.installation.shard_replicas,
    )


def _in_cluster(estimate: Estimate) -> InCluster | None:
    for memory in MEMORIES:
        needed = shards(estimate.redis, memory * USABLE_IN_CLUSTER, estimate.workload.redis_shard_commands)
        # Half of the bound leaves room to grow before nodes must become larger.
        if needed <= (MOST_MASTERS if memory == MEMORIES[-1] else MOST_MASTERS // 2):
            # A local stack has one machine, where a replica fails together with its master.
            least = int(estimate.installation.target != "local")
            return InCluster(
                masters=max(LEAST_MASTERS, needed),
                replicas_per_master=max(least, estimate.installation.replicas_per_master),
                memory=memory,
            )
    return None


def snippet(estimate: Estimate, recommended: Recommendation) -> dict[str, Any]:
    """The keys of `Pulumi.<stack>.yaml` below `config`: those of the stack's target, or of both if no stack is given.

    A number beyond the bound of its setting is set to the bound; the limits report it.
    """
    cache, in_cluster, installation = recommended.cache, recommended.in_cluster, estimate.installation
    local = installation.target == "local"
    scaling = {
        pods.service: _scale(estimate, pods.replicas, pods.most)
        for pods in estimate.cluster.pods
        # On one node a second pod of a service is only for load, and the volume of uploads takes one pod.
        if not local or (pods.most > LEAST_PODS and pods.service != "cdn3")
    }
    settings: dict[str, Any] = {_SCALING: {name: scaling[name] for name in SCALED if name in scaling}}
    target: dict[str, Any] = {}
    if installation.target == "any" or installation.managed_redis:
        target["aws"] = {
            "redis": {
                "kind": "elasticache",
                "nodeType": cache.node.type,
                "shards": min(cache.shards, MOST_SHARDS),
                "replicasPerShard": cache.replicas_per_shard,
                "pubsubNodeType": recommended.pubsub.type,
            }
        }
    if local:
        target["volumes"] = {name: _quantity(size) for name, size in volumes(estimate).items()}
    else:
        target["gcp"] = {"clusters": [{"nodes": min(estimate.bigtable.nodes, MOST_BIGTABLE_NODES)}]}
    settings[_TARGET] = target
    if in_cluster is not None and not installation.managed_redis:
        settings["flatline:redis"] = {
            "masters": in_cluster.masters,
            "replicasPerMaster": in_cluster.replicas_per_master,
            "memory": _quantity(in_cluster.memory),
        }
    if turn := _turn(estimate):
        settings[_CALLS] = {"turn": turn}
    return settings


def _turn(estimate: Estimate) -> dict[str, Any]:
    """The keys of `calls.turn` that are too small."""
    relay, needed, kbit = estimate.installation.relay, estimate.calls.relayed, math.ceil(estimate.workload.video_kbit)
    turn: dict[str, Any] = {}
    if relay and needed and needed.ports > relay.ports:
        first, last = calls.relay_ports(relay, needed.ports)
        turn["relayPorts"] = {"first": first, "last": last}
    if relay and estimate.workload.video and kbit > relay.max_kbit_per_second:
        turn["maxKbitPerSecond"] = kbit
    return turn


def with_blocks(settings: Mapping[str, Any], blocks: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Any]:
    """The snippet with the stack's own `flatline:target` and `flatline:calls` merged in, so that each key can replace
    that of the file; `blocks` has both by key.

    Without a stack, it leaves out what only one kind of target accepts: `flatline:target` and the pods of CDN3.
    """
    if blocks is not None:
        return {key: _merged(blocks[key], value) if key in blocks else value for key, value in settings.items()}
    scaling = {name: scale for name, scale in settings[_SCALING].items() if name != "cdn3"}
    return {**{key: value for key, value in settings.items() if key != _TARGET}, _SCALING: scaling}


def _merged(base: Any, more: Any) -> Any:
    if isinstance(base, Mapping) and isinstance(more, Mapping):
        return {**base, **{key: _merged(base.get(key), value) for key, value in more.items()}}
    if isinstance(base, list) and isinstance(more, list):
        return [_merged(entry, more[min(index, len(more) - 1)]) for index, entry in enumerate(base)]
    return more


def volumes(estimate: Estimate) -> dict[str, int]:
    """Sizes of a local target's volumes: half as large again as the content, in whole GiB, never smaller than now."""
    now = dict(estimate.installation.volumes)
    sizes = {name: min(math.ceil(held * 1.5 / GIB), MOST_GIB) * GIB for name, held in estimate.volumes.items()}
    return {name: max(now[name], size) for name, size in sizes.items()}


def _scale(estimate: Estimate, replicas: int, most: int) -> dict[str, int]:
    """Replicas for the mean, and a maximum a quarter above the peak if that is more."""
    low, high = min(replicas, MOST_REPLICAS), min(math.ceil(most * 1.25), MOST_REPLICAS)
    scale = {"replicas": low, "cpuPercent": round(estimate.workload.cpu_percent)}
    return {**scale, "maxReplicas": high} if high > low else scale


def _quantity(size: int) -> str:
    return f"{size // GIB}Gi" if size % GIB == 0 else f"{size // MIB}Mi"
