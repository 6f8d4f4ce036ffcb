"""The stores of a stack in a cloud, on moto: what is wrong is found, and what the doctor wrote is gone again."""

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from google.api_core.exceptions import Forbidden, NotFound, ServiceUnavailable
from moto import mock_aws

from cli.doctor import cloud
from components.emulators.seeds import create_table_request
from config.loading import load
from config.schema import dynamodb
from config.schema.objects import BucketRole
from config.target import Cloud
from errors import FlatlineError
from tests.graph.stack import configuration

ACCOUNT = "123456789012"
"""Moto's."""


def target(account: str = ACCOUNT) -> Cloud:
    raw = configuration("prod")
    block = json.loads(raw["flatline:target"])
    block["aws"] |= {"account": account}
    block["aws"].pop("kmsKey", None)
    found = load({**raw, "flatline:target": json.dumps(block)}).target
    assert isinstance(found, Cloud)
    return found


STACK = target()
PREFIX = STACK.aws.name_prefix
BUCKETS = [f"{PREFIX}-{role}-0123abcd" for role in get_args(BucketRole)]
PRE_KEYS = f"{PREFIX}-pre-keys-0123abcd"
ACCOUNTS = dynamodb.TABLES["accounts.tableName"]


def table(aws: cloud.Client, of: dynamodb.Table, **changes: Any) -> None:
    aws("dynamodb").create_table(**create_table_request(of) | {"TableName": STACK.aws.table_name(of)} | changes)


def bucket(aws: cloud.Client, name: str) -> None:
    where = {} if STACK.aws.region == "us-east-1" else {"LocationConstraint": STACK.aws.region}
    aws("s3").create_bucket(Bucket=name, **({"CreateBucketConfiguration": where} if where else {}))


@pytest.fixture(scope="module")
def aws() -> Iterator[cloud.Client]:
    """An account with everything that the stack has."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        made = cloud.client(STACK)
        for each in dynamodb.TABLES.values():
            table(made, each)
        for name in BUCKETS:
            bucket(made, name)
        for suffix in cloud.CACHES:
            made("elasticache").create_replication_group(
                ReplicationGroupId=f"{PREFIX}-{suffix}", ReplicationGroupDescription="a cache"
            )
        yield made


def test_stores_that_are_well_have_nothing_wrong_and_nothing_is_left(aws: cloud.Client) -> None:
    assert cloud.tables(STACK, aws) == []
    assert cloud.buckets(STACK, aws) == []
    assert cloud.caches(STACK, aws) == []
    assert aws("dynamodb").scan(TableName=STACK.aws.table_name(cloud.TABLE))["Items"] == []
    assert aws("s3").list_objects_v2(Bucket=PRE_KEYS)["KeyCount"] == 0


def test_a_table_that_is_gone_is_named(aws: cloud.Client) -> None:
    name = STACK.aws.table_name(ACCOUNTS)
    aws("dynamodb").delete_table(TableName=name)
    (wrong,) = cloud.tables(STACK, aws)
    assert (wrong.name, wrong.absent) == (name, True)
    table(aws, ACCOUNTS)


def test_the_table_of_group_calls_is_looked_for_where_there_are_group_calls(aws: cloud.Client) -> None:
    (wrong,) = cloud.tables(STACK, aws, group_calls=True)
    assert (wrong.name, wrong.absent) == (f"{PREFIX}-Rooms", True)


def test_a_table_that_takes_no_row_of_its_schema_is_named(aws: cloud.Client) -> None:
    name = STACK.aws.table_name(cloud.TABLE)
    aws("dynamodb").delete_table(TableName=name)
    another = {"AttributeDefinitions": [{"AttributeName": "another", "AttributeType": "S"}]}
    table(aws, cloud.TABLE, **another, KeySchema=[{"AttributeName": "another", "KeyType": "HASH"}])
    (wrong,) = cloud.tables(STACK, aws)
    assert (wrong.name, wrong.absent, wrong.problem) == (name, False, "PutItem: ValidationException")
    aws("dynamodb").delete_table(TableName=name)
    table(aws, cloud.TABLE)


def test_a_bucket_that_is_gone_is_named_also_where_another_has_a_longer_name(aws: cloud.Client) -> None:
    aws("s3").delete_bucket(Bucket=PRE_KEYS)
    bucket(aws, f"{PRE_KEYS}-copy")
    (wrong,) = cloud.buckets(STACK, aws)
    assert (wrong.name, wrong.absent) == (f"{PREFIX}-pre-keys-*", True)
    bucket(aws, PRE_KEYS)


class Refuses:
    """A client of AWS whose operations of some names are answered by an error code."""

    def __init__(self, aws: cloud.Client, **codes: str) -> None:
        self._aws, self._codes = aws, codes

    def __call__(self, service: str) -> Any:
        client = self._aws(service)

        def refuse(model: Any, **_: Any) -> Any:
            if code := self._codes.get(model.name):
                return AWSResponse(f"http://{service}", 500, HTTPHeaders(), None), {"Error": {"Code": code}}
            return None

        client.meta.events.register("before-call", refuse)
        return client


def test_what_was_written_goes_also_where_it_cannot_be_read(aws: cloud.Client) -> None:
    refuses = Refuses(aws, GetItem="InternalServerError", GetObject="InternalError")
    assert [each.problem for each in cloud.tables(STACK, refuses)] == ["GetItem: InternalServerError"]
    assert [each.problem for each in cloud.buckets(STACK, refuses)] == ["GetObject: InternalError"]
    lacks = Refuses(aws, GetItem="AccessDeniedException", GetObject="AccessDenied")
    for look in (cloud.tables, cloud.buckets):
        with pytest.raises(FlatlineError, match=r"^AWS answered AccessDenied[a-zA-Z]* to Get(Item|Object)$"):
            look(STACK, lacks)
    assert aws("dynamodb").scan(TableName=STACK.aws.table_name(cloud.TABLE))["Items"] == []
    assert aws("s3").list_objects_v2(Bucket=PRE_KEYS)["KeyCount"] == 0


def test_what_cannot_be_deleted_again_is_named(aws: cloud.Client) -> None:
    (wrong,) = cloud.buckets(STACK, Refuses(aws, DeleteObject="InternalError"))
    (left,) = aws("s3").list_objects_v2(Bucket=PRE_KEYS)["Contents"]
    assert wrong.problem == (
        f"object {left['Key']} may be left there, because its deletion failed (DeleteObject: InternalError)"
    )
    with pytest.raises(FlatlineError, match=r"GetObject; object flatline-doctor-.*\(AWS answered AccessDenied to Del"):
        cloud.buckets(STACK, Refuses(aws, GetObject="AccessDenied", DeleteObject="AccessDenied"))
    for each in aws("s3").list_objects_v2(Bucket=PRE_KEYS)["Contents"]:
        aws("s3").delete_object(Bucket=PRE_KEYS, Key=each["Key"])


def test_what_was_not_written_is_not_looked_for(aws: cloud.Client) -> None:
    (wrong,) = cloud.buckets(STACK, Refuses(aws, PutObject="InternalError", DeleteObject="InternalError"))
    assert wrong.problem == "PutObject: InternalError"


def test_a_cache_that_is_gone_is_named(aws: cloud.Client) -> None:
    aws("elasticache").delete_replication_group(ReplicationGroupId=f"{PREFIX}-pubsub")
    assert [each.name for each in cloud.caches(STACK, aws)] == [f"{PREFIX}-pubsub"]


@pytest.mark.usefixtures("aws")
def test_credentials_of_another_account_look_at_nothing() -> None:
    with pytest.raises(FlatlineError, match=f"belong to account {ACCOUNT}, and the stack is in account 999999999999"):
        cloud.client(target("999999999999"))


class Rows:
    """A table of Bigtable that keeps rows, forgets them, or answers an error: always, or to reads or deletions."""

    def __init__(self, error: Exception | None = None, *, forgets: bool = False, to: str = "") -> None:
        self._error, self._forgets, self._to = error, forgets, to
        self.rows: dict[bytes, Any] = {}

    def get_table(self, instance: str, name: str, **_: Any) -> "Rows":
        assert (instance, name) == (STACK.gcp.instance, "group-logs")
        return self

    def __enter__(self) -> "Rows":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def mutate_row(self, key: bytes, change: Any) -> None:
        deletes = "Delete" in type(change).__name__
        if self._error is not None and (not self._to or (deletes and "delete" in self._to)):
            raise self._error
        if deletes:
            self.rows.pop(key, None)
        elif not self._forgets:
            self.rows[key] = change

    def read_row(self, key: bytes) -> Any:
        if self._error is not None and "read" in self._to:
            raise self._error
        return self.rows.get(key)


def wrong(rows: Any) -> list[cloud.Wrong]:
    return cloud.row(rows, STACK.gcp.instance)


def test_a_row_of_bigtable() -> None:
    well = Rows()
    assert wrong(well) == []
    assert well.rows == {}
    assert [each.absent for each in wrong(Rows(NotFound("a table")))] == [True]
    assert [each.problem for each in wrong(Rows(ServiceUnavailable("a row's text")))] == ["ServiceUnavailable"]
    assert [each.absent for each in wrong(Rows(forgets=True))] == [False]
    with pytest.raises(FlatlineError, match="Forbidden"):
        wrong(Rows(Forbidden("no")))


def test_a_row_that_cannot_be_read_goes_and_one_that_cannot_be_deleted_is_named() -> None:
    unread = Rows(ServiceUnavailable("down"), to="read")
    assert [each.problem for each in wrong(unread)] == ["ServiceUnavailable"]
    assert unread.rows == {}
    stays = Rows(ServiceUnavailable("down"), to="read delete")
    (told,) = wrong(stays)
    (key,) = stays.rows
    assert told.problem == f"ServiceUnavailable; row {key.decode()} may be left there"
    with pytest.raises(FlatlineError, match="Forbidden; row flatline-doctor-"):
        wrong(Rows(Forbidden("no"), to="delete"))
