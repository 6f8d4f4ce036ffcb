"""DynamoDB's tables, as the schema has them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.base import Component
from components.capabilities import Access, DynamoDb, Grant, Network
from components.cloud.durability import Durability
from components.cloud.kms import KmsKey
from config.schema.dynamodb import Index, Table


@dataclass(frozen=True, kw_only=True)
class DynamoDbTablesArgs:
    """`tables` by their path below `dynamoDbTables`; `name_of` gives the name of one in the account.

    `adopted` are names in the account of tables that exist; `durability` by the schema's name.
    """

    region: str
    tables: Mapping[str, Table]
    name_of: Callable[[Table], str]
    adopted: frozenset[str]
    durability: Callable[[str], Durability]
    encryption: KmsKey
    networks: tuple[Network, ...]


class DynamoDbTables(Component):
    """Paid by request, restorable to any second of the last 35 days, encrypted with the installation's key."""

    TYPE = "flatline:cloud:Tables"

    def __init__(self, name: str, args: DynamoDbTablesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._args = args
        tables = {path: (table, self._table(table)) for path, table in args.tables.items()}
        self.dynamodb = DynamoDb(
            access=Access(
                grants=(
                    *(grant for table, made in tables.values() for grant in _grants(table, made)),
                    args.encryption.grant("dynamodb"),
                ),
                external_egress=args.networks,
            ),
            region=args.region,
            tables={path: made.name for path, (_, made) in tables.items()},
        )
        self.register_outputs({"tables": dict(self.dynamodb.tables)})

    def _table(self, table: Table) -> aws.dynamodb.Table:
        args = self._args
        name, durability = args.name_of(table), args.durability(table.name)
        return aws.dynamodb.Table(
            f"dynamodb-{table.name}",
            name=name,
            billing_mode="PAY_PER_REQUEST",
            attributes=[
                aws.dynamodb.TableAttributeArgs(name=key.name, type=key.type) for key in table.key_attributes()
            ],
            hash_key=table.hash.name,
            range_key=table.range.name if table.range else None,
            local_secondary_indexes=[_local(index) for index in table.indexes if index.local] or None,
            global_secondary_indexes=[_global(index) for index in table.indexes if not index.local] or None,
            ttl=aws.dynamodb.TableTtlArgs(attribute_name=table.ttl, enabled=True) if table.ttl else None,
            point_in_time_recovery=aws.dynamodb.TablePointInTimeRecoveryArgs(enabled=True),
            deletion_protection_enabled=durability is Durability.PROTECTED,
            server_side_encryption=aws.dynamodb.TableServerSideEncryptionArgs(
                enabled=True, kms_key_arn=args.encryption.arn
            ),
            opts=durability.options(self, adopt=name if name in args.adopted else None),
        )


def _local(index: Index) -> aws.dynamodb.TableLocalSecondaryIndexArgs:
    assert index.range is not None, "a local index has a range key of its own"
    return aws.dynamodb.TableLocalSecondaryIndexArgs(
        name=index.name, range_key=index.range.name, projection_type=index.projection
    )


def _global(index: Index) -> aws.dynamodb.TableGlobalSecondaryIndexArgs:
    parts = [(index.hash, "HASH"), *([(index.range, "RANGE")] if index.range else [])]
    return aws.dynamodb.TableGlobalSecondaryIndexArgs(
        name=index.name,
        key_schemas=[
            aws.dynamodb.TableGlobalSecondaryIndexKeySchemaArgs(attribute_name=key.name, key_type=kind)
            for key, kind in parts
        ],
        projection_type=index.projection,
    )


def _grants(table: Table, made: aws.dynamodb.Table) -> tuple[Grant, ...]:
    """The operations of the code behind the table; indexes are only ever asked."""
    of_rows = [each for each in table.operations if each != "Query" or not table.queried_by_index]
    own = Grant(actions=tuple(f"dynamodb:{operation}" for operation in of_rows), resources=(made.arn,))
    indexes = tuple(pulumi.Output.concat(made.arn, "/index/", index.name) for index in table.indexes)
    return (own, Grant(actions=("dynamodb:Query",), resources=indexes)) if indexes else (own,)
