"""Redis: the memory of Whisper's caches and queues at the busiest time, and the commands a second."""

import math
from dataclasses import dataclass

from capacity.dynamodb import PROFILE, account_item
from capacity.installation import Installation
from capacity.traffic import Traffic, per_second
from capacity.workload import Workload

SLOTS = 16_384
"""Hash slots of a cluster. The persister visits each slot, and each master owns at least one."""

ENTRY_OVERHEAD = 250
"""Bytes that Redis adds to a queued envelope: an entry of a sorted set and two fields of a hash."""

CACHED_OVERHEAD = 300
"""Bytes that Redis adds to a cached account: its key, and the keys that map its number's id and username to it."""

LIMITER_BYTES, LIMITERS = 150, 3
CONNECTION_BYTES = 250
"""Bytes of the subscription of a connected device."""

USABLE_IN_CLUSTER, USABLE_MANAGED = 0.5, 0.75
"""Share of a node's memory that is for data: nodes in the cluster leave half for Redis' own work, ElastiCache reserves
a quarter (`reserved-memory-percent`)."""

FRAGMENTATION = 1.2
"""Memory of the process divided by the size of its data."""


@dataclass(frozen=True, kw_only=True)
class RedisDemand:
    """Bytes by purpose, and commands a second. `wait_seconds` is the longest time that a queued message stays."""

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
        """All bytes together."""
        return self.queued + self.accounts + self.profiles + self.rate_limits + self.connections


def demand(workload: Workload, traffic: Traffic, installation: Installation) -> RedisDemand:
    """The demand on the cluster. Whisper caches accounts for two days, and profiles without an expiry."""

    round_seconds = SLOTS / (installation.persister_threads * workload.slots_per_thread)
    wait = installation.persist_delay_seconds + round_seconds
    waiting = per_second(traffic.persisted, workload.peak) * wait
    # An envelope that is delivered at once stays for about two seconds.
    passing = per_second(traffic.envelopes + traffic.ephemeral, workload.peak) * 2
    accounts = traffic.active_users * (account_item(workload).bytes + CACHED_OVERHEAD)
    commands = (traffic.envelopes + traffic.ephemeral) * workload.redis_commands + traffic.requests * 2
    return RedisDemand(
        queued=(waiting + passing) * (workload.envelope_bytes + ENTRY_OVERHEAD) * FRAGMENTATION,
        accounts=accounts * FRAGMENTATION,
        profiles=workload.users * (PROFILE.bytes + CACHED_OVERHEAD) * FRAGMENTATION,
        rate_limits=traffic.active_users * LIMITERS * LIMITER_BYTES * FRAGMENTATION,
        connections=traffic.connections * CONNECTION_BYTES * FRAGMENTATION,
        wait_seconds=wait,
        commands_mean=per_second(commands),
        commands_peak=per_second(commands, workload.peak),
    )


def shards(redis: RedisDemand, usable: float, commands: float) -> int:
    """Masters for the data and the commands of the peak, if each has `usable` bytes and runs `commands` a second."""
    return max(1, math.ceil(redis.bytes / usable), math.ceil(redis.commands_peak / commands))
