"""The emulators' seeds, as pure functions of the schemas."""

from collections.abc import Mapping
from typing import Any

from config.schema.bigtable import BigtableTable
from config.schema.dynamodb import Index, Key, Table

SEED_DEADLINE_SECONDS, PAGES_DEADLINE_SECONDS = 240, 60


def create_table_request(table: Table) -> dict[str, Any]:
    """The request of DynamoDB's CreateTable (its API reference has the form), billed by request."""
    local = [_index(index) for index in table.indexes if index.local]
    everywhere = [_index(index) for index in table.indexes if not index.local]
    return {
        "TableName": table.name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": key.name, "AttributeType": key.type} for key in table.key_attributes()
        ],
        "KeySchema": _key_schema(table.hash, table.range),
        **({"LocalSecondaryIndexes": local} if local else {}),
        **({"GlobalSecondaryIndexes": everywhere} if everywhere else {}),
    }


def _key_schema(hash_key: Key, range_key: Key | None) -> list[dict[str, str]]:
    schema = [{"AttributeName": hash_key.name, "KeyType": "HASH"}]
    return schema if range_key is None else [*schema, {"AttributeName": range_key.name, "KeyType": "RANGE"}]


def _index(index: Index) -> dict[str, Any]:
    return {
        "IndexName": index.name,
        "KeySchema": _key_schema(index.hash, index.range),
        "Projection": {"ProjectionType": index.projection},
    }


def localstack(
    *,
    region: str,
    port: int,
    tables: tuple[Table, ...] = (),
    buckets: tuple[str, ...] = (),
    objects: tuple[dict[str, str], ...] = (),
    pages: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The file of programs/seed/localstack.py, which tells what each key means."""
    return {
        "endpoint": f"http://127.0.0.1:{port}",
        "region": region,
        "tables": [create_table_request(table) for table in tables],
        "ttl": {table.name: table.ttl for table in tables if table.ttl is not None},
        "buckets": list(buckets),
        "objects": list(objects),
        "pages": {**pages, "deadlineSeconds": PAGES_DEADLINE_SECONDS} if pages else None,
        "deadlineSeconds": SEED_DEADLINE_SECONDS,
    }


def bigtable(tables: Mapping[str, BigtableTable]) -> dict[str, list[str]]:
    """The tables of programs/seed/bigtable.mjs: table id → column families."""
    return {table.name: [table.family] for table in tables.values()}
