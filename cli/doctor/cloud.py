"""The stores of a stack in a cloud, asked from this machine with its operator's credentials for AWS and Google Cloud.

What is written is the doctor's own, under a name by chance, and is deleted again. A right that the operator lacks is
no symptom: nobody could look then.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

from cli.doctor.model import Check, Evidence, Finding
from config.schema import bigtable, dynamodb
from config.schema.objects import BucketRole
from config.target import Cloud
from errors import FlatlineError

if TYPE_CHECKING:
    from google.cloud.bigtable.data import BigtableDataClient

TABLE = dynamodb.TABLES["pushChallenge.tableName"]
"""Its rows are a key and the time of their end, and nothing reads all of them."""
ROW = bigtable.TABLES["groupLogsTableId"]
CACHES = ("redis", "pubsub")
"""Follows the prefix in the names of ElastiCache's replication groups (components/cloud/redis.py)."""
SECONDS, READERS = 5, 8
"""A connection, an answer and an operation of Bigtable have so long each."""
_NO_RIGHT = frozenset({"AccessDenied", "AccessDeniedException", "UnrecognizedClientException", "ExpiredToken"})

Step = Callable[[], Any]
Client = Callable[[str], Any]
"""boto3's client for a service, in the stack's account and region."""


@dataclass(frozen=True)
class Wrong:
    """A store that does not do what it should, and why, in the words of the cloud's error codes."""

    name: str
    problem: str
    absent: bool = False


def client(target: Cloud, stopped: Callable[[], bool] = lambda: False) -> Client:
    """Raises FlatlineError where the credentials belong to another account than the stack.

    Nothing is asked any more once it is `stopped`.
    """
    import boto3
    from botocore.config import Config

    from migration.dynamodb import check_account

    retries: Any = {"mode": "standard", "total_max_attempts": 2}
    config = Config(connect_timeout=SECONDS, read_timeout=SECONDS, retries=retries)
    session = boto3.Session(region_name=target.aws.region)

    def refuse(**_: Any) -> None:
        if stopped():
            raise FlatlineError("AWS was not waited for")

    session.events.register("before-send", refuse)

    def made(service: str) -> Any:
        return session.client(service, config=config)  # pyrefly: ignore[no-matching-overload]

    check_account(lambda: made("sts"), target.aws.account)
    return made


def tables(target: Cloud, aws: Client, *, group_calls: bool = False) -> list[Wrong]:
    """Tables that are not there or not active, and the one that takes no row. Raises FlatlineError."""
    client = aws("dynamodb")
    names = [target.aws.table_name(table) for table in dynamodb.tables(group_calls=group_calls).values()]
    with ThreadPoolExecutor(READERS) as pool:
        found = [each for each in pool.map(lambda name: _table(client, name), names) if each is not None]
    name = target.aws.table_name(TABLE)
    if name not in {each.name for each in found}:
        key = {TABLE.hash.name: {TABLE.hash.type: secrets.token_bytes(16)}}
        end = {str(TABLE.ttl): {"N": str(int(time.time()) + 60)}}
        problem = _tried_and_removed(
            "the doctor's row, which expires",
            lambda: client.put_item(TableName=name, Item={**key, **end}),
            lambda: client.get_item(TableName=name, Key=key, ConsistentRead=True)["Item"],
            lambda: client.delete_item(TableName=name, Key=key),
        )
        found += [Wrong(name, problem)] if problem else []
    return found


def _table(client: Any, name: str) -> Wrong | None:
    status, problem = _asked(lambda: client.describe_table(TableName=name)["Table"]["TableStatus"])
    if problem:
        return Wrong(name, problem, absent="ResourceNotFound" in problem)
    return None if status in {"ACTIVE", "UPDATING"} else Wrong(name, f"its status is {status}")


def buckets(target: Cloud, aws: Client) -> list[Wrong]:
    """Buckets that are not there, and the one that takes no object. Raises FlatlineError."""
    from migration.dynamodb import translated_errors

    client, prefix = aws("s3"), target.aws.name_prefix
    with translated_errors("listing the buckets"):
        there = [str(each["Name"]) for each in client.list_buckets()["Buckets"]]
    found, own = [], {}
    for role in get_args(BucketRole):
        adopted = target.aws.adopt.buckets.get(role)
        named = [each for each in there if each == adopted or (not adopted and _made_name(each, f"{prefix}-{role}-"))]
        if named:
            own[role] = named[0]
        else:
            found.append(Wrong(adopted or f"{prefix}-{role}-*", "there is none of this name", absent=True))
    if "pre-keys" in own:
        where = {"Bucket": own["pre-keys"], "Key": f"flatline-doctor-{secrets.token_hex(8)}"}
        problem = _tried_and_removed(
            f"object {where['Key']}",
            lambda: client.put_object(**where, Body=b"x"),
            lambda: client.get_object(**where)["Body"].read(),
            lambda: client.delete_object(**where),
        )
        found += [Wrong(own["pre-keys"], problem)] if problem else []
    return found


def _made_name(name: str, prefix: str) -> bool:
    """Eight hexadecimal digits follow, which Pulumi has made up."""
    rest = name.removeprefix(prefix)
    return rest != name and len(rest) == 8 and set(rest) <= set("0123456789abcdef")


def caches(target: Cloud, aws: Client) -> list[Wrong]:
    """Replication groups of ElastiCache that are not available. Raises FlatlineError."""
    if target.aws.redis.kind != "elasticache":
        return []
    client, found = aws("elasticache"), []
    for suffix in CACHES:
        name = f"{target.aws.name_prefix}-{suffix}"
        groups, problem = _asked(partial(client.describe_replication_groups, ReplicationGroupId=name))
        status = None if problem else groups["ReplicationGroups"][0].get("Status")
        if status not in {"available", "snapshotting"}:
            found.append(Wrong(name, problem or f"its status is {status}"))
    return found


def rows(target: Cloud) -> list[Wrong]:
    """A row of Bigtable, written, read and deleted. Raises FlatlineError."""
    from google.cloud.bigtable.data import BigtableDataClient

    from migration.bigtable import translated_errors

    with translated_errors("a client for Bigtable"), BigtableDataClient(project=target.gcp.project) as client:
        return row(client, target.gcp.instance)


def row(client: "BigtableDataClient", instance: str) -> list[Wrong]:
    """The same with a client that is there."""
    from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound, Unauthenticated
    from google.cloud.bigtable.data import DeleteAllFromRow, MutationsExceptionGroup, SetCell

    name = f"flatline-doctor-{secrets.token_hex(8)}"
    key, left = name.encode(), ""
    try:
        with client.get_table(instance, ROW.name, default_operation_timeout=SECONDS) as table:
            table.mutate_row(key, SetCell(ROW.family, b"doctor", b"x"))
            left = f"; row {name} may be left there"
            try:
                there = table.read_row(key)
            finally:
                table.mutate_row(key, DeleteAllFromRow())
                left = ""
    except (Forbidden, Unauthenticated) as problem:
        raise FlatlineError(f"table {ROW.name} of Bigtable: {type(problem).__name__}{left}") from None
    except NotFound:
        return [Wrong(ROW.name, "NotFound", absent=True)]
    except (GoogleAPICallError, MutationsExceptionGroup) as problem:
        return [Wrong(ROW.name, f"{type(problem).__name__}{left}")]
    return [] if there is not None else [Wrong(ROW.name, "the row that was written is not there")]


def _tried_and_removed(what: str, write: Step, read: Step, remove: Step) -> str:
    """The problem, if any; what was written is deleted again whatever the read says, and is named if it cannot be.

    Raises FlatlineError where a right is lacking.
    """
    problem = _asked(write)[1]
    if ": " in problem:  # AWS has refused it, so nothing is there
        return problem
    problem, no_right = _told(read) if not problem else (problem, False)
    left, no_right_either = _told(remove)
    if left:
        problem = "; ".join(filter(None, (problem, f"{what} may be left there, because its deletion failed ({left})")))
    if no_right or no_right_either:
        raise FlatlineError(problem)
    return problem


def _told(step: Step) -> tuple[str, bool]:
    """The problem of a step, and whether it is a right that is lacking."""
    try:
        return _asked(step)[1], False
    except FlatlineError as lacking:
        return lacking.problem, True


def _asked(step: Step) -> tuple[Any, str]:
    """The answer, and the code of AWS's error, if any. Raises FlatlineError where a right is lacking."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return step(), ""
    except ClientError as problem:
        code = str(problem.response.get("Error", {}).get("Code", "an error"))
        if code in _NO_RIGHT:
            raise FlatlineError(f"AWS answered {code} to {problem.operation_name}") from None
        return None, f"{problem.operation_name}: {code}"
    except KeyError:
        return None, "what was written is not there"
    except BotoCoreError as problem:
        return None, type(problem).__name__


def _looks(reading: str, looks: str, symptom: str, absent: str) -> Check:
    def check(evidence: Evidence) -> Iterator[Finding]:
        target, found = evidence.settings.target, evidence.readings[reading]
        for each in found:
            assert isinstance(target, Cloud)
            places = {"region": target.aws.region, "project": target.gcp.project, "instance": target.gcp.instance}
            name = absent if each.absent else symptom
            yield Finding(symptom=name, about=each.name, found=each.problem, names={"name": each.name, **places})

    return Check(reading, looks, (reading,), check, running=True)


CHECKS: Iterable[Check] = (
    _looks("cloudTables", "every DynamoDB table, and a row in one", "cloud-dynamodb", "cloud-dynamodb-table"),
    _looks("cloudBuckets", "every bucket, and an object in one", "cloud-objects", "cloud-objects-bucket"),
    _looks("cloudCaches", "ElastiCache's replication groups", "cloud-cache", "cloud-cache"),
    _looks("cloudBigtable", "a row in Bigtable", "cloud-bigtable", "cloud-bigtable-table"),
)
