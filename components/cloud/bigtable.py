"""Bigtable: the instance of the groups, its tables and their backups."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_gcp as gcp

from components.base import Component
from components.capabilities import Access, Bigtable, InstanceRole, Network
from components.cloud.durability import Durability
from config.schema.bigtable import BigtableTable
from config.target import BigtableCluster

USER = "roles/bigtable.user"
"""Reads and writes rows. On the instance, not on its tables, because a client greets the instance when it starts."""


@dataclass(frozen=True, kw_only=True)
class BigtableInstanceArgs:
    """`tables` by their key below `bigtable`; `durability` by a table's name, and of the instance."""

    project: str
    instance: str
    clusters: tuple[BigtableCluster, ...]
    tables: Mapping[str, BigtableTable]
    backup_days: int
    adopt: bool
    durability: Durability
    table_durability: Mapping[str, Durability]
    networks: tuple[Network, ...]


class BigtableInstance(Component):
    """Deletion is refused by Google too, and each table is backed up every day."""

    TYPE = "flatline:cloud:BigtableInstance"

    def __init__(self, name: str, args: BigtableInstanceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._args = args
        path = f"projects/{args.project}/instances/{args.instance}"
        instance = gcp.bigtable.Instance(
            name,
            name=args.instance,
            project=args.project,
            display_name=args.instance[:30],
            clusters=[_cluster(args.instance, cluster) for cluster in args.clusters],
            deletion_protection=args.durability is Durability.PROTECTED,
            force_destroy=False,
            opts=args.durability.options(self, adopt=path if args.adopt else None),
        )
        tables = {key: self._table(table, instance, path) for key, table in args.tables.items()}
        self.bigtable = Bigtable(
            access=Access(
                roles=(InstanceRole(role=USER, project=args.project, instance=instance.name),),
                external_egress=args.networks,
                depends_on=tuple(tables.values()),
            ),
            project=args.project,
            instance=instance.name,
            tables={key: table.name for key, table in tables.items()},
        )
        self.register_outputs({"instance": instance.name})

    def _table(self, table: BigtableTable, instance: gcp.bigtable.Instance, path: str) -> gcp.bigtable.Table:
        args = self._args
        durability = args.table_durability[table.name]
        return gcp.bigtable.Table(
            f"bigtable-{table.name}",
            name=table.name,
            project=args.project,
            instance_name=instance.name,
            column_families=[gcp.bigtable.TableColumnFamilyArgs(family=table.family)],
            deletion_protection="PROTECTED" if durability is Durability.PROTECTED else "UNPROTECTED",
            automated_backup_policy=gcp.bigtable.TableAutomatedBackupPolicyArgs(
                frequency="24h0m0s", retention_period=f"{args.backup_days * 24}h0m0s"
            ),
            opts=durability.options(self, adopt=f"{path}/tables/{table.name}" if args.adopt else None),
        )


def cluster_id(instance: str, zone: str) -> str:
    """The id of the cluster in a zone; of different ones for the zones of a region."""
    return f"{instance[:12].rstrip('-')}-{_short(zone)}"


def _cluster(instance: str, cluster: BigtableCluster) -> gcp.bigtable.InstanceClusterArgs:
    """A cluster's id is its zone's, so adding and removing one leaves the others alone."""
    by_load = cluster.autoscaling
    return gcp.bigtable.InstanceClusterArgs(
        cluster_id=cluster_id(instance, cluster.zone),
        zone=cluster.zone,
        storage_type="SSD",
        num_nodes=None if by_load else cluster.nodes,
        autoscaling_config=gcp.bigtable.InstanceClusterAutoscalingConfigArgs(
            min_nodes=by_load.min_nodes, max_nodes=by_load.max_nodes, cpu_target=by_load.cpu_percent
        )
        if by_load
        else None,
    )


def _short(zone: str) -> str:
    """At most 17 characters of a zone that tell it from the others of its region: ids have at most 30."""
    return zone if len(zone) <= 17 else zone[-17:].lstrip("-")
