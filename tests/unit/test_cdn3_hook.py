"""CDN3's pre-create hook over its real transport: what it lets tusd create, and above all what it does not."""

import base64
import copy
import hashlib
import hmac
import json
import os
import random
import re
import resource
import shutil
import socket
import string
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.programs import CDN3_HOOK
from tests.lab.process import Process, wait_until
from tests.programs.modules import HURRIED
from tests.programs.starts import all_refused, by_name
from tests.tus.hook import (
    HOOK,
    MAX_AGE,
    MAX_SIZE,
    RECORDED,
    SECRET,
    Answer,
    Connection,
    Json,
    basic,
    call_for,
    credentials,
    events,
    metadata,
    new_key,
    permissions,
    ports,
    signature,
    start_hook,
)

OTHER_SECRET = bytes(32)
MIB = 1024 * 1024


class Hook:
    """A running hook, a connection to it, and the directory that it looks into."""

    def __init__(self, process: Process, uploads: Path) -> None:
        self.process = process
        self.uploads = uploads
        self.port, self.health_port = ports(process, 2)
        self.connection = Connection(self.port)

    def ask(self, call: Json) -> Answer:
        return self.connection.ask(call)

    def health(self, path: str) -> int:
        with closing(Connection(self.health_port)) as kubelet:
            return kubelet.send(b"", path, "GET").status

    def send(self, body: bytes, path: str = "/hooks", method: str = "POST") -> Answer:
        return self.connection.send(body, path, method)


@contextmanager
def hooking(folder: Path, uploads: Path, *arguments: str, node: tuple[str, ...] = ()) -> Iterator[Hook]:
    with start_hook(folder, uploads, *arguments, node=node) as process:
        running = Hook(process, uploads)
        with closing(running.connection):
            yield running


@pytest.fixture(scope="module")
def hook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hook]:
    folder = tmp_path_factory.mktemp("cdn3")
    (folder / "uploads").mkdir()
    with hooking(folder, folder / "uploads") as hook:
        yield hook


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    folder = tmp_path / "uploads"
    folder.mkdir()
    return folder


def header_of(call: Json) -> dict[str, list[str]]:
    header: dict[str, list[str]] = call["Event"]["HTTPRequest"]["Header"]
    return header


def named(filename: str) -> Json:
    """A call for whatever file name, with metadata and credentials that fit it."""
    call = call_for(new_key())
    call["Event"]["Upload"]["MetaData"] = {"filename": filename}
    header_of(call)["Upload-Metadata"] = [metadata(filename=filename)]
    header_of(call)["Authorization"] = [credentials(filename)]
    return call


def with_header(name: str, *values: str) -> Json:
    """A good call with one header in place of its own."""
    call = call_for(new_key())
    header_of(call)[name] = list(values)
    return call


def without_header(name: str) -> Json:
    call = call_for(new_key())
    del header_of(call)[name]
    return call


def with_upload(**changes: Any) -> Json:
    """A good call with fields of its upload changed."""
    call = call_for(new_key())
    call["Event"]["Upload"].update(changes)
    return call


def with_metadata(header: Callable[[str], list[str]], parsed: Callable[[str], dict[str, str]] | None = None) -> Json:
    """A good call whose Upload-Metadata lines are `header(key)`; `parsed(key)` is what tusd makes of them."""
    key = new_key()
    call = call_for(key)
    header_of(call)["Upload-Metadata"] = header(key)
    call["Event"]["Upload"]["MetaData"] = parsed(key) if parsed else {"filename": key}
    return call


def with_password(password: Callable[[str, int], str], username: str | None = None) -> Json:
    """A good call with a password made of the user name and the time."""
    key = new_key()
    call = call_for(key)
    name = username or f"attachments/{key}"
    header_of(call)["Authorization"] = [basic(name, password(name, int(time.time())))]
    return call


def aged(seconds: float, secret: bytes = SECRET) -> Json:
    key = new_key()
    call = call_for(key)
    header_of(call)["Authorization"] = [credentials(key, seconds, secret=secret)]
    return call


def upper_signature(name: str, now: int) -> str:
    """A signature whose hex differs when in upper case."""
    for moment in range(now, now - 60, -1):
        if (upper := signature(name, moment).upper()) != signature(name, moment):
            return f"{moment}:{upper}"
    raise AssertionError("no signature of a minute has a letter in it")


# --- space ----------------------------------------------------------------------------------------------------

FILE_SYSTEM = """
import { readFileSync } from 'node:fs';
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
const answer = () => readFileSync(%s, 'utf8');
promises.statfs = async () => (answer() === 'hangs' ? new Promise(() => {}) : { bavail: Number(answer()), bsize: 1 });
syncBuiltinESMExports();
"""
"""A file system that has as much space as a file says, or does not answer."""


class Disk:
    """A hook over a file system of a size that the test chooses, of which it keeps 4 MiB."""

    def __init__(self, folder: Path, free: int | str) -> None:
        self.uploads = folder / "uploads"
        self.uploads.mkdir(exist_ok=True)
        self._free = folder / "free"
        self.have(free)
        (folder / "disk.mjs").write_text(FILE_SYSTEM % json.dumps(str(self._free)))
        node = (*HURRIED, "--import", str(folder / "disk.mjs"))
        self.process = start_hook(folder, self.uploads, "--min-free", str(4 * MIB), node=node)
        self._connection = Connection(ports(self.process)[0])

    def have(self, free: int | str) -> None:
        self._free.write_text(str(free))

    def ask(self, size: int, client: str = "203.0.113.1", key: str = "") -> int:
        """The status for a client that creates an upload of that size."""
        call = call_for(key or new_key())
        call["Event"]["Upload"]["Size"] = size
        header_of(call)["X-Forwarded-For"] = [f"192.0.2.1, {client}"]
        return self._connection.ask(call).for_client

    def put(self, key: str, size: int, have: int, age: float = 0) -> None:
        """An upload as tusd has it."""
        (self.uploads / f"{key}.info").write_text(json.dumps({"ID": key, "Size": size, "SizeIsDeferred": False}))
        (self.uploads / key).write_bytes(bytes(have))
        os.utime(self.uploads / key, (time.time() - age,) * 2)

    def __enter__(self) -> "Disk":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self.process.stop()


def test_the_last_space_of_the_file_system_is_left_free(tmp_path: Path) -> None:
    with Disk(tmp_path, 10 * MIB) as disk:
        assert disk.ask(6 * MIB + 1) == 507
        assert disk.ask(0) == 201
        assert disk.ask(3 * MIB) == 201
        disk.have(4 * MIB)
        assert disk.ask(1, "203.0.113.2") == 507
        disk.have(100 * MIB)
        assert disk.ask(10 * MIB, "203.0.113.2") == 201
        refused = [event for event in events(disk.process) if event["event"] == "refused"]
        assert {(event["status"], event["reason"]) for event in refused} == {(507, "there is not enough space")}


def test_space_that_others_were_promised_is_not_promised_again(tmp_path: Path) -> None:
    first, second = new_key(), new_key()
    with Disk(tmp_path, 10 * MIB) as disk:
        assert disk.ask(3 * MIB, "203.0.113.1", first) == 201
        assert disk.ask(3 * MIB, "203.0.113.2", second) == 201
        assert disk.ask(1 * MIB, "203.0.113.3") == 507
        disk.put(first, 3 * MIB, 3 * MIB)
        disk.put(second, 3 * MIB, 1 * MIB)
        disk.have(6 * MIB)
        time.sleep(0.5)  # the hook looks again after 2 s, of which each is a fifth here
        assert disk.ask(1, "203.0.113.3") == 507
        disk.put(second, 3 * MIB, 1 * MIB, age=700)  # its client has gone
        wait_until(lambda: disk.ask(1 * MIB, "203.0.113.3") == 201, 10, "space that nobody waits for is free")


def test_one_client_is_not_promised_all_space(tmp_path: Path) -> None:
    """A declared size costs a client nothing, so it could keep others from uploading for days."""
    with Disk(tmp_path, 104 * MIB) as disk:
        mine = [disk.ask(10 * MIB, f"2001:db8::{number}") for number in range(1, 9)]
        assert mine == [201] * 5 + [507] * 3
        assert disk.ask(10 * MIB, "203.0.113.2") == 201


def test_uploads_of_an_earlier_life_count(tmp_path: Path) -> None:
    (tmp_path / "uploads").mkdir()
    with Disk(tmp_path, 10 * MIB) as disk:
        disk.put(new_key(), 5 * MIB, 1 * MIB)
        disk.put(new_key(), 5 * MIB, 5 * MIB)
        disk.put(new_key(), 5 * MIB, 1 * MIB, age=700)
        (disk.uploads / f"{new_key()}.info").write_text("no JSON")
        assert disk.ask(2 * MIB + 1) == 507
        assert disk.ask(2 * MIB) == 201


def test_a_storage_that_does_not_answer_costs_seconds(tmp_path: Path) -> None:
    """tusd waits for ever, and so would the client."""
    with Disk(tmp_path, "hangs") as disk:
        assert [disk.ask(1), disk.ask(1)] == [503, 503]


# --- what tusd sends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", RECORDED, ids=lambda record: record["name"])
def test_recorded_call(hook: Hook, record: Json) -> None:
    key = record["call"]["Event"]["Upload"]["MetaData"]["filename"]
    call = json.loads(json.dumps(record["call"]).replace("{credentials}", credentials(key)))
    assert hook.ask(call).for_client == record["status"]


def test_accepted_upload_has_the_key_as_name_and_only_metadata(hook: Hook) -> None:
    key = new_key()
    call = call_for(key)
    call["Event"]["Upload"]["MetaData"] = {"filename": key, "filetype": "text/html"}
    header_of(call)["Upload-Metadata"] = [metadata(filetype="text/html", filename=key)]
    answer = hook.ask(call)
    assert (answer.status, answer.json) == (200, {"ChangeFileInfo": {"ID": key, "MetaData": {"filename": key}}})


GOOD: dict[str, Callable[[], Json]] = {
    "nothing in it": lambda: with_upload(Size=0),
    "as large as may be": lambda: with_upload(Size=MAX_SIZE),
    "credentials of almost a day ago": lambda: aged(MAX_AGE - 30),
    "credentials of a clock that is ahead": lambda: aged(-30),
    "scheme in lower case": lambda: with_password(lambda n, t: f"{t}:{signature(n, t)}"),
    "key of hyphens": lambda: named("-" * 20),
    "a metadata key without a value": lambda: with_metadata(
        lambda key: [f"is_confidential, {metadata(filename=key)}"],
        lambda key: {"filename": key, "is_confidential": ""},
    ),
}


@pytest.mark.parametrize("case", GOOD)
def test_accepts(hook: Hook, case: str) -> None:
    call = GOOD[case]()
    if case == "scheme in lower case":
        header_of(call)["Authorization"] = [header_of(call)["Authorization"][0].replace("Basic", "basic")]
    assert hook.ask(call).accepted == call["Event"]["Upload"]["MetaData"]["filename"]


REFUSED: dict[int, dict[str, Callable[[], Json]]] = {
    401: {
        "no credentials": lambda: without_header("Authorization"),
        "empty credentials": lambda: with_header("Authorization", ""),
        "two credentials": lambda: with_header("Authorization", credentials("x"), credentials("x")),
        "bearer token": lambda: with_header("Authorization", "Bearer abcdefgh"),
        "scheme alone": lambda: with_header("Authorization", "Basic "),
        "credentials that are not base64": lambda: with_header("Authorization", "Basic *!*"),
        "credentials without a colon": lambda: with_header("Authorization", "Basic YXR0YWNobWVudHM="),
        "password without a time": lambda: with_password(signature),
        "password without a signature": lambda: with_password(lambda n, t: f"{t}:"),
        "signature of 9 bytes": lambda: with_password(lambda n, t: f"{t}:{signature(n, t)[:18]}"),
        "signature of 32 bytes": lambda: with_password(
            lambda n, t: f"{t}:{hmac.digest(SECRET, f'{n}:{t}'.encode(), 'sha256').hex()}"
        ),
        "signature in upper case": lambda: with_password(upper_signature),
        "signature by another secret": lambda: aged(0, OTHER_SECRET),
        "signature of another time": lambda: with_password(lambda n, t: f"{t}:{signature(n, t - 1)}"),
        "signature of another name": lambda: with_password(lambda n, t: f"{t}:{signature(n + 'x', t)}"),
        "signature of nothing": lambda: with_password(lambda n, t: f"{t}:{'0' * 20}"),
        "time with a sign": lambda: with_password(lambda n, t: f"+{t}:{signature(n, f'+{t}')}"),
        "time with a zero before it": lambda: with_password(lambda n, t: f"0{t}:{signature(n, f'0{t}')}"),
        "time with a fraction": lambda: with_password(lambda n, t: f"{t}.0:{signature(n, f'{t}.0')}"),
        "time in hex": lambda: with_password(lambda n, t: f"{t:#x}:{signature(n, f'{t:#x}')}"),
        "time in milliseconds": lambda: with_password(lambda n, t: f"{t}000:{signature(n, f'{t}000')}"),
        "a colon in the password": lambda: with_password(lambda n, t: f"{t}:{signature(n, t)}:"),
        "credentials of more than a day ago": lambda: aged(MAX_AGE + 30),
        "credentials of the epoch": lambda: with_password(lambda n, t: f"0:{signature(n, 0)}"),
        "credentials of the future": lambda: aged(-120),
    },
    403: {
        "credentials for another key": lambda: with_header("Authorization", credentials(new_key())),
        "credentials for a backup": lambda: with_password(
            lambda n, t: f"{t}:{signature(n, t)}", "write$backups/abcdefghij"
        ),
        "part": lambda: with_upload(IsPartial=True),
        "joined parts": lambda: with_upload(IsFinal=True, PartialUploads=["a" * 20]),
        "concatenation header": lambda: with_header("upload-concat", "partial"),
    },
    400: {
        "no metadata": lambda: without_header("Upload-Metadata"),
        "empty metadata": lambda: with_header("Upload-Metadata", ""),
        "no file name": lambda: with_metadata(lambda key: [metadata(name=key)], lambda key: {"name": key}),
        "file name without a value": lambda: with_metadata(lambda key: ["filename"], lambda key: {"filename": ""}),
        "file name in another case": lambda: with_metadata(
            lambda key: [metadata(Filename=key)], lambda key: {"Filename": key}
        ),
        "file name twice": lambda: with_metadata(
            lambda key: [f"{metadata(filename='x' * 20)},{metadata(filename=key)}"]
        ),
        "file name twice the same": lambda: with_metadata(
            lambda key: [f"{metadata(filename=key)},{metadata(filename=key)}"]
        ),
        "another key twice": lambda: with_metadata(
            lambda key: [f"a,{metadata(filename=key)},a"], lambda key: {"filename": key, "a": ""}
        ),
        "metadata on two lines": lambda: with_metadata(lambda key: [metadata(filename=key), metadata(a="b")]),
        "metadata with a part that tusd skips": lambda: with_metadata(lambda key: [f"{metadata(filename=key)},a b c"]),
        "file name that is not base64": lambda: with_metadata(lambda key: [f"filename {key}"]),
        "file name in base64url": lambda: with_metadata(lambda key: [metadata(filename=key).replace("=", "")]),
        "file name that tusd read otherwise": lambda: with_upload(MetaData={"filename": new_key()}),
        "file name that tusd did not read": lambda: with_upload(MetaData={}),
        "file name of 19 characters": lambda: named("a" * 19),
        "file name of 21 characters": lambda: named("a" * 21),
        "no characters": lambda: named(""),
        "info file": lambda: named("abcdefghijklmno.info"),
        "info file of a key": lambda: named("abcdefghijklmnopqrst.info"),
        "path traversal": lambda: named("../../../../etc/pass"),
        "absolute path": lambda: named("/etc/abcdefghijklmno"),
        "inner slash": lambda: named("abcdefghi/klmnopqrst"),
        "escaped slash": lambda: named("abcdefghi%2Fmnopqrst"),
        "backslash": lambda: named("abcdefghi\\lmnopqrst"),
        "dots": lambda: named("." * 20),
        "zero byte": lambda: named("abcdefghijklmnopqrs\0"),
        "line feed after the key": lambda: named("abcdefghijklmnopqrst\n"),
        "standard base64": lambda: named("abcdefghi+lmnopqrst/"),
        "letters beyond ASCII": lambda: named("ａbcdefghijklmnopqrst"),
        "size left open": lambda: with_upload(Size=0, SizeIsDeferred=True),
        "header that leaves the size open": lambda: with_header("Upload-Defer-Length", "1"),
    },
    413: {
        "one byte too large": lambda: with_upload(Size=MAX_SIZE + 1),
        "as large as tusd can count": lambda: with_upload(Size=2**63 - 1),
    },
}
"""By the status that the client gets."""
CASES = [(status, case) for status, cases in REFUSED.items() for case in cases]


@pytest.mark.parametrize(("status", "case"), CASES)
def test_refuses(hook: Hook, status: int, case: str) -> None:
    answer = hook.ask(REFUSED[status][case]())
    assert answer.status == 200, "tusd turns any other answer into a 500"
    assert answer.json["RejectUpload"] is True
    assert "ChangeFileInfo" not in answer.json
    response = answer.json["HTTPResponse"]
    assert response["StatusCode"] == status
    assert isinstance(response["Body"], str)
    assert response["Body"].endswith("\n")
    challenge = response["Header"].get("WWW-Authenticate", "")
    assert challenge.startswith('Basic realm="') == (status == 401)
    assert all(isinstance(value, str) for value in response["Header"].values())


# --- what exists already --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["{key}", "{key}.info"])
@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_refuses_what_exists(hook: Hook, name: str, kind: str) -> None:
    key = new_key()
    path = hook.uploads / name.format(key=key)
    match kind:
        case "file":
            path.touch()
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to("nowhere")
    assert hook.ask(call_for(key)).for_client == 409


def test_existence_is_told_to_nobody_without_credentials(hook: Hook) -> None:
    key = new_key()
    (hook.uploads / key).touch()
    call = call_for(key)
    header_of(call)["Authorization"] = [credentials(key, secret=OTHER_SECRET)]
    assert hook.ask(call).for_client == 401


def test_only_one_of_many_at_once_gets_the_key(hook: Hook) -> None:
    key = new_key()

    def create(number: int) -> int:
        call = call_for(key)
        call["Event"]["HTTPRequest"]["RemoteAddr"] = f"10.42.0.7:{40000 + number}"
        with closing(Connection(hook.port)) as connection:
            return connection.ask(call).for_client

    with ThreadPoolExecutor(16) as pool:
        statuses = sorted(pool.map(create, range(64)))
    assert statuses == [201] + [409] * 63


def test_tusd_may_ask_again_when_an_answer_was_lost(hook: Hook) -> None:
    key = new_key()
    call = call_for(key)
    assert hook.ask(call).accepted == key
    assert hook.ask(call).accepted == key
    (hook.uploads / key).touch()
    assert hook.ask(call).for_client == 409


def test_key_is_free_again_when_nothing_was_created(tmp_path: Path, uploads: Path) -> None:
    key = new_key()
    with hooking(tmp_path, uploads, "--reserve", "2", node=HURRIED) as hook:
        first, second = call_for(key), call_for(key)
        second["Event"]["HTTPRequest"]["RemoteAddr"] = "10.42.0.7:1"
        assert hook.ask(first).accepted == key
        assert hook.ask(second).for_client == 409
        time.sleep(0.5)
        assert hook.ask(second).accepted == key


def test_refuses_while_the_directory_is_missing(tmp_path: Path, uploads: Path) -> None:
    with hooking(tmp_path, uploads) as hook:
        assert hook.health("/livez") == hook.health("/readyz?x") == 200
        shutil.rmtree(uploads)
        key = new_key()
        answer = hook.ask(call_for(key))
        assert (answer.status, answer.for_client) == (200, 503)
        assert hook.health("/livez") == hook.health("/readyz") == 503
        uploads.mkdir()
        assert hook.ask(call_for(key)).accepted == key


# --- what tusd does not send ----------------------------------------------------------------------------------


def changed(path: str, value: Any) -> bytes:
    """A good call with the value at `path` (`a.b.c`) replaced."""
    call = call_for(new_key())
    *parents, last = path.split(".")
    place = call
    for parent in parents:
        place = place[parent]
    place[last] = value
    return json.dumps(call).encode()


NOT_TUSD: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "not JSON": lambda: b"{",
    "not UTF-8": lambda: json.dumps(call_for(new_key())).encode("utf-16"),
    "a broken character": lambda: json.dumps(call_for(new_key())).encode().replace(b"gzip", b"gz\xff"),
    "null": lambda: b"null",
    "a number": lambda: b"7",
    "a list": lambda: b"[]",
    "an empty object": lambda: b"{}",
    "deep nesting": lambda: b"[" * 30000 + b"]" * 30000,
    "another hook": lambda: changed("Type", "post-finish"),
    "no event": lambda: changed("Event", None),
    "no upload": lambda: changed("Event.Upload", None),
    "upload that is a list": lambda: changed("Event.Upload", []),
    "size that is text": lambda: changed("Event.Upload.Size", "12"),
    "size below zero": lambda: changed("Event.Upload.Size", -1),
    "size with a fraction": lambda: changed("Event.Upload.Size", 1.5),
    "no size": lambda: changed("Event.Upload.Size", None),
    "flag that is text": lambda: changed("Event.Upload.IsFinal", "false"),
    "no flag": lambda: changed("Event.Upload.SizeIsDeferred", None),
    "metadata that are a list": lambda: changed("Event.Upload.MetaData", []),
    "metadata that are numbers": lambda: changed("Event.Upload.MetaData", {"filename": 1}),
    "no request": lambda: changed("Event.HTTPRequest", None),
    "no header": lambda: changed("Event.HTTPRequest.Header", None),
    "header without lists": lambda: changed("Event.HTTPRequest.Header", {"Authorization": "Basic"}),
    "header of numbers": lambda: changed("Event.HTTPRequest.Header", {"Authorization": [1]}),
    "names of JavaScript": lambda: b'{"__proto__": {"Type": "pre-create"}, "constructor": 1}',
}


@pytest.mark.parametrize("case", NOT_TUSD)
def test_body_that_is_not_a_call(hook: Hook, case: str) -> None:
    assert hook.send(NOT_TUSD[case]()).status == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/hooks", 405),
        ("PUT", "/hooks", 405),
        ("DELETE", "/hooks", 405),
        ("POST", "/", 404),
        ("POST", "/hooks/", 404),
        ("POST", "/hooks/../hooks", 404),
        ("POST", "//hooks", 404),
        ("GET", "/metrics", 404),
        ("GET", "/readyz", 404),
    ],
)
def test_other_requests(hook: Hook, method: str, path: str, status: int) -> None:
    answer = hook.send(json.dumps(call_for(new_key())).encode() if method == "POST" else b"", path, method)
    assert answer.status == status


def test_oversized_headers_of_a_client_are_refused_unread(hook: Hook) -> None:
    call = call_for(new_key())
    header_of(call)["X-Padding"] = ["<" * 1024 * 1024]
    answer = hook.send(json.dumps(call).encode())
    assert (answer.status, answer.for_client) == (200, 431)


def test_more_than_tusd_can_send_is_cut_off(hook: Hook) -> None:
    # The program may close before the last byte was sent.
    with closing(Connection(hook.port)) as connection, suppress(ConnectionError):
        assert connection.send(b" " * (17 * 1024 * 1024)).status == 413
    assert 413 in [event.get("status") for event in events(hook.process) if event["event"] == "bad-call"]
    assert hook.ask(call_for(new_key())).for_client == 201


def resident_mib(process: Process) -> float:
    """The process's memory in MiB, as proc(5) counts it in pages."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def test_oversized_calls_take_no_memory(tmp_path: Path, uploads: Path) -> None:
    with start_hook(tmp_path, uploads) as process, ExitStack() as held:
        port = ports(process)[0]
        before = resident_mib(process)
        for _ in range(24):
            client = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            client.sendall(b"POST /hooks HTTP/1.1\r\nHost: x\r\nContent-Length: 16000000\r\n\r\n")
            client.sendall(b"<" * 15_000_000)
        assert resident_mib(process) - before < 200, "15 MB of each of 24 unfinished calls"


# --- whatever else --------------------------------------------------------------------------------------------


def really_valid(body: bytes) -> str | None:
    """An independent verdict: the key that this body earns under the contract, or None."""
    try:
        call = json.loads(body)
        upload, header = call["Event"]["Upload"], call["Event"]["HTTPRequest"]["Header"]
        lines = {
            name: [value for key, values in header.items() if key.lower() == name for value in values]
            for name in ("authorization", "upload-metadata", "upload-concat", "upload-defer-length")
        }
        [authorization], [pairs] = lines["authorization"], lines["upload-metadata"]
        scheme, _, token = authorization.partition(" ")
        username, timestamp, given = base64.b64decode(token.strip(), validate=True).decode("latin1").split(":")
        elements = [element.strip().split(" ") for element in pairs.split(",")]
        [[encoded]] = [values for name, *values in elements if name == "filename"]
        key = base64.b64decode(encoded, validate=True).decode("ascii")
        expected = hmac.new(SECRET, f"{username}:{timestamp}".encode("latin1"), hashlib.sha256).hexdigest()[:20]
        good = (
            call["Type"] == "pre-create"
            and scheme.lower() == "basic"
            and given == expected
            and -61 <= time.time() - int(timestamp) <= MAX_AGE + 1
            and re.fullmatch(r"[A-Za-z0-9_-]{20}", key) is not None
            and username == f"attachments/{key}"
            and upload["MetaData"]["filename"] == key
            and 0 <= upload["Size"] <= MAX_SIZE
            and not (upload["SizeIsDeferred"] or upload["IsPartial"] or upload["IsFinal"])
            and not (lines["upload-concat"] or lines["upload-defer-length"])
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return key if good else None


WEIRD: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 2**63, 1e300, "", "0", "x" * 5000, "é", "\0", "\ud800", [], [[]], {}, {"": ""}),
    *(["Basic"], ["a", "b"], ["1"], {"filename": "a"}, "pre-create", "partial", "../x.info", MAX_SIZE, MAX_SIZE + 1),
]
NAMES = ["Upload-Concat", "Upload-Defer-Length", "authorization", "filename", "__proto__", "X-Any", "IsFinal"]


class Mutator:
    """Random changes of a good call: of its name, its tree, its credentials and metadata, and its bytes."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def body(self, call: Json) -> bytes:
        changes = [self.node, self.drop, self.add, self.text, self.text, self.token, self.token, self.twice]
        call = self.renamed(call) if self.random.random() < 0.3 else call
        for _ in range(self.random.randint(1, 3)):
            self.random.choice(changes)(call)
        body = json.dumps(call).encode()
        return self.bytes(body) if self.random.random() < 0.15 else body

    def renamed(self, call: Json) -> Json:
        """A call with good credentials for a changed file name, or with a second one."""
        name = call["Event"]["Upload"]["MetaData"]["filename"]
        other = named(self.edited(name))
        if self.random.random() < 0.3:
            header_of(other)["Upload-Metadata"][0] += "," + metadata(filename=self.edited(name))
        return other

    def places(self, tree: Any) -> list[tuple[Any, Any]]:
        """Every (container, index) of the tree."""
        pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
        return [place for index, value in pairs for place in ((tree, index), *self.places(value))]

    def node(self, call: Json) -> None:
        container, index = self.random.choice(self.places(call) or [(call, "Type")])
        container[index] = copy.deepcopy(self.random.choice(WEIRD))

    def drop(self, call: Json) -> None:
        if places := self.places(call):
            container, index = self.random.choice(places)
            del container[index]

    def add(self, call: Json) -> None:
        containers = [container for container, _ in self.places(call) if isinstance(container, dict)]
        if containers:
            self.random.choice(containers)[self.random.choice(NAMES)] = copy.deepcopy(self.random.choice(WEIRD))

    def twice(self, call: Json) -> None:
        lists = [c[i] for c, i in self.places(call) if isinstance(c[i], list) and c[i]]
        if lists:
            chosen = self.random.choice(lists)
            chosen.append(copy.deepcopy(self.random.choice(chosen)))

    def text(self, call: Json) -> None:
        texts = [(c, i) for c, i in self.places(call) if isinstance(c[i], str) and c[i]]
        if texts:
            container, index = self.random.choice(texts)
            container[index] = self.edited(container[index])

    def token(self, call: Json) -> None:
        """Changes what the base64 in a header means."""
        texts = [
            (c, i)
            for c, i in self.places(call)
            if isinstance(c[i], str) and re.fullmatch(r"(Basic|filename) [A-Za-z0-9+/]+=*", c[i])
        ]
        if texts:
            container, index = self.random.choice(texts)
            name, token = container[index].split(" ")
            try:
                inner = self.edited(base64.b64decode(token).decode("latin1"))
            except ValueError:
                inner = "x"
            container[index] = f"{name} {base64.b64encode(inner.encode('latin1', 'replace')).decode()}"

    def edited(self, text: str) -> str:
        at = self.random.randrange(len(text)) if text else 0
        letter = self.random.choice(string.printable + "/.:-_=+,")
        return self.random.choice(
            [
                text[:at] + letter + text[at + 1 :],
                text[:at] + letter + text[at:],
                text[:at] + text[at + 1 :],
                text[:at],
                text + self.random.choice([".info", "/../x", " ", ",", "=", "\n", text]),
                text.swapcase(),
            ]
        )

    def bytes(self, body: bytes) -> bytes:
        at = self.random.randrange(len(body))
        return self.random.choice(
            [
                body[:at],
                body[:at] + self.random.randbytes(self.random.randint(1, 8)) + body[at + 1 :],
                body + body[at:],
                body[at:],
            ]
        )


def test_mutations_are_never_a_server_error_nor_an_accepted_forgery(hook: Hook) -> None:
    mutator = Mutator(0)
    accepted = refused = 0
    for number in range(2500):
        body = mutator.body(call_for(f"mutant-{number:013}"))
        path = "/hooks" if mutator.random.random() < 0.98 else mutator.random.choice(["/", "/readyz", "/hooks%00"])
        answer = hook.send(body, path)
        earned = really_valid(body) if path == "/hooks" else None
        assert answer.status < 500, body
        if answer.accepted is None:
            refused += 1
            assert answer.status >= 400 or 400 <= answer.for_client < 500, body
        else:
            accepted += 1
            assert answer.accepted == earned, body
    # Changes of what does not matter pass, so the good calls were good; nearly all others must not.
    assert accepted > 50
    assert refused > 1000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=400) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_gets_a_client_error(hook: Hook, body: bytes) -> None:
    assert hook.send(body).status == 400


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(upload=JSON, header=JSON)
def test_any_upload_and_header_are_never_accepted(hook: Hook, upload: Any, header: Any) -> None:
    call = {"Type": "pre-create", "Event": {"Upload": upload, "HTTPRequest": {"Header": header}}}
    answer = hook.ask(call)
    assert answer.accepted is None
    assert answer.status in (200, 400)


# --- the process ----------------------------------------------------------------------------------------------


GOOD_FLAGS = {
    "listen": "127.0.0.1:0",
    "health-listen": "127.0.0.1:0",
    "upload-dir": "/tmp",
    "max-size": "1000",
}


def secret_file(folder: Path, content: str) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "secret"
    file.write_text(content)
    return file


def test_wrong_flags_end_it_with_one_clear_line(tmp_path: Path) -> None:
    good = {**GOOD_FLAGS, "secret-file": secret_file(tmp_path, base64.b64encode(SECRET).decode())}
    wrong: list[tuple[dict[str, str | None], str]] = [
        ({"listen": None}, "--listen must be an IP address and a port"),
        ({"listen": "0.0.0.0:0"}, "--listen must be a loopback address"),
        ({"listen": "192.0.2.7:0"}, "--listen must be a loopback address"),
        ({"listen": "localhost:0"}, "--listen must be an IP address and a port"),
        ({"listen": "127.0.0.1:65536"}, "--listen must be an IP address and a port"),
        ({"listen": "127.0.0.1"}, "--listen must be an IP address and a port"),
        ({"health-listen": "80"}, "--health-listen must be an IP address and a port"),
        ({"upload-dir": "/nonexistent/folder"}, "--upload-dir is not a directory"),
        ({"upload-dir": None}, "--upload-dir is not a directory"),
        ({"secret-file": "/nonexistent/secret"}, "--secret-file cannot be read (ENOENT)"),
        ({"max-size": "0"}, "--max-size must be a whole number of bytes"),
        ({"max-size": "128Mi"}, "--max-size must be a whole number of bytes"),
        ({"max-age": "1d"}, "--max-age must be a whole number of seconds"),
        ({"clock-skew": "-1"}, "Option '--clock-skew' argument is ambiguous"),
        ({"min-free": "1Gi"}, "--min-free must be a whole number of bytes"),
        ({"unknown": "x"}, "Unknown option '--unknown'"),
    ]
    all_refused(HOOK, [(by_name(good, changes), says) for changes, says in wrong])


def test_wrong_secret_ends_it_and_is_not_shown(tmp_path: Path) -> None:
    wrong = {
        "empty": "",
        "short": "short",
        "31 bytes": base64.b64encode(SECRET[:31]).decode(),
        "33 bytes": base64.b64encode(SECRET + b"x").decode(),
        "hex": SECRET.hex(),
        "base64url": base64.urlsafe_b64encode(b"\xfb" * 32).decode(),
        "without padding": base64.b64encode(SECRET).decode().rstrip("="),
    }
    files = [secret_file(tmp_path / name, content) for name, content in wrong.items()]
    starts = [
        (by_name(GOOD_FLAGS, {"secret-file": str(file)}), "--secret-file must hold the base64 of 32 bytes")
        for file in files
    ]
    shown = [content for name, content in wrong.items() if name not in ("empty", "short")]
    all_refused(HOOK, starts, secrets=shown)


def test_runs_confined_answers_probes_and_ends_on_sigterm(tmp_path: Path, uploads: Path) -> None:
    """Node's permission model allows it nothing but reading its program, its secret and the uploads."""
    node = permissions(CDN3_HOOK, tmp_path / "attachments.key", uploads)
    with hooking(tmp_path, uploads, node=node) as hook:
        key = new_key()
        assert hook.ask(call_for(key)).accepted == key
        (uploads / key).touch()
        assert hook.ask(call_for(key)).for_client == 409
        with closing(Connection(hook.health_port)) as kubelet:
            assert kubelet.send(b"", "/livez", "HEAD").status == 200
            assert kubelet.send(b"", "/livez", "POST").status == 405
            assert kubelet.ask(call_for(new_key())).status == 404
        hook.process.terminate()
        assert hook.process.wait(4) == 0


def test_log_has_decisions_but_no_keys_and_no_credentials(tmp_path: Path, uploads: Path) -> None:
    with hooking(tmp_path, uploads) as hook:
        calls = [call_for(new_key()), aged(MAX_AGE + 60), named("x.info")]
        for call in calls:
            hook.ask(call)
        hook.process.stop()
        log, text = events(hook.process), hook.process.text()
        assert [event.get("status") for event in log if event["event"] in ("accepted", "refused")] == [None, 401, 400]
        for call in calls:
            assert header_of(call)["Authorization"][0].removeprefix("Basic ") not in text
            assert call["Event"]["Upload"]["MetaData"]["filename"] not in text
        assert base64.b64encode(SECRET).decode() not in text
