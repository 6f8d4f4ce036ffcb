"""Buckets, on moto's server."""

from pathlib import Path
from typing import Any

import pytest

from migration import transfer
from migration.archive import Archive
from migration.errors import MigrationError
from migration.objects import Bucket
from migration.records import Collection, InvalidRecordError
from tests.unit.migration.conftest import Aws
from tests.unit.migration.records import opened, written

OBJECTS: list[dict[str, Any]] = [
    {"Key": f"profiles/{number}", "Body": bytes([number]) * number * 1000, "ContentType": "image/jpeg"}
    for number in range(9)
] + [
    {"Key": "groups/with space and ü", "Body": b"\x00\xff", "ContentType": "application/octet-stream"},
    {"Key": "told", "Body": b"x", "ContentType": "a/b", "CacheControl": "no-store", "Metadata": {"one": "two"}},
]


def quiet(doing: str, collection: Collection, done: int, of: int | None) -> None:
    pass


@pytest.fixture
def archive(aws: Aws, tmp_path: Path) -> Archive:
    client = aws.client("s3")
    client.create_bucket(Bucket="source")
    client.create_bucket(Bucket="target")
    for each in OBJECTS:
        client.put_object(Bucket="source", **each)
    with written(tmp_path / "archive") as writer:
        transfer.export([Bucket(client, "cdn0", "source")], writer, quiet, live=False)
    return opened(tmp_path / "archive")


def load(aws: Aws, archive: Archive, *, into_non_empty: bool = False) -> transfer.Outcome:
    target = Bucket(aws.client("s3"), "cdn0", "target")
    (outcome,) = transfer.load([target], archive, 0, quiet, into_non_empty=into_non_empty)
    return outcome


def contents(aws: Aws, bucket: str) -> dict[str, tuple[bytes, str, Any, Any]]:
    client = aws.client("s3")
    found = {}
    for entry in client.list_objects_v2(Bucket=bucket).get("Contents", ()):
        got = client.get_object(Bucket=bucket, Key=entry["Key"])
        found[entry["Key"]] = (got["Body"].read(), got["ContentType"], got.get("CacheControl"), got["Metadata"])
    return found


def test_objects_arrive_with_what_is_said_about_them(aws: Aws, archive: Archive) -> None:
    outcome = load(aws, archive)
    assert (outcome.verified, outcome.written) == (True, len(OBJECTS))
    assert contents(aws, "target") == contents(aws, "source")
    assert contents(aws, "target")["told"] == (b"x", "a/b", "no-store", {"one": "two"})
    assert load(aws, archive).kept == len(OBJECTS)


def test_pages_lose_nothing(aws: Aws) -> None:
    client = aws.own_client("s3")
    client.create_bucket(Bucket="many")
    for number in range(25):
        client.put_object(Bucket="many", Key=str(number), Body=b"x")
    client.meta.events.register("provide-client-params.s3.ListObjectsV2", lambda params, **_: params.update(MaxKeys=10))
    bucket = Bucket(client, "cdn0", "many")
    assert bucket.count() == 25
    assert len({record.key for record in bucket.read()}) == 25


@pytest.mark.parametrize("changed", [{"Body": b"planted"}, {"Body": OBJECTS[3]["Body"], "ContentType": "text/html"}])
def test_a_differing_object_is_never_overwritten(aws: Aws, archive: Archive, changed: dict[str, Any]) -> None:
    aws.client("s3").put_object(Bucket="target", Key="profiles/3", **changed)
    before = contents(aws, "target")
    with pytest.raises(MigrationError, match=r"cdn0 \(1 that differ\)") as refused:
        load(aws, archive, into_non_empty=True)
    assert contents(aws, "target") == before
    assert "profiles" not in refused.value.problem


def test_others_are_mixed_only_when_asked_for(aws: Aws, archive: Archive) -> None:
    aws.client("s3").put_object(Bucket="target", Key="other", Body=b"x")
    with pytest.raises(MigrationError, match="1 not of this archive"):
        load(aws, archive)
    assert load(aws, archive, into_non_empty=True).others == 1


def test_a_bucket_must_be_there(aws: Aws) -> None:
    with pytest.raises(MigrationError, match="bucket nowhere does not exist"):
        Bucket(aws.client("s3"), "cdn0", "nowhere").check()


@pytest.mark.parametrize(
    "document",
    [
        {"Object": {"key": "k", "contentType": "a/b"}},
        {"Object": {"key": "k", "contentType": "a/b", "body": "not base64!"}},
        {"Object": {"key": "k", "contentType": "a/b", "body": "", "metadata": {"a": 1}}},
        {"Object": {"key": "k", "contentType": "a/b", "body": "", "more": ""}},
        {"Item": {}},
    ],
)
def test_what_is_no_object_is_refused(aws: Aws, document: Any) -> None:
    with pytest.raises(InvalidRecordError):
        Bucket(aws.client("s3"), "cdn0", "any").record(document)
