"""`backup` and `restore`, from the stores of one local stack to those of another one.

Tables are in LocalStack, rows in Google's Bigtable emulator, and objects in versitygw, as it is rendered.
"""

import base64
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import grpc
import pytest
from google.cloud.bigtable.data import Mutation, ReadRowsQuery, RowMutationEntry, SetCell
from google.cloud.bigtable_admin_v2 import BigtableTableAdminClient
from google.cloud.bigtable_admin_v2.services.bigtable_table_admin.transports import BigtableTableAdminGrpcTransport
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from components.emulators.cbtemulator import INSTANCE, PROJECT
from components.emulators.seeds import create_table_request
from components.versitygw import OWNERS, ROOT, Role
from config.loading import load
from config.schema import bigtable, dynamodb, objects
from migration import transfer
from migration.dynamodb import DynamoTable
from migration.endpoints import Addresses, Connection, physical_names
from migration.records import Collection
from migration.stores import _bigtable
from render import stack_file
from tests import forked
from tests.graph.stack import load as stack
from tests.lab.bigtable import BigtableEmulator
from tests.lab.fetch import skip_if_missing
from tests.lab.localstack import LocalStack
from tests.lab.process import wait_until
from tests.lab.versitygw import Versitygw
from tests.unit.cli.checkout import Checkout, kubeconfig
from tests.unit.migration.conftest import Aws
from tests.unit.migration.records import PLAIN, opened, plain_items, sorted_sets, written

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).parents[2]
SOURCE, TARGET = "us-east-1", "eu-west-1"
ACCOUNT = "000000000000"
CLOUD, MOTO_ACCOUNT = "eu-central-1", "123456789012"
BUCKETS: dict[Role, str] = {"pre-keys": "moved-pre-keys", "cdn0": "moved-cdn0"}
NAMES = physical_names(load({}), {})
SECRET = b"planted-content"
NO_MORE: Mapping[str, str] = {}
KEPT: dict[str, Any] = {
    "CacheControl": "private, max-age=60",
    "ContentDisposition": "attachment",
    "ContentEncoding": "identity",
    "ContentLanguage": "en",
    "ContentType": "image/webp",
    "Metadata": {"colour": "planted"},
}
"""What is said about every second object; the others have a content type alone."""

MESSAGES, LOGS = 1200, 1300


@dataclass(frozen=True)
class Place:
    """A LocalStack in one region, a Bigtable emulator, and an object store."""

    localstack: LocalStack
    emulator: BigtableEmulator
    store: Versitygw
    region: str
    buckets: dict[Role, str]

    def tables(self) -> Any:
        return boto3.client(
            "dynamodb",
            region_name=self.region,
            endpoint_url=self.localstack.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def make(self) -> None:
        """Makes empty tables of the schema. Buckets are there: the object store's start makes them."""
        client = self.tables()
        for table in dynamodb.TABLES.values():
            client.create_table(**create_table_request(table))
        self.make_rows()

    def make_rows(self, project: str = PROJECT, instance: str = INSTANCE) -> None:
        """Makes empty Bigtable tables of the schema."""
        channel = grpc.insecure_channel(self.emulator.address)
        admin = BigtableTableAdminClient(transport=BigtableTableAdminGrpcTransport(channel=channel))
        for table in bigtable.TABLES.values():
            admin.create_table(
                request={
                    "parent": f"projects/{project}/instances/{instance}",
                    "table_id": table.name,
                    "table": {"column_families": {table.family: {}}},
                }
            )
        channel.close()

    def clear(self) -> None:
        """Empties everything."""
        for table in dynamodb.TABLES.values():
            self._clear(table)
        for name in self.buckets.values():
            for entry in self.store.client().list_objects_v2(Bucket=name).get("Contents", ()):
                self.store.client().delete_object(Bucket=name, Key=entry["Key"])
        self.emulator.stop()
        self.emulator.start()
        self.make_rows()

    def _clear(self, table: dynamodb.Table) -> None:
        client = self.tables()
        names = [key.name for key in (table.hash, table.range) if key is not None]
        for page in client.get_paginator("scan").paginate(TableName=table.name):
            keys = [{name: item[name] for name in names} for item in page["Items"]]
            for start in range(0, len(keys), 25):
                requests = [{"DeleteRequest": {"Key": key}} for key in keys[start : start + 25]]
                assert not client.batch_write_item(RequestItems={table.name: requests})["UnprocessedItems"]

    def items(self, name: str) -> list[str]:
        pages = self.tables().get_paginator("scan").paginate(TableName=name)
        return sorted(repr(sorted_sets(item)) for page in pages for item in page["Items"])

    def rows(self, name: str) -> list[tuple[bytes, list[tuple[str, bytes, int, bytes]]]]:
        with _bigtable(NAMES, self.emulator.address) as (data, _):
            rows = data.get_table(INSTANCE, name).read_rows(ReadRowsQuery())
        return [(row.row_key, [(c.family, c.qualifier, c.timestamp_micros, c.value) for c in row]) for row in rows]

    def objects(self, role: Role) -> dict[str, dict[str, Any]]:
        """Everything that is kept of each object, as its owner sees it."""
        client, name = self.store.client(OWNERS[role]), self.buckets[role]
        keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=name).get("Contents", ())]
        answers = {key: client.get_object(Bucket=name, Key=key) for key in keys}
        return {
            key: {"body": answer["Body"].read(), **{each: answer.get(each) for each in KEPT}}
            for key, answer in answers.items()
        }

    def options(self) -> list[str]:
        """The addresses of these stores."""
        where = ["--dynamodb", self.localstack.url, "--s3", self.store.url, "--bigtable", self.emulator.address]
        named = [word for role, name in self.buckets.items() for word in (f"--{role}-bucket", name)]
        return [*where, "--region", self.region, *named]

    def run(self, action: str, *words: str, status: int = 0, variables: Mapping[str, str] = NO_MORE) -> str:
        """A command for these stores, with the key pair of the object store's operator."""
        return run(action, *words, *self.options(), status=status, variables={**self.keys(), **variables})

    def keys(self, account: str = ROOT) -> dict[str, str]:
        """An account's key pair, for the default chain."""
        return {"AWS_ACCESS_KEY_ID": account, "AWS_SECRET_ACCESS_KEY": self.store.secret(account)}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Place]]:
    folder = tmp_path_factory.mktemp("migration")
    own: dict[Role, str] = {role: objects.BUCKETS[role] for role in BUCKETS}
    with skip_if_missing():
        stores = [
            object_store(folder / name, buckets, region)
            for name, buckets, region in (("store-one", own, SOURCE), ("store-two", BUCKETS, TARGET))
        ]
        emulators = [BigtableEmulator(folder / name) for name in ("one", "two")]
        localstack = LocalStack(
            folder / "localstack",
            {"SERVICES": "dynamodb,sts", "EAGER_SERVICE_LOADING": "1", "DISABLE_EVENTS": "1", "DNS_ADDRESS": "0"},
        )
    with localstack, emulators[0], emulators[1], stores[0], stores[1]:
        for emulator in emulators:
            emulator.start()
        empty: dict[str, Any] = {"tables": [], "ttl": {}, "buckets": [], "objects": [], "pages": None}
        localstack.start({**empty, "region": SOURCE, "deadlineSeconds": 60})
        source = Place(localstack, emulators[0], stores[0], SOURCE, own)
        target = Place(localstack, emulators[1], stores[1], TARGET, BUCKETS)
        source.make()
        target.make()
        fill(source)
        yield source, target


def object_store(folder: Path, buckets: Mapping[Role, str], region: str) -> Versitygw:
    """The one of stack dev: with the arguments and the files of its container, but for the names of the buckets."""
    pod = stack("dev").pod("object-store")
    (container,) = pod.spec["containers"]
    files = {each.path: each.text for each in pod.files["object-store"]}
    owners = [f"{name}={OWNERS[role]}" for role, name in buckets.items()]
    return Versitygw(folder, [*container["args"][: -len(owners)], *owners], files, region=region)


@pytest.fixture
def source(places: tuple[Place, Place]) -> Place:
    return places[0]


@pytest.fixture
def target(places: tuple[Place, Place]) -> Iterator[Place]:
    """Empty."""
    yield places[1]
    places[1].clear()


def fill(place: Place) -> None:
    """Something in every table and bucket, much in some of them."""
    chance = random.Random(1)
    client = place.tables()
    for table in dynamodb.TABLES.values():
        count = MESSAGES if table.name == "Messages" else 7
        for start in range(0, count, 25):
            some = [an_item(table, number, chance) for number in range(start, min(count, start + 25))]
            left = {table.name: [{"PutRequest": {"Item": item}} for item in some]}
            while left:
                left = client.batch_write_item(RequestItems=left)["UnprocessedItems"]
    with _bigtable(NAMES, place.emulator.address) as (data, _):
        for rows in bigtable.TABLES.values():
            count = LOGS if rows.name == "group-logs" else 5
            entries = [RowMutationEntry(key, cells) for key, cells in some_rows(rows.family, count, chance)]
            for start in range(0, count, 500):
                data.get_table(INSTANCE, rows.name).bulk_mutate_rows(entries[start : start + 500])
    for role, name in place.buckets.items():
        for number in range(5):
            body = SECRET + chance.randbytes(number * 100_000)
            about = {each: value for each, value in KEPT.items() if number % 2 or each == "ContentType"}
            client = place.store.client(OWNERS[role])
            client.put_object(Bucket=name, Key=f"{role}/ü {number}", Body=body, **about)


def an_item(table: dynamodb.Table, number: int, chance: random.Random) -> dict[str, Any]:
    """An item with every type of attribute, some of which live for a while."""
    own: dict[str, Callable[[], dict[str, Any]]] = {
        "B": lambda: {"B": number.to_bytes(4, "big") + chance.randbytes(12)},
        "N": lambda: {"N": str(number)},
        "S": lambda: {"S": f"{SECRET.decode()}-{number}"},
    }
    item: dict[str, Any] = {key.name: own[key.type]() for key in table.key_attributes()}
    item["data"] = {"B": SECRET + chance.randbytes(300)}
    item["digits"] = {"N": "1234567890.1234567890123456789012345678"}
    item["empty"] = {"M": {"s": {"S": ""}, "b": {"B": b""}, "l": {"L": []}, "n": {"NULL": True}, "y": {"BOOL": False}}}
    item["sets"] = {"L": [{"SS": ["b", "a"]}, {"NS": ["3", "-20"]}, {"BS": [b"\xff", b"\x00"]}]}
    if table.ttl is not None:
        item[table.ttl] = {"N": str(int(time.time()) + (86400 if number % 2 else -3600))}
    return item


def some_rows(family: str, count: int, chance: random.Random) -> Iterator[tuple[bytes, list[Mutation]]]:
    """Rows of binary keys with several columns and versions; the first has a large value and an empty one."""
    for number in range(count):
        key = chance.randbytes(16) + bytes([0, 255, number % 256])
        cells: list[Mutation] = [
            SetCell(family, qualifier, SECRET + chance.randbytes(20), timestamp_micros=version * 1000)
            for qualifier in (b"d", b"\x00\xff", b"")
            for version in range(1, 4)
        ]
        if number == 0:
            cells += [
                SetCell(family, b"large", chance.randbytes(3_000_000), timestamp_micros=1_700_000_000_000_000),
                SetCell(family, b"empty", b"", timestamp_micros=0),
            ]
        yield key, cells


def environment(**variables: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "FLATLINE_PYTHON": sys.executable,
        "COLUMNS": "200",
        "PULUMI_CONFIG_PASSPHRASE": "planted passphrase",
        **variables,
    }


def run(
    action: str, *words: str, status: int = 0, variables: Mapping[str, str] = NO_MORE, root: Path = REPOSITORY
) -> str:
    """What a command says on both channels. No content is ever in it."""
    done = forked.flatline(root, [action, *words], environment=environment(**variables))
    said = done.stdout + done.stderr
    assert done.returncode == status, said
    assert SECRET.decode() not in said
    assert "Traceback" not in said
    return said


@pytest.fixture(scope="module")
def archive(places: tuple[Place, Place], tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("exported")
    said = places[0].run("backup", "--to", str(to))
    assert re.search(r"table Messages +1200 ", said)
    assert re.search(r"Bigtable table group-logs +1300 ", said)
    assert re.search(r"bucket cdn0 +5 ", said)
    (folder,) = to.iterdir()
    for path in folder.rglob("*.sealed"):
        assert SECRET not in path.read_bytes()
    return folder


def living(items: Sequence[str], table: dynamodb.Table) -> list[str]:
    """Without those whose time to live has ended."""
    if table.ttl is None:
        return list(items)
    found = re.compile(rf"'{table.ttl}': \{{'N': '(\d+E\d+)'\}}")
    return [item for item in items if (match := found.search(item)) and float(match[1]) > time.time()]


def same(source: Place, target: Place) -> None:
    for table in dynamodb.TABLES.values():
        wanted = living(source.items(table.name), table)
        assert wanted
        assert target.items(table.name) == wanted, table.name
    for rows in bigtable.TABLES.values():
        assert target.rows(rows.name) == source.rows(rows.name), rows.name
    for role in BUCKETS:
        assert target.objects(role) == source.objects(role), role


def test_everything_arrives_and_is_verified(archive: Path, source: Place, target: Place) -> None:
    source.run("restore", "--verify", "--from", str(archive))
    said = target.run("restore", "--from", str(archive))
    same(source, target)
    assert re.search(r"table Messages +1200 +600 +600 +0 +0 +0 +0 +yes", said)
    for role in BUCKETS:
        assert re.search(rf"bucket {role} +5 +0 +5 +0 +0 +0 +0 +yes", said)
    assert "checksums are those of the archive" in said
    assert "checksums are those of the archive" in target.run("restore", "--verify", "--from", str(archive))
    again = target.run("restore", "--from", str(archive))
    assert re.search(r"table Messages +1200 +600 +0 +600 +0 +0 +0 +yes", again)


def test_a_killed_load_is_run_again(archive: Path, source: Place, target: Place) -> None:
    counting = target.tables()

    def begun() -> bool:
        return bool(counting.scan(TableName="Messages", Select="COUNT", Limit=1)["Count"])

    words = [sys.executable, "flatline", "restore", "--from", str(archive), *target.options()]
    with subprocess.Popen(
        words, cwd=REPOSITORY, env=environment(**target.keys()), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        wait_until(lambda: begun() or process.poll() is not None, 120, "a beginning")
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert 0 < len(target.items("Messages")) < MESSAGES // 2
    assert "Messages" in target.run("restore", "--verify", "--from", str(archive), status=1)
    target.run("restore", "--from", str(archive))
    same(source, target)


def test_what_differs_is_not_overwritten(archive: Path, source: Place, target: Place) -> None:
    table = dynamodb.TABLES["profiles.tableName"]
    (item, *_) = source.tables().scan(TableName=table.name, Limit=1)["Items"]
    changed = {**item, "data": {"B": b"another"}}
    target.tables().put_item(TableName=table.name, Item=changed)
    for option in ([], ["--into-non-empty"]):
        said = target.run("restore", "--from", str(archive), *option, status=1)
        assert "Profiles (1 that differ); nothing was written" in said
    assert target.tables().scan(TableName=table.name)["Items"] == [changed]
    assert target.items("Messages") == []
    with _bigtable(NAMES, target.emulator.address) as (data, _):
        (key, cells), *_ = source.rows("groups")
        data.get_table(INSTANCE, "groups").bulk_mutate_rows(
            [RowMutationEntry(key, [SetCell(cells[0][0], cells[0][1], b"another", timestamp_micros=cells[0][2])])]
        )
    assert "groups (1 that differ)" in target.run("restore", "--from", str(archive), status=1)


def test_other_records_stay(archive: Path, source: Place, target: Place) -> None:
    target.tables().put_item(TableName="RemoteConfig", Item={"N": {"S": "own"}})
    said = target.run("restore", "--from", str(archive), status=1)
    assert "RemoteConfig (1 not of this archive); nothing was written" in said
    target.run("restore", "--from", str(archive), "--into-non-empty")
    assert len(target.items("RemoteConfig")) == 8
    assert "not as in the archive: RemoteConfig" in target.run("restore", "--verify", "--from", str(archive), status=1)
    target.run("restore", "--verify", "--from", str(archive), "--into-non-empty")


def test_a_verification_finds_one_changed_byte(archive: Path, target: Place) -> None:
    target.run("restore", "--from", str(archive))
    client = target.tables()
    (item, *_) = client.scan(TableName="Accounts", Limit=1)["Items"]
    data = item["data"]["B"]
    client.put_item(TableName="Accounts", Item={**item, "data": {"B": data[:-1] + bytes([data[-1] ^ 1])}})
    with _bigtable(NAMES, target.emulator.address) as (rows, _):
        (key, cells), *_ = target.rows("groups")
        family, qualifier, stamp, value = cells[-1]
        entry = RowMutationEntry(key, [SetCell(family, qualifier, value + b"x", timestamp_micros=stamp)])
        rows.get_table(INSTANCE, "groups").bulk_mutate_rows([entry])
    (name,) = list(target.objects("cdn0"))[:1]
    target.store.client().put_object(Bucket=BUCKETS["cdn0"], Key=name, Body=b"x", **KEPT)
    said = target.run("restore", "--verify", "--from", str(archive), status=1)
    assert "not as in the archive: Accounts, groups, cdn0" in said


def test_the_account_must_be_the_one_that_was_typed(archive: Path, source: Place, target: Place) -> None:
    keys = {"AWS_ENDPOINT_URL_STS": target.localstack.url}
    said = target.run("restore", "--from", str(archive), "--account", "123456789012", status=1, variables=keys)
    assert f"belong to account {ACCOUNT}, and the stack is in account 123456789012" in said
    assert target.items("Messages") == []
    target.run("restore", "--from", str(archive), "--account", ACCOUNT, variables=keys)
    same(source, target)


@pytest.mark.parametrize("whose", ["nobody's", "an owner's"])
def test_keys_that_the_object_store_refuses(archive: Path, target: Place, tmp_path: Path, whose: str) -> None:
    """Whether the secret is wrong, or opens one bucket of the two: nothing is written, and no archive is begun."""
    if whose == "nobody's":
        keys, refused = {**target.keys(), "AWS_SECRET_ACCESS_KEY": "planted-key"}, {*BUCKETS.values()}
    else:
        keys, refused = target.keys(OWNERS["pre-keys"]), {BUCKETS["cdn0"]}
    for action, *words in (
        ("restore", "--from", str(archive)),
        ("backup", "--to", str(tmp_path)),
    ):
        said = target.run(action, *words, status=1, variables=keys)
        assert set(re.findall(r"bucket (\S+): the server refuses the key pair", said)) == refused
        assert "planted-key" not in said
    assert list(tmp_path.iterdir()) == []
    assert target.items("Messages") == []
    assert [target.objects(role) for role in BUCKETS] == [{}, {}]


# Answers `get` with what is rendered, and forwards to the servers of the test.
KUBECTL = """\
#!{python}
import json, pathlib, sys, time
words = sys.argv[1:]
if "port-forward" in words:
    port = json.loads({ports!r})[words[-2]]
    print(f"Forwarding from 127.0.0.1:{{port}} -> 1", flush=True)
    time.sleep(600)
print(pathlib.Path({folder!r}, words[words.index("get") + 2]).read_text())
"""


def test_the_key_pair_is_that_of_the_cluster(archive: Path, source: Place, tmp_path: Path) -> None:
    """Without an address and without a key: the stores behind the cluster's Services are those of the archive."""
    rendered = stack("dev")
    deployment = rendered.get("Deployment", "object-store")
    secret = rendered.get("Secret", "object-store-accounts")
    data = {name: base64.b64encode(text.encode()).decode() for name, text in secret["stringData"].items()}
    (tmp_path / "object-store").write_text(json.dumps(deployment))
    (tmp_path / secret["metadata"]["name"]).write_text(json.dumps({"data": data}))
    ports = {
        "service/localstack": source.localstack.port,
        "service/object-store": source.store.port,
        "service/cbtemulator": int(source.emulator.address.rpartition(":")[2]),
    }
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL.format(python=sys.executable, ports=json.dumps(ports), folder=str(tmp_path)))
    kubectl.chmod(0o755)
    (tmp_path / "kubeconfig").write_text(kubeconfig({"mine": "https://127.0.0.1:9"}))
    words = ["--verify", "--from", str(archive), "--context", "mine"]
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "KUBECONFIG": str(tmp_path / "kubeconfig")}
    said = run("restore", *words, variables=variables)
    assert "checksums are those of the archive" in said
    assert source.store.secret() not in said


def test_tables_that_are_missing_are_all_told(archive: Path, target: Place) -> None:
    target.tables().delete_table(TableName="Keys")
    target.tables().delete_table(TableName="Profiles")
    try:
        said = target.run("restore", "--from", str(archive), status=1)
    finally:
        for path in ("ecKeys.tableName", "profiles.tableName"):
            target.tables().create_table(**create_table_request(dynamodb.TABLES[path]))
    assert "table Keys does not exist" in said
    assert "table Profiles does not exist" in said
    assert said.count("Bring the stack up first") == 1


def test_to_a_cloud_and_back(archive: Path, source: Place, target: Place, tmp_path: Path) -> None:
    """AWS is moto, with the names of a cloud stack. The archive of the way back is in a bucket of it."""
    checkout = Checkout.make(tmp_path, small=False)
    sealing = "migration/sealing.py"  # the archive is sealed as the repository does
    checkout.module(sealing).write_bytes((REPOSITORY / sealing).read_bytes())
    text = (REPOSITORY / "Pulumi.prod.yaml").read_text().replace("111122223333", MOTO_ACCOUNT)
    checkout.file("cloud").write_text(text)
    names = physical_names(load(stack_file.read(checkout.file("cloud"), str).config), {**BUCKETS})
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    aws = Aws(url)
    for path, table in dynamodb.TABLES.items():
        aws.client("dynamodb", CLOUD).create_table(**{**create_table_request(table), "TableName": names.tables[path]})
    target.make_rows(names.project, names.instance)
    for bucket in (*BUCKETS.values(), "archives"):
        aws.client("s3").create_bucket(Bucket=bucket)
    variables = {
        **{f"AWS_ENDPOINT_URL_{each}": url for each in ("STS", "S3")},
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    buckets = [word for role, name in BUCKETS.items() for word in (f"--{role}-bucket", name)]
    where = ["--stack", "cloud", "--dynamodb", url, "--s3", url, "--bigtable", target.emulator.address, *buckets]
    where += ["--parallel", "1"]  # moto divides no table with binary keys
    assert "checksums are those of the archive" in run(
        "restore", "--from", str(archive), *where, root=checkout.root, variables=variables
    )
    for key in ("cloud-20200101T000000Z/manifest.json.sealed", "other-20200101T000000Z/manifest.json.sealed"):
        aws.client("s3").put_object(Bucket="archives", Key=f"some/{key}", Body=b"")
    words = ("--to", "s3://archives/some", "--keep", "daily=1", *where)
    assert "s3://archives/some/cloud-" in run("backup", *words, root=checkout.root, variables=variables)
    keys = [each["Key"] for each in aws.client("s3").list_objects_v2(Bucket="archives")["Contents"]]
    name, other = sorted({key.split("/")[1] for key in keys})
    assert (name[:8], other) == ("cloud-20", "other-20200101T000000Z")
    assert name > "cloud-2026"
    aws.client("s3").delete_object(Bucket="archives", Key=f"some/{other}/manifest.json.sealed")
    place = f"s3://archives/some/{name}"
    said = run("restore", "--from", "s3://archives/some", *where, root=checkout.root, variables=variables, status=1)
    assert f"Name one of those there, such as {place}" in said
    target.emulator.stop()
    target.emulator.start()
    target.make_rows()
    endpoint = {"AWS_ENDPOINT_URL_S3": url}
    target.run("restore", "--from", place, variables=endpoint)
    same(source, target)
    aws.client("s3").delete_object(Bucket="archives", Key=f"some/{name}/manifest.json.sealed")
    assert "manifest.json.sealed is missing" in target.run("restore", "--from", place, variables=endpoint, status=1)
    server.stop()


def quiet(doing: str, collection: Collection, done: int, of: int | None) -> None:
    pass


@settings(max_examples=12, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(plain_items, min_size=1, max_size=25, unique_by=lambda item: (item["U"]["B"], item["D"]["N"])))
def test_any_items_go_through_dynamodb_as_they_are(
    places: tuple[Place, Place], tmp_path_factory: pytest.TempPathFactory, several: list[dict[str, Any]]
) -> None:
    client = places[0].tables()
    for name in ("any-source", "any-target"):
        if name in client.list_tables()["TableNames"]:
            client.delete_table(TableName=name)
        client.create_table(**{**create_table_request(PLAIN), "TableName": name})
    for item in several:
        client.put_item(TableName="any-source", Item=item)
    one, other = (DynamoTable(client, PLAIN, name, readers=4) for name in ("any-source", "any-target"))
    folder = tmp_path_factory.mktemp("any") / "archive"
    with written(folder) as writer:
        transfer.export([one], writer, quiet, live=False)
    (outcome,) = transfer.load([other], opened(folder), time.time(), quiet, into_non_empty=False)
    assert (outcome.verified, outcome.written) == (True, len(several))
    assert places[0].items("any-target") == places[0].items("any-source")
    assert places[0].items("any-source") == sorted(repr(sorted_sets(item)) for item in several)


def test_a_reach_hides_its_credentials() -> None:
    reach = Connection(
        region=SOURCE, credentials={"AWS_SECRET_ACCESS_KEY": "planted"}, at=Addresses(dynamodb="http://h")
    )
    assert "planted" not in repr(reach)
