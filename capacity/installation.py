"""The part of a stack's settings, and of the services' configuration, that the model needs."""

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from config.calls import MOST_NODE_PORTS, Calls
from config.network import TraefikInstall
from config.node import NODE_PORTS, TAKEN
from config.services.storage import CONSTANTS as STORAGE
from config.services.whisper import CONSTANTS as WHISPER
from config.services.whisper import MESSAGE_RETENTION_DAYS, WORKER_THREADS
from config.settings import Settings
from config.target import BigtableCluster, Cloud, ElastiCache, Local
from config.types import quantity_bytes
from config.workloads import Redis, Scale, ScaledName


@dataclass(frozen=True, kw_only=True)
class RelaySettings:
    """Relay ports of a stack: how many it has and may have, and their numbers: up to `last`, but for those `taken`."""

    first: int
    ports: int
    most: int
    last: int
    taken: tuple[int, ...]
    max_kbit_per_second: int


@dataclass(frozen=True, kw_only=True)
class Installation:
    """Retentions and sizes. `volumes` has the bytes of a local target's volumes, by the name of the setting.

    `target` is `any` if no stack is given; the recommendation then covers both targets. `managed_redis` is true for a
    cloud target with ElastiCache.
    """

    target: Literal["any", "local", "cloud"]
    managed_redis: bool
    region: str | None
    attachment_days: int
    message_days: int
    persist_delay_seconds: int
    persister_threads: int
    largest_group: int
    masters: int
    replicas_per_master: int
    redis_memory: int
    shard_replicas: int
    volumes: tuple[tuple[str, int], ...]
    group_calls: bool = False
    max_participants: int = 0
    relay: RelaySettings | None = None

    @classmethod
    def of(cls, stack: Settings | None = None) -> "Installation":
        """Reads the settings of a stack, or the defaults of the settings."""
        settings = stack or Settings()
        target = settings.target
        volumes: tuple[tuple[str, int], ...] = ()
        if isinstance(target, Local):
            sizes = target.volumes
            volumes = (
                ("database", quantity_bytes(sizes.database)),
                ("groups", quantity_bytes(sizes.groups)),
                ("objects", quantity_bytes(sizes.objects)),
                ("attachments", quantity_bytes(sizes.attachments)),
            )
        cache = target.aws.redis if isinstance(target, Cloud) else None
        return cls(
            target="any" if stack is None else target.kind,
            managed_redis=isinstance(cache, ElastiCache),
            region=target.aws.region if isinstance(target, Cloud) else None,
            attachment_days=settings.cdn.retention_days,
            message_days=MESSAGE_RETENTION_DAYS,
            persist_delay_seconds=WHISPER["messageCache"]["persistDelayMinutes"] * 60,
            persister_threads=WORKER_THREADS,
            largest_group=STORAGE["group"]["maxGroupSize"],
            masters=settings.redis.masters,
            replicas_per_master=settings.redis_replicas,
            redis_memory=quantity_bytes(settings.redis.memory),
            shard_replicas=cache.replicas_per_shard if isinstance(cache, ElastiCache) else 1,
            volumes=volumes,
            group_calls=settings.calls.groups is not None,
            max_participants=settings.calls.groups.max_participants if settings.calls.groups else 0,
            relay=_relay(settings.calls),
        )


def _relay(calls: Calls) -> RelaySettings | None:
    turn = calls.turn
    if turn is None:
        return None
    in_pods = turn.network == "node-ports"
    last = NODE_PORTS[-1] if in_pods else 65535
    return RelaySettings(
        first=turn.relay.first,
        ports=len(turn.relay.numbers),
        most=MOST_NODE_PORTS if in_pods else last + 1 - turn.relay.first,
        last=last,
        taken=(
            *(turn.plain_port, turn.secure_port),
            *([calls.groups.port] if calls.groups else ()),
            *(() if in_pods else (*TAKEN, *NODE_PORTS)),
        ),
        max_kbit_per_second=turn.max_kbit_per_second,
    )


def bounds(model: type[Any], name: str) -> tuple[int, int]:
    """The lowest and the highest value of a setting."""
    constraints = model.model_fields[name].metadata
    return (
        next(constraint.ge for constraint in constraints if hasattr(constraint, "ge")),
        next(constraint.le for constraint in constraints if hasattr(constraint, "le")),
    )


LEAST_MASTERS, MOST_MASTERS = bounds(Redis, "masters")
MOST_SHARDS = bounds(ElastiCache, "shards")[1]
MOST_BIGTABLE_NODES = bounds(BigtableCluster, "nodes")[1]
MOST_TRAEFIK_PODS = bounds(TraefikInstall, "replicas")[1]
SCALED: Final[tuple[str, ...]] = get_args(ScaledName)
"""The services of `flatline:scaling`."""

MOST_REPLICAS = bounds(Scale, "replicas")[1]
