"""The gate of CDN0 as a process, its flags, and good requests to it."""

import json
import queue
import re
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from components.programs import CDN0_GATE, FOLDER
from config.schema.objects import CDN0_KEYS
from tests.lab.node import NODE
from tests.programs.cdn0_forms import (
    Reply,
    Request,
    Signer,
    Site,
    multipart,
    post,
    receive,
    send,
)
from tests.programs.cdn0_upstream import RecordingS3
from tests.programs.cdn0_vectors import FILE, PROFILE, STORED, Vector, profile

PROGRAM = FOLDER / CDN0_GATE.name

BUCKET = "whisper-service-cdn"

WHISPER = Signer("AKIAWHISPERTEST", "whisper-secret-of-this-test-0123456789")

STORAGE = Signer("AKIASTORAGETEST", "storage-secret-of-this-test-0123456789")

SITE = Site(BUCKET, "us-east-1", WHISPER, STORAGE, prefix=f"/{BUCKET}")

RETURNED = {
    *("content-type", "content-length", "etag", "last-modified", "content-range", "accept-ranges", "cache-control"),
    *("x-content-type-options", "content-security-policy", "content-disposition"),
    *("date", "connection", "keep-alive", "allow", "transfer-encoding"),
}


def configuration(port: int, /, **changes: Any) -> dict[str, Any]:
    """The flags of the gate, from the same rules that the stack gives it; None leaves one out."""
    return {
        "listen": "127.0.0.1:0",
        "health-listen": "127.0.0.1:0",
        "writes": "put",
        "s3-endpoint": f"http://127.0.0.1:{port}",
        "s3-bucket": BUCKET,
        "s3-region": SITE.region,
        "read": [rule.pattern for rule in CDN0_KEYS],
        "upload": [f"{rule.name}:{rule.max_bytes}:{rule.pattern}" for rule in CDN0_KEYS],
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }


def credentials() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "accessKeyId": signer.access_key_id,
            "secretAccessKey": signer.secret_access_key,
            "uploads": [rule.name for rule in CDN0_KEYS if rule.signer == name],
        }
        for name, signer in (("whisper", WHISPER), ("storage", STORAGE))
    ]


@dataclass
class Gate:
    process: subprocess.Popen[str]
    port: int
    health: int
    lines: "queue.Queue[str]"
    site: Site = SITE

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 10)

    def send(self, request: Request) -> Reply:
        with self.connect() as connection:
            return send(connection, request)

    def send_in_pieces(self, request: Request, step: int) -> Reply:
        """Each piece is a packet."""
        wire = request.wire()
        with self.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(wire), step):
                connection.sendall(wire[at : at + step])
            return receive(connection, request.method)

    def probe(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def peak_memory(self) -> int:
        """Bytes: the most that the process ever had in memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


def arguments(folder: Path, config: Mapping[str, Any], secrets: object, node: Sequence[str] = ()) -> list[str]:
    file = folder / "credentials.json"
    file.write_text(secrets if isinstance(secrets, str) else json.dumps(secrets))
    flags = [
        f"--{name}={one}"
        for name, value in config.items()
        if value is not None
        for one in (value if isinstance(value, list) else [value])
    ]
    return [NODE, *node, str(PROGRAM), *flags, f"--credentials-file={file}"]


def identity(folder: Path) -> dict[str, str]:
    """The environment of a pod whose identity owns the bucket."""
    file = folder / "identity"
    file.write_text("[default]\naws_access_key_id = gate\naws_secret_access_key = secret-of-the-gate\n")
    return {"AWS_SHARED_CREDENTIALS_FILE": str(file)}


def _collect(output: IO[str], lines: "queue.Queue[str]") -> None:
    for line in output:
        lines.put(line)


@contextmanager
def running(
    folder: Path,
    config: dict[str, Any],
    secrets: list[dict[str, Any]] | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
    node: Sequence[str] = (),
) -> Iterator[Gate]:
    command = arguments(folder, config, secrets or credentials(), node)
    env = {"PATH": "/nonexistent", **(environment or identity(folder))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        lines: queue.Queue[str] = queue.Queue()
        assert process.stdout
        threading.Thread(target=_collect, args=(process.stdout, lines), daemon=True).start()
        try:
            health, gate = (json.loads(lines.get(timeout=20))["port"] for _ in range(2))
            yield Gate(process, gate, health, lines)
        finally:
            process.kill()


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def good(file: bytes = FILE, **options: Any) -> Request:
    return post(SITE, multipart(profile(SITE, **options).signed(), file))


def read(*headers: tuple[str, str], method: str = "GET", key: str = PROFILE) -> Request:
    return Request(method, f"/{BUCKET}/{key}", headers)


def try_vector(vector: Vector, gate: Gate, upstream: RecordingS3, writing: str) -> Reply:
    """Sends one of the requests, and fails unless it is answered, and gets as far, as the vector says.

    `writing` is the method by which an upload reaches the upstream.
    """
    reply = gate.send(vector.build(gate.site))
    assert reply.status in vector.answers, reply
    assert set(reply.headers) <= RETURNED
    assert b"secret" not in reply.body
    stored = {key: body for key, (body, _) in upstream.objects.items()}
    methods = [seen.method for seen in upstream.requests]
    match vector.reach:
        case "stores":
            assert methods == [writing]
            assert reply.headers["etag"]
        case "read":
            # a HEAD has no body that tells why S3 refused it
            assert methods in (["GET"], ["HEAD"], ["HEAD", "GET"] if writing == "POST" else ["HEAD"])
        case "aborted":
            until(lambda: all(seen.broken for seen in upstream.requests))
            assert set(methods) <= {writing}
        case "nothing":
            assert methods == []
    assert (stored == STORED) is (vector.reach != "stores")
    return reply
