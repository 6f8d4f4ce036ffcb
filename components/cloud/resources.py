"""Everything of an installation that is in AWS and Google Cloud."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.base import Component
from components.capabilities import Network, Rooms
from components.cloud.bigtable import BigtableInstance, BigtableInstanceArgs
from components.cloud.durability import Durability
from components.cloud.dynamodb import DynamoDbTables, DynamoDbTablesArgs
from components.cloud.identity import CloudIdentities, CloudIdentitiesArgs
from components.cloud.kms import KmsKey, KmsKeyArgs
from components.cloud.objects import S3Buckets, S3BucketsArgs
from components.cloud.redis import ElastiCacheRedis, ElastiCacheRedisArgs
from components.cloud.upload_signers import UploadSigners, UploadSignersArgs
from config.schema import bigtable, dynamodb
from config.schema.dynamodb import Table
from config.schema.objects import Signer
from config.schema.secrets import Epochs
from config.target import Cloud, ElastiCache

HTTPS = 443


@dataclass(frozen=True, kw_only=True)
class CloudResourcesArgs:
    """`upload_keys` are the epochs of the keys that sign upload forms, by signer."""

    target: Cloud
    dynamic_config: str
    upload_days: int
    unfinished_upload_days: int
    group_calls: bool
    upload_keys: Mapping[Signer, Epochs]


class CloudResources(Component):
    """Tables, buckets, the key they are encrypted with, the groups' instance, and who may use what."""

    TYPE = "flatline:cloud:Accounts"

    def __init__(self, name: str, args: CloudResourcesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        aws, gcp = args.target.aws, args.target.gcp
        self._aws = aws
        self._durability = Durability.PROTECTED if aws.removal_protection else Durability.DISPOSABLE
        networks = tuple(Network(network, (HTTPS,)) for network in aws.networks)
        self._encryption = KmsKey(
            "encryption",
            KmsKeyArgs(prefix=aws.name_prefix, region=aws.region, own=aws.kms_key, durability=self._durability),
            self.child_opts,
        )
        tables = self._tables("tables", dynamodb.TABLES, networks)
        buckets = S3Buckets(
            "buckets",
            S3BucketsArgs(
                prefix=aws.name_prefix,
                region=aws.region,
                adopted=aws.adopt.buckets,
                dynamic_config=args.dynamic_config,
                upload_days=args.upload_days,
                unfinished_upload_days=args.unfinished_upload_days,
                encryption=self._encryption,
                durability=self._durability,
                networks=networks,
            ),
            self.child_opts,
        )
        uploaders = UploadSigners(
            "uploaders",
            UploadSignersArgs(prefix=aws.name_prefix, bucket=buckets.cdn0_arn, epochs=args.upload_keys),
            self.child_opts,
        )
        groups = BigtableInstance(
            "groups",
            BigtableInstanceArgs(
                project=gcp.project,
                instance=gcp.instance,
                clusters=tuple(gcp.clusters),
                tables=bigtable.TABLES,
                backup_days=gcp.backup_days,
                adopt=gcp.adopt,
                durability=self._durability,
                table_durability={
                    table.name: self._unless(table.name in gcp.replace_tables) for table in bigtable.TABLES.values()
                },
                networks=tuple(Network(network, (HTTPS,)) for network in gcp.networks),
            ),
            self.child_opts,
        )
        self.identities = CloudIdentities("identities", CloudIdentitiesArgs(aws=aws, gcp=gcp), self.child_opts)
        self.dynamodb, self.bigtable = tables.dynamodb, groups.bigtable
        self.objects, self.uploads, self.public_reads = buckets.objects, buckets.uploads, buckets.public_reads
        self.rooms = self._rooms(networks) if args.group_calls else None
        self.issued = uploaders.issued
        self.register_outputs({})

    def elasticache(
        self, wanted: ElastiCache, password: pulumi.Input[str], opts: pulumi.ResourceOptions
    ) -> ElastiCacheRedis:
        """Caches beside the tables, encrypted with the same key."""
        return ElastiCacheRedis(
            "redis",
            ElastiCacheRedisArgs(
                prefix=self._aws.name_prefix,
                password=password,
                node_type=wanted.node_type,
                shards=wanted.shards,
                replicas_per_shard=wanted.replicas_per_shard,
                pubsub_node_type=wanted.pubsub_node_type,
                snapshot_days=wanted.snapshot_days,
                vpc=wanted.vpc,
                subnets=tuple(wanted.subnets),
                networks=tuple(self._aws.networks),
                encryption=self._encryption,
                durability=self._durability,
            ),
            opts,
        )

    def _tables(self, name: str, tables: Mapping[str, Table], networks: tuple[Network, ...]) -> DynamoDbTables:
        aws = self._aws
        return DynamoDbTables(
            name,
            DynamoDbTablesArgs(
                region=aws.region,
                tables=tables,
                name_of=aws.table_name,
                adopted=frozenset(aws.adopt.tables.values()),
                durability=lambda table: self._unless(table in aws.replace_tables),
                encryption=self._encryption,
                networks=networks,
            ),
            self.child_opts,
        )

    def _rooms(self, networks: tuple[Network, ...]) -> Rooms:
        """The table of group calls, whose user may use no other."""
        made = self._tables("calling-tables", dynamodb.GROUP_CALLS, networks).dynamodb
        return Rooms(access=made.access, region=made.region, table=made.tables[dynamodb.ROOMS])

    def _unless(self, disposable: bool) -> Durability:
        return Durability.DISPOSABLE if disposable else self._durability
