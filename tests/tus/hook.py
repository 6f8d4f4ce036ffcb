"""CDN3's hook as a running process, the calls that tusd makes of it, and the credentials that Whisper gives out."""

import base64
import hashlib
import hmac
import http.client
import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.programs import CDN3_EXPIRY, CDN3_HOOK, FOLDER, Program
from tests.lab.node import NODE
from tests.lab.process import Process

HOOK = FOLDER / CDN3_HOOK.name
EXPIRY = FOLDER / CDN3_EXPIRY.name
SECRET = bytes(range(100, 132))
MAX_SIZE = 64 * 1024 * 1024
MAX_AGE = 24 * 3600
# In the form of tusd 2.9.1's pkg/hooks/http; `{credentials}` stands for what a client would send at that moment.
RECORDED: list[dict[str, Any]] = json.loads(Path(__file__).with_name("calls.json").read_text())
_GOOD = json.dumps(RECORDED[0]["call"])

Json = dict[str, Any]


def signature(username: str, timestamp: int | str, secret: bytes = SECRET) -> str:
    """Whisper's ExternalServiceCredentialsGenerator: 10 bytes of HMAC-SHA256 in lower-case hex."""
    return hmac.digest(secret, f"{username}:{timestamp}".encode(), hashlib.sha256)[:10].hex()


def basic(username: str, password: str) -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def credentials(key: str, age: float = 0, *, secret: bytes = SECRET) -> str:
    """The Authorization header that Whisper gave out for this key `age` seconds ago."""
    timestamp = int(time.time() - age)
    username = f"attachments/{key}"
    return basic(username, f"{timestamp}:{signature(username, timestamp, secret)}")


def metadata(**pairs: str) -> str:
    """The value of an Upload-Metadata header."""
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())


def new_key() -> str:
    """A key in Whisper's form: 15 random bytes in base64url."""
    return secrets.token_urlsafe(15)


def call_for(key: str) -> Json:
    """A good call: the first recorded one, for this key, with fresh credentials."""
    call: Json = json.loads(_GOOD)
    call["Event"]["Upload"]["MetaData"] = {"filename": key}
    header = call["Event"]["HTTPRequest"]["Header"]
    header["Upload-Metadata"] = [metadata(filename=key)]
    header["Authorization"] = [credentials(key)]
    return call


@dataclass(frozen=True)
class Answer:
    """What the program said to tusd, and what tusd would make of it."""

    status: int
    body: bytes

    @property
    def json(self) -> Json:
        answer: Json = json.loads(self.body)
        return answer

    @property
    def accepted(self) -> str | None:
        """The name that tusd gives the upload, or None when it creates none."""
        if self.status != 200 or self.json.get("RejectUpload"):
            return None
        key: str = self.json["ChangeFileInfo"]["ID"]
        return key

    @property
    def for_client(self) -> int:
        """The status that tusd's client gets: 201, the refusal's, or 500 for an answer that is not 2xx."""
        if self.status != 200:
            return 500
        if not self.json.get("RejectUpload"):
            return 201
        status: int = self.json["HTTPResponse"]["StatusCode"]
        return status


class Connection:
    """One kept connection to the hook, as tusd keeps it."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def send(self, body: bytes, path: str = "/hooks", method: str = "POST") -> Answer:
        self._http.request(method, path, body, {"Content-Type": "application/json"})
        response = self._http.getresponse()
        return Answer(response.status, response.read())

    def ask(self, call: Json) -> Answer:
        return self.send(json.dumps(call).encode())

    def close(self) -> None:
        self._http.close()


def permissions(program: Program, *paths: Path) -> tuple[str, ...]:
    """Flags of Node by which a program may read its own files and these paths, and do nothing else to files."""
    readable = [*(FOLDER / name for name in program.files), *paths]
    return ("--permission", *(f"--allow-fs-read={path}" for path in readable))


def program(name: str, file: Path, folder: Path, *arguments: str | Path, node: tuple[str, ...] = ()) -> Process:
    """Starts a program of the cluster, its output in `<folder>/<name>.log`."""
    return Process(name, [NODE, *node, file, *arguments], folder)


def events(process: Process) -> list[Json]:
    """The whole lines that the program has logged so far."""
    return [json.loads(line) for line in process.text().splitlines(keepends=True) if line.endswith("\n")]


def ports(process: Process, count: int = 1) -> list[int]:
    """The ports that the program listens on, in the order of its flags; waits until there are `count`."""

    def found() -> list[int]:
        return [event["port"] for event in events(process) if event["event"] == "listening"]

    process.wait_ready(lambda: len(found()) >= count)
    return found()


def start_hook(folder: Path, uploads: Path, *arguments: str, node: tuple[str, ...] = (), name: str = "hook") -> Process:
    """The hook over `uploads`, on a free port of the loopback address."""
    secret = folder / "attachments.key"
    secret.write_text(base64.b64encode(SECRET).decode() + "\n")
    return program(
        name,
        HOOK,
        folder,
        *("--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"),
        *("--upload-dir", uploads, "--secret-file", secret),
        *("--max-size", str(MAX_SIZE), "--max-age", str(MAX_AGE), *arguments),
        node=node,
    )
