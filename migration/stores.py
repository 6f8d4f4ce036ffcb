"""The stores of an installation: clients for how they are reached, and a collection for all that is moved."""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3
import grpc
from botocore.config import Config
from google.cloud.bigtable.data import BigtableDataClient
from google.cloud.bigtable_admin_v2 import BigtableTableAdminClient
from google.cloud.bigtable_admin_v2.services.bigtable_table_admin.transports import BigtableTableAdminGrpcTransport

from config.schema import bigtable, dynamodb
from migration.bigtable import BigtableRows
from migration.bigtable import translated_errors as translated_bigtable_errors
from migration.dynamodb import DynamoTable, check_account, translated_errors
from migration.endpoints import MOVED_BUCKETS, Connection, PhysicalNames
from migration.objects import Bucket
from migration.records import Collection

EMULATOR_VARIABLE = "BIGTABLE_EMULATOR_HOST"
"""Google's clients look at it when they are made."""

_RETRIES: Any = {"mode": "standard", "total_max_attempts": 10}


@contextmanager
def opened(names: PhysicalNames, connection: Connection, *, readers: int) -> Iterator[list[Collection]]:
    """Everything that is moved, in the order of the schema. Raises MigrationError, in another account for one."""
    made, buckets = clients(connection)
    schema = dynamodb.tables(group_calls=True)
    with _bigtable(names, connection.at.bigtable) as (data, admin):
        yield [
            *(DynamoTable(made, schema[path], name, readers=readers) for path, name in names.tables.items()),
            *(BigtableRows(data, admin, names.instance, table) for table in bigtable.TABLES.values()),
            *(Bucket(buckets[role], role, names.buckets[role]) for role in MOVED_BUCKETS),
        ]


def clients(connection: Connection) -> tuple[Any, dict[str, Any]]:
    """boto3's clients for DynamoDB, and for the buckets by role. Raises MigrationError, in another account for one."""
    session = boto3.Session(region_name=connection.region, **_keys(connection.credentials))
    if connection.account is not None:
        check_account(lambda: session.client("sts", config=Config(retries=_RETRIES)), connection.account)
    objects = boto3.Session(region_name=connection.region, **_keys(connection.object_credentials))
    urls = {"pre-keys": connection.at.s3, "cdn0": connection.at.cdn0}
    made = _client(session, "dynamodb", connection.at.dynamodb)
    return made, {role: _client(objects, "s3", url) for role, url in urls.items()}


def _keys(credentials: Mapping[str, str] | None) -> dict[str, Any]:
    if credentials is None:
        return {}
    return {
        "aws_access_key_id": credentials["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": credentials["AWS_SECRET_ACCESS_KEY"],
    }


def _client(session: Any, service: str, url: str | None) -> Any:
    # Emulators and S3's own endpoints alike take paths; checksums in trailers are what some emulators do not know.
    options: dict[str, Any] = {
        "retries": _RETRIES,
        "max_pool_connections": 20,
        "connect_timeout": 10,
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    if service == "s3" and url is not None:
        options["s3"] = {"addressing_style": "path"}
    with translated_errors(f"a client for {service}"):
        return session.client(service, endpoint_url=url, config=Config(**options))


@contextmanager
def _bigtable(
    names: PhysicalNames, emulator: str | None
) -> Iterator[tuple[BigtableDataClient, BigtableTableAdminClient]]:
    with _emulator(emulator), translated_bigtable_errors("a client for Bigtable"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Connecting to Bigtable emulator", RuntimeWarning)
        data = BigtableDataClient(project=names.project)
        if emulator is None:
            admin = BigtableTableAdminClient()
        else:
            channel = grpc.insecure_channel(emulator)
            admin = BigtableTableAdminClient(transport=BigtableTableAdminGrpcTransport(channel=channel))
    try:
        yield data, admin
    finally:
        data.close()
        admin.transport.close()


@contextmanager
def _emulator(address: str | None) -> Iterator[None]:
    """Google's variable, for this address or for none, whatever it was."""
    before = os.environ.pop(EMULATOR_VARIABLE, None)
    if address is not None:
        os.environ[EMULATOR_VARIABLE] = address
    try:
        yield
    finally:
        os.environ.pop(EMULATOR_VARIABLE, None)
        if before is not None:
            os.environ[EMULATOR_VARIABLE] = before
