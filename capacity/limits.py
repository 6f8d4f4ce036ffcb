"""Limits that a growing installation meets: those of AWS, Google Cloud and Kubernetes, and those of the settings.

Each limit compares a figure of an estimate with a bound that does not depend on the number of users. The figure never
falls when users are added, so a search finds the number of users at which the limit begins.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, NamedTuple

from capacity.bigtable import NODE_FILL, NODE_LOAD
from capacity.calls import POD_CORES, GroupMedia, Relayed
from capacity.dynamodb import ITEM_OVERHEAD
from capacity.estimate import Estimate
from capacity.installation import (
    MOST_BIGTABLE_NODES,
    MOST_MASTERS,
    MOST_REPLICAS,
    MOST_SHARDS,
    MOST_TRAEFIK_PODS,
    SCALED,
    Installation,
)
from capacity.redis import SLOTS, USABLE_IN_CLUSTER, USABLE_MANAGED, shards
from capacity.traffic import per_second
from capacity.workload import GIB, KIB, MIB, MOST_USERS, Workload

Kind = Literal["fixed", "quota", "setting", "growth", "stack"]
"""`fixed`: nobody can raise it. `quota`: the provider raises it on request. `setting`: a bound of the settings.
`growth`: one node or pod is not enough any more, and the recommendation has as many as are needed. `stack`: the
stack's own setting."""

CLEAN_UP_SECONDS = 4 * 3600
"""Kubernetes ends a clean-up command that runs longer (`activeDeadlineSeconds` of its Job)."""

LARGEST_NODE_GIB = 419.09
"""Memory of a cache.r7g.16xlarge."""

LARGEST_MEMORY = 32 * GIB
"""The largest Redis node in the cluster for which a Kubernetes node has room."""

EPHEMERAL_PORTS = 28_232
"""Source ports of a pod for connections to one address and port: 32768 to 60999 (`ip_local_port_range`)."""

UPLOAD_CORES = 8
"""Assumed cores of the largest pod for uploads, of which there is one; each core moves `Workload.cdn_mib`."""


_DYNAMODB = "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide"
QUOTAS = f"{_DYNAMODB}/ServiceQuotas.html"
CONSTRAINTS = f"{_DYNAMODB}/Constraints.html"
PARTITIONS = f"{_DYNAMODB}/bp-partition-key-design.html"
BACK_PRESSURE = f"{_DYNAMODB}/gsi-throttling.html"
COLLECTIONS = f"{_DYNAMODB}/LSI.html"
PAGES = f"{_DYNAMODB}/Query.Pagination.html"
ELASTICACHE = "https://docs.aws.amazon.com/general/latest/gr/elasticache-service.html"
SHARDS = "https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/Shards.html"
REDIS_CLUSTER = "https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/"
BIGTABLE = "https://cloud.google.com/bigtable/docs/performance"
BIGTABLE_QUOTAS = "https://cloud.google.com/bigtable/quotas"
S3 = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html"
KUBERNETES = "https://kubernetes.io/docs/setup/best-practices/cluster-large/"
PORTS = "https://docs.kernel.org/networking/ip-sysctl.html"
SETTINGS = "docs/configuration.md"
MODEL = "docs/capacity.md"


class Bound(NamedTuple):
    """The highest figure that fits: who can raise it, its size and unit, and the document that states it."""

    kind: Kind
    size: float
    unit: str
    source: str


Figure = Callable[[Estimate], float]
"""A figure of an estimate. It never falls when users are added."""


def _nothing(_: Estimate) -> str:
    return ""


class Rule(NamedTuple):
    """A limit before it is measured. `where` names the part of an estimate that is nearest to it."""

    id: str
    what: str
    detail: str
    bound: Bound
    measure: Figure
    remedy: str
    where: Callable[[Estimate], str] = _nothing


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A measured limit. `begins` is the smallest number of users that exceeds it; None if 10,000,000,000 do not."""

    id: str
    what: str
    detail: str
    where: str
    kind: Kind
    unit: str
    value: float
    bound: float
    begins: int | None
    source: str
    remedy: str

    @property
    def exceeded(self) -> bool:
        """The workload needs more than the bound."""
        return self.value > self.bound


def limits(estimate: Estimate, only: str = "") -> tuple[Limit, ...]:
    """Measures every limit, or the one whose id is `only`."""

    @cache
    def with_users(users: int) -> Estimate:
        return Estimate.of(replace(estimate.workload, users=users), estimate.installation)

    def begins(rule: Rule) -> int | None:
        return _begins(lambda users: rule.measure(with_users(users)), rule.bound.size)

    return tuple(
        Limit(
            id=rule.id,
            what=rule.what,
            detail=rule.detail,
            where=rule.where(estimate),
            kind=rule.bound.kind,
            unit=rule.bound.unit,
            value=rule.measure(estimate),
            bound=rule.bound.size,
            begins=begins(rule),
            source=rule.bound.source,
            remedy=rule.remedy,
        )
        for rule in rules(estimate.workload, estimate.installation)
        if only in {"", rule.id}
    )


def _begins(measure: Callable[[int], float], bound: float) -> int | None:
    """The smallest number of users whose figure is above the bound."""
    fits, breaks = 1, MOST_USERS
    if measure(fits) > bound:
        return fits
    if measure(breaks) <= bound:
        return None
    while breaks - fits > 1:
        # Most figures are linear in users: the interpolated number or the next decides. For the others what is left is
        # halved, at round numbers, which other limits have measured too.
        along = (bound - measure(fits)) / (measure(breaks) - measure(fits))
        guess = fits + int((breaks - fits) * along)
        half = 1 << (fits ^ (breaks - 1)).bit_length() - 1
        for users in (guess, guess + (guess > fits), (breaks - 1) // half * half):
            if not fits < users < breaks:
                continue
            if measure(users) > bound:
                breaks = users
            else:
                fits = users
    return breaks


def rules(workload: Workload, installation: Installation) -> tuple[Rule, ...]:
    """Every limit of an installation."""
    return (
        *_dynamodb_throughput(),
        *_dynamodb_partitions(),
        *_dynamodb_sizes(),
        *_dynamodb_pages(workload),
        *_redis(installation),
        *_bigtable(),
        *_s3(),
        *_pods(),
        *_programs(workload),
        *_volumes(installation),
        *_relay(workload, installation),
        *_group_calls(workload, installation),
    )


def _most(figures: Callable[[Estimate], Iterable[tuple[float, str]]]) -> tuple[Figure, Callable[[Estimate], str]]:
    """The highest of several figures, and the name of the part that it belongs to."""

    def first(estimate: Estimate) -> tuple[float, str]:
        return max(figures(estimate), key=lambda figure: figure[0])

    return lambda estimate: first(estimate)[0], lambda estimate: first(estimate)[1]


def _dynamodb_throughput() -> tuple[Rule, ...]:
    writes, written = _most(lambda estimate: [(table.throughput.writes_peak, table.name) for table in estimate.tables])
    reads, read = _most(lambda estimate: [(table.throughput.reads_peak, table.name) for table in estimate.tables])
    index_writes, index = _most(
        lambda estimate: [
            (index.throughput.writes_peak, f"{table.name}/{index.name}")
            for table in estimate.tables
            for index in table.indexes
            if not index.local
        ]
    )
    raise_quota = (
        "ask AWS for more (Service Quotas, DynamoDB, table-level {} throughput) and for warm throughput, before "
        "the users are there"
    )
    return (
        Rule(
            "dynamodb-table-writes",
            "DynamoDB: writes of a table",
            "its write units a second, with those of local indexes",
            Bound("quota", 40_000, "WRU/s", QUOTAS),
            writes,
            raise_quota.format("write"),
            written,
        ),
        Rule(
            "dynamodb-table-reads",
            "DynamoDB: reads of a table",
            "its read units a second",
            Bound("quota", 40_000, "RRU/s", QUOTAS),
            reads,
            raise_quota.format("read"),
            read,
        ),
        Rule(
            "dynamodb-index-writes",
            "DynamoDB: writes of a global index",
            "an index that is throttled holds up the writes of its table",
            Bound("quota", 40_000, "WRU/s", BACK_PRESSURE),
            index_writes,
            raise_quota.format("write"),
            index,
        ),
    )


def _dynamodb_partitions() -> tuple[Rule, ...]:
    writes = Bound("fixed", 1000, "WCU/s", PARTITIONS)
    return (
        Rule(
            "dynamodb-partition-messages",
            "DynamoDB: writes to the busiest device",
            "all messages of a device have one hash key, so they are in one partition",
            writes,
            lambda estimate: _busiest(estimate, "Messages", estimate.traffic.devices),
            "only less load helps a hot key: lower flatline:whisper.dynamicConfig.limits.messages and "
            "flatline:whisper.dynamicConfig.limits.inboundMessageBytes",
        ),
        Rule(
            "dynamodb-partition-accounts",
            "DynamoDB: writes of the busiest account",
            "an account is one item, so it is in one partition",
            writes,
            lambda estimate: _busiest(estimate, "Accounts", estimate.workload.users),
            "clients update an account at most a few times a day: look for a client that does so in a loop",
        ),
        Rule(
            "dynamodb-partition-remote-config",
            "DynamoDB: reads of RemoteConfig",
            "every Whisper pod scans it every ten seconds, and it is in one partition",
            Bound("fixed", 3000, "RCU/s", PARTITIONS),
            lambda estimate: estimate.table("RemoteConfig").throughput.reads_peak,
            "fewer, larger Whisper pods (flatline:scaling.whisper), or values in flatline:whisper.remoteConfig",
        ),
        Rule(
            "dynamodb-item-collection",
            "DynamoDB: messages of a device that is away",
            "with a local index, 10 GB fit under one hash key; for the busiest device, until they expire",
            Bound("fixed", 10 * GIB, "bytes", COLLECTIONS),
            _backlog,
            "nothing: the persister drops the oldest messages, and more for extra room "
            "(flatline:whisper.dynamicConfig.messagePersister.trimOversizedQueueExtraRoomRatio)",
        ),
    )


def _busiest(estimate: Estimate, table: str, sharers: float) -> float:
    """Write units of the busiest of `sharers` that share a table."""
    return estimate.table(table).throughput.writes_peak / sharers * estimate.workload.busiest


def _backlog(estimate: Estimate) -> float:
    """Bytes of Messages, with the local index, of the busiest device that is away until its messages expire."""
    entry = estimate.table("Messages").item.bytes + 60 + 2 * ITEM_OVERHEAD
    a_day = estimate.traffic.envelopes / estimate.traffic.devices * entry
    # Time-to-live deletes within two days of the expiry.
    return a_day * (estimate.installation.message_days + 2) * estimate.workload.busiest_away


def _dynamodb_sizes() -> tuple[Rule, ...]:
    smaller = "smaller messages: the limit of a message is in Whisper's code"
    fewer_devices = "fewer devices for an account (maxDevices of Whisper)"
    new_number = "a change of number writes all keys of all devices"
    return (
        Rule(
            "dynamodb-item",
            "DynamoDB: the largest item",
            "an envelope of the largest size, or an account with all of its devices",
            Bound("fixed", 400 * KIB, "bytes", CONSTRAINTS),
            lambda estimate: max(
                estimate.workload.busiest_envelope_bytes + 105, 900 + 600 * estimate.workload.most_devices
            ),
            smaller,
        ),
        Rule(
            "dynamodb-batch-write",
            "DynamoDB: the largest batch",
            "the persister writes 25 messages at once, the most that a batch may hold",
            Bound("fixed", 16 * MIB, "bytes", CONSTRAINTS),
            lambda estimate: 25 * (estimate.workload.busiest_envelope_bytes + 105),
            smaller,
        ),
        Rule(
            "dynamodb-transaction-items",
            "DynamoDB: items of a transaction",
            new_number,
            Bound("fixed", 100, "items", CONSTRAINTS),
            lambda estimate: 5 + 5 * estimate.workload.most_devices,
            fewer_devices,
        ),
        Rule(
            "dynamodb-transaction-bytes",
            "DynamoDB: bytes of a transaction",
            new_number,
            Bound("fixed", 4 * MIB, "bytes", CONSTRAINTS),
            lambda estimate: 900 + 600 * estimate.workload.most_devices + 4000 * estimate.workload.most_devices,
            fewer_devices,
        ),
    )


def _dynamodb_pages(workload: Workload) -> tuple[Rule, ...]:
    return (
        Rule(
            "dynamodb-query-page",
            "DynamoDB: messages that a connection fetches",
            "after a page of 1 MB, Whisper fetches the next page",
            Bound("growth", MIB, "bytes", PAGES),
            lambda estimate: next(use.bytes for use in estimate.table("Messages").uses if use.operation == "Query"),
            "nothing: Whisper fetches page after page; such devices take longer to catch up",
        ),
        Rule(
            "dynamodb-accounts-scan",
            "seconds of a scan of Accounts",
            "a clean-up command reads every account, page after page; Kubernetes ends its Job after four hours",
            Bound("fixed", CLEAN_UP_SECONDS, "s", PAGES),
            lambda estimate: estimate.table("Accounts").bytes / (workload.scan_mib * MIB),
            "several segments at once (--segments of the command), or a longer activeDeadlineSeconds",
        ),
    )


def _redis(installation: Installation) -> tuple[Rule, ...]:
    copies = 1 + installation.shard_replicas
    usable = installation.masters * installation.redis_memory * USABLE_IN_CLUSTER

    def least(memory: float) -> Figure:
        return lambda estimate: shards(estimate.redis, memory, estimate.workload.redis_shard_commands)

    least_shards = least(LARGEST_NODE_GIB * GIB * USABLE_MANAGED)

    def least_nodes(estimate: Estimate) -> float:
        return least_shards(estimate) * copies

    divide = "several installations"
    return (
        Rule(
            "redis-this-stack",
            "Redis: memory of the stack",
            "the Redis Cluster that flatline:redis sets; half of each node is for data",
            Bound("stack", usable, "bytes", SETTINGS),
            lambda estimate: estimate.redis.bytes,
            "raise flatline:redis.memory or flatline:redis.masters (the recommendation has both)",
        ),
        Rule(
            "redis-masters",
            "Redis: masters on Kubernetes",
            "flatline:redis.masters, for nodes of 32 GiB",
            Bound("setting", MOST_MASTERS, "masters", SETTINGS),
            least(LARGEST_MEMORY * USABLE_IN_CLUSTER),
            "ElastiCache: flatline:target.aws.redis with kind elasticache",
        ),
        Rule(
            "elasticache-nodes-quota",
            "ElastiCache: nodes, by quota",
            "nodes of a cluster, with replicas, without a quota increase; for the largest nodes",
            Bound("quota", 90, "nodes", ELASTICACHE),
            least_nodes,
            "ask AWS for up to 500 (Service Quotas, ElastiCache, nodes per cluster)",
        ),
        Rule(
            "elasticache-nodes",
            "ElastiCache: nodes",
            "nodes of a cluster, with replicas; for the largest nodes",
            Bound("fixed", 500, "nodes", SHARDS),
            least_nodes,
            "fewer flatline:target.aws.redis.replicasPerShard; beyond it, several installations",
        ),
        Rule(
            "elasticache-shards",
            "ElastiCache: shards",
            "flatline:target.aws.redis.shards, for the largest nodes",
            Bound("setting", MOST_SHARDS, "shards", SETTINGS),
            least_shards,
            divide,
        ),
        Rule(
            "redis-slots",
            "Redis: slots",
            "each shard has at least one of the 16384 slots",
            Bound("fixed", SLOTS, "shards", REDIS_CLUSTER),
            least_shards,
            divide,
        ),
    )


def _bigtable() -> tuple[Rule, ...]:
    more_nodes = "flatline:target.gcp.clusters[].nodes (the recommendation has the number), or autoscaling"
    fewer_members = "fewer members (group.maxGroupSize of Storage)"
    return (
        Rule(
            "bigtable-node-rows",
            "Bigtable: load of one node",
            "17,000 rows read or 14,000 written a second, at 70 % load",
            Bound("growth", 1, "nodes", BIGTABLE),
            lambda estimate: estimate.bigtable.load / NODE_LOAD,
            more_nodes,
        ),
        Rule(
            "bigtable-node-storage",
            "Bigtable: storage of one node",
            "5 TiB, at 70 %",
            Bound("growth", 1, "nodes", BIGTABLE_QUOTAS),
            lambda estimate: estimate.bigtable.fill / NODE_FILL,
            more_nodes,
        ),
        Rule(
            "bigtable-nodes",
            "Bigtable: nodes",
            "flatline:target.gcp.clusters[].nodes",
            Bound("setting", MOST_BIGTABLE_NODES, "nodes", SETTINGS),
            lambda estimate: float(estimate.bigtable.nodes),
            "several clusters or installations; group logs, which nothing deletes, are the largest table",
        ),
        Rule(
            "bigtable-cell",
            "Bigtable: the largest cell",
            "a group with as many members as it may have",
            Bound("fixed", 100 * MIB, "bytes", BIGTABLE_QUOTAS),
            lambda estimate: estimate.bigtable.largest_cell,
            fewer_members,
            lambda _: "groups",
        ),
        Rule(
            "bigtable-row",
            "Bigtable: the largest row",
            "a change of such a group, and the group after it",
            Bound("fixed", 256 * MIB, "bytes", BIGTABLE_QUOTAS),
            lambda estimate: 2 * estimate.bigtable.largest_cell,
            fewer_members,
            lambda _: "group-logs",
        ),
    )


def _s3() -> tuple[Rule, ...]:
    puts, put_prefix = _most(lambda estimate: [(prefix.puts_peak, prefix.name) for prefix in estimate.prefixes])
    gets, get_prefix = _most(lambda estimate: [(prefix.gets_peak, prefix.name) for prefix in estimate.prefixes])
    split = "S3 splits such random keys by itself while requests grow; ask AWS to do so before a sudden rise"
    return (
        Rule(
            "s3-puts",
            "S3: PUT requests of a prefix",
            "with POST, LIST and DELETE, a second",
            Bound("growth", 3500, "requests/s", S3),
            puts,
            split,
            put_prefix,
        ),
        Rule(
            "s3-gets",
            "S3: GET requests of a prefix",
            "with HEAD, a second",
            Bound("growth", 5500, "requests/s", S3),
            gets,
            split,
            get_prefix,
        ),
    )


def _pods() -> tuple[Rule, ...]:
    most, service = _most(
        lambda estimate: [(float(pods.most), pods.service) for pods in estimate.cluster.pods if pods.service in SCALED]
    )
    return (
        Rule(
            "kubernetes-nodes",
            "Kubernetes: nodes",
            "nodes of a cluster",
            Bound("fixed", 5000, "nodes", KUBERNETES),
            lambda estimate: float(estimate.cluster.nodes),
            "larger nodes; beyond it, several installations",
        ),
        Rule(
            "kubernetes-pods",
            "Kubernetes: pods",
            "pods of a cluster",
            Bound("fixed", 150_000, "pods", KUBERNETES),
            lambda estimate: float(estimate.cluster.most_pods),
            "larger pods; beyond it, several installations",
        ),
        Rule(
            "service-pods",
            "pods of a service",
            "flatline:scaling.<service>.maxReplicas",
            Bound("setting", MOST_REPLICAS, "pods", SETTINGS),
            most,
            "several installations",
            service,
        ),
        Rule(
            "traefik-pods",
            "pods of Traefik",
            "flatline:ingress.install.replicas",
            Bound("setting", MOST_TRAEFIK_PODS, "pods", SETTINGS),
            lambda estimate: float(estimate.cluster.of("traefik").most),
            "a Traefik of your own with larger or more pods (flatline:ingress.namespace, .podLabels)",
        ),
    )


def _programs(workload: Workload) -> tuple[Rule, ...]:
    return (
        Rule(
            "persister",
            "load of one persister",
            "message queues that a persister moves a second; further messages stay in Redis",
            Bound("growth", 1, "persisters", MODEL),
            lambda estimate: float(estimate.cluster.of("whisper-persister").replicas),
            "more persisters (flatline:scaling.whisper-persister), which share the slots",
        ),
        Rule(
            "upload-pod",
            "CDN3: uploads through one pod",
            "at the busiest time; tusd keeps its locks in memory, so one pod takes all uploads, with eight cores",
            Bound("fixed", UPLOAD_CORES * workload.cdn_mib, "MiB/s", MODEL),
            lambda estimate: (
                per_second(estimate.traffic.uploads * estimate.traffic.attachment_bytes, estimate.workload.peak) / MIB
            ),
            "several installations",
        ),
        Rule(
            "traefik-connections",
            "connections of two Traefik pods",
            "open at the busiest time",
            Bound("growth", 2 * workload.traefik_connections, "connections", MODEL),
            lambda estimate: estimate.traffic.connections,
            "more Traefik pods (flatline:ingress.install.replicas, where Flatline installs it)",
        ),
        Rule(
            "ephemeral-ports",
            "connections of a Traefik pod to a Whisper pod",
            "each takes a source port; a pod has 28,232",
            Bound("fixed", EPHEMERAL_PORTS, "connections", PORTS),
            lambda estimate: min(estimate.traffic.connections, estimate.workload.websockets_per_pod),
            "more Whisper pods (flatline:scaling.whisper), with fewer WebSockets each",
        ),
    )


_VOLUMES = {
    "database": ("DynamoDB's tables", "move to a cloud target"),
    "groups": ("Bigtable's tables", "move to a cloud target"),
    "objects": ("pages of pre-keys, and avatars", "move to a cloud target"),
    "attachments": ("attachments until they expire", "lower flatline:cdn.retentionDays"),
}
"""The content of each volume, and the alternative to a larger one."""


def _volumes(installation: Installation) -> tuple[Rule, ...]:
    return tuple(_volume(name, size, *_VOLUMES[name]) for name, size in installation.volumes)


def _volume(name: str, size: int, content: str, alternative: str) -> Rule:
    return Rule(
        f"volume-{name}",
        f"volume: {name}",
        f"{content}, on the stack's flatline:target.volumes.{name}",
        Bound("stack", size, "bytes", SETTINGS),
        lambda estimate: estimate.volumes[name],
        f"raise flatline:target.volumes.{name} or {alternative}",
    )


_ELSEWHERE = "a TURN server outside of the cluster (flatline:turn), whose name may lead to several"


def _relay(workload: Workload, installation: Installation) -> tuple[Rule, ...]:
    relay = installation.relay
    if relay is None:
        return ()

    def relayed(estimate: Estimate) -> Relayed:
        assert estimate.calls.relayed
        return estimate.calls.relayed

    return (
        Rule(
            "relay-ports",
            "TURN: relay ports",
            "of calls that begin and of relayed ones at the peak, on the stack's flatline:calls.turn.relayPorts",
            Bound("stack", relay.ports, "ports", SETTINGS),
            lambda estimate: float(relayed(estimate).ports),
            "raise flatline:calls.turn.relayPorts (the recommendation has a range), and open it on the firewall",
        ),
        Rule(
            "relay-ports-most",
            "TURN: most relay ports",
            "flatline:calls.turn.relayPorts, for the stack's flatline:calls.turn.network",
            Bound("setting", relay.most, "ports", SETTINGS),
            lambda estimate: float(relayed(estimate).ports),
            f"network: host in flatline:calls.turn, which has more ports; beyond it, {_ELSEWHERE}",
        ),
        Rule(
            "relay-rate",
            "TURN: rate of a device",
            "a call with video, one way, on the stack's flatline:calls.turn.maxKbitPerSecond",
            Bound("stack", relay.max_kbit_per_second, "kbit/s", SETTINGS),
            lambda estimate: estimate.workload.video_kbit if estimate.workload.video else estimate.workload.audio_kbit,
            "raise flatline:calls.turn.maxKbitPerSecond (the recommendation has it), else pictures stall",
        ),
        Rule(
            "relay-pod",
            "TURN: data through one pod",
            "at the busiest time; relayed calls are bound to its address, so there is one, with eight cores",
            Bound("fixed", POD_CORES * workload.turn_mbit, "Mbit/s", MODEL),
            lambda estimate: relayed(estimate).mbit,
            _ELSEWHERE,
        ),
    )


def _group_calls(workload: Workload, installation: Installation) -> tuple[Rule, ...]:
    if not installation.group_calls:
        return ()

    def groups(estimate: Estimate) -> GroupMedia:
        assert estimate.calls.groups
        return estimate.calls.groups

    return (
        Rule(
            "group-call-members",
            "group calls: devices in a call",
            "on the stack's flatline:calls.groups.maxParticipants; the next device is refused",
            Bound("stack", installation.max_participants, "devices", SETTINGS),
            lambda estimate: estimate.workload.call_members,
            "raise flatline:calls.groups.maxParticipants",
        ),
        Rule(
            "group-call-pod",
            "group calls: data through one pod",
            "at the busiest time; a call is in the memory of one backend, so there is one, with eight cores",
            Bound("fixed", POD_CORES * workload.sfu_mbit, "Mbit/s", MODEL),
            lambda estimate: groups(estimate).mbit,
            "several installations",
        ),
    )
