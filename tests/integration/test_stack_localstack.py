"""LocalStack as it is rendered, run as its pod: what Whisper finds in it, also after a crash, and when it is ready."""

import configparser
import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session

from config.schema import dynamodb, objects
from tests.graph.stack import Stack, load
from tests.integration.rendered_pod import Pods, RenderedPod
from tests.lab.fetch import skip_if_missing
from tests.lab.process import wait_until

pytestmark = pytest.mark.integration

SEED = "/opt/flatline/seed.json"
CONFIG_FILE = "/usr/share/signal/dev.yml"
START_SECONDS = 120
PORT = 4566


@dataclass
class Emulator:
    """A pod of LocalStack and what Whisper's own container says of it."""

    stack: Stack
    pod: RenderedPod

    def client(self, service: str) -> Any:
        """A client with the environment that Whisper's container has."""
        (whisper,) = (each for each in self.stack.pod("whisper").spec["containers"] if each["name"] == "whisper")
        env: Mapping[str, str] = {each["name"]: each["value"] for each in whisper["env"]}
        host, _, port = env["AWS_ENDPOINT_OVERRIDE"].removeprefix("http://").partition(":")
        assert host in self.pod.hostnames()
        keys = configparser.ConfigParser()
        keys.read_string(self.stack.file("whisper", env["AWS_SHARED_CREDENTIALS_FILE"]))
        assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} & env.keys(), "they would win over the file"
        options: dict[str, Any] = dict(keys["default"])
        return Session().create_client(
            service,
            region_name=env["AWS_REGION"],
            endpoint_url=f"http://{self.pod.address}:{port}",
            **options,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def whisper(self) -> dict[str, Any]:
        """Whisper's configuration."""
        loaded: dict[str, Any] = yaml.safe_load(self.stack.file("whisper", CONFIG_FILE))
        return loaded


@contextmanager
def pods(folder: Path, worker: int) -> Iterator[Pods]:
    with skip_if_missing():
        made = Pods(folder / "pods", load("dev"), worker)
    with made:
        yield made


def answers(pod: RenderedPod) -> bool:
    """Whether the server answers at all, which is what its liveness probe asks."""
    return pod.ready(next(iter(pod.containers)), "livenessProbe")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory, worker_number: int) -> Iterator[Emulator]:
    """Seen through its whole start: it serves before its seed is over, and is ready only after."""
    with pods(tmp_path_factory.mktemp("localstack"), worker_number) as made:
        pod = made.pod("localstack")
        with skip_if_missing():
            pod.start()
        seen = []

        def ready() -> bool:
            seen.append((answers(pod), pod.ready("localstack", "startupProbe")))
            return seen[-1] == (True, True)

        pod.containers["localstack"].process.wait_ready(ready, START_SECONDS)
        assert (True, False) in seen, "not asked while the seed ran"
        assert pod.ready("localstack")
        yield Emulator(made.stack, pod)


def read_back(client: Any, name: str) -> dict[str, Any]:
    """A table, in the words of config.schema."""
    found = client.describe_table(TableName=name)["Table"]
    types = {each["AttributeName"]: each["AttributeType"] for each in found["AttributeDefinitions"]}

    def keys(schema: list[dict[str, str]]) -> dict[str, tuple[str, str]]:
        return {each["KeyType"]: (each["AttributeName"], types[each["AttributeName"]]) for each in schema}

    lives = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    return {
        "keys": keys(found["KeySchema"]),
        "attributes": types,
        "indexes": {
            each["IndexName"]: (kind == "Local", keys(each["KeySchema"]), each["Projection"]["ProjectionType"])
            for kind in ("Global", "Local")
            for each in found.get(f"{kind}SecondaryIndexes", ())
        },
        "ttl": lives["AttributeName"] if lives["TimeToLiveStatus"] == "ENABLED" else None,
        "billing": found["BillingModeSummary"]["BillingMode"],
    }


def wanted(table: dynamodb.Table) -> dict[str, Any]:
    """The same of the schema."""

    def keys(first: dynamodb.Key, second: dynamodb.Key | None) -> dict[str, tuple[str, str]]:
        found = {"HASH": first} | ({"RANGE": second} if second else {})
        return {role: (key.name, key.type) for role, key in found.items()}

    return {
        "keys": keys(table.hash, table.range),
        "attributes": {key.name: key.type for key in table.key_attributes()},
        "indexes": {each.name: (each.local, keys(each.hash, each.range), each.projection) for each in table.indexes},
        "ttl": table.ttl,
        "billing": "PAY_PER_REQUEST",
    }


def check_everything(emulator: Emulator) -> None:
    """Tables, indexes, time-to-live, buckets and the dynamic configuration are those of schema and configuration."""
    database, store, whisper = emulator.client("dynamodb"), emulator.client("s3"), emulator.whisper()
    names = {table.name for table in dynamodb.TABLES.values()}
    assert set(database.list_tables()["TableNames"]) == names
    for path, table in dynamodb.TABLES.items():
        assert read_back(database, table.name) == wanted(table)
        configured = whisper["dynamoDbTables"]
        for key in path.split("."):
            configured = configured[key]
        assert configured == table.name

    buckets = {each["Name"] for each in store.list_buckets()["Buckets"]}
    assert buckets == {objects.BUCKETS["dynamic-config"]}
    dynamic = whisper["dynamicConfig"]
    found = store.get_object(Bucket=dynamic["s3Bucket"], Key=dynamic["objectKey"])
    text = found["Body"].read().decode()
    assert found["ContentType"] == "application/yaml"
    (seeded,) = json.loads(emulator.stack.file("localstack", SEED))["objects"]
    assert text == seeded["text"]
    assert yaml.safe_load(text)["captcha"]
    assert len(text) <= dynamic["maxSize"]


def test_whisper_finds_all_that_it_is_configured_with(emulator: Emulator) -> None:
    check_everything(emulator)


def test_only_the_two_services_run(emulator: Emulator) -> None:
    for service, ask in (("iam", "list_users"), ("sqs", "list_queues"), ("sts", "get_caller_identity")):
        with pytest.raises(ClientError) as refused:
            getattr(emulator.client(service), ask)()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


def test_rows_outlive_the_kill_of_the_whole_pod(emulator: Emulator) -> None:
    """What comes back has another address and new working folders; only the claim is the same."""
    row = {"U": {"B": b"account"}, "UL": {"B": b"link"}}
    emulator.client("dynamodb").put_item(TableName="Accounts", Item=row)
    emulator.client("s3").put_object(Bucket=objects.BUCKETS["dynamic-config"], Key="other", Body=b"of a session")

    emulator.pod.kill()
    assert not answers(emulator.pod)
    emulator.pod = emulator.pod.successor().start()
    emulator.pod.wait_ready(seconds=START_SECONDS)

    database = emulator.client("dynamodb")
    query = {"IndexName": "ul_to_u", "KeyConditionExpression": "UL = :l"}
    found = database.query(TableName="Accounts", ExpressionAttributeValues={":l": row["UL"]}, **query)
    assert found["Items"] == database.scan(TableName="Accounts")["Items"] == [row]
    check_everything(emulator)
    # S3 of the free LocalStack forgets: the documentation says so, and this would tell if it no longer did.
    listed = emulator.client("s3").list_objects_v2(Bucket=objects.BUCKETS["dynamic-config"])["Contents"]
    assert [each["Key"] for each in listed] == [objects.DYNAMIC_CONFIG_OBJECT]


BROKEN = [
    ({"buckets": ["not_a_name!"], "objects": []}, "PUT s3://not_a_name!: InvalidBucketName"),
    ({"endpoint": "http://127.0.0.1:1", "deadlineSeconds": 1}, "given up after 1 s"),
]


@pytest.mark.parametrize(("change", "words"), BROKEN)
def test_a_failing_seed_keeps_the_pod_from_becoming_ready(
    tmp_path: Path, worker_number: int, change: dict[str, Any], words: str
) -> None:
    with pods(tmp_path, worker_number) as made:
        pod = made.pod("localstack")
        seed = {**json.loads(made.stack.file("localstack", SEED)), "tables": [], "ttl": {}, "pages": None, **change}
        files = pod.template.files["localstack"]
        spoilt = tuple(replace(each, text=json.dumps(seed)) if each.path == SEED else each for each in files)
        assert spoilt != files
        pod.template = replace(pod.template, files={"localstack": spoilt})
        with skip_if_missing():
            pod.start()

        wait_until(lambda: words in pod.text("localstack"), START_SECONDS, words)
        wait_until(lambda: over(pod), 10, "the hook is over")
        assert answers(pod)
        assert not pod.ready("localstack", "startupProbe")
        assert not pod.ready("localstack")


def over(pod: RenderedPod) -> bool:
    """Whether the ready hooks have run, however they ended."""
    with urllib.request.urlopen(f"http://{pod.address}:{PORT}/_localstack/init/ready", timeout=60) as answer:
        return bool(json.load(answer)["completed"])
