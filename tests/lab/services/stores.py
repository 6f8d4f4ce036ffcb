"""Clients of the stores, as small as can be: AWS' protocols with signature version 4, Redis Cluster, Bigtable."""

import configparser
import datetime
import hashlib
import hmac
import http.client
import json
import os
import socket
import threading
import time
import urllib.parse
from pathlib import Path
from typing import Any

import grpc

SECONDS = 10
SLOTS = 16384
ATTEMPTS, PAUSE_SECONDS = 20, 0.25
"""Of a command for Redis, while nodes restart."""
AWS_ATTEMPTS = 3
"""Of a request to AWS whose connection fails, as AWS SDKs do. A connection can reach the address of a Pod that is gone:
connection tracking keeps what it knew of the same ports for two minutes."""


class RefusedError(Exception):
    """A store answered with a refusal."""


# ---- AWS ------------------------------------------------------------------------------------------------------------


class Aws:
    """One endpoint and key pair."""

    def __init__(self, url: str, key: tuple[str, str], region: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        (self._id, self._secret), self._region = key, region

    def dynamodb(self, operation: str, request: Any) -> Any:
        """An operation of DynamoDB. Raises `RefusedError`."""
        headers = {"x-amz-target": f"DynamoDB_20120810.{operation}", "content-type": "application/x-amz-json-1.0"}
        status, body = self._request("dynamodb", "POST", "/", json.dumps(request).encode(), headers)
        if status != 200:
            raise RefusedError(f"{operation} {request}: {status} {body[:300]!r}")
        return json.loads(body)

    def s3(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """A request for "/<bucket>/<key>"."""
        return self._request("s3", method, path, body, {})

    def _request(self, service: str, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        now = datetime.datetime.now(datetime.UTC)
        digest = hashlib.sha256(body).hexdigest()
        signed = {
            **headers,
            "host": f"{self._host}:{self._port}",
            "x-amz-content-sha256": digest,
            "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
        }
        names = ";".join(sorted(signed))
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        canonical = f"{method}\n{path}\n\n{lines}\n{names}\n{digest}"
        scope = f"{now:%Y%m%d}/{self._region}/{service}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{signed['x-amz-date']}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{self._secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.new(key, text.encode(), "sha256").hexdigest()
        signed["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._id}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        for left in reversed(range(AWS_ATTEMPTS)):
            connection = http.client.HTTPConnection(self._host, self._port, timeout=SECONDS)
            try:
                connection.request(method, path, body, signed)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except OSError as failure:
                if isinstance(failure, TimeoutError) or not left:
                    raise
                time.sleep(PAUSE_SECONDS)
            finally:
                connection.close()
        raise AssertionError("not reached")


def shared_credentials() -> tuple[str, str]:
    """The key pair of the file that AWS_SHARED_CREDENTIALS_FILE names. Raises an error where it lacks one."""
    path = Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"])
    found = configparser.ConfigParser(interpolation=None)
    found.read_string(path.read_text())
    return found["default"]["aws_access_key_id"], found["default"]["aws_secret_access_key"]


# ---- Redis ----------------------------------------------------------------------------------------------------------


class Redis:
    """A connection that is authenticated."""

    def __init__(self, host: str, port: int, password: str) -> None:
        self._socket = socket.create_connection((host, port), timeout=5)
        self._file = self._socket.makefile("rb")
        self.call("AUTH", password)

    def call(self, *words: str) -> Any:
        """The answer to a command. Raises `RefusedError`, or OSError where the connection ends."""
        parts = [word.encode() for word in words]
        self._socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(each), each) for each in parts))
        return self._answer()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def _answer(self) -> Any:
        line = self._file.readline()
        if not line:
            raise ConnectionResetError("closed by Redis")
        kind, text = line[:1], line[1:-2].decode()
        if kind == b"-":
            raise RefusedError(text)
        if kind == b"$":
            return None if text == "-1" else self._file.read(int(text) + 2)[:-2].decode()
        if kind == b"*":
            return [self._answer() for _ in range(int(text))]
        return text


class RedisCluster:
    """Commands on keys, sent to the node that has them; a lost node is looked for again, for 5 s."""

    def __init__(self, uri: str) -> None:
        parts = urllib.parse.urlsplit(uri)
        self._start = (parts.hostname or "", parts.port or 6379)
        self._password = parts.password or ""
        self._lock = threading.Lock()
        self._nodes: dict[int, tuple[str, int]] = {}
        self._known: dict[tuple[str, int], Redis] = {}

    def check(self) -> None:
        """Raises `RefusedError` unless every slot has a node."""
        node = Redis(*self._start, self._password)
        ranges = node.call("CLUSTER", "SLOTS")
        node.close()
        if sum(last - first + 1 for first, last in ((int(each[0]), int(each[1])) for each in ranges)) != SLOTS:
            raise RefusedError(f"slots without a node: {ranges}")

    def call(self, command: str, key: str, *words: str) -> Any:
        """The answer of the key's node. Raises OSError where none answers."""
        with self._lock:
            for _ in range(ATTEMPTS):
                where = self._nodes.get(_slot(key), self._start)
                try:
                    if where not in self._known:
                        self._known[where] = Redis(*where, self._password)
                    return self._known[where].call(command, key, *words)
                except RefusedError as refusal:
                    kind, *rest = str(refusal).split()
                    if kind not in ("MOVED", "CLUSTERDOWN", "LOADING"):
                        raise
                    if kind == "MOVED":
                        host, port = rest[1].rsplit(":", 1)
                        self._nodes[_slot(key)] = (host or where[0], int(port))
                        continue
                except OSError:
                    self._known.pop(where, None)
                    self._nodes.clear()
                time.sleep(PAUSE_SECONDS)
        raise OSError(f"no node answers for {key}")


def _slot(key: str) -> int:
    crc = 0
    for byte in key.encode():
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021) & 0xFFFF if crc & 0x8000 else crc << 1 & 0xFFFF
    return crc % SLOTS


# ---- Bigtable -------------------------------------------------------------------------------------------------------


class Bigtable:
    """One instance behind an emulator. Messages of google.bigtable.v2 are written here by hand."""

    def __init__(self, host: str, project: str, instance: str) -> None:
        self._channel = grpc.insecure_channel(host)
        self._tables = f"projects/{project}/instances/{instance}/tables"

    def read(self, table: str, row: str) -> None:
        """Reads a row that need not be there. Raises grpc.RpcError where there is no such table."""
        request = _field(1, f"{self._tables}/{table}") + _field(2, _field(1, row))
        list(self._channel.unary_stream("/google.bigtable.v2.Bigtable/ReadRows")(request, timeout=SECONDS))


def _field(number: int, content: str | bytes) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    size, length = bytearray(), len(data)
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([number << 3 | 2, *size, length]) + data
