"""LocalStack itself with programs/seed/localstack.py as its ready hook: what the seed mends, and what it leaves alone.

What it makes in the pod as it is rendered, and what that survives, is in test_stack_localstack.py.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.emulators import seeds
from components.emulators.localstack import PORT, REGION
from config.schema import dynamodb, objects
from tests.lab.fetch import skip_if_missing
from tests.lab.localstack import PROGRAM, LocalStack

pytestmark = pytest.mark.integration

ENVIRONMENT = {
    "SERVICES": "dynamodb,s3",
    "STRICT_SERVICE_LOADING": "1",
    "EAGER_SERVICE_LOADING": "1",
    "CLEAR_TMP_FOLDER": "0",
    "DISABLE_EVENTS": "1",
    "SKIP_SSL_CERT_DOWNLOAD": "1",
    "DNS_ADDRESS": "0",
}
CONFIG_BUCKET = objects.BUCKETS["dynamic-config"]
CONFIG_TEXT = "captcha:\n  scoreFloor: 0.0  # Ä\n"
SEED = seeds.localstack(
    region=REGION,
    port=PORT,
    tables=tuple(dynamodb.TABLES.values()),
    buckets=(CONFIG_BUCKET,),
    objects=(
        {
            "bucket": CONFIG_BUCKET,
            "key": objects.DYNAMIC_CONFIG_OBJECT,
            "text": CONFIG_TEXT,
            "contentType": "application/yaml",
        },
    ),
)
KEY = {"AttributeName": "K", "KeyType": "HASH"}
RANGE = {"AttributeName": "R", "KeyType": "RANGE"}


@pytest.fixture(scope="module")
def localstack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Seeded with everything that Whisper configures."""
    with skip_if_missing():
        server = LocalStack(tmp_path_factory.mktemp("localstack"), ENVIRONMENT)
    with server:
        server.start(SEED)
        yield server


def _run(server: LocalStack, tmp_path: Path, **changes: Any) -> subprocess.CompletedProcess[str]:
    """The program as a plain process, with an empty seed but for `changes`."""
    empty: dict[str, Any] = {"region": REGION, "tables": [], "ttl": {}, "buckets": [], "objects": [], "pages": None}
    empty["deadlineSeconds"] = 30
    file = tmp_path / "seed.json"
    file.write_text(json.dumps({**empty, "endpoint": server.url, **changes}))
    command = [sys.executable, str(PROGRAM)]
    environment = {**os.environ, "FLATLINE_SEED_FILE": str(file)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def _table(name: str, **more: Any) -> dict[str, Any]:
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "K", "AttributeType": "S"}],
        "KeySchema": [KEY],
        **more,
    }


def _index(projection: str = "KEYS_ONLY", **more: Any) -> dict[str, Any]:
    return {
        "IndexName": "by_r",
        "KeySchema": [{"AttributeName": "R", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": projection},
        **more,
    }


KEYS = [{"AttributeName": "K", "AttributeType": "S"}, {"AttributeName": "R", "AttributeType": "S"}]


def _described(server: LocalStack, name: str) -> dict[str, Any]:
    """A table as a request of CreateTable would say it, in one order."""
    found = server.dynamodb("DescribeTable", {"TableName": name})["Table"]
    request: dict[str, Any] = {
        "TableName": name,
        "BillingMode": found["BillingModeSummary"]["BillingMode"],
        "AttributeDefinitions": found["AttributeDefinitions"],
        "KeySchema": found["KeySchema"],
    }
    for kind in ("LocalSecondaryIndexes", "GlobalSecondaryIndexes"):
        if kind in found:
            fields = ("IndexName", "KeySchema", "Projection")
            request[kind] = [{field: index[field] for field in fields} for index in found[kind]]
    return _ordered(request)


def _ordered(request: dict[str, Any]) -> dict[str, Any]:
    definitions = sorted(request["AttributeDefinitions"], key=lambda each: str(each["AttributeName"]))
    return {**request, "AttributeDefinitions": definitions}


def _ttl(server: LocalStack, name: str) -> str | None:
    found = server.dynamodb("DescribeTimeToLive", {"TableName": name})["TimeToLiveDescription"]
    return str(found["AttributeName"]) if found["TimeToLiveStatus"] == "ENABLED" else None


def test_a_second_run_changes_nothing(localstack: LocalStack, tmp_path: Path) -> None:
    done = _run(localstack, tmp_path, **{key: SEED[key] for key in SEED if key != "endpoint"})

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["message"] == (
        "31 tables, 1 buckets, 1 objects: 0 created, 0 changed"
    )


def test_ttl_is_enabled_and_moved(localstack: LocalStack, tmp_path: Path) -> None:
    table = _table("MovedTtl")
    assert _run(localstack, tmp_path, tables=[table]).returncode == 0
    assert _ttl(localstack, "MovedTtl") is None

    enabled = _run(localstack, tmp_path, tables=[table], ttl={"MovedTtl": "E"})
    assert "changed TTL of table MovedTtl: disabled -> E" in enabled.stdout
    assert _ttl(localstack, "MovedTtl") == "E"

    moved = _run(localstack, tmp_path, tables=[table], ttl={"MovedTtl": "F"})
    assert "changed TTL of table MovedTtl: E -> F" in moved.stdout
    assert _ttl(localstack, "MovedTtl") == "F"
    assert _run(localstack, tmp_path, tables=[table], ttl={"MovedTtl": "F"}).stdout.endswith('0 created, 0 changed"}\n')


def test_a_missing_global_index_is_added_with_the_rows_that_are_there(localstack: LocalStack, tmp_path: Path) -> None:
    assert _run(localstack, tmp_path, tables=[_table("Grown")]).returncode == 0
    localstack.dynamodb("PutItem", {"TableName": "Grown", "Item": {"K": {"S": "k"}, "R": {"S": "r"}}})

    grown = _table("Grown", AttributeDefinitions=KEYS, GlobalSecondaryIndexes=[_index()])
    done = _run(localstack, tmp_path, tables=[grown])

    assert done.returncode == 0, done.stderr
    assert "created index by_r of table Grown" in done.stdout
    query = {
        "TableName": "Grown",
        "IndexName": "by_r",
        "KeyConditionExpression": "R = :r",
        "ExpressionAttributeValues": {":r": {"S": "r"}},
    }
    assert localstack.dynamodb("Query", query)["Items"] == [{"K": {"S": "k"}, "R": {"S": "r"}}]
    assert _described(localstack, "Grown") == _ordered(grown)
    assert _run(localstack, tmp_path, tables=[grown]).stdout.endswith(
        '1 tables, 0 buckets, 0 objects: 0 created, 0 changed"}\n'
    )


@pytest.mark.parametrize(
    ("name", "existing", "wanted", "message"),
    [
        (
            "WrongType",
            {},
            {"AttributeDefinitions": [{"AttributeName": "K", "AttributeType": "B"}]},
            "key schema is K S HASH, wanted K B HASH",
        ),
        (
            "NoLocalIndex",
            {"AttributeDefinitions": KEYS, "KeySchema": [KEY, RANGE]},
            {
                "AttributeDefinitions": [*KEYS, {"AttributeName": "X", "AttributeType": "S"}],
                "KeySchema": [KEY, RANGE],
                "LocalSecondaryIndexes": [
                    _index(KeySchema=[KEY, {"AttributeName": "X", "KeyType": "RANGE"}]),
                ],
            },
            "local index by_r is missing",
        ),
        (
            "NarrowIndex",
            {"AttributeDefinitions": KEYS, "GlobalSecondaryIndexes": [_index()]},
            {"AttributeDefinitions": KEYS, "GlobalSecondaryIndexes": [_index("ALL")]},
            "global index by_r: projects KEYS_ONLY, wanted ALL",
        ),
    ],
)
def test_what_cannot_be_mended_is_named_and_left_alone(
    localstack: LocalStack,
    tmp_path: Path,
    name: str,
    existing: dict[str, Any],
    wanted: dict[str, Any],
    message: str,
) -> None:
    before = _table(name, **existing)
    row = {"K": {"S": "kept"}, "R": {"S": "r"}}
    assert _run(localstack, tmp_path, tables=[before]).returncode == 0
    localstack.dynamodb("PutItem", {"TableName": name, "Item": row})

    done = _run(localstack, tmp_path, tables=[_table(name, **wanted)])

    problem = f"localstack-seed: failed: table {name}: {message}; this cannot be changed in place"
    assert done.returncode == 1
    assert done.stderr.startswith(problem)
    assert len(done.stderr.splitlines()) == 1
    assert _described(localstack, name) == _ordered(before)
    assert localstack.dynamodb("Scan", {"TableName": name})["Items"] == [row]


def test_a_wider_index_and_surplus_ones_are_left_alone(localstack: LocalStack, tmp_path: Path) -> None:
    wide = _table("Wide", AttributeDefinitions=KEYS, GlobalSecondaryIndexes=[_index("ALL")])
    assert _run(localstack, tmp_path, tables=[wide]).returncode == 0

    narrower = {**wide, "GlobalSecondaryIndexes": [_index()]}
    assert _run(localstack, tmp_path, tables=[narrower]).stdout.endswith('0 created, 0 changed"}\n')
    done = _run(localstack, tmp_path, tables=[_table("Wide")])

    assert "table Wide has the surplus index by_r: left alone" in done.stdout
    assert "table Accounts is surplus: left alone" in done.stdout
    assert done.stdout.endswith('1 tables, 0 buckets, 0 objects: 0 created, 0 changed"}\n')
    assert _described(localstack, "Wide") == _ordered(wide)


def test_a_differing_object_is_put_again(localstack: LocalStack, tmp_path: Path) -> None:
    item = {"bucket": "mended", "key": "a b/ü.yml", "text": "old", "contentType": "application/yaml"}
    path = "/mended/a%20b/%C3%BC.yml"
    first = _run(localstack, tmp_path, buckets=["mended"], objects=[item])
    assert first.stdout.endswith('0 tables, 1 buckets, 1 objects: 2 created, 0 changed"}\n'), first.stderr

    for change in ({"text": "new"}, {"text": "new", "contentType": "text/plain"}):
        done = _run(localstack, tmp_path, buckets=["mended"], objects=[{**item, **change}])
        assert done.stdout.endswith('0 created, 1 changed"}\n'), done.stderr
        _, headers, body = localstack.request("GET", path)
        assert (headers["content-type"], body) == (change.get("contentType", "application/yaml"), b"new")
