"""`calling_frontend` and `calling_backend`: stand-ins with the arguments, ports and messages of the real ones.

The frontend verifies tokens, keeps rooms in the table, and talks to the backend that the room names; the backend lets
clients in and answers those whom it let in at its media ports. There is no media. An argument that the real programs do
not know, or do not get, ends them.
"""

import argparse
import base64
import binascii
import hashlib
import hmac
import json
import secrets
import socket
import struct
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from tests.lab.services.web import Answer, hold_signal, serve

SIGNALLING = 8080
"""In the real frontend's code."""

MEMBER_SECONDS = 30 * 3600
COOKIE = bytes.fromhex("2112a442")
USERNAME, MESSAGE_INTEGRITY, FINGERPRINT = 0x0006, 0x0008, 0x8028


def _parser(program: str, required: str, optional: str, repeated: str = "") -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(program, allow_abbrev=False)
    for name in (required + optional).split():
        action = "append" if name in repeated.split() else "store"
        parser.add_argument(f"--{name}", required=name in required.split(), action=action)
    return parser


FRONTEND = _parser(
    "calling_frontend",
    "region authentication-key zkparams version max-clients-per-call cleanup-interval-ms regional-url-template "
    "storage-table storage-region calling-server-url ",
    "server-ip server-port internal-api-ip internal-api-port storage-endpoint metrics-datadog-host",
)
BACKEND = _parser(
    "calling_backend",
    "ice-candidate-ip signaling-ip ",
    "binding-ip ice-candidate-port ice-candidate-port-tcp signaling-port approved-users-persistence-url "
    "remove-call-records-base-url datadog metrics-region",
    repeated="ice-candidate-ip",
)


def main() -> None:
    """Runs the one that is named until it is told to end."""
    hold_signal()
    name, *words = sys.argv[1:]
    if name == "frontend":
        Frontend(FRONTEND.parse_args(words)).serve()
    else:
        Backend(BACKEND.parse_args(words)).serve()


def asked(url: str, method: str = "GET", body: object = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Status and parsed answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        return error.code, None


class Frontend:
    """What clients ask, and the inner API."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._key = bytes.fromhex(options.authentication_key)
        assert (len(self._key), len(base64.b64decode(options.zkparams))) == (32, 385)

    def serve(self) -> None:
        """Until SIGTERM."""
        options = self._options
        _count(options.metrics_datadog_host)
        serve({int(options.server_port): self._public, int(options.internal_api_port): self._internal})

    def _internal(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        return (200, b"") if (method, path) == ("GET", "/health") else (404, b"")

    def _public(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        if (method, path) == ("GET", "/health"):
            return 200, b""
        if path != "/v2/conference/participants":
            return 503, b""
        member = self._member(headers.get("Authorization", ""))
        if member is None:
            return 401, b""
        user, group = member
        if method != "PUT":
            return (404, b"") if self._room(group) is None else (200, b"{}")
        wanted = json.loads(body)
        room = self._room(group) or self._new_room(user, group)
        status, answer = asked(
            f"http://{room['backendIp']['S']}:{SIGNALLING}/v1/call/{room['eraId']['S']}/client/{_demux()}",
            "POST",
            {
                "endpointId": user,
                "clientIceUfrag": wanted["iceUfrag"],
                "clientIcePwd": wanted["icePwd"],
                "clientDhePublicKey": wanted["dhePublicKey"],
            },
            {"Content-Type": "application/json"},
        )
        if status != 200:
            return 500, b""
        return 200, json.dumps(
            {
                "demuxId": 16,
                "port": answer["serverPort"],
                "portTcp": answer["serverPortTcp"],
                "ips": answer["serverIps"],
                "iceUfrag": answer["serverIceUfrag"],
                "icePwd": answer["serverIcePwd"],
                "dhePublicKey": answer["serverDhePublicKey"],
                "callCreator": room["creator"]["S"],
                "conferenceId": room["eraId"]["S"],
                "clientStatus": "active",
            }
        ).encode()

    def _member(self, authorization: str) -> tuple[str, str] | None:
        """User and group of a token that Storage has signed."""
        try:
            password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")[2]
            signed, _, signature = password.rpartition(":")
            version, user, group, moment, permission = signed.split(":")
        except ValueError:
            return None
        expected = hmac.digest(self._key, signed.encode(), "sha256")[:10].hex()
        fresh = time.time() < int(moment) + MEMBER_SECONDS
        right = hmac.compare_digest(expected, signature) and version == "2" and permission in ("0", "1")
        return (user, group) if right and fresh else None

    def _room(self, group: str) -> dict[str, dict[str, str]] | None:
        key = {"roomId": {"S": group}, "recordType": {"S": "ActiveCall"}}
        found: dict[str, dict[str, str]] | None = self._table("GetItem", {"Key": key, "ConsistentRead": True}).get(
            "Item"
        )
        return found

    def _new_room(self, user: str, group: str) -> dict[str, dict[str, str]]:
        status, info = asked(f"{self._options.calling_server_url}/v1/info")
        assert status == 200
        room = {
            "roomId": {"S": group},
            "recordType": {"S": "ActiveCall"},
            "eraId": {"S": secrets.token_hex(16)},
            "backendIp": {"S": info["directAccessIp"]},
            "region": {"S": self._options.region},
            "creator": {"S": user},
        }
        self._table("PutItem", {"Item": room})
        # the cleaner's question, which needs the index
        of_region = {":region": {"S": self._options.region}}
        condition = {"KeyConditionExpression": "#region = :region", "ExpressionAttributeNames": {"#region": "region"}}
        found = self._table(
            "Query", {"IndexName": "region-index", "ExpressionAttributeValues": of_region, **condition}
        )["Items"]
        assert any(each["roomId"] == room["roomId"] and each["creator"] == room["creator"] for each in found)
        return room

    def _table(self, operation: str, request: dict[str, Any]) -> Any:
        """The answer of DynamoDB, with the credentials that the real one has in its code for an endpoint of its own."""
        region = self._options.storage_region
        scope = f"Credential=DummyAccessKey/20260101/{region}/dynamodb/aws4_request"
        headers = {
            "X-Amz-Target": f"DynamoDB_20120810.{operation}",
            "Content-Type": "application/x-amz-json-1.0",
            "Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature={'0' * 64}",
        }
        request = {"TableName": self._options.storage_table, **request}
        status, answer = asked(self._options.storage_endpoint, "POST", request, headers)
        assert status == 200, f"{operation}: {status}"
        return answer


def _demux() -> int:
    return secrets.randbelow(1 << 28) << 4


class Backend:
    """Signalling and media."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        socket.inet_aton(options.signaling_ip)
        self.media = Media(options.binding_ip, int(options.ice_candidate_port), int(options.ice_candidate_port_tcp))

    def serve(self) -> None:
        """Until SIGTERM."""
        self.media.start()
        _count(self._options.datadog)
        serve({int(self._options.signaling_port): self._signalling})

    def _signalling(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        if (method, path) == ("GET", "/health"):
            return 200, json.dumps({"callCount": 0, "clientCount": 0, "cpuIdlePct": 100}).encode()
        if (method, path) == ("GET", "/v1/info"):
            return 200, json.dumps({"directAccessIp": self._options.signaling_ip}).encode()
        if method == "POST" and path.startswith("/v1/call/"):
            return self._join(json.loads(body))
        return 404, b""

    def _join(self, wanted: dict[str, str]) -> Answer:
        if len(bytes.fromhex(wanted["clientDhePublicKey"])) != 32 or not wanted["endpointId"]:
            return 400, b""
        records = self._options.remove_call_records_base_url.removesuffix("/v2/conference")
        if asked(f"{records}/health")[0] != 200:
            return 500, b""
        ufrag, password = self.media.let_in(wanted["clientIceUfrag"])
        return 200, json.dumps(
            {
                "serverIps": self._options.ice_candidate_ip,
                "serverPort": int(self._options.ice_candidate_port),
                "serverPortTcp": int(self._options.ice_candidate_port_tcp),
                "serverIceUfrag": ufrag,
                "serverIcePwd": password,
                "serverDhePublicKey": secrets.token_hex(32),
                "clientStatus": "active",
            }
        ).encode()


class Media:
    """The media ports: whoever was let in is answered, and nobody else."""

    def __init__(self, address: str, udp: int, tcp: int) -> None:
        self._passwords: dict[bytes, bytes] = {}
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.datagrams = socket.socket(family, socket.SOCK_DGRAM)
        self.datagrams.bind((address, udp))
        self.listener = socket.create_server((address, tcp), family=family)

    def let_in(self, client: str) -> tuple[str, str]:
        """The server's name and password for a client."""
        ufrag, password = secrets.token_hex(2), secrets.token_hex(16)
        self._passwords[f"{ufrag}:{client}".encode()] = password.encode()
        return ufrag, password

    def start(self) -> None:
        """Serves in threads."""
        for work in (self._serve_datagrams, self._serve_connections):
            threading.Thread(target=work, daemon=True).start()

    def _serve_datagrams(self) -> None:
        while True:
            request, sender = self.datagrams.recvfrom(2048)
            if answer := self.answer(request):
                self.datagrams.sendto(answer, sender)

    def _serve_connections(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self._frames, args=(connection,), daemon=True).start()

    def _frames(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as incoming:
            while len(length := incoming.read(2)) == 2:
                if answer := self.answer(incoming.read(int.from_bytes(length, "big"))):
                    connection.sendall(struct.pack("!H", len(answer)) + answer)

    def answer(self, request: bytes) -> bytes | None:
        """The answer to a connectivity check that is whole: of somebody who was let in, signed, with a fingerprint."""
        if len(request) < 20 or request[:2] != b"\x00\x01" or request[4:8] != COOKIE:
            return None
        if int.from_bytes(request[2:4], "big") != len(request) - 20:
            return None
        found: dict[int, tuple[int, bytes]] = {}
        at = 20
        while at + 4 <= len(request):
            kind, length = struct.unpack_from("!HH", request, at)
            found[kind] = (at, request[at + 4 : at + 4 + length])
            at += 4 + length + -length % 4
        if not {USERNAME, MESSAGE_INTEGRITY, FINGERPRINT} <= found.keys():
            return None
        password = self._passwords.get(found[USERNAME][1])
        start, signature = found[MESSAGE_INTEGRITY]
        signed = request[:2] + struct.pack("!H", start + 4) + request[4:start]
        if password is None or hmac.digest(password, signed, hashlib.sha1) != signature:
            return None
        start, check = found[FINGERPRINT]
        if struct.pack("!I", binascii.crc32(request[:start]) ^ 0x5354554E) != check:
            return None
        return b"\x01\x01\x00\x00" + request[4:20]


def _count(collector: str) -> None:
    """One datagram of StatsD."""
    host, _, port = collector.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"calling.lab.started:1|c", (host, int(port)))


if __name__ == "__main__":
    main()
