"""A stand-in of Whisper: its server, its message persister and its clean-up commands.

At its start it reads its files, and every store, as Whisper does: all tables of DynamoDB, the dynamic configuration,
the bucket of pre-key pages, each Redis. Then it keeps entries for tests, in every store at once.
"""

import json
import os
import re
import socket
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import yaml

from tests.lab.services import memory, registration, stores, web

REST = {"server": 385, "message-persister-service": 260}
"""MiB outside of the heap, measured with the real service by its command."""
BLOCKS = (
    *("apn", "appleDeviceCheck", "badges", "cacheCluster", "cdn", "dynamicConfig"),
    *("dynamoDbTables", "fcm", "linkDevice", "messageCache", "metrics", "pagedSingleUseKEMPreKeyStore", "pubsub"),
    *("pushSchedulerCluster", "rateLimitersCluster", "registrationService", "server", "storageService", "turn", "tus"),
    *("unidentifiedDelivery", "zkConfig"),
)
"""Of the configuration, those that this program or its real counterpart uses at its start."""
CLUSTERS = ("cacheCluster", "messageCache", "pushSchedulerCluster", "rateLimitersCluster")
SECRET = "secret://"
NOBODY = "A" * 22
"""An avatar that there is not, as its key is written."""


def main(arguments: list[str], properties: dict[str, str], heap: int) -> None:
    """The server and the persister run until SIGTERM, other commands until they are done."""
    command, path = arguments[0], arguments[-1]
    settings = _resolved(
        yaml.safe_load(Path(path).read_text()), yaml.safe_load(Path(properties["secrets.bundle.filename"]).read_text())
    )
    if missing := [each for each in BLOCKS if not settings.get(each)]:
        raise SystemExit(f"{path}: may not be null: {', '.join(missing)}")
    stored = Stores(settings)
    stored.check()
    print("all stores answer", flush=True)
    if command not in REST:
        return
    memory.start(heap, REST[command])
    requests = stored.requests if command == "server" else _nothing
    web.serve({_port(settings, "applicationConnectors"): requests, _port(settings, "adminConnectors"): _health})


class Stores:
    """All that the configuration names."""

    def __init__(self, settings: dict[str, Any]) -> None:
        region, key = os.environ["AWS_REGION"], stores.shared_credentials()
        pages, cdn = settings["pagedSingleUseKEMPreKeyStore"], settings["cdn"]
        # Workers take the address of S3 from the environment alone.
        url = os.environ.get("AWS_ENDPOINT_URL_S3", pages["endpointOverride"])
        self._settings = settings
        self._tables = sorted(set(_table_names(settings["dynamoDbTables"])))
        self._aws = stores.Aws(os.environ["AWS_ENDPOINT_OVERRIDE"], key, region)
        self._pages, self._bucket = stores.Aws(url, key, pages["region"]), pages["bucket"]
        given = (cdn["credentials"]["accessKeyId"], cdn["credentials"]["secretAccessKey"])
        self._cdn, self._cdn_bucket = stores.Aws(cdn["endpointOverride"], given, cdn["region"]), cdn["bucket"]
        clusters = [settings[each].get("cluster", settings[each]) for each in CLUSTERS]
        self._clusters = [stores.RedisCluster(each["configurationUri"]) for each in clusters]

    def check(self) -> None:
        """Raises an error where a store does not answer, or lacks what is configured."""
        for name in self._tables:
            found = self._aws.dynamodb("DescribeTable", {"TableName": name})
            if found["Table"]["TableStatus"] != "ACTIVE":
                raise stores.RefusedError(f"table {name} is {found['Table']['TableStatus']}")
        dynamic = self._settings["dynamicConfig"]
        status, body = self._aws.s3("GET", f"/{dynamic['s3Bucket']}/{dynamic['objectKey']}")
        if status != 200 or not isinstance(yaml.safe_load(body), dict):
            raise stores.RefusedError(f"dynamic configuration: {status} {body[:200]!r}")
        status, body = self._pages.s3("GET", f"/{self._bucket}/nothing")
        if status != 404 or b"NoSuchKey" not in body:
            raise stores.RefusedError(f"bucket of pre-key pages: {status} {body[:200]!r}")
        for cluster in self._clusters:
            cluster.check()
        self._pubsub().close()
        self._measure()

    def requests(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> web.Answer:
        """/v1/lab/edges: every server that is asked only now and then. /v1/lab/entry/KEY: an entry of a test."""
        if path == "/v1/config":
            return 200, b"{}"
        if path == "/v1/lab/edges":
            return 200, json.dumps(self._edges()).encode()
        if not (found := re.fullmatch(r"/v1/lab/entry/([a-z0-9-]+)", path)):
            return 404, b""
        if method == "PUT":
            self._write(found[1])
            return 200, b""
        return 200, json.dumps(self._read(found[1])).encode()

    def _write(self, key: str) -> None:
        self._aws.dynamodb("PutItem", {"TableName": self._table(), "Item": {"N": {"S": key}}})
        self._clusters[1].call("SET", key, key)
        status, body = self._pages.s3("PUT", f"/{self._bucket}/{key}", key.encode())
        if status != 200:
            raise stores.RefusedError(f"PUT of a page: {status} {body[:200]!r}")

    def _read(self, key: str) -> dict[str, bool]:
        found = self._aws.dynamodb("GetItem", {"TableName": self._table(), "Key": {"N": {"S": key}}})
        return {
            "dynamodb": "Item" in found,
            "redis": self._clusters[1].call("GET", key) == key,
            "s3": self._pages.s3("GET", f"/{self._bucket}/{key}") == (200, key.encode()),
        }

    def _table(self) -> str:
        return str(self._settings["dynamoDbTables"]["remoteConfig"]["tableName"])

    def _edges(self) -> dict[str, bool]:
        self._measure()
        where = self._settings["registrationService"]
        with grpc.insecure_channel(f"{where['host']}:{where['port']}") as channel:
            ask = channel.unary_unary(f"/{registration.SERVICE}/GetSessionMetadata")
            answer = ask(registration.NO_SESSION, timeout=stores.SECONDS)
        status, _ = self._cdn.s3("DELETE", f"/{self._cdn_bucket}/profiles/{NOBODY}")
        return {"registration": answer == registration.NOT_FOUND, "cdn0": status == 204}

    def _measure(self) -> None:
        transport = self._settings["metrics"]["reporters"][0]["udpTransport"]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"lab.requests:1|c", (transport["statsdHost"], transport["port"]))

    def _pubsub(self) -> stores.Redis:
        parts = urllib.parse.urlsplit(self._settings["pubsub"]["uri"])
        found = stores.Redis(parts.hostname or "", parts.port or 0, parts.password or "")
        found.call("SUBSCRIBE", "lab")
        return found


def _health(method: str, path: str, body: bytes, headers: Mapping[str, str]) -> web.Answer:
    return (200, b"{}") if path == "/healthcheck" else (404, b"")


def _nothing(method: str, path: str, body: bytes, headers: Mapping[str, str]) -> web.Answer:
    return 404, b""


def _resolved(found: Any, bundle: dict[str, str]) -> Any:
    """The configuration with its secrets. Raises SystemExit for one that the bundle lacks, or that is empty."""
    if isinstance(found, dict):
        return {key: _resolved(each, bundle) for key, each in found.items()}
    if isinstance(found, list):
        return [_resolved(each, bundle) for each in found]
    if isinstance(found, str) and found.startswith(SECRET):
        if not bundle.get(found.removeprefix(SECRET)):
            raise SystemExit(f"the bundle of secrets has no {found.removeprefix(SECRET)}")
        return bundle[found.removeprefix(SECRET)]
    return found


def _table_names(tables: Any) -> list[str]:
    if not isinstance(tables, dict):
        return []
    own = [str(each) for key, each in tables.items() if key.lower().endswith("tablename")]
    return own + [name for each in tables.values() for name in _table_names(each)]


def _port(settings: dict[str, Any], kind: str) -> int:
    return int(settings["server"][kind][0]["port"])
