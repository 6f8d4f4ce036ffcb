"""The object store as it is rendered, and the seed beside it: what is refused, and what no crash takes away."""

import configparser
import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from components.versitygw import ACCOUNTS_FILE, OWNERS, PORT, ROOT, ROOT_SECRET_FILE
from config.images import IMAGES
from config.schema.dynamodb import TABLES
from config.schema.objects import BUCKETS
from tests.graph.stack import Stack, load
from tests.integration.rendered_pod import Pods, RenderedPod
from tests.lab.fetch import skip_if_missing
from tests.lab.process import wait_until
from tests.lab.versitygw import s3_client, versitygw_version

pytestmark = pytest.mark.integration

PAGES, CDN0 = BUCKETS["pre-keys"], BUCKETS["cdn0"]
TABLE = TABLES["pagedPqKeys.tableName"].name
LOCALSTACK_PORT, START_SECONDS = 4566, 120
WRITES, WRITERS, BEFORE_THE_CRASH = 200, 4, 60
KEYS_OF_A_PAGE = 3


@dataclass
class Stores:
    """Both pods, which a crash replaces."""

    stack: Stack
    store: RenderedPod
    localstack: RenderedPod

    def secret(self, account: str) -> str:
        """What the store's own files say."""
        if account == ROOT:
            return self.stack.file("object-store", ROOT_SECRET_FILE)
        accounts = json.loads(self.stack.file("object-store", ACCOUNTS_FILE))["accessAccounts"]
        return str(accounts[account]["secret"])

    def s3(self, account: str = ROOT, secret: str | None = None) -> Any:
        return s3_client(f"http://{self.store.address}:{PORT}", account, secret or self.secret(account))

    def whisper(self) -> tuple[Any, Any]:
        """Clients for pages and for tables, by what Whisper's own container is given."""
        (container,) = (c for c in self.stack.pod("whisper").spec["containers"] if c["name"] == "whisper")
        env = {each["name"]: each["value"] for each in container["env"]}
        settings = yaml.safe_load(self.stack.file("whisper", "/usr/share/signal/dev.yml"))
        endpoint = settings["pagedSingleUseKEMPreKeyStore"]["endpointOverride"]
        assert endpoint == f"http://{next(self.store.hostnames())}:{PORT}"
        keys = configparser.ConfigParser()
        keys.read_string(self.stack.file("whisper", env["AWS_SHARED_CREDENTIALS_FILE"]))
        pair = (keys["default"]["aws_access_key_id"], keys["default"]["aws_secret_access_key"])
        return s3_client(f"http://{self.store.address}:{PORT}", *pair), self.dynamodb(*pair)

    def dynamodb(self, access_key_id: str, secret_access_key: str) -> Any:
        return Session().create_client(
            "dynamodb",
            region_name="us-east-1",
            endpoint_url=f"http://{self.localstack.address}:{LOCALSTACK_PORT}",
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            config=Config(retries={"total_max_attempts": 1}, read_timeout=20),
        )

    def crash(self) -> None:
        """SIGKILL for both, and the pods that come after them."""
        self.localstack.kill()
        self.store.kill()
        self.store = self.store.successor().start()
        self.store.wait_ready()
        self.localstack = self.localstack.successor()
        self.start_localstack()

    def start_localstack(self) -> None:
        status, text = self.localstack.run("wait")
        assert status == 0, text
        with skip_if_missing():
            self.localstack.start()
        self.localstack.wait_ready(seconds=START_SECONDS)

    def rows(self) -> list[dict[str, Any]]:
        pages = self.whisper()[1].get_paginator("scan").paginate(TableName=TABLE, ConsistentRead=True)
        return [row for page in pages for row in page["Items"]]

    def listed(self) -> set[str]:
        """The pages that rows name."""
        return {
            f"{uuid.UUID(bytes=r['U']['B'])}/{r['D']['N']}/{uuid.UUID(bytes=r['ID']['B'])}"
            for r in self.rows()
            if "ID" in r
        }

    def objects(self, bucket: str) -> set[str]:
        pages = self.s3().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {each["Key"] for page in pages for each in page.get("Contents", ())}


@dataclass(frozen=True)
class Page:
    """A page of pre-keys, as Whisper stores it (KEMPreKeyPage.java, PagedSingleUseKEMPreKeyStore.java)."""

    account: uuid.UUID = field(default_factory=uuid.uuid4)
    id: uuid.UUID = field(default_factory=uuid.uuid4)

    @property
    def key(self) -> str:
        return f"{self.account}/1/{self.id}"

    @property
    def body(self) -> bytes:
        return self.id.bytes[:8] + self.account.bytes * (1641 * KEYS_OF_A_PAGE // 16 + 1)

    @property
    def row(self) -> dict[str, Any]:
        numbers = {"D": "1", "I": "0", "N": str(KEYS_OF_A_PAGE), "F": "1"}
        return {
            "U": {"B": self.account.bytes},
            "ID": {"B": self.id.bytes},
            **{name: {"N": n} for name, n in numbers.items()},
        }


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory, worker_number: int) -> Iterator[Stores]:
    with skip_if_missing():
        pods = Pods(tmp_path_factory.mktemp("object-store") / "pods", load("dev"), worker_number)
    with pods:
        store = pods.pod("object-store")
        with skip_if_missing():
            store.start()
        store.wait_ready()
        made = Stores(pods.stack, store, pods.pod("localstack"))
        made.start_localstack()
        yield made


def refusal(ask: Any, **request: Any) -> str:
    with pytest.raises(ClientError) as refused:
        ask(**request)
    return str(refused.value.response["Error"]["Code"])


def test_the_release_that_is_tested_is_the_one_that_is_deployed() -> None:
    assert IMAGES["versitygw"].tag == versitygw_version()


def test_an_owner_may_use_its_bucket_and_nobody_elses(stores: Stores) -> None:
    assert stores.s3().list_buckets()["Buckets"]
    for role, owner in OWNERS.items():
        own, other = (PAGES, CDN0) if role == "pre-keys" else (CDN0, PAGES)
        client = stores.s3(owner)
        client.put_object(Bucket=own, Key="a/1/b", Body=b"own", ContentType="image/webp")
        assert client.get_object(Bucket=own, Key="a/1/b", Range="bytes=1-")["Body"].read() == b"wn"
        assert [each["Name"] for each in client.list_buckets()["Buckets"]] == [own]
        stores.s3().put_object(Bucket=other, Key="x", Body=b"of somebody else")
        for ask, request in (
            (client.put_object, {"Key": "y", "Body": b""}),
            (client.get_object, {"Key": "x"}),
            (client.delete_object, {"Key": "x"}),
            (client.list_objects_v2, {}),
            (client.put_bucket_policy, {"Policy": "{}"}),
        ):
            assert refusal(ask, Bucket=other, **request) == "AccessDenied"
        assert refusal(client.create_bucket, Bucket="another") == "AccessDenied"
        client.delete_object(Bucket=own, Key="a/1/b")
        stores.s3().delete_object(Bucket=other, Key="x")


def test_wrong_keys_and_unsigned_requests_are_refused(stores: Stores) -> None:
    asked = {"Bucket": CDN0, "Key": "profiles/x"}
    stores.s3().put_object(**asked, Body=b"an avatar")
    for account, code in (
        (OWNERS["cdn0"], "SignatureDoesNotMatch"),
        (ROOT, "SignatureDoesNotMatch"),
        ("test", "InvalidAccessKeyId"),
    ):
        assert refusal(stores.s3(account, "wrong-secret-key").get_object, **asked) == code
        assert refusal(stores.s3(account, "wrong-secret-key").put_object, **asked, Body=b"another") == code
    own = "/profiles/x"
    for method, path in (("GET", own), ("PUT", own), ("DELETE", own), ("GET", "?list-type=2"), ("POST", "?delete")):
        url = f"http://{stores.store.address}:{PORT}/{CDN0}{path}"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(url, b"" if method != "GET" else None, method=method))
        assert refused.value.code == 403
    assert stores.s3().get_object(**asked)["Body"].read() == b"an avatar"
    stores.s3().delete_object(**asked)


def test_accounts_are_not_managed_from_outside_of_the_pod(stores: Stores) -> None:
    """The administrators' interface is on the pod's own loopback interface, and the accounts' file is read-only."""
    for port in (PORT, PORT + 1):
        admin = ["--access", ROOT, "--secret", stores.secret(ROOT), "--endpoint-url"]
        url = f"http://{stores.store.address}:{port}"
        done = stores.store.containers["object-store"].execute(["versitygw", "admin", *admin, url, "list-users"])
        assert done.returncode != 0, done.stdout
    done = stores.store.containers["object-store"].execute(["sh", "-c", f"echo '{{}}' >{ACCOUNTS_FILE}"])
    assert done.returncode != 0


def test_no_crash_takes_what_was_acknowledged(stores: Stores) -> None:
    """Both servers are killed in the middle of 200 writes, each a page, its row and an avatar, in Whisper's order."""
    pages = [Page() for _ in range(WRITES)]
    stored: list[Page] = []
    complete: list[Page] = []
    crashed = Event()
    objects, tables = stores.whisper()

    def write(page: Page) -> None:
        if crashed.is_set():
            return
        try:
            objects.put_object(Bucket=PAGES, Key=page.key, Body=page.body)
            stored.append(page)
            tables.put_item(TableName=TABLE, Item=page.row)
            complete.append(page)
        except (BotoCoreError, ClientError):
            crashed.set()

    with ThreadPoolExecutor(WRITERS) as pool:
        writes = [pool.submit(write, page) for page in pages]
        wait_until(lambda: len(complete) >= BEFORE_THE_CRASH, 60, "writes")
        stores.store.kill()
        stores.localstack.kill()
        for each in writes:
            each.result()
    assert crashed.is_set()
    assert BEFORE_THE_CRASH <= len(complete) <= len(stored) < WRITES
    stores.crash()

    owner = stores.s3(OWNERS["pre-keys"])
    for page in stored:
        assert owner.get_object(Bucket=PAGES, Key=page.key)["Body"].read() == page.body
    listed = stores.listed()
    assert {page.key for page in complete} <= listed
    assert listed <= stores.objects(PAGES)
    assert "removed" not in seed_report(stores)


def seed_report(stores: Stores) -> str:
    """What the seed of the newest pod says about pages."""
    lines = stores.localstack.text("localstack").splitlines()
    return "\n".join(line for line in lines if '"event": "seed"' in line and TABLE in line)


def test_rows_of_an_earlier_release_lose_their_pages_and_go(stores: Stores) -> None:
    """LocalStack had the pages in memory, and the tables in an account that the new key pair must find."""
    lost, kept, short, moved = Page(), Page(), Page(), Page()
    owner, before = stores.s3(OWNERS["pre-keys"]), stores.dynamodb("test", "test")
    owner.put_object(Bucket=PAGES, Key=kept.key, Body=kept.body)
    owner.put_object(Bucket=PAGES, Key=short.key, Body=b"")  # as a power cut may leave it
    owner.put_object(Bucket=PAGES, Key=moved.key.replace("/1/", "/2/"), Body=moved.body)
    of_another_form = {"U": {"B": b"no account"}, "D": {"N": "1"}}
    for row in (lost.row, kept.row, short.row, moved.row, of_another_form):
        before.put_item(TableName=TABLE, Item=row)
    listed = stores.listed()
    count = len(stores.rows())
    assert {lost.key, kept.key, short.key, moved.key} <= listed

    stores.crash()

    assert stores.listed() == listed - {lost.key, short.key, moved.key}
    assert len(stores.rows()) == count - 3, "a row that is not understood stays"
    report = seed_report(stores)
    assert f"removed 3 rows of table {TABLE}" in report
    assert str(lost.account) not in stores.localstack.text("localstack")


def test_a_store_that_is_gone_for_good_names_its_problem(tmp_path: Path, worker_number: int) -> None:
    """Whatever keeps it from having its buckets is an error of its container, not a server without buckets."""
    with skip_if_missing():
        pods = Pods(tmp_path / "pods", load("dev"), worker_number)
    with pods:
        pod = pods.pod("object-store")
        folder = pod.disk("objects")
        (folder / "buckets").mkdir()
        (folder / "buckets" / PAGES).write_text("a file, where the bucket belongs")
        with skip_if_missing():
            status, text = pod.run("object-store")
        assert status != 0
        assert PAGES in text
