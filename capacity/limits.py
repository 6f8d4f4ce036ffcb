"""Limits that a growing installation meets: those of AWS, Google Cloud and Kubernetes, and those of the settings.

Each limit compares a figure of an estimate with a bound that does not depend on the number of users. The figure never
falls when users are added, so a search finds the number of users at which the limit begins.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from capacity import redis
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
from capacity.redis import USABLE_IN_CLUSTER, shards
from capacity.traffic import per_second
from capacity.workload import GIB, KIB, MIB, MOST_USERS, Workload

Kind = Literal["fixed", "quota", "setting", "growth", "stack"]
"""`fixed`: nobody raises it. `quota`: the provider raises it on request. `setting`: a bound of the settings.
`growth`: one node or pod does not do any more; the recommendation has as many as it takes. `stack`: what the stack
is set to."""

CLEAN_UP_SECONDS = 4 * 3600
"""A clean-up command that runs longer is ended (`activeDeadlineSeconds` of its Job)."""

LARGEST_NODE_GIB = 419.09
"""Memory of a cache.r7g.16xlarge."""

LARGEST_MEMORY = 32 * GIB
"""A Redis node in the cluster that a Kubernetes node still has room for."""

EPHEMERAL_PORTS = 28_232
"""Source ports of a pod for connections to one address and port: 32768 to 60999 (`ip_local_port_range`)."""

UPLOAD_CORES = 8
"""Of the one pod that uploads have, the largest that is assumed; each carries `Workload.cdn_mib`."""

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


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A limit before it is measured. `where` names the part of the estimate that is nearest to it."""

    id: str
    what: str
    detail: str
    kind: Kind
    unit: str
    bound: float
    source: str
    measure: Callable[[Estimate], float]
    remedy: str
    where: Callable[[Estimate], str] = lambda _: ""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A limit, measured. `begins` is the least number of users at which it is exceeded, None if there is none."""

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
        """Whether the workload is beyond it."""
        return self.value > self.bound


def limits(estimate: Estimate, only: str = "") -> tuple[Limit, ...]:
    """Every limit, or one by its id, measured for an estimate."""

    @cache
    def with_users(users: int) -> Estimate:
        return Estimate.of(replace(estimate.workload, users=users), estimate.installation)

    def begins(rule: Rule) -> int | None:
        return _begins(lambda users: rule.measure(with_users(users)), rule.bound)

    return tuple(
        Limit(
            id=rule.id,
            what=rule.what,
            detail=rule.detail,
            where=rule.where(estimate),
            kind=rule.kind,
            unit=rule.unit,
            value=rule.measure(estimate),
            bound=rule.bound,
            begins=begins(rule),
            source=rule.source,
            remedy=rule.remedy,
        )
        for rule in rules(estimate.workload, estimate.installation)
        if only in {"", rule.id}
    )


def _begins(measure: Callable[[int], float], bound: float) -> int | None:
    """The least number of users for which more than the bound is measured."""
    fits, breaks = 1, MOST_USERS
    if measure(fits) > bound:
        return fits
    if measure(breaks) <= bound:
        return None
    while breaks - fits > 1:
        # most of what is measured is a line, so its two neighbours decide; the middle makes sure of an end
        along = (bound - measure(fits)) / (measure(breaks) - measure(fits))
        guess = fits + int((breaks - fits) * along)
        for users in (guess, guess + 1, (fits + breaks) // 2):
            if not fits < users < breaks:
                continue
            if measure(users) > bound:
                breaks = users
            else:
                fits = users
    return breaks


def rules(workload: Workload, installation: Installation) -> tuple[Rule, ...]:
    """Every limit that an installation has."""
    return (
        *_dynamodb(workload),
        *_redis(installation),
        *_bigtable(),
        *_s3(),
        *_kubernetes(workload),
        *_volumes(installation),
    )


def _dynamodb(workload: Workload) -> tuple[Rule, ...]:
    inbound = (
        "a hot key is only helped by less: lower flatline:whisper.dynamicConfig.limits.messages and "
        "flatline:whisper.dynamicConfig.limits.inboundMessageBytes"
    )
    raise_quota = (
        "ask AWS for more (Service Quotas, DynamoDB, table-level {} throughput) and for warm throughput, before "
        "the users are there"
    )
    return (
        Rule(
            id="dynamodb-table-writes",
            what="DynamoDB: writes of a table",
            detail="its write units a second, with those of local indexes",
            kind="quota",
            unit="WRU/s",
            bound=40_000,
            source=QUOTAS,
            measure=lambda estimate: max(table.throughput.writes_peak for table in estimate.tables),
            where=lambda estimate: max(estimate.tables, key=lambda table: table.throughput.writes_peak).name,
            remedy=raise_quota.format("write"),
        ),
        Rule(
            id="dynamodb-table-reads",
            what="DynamoDB: reads of a table",
            detail="its read units a second",
            kind="quota",
            unit="RRU/s",
            bound=40_000,
            source=QUOTAS,
            measure=lambda estimate: max(table.throughput.reads_peak for table in estimate.tables),
            where=lambda estimate: max(estimate.tables, key=lambda table: table.throughput.reads_peak).name,
            remedy=raise_quota.format("read"),
        ),
        Rule(
            id="dynamodb-index-writes",
            what="DynamoDB: writes of a global index",
            detail="an index that is throttled holds up the writes of its table",
            kind="quota",
            unit="WRU/s",
            bound=40_000,
            source=BACK_PRESSURE,
            measure=lambda estimate: max(writes for writes, _ in _global_indexes(estimate)),
            where=lambda estimate: max(_global_indexes(estimate))[1],
            remedy=raise_quota.format("write"),
        ),
        Rule(
            id="dynamodb-partition-messages",
            what="DynamoDB: writes to the busiest device",
            detail="all messages of a device are below one hash key, so in one partition",
            kind="fixed",
            unit="WCU/s",
            bound=1000,
            source=PARTITIONS,
            measure=lambda estimate: _busiest(
                estimate, estimate.table("Messages").throughput.writes_peak, estimate.traffic.devices
            ),
            remedy=inbound,
        ),
        Rule(
            id="dynamodb-partition-accounts",
            what="DynamoDB: writes of the busiest account",
            detail="an account is one item, so in one partition",
            kind="fixed",
            unit="WCU/s",
            bound=1000,
            source=PARTITIONS,
            measure=lambda estimate: _busiest(
                estimate, estimate.table("Accounts").throughput.writes_peak, estimate.workload.users
            ),
            remedy="an account is updated at most a few times a day: look for a client that changes its own in a loop",
        ),
        Rule(
            id="dynamodb-partition-remote-config",
            what="DynamoDB: reads of RemoteConfig",
            detail="every Whisper pod scans it every ten seconds, and it is in one partition",
            kind="fixed",
            unit="RCU/s",
            bound=3000,
            source=PARTITIONS,
            measure=lambda estimate: estimate.table("RemoteConfig").throughput.reads_peak,
            remedy="fewer, larger Whisper pods (flatline:scaling.whisper), or values in flatline:whisper.remoteConfig",
        ),
        Rule(
            id="dynamodb-item-collection",
            what="DynamoDB: messages of a device that is away",
            detail="with a local index 10 GB fit below one hash key; of the busiest device, until they expire",
            kind="fixed",
            unit="bytes",
            bound=10 * GIB,
            source=COLLECTIONS,
            # time-to-live deletes within a few days
            measure=lambda estimate: (
                _backlog(estimate) * (estimate.installation.message_days + 2) * estimate.workload.busiest_away
            ),
            remedy="the persister then drops the oldest, and as much more as "
            "flatline:whisper.dynamicConfig.messagePersister.trimOversizedQueueExtraRoomRatio says",
        ),
        Rule(
            id="dynamodb-item",
            what="DynamoDB: the largest item",
            detail="an envelope of the greatest size, or an account with all of its devices",
            kind="fixed",
            unit="bytes",
            bound=400 * KIB,
            source=CONSTRAINTS,
            measure=lambda estimate: max(
                estimate.workload.busiest_envelope_bytes + 105, 900 + 600 * estimate.workload.most_devices
            ),
            remedy="smaller messages: the limit of a message is in Whisper's code",
        ),
        Rule(
            id="dynamodb-batch-write",
            what="DynamoDB: the largest batch",
            detail="the persister writes 25 messages at once, the most that a batch may hold",
            kind="fixed",
            unit="bytes",
            bound=16 * MIB,
            source=CONSTRAINTS,
            measure=lambda estimate: 25 * (estimate.workload.busiest_envelope_bytes + 105),
            remedy="smaller messages: the limit of a message is in Whisper's code",
        ),
        Rule(
            id="dynamodb-transaction-items",
            what="DynamoDB: items of a transaction",
            detail="a number is changed with all keys of all devices",
            kind="fixed",
            unit="items",
            bound=100,
            source=CONSTRAINTS,
            measure=lambda estimate: 5 + 5 * estimate.workload.most_devices,
            remedy="fewer devices for an account (maxDevices of Whisper)",
        ),
        Rule(
            id="dynamodb-transaction-bytes",
            what="DynamoDB: bytes of a transaction",
            detail="a number is changed with all keys of all devices",
            kind="fixed",
            unit="bytes",
            bound=4 * MIB,
            source=CONSTRAINTS,
            measure=lambda estimate: 900 + 600 * estimate.workload.most_devices + 4000 * estimate.workload.most_devices,
            remedy="fewer devices for an account (maxDevices of Whisper)",
        ),
        Rule(
            id="dynamodb-query-page",
            what="DynamoDB: messages that a connection fetches",
            detail="beyond a page of 1 MB Whisper asks again",
            kind="growth",
            unit="bytes",
            bound=MIB,
            source=PAGES,
            measure=_fetched,
            remedy="nothing: Whisper asks for page after page, and such devices take longer to catch up",
        ),
        Rule(
            id="dynamodb-accounts-scan",
            what="seconds of a scan of Accounts",
            detail="a clean-up command reads every account, page after page; after four hours its Job is ended",
            kind="fixed",
            unit="s",
            bound=CLEAN_UP_SECONDS,
            source=PAGES,
            measure=lambda estimate: estimate.table("Accounts").bytes / (workload.scan_mib * MIB),
            remedy="several segments at once (--segments of the command), or a longer activeDeadlineSeconds",
        ),
    )


def _global_indexes(estimate: Estimate) -> list[tuple[float, str]]:
    return [
        (index.throughput.writes_peak, f"{table.name}/{index.name}")
        for table in estimate.tables
        for index in table.indexes
        if not index.local
    ]


def _busiest(estimate: Estimate, units: float, sharers: float) -> float:
    """The busiest one's part of units that so many share."""
    return units / sharers * estimate.workload.busiest


def _backlog(estimate: Estimate) -> float:
    """Bytes of Messages that a day adds for a device that is away, with its local index."""
    table = estimate.table("Messages")
    entry = table.item.bytes + 60 + 2 * ITEM_OVERHEAD
    return estimate.traffic.envelopes / estimate.traffic.devices * entry


def _fetched(estimate: Estimate) -> float:
    """Bytes of Messages that a connection reads."""
    return next(use.bytes for use in estimate.table("Messages").uses if use.operation == "Query")


def _redis(installation: Installation) -> tuple[Rule, ...]:
    copies = 1 + installation.shard_replicas

    def least_shards(estimate: Estimate) -> float:
        return shards(
            estimate.redis, LARGEST_NODE_GIB * GIB * redis.USABLE_MANAGED, estimate.workload.redis_shard_commands
        )

    def least_masters(estimate: Estimate) -> float:
        return shards(estimate.redis, LARGEST_MEMORY * USABLE_IN_CLUSTER, estimate.workload.redis_shard_commands)

    managed = "ElastiCache: flatline:target.aws.redis with kind elasticache"
    return (
        Rule(
            id="redis-this-stack",
            what="Redis: memory of the stack",
            detail="the Redis Cluster that flatline:redis sets; half of each node is for data",
            kind="stack",
            unit="bytes",
            bound=installation.masters * installation.redis_memory * USABLE_IN_CLUSTER,
            source=SETTINGS,
            measure=lambda estimate: estimate.redis.bytes,
            remedy="raise flatline:redis.memory or flatline:redis.masters (the recommendation has both)",
        ),
        Rule(
            id="redis-masters",
            what="Redis: masters on Kubernetes",
            detail="flatline:redis.masters, for nodes of 32 GiB",
            kind="setting",
            unit="masters",
            bound=MOST_MASTERS,
            source=SETTINGS,
            measure=least_masters,
            remedy=managed,
        ),
        Rule(
            id="elasticache-nodes-quota",
            what="ElastiCache: nodes, by quota",
            detail="nodes of a cluster, with replicas, before AWS is asked; for the largest nodes",
            kind="quota",
            unit="nodes",
            bound=90,
            source=ELASTICACHE,
            measure=lambda estimate: least_shards(estimate) * copies,
            remedy="ask AWS for up to 500 (Service Quotas, ElastiCache, nodes per cluster)",
        ),
        Rule(
            id="elasticache-nodes",
            what="ElastiCache: nodes",
            detail="nodes of a cluster, with replicas; for the largest nodes",
            kind="fixed",
            unit="nodes",
            bound=500,
            source=SHARDS,
            measure=lambda estimate: least_shards(estimate) * copies,
            remedy="fewer flatline:target.aws.redis.replicasPerShard; beyond it, several installations",
        ),
        Rule(
            id="elasticache-shards",
            what="ElastiCache: shards",
            detail="flatline:target.aws.redis.shards, for the largest nodes",
            kind="setting",
            unit="shards",
            bound=MOST_SHARDS,
            source=SETTINGS,
            measure=least_shards,
            remedy="several installations",
        ),
        Rule(
            id="redis-slots",
            what="Redis: slots",
            detail="a shard has one of the 16384 slots at least",
            kind="fixed",
            unit="shards",
            bound=redis.SLOTS,
            source=REDIS_CLUSTER,
            measure=least_shards,
            remedy="several installations",
        ),
    )


def _bigtable() -> tuple[Rule, ...]:
    nodes = "flatline:target.gcp.clusters[].nodes (the recommendation has the number), or autoscaling"
    return (
        Rule(
            id="bigtable-node-rows",
            what="Bigtable: load of one node",
            detail="17,000 rows read or 14,000 written a second, at 70 % load",
            kind="growth",
            unit="nodes",
            bound=1,
            source=BIGTABLE,
            measure=lambda estimate: estimate.bigtable.load / 0.7,
            remedy=nodes,
        ),
        Rule(
            id="bigtable-node-storage",
            what="Bigtable: storage of one node",
            detail="5 TiB, at 70 %",
            kind="growth",
            unit="nodes",
            bound=1,
            source=BIGTABLE_QUOTAS,
            measure=lambda estimate: estimate.bigtable.fill / 0.7,
            remedy=nodes,
        ),
        Rule(
            id="bigtable-nodes",
            what="Bigtable: nodes",
            detail="flatline:target.gcp.clusters[].nodes",
            kind="setting",
            unit="nodes",
            bound=MOST_BIGTABLE_NODES,
            source=SETTINGS,
            measure=lambda estimate: float(estimate.bigtable.nodes),
            remedy="several clusters or installations; group logs, which nothing deletes, are the largest table",
        ),
        Rule(
            id="bigtable-cell",
            what="Bigtable: the largest cell",
            detail="a group with as many members as it may have",
            kind="fixed",
            unit="bytes",
            bound=100 * MIB,
            source=BIGTABLE_QUOTAS,
            measure=lambda estimate: estimate.bigtable.largest_cell,
            where=lambda _: "groups",
            remedy="fewer members (group.maxGroupSize of Storage)",
        ),
        Rule(
            id="bigtable-row",
            what="Bigtable: the largest row",
            detail="a change of such a group, and the group after it",
            kind="fixed",
            unit="bytes",
            bound=256 * MIB,
            source=BIGTABLE_QUOTAS,
            measure=lambda estimate: 2 * estimate.bigtable.largest_cell,
            where=lambda _: "group-logs",
            remedy="fewer members (group.maxGroupSize of Storage)",
        ),
    )


def _s3() -> tuple[Rule, ...]:
    split = "S3 divides keys as random as these by itself while requests grow; ask AWS to do it before a sudden rise"
    return (
        Rule(
            id="s3-puts",
            what="S3: PUT requests of a prefix",
            detail="with POST, LIST and DELETE, a second",
            kind="growth",
            unit="requests/s",
            bound=3500,
            source=S3,
            measure=lambda estimate: max(prefix.puts_peak for prefix in estimate.prefixes),
            where=lambda estimate: max(estimate.prefixes, key=lambda prefix: prefix.puts_peak).name,
            remedy=split,
        ),
        Rule(
            id="s3-gets",
            what="S3: GET requests of a prefix",
            detail="with HEAD, a second",
            kind="growth",
            unit="requests/s",
            bound=5500,
            source=S3,
            measure=lambda estimate: max(prefix.gets_peak for prefix in estimate.prefixes),
            where=lambda estimate: max(estimate.prefixes, key=lambda prefix: prefix.gets_peak).name,
            remedy=split,
        ),
    )


def _kubernetes(workload: Workload) -> tuple[Rule, ...]:
    return (
        Rule(
            id="kubernetes-nodes",
            what="Kubernetes: nodes",
            detail="nodes of a cluster",
            kind="fixed",
            unit="nodes",
            bound=5000,
            source=KUBERNETES,
            measure=lambda estimate: float(estimate.cluster.nodes),
            remedy="larger nodes; beyond it, several installations",
        ),
        Rule(
            id="kubernetes-pods",
            what="Kubernetes: pods",
            detail="pods of a cluster",
            kind="fixed",
            unit="pods",
            bound=150_000,
            source=KUBERNETES,
            measure=lambda estimate: float(estimate.cluster.most_pods),
            remedy="larger pods; beyond it, several installations",
        ),
        Rule(
            id="service-pods",
            what="pods of a service",
            detail="flatline:scaling.<service>.maxReplicas",
            kind="setting",
            unit="pods",
            bound=MOST_REPLICAS,
            source=SETTINGS,
            measure=lambda estimate: float(max(pods.most for pods in estimate.cluster.pods if pods.service in SCALED)),
            where=lambda estimate: (
                max(
                    (pods for pods in estimate.cluster.pods if pods.service in SCALED), key=lambda pods: pods.most
                ).service
            ),
            remedy="several installations",
        ),
        Rule(
            id="traefik-pods",
            what="pods of Traefik",
            detail="flatline:ingress.install.replicas",
            kind="setting",
            unit="pods",
            bound=MOST_TRAEFIK_PODS,
            source=SETTINGS,
            measure=lambda estimate: float(estimate.cluster.of("traefik").most),
            remedy="a Traefik of your own with larger or more pods (flatline:ingress.namespace, .podLabels)",
        ),
        Rule(
            id="persister",
            what="persisters: one",
            detail="message queues that a persister moves a second; beyond it messages stay in Redis",
            kind="growth",
            unit="persisters",
            bound=1,
            source=MODEL,
            measure=lambda estimate: float(estimate.cluster.of("whisper-persister").replicas),
            remedy="more of them (flatline:scaling.whisper-persister): they share the slots",
        ),
        Rule(
            id="upload-pod",
            what="CDN3: uploads through one pod",
            detail="at the busiest time; tusd's locks are in its memory, so uploads have one pod, of eight cores",
            kind="fixed",
            unit="MiB/s",
            bound=UPLOAD_CORES * workload.cdn_mib,
            source=MODEL,
            measure=lambda estimate: (
                per_second(estimate.traffic.uploads * estimate.traffic.attachment_bytes, estimate.workload.peak) / MIB
            ),
            remedy="several installations",
        ),
        Rule(
            id="traefik-connections",
            what="connections of two Traefik pods",
            detail="open at the busiest time",
            kind="growth",
            unit="connections",
            bound=2 * workload.traefik_connections,
            source=MODEL,
            measure=lambda estimate: estimate.traffic.connections,
            remedy="more Traefik pods (flatline:ingress.install.replicas, where Flatline installs it)",
        ),
        Rule(
            id="ephemeral-ports",
            what="connections of a Traefik pod to a Whisper pod",
            detail="each takes a source port; a pod has 28,232",
            kind="fixed",
            unit="connections",
            bound=EPHEMERAL_PORTS,
            source=PORTS,
            measure=lambda estimate: min(estimate.traffic.connections, estimate.workload.websockets_per_pod),
            remedy="fewer WebSockets in a pod: more of them (flatline:scaling.whisper)",
        ),
    )


def _volumes(installation: Installation) -> tuple[Rule, ...]:
    held = {
        "database": "DynamoDB's tables",
        "groups": "Bigtable's tables",
        "objects": "pages of pre-keys, and avatars",
        "attachments": "attachments until they expire",
    }

    def stored(name: str) -> Callable[[Estimate], float]:
        return lambda estimate: estimate.volumes[name]

    return tuple(
        Rule(
            id=f"volume-{name}",
            what=f"volume: {name}",
            detail=f"{held[name]}, on the stack's flatline:target.volumes.{name}",
            kind="stack",
            unit="bytes",
            bound=size,
            source=SETTINGS,
            measure=stored(name),
            remedy=f"raise flatline:target.volumes.{name}"
            + (" or lower flatline:cdn.retentionDays" if name == "attachments" else ", or move to a cloud target"),
        )
        for name, size in installation.volumes
    )
