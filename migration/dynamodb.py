"""A DynamoDB table: parallel scans, batched writes, and what the service did not get to, asked again."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)

from config.schema.dynamodb import Table
from migration import items
from migration.errors import MigrationError, SchemaMismatchError
from migration.items import Item
from migration.parallel import merged
from migration.records import Collection, Record, Schema

MOST_WRITTEN, MOST_READ = 25, 100
"""Items of one BatchWriteItem and of one BatchGetItem (service quotas)."""

HEAVIEST_BATCH = 8 << 20
"""Bytes of a batch; the service takes 16 MiB."""

ATTEMPTS = 12
"""Answers in a row that leave every item of a batch undone, before it is given up."""

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 20.0
_TELLING = (
    ConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)
"""Errors of the client whose words name endpoints and credentials' sources, never content."""


@contextmanager
def translated_errors(doing: str) -> Iterator[None]:
    """Turns an error of AWS into a line that names the code alone: its message may quote an item."""
    try:
        yield
    except ClientError as problem:
        code = problem.response.get("Error", {}).get("Code", "an error")
        raise MigrationError(f"{doing}: AWS answered {code}") from None
    except _TELLING as problem:
        raise MigrationError(f"{doing}: {problem}") from None
    except BotoCoreError as problem:
        raise MigrationError(f"{doing}: {type(problem).__name__}") from None


def check_account(sts: Callable[[], Any], account: str) -> None:
    """Raises MigrationError where the credentials of a client for STS belong to another account."""
    with translated_errors("asking AWS whose credentials these are"):
        found = sts().get_caller_identity()["Account"]
    if found != account:
        raise MigrationError(
            f"these AWS credentials belong to account {found}, and the stack is in account {account}",
            "Use credentials of that account (AWS_PROFILE, or the variables of the AWS command line).",
        )


class DynamoTable(Collection):
    """A table of the schema under its name in an account.

    `readers` scan it at the same time, each a segment. `client` is boto3's; its own retries cover throttling.
    """

    kind = "dynamodb"
    writers, most, heaviest = 8, MOST_WRITTEN, HEAVIEST_BATCH

    def __init__(
        self,
        client: Any,
        table: Table,
        physical: str,
        *,
        readers: int = 4,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = table.name
        self._client = client
        self._table = table
        self._physical = physical
        self._readers = readers
        self._sleep = sleep

    def check(self, expected: Schema | None = None) -> Schema:
        """See `Collection`. The table must be there with the schema's keys."""
        own = self._schema()
        if expected is not None and expected.get("keys") != own["keys"]:
            raise SchemaMismatchError(
                f"table {self.name} has the key {_shown(own['keys'])}, and the archive was made of one with the key "
                f"{_shown(expected.get('keys', ()))}",
                "Load it with the Flatline that wrote it, and go on from there.",
            )
        with translated_errors(f"table {self._physical}"):
            try:
                found = self._client.describe_table(TableName=self._physical)["Table"]
            except self._client.exceptions.ResourceNotFoundException:
                raise SchemaMismatchError(
                    f"table {self._physical} does not exist", "Bring the stack up first: tables are not made here."
                ) from None
        types = {each["AttributeName"]: each["AttributeType"] for each in found["AttributeDefinitions"]}
        ordered = sorted(found["KeySchema"], key=lambda key: key["KeyType"] != "HASH")
        keys = [[key["AttributeName"], types[key["AttributeName"]]] for key in ordered]
        if keys != own["keys"]:
            raise SchemaMismatchError(
                f"table {self._physical} has the key {_shown(keys)}, and the schema has {_shown(own['keys'])}"
            )
        return own

    def read(self) -> Iterator[Record]:
        """See `Collection`. Reads are consistent."""
        for page in merged([self._segment(number) for number in range(self._readers)]):
            for item in page["Items"]:
                yield items.record(self._table, item)

    def count(self) -> int:
        """See `Collection`."""
        return sum(page["Count"] for page in merged([self._segment(n, Select="COUNT") for n in range(self._readers)]))

    def record(self, document: Any) -> Record:
        """See `Collection`."""
        return items.parsed(self._table, document)

    def existing(self, records: Sequence[Record]) -> dict[bytes, Record]:
        """See `Collection`."""
        found: dict[bytes, Record] = {}
        for start in range(0, len(records), MOST_READ):
            wanted = [items.key_of(self._table, record.body) for record in records[start : start + MOST_READ]]
            for item in self._get(wanted):
                record = items.record(self._table, item)
                found[record.key] = record
        return found

    def write(self, records: Sequence[Record], *, exclusive: bool) -> None:
        """See `Collection`."""
        if exclusive:
            self._put_all(records)
            return
        for record in records:
            self._put_if_free(record)

    def _schema(self) -> Schema:
        return {"keys": self._table.key_schema, "ttl": self._table.ttl}

    def _segment(self, number: int, **request: Any) -> Callable[[], Iterator[Mapping[str, Any]]]:
        # Segments are left out for one reader: the same answer, by the plain operation.
        segment = {"Segment": number, "TotalSegments": self._readers} if self._readers > 1 else {}

        def pages() -> Iterator[Mapping[str, Any]]:
            start: dict[str, Any] = {}
            while True:
                with translated_errors(f"reading table {self._physical}"):
                    page = self._client.scan(
                        TableName=self._physical, ConsistentRead=True, **segment, **request, **start
                    )
                yield page
                if not page.get("LastEvaluatedKey"):
                    return
                start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

        return pages

    def _get(self, keys: list[Item]) -> Iterator[Item]:
        def ask(left: list[Item]) -> list[Item]:
            request = {self._physical: {"Keys": left, "ConsistentRead": True}}
            answer = self._client.batch_get_item(RequestItems=request)
            found.extend(answer["Responses"].get(self._physical, ()))
            return list(answer.get("UnprocessedKeys", {}).get(self._physical, {}).get("Keys", ()))

        found: list[Item] = []
        with translated_errors(f"reading table {self._physical}"):
            self._until_done(ask, keys, "reading")
        yield from found

    def _put_all(self, records: Sequence[Record]) -> None:
        def ask(left: list[Any]) -> list[Any]:
            answer = self._client.batch_write_item(RequestItems={self._physical: left})
            return list(answer.get("UnprocessedItems", {}).get(self._physical, ()))

        with translated_errors(f"writing to table {self._physical}"):
            self._until_done(ask, [{"PutRequest": {"Item": record.body}} for record in records], "writing to")

    def _until_done(self, ask: Callable[[list[Any]], list[Any]], requests: list[Any], doing: str) -> None:
        """Asks for what was left undone again, after pauses that grow while nothing gets done."""
        left, fruitless = ask(requests), 0
        while left:
            fruitless = fruitless + 1 if len(left) == len(requests) else 0
            if fruitless == ATTEMPTS:
                raise MigrationError(
                    f"{doing} table {self._physical}: it took nothing {ATTEMPTS} times in a row",
                    "Its throughput is used up. What is done stays done: run the command again later.",
                )
            pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** (fruitless + 1))
            self._sleep(pause * random.uniform(0.5, 1))
            requests, left = left, ask(left)

    def _put_if_free(self, record: Record) -> None:
        with translated_errors(f"writing to table {self._physical}"):
            try:
                self._client.put_item(
                    TableName=self._physical,
                    Item=record.body,
                    ConditionExpression="attribute_not_exists(#key)",
                    ExpressionAttributeNames={"#key": self._table.hash.name},
                )
                return
            except self._client.exceptions.ConditionalCheckFailedException:
                pass
        # Either somebody else's, or our own from a request whose answer was lost.
        present = self.existing([record]).get(record.key)
        if present is None or present.digest != record.digest:
            raise MigrationError(
                f"table {self._physical}: an item that differs from the archive's appeared while it was loaded",
                "Stop the services that write to it, and run the command again.",
            )


def _shown(keys: Sequence[Sequence[str]]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in keys) or "(none)"
