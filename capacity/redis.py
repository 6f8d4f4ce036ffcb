"""Redis: what Whisper's caches and queues hold at the busiest time, and how many commands that is."""

import math
from dataclasses import dataclass

from capacity.dynamodb import items
from capacity.installation import Installation
from capacity.traffic import Traffic, per_second
from capacity.workload import Workload

SLOTS = 16_384
"""Slots of a cluster: the persister visits each, and a node has at least one."""

ENTRY_OVERHEAD = 250
"""Bytes of a queued envelope besides itself: an entry of a sorted set and two fields of a hash."""

CACHED_OVERHEAD = 300
"""Bytes of a cached account besides its JSON: its key, and keys that lead to it by number's id and username."""

LIMITER_BYTES, LIMITERS = 150, 3
CONNECTION_BYTES = 250
"""A connected device's subscription."""

USABLE_IN_CLUSTER, USABLE_MANAGED = 0.5, 0.75
"""Part of a node's memory that data may take: our own nodes leave half for their work, ElastiCache reserves a quarter
(`reserved-memory-percent`)."""

FRAGMENTATION = 1.2
"""Memory that the process takes over the data."""


@dataclass(frozen=True, kw_only=True)
class RedisDemand:
    """Bytes by what they are for, and commands a second. `wait_seconds` is how long a queued message may stay."""

    queued: float
    accounts: float
    profiles: float
    rate_limits: float
    connections: float
    wait_seconds: float
    commands_mean: float
    commands_peak: float

    @property
    def bytes(self) -> float:
        """All of it."""
        return self.queued + self.accounts + self.profiles + self.rate_limits + self.connections


def demand(workload: Workload, traffic: Traffic, installation: Installation) -> RedisDemand:
    """What the cluster is asked for. Profiles stay for ever once they were read, accounts for two days."""
    sizes = items(workload)
    round_seconds = SLOTS / (installation.persister_threads * workload.slots_per_thread)
    wait = installation.persist_delay_seconds + round_seconds
    waiting = per_second(traffic.persisted, workload.peak) * wait
    # what is delivered at once is there for about two seconds
    passing = per_second(traffic.envelopes + traffic.ephemeral, workload.peak) * 2
    accounts = traffic.active_users * (sizes["accounts.tableName"].bytes + CACHED_OVERHEAD)
    commands = (traffic.envelopes + traffic.ephemeral) * workload.redis_commands + traffic.requests * 2
    return RedisDemand(
        queued=(waiting + passing) * (workload.envelope_bytes + ENTRY_OVERHEAD) * FRAGMENTATION,
        accounts=accounts * FRAGMENTATION,
        profiles=workload.users * (sizes["profiles.tableName"].bytes + CACHED_OVERHEAD) * FRAGMENTATION,
        rate_limits=traffic.active_users * LIMITERS * LIMITER_BYTES * FRAGMENTATION,
        connections=traffic.connections * CONNECTION_BYTES * FRAGMENTATION,
        wait_seconds=wait,
        commands_mean=per_second(commands),
        commands_peak=per_second(commands, workload.peak),
    )


def shards(asked: RedisDemand, usable: float, commands: float) -> int:
    """Masters that hold the data, with so many usable bytes each, and do the commands of the peak."""
    return max(1, math.ceil(asked.bytes / usable), math.ceil(asked.commands_peak / commands))
