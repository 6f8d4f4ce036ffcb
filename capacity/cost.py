"""The monthly cost of an estimate at list prices."""

from dataclasses import dataclass

from capacity.estimate import Estimate
from capacity.recommendation import Recommendation
from capacity.workload import GIB
from config.prices import Family

HOURS = 730
"""Hours of a month, as both providers count them."""

SECONDS = HOURS * 3600
DAYS = HOURS / 24
DISK_GIB = 100
"""Disk of a Kubernetes node, in GiB."""

UNIT_CONNECTIONS = 100_000
"""Open connections per capacity unit of a Network Load Balancer."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A cost line: an amount of something, and its price in US dollars a month."""

    service: str
    what: str
    amount: float
    unit: str
    dollars: float


def costs(estimate: Estimate, recommended: Recommendation, prices: Family) -> tuple[Cost, ...]:
    """Every cost line; the total is their sum."""
    return (
        *_dynamodb(estimate, prices),
        *_s3(estimate, prices),
        *_redis(recommended, prices),
        *_bigtable(estimate, prices),
        *_kubernetes(estimate, prices),
        *_transfer(estimate, prices),
    )


def total(lines: tuple[Cost, ...]) -> float:
    """US dollars in a month."""
    return sum(line.dollars for line in lines)


def _line(service: str, what: str, amount: float, unit: str, price: float) -> Cost:
    return Cost(service=service, what=what, amount=amount, unit=unit, dollars=amount * price)


def _dynamodb(estimate: Estimate, prices: Family) -> tuple[Cost, ...]:
    # The units of a local index are in its table.
    loads = [table.throughput for table in estimate.tables] + [
        index.throughput for table in estimate.tables for index in table.indexes if not index.local
    ]
    reads = sum(load.reads_mean for load in loads) * SECONDS / 1e6
    writes = sum(load.writes_mean for load in loads) * SECONDS / 1e6
    stored = sum(table.stored_bytes for table in estimate.tables) / GIB
    listed = prices.dynamodb
    return (
        _line("DynamoDB", "reads", reads, "million RRU", listed.read_million),
        _line("DynamoDB", "writes", writes, "million WRU", listed.write_million),
        _line("DynamoDB", "storage", stored, "GiB", listed.storage_gib),
        _line("DynamoDB", "point-in-time recovery", stored, "GiB", listed.backup_gib),
    )


def _s3(estimate: Estimate, prices: Family) -> tuple[Cost, ...]:
    stored = sum(prefix.bytes for prefix in estimate.prefixes) / GIB
    puts = sum(prefix.puts_mean for prefix in estimate.prefixes) * SECONDS / 1000
    gets = sum(prefix.gets_mean for prefix in estimate.prefixes) * SECONDS / 1000
    return (
        Cost(service="S3", what="storage", amount=stored, unit="GiB", dollars=prices.s3.of(stored)),
        _line("S3", "PUT, POST, LIST", puts, "thousand", prices.s3.put_thousand),
        _line("S3", "GET, HEAD", gets, "thousand", prices.s3.get_thousand),
    )


def _redis(recommended: Recommendation, prices: Family) -> tuple[Cost, ...]:
    cache, pubsub = recommended.cache, recommended.pubsub
    return (
        _line("ElastiCache", f"{cache.nodes} × {cache.node.type}", cache.nodes * HOURS, "node hours", cache.node.hour),
        _line("ElastiCache", f"publish/subscribe: {pubsub.type}", HOURS, "node hours", pubsub.hour),
    )


def _bigtable(estimate: Estimate, prices: Family) -> tuple[Cost, ...]:
    listed, stored = prices.bigtable, estimate.bigtable.bytes / GIB
    return (
        _line(
            "Bigtable",
            f"nodes: {estimate.bigtable.nodes}",
            estimate.bigtable.nodes * HOURS,
            "node hours",
            listed.node_hour,
        ),
        _line("Bigtable", "storage", stored, "GiB", listed.storage_gib),
        _line("Bigtable", "backup", stored, "GiB", listed.backup_gib),
    )


def _kubernetes(estimate: Estimate, prices: Family) -> tuple[Cost, ...]:
    listed, nodes, balancer = prices.kubernetes, estimate.cluster.nodes, prices.load_balancer
    moved = (
        (estimate.transfer.attachments + estimate.transfer.avatars + estimate.transfer.messages) * DAYS / GIB / HOURS
    )
    units = max(estimate.traffic.connections / UNIT_CONNECTIONS, moved)
    return (
        _line("Kubernetes", "control plane", HOURS, "hours", listed.control_plane_hour),
        _line("Kubernetes", f"{nodes} × {listed.node_type}", nodes * HOURS, "node hours", listed.node_hour),
        _line("Kubernetes", "disks", nodes * DISK_GIB, "GiB", listed.disk_gib),
        _line("Load balancer", "hours", HOURS, "hours", balancer.hour),
        _line("Load balancer", "capacity units", units * HOURS, "unit hours", balancer.unit_hour),
    )


def _transfer(estimate: Estimate, prices: Family) -> tuple[Cost, ...]:
    aws, google = estimate.transfer.from_aws * DAYS / GIB, estimate.transfer.from_google * DAYS / GIB
    calls = estimate.transfer.calls * DAYS / GIB
    # the tiers are those of all bytes together
    of_calls = prices.from_aws.of(aws + calls) - prices.from_aws.of(aws)
    relayed = (Cost(service="Transfer", what="calls: AWS to the internet", amount=calls, unit="GiB", dollars=of_calls),)
    return (
        *(relayed if calls else ()),
        Cost(service="Transfer", what="AWS to the internet", amount=aws, unit="GiB", dollars=prices.from_aws.of(aws)),
        Cost(
            service="Transfer",
            what="Google Cloud to AWS",
            amount=google,
            unit="GiB",
            dollars=prices.from_google.of(google),
        ),
    )
