"""DynamoDB tables, on moto's server: what comes out goes in bit by bit, throttled, interrupted or contended."""

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from hypothesis import HealthCheck, Phase, given, settings

from config.schema.dynamodb import TABLES, Key, Table
from migration import transfer
from migration.archive import Archive
from migration.dynamodb import ATTEMPTS, DynamoTable
from migration.errors import MigrationError
from migration.records import Collection, Record
from tests.lab.process import free_ports
from tests.unit.migration.conftest import Aws
from tests.unit.migration.records import PLAIN, TEXTS, moto_items, opened, sorted_sets, text_item, written

NOW = 1_800_000_000.0
MANY = [text_item(f"k{number:03}", a={"B": bytes([number % 256]) * 300}) for number in range(260)]


def quiet(doing: str, collection: Collection, done: int, of: int | None) -> None:
    pass


def put(aws: Aws, name: str, *some: dict[str, Any]) -> None:
    client = aws.client("dynamodb")
    for start in range(0, len(some), 25):
        requests = [{"PutRequest": {"Item": item}} for item in some[start : start + 25]]
        assert not client.batch_write_item(RequestItems={name: requests})["UnprocessedItems"]


def contents(aws: Aws, name: str) -> list[dict[str, Any]]:
    pages = aws.client("dynamodb").get_paginator("scan").paginate(TableName=name)
    return sorted((item for page in pages for item in page["Items"]), key=lambda item: str(item.get("P", item)))


class Bumpy:
    """A client whose service gets to a part of each batch at a time, and is interrupted after a number of writes."""

    def __init__(self, client: Any, *, takes: int = 7, interrupt_after: int | None = None) -> None:
        self._client, self._takes, self._left = client, takes, interrupt_after
        self.undone = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def batch_write_item(self, RequestItems: dict[str, list[Any]]) -> dict[str, Any]:  # noqa: N803 - boto3's name
        ((name, requests),) = RequestItems.items()
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt
        now, later = requests[: self._takes], requests[self._takes :]
        self.undone += len(later)
        if now:
            self._client.batch_write_item(RequestItems={name: now})
        return {"UnprocessedItems": {name: later} if later else {}}

    def batch_get_item(self, RequestItems: dict[str, Any]) -> Any:  # noqa: N803 - boto3's name
        ((name, request),) = RequestItems.items()
        now, later = request["Keys"][: self._takes], request["Keys"][self._takes :]
        self.undone += len(later)
        answer = self._client.batch_get_item(RequestItems={name: {**request, "Keys": now}})
        return {**answer, "UnprocessedKeys": {name: {**request, "Keys": later}} if later else {}}


def table(client: Any, schema: Table, name: str, **options: Any) -> DynamoTable:
    options = {"sleep": lambda seconds: None, "readers": 1, **options}
    return DynamoTable(client, schema, name, **options)


def exported(folder: Path, source: DynamoTable) -> Archive:
    with written(folder) as writer:
        transfer.export([source], writer, quiet, live=False)
    return opened(folder)


def load(target: DynamoTable, archive: Archive, *, into_non_empty: bool = False) -> transfer.Outcome:
    (outcome,) = transfer.load([target], archive, NOW, quiet, into_non_empty=into_non_empty)
    return outcome


@settings(max_examples=25, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(item=moto_items)
def test_any_item_goes_through_the_api_and_the_archive(
    aws: Aws, tmp_path_factory: pytest.TempPathFactory, item: dict[str, Any]
) -> None:
    client = aws.client("dynamodb")
    source, target = (name for name in ("source-plain", "target-plain"))
    for name in (source, target):
        if name in client.list_tables()["TableNames"]:
            client.delete_table(TableName=name)
        aws.table(PLAIN, name)
    put(aws, source, item)
    archive = exported(tmp_path_factory.mktemp("one") / "archive", table(client, PLAIN, source))
    outcome = load(table(client, PLAIN, target), archive)
    assert outcome.verified
    (arrived,) = contents(aws, target)
    assert sorted_sets(arrived) == sorted_sets(item)
    assert {name: value for name, value in arrived.items() if "N" in value} == {
        name: value for name, value in item.items() if "N" in value
    }, "numbers digit by digit"


@pytest.mark.parametrize("readers", [1, 4])
def test_pages_and_segments_lose_nothing(aws: Aws, tmp_path: Path, readers: int) -> None:
    aws.table(TEXTS, "source")
    big = [text_item(f"k{number}", a={"B": bytes(200_000)}) for number in range(12)]
    put(aws, "source", *MANY, *big)
    client = aws.own_client("dynamodb")
    scans: list[Any] = []
    client.meta.events.register("provide-client-params.dynamodb.Scan", lambda params, **_: scans.append(params))
    source = table(client, TEXTS, "source", readers=readers)
    found = [record.body for record in source.read()]
    assert sorted(item["P"]["S"] for item in found) == sorted(item["P"]["S"] for item in [*MANY, *big])
    assert source.count() == 272
    assert any("ExclusiveStartKey" in params for params in scans), "more than one page"
    assert {params.get("TotalSegments", 1) for params in scans} == {readers}
    assert all(params["ConsistentRead"] for params in scans)


def test_what_the_service_does_not_get_to_is_asked_again(aws: Aws, tmp_path: Path) -> None:
    for name in ("source", "target"):
        aws.table(TEXTS, name)
    put(aws, "source", *MANY)
    archive = exported(tmp_path / "archive", table(aws.client("dynamodb"), TEXTS, "source"))
    pauses: list[float] = []
    bumpy = Bumpy(aws.client("dynamodb"))
    target = table(bumpy, TEXTS, "target", sleep=pauses.append)
    assert load(target, archive).verified
    assert contents(aws, "target") == contents(aws, "source")
    assert bumpy.undone > 0
    assert pauses
    assert load(target, archive).kept == 260, "reading in parts finds everything too"


def test_a_service_that_takes_nothing_is_given_up(aws: Aws) -> None:
    aws.table(TEXTS, "target")
    pauses: list[float] = []
    target = table(Bumpy(aws.client("dynamodb"), takes=0), TEXTS, "target", sleep=pauses.append)
    records = [target.record({"Item": text_item(f"k{number}")}) for number in range(5)]
    with pytest.raises(MigrationError, match="took nothing 12 times") as given_up:
        target.write(records, exclusive=True)
    assert len(pauses) == ATTEMPTS - 1
    assert max(pauses) <= 20
    assert pauses[-1] > pauses[0]
    assert given_up.value.remedies


def throttled(client: Any, operations: set[str], every: int) -> list[str]:
    """Answers every so many requests of some operations as DynamoDB does when throughput is used up."""
    refused: list[str] = []
    seen = 0

    def answer(request: Any, **_: Any) -> Any:
        nonlocal seen
        operation = request.headers["X-Amz-Target"].decode().rpartition(".")[2]
        seen += 1
        if operation not in operations or seen % every:
            return None
        refused.append(operation)
        body = {"__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException", "message": "slow"}

        class Raw:
            def stream(self, *_: Any, **__: Any) -> Any:
                yield json.dumps(body).encode()

        return AWSResponse(request.url, 400, {"Content-Type": "application/x-amz-json-1.0"}, Raw())  # pyrefly: ignore[bad-argument-type]

    client.meta.events.register("before-send.dynamodb", answer)
    return refused


def test_throttling_loses_nothing(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    for name in ("source", "target"):
        aws.table(TEXTS, name)
    put(aws, "source", *MANY)
    client = aws.own_client("dynamodb")
    refused = throttled(client, {"Scan", "BatchWriteItem", "BatchGetItem"}, every=3)
    archive = exported(tmp_path / "archive", table(client, TEXTS, "source", readers=4))
    assert load(table(client, TEXTS, "target"), archive).verified
    assert load(table(client, TEXTS, "target"), archive).kept == 260
    assert contents(aws, "target") == contents(aws, "source")
    assert set(refused) == {"Scan", "BatchWriteItem", "BatchGetItem"}


def test_an_interrupted_load_is_run_again(aws: Aws, tmp_path: Path) -> None:
    for name in ("source", "target"):
        aws.table(TEXTS, name)
    put(aws, "source", *MANY)
    archive = exported(tmp_path / "archive", table(aws.client("dynamodb"), TEXTS, "source"))
    with pytest.raises(KeyboardInterrupt):
        load(table(Bumpy(aws.client("dynamodb"), takes=25, interrupt_after=5), TEXTS, "target"), archive)
    assert len(contents(aws, "target")) < 260
    outcome = load(table(aws.client("dynamodb"), TEXTS, "target"), archive)
    assert (outcome.verified, outcome.written + outcome.kept) == (True, 260)
    assert contents(aws, "target") == contents(aws, "source")


def test_a_table_with_other_items_is_written_by_conditional_puts_alone(aws: Aws, tmp_path: Path) -> None:
    for name in ("source", "target"):
        aws.table(TEXTS, name)
    put(aws, "source", *MANY[:30])
    put(aws, "target", text_item("other"))
    client = aws.own_client("dynamodb")
    conditions: list[Any] = []
    client.meta.events.register(
        "provide-client-params.dynamodb.PutItem", lambda params, **_: conditions.append(params["ConditionExpression"])
    )
    archive = exported(tmp_path / "archive", table(aws.client("dynamodb"), TEXTS, "source"))
    outcome = load(table(client, TEXTS, "target"), archive, into_non_empty=True)
    assert (outcome.verified, outcome.written, outcome.others) == (True, 30, 1)
    assert conditions == ["attribute_not_exists(#key)"] * 30


def test_an_item_that_appears_meanwhile_is_not_overwritten(aws: Aws) -> None:
    aws.table(TEXTS, "target")
    target = table(aws.client("dynamodb"), TEXTS, "target")
    (record,) = [target.record({"Item": text_item("k", a={"S": "archived"})})]
    put(aws, "target", text_item("k", a={"S": "planted"}))
    with pytest.raises(MigrationError, match="appeared while it was loaded") as refused:
        target.write([record], exclusive=False)
    assert contents(aws, "target") == [text_item("k", a={"S": "planted"})]
    assert "planted" not in str(refused.value)
    put(aws, "target", text_item("k", a={"S": "archived"}))
    target.write([record], exclusive=False)  # as after an answer that was lost


def test_a_table_must_be_there_with_the_keys_of_the_schema(aws: Aws) -> None:
    client = aws.client("dynamodb")
    with pytest.raises(MigrationError, match="table nowhere does not exist"):
        table(client, TEXTS, "nowhere").check()
    aws.table(PLAIN, "other-keys")
    with pytest.raises(
        MigrationError, match=r"table other-keys has the key U \(B\), D \(N\), and the schema has P \(S\)"
    ):
        table(client, TEXTS, "other-keys").check()
    aws.table(TEXTS, "texts")
    assert table(client, TEXTS, "texts").check() == {"keys": [["P", "S"]], "ttl": "E"}
    with pytest.raises(MigrationError, match=r"archive was made of one with the key P \(B\)"):
        table(client, TEXTS, "texts").check({"keys": [["P", "B"]]})


@pytest.mark.parametrize("schema", TABLES.values(), ids=lambda table: table.name)
def test_every_table_of_the_schema_is_told_by_its_keys(aws: Aws, schema: Table) -> None:
    aws.table(schema, schema.name)
    table(aws.client("dynamodb"), schema, schema.name).check()
    changed = Table(name=schema.name, hash=Key("Other", schema.hash.type), range=schema.range, operations=())
    with pytest.raises(MigrationError, match="the schema has Other"):
        table(aws.client("dynamodb"), changed, schema.name).check()


def test_a_service_that_is_not_there_becomes_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    nobody = Aws(f"http://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(MigrationError, match="Could not connect to the endpoint URL"):
        table(nobody.client("dynamodb"), TEXTS, "target").check()


def test_what_aws_says_about_an_item_is_not_repeated(aws: Aws) -> None:
    aws.table(TEXTS, "target")
    target = table(aws.client("dynamodb"), TEXTS, "target")
    # A key that is longer than DynamoDB takes: its answer may quote it.
    record = Record(b"", "", b"", {"P": {"N": "31415926535"}})
    with pytest.raises(MigrationError, match="AWS answered ValidationException") as refused:
        target.write([record], exclusive=True)
    assert "31415926535" not in str(refused.value)
    assert refused.value.__suppress_context__
