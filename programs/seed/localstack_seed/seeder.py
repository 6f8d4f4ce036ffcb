"""Carries a plan out."""

from collections.abc import Callable
from typing import Any

from localstack_seed.client import Client
from localstack_seed.errors import AwsError, SeedError
from localstack_seed.pages import remove_lost
from localstack_seed.plan import Plan
from localstack_seed.tables import by_name, surplus_indexes, unmendable

Json = dict[str, Any]


class Seed:
    """Carries one plan out, and reports each change, surplus and the total as a line."""

    def __init__(self, plan: Plan, client: Client, report: Callable[[str], None]) -> None:
        self.plan = plan
        self.client = client
        self.report = report
        self.created = 0
        self.changed = 0

    def run(self) -> None:
        """Brings LocalStack to the plan. Raises SeedError; what was done until then stays done."""
        for table in self.plan.tables:
            self._table(table)
        for table in self.plan.tables:
            self._wait_active(table["TableName"])
        for name, attribute in self.plan.ttl.items():
            self._ttl(name, attribute)
        for bucket in self.plan.buckets:
            self._bucket(bucket)
        for item in self.plan.objects:
            self._object(**{"content_type" if k == "contentType" else k: v for k, v in item.items()})
        if self.plan.tables:
            self._report_surplus_tables()
        if self.plan.pages is not None:
            remove_lost(self.client, self.plan.region, self.plan.pages, self.report)
        total = f"{len(self.plan.tables)} tables, {len(self.plan.buckets)} buckets, {len(self.plan.objects)} objects"
        self.report(f"{total}: {self.created} created, {self.changed} changed")

    def _create(self, what: str) -> None:
        self.created += 1
        self.report(f"created {what}")

    def _change(self, what: str) -> None:
        self.changed += 1
        self.report(f"changed {what}")

    def _table(self, wanted: Json) -> None:
        name = wanted["TableName"]
        found = self._describe(name)
        if found is None:
            try:
                self.client.dynamodb("CreateTable", wanted)
            except AwsError as error:
                # The answer to an earlier attempt was lost, and that attempt had succeeded.
                if error.code != "ResourceInUseException":
                    raise
            self._create(f"table {name}")
            return
        if difference := unmendable(wanted, found):
            raise SeedError(f"table {name}: {difference}; this cannot be changed in place and nothing is replaced")
        for surplus in surplus_indexes(wanted, found):
            self.report(f"table {name} has the surplus index {surplus}: left alone")
        existing = by_name(found, "GlobalSecondaryIndexes")
        for index_name, index in by_name(wanted, "GlobalSecondaryIndexes").items():
            if index_name not in existing:
                self._add_index(wanted, index)

    def _add_index(self, table: Json, index: Json) -> None:
        name = table["TableName"]
        # DynamoDB adds one index at a time, and only to an ACTIVE table.
        self._wait_active(name)
        keys = {part["AttributeName"] for part in (*table["KeySchema"], *index["KeySchema"])}
        request = {
            "TableName": name,
            "AttributeDefinitions": [d for d in table["AttributeDefinitions"] if d["AttributeName"] in keys],
            "GlobalSecondaryIndexUpdates": [{"Create": index}],
        }
        self.client.dynamodb("UpdateTable", request)
        self._wait_active(name)
        self._create(f"index {index['IndexName']} of table {name}")

    def _describe(self, name: str) -> Json | None:
        try:
            table: Json = self.client.dynamodb("DescribeTable", {"TableName": name})["Table"]
        except AwsError as error:
            if error.code == "ResourceNotFoundException":
                return None
            raise
        return table

    def _wait_active(self, name: str) -> None:
        def active() -> bool:
            found = self._describe(name)
            if found is None:
                return False
            indexes = by_name(found, "GlobalSecondaryIndexes").values()
            states = [found.get("TableStatus"), *(i.get("IndexStatus", "ACTIVE") for i in indexes)]
            return all(state == "ACTIVE" for state in states)

        self.client.wait(f"table {name} to become ACTIVE", active)

    def _ttl(self, name: str, attribute: str) -> None:
        found = self._stable_ttl(name)
        if found == attribute:
            return
        if found:
            # DynamoDB moves TTL to another attribute only by way of disabling it.
            self._set_ttl(name, found, enabled=False)
            self._stable_ttl(name)
        self._set_ttl(name, attribute, enabled=True)
        self._change(f"TTL of table {name}: {found or 'disabled'} -> {attribute}")

    def _stable_ttl(self, name: str) -> str:
        """The attribute of a table's TTL, empty while it is disabled, once no change of it is under way."""
        description: Json = {}

        def stable() -> bool:
            description.clear()
            description.update(self.client.dynamodb("DescribeTimeToLive", {"TableName": name})["TimeToLiveDescription"])
            return str(description["TimeToLiveStatus"]) != "DISABLING"

        self.client.wait(f"TTL of table {name} to be disabled", stable)
        enabled = description["TimeToLiveStatus"] in ("ENABLED", "ENABLING")
        return str(description["AttributeName"]) if enabled else ""

    def _set_ttl(self, name: str, attribute: str, *, enabled: bool) -> None:
        specification = {"AttributeName": attribute, "Enabled": enabled}
        self.client.dynamodb("UpdateTimeToLive", {"TableName": name, "TimeToLiveSpecification": specification})

    def _report_surplus_tables(self) -> None:
        wanted = {table["TableName"] for table in self.plan.tables}
        request: Json = {}
        while True:
            page = self.client.dynamodb("ListTables", request)
            for name in page["TableNames"]:
                if name not in wanted:
                    self.report(f"table {name} is surplus: left alone")
            if "LastEvaluatedTableName" not in page:
                return
            request = {"ExclusiveStartTableName": page["LastEvaluatedTableName"]}

    def _bucket(self, name: str) -> None:
        if self.client.s3("HEAD", f"/{name}")[0] == 200:
            return
        body = ""
        if self.plan.region != "us-east-1":
            body = (
                '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                f"<LocationConstraint>{self.plan.region}</LocationConstraint></CreateBucketConfiguration>"
            )
        try:
            status = self.client.s3("PUT", f"/{name}", body.encode())[0]
        except AwsError as error:
            if error.code != "BucketAlreadyOwnedByYou":
                raise
        else:
            if status == 404:
                raise SeedError(f"bucket {name}: refused with status 404; does this LocalStack run S3?")
        self._create(f"bucket {name}")

    def _object(self, bucket: str, key: str, text: str, content_type: str) -> None:
        path = f"/{bucket}/{key}"
        status, found_type, found = self.client.s3("GET", path)
        if status == 200 and found == text.encode() and found_type == content_type:
            return
        if self.client.s3("PUT", path, text.encode(), content_type)[0] == 404:
            raise SeedError(f"object {path}: its bucket is gone")
        if status == 404:
            self._create(f"object {path}")
        else:
            self._change(f"object {path}")
