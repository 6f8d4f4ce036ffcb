"""The estimate: everything that an installation needs for a workload."""

from dataclasses import dataclass

from capacity import bigtable, calls, cluster, dynamodb, objects, redis
from capacity.bigtable import BigtableDemand
from capacity.calls import CallsDemand
from capacity.cluster import ClusterDemand
from capacity.dynamodb import TableDemand
from capacity.installation import Installation
from capacity.objects import Prefix, Transfer
from capacity.redis import RedisDemand
from capacity.traffic import Traffic
from capacity.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A workload on an installation, and its demand on each part."""

    workload: Workload
    installation: Installation
    traffic: Traffic
    tables: tuple[TableDemand, ...]
    redis: RedisDemand
    bigtable: BigtableDemand
    prefixes: tuple[Prefix, ...]
    calls: CallsDemand
    transfer: Transfer
    cluster: ClusterDemand

    @classmethod
    def of(cls, workload: Workload, installation: Installation) -> "Estimate":
        """Estimates every part for a workload. Raises ModelError if a table of the schema is not modelled."""
        traffic = Traffic.of(workload)
        pods = cluster.whisper(workload, traffic).most
        groups = bigtable.demand(workload, traffic, installation)
        prefixes = objects.demand(workload, traffic, installation, pods)
        media = calls.demand(workload, traffic, installation)
        return cls(
            workload=workload,
            installation=installation,
            traffic=traffic,
            tables=dynamodb.demand(workload, traffic, installation, pods),
            redis=redis.demand(workload, traffic, installation),
            bigtable=groups,
            prefixes=prefixes,
            calls=media,
            transfer=objects.transfer(workload, traffic, groups, prefixes, media),
            cluster=cluster.demand(workload, traffic, installation, groups, prefixes, media),
        )

    def table(self, name: str) -> TableDemand:
        """A DynamoDB table by its name in the schema."""
        return next(table for table in self.tables if table.name == name)

    @property
    def volumes(self) -> dict[str, float]:
        """Bytes on each volume of a local target, by the name of its setting."""
        buckets = {"objects": ("pre-keys", "cdn0"), "attachments": ("uploads",)}
        return {
            "database": sum(table.stored_bytes for table in self.tables),
            "groups": self.bigtable.bytes,
            **{
                name: sum(prefix.bytes for prefix in self.prefixes if prefix.bucket in held)
                for name, held in buckets.items()
            },
        }
