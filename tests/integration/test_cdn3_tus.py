"""CDN3's hook and expiry with tusd as it is rendered: uploads, interruptions, refusals, and old files.

A crash of tusd is in test_stack_cdn3.py.
"""

import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.graph.stack import load
from tests.lab.fetch import skip_if_missing
from tests.lab.process import Process
from tests.lab.served import Handler, serving
from tests.lab.tus import LossyProxy, TusServer, upload
from tests.tus.hook import (
    EXPIRY,
    MAX_AGE,
    MAX_SIZE,
    RECORDED,
    Json,
    credentials,
    events,
    metadata,
    new_key,
    ports,
    program,
    start_hook,
)

pytestmark = pytest.mark.integration

CONTENT_SIZE = 24 * 1024 * 1024
TUS = {"Tus-Resumable": "1.0.0"}


def rendered_flags() -> list[str]:
    """Those of tusd in stack dev."""
    (container,) = (each for each in load("dev").pod("cdn3").containers() if each["name"] == "tusd")
    flags: list[str] = container["args"]
    return flags


@contextmanager
def cdn3(folder: Path, *hook_arguments: str) -> Iterator[TusServer]:
    """tusd with the hook, over an empty directory."""
    uploads = folder / "uploads"
    uploads.mkdir()
    with start_hook(folder, uploads, *hook_arguments) as hook:
        with skip_if_missing():
            server = TusServer(folder, uploads, ports(hook)[0], MAX_SIZE, rendered_flags())
        with server:
            yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TusServer]:
    with cdn3(tmp_path_factory.mktemp("cdn3")) as running:
        yield running


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("content") / "content"
    file.write_bytes(os.urandom(CONTENT_SIZE))
    return file


class Response:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()


def request(
    server: TusServer,
    method: str,
    path: str,
    headers: dict[str, str] | list[tuple[str, str]],
    body: bytes | None = None,
) -> Response:
    """One request, whose headers may be repeated."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        connection.putrequest(method, path)
        for name, value in headers.items() if isinstance(headers, dict) else headers:
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body or b"")))
        connection.endheaders(body)
        return Response(connection.getresponse())
    finally:
        connection.close()


def creation(key: str, size: int = 10) -> dict[str, str]:
    """The headers with which Whisper's client creates an upload."""
    return {
        **TUS,
        "Upload-Length": str(size),
        "Upload-Metadata": metadata(filename=key),
        "Authorization": credentials(key),
    }


def create(server: TusServer, headers: dict[str, str] | list[tuple[str, str]]) -> Response:
    return request(server, "POST", "/attachments", headers)


def append(server: TusServer, key: str, offset: int, body: bytes) -> Response:
    headers = {**TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    return request(server, "PATCH", f"/attachments/{key}", headers, body)


def stored(server: TusServer, key: str) -> bytes:
    """What is kept of the upload; downloads are not tusd's (test_stack_cdn3.py has them)."""
    return (server.uploads / key).read_bytes()


def state(server: TusServer, key: str) -> Response:
    """What a client that wants to go on is answered."""
    return request(server, "HEAD", f"/attachments/{key}", TUS)


def client_options(port: int, key: str, content: Path) -> Json:
    return {
        "endpoint": f"http://127.0.0.1:{port}/attachments",
        "file": str(content),
        "headers": {"Authorization": credentials(key)},
        "metadata": {"filename": key},
        "retryDelays": [200, 500, 1000, 2000],
    }


# --- uploads --------------------------------------------------------------------------------------------------


def test_client_uploads_is_interrupted_and_resumes(server: TusServer, content: Path) -> None:
    key = new_key()
    with closing(LossyProxy(server.port, CONTENT_SIZE // 3)) as proxy:
        report = upload(**client_options(proxy.port, key, content))
        assert report["url"] == f"http://127.0.0.1:{proxy.port}/attachments/{key}"
    requests = [(one["method"], one["status"]) for one in report["requests"]]
    assert requests == [("POST", 201), ("HEAD", 200), ("PATCH", 204)]
    assert 0 < report["requests"][1]["offset"] < CONTENT_SIZE, "it resumed in the middle"
    assert stored(server, key) == content.read_bytes()


def test_upload_with_its_creation_and_an_empty_one(server: TusServer) -> None:
    key, empty = new_key(), new_key()
    headers = {**creation(key), "Content-Type": "application/offset+octet-stream"}
    assert request(server, "POST", "/attachments", headers, b"0123456789").status == 201
    assert stored(server, key) == b"0123456789"
    assert create(server, creation(empty, 0)).status == 201
    assert (server.uploads / empty).read_bytes() == b""


REFUSED: dict[str, tuple[int, Callable[[str], dict[str, str | None]]]] = {
    "no credentials": (401, lambda key: {"Authorization": None}),
    "forged credentials": (401, lambda key: {"Authorization": credentials(key, secret=bytes(32))}),
    "expired credentials": (401, lambda key: {"Authorization": credentials(key, MAX_AGE + 60)}),
    "credentials of another key": (403, lambda key: {"Authorization": credentials(new_key())}),
    "no metadata": (400, lambda key: {"Upload-Metadata": None}),
    "too large": (413, lambda key: {"Upload-Length": str(MAX_SIZE + 1)}),
    "info file": (400, lambda key: {"Upload-Metadata": metadata(filename=f"{key}.info")}),
    "path traversal": (400, lambda key: {"Upload-Metadata": metadata(filename="../../../tmp/evil")}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusal_reaches_the_client_and_creates_nothing(server: TusServer, case: str) -> None:
    status, changes = REFUSED[case]
    key = new_key()
    before = set(server.uploads.iterdir())
    headers = {name: value for name, value in {**creation(key), **changes(key)}.items() if value is not None}
    assert create(server, headers).status == status
    assert set(server.uploads.iterdir()) == before


def test_a_client_hears_that_there_is_no_space(tmp_path: Path) -> None:
    with cdn3(tmp_path, "--min-free", "999999999999999") as server:
        refused = create(server, creation(new_key()))
        assert (refused.status, refused.headers["Retry-After"]) == (507, "60")
        assert list(server.uploads.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Also once the hook no longer remembers that it gave the key away."""
    key = new_key()
    with cdn3(tmp_path, "--reserve", "0") as server:
        assert create(server, creation(key)).status == 201
        assert append(server, key, 0, b"01234").status == 204
        assert create(server, creation(key)).status == 409
        assert append(server, key, 5, b"56789").status == 204
        assert create(server, creation(key)).status == 409
        assert stored(server, key) == b"0123456789"


def test_of_many_creations_at_once_one_succeeds(server: TusServer) -> None:
    key = new_key()
    with ThreadPoolExecutor(12) as pool:
        statuses = sorted(pool.map(lambda _: create(server, creation(key)).status, range(24)))
    assert statuses == [201] + [409] * 23


# --- tusd as it is rendered -------------------------------------------------------------------------------------------


def shape(value: Any) -> Any:
    """The types in a JSON value, without what a client chooses."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items() if name != "Header"}
    return type(value).__name__


def test_recorded_calls_have_the_form_of_tusds_own(tmp_path: Path) -> None:
    calls: list[tuple[str, Json]] = []

    class Recorder(Handler):
        def answer(self) -> None:
            calls.append((self.headers["Content-Type"], json.loads(self.taken())))
            self.reply(200, b'{"RejectUpload": true}')

    with serving(Recorder) as port:
        with skip_if_missing():
            server = TusServer(tmp_path, tmp_path, port, MAX_SIZE, rendered_flags())
        with server:
            create(server, [*creation(new_key()).items(), ("X-Twice", "1"), ("x-twice", "2")])
    [(content_type, call)] = calls
    assert content_type == "application/json"
    assert shape(call) == shape(RECORDED[0]["call"])
    assert call["Event"]["HTTPRequest"]["Header"]["X-Twice"] == ["1", "2"]


def test_tusd_passes_on_the_challenge(server: TusServer) -> None:
    headers = creation(new_key())
    del headers["Authorization"]
    response = create(server, headers)
    assert response.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert response.body == b"credentials are required\n"


def test_tusd_names_the_upload_by_the_proxys_scheme_and_host(server: TusServer) -> None:
    key = new_key()
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "cdn3.example.org"}
    assert create(server, {**creation(key), **forwarded}).headers["Location"] == (
        f"https://cdn3.example.org/attachments/{key}"
    )


def test_tusd_keeps_no_other_metadata(server: TusServer) -> None:
    key = new_key()
    headers = {**creation(key, 0), "Upload-Metadata": metadata(filetype="text/html", filename=key)}
    assert create(server, headers).status == 201
    assert state(server, key).headers["Upload-Metadata"] == metadata(filename=key)


TUSD_REFUSED: dict[str, tuple[int, list[tuple[str, str]]]] = {
    "size left open": (400, [("Upload-Defer-Length", "1")]),
    "part": (400, [("Upload-Length", "1"), ("Upload-Concat", "partial")]),
    "joined parts": (400, [("Upload-Concat", "final;/attachments/{done}")]),
    "metadata on two lines": (400, [("Upload-Length", "1"), ("Upload-Metadata", metadata(filename=new_key()))]),
    "credentials on two lines": (401, [("Upload-Length", "1"), ("Authorization", "Basic eA==")]),
    "oversized headers": (431, [("Upload-Length", "1"), ("X-Padding", "<" * 500_000)]),
}


@pytest.mark.parametrize("case", TUSD_REFUSED)
def test_tusd_creates_nothing_else(server: TusServer, case: str) -> None:
    done, key = new_key(), new_key()
    assert create(server, creation(done, 0)).status == 201
    before = set(server.uploads.iterdir())
    status, added = TUSD_REFUSED[case]
    headers = [pair for pair in creation(key).items() if pair[0] != "Upload-Length"]
    headers += [(name, value.format(done=done)) for name, value in added]
    assert create(server, headers).status == status
    assert set(server.uploads.iterdir()) == before


def test_tusd_offers_neither_downloads_nor_deletion_nor_concatenation(server: TusServer) -> None:
    key = new_key()
    assert create(server, creation(key, 0)).status == 201
    assert request(server, "GET", f"/attachments/{key}", {}).status == 405
    assert request(server, "DELETE", f"/attachments/{key}", TUS).status == 405
    assert request(server, "OPTIONS", "/attachments/", TUS).headers["Tus-Extension"] == (
        "creation,creation-with-upload,creation-defer-length"
    )
    assert (server.uploads / key).exists()


def test_tusd_shows_neither_metrics_nor_a_greeting(server: TusServer) -> None:
    assert request(server, "GET", "/metrics", {}).status == 404
    assert request(server, "GET", "/", {}).status == 404


def test_tusd_creates_nothing_without_the_hook(tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    with start_hook(tmp_path, uploads) as hook:
        with skip_if_missing():
            server = TusServer(tmp_path, uploads, ports(hook)[0], MAX_SIZE, rendered_flags())
        with server:
            assert create(server, creation(new_key())).status == 201
            before = set(uploads.iterdir())
            hook.stop()
            assert create(server, creation(new_key())).status == 500
            assert set(uploads.iterdir()) == before


def sweep(folder: Path, uploads: Path, *arguments: str) -> Json:
    """One sweep of the expiry."""

    def sweeps(process: Process) -> list[Json]:
        return [event for event in events(process) if event["event"] == "sweep"]

    flags = ["--interval", "3600", "--completed-max-age", "1000", "--incomplete-max-age", "100", *arguments]
    with program(
        "expiry", EXPIRY, folder, "--upload-dir", uploads, "--health-listen", "127.0.0.1:0", *flags
    ) as process:
        process.wait_ready(lambda: bool(sweeps(process)))
        return sweeps(process)[-1]


def test_expiry_removes_tusds_old_uploads(tmp_path: Path) -> None:
    keys = {"complete": new_key(), "incomplete": new_key(), "old": new_key(), "idle": new_key()}
    with cdn3(tmp_path) as server:
        for name, key in keys.items():
            assert create(server, creation(key)).status == 201
            data = b"0123456789" if name in ("complete", "old") else b"01234"
            assert append(server, key, 0, data).status == 204
        for name, age in (("complete", 900), ("incomplete", 90), ("old", 1100), ("idle", 110)):
            for path in server.uploads.glob(f"{keys[name]}*"):
                os.utime(path, (time.time() - age,) * 2)
        swept = sweep(tmp_path, server.uploads)
        assert (swept["completed"], swept["incomplete"], swept["kept"]) == (1, 1, 2)
        assert stored(server, keys["complete"]) == b"0123456789"
        assert append(server, keys["incomplete"], 5, b"56789").status == 204
        assert state(server, keys["old"]).status == 404
        assert append(server, keys["idle"], 5, b"56789").status == 404


def test_expiry_frees_an_upload_from_a_dead_tusds_lock(tmp_path: Path) -> None:
    """In a container tusd has the same process id after a restart, so it takes the lock for a living one's."""
    key = new_key()
    with cdn3(tmp_path) as server:
        assert create(server, creation(key, 0)).status == 201
        lock = server.uploads / f"{key}.lock"
        lock.write_text(f"{server.process.pid}\n")
        for path in server.uploads.iterdir():
            os.utime(path, (time.time() - 60,) * 2)
        assert sweep(tmp_path, server.uploads, "--lock-max-age", "30")["locks"] == 1
        assert state(server, key).status == 200
