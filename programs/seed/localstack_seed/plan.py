"""Reads a seed file, whose forms the text of localstack.py describes."""

import json
import urllib.parse
from typing import Any, NamedTuple

from localstack_seed.errors import SeedError

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

Json = dict[str, Any]


class Plan(NamedTuple):
    """The content of a seed file, in the forms of the text of localstack.py."""

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
