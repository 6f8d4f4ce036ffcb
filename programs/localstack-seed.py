"""Seeds LocalStack with the DynamoDB tables, S3 buckets and S3 objects that one JSON file lists.

Creates what is missing, mends what differs, deletes no more than `pages` says; a second run changes nothing. It runs
where it is mounted as `/etc/localstack/init/ready.d/seed.py`, and as `python3 localstack-seed.py`.

Environment: FLATLINE_SEED_FILE, the path of the JSON file; without it `localstack-seed.json` beside this program
(as a hook the program has no path of its own, so there the variable is needed). The file's keys, all needed:

    endpoint         "http://127.0.0.1:4566"
    region           "us-east-1"
    tables           requests of DynamoDB's CreateTable, as its API reference describes them
    ttl              {table: attribute}, the attribute that holds the expiry in seconds since 1970
    buckets          names
    objects          {"bucket", "key", "text", "contentType"}; the text is stored as UTF-8
    pages            null, or the other S3 server, with the pages that rows of a table name: {"table", "endpoint",
                     "bucket", "credentialsFile", "deadlineSeconds"}
    deadlineSeconds  how long to wait, in all, for LocalStack and for tables to become ACTIVE

Of a table that exists: the key schema and the local indexes are compared and cannot be mended, so a difference is
an error; a missing global index is added; an index may project more than is asked for; TTL is switched to the
attribute. Surplus tables and indexes are reported and left alone.

A row of `pages` names one page of 100 pre-keys. Whisper stores the page first, so a row without its page means that the
page was lost, and every attempt to fetch a key of it is an error. Such rows are removed, and clients upload new keys.
Where the other server does not answer in its time, or refuses, nothing is removed and the reason is reported: then the
next start looks again.

LocalStack executes a `.py` hook inside its own process, in an empty namespace (so `__name__` is that of builtins
and `__file__` is missing), and takes an Exception, but not a SystemExit, as the hook's failure: then
`GET /_localstack/init/ready` shows the script's state as ERROR, though "completed" is true all the same.
"""

import base64
import configparser
import hashlib
import hmac
import http.client
import json
import os
import re
import sys
import time
import urllib.parse
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

FILE_VARIABLE = "FLATLINE_SEED_FILE"
RETRIED_STATUSES = (500, 502, 503, 504)
RETRIED_CODES = ("LimitExceededException", "ThrottlingException")
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
REQUEST_TIMEOUT_SECONDS = 30.0
FIELDS: dict[str, tuple[type, ...]] = {
    "endpoint": (str,),
    "region": (str,),
    "tables": (list,),
    "ttl": (dict,),
    "buckets": (list,),
    "objects": (list,),
    "pages": (type(None), dict),
    "deadlineSeconds": (int, float),
}

PAGES_FIELDS = {"table", "endpoint", "bucket", "credentialsFile", "deadlineSeconds"}
PAGE_HEADER_BYTES, PAGE_KEY_BYTES = 8, 1641  # KEMPreKeyPage.java of Whisper, format 1
S3_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
ANYBODY = ("test", "test")  # LocalStack checks nothing

Json = dict[str, Any]
T = TypeVar("T")


class SeedError(Exception):
    """The seed cannot be carried out; the message is one line that says what and where."""


class AwsError(SeedError):
    """A service refused a request; `code` is the error's name in the service's API reference."""

    def __init__(self, action: str, code: str, message: str) -> None:
        super().__init__(f"{action}: {code}: {message}")
        self.code = code


class TransientError(Exception):
    """LocalStack is not there yet, or answered with an error that passes."""


class Plan(NamedTuple):
    """What a seed file asks for, in the forms of the module's text."""

    endpoint: str
    region: str
    tables: list[Json]
    ttl: dict[str, str]
    buckets: list[str]
    objects: list[dict[str, str]]
    pages: Json | None
    deadline_seconds: float


def parse_plan(text: str) -> Plan:
    """The plan in a seed file's text. Raises SeedError naming the key that is missing, unknown or wrong."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise SeedError(f"seed file: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise SeedError("seed file: must hold one object")
    for key in sorted(data.keys() ^ FIELDS.keys()):
        raise SeedError(f"seed file: {'unknown' if key in data else 'missing'} key {key}")
    for key, types in FIELDS.items():
        if not isinstance(data[key], types) or isinstance(data[key], bool):
            raise SeedError(f"seed file: {key} must be of type {types[-1].__name__}")
    plan = Plan(*(data[key] for key in FIELDS))
    _check_endpoint("endpoint", plan.endpoint)
    _check_tables(plan)
    _check_buckets(plan)
    _check_pages(plan)
    return plan


def _check_endpoint(key: str, endpoint: str) -> None:
    parts = urllib.parse.urlsplit(endpoint)
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise SeedError(f"seed file: {key} must be http://host:port, not {endpoint}")


def _check_tables(plan: Plan) -> None:
    seen = set()
    for table in plan.tables:
        if not isinstance(table, dict) or not {"TableName", "KeySchema", "AttributeDefinitions"} <= table.keys():
            raise SeedError("seed file: each of tables needs TableName, KeySchema and AttributeDefinitions")
        if table["TableName"] in seen:
            raise SeedError(f"seed file: table {table['TableName']} is listed twice")
        seen.add(table["TableName"])
    for name, attribute in plan.ttl.items():
        if name not in seen:
            raise SeedError(f"seed file: ttl names the table {name}, which is not among tables")
        if not isinstance(attribute, str) or not attribute:
            raise SeedError(f"seed file: ttl of table {name} must be the name of an attribute")


def _check_buckets(plan: Plan) -> None:
    for bucket in plan.buckets:
        if not isinstance(bucket, str) or not bucket:
            raise SeedError("seed file: each of buckets must be a name")
    fields = {"bucket", "key", "text", "contentType"}
    for item in plan.objects:
        if not isinstance(item, dict) or item.keys() != fields or not all(isinstance(v, str) for v in item.values()):
            raise SeedError(f"seed file: each of objects needs exactly the texts {', '.join(sorted(fields))}")
        if item["bucket"] not in plan.buckets:
            raise SeedError(f"seed file: object {item['key']}: bucket {item['bucket']} is not among buckets")


def _check_pages(plan: Plan) -> None:
    if plan.pages is None:
        return
    if plan.pages.keys() != PAGES_FIELDS:
        raise SeedError(f"seed file: pages needs exactly {', '.join(sorted(PAGES_FIELDS))}")
    if plan.pages["table"] not in {table["TableName"] for table in plan.tables}:
        raise SeedError(f"seed file: pages names the table {plan.pages['table']}, which is not among tables")
    _check_endpoint("pages.endpoint", plan.pages["endpoint"])


class Client:
    """DynamoDB and S3 at one endpoint, repeating what fails in passing for so many seconds in all.

    `keys` are the access key id and the secret access key that sign the requests.
    """

    def __init__(self, endpoint: str, region: str, seconds: float, keys: tuple[str, str] = ANYBODY) -> None:
        self.endpoint, self.region, self.seconds, self.keys = endpoint, region, seconds, keys
        self.deadline = time.monotonic() + seconds

    def dynamodb(self, operation: str, request: Json) -> Json:
        """DynamoDB's answer to an operation. Raises AwsError when refused, SeedError at the deadline."""
        action = f"{operation} {request.get('TableName', '')}".strip()
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"DynamoDB_20120810.{operation}"}

        def attempt() -> Json:
            status, _, body = self._exchange("dynamodb", "POST", "/", headers, json.dumps(request).encode())
            if status != 200:
                raise _refusal(action, status, *_dynamodb_error(body))
            answer: Json = json.loads(body)
            return answer

        return self._until_deadline(action, attempt)

    def s3(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        content_type: str = "",
        query: Mapping[str, str] = {},
    ) -> tuple[int, str, bytes]:
        """Status (2xx or 404), Content-Type and body of S3's answer. Raises AwsError, or SeedError at the deadline."""
        action = f"{method} s3:/{path}"
        headers = {"Content-Type": content_type} if content_type else {}

        def attempt() -> tuple[int, str, bytes]:
            answer = self._exchange("s3", method, urllib.parse.quote(path, safe="/-_.~"), headers, body, query)
            if answer[0] // 100 != 2 and answer[0] != 404:
                raise _refusal(action, answer[0], *_s3_error(answer[2]))
            return answer

        return self._until_deadline(action, attempt)

    def sizes(self, bucket: str, prefix: str = "") -> dict[str, int]:
        """The sizes of a bucket's objects by key. Raises AwsError, or SeedError at the deadline."""
        found: dict[str, int] = {}
        query = {"list-type": "2", "prefix": prefix}
        while True:
            status, _, body = self.s3("GET", f"/{bucket}", query=query)
            if status != 200:
                raise AwsError(f"GET s3://{bucket}", *_s3_error(body))
            try:
                page = ET.fromstring(body)
                entries = [(each.findtext(f"{S3_NAMESPACE}Key"), each) for each in page.iter(f"{S3_NAMESPACE}Contents")]
                found |= {key: int(each.findtext(f"{S3_NAMESPACE}Size") or "") for key, each in entries if key}
            except (ET.ParseError, ValueError):
                raise SeedError(f"GET s3://{bucket}: this is no list of objects") from None
            if page.findtext(f"{S3_NAMESPACE}IsTruncated") != "true":
                return found
            query["continuation-token"] = page.findtext(f"{S3_NAMESPACE}NextContinuationToken") or ""

    def wait(self, what: str, done: Callable[[], bool]) -> None:
        """Returns once `done()` is true. Raises SeedError naming `what` at the deadline."""

        def attempt() -> None:
            if not done():
                raise TransientError("not yet")

        self._until_deadline(what, attempt)

    def _until_deadline(self, action: str, attempt: Callable[[], T]) -> T:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return attempt()
            except TransientError as error:
                if time.monotonic() + pause > self.deadline:
                    seconds = f"{self.seconds:g} s"
                    raise SeedError(f"{action}: given up after {seconds}: {error}") from None
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _exchange(
        self,
        service: str,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        query: Mapping[str, str] = {},
    ) -> tuple[int, str, bytes]:
        address = urllib.parse.urlsplit(self.endpoint)
        arguments = "&".join(f"{key}={urllib.parse.quote(query[key], safe='-_.~')}" for key in sorted(query))
        signed = self._signed(service, method, path, arguments, {**headers, "Host": address.netloc}, body)
        connection = http.client.HTTPConnection(
            address.hostname or "", address.port or 80, timeout=REQUEST_TIMEOUT_SECONDS
        )
        try:
            connection.request(method, f"{path}?{arguments}" if arguments else path, body, signed)
            response = connection.getresponse()
            return response.status, response.getheader("Content-Type", ""), response.read()
        except (OSError, http.client.HTTPException) as error:
            raise TransientError(f"{self.endpoint}: {error or type(error).__name__}") from None
        finally:
            connection.close()

    def _signed(
        self, service: str, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> dict[str, str]:
        """The headers with those of Signature Version 4; all of them are signed."""
        now = time.gmtime()
        digest = hashlib.sha256(body).hexdigest()
        date = time.strftime("%Y%m%dT%H%M%SZ", now)
        sent = {name.lower(): value for name, value in headers.items()}
        sent |= {"x-amz-date": date, "x-amz-content-sha256": digest}
        names = ";".join(sorted(sent))
        lines = "".join(f"{name}:{sent[name].strip()}\n" for name in sorted(sent))
        request = "\n".join((method, path, query, lines, names, digest))
        scope = (date[:8], self.region, service, "aws4_request")
        text = "\n".join(("AWS4-HMAC-SHA256", date, "/".join(scope), hashlib.sha256(request.encode()).hexdigest()))
        key_id, secret = self.keys
        key = f"AWS4{secret}".encode()
        for part in scope:
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        credential = "/".join((key_id, *scope))
        sent["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
        )
        return sent


def _refusal(action: str, status: int, code: str, message: str) -> Exception:
    if status in RETRIED_STATUSES or code in RETRIED_CODES:
        return TransientError(f"status {status} {code}: {message}")
    return AwsError(action, code or f"status {status}", message)


def _dynamodb_error(body: bytes) -> tuple[str, str]:
    try:
        error = json.loads(body)
        return error["__type"].rpartition("#")[2], error.get("message") or error.get("Message") or ""
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", body[:200].decode(errors="replace")


def _s3_error(body: bytes) -> tuple[str, str]:
    text = body.decode(errors="replace")
    code, message = (re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL) for tag in ("Code", "Message"))
    return (code[1] if code else ""), (message[1] if message else text[:200])


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
            self._pages(self.plan.pages)
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
        existing = _by_name(found, "GlobalSecondaryIndexes")
        for index_name, index in _by_name(wanted, "GlobalSecondaryIndexes").items():
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
            indexes = _by_name(found, "GlobalSecondaryIndexes").values()
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

    def _pages(self, pages: Json) -> None:
        table, bucket = pages["table"], pages["bucket"]
        # The rows first: the page of a row was there before the row was.
        rows = [row for row in self._rows(table) if _page_of(row) is not None]
        if not rows:
            return
        try:
            keys = _keys(pages["credentialsFile"])
            store = Client(pages["endpoint"], self.plan.region, pages["deadlineSeconds"], keys)
            sizes = store.sizes(bucket)
            suspects = [row for row in rows if _is_lost(row, sizes)]
            lost = [row for row in suspects if _is_lost(row, store.sizes(bucket, _page_of(row) or ""))]
        except SeedError as error:
            self.report(f"the pages of table {table} were not looked at, and no row was removed: {error}")
            return
        removed = sum(self._remove_row(table, row) for row in lost)
        if removed:
            self.report(f"removed {removed} rows of table {table}, whose pages are lost: clients upload new keys")

    def _rows(self, table: str) -> Iterator[Json]:
        request: Json = {"TableName": table, "ConsistentRead": True}
        while True:
            page = self.client.dynamodb("Scan", request)
            yield from page["Items"]
            if not page.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _remove_row(self, table: str, row: Json) -> bool:
        """Whether the row was removed: it stays where it names another page by now."""
        request = {
            "TableName": table,
            "Key": {"U": row["U"], "D": row["D"]},
            "ConditionExpression": "#id = :id",
            "ExpressionAttributeNames": {"#id": "ID"},
            "ExpressionAttributeValues": {":id": row["ID"]},
        }
        try:
            self.client.dynamodb("DeleteItem", request)
        except AwsError as error:
            if error.code != "ConditionalCheckFailedException":
                raise
            return False
        return True


def _page_of(row: Json) -> str | None:
    """The key of the page that a row names (PagedSingleUseKEMPreKeyStore.java of Whisper); None for another row."""
    try:
        account, page = (uuid.UUID(bytes=base64.b64decode(row[name]["B"])) for name in ("U", "ID"))
        return f"{account}/{int(row['D']['N'])}/{page}"
    except (KeyError, TypeError, ValueError):
        return None


def _is_lost(row: Json, sizes: Mapping[str, int]) -> bool:
    """Whether the page of a row is missing, or shorter than its keys: a power cut may leave an empty file."""
    size = sizes.get(_page_of(row) or "")
    if size is None:
        return True
    known = row.get("F") == {"N": "1"} and "N" in row.get("N", {})
    return known and size < PAGE_HEADER_BYTES + PAGE_KEY_BYTES * int(row["N"]["N"])


def _keys(credentials_file: str) -> tuple[str, str]:
    """The key pair in a shared credentials file. Raises SeedError, which says nothing of what is in the file."""
    profiles = configparser.RawConfigParser()
    try:
        profiles.read_string(Path(credentials_file).read_text(encoding="utf-8"))
        return profiles["default"]["aws_access_key_id"], profiles["default"]["aws_secret_access_key"]
    except OSError as error:
        raise SeedError(f"{credentials_file}: {error.strerror}") from None
    except (KeyError, configparser.Error):
        raise SeedError(f"{credentials_file}: no key pair of the profile default") from None


def _by_name(table: Json, kind: str) -> dict[str, Json]:
    return {index["IndexName"]: index for index in table.get(kind) or []}


def unmendable(wanted: Json, found: Json) -> str:
    """What of a table cannot be brought from the description `found` to the request `wanted`; empty if nothing."""
    if difference := _key_difference("", wanted["KeySchema"], wanted, found["KeySchema"], found):
        return difference
    for kind, word in (("LocalSecondaryIndexes", "local"), ("GlobalSecondaryIndexes", "global")):
        existing = _by_name(found, kind)
        for name, index in _by_name(wanted, kind).items():
            if name not in existing:
                if word == "local":
                    return f"local index {name} is missing"
                continue
            title = f"{word} index {name}: "
            other = existing[name]
            if difference := _key_difference(title, index["KeySchema"], wanted, other["KeySchema"], found):
                return difference
            if not _covers(other["Projection"], index["Projection"]):
                return f"{title}projects {_projection(other)}, wanted {_projection(index)}"
    return ""


def _key_difference(title: str, wanted: list[Json], request: Json, found: list[Json], description: Json) -> str:
    ours, theirs = _key_text(wanted, request), _key_text(found, description)
    return "" if ours == theirs else f"{title}key schema is {theirs}, wanted {ours}"


def _key_text(schema: list[Json], table: Json) -> str:
    types = {d["AttributeName"]: d["AttributeType"] for d in table["AttributeDefinitions"]}
    parts = sorted(schema, key=lambda part: str(part["KeyType"]))
    return ", ".join(f"{p['AttributeName']} {types.get(p['AttributeName'], '?')} {p['KeyType']}" for p in parts)


def _covers(projection: Json, wanted: Json) -> bool:
    kind = projection["ProjectionType"]
    if kind == "ALL" or wanted["ProjectionType"] == "KEYS_ONLY":
        return True
    attributes = set(projection.get("NonKeyAttributes") or [])
    return kind == wanted["ProjectionType"] and attributes >= set(wanted.get("NonKeyAttributes") or [])


def _projection(index: Json) -> str:
    projection = index["Projection"]
    return " ".join([projection["ProjectionType"], *sorted(projection.get("NonKeyAttributes") or [])])


def surplus_indexes(wanted: Json, found: Json) -> list[str]:
    """Names of the indexes that a described table has beyond the request."""
    return sorted(
        name
        for kind in ("LocalSecondaryIndexes", "GlobalSecondaryIndexes")
        for name in _by_name(found, kind).keys() - _by_name(wanted, kind).keys()
    )


def seed_file() -> Path:
    """The path of the seed file. Raises SeedError if nothing names it."""
    if path := os.environ.get(FILE_VARIABLE):
        return Path(path)
    if program := globals().get("__file__"):
        return Path(program).with_name("localstack-seed.json")
    raise SeedError(f"{FILE_VARIABLE} is not set")


def report(line: str) -> None:
    """Writes one line of progress to standard output."""
    print(f"localstack-seed: {line}", flush=True)


def main() -> None:
    """Carries out the plan of the seed file. Raises SeedError."""
    path = seed_file()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SeedError(f"seed file {path}: {error.strerror}") from None
    plan = parse_plan(text)
    Seed(plan, Client(plan.endpoint, plan.region, plan.deadline_seconds), report).run()


if __name__ == "__main__":
    try:
        main()
    except SeedError as error:
        sys.exit(f"localstack-seed: failed: {error}")
elif __name__ == "builtins":
    main()
