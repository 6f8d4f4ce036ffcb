"""The output of `capacity`. Numbers of the model are explained in docs/capacity.md."""

from typing import Any

from cli.forms.base import Block, Form


class Demand(Block):
    name: str
    """The table or index."""
    items: float
    """How many it has."""
    bytes: float
    """Their size."""
    reads_mean: float
    """Read units a second."""
    reads_peak: float
    """In the busiest minute."""
    writes_mean: float
    """Write units a second."""
    writes_peak: float
    """In the busiest minute."""


class Index(Demand):
    local: bool
    """True if it shares the table's hash key."""


class Table(Demand):
    key: str
    """The path in Whisper's configuration."""
    item_bytes: float
    """The size of an item."""
    item_source: str
    """Where that size is from."""
    indexes: list[Index]
    """Those that the table has."""


class ElastiCache(Block):
    node_type: str
    """AWS' name."""
    shards: int
    """How many."""
    replicas_per_shard: int
    """How many each has."""


class InCluster(Block):
    masters: int
    """`flatline:redis.masters`."""
    replicas_per_master: int
    """`flatline:redis.replicasPerMaster`."""
    memory: int
    """Of a node, in bytes."""


class Redis(Block):
    queued: float
    """Bytes of messages that wait for the persister or for a WebSocket."""
    accounts: float
    """Bytes of cached accounts."""
    profiles: float
    """Bytes of cached profiles."""
    rate_limits: float
    """Bytes of limits."""
    connections: float
    """Bytes of connections."""
    wait_seconds: float
    """How long a message waits for the persister."""
    commands_mean: float
    """Commands a second."""
    commands_peak: float
    """In the busiest minute."""
    bytes: float
    """All of it."""
    elasticache: ElastiCache
    """The recommendation for AWS."""
    in_cluster: InCluster | None
    """The recommendation for Redis on Kubernetes; null where it does not fit."""


class GroupTable(Block):
    name: str
    """The table."""
    rows: float
    """How many it has."""
    row_bytes: float
    """The size of a row."""
    source: str
    """Where that size is from."""
    reads_mean: float
    """Rows read a second."""
    reads_peak: float
    """In the busiest minute."""
    writes_mean: float
    """Rows written a second."""
    writes_peak: float
    """In the busiest minute."""
    bytes: float
    """All of it."""


class Bigtable(Block):
    nodes: int
    """How many it takes."""
    tables: list[GroupTable]
    """Each table."""


class Prefix(Block):
    bucket: str
    """The bucket."""
    prefix: str
    """The beginning of its keys."""
    objects: float
    """How many there are."""
    bytes: float
    """Their size."""
    source: str
    """Where that size is from."""
    puts_mean: float
    """PUT requests a second."""
    puts_peak: float
    """In the busiest minute."""
    gets_mean: float
    """GET requests a second."""
    gets_peak: float
    """In the busiest minute."""


class CallServer(Block):
    calls: float
    """Calls at the busiest time, with room for those that begin by chance."""
    mbit: float
    """Megabits a second that pass through it then: relayed ones each counted once, or those sent to members."""
    cores: float
    """CPUs for them."""
    sent_bytes: float
    """Bytes that leave it in a day."""


class Relayed(CallServer):
    ports: int
    """Relay ports at the busiest time."""


class GroupMedia(CallServer):
    streams: float
    """Streams that it sends at the busiest time."""


class Calls(Block):
    relayed: Relayed | None
    """The TURN server; null where the stack has none."""
    groups: GroupMedia | None
    """The calling service's backend; null where the stack has none."""


class Pods(Block):
    service: str
    """The service."""
    replicas: int
    """How many pods by the mean."""
    most: int
    """How many in the busiest minute."""
    cores: float
    """CPUs of a pod."""
    mib: int
    """Memory of a pod."""
    why: str
    """The figure that decides."""


class Kubernetes(Block):
    nodes: int
    """How many machines."""
    pods: list[Pods]
    """Each service."""


class Line(Block):
    service: str
    """Who is paid."""
    what: str
    """For what."""
    amount: float
    """How much of it a month."""
    unit: str
    """Of the amount."""
    dollars: float
    """US dollars a month."""


class Cost(Block):
    total: float
    """US dollars a month."""
    prices: str
    """The family of `config/prices.yaml` that counts."""
    lines: list[Line]
    """Its parts."""


class Limit(Block):
    id: str
    """Its name."""
    what: str
    """The figure that is limited."""
    detail: str
    """How it comes about."""
    where: str
    """The table, bucket or service."""
    kind: str
    """`fixed`, `quota`, `setting` or `growth` ([capacity.md](capacity.md#limits))."""
    unit: str
    """Of the value and the bound."""
    value: float
    """For this number of users."""
    bound: float
    """The most."""
    begins: int | None
    """The smallest number of users that exceeds it; null: never."""
    source: str
    """The document that states it."""
    remedy: str
    """The change that helps."""
    exceeded: bool
    """True if the value is above the bound."""


class Assumption(Block):
    name: str
    """Its name in `workload`."""
    value: float
    """The assumption."""
    unit: str
    """Of the value."""
    meaning: str
    """Its meaning."""
    source: str
    """Where it is from."""


class Capacity(Form):
    """Exact numbers: bytes, units a second, US dollars a month."""

    workload: dict[str, float]
    """Every number that was given or assumed."""
    installation: dict[str, Any]
    """Retentions and sizes, from the settings."""
    traffic: dict[str, float]
    """Activity of so many users: counts, and means a second."""
    dynamodb: list[Table]
    """Each table."""
    redis: Redis
    """Memory and commands, and what is recommended."""
    bigtable: Bigtable
    """Rows and nodes."""
    s3: list[Prefix]
    """Objects and requests."""
    calls: Calls
    """The servers for calls."""
    transfer: dict[str, float]
    """Bytes a second."""
    kubernetes: Kubernetes
    """Pods and nodes."""
    cost: Cost
    """List prices."""
    limits: list[Limit]
    """Everything that can end growth."""
    assumptions: list[Assumption]
    """All numbers of `workload`, explained."""
    notes: list[str]
    """Remarks on the numbers, as in the text output."""
    settings: dict[str, Any]
    """The recommendation, as in a stack's file."""
