"""CDN3's downloads over real connections: what they serve, how long they wait, and above all what they do not serve."""

import email.utils
import json
import os
import random
import re
import resource
import signal
import socket
import string
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.programs import CDN3_DOWNLOAD
from tests.lab.process import listening, wait_until
from tests.programs.downloads import (
    BASE,
    CONTENT,
    DOWNLOAD,
    FLOOR,
    FUTURE,
    LONG_AGO,
    MEMORY_LIMIT,
    MIB,
    PRECONDITIONS,
    RANGE,
    UNSATISFIABLE,
    WHOLE,
    Client,
    Headers,
    Reply,
    Server,
    check_head,
    check_if_range,
    check_precondition,
    check_range,
    check_whole,
    peak_memory,
    range_verdict,
)
from tests.programs.starts import all_refused, by_name
from tests.tus.hook import Json, events, new_key, permissions, ports, program

ONE_MACHINE = ("--max-per-client", "512")
"""Here all clients have one address."""
NOT_FOUND = (404, 400)
"""The second where Node's parser refuses the target itself."""


@contextmanager
def serving(folder: Path, *arguments: str, node: tuple[str, ...] = ()) -> Iterator[Server]:
    """The program over `<folder>/uploads`, on free ports."""
    uploads = folder / "uploads"
    uploads.mkdir(exist_ok=True)
    listen = ("--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0")
    with program("download", DOWNLOAD, folder, *listen, "--upload-dir", uploads, *arguments, node=node) as process:
        yield Server(process, uploads, *ports(process, 2))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that tests share; each makes uploads of its own."""
    with serving(tmp_path_factory.mktemp("cdn3")) as server:
        yield server
        assert server.process.running()
        assert server.open_files() == []
        assert [event for event in events(server.process) if event["event"] == "error"] == []


def info(size: int, **changes: Any) -> bytes:
    """The info that tusd 2.9.1's file store writes."""
    storage = {"InfoPath": "k.info", "Path": "k", "Type": "filestore"}
    fields = {"ID": "k", "Size": size, "SizeIsDeferred": False, "Offset": 0, "MetaData": {}, "Storage": storage}
    return json.dumps({**fields, **changes}).encode()


def put(folder: Path, content: bytes, key: str | None = None) -> str:
    """A complete upload; its key."""
    key = key or new_key()
    (folder / key).write_bytes(content)
    (folder / f"{key}.info").write_bytes(info(len(content)))
    return key


# --- content --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000])
def test_a_complete_upload_is_served_whole(shared: Server, size: int) -> None:
    key = put(shared.uploads, CONTENT[:size])
    modified = int((shared.uploads / key).stat().st_mtime)
    etag = check_whole(shared.ask(key), CONTENT[:size], email.utils.formatdate(modified, usegmt=True))
    assert re.fullmatch(r'"[A-Za-z0-9_-]{22}"', etag)


def test_head_is_get_without_content_and_without_ranges(shared: Server) -> None:
    check_head(shared, put(shared.uploads, CONTENT))


def test_etag_tells_contents_apart_and_nothing_of_the_key(shared: Server, tmp_path: Path) -> None:
    keys = [put(shared.uploads, content) for content in (b"1234", b"5678", b"12345")]
    stamp = 1_700_000_000_000_000_000
    for key, nanoseconds in zip(keys, (stamp, stamp + 1, stamp), strict=True):
        os.utime(shared.uploads / key, ns=(stamp, nanoseconds))
    etags = [shared.ask(key).headers["etag"] for key in keys]
    assert len(set(etags)) == 3
    other = shared.uploads / put(shared.uploads, b"1234")
    os.utime(other, ns=(stamp, stamp))
    assert shared.ask(other.name).headers["etag"] == etags[0]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-99", (0, 100)),
        ("bytes=5-", (5, 100)),
        ("bytes=99-", (99, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-7", (93, 100)),
        ("bytes=-100", (0, 100)),
        ("bytes=-101", (0, 100)),
        ("BYTES=3-4", (3, 5)),
        ("bytes=0-99999999999999999999999999", (0, 100)),
        ("bytes=0099-", (99, 100)),
        ("bytes=100-", UNSATISFIABLE),
        ("bytes=100-200", UNSATISFIABLE),
        ("bytes=99999999999999999999-", UNSATISFIABLE),
        ("bytes=-0", UNSATISFIABLE),
        ("bytes=5-4", WHOLE),
        ("bytes=9007199254740993-9007199254740992", WHOLE),
        ("bytes=0-0,5-6", WHOLE),
        ("bytes=0-0, -1", WHOLE),
        ("bytes=-", WHOLE),
        ("bytes=", WHOLE),
        ("bytes", WHOLE),
        ("", WHOLE),
        ("bytes=a-b", WHOLE),
        ("bytes=+1-2", WHOLE),
        ("bytes=1.0-2", WHOLE),
        ("bytes=0x1-2", WHOLE),
        ("bytes=--1", WHOLE),
        ("bytes=1--2", WHOLE),
        ("bytes= 1-2", WHOLE),
        ("lines=1-2", WHOLE),
        ("bytes=" + "9" * 4000 + "-", UNSATISFIABLE),
    ],
)
def test_ranges(shared: Server, header: str, expected: tuple[int, int] | str) -> None:
    assert range_verdict(header, 100) == expected
    content = CONTENT[:100]
    check_range(shared.ask(put(shared.uploads, content), {"Range": header}), header, content)


def test_ranges_across_chunks_and_of_nothing(shared: Server) -> None:
    large, empty = put(shared.uploads, CONTENT), put(shared.uploads, b"")
    for header in ("bytes=65535-131072", "bytes=65536-", "bytes=-65537", "bytes=1-199998"):
        check_range(shared.ask(large, {"Range": header}), header, CONTENT)
    for header in ("bytes=0-", "bytes=0-0", "bytes=-5", "bytes=-0"):
        check_range(shared.ask(empty, {"Range": header}), header, b"")


def test_a_repeated_range_header_gets_the_whole(shared: Server) -> None:
    key = put(shared.uploads, CONTENT[:100])
    assert shared.ask(key, {"Range": "bytes=0-1", "range": "bytes=2-3"}).body == CONTENT[:100]


def test_if_range_resumes_only_the_same_content(shared: Server) -> None:
    check_if_range(shared, put(shared.uploads, CONTENT[:100]))


@pytest.mark.parametrize(("headers", "status"), PRECONDITIONS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_preconditions(shared: Server, method: str, headers: Headers, status: int) -> None:
    check_precondition(shared, put(shared.uploads, CONTENT[:100]), method, headers, status)


# --- what is not served ---------------------------------------------------------------------------------------


INFOS_OF_INCOMPLETE_UPLOADS: dict[str, bytes | None] = {
    "empty": b"",
    "cut off": b'{"Size": 5',
    "null": b"null",
    "number": b"5",
    "not text": b"\xff\xfe",
    "deferred": info(5, SizeIsDeferred=True),
    "null flag": info(5, SizeIsDeferred=None),
    "text": info(5, Size="5"),
    "no size": info(5, Size=None),
    "larger": info(6),
    "smaller": info(4),
    "huge": b" " * 40000 + info(5),
    "missing": None,
}


@pytest.mark.parametrize("content", INFOS_OF_INCOMPLETE_UPLOADS.values(), ids=INFOS_OF_INCOMPLETE_UPLOADS)
def test_an_incomplete_upload_is_like_none_until_it_is_complete(shared: Server, content: bytes | None) -> None:
    key = put(shared.uploads, b"12345")
    file = shared.uploads / f"{key}.info"
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    none = shared.ask(new_key())
    for method in ("GET", "HEAD"):
        reply = shared.ask(key, {"Range": "bytes=0-1", "If-None-Match": "*"}, method)
        assert {**reply.headers, "date": ""} == {**none.headers, "date": ""}
        assert (reply.status, none.status, reply.body) == (404, 404, b"")
        assert reply.headers["cache-control"] == "no-store"
    file.write_bytes(info(5))
    assert shared.ask(key).body == b"12345"


@pytest.fixture(scope="module")
def planted(shared: Server) -> str:
    """A complete upload among everything else that a directory can hold and a path can reach."""
    key = put(shared.uploads, b"public")
    others = [f"{key}.lock", f"{key}.stop", "x" * 19, "x" * 21, f"{key}.info.info", "a.b-cdefghijklmnopqr", "short"]
    for name in others:
        (shared.uploads / name).write_bytes(b"secret")
        (shared.uploads / f"{name}.info").write_bytes(info(6))
    for folder in (shared.uploads / "folder", shared.uploads.parent):
        folder.mkdir(exist_ok=True)
        put(folder, b"secret", "n" * 20)
    return key


@pytest.mark.parametrize(
    "target",
    [
        *("/", "/attachments", BASE, "/attachments//{key}", "//attachments/{key}", "/{key}", "{key}", "/files/{key}"),
        *(BASE + "{key}" + end for end in (".info", ".lock", ".stop", "/", "?", "?x=1", "#", "%00", "%20", ";x", ".")),
        *(BASE + "{key}" + end for end in ("/../{key}", "x", "%0a", "\\", "*", "\xe9")),
        *(BASE + path for path in ("../" + "n" * 20, "..%2f" + "n" * 20, "%2e%2e/" + "n" * 20, "folder/" + "n" * 20)),
        *(BASE + path for path in ("./{key}", "../attachments/{key}", "../uploads/{key}", "%2e/{key}", ".", "..")),
        *(BASE + name for name in ("x" * 19, "x" * 21, "a.b-cdefghijklmnopqr", "short", "~" * 20, "." * 20, "n" * 20)),
        *("http://cdn3/attachments/{key}", "*", "/ATTACHMENTS/{key}", BASE + "%61ttachments", "/metrics", "/readyz"),
    ],
)
def test_every_other_path_is_not_found(shared: Server, planted: str, target: str) -> None:
    with shared.client() as client:
        reply = client.ask(target.format(key=planted))
        assert (reply.status in NOT_FOUND, reply.body) == (True, b"")


def test_a_key_is_not_found_by_an_encoded_or_changed_letter(shared: Server, planted: str) -> None:
    assert shared.ask(planted).body == b"public"
    assert shared.ask(f"%{ord(planted[0]):02x}{planted[1:]}").status == 404
    assert shared.ask(planted.swapcase()).status == 404


def test_links_folders_and_pipes_are_not_found(shared: Server) -> None:
    outside = put(shared.uploads.parent, b"secret")
    inside = put(shared.uploads, b"secret")
    data_link, info_link, absolute, both, folder, pipe, info_pipe, unix = (new_key() for _ in range(8))
    uploads = shared.uploads
    for key, target in ((data_link, inside), (absolute, uploads.parent / outside), (both, f"../{outside}")):
        (uploads / key).symlink_to(target)
        (uploads / f"{key}.info").write_bytes(info(6))
    (uploads / f"{both}.info").unlink()
    (uploads / f"{both}.info").symlink_to(f"../{outside}.info")
    (uploads / info_link).write_bytes(b"secret")
    (uploads / f"{info_link}.info").symlink_to(f"{inside}.info")
    (uploads / folder).mkdir()
    (uploads / f"{folder}.info").write_bytes(info((uploads / folder).stat().st_size))
    os.mkfifo(uploads / pipe)
    (uploads / f"{pipe}.info").write_bytes(info(0))
    (uploads / info_pipe).write_bytes(b"secret")
    os.mkfifo(uploads / f"{info_pipe}.info")
    with socket.socket(socket.AF_UNIX) as listener, pytest.MonkeyPatch.context() as patch:
        patch.chdir(uploads)
        listener.bind(unix)
        (uploads / f"{unix}.info").write_bytes(info(0))
        for key in (data_link, info_link, absolute, both, folder, pipe, info_pipe, unix):
            assert shared.ask(key).status == 404, key
    assert shared.ask(inside).body == b"secret"


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_other_methods_are_not_allowed(shared: Server, method: str) -> None:
    key = put(shared.uploads, b"data")
    reply = shared.ask(key, {"Content-Length": "0"}, method)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")
    assert shared.ask(new_key()[:19], {"Content-Length": "0"}, method).status == 404
    assert shared.ask(key).body == b"data"


# --- anything at all ------------------------------------------------------------------------------------------


class Explorer:
    """Asks one request after the other, with a new connection when the server ended the last."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._client = Client(server.port)

    def ask(self, target: str, headers: Headers | None = None) -> Reply:
        reply = self._client.ask(target, headers)
        if reply.headers["connection"] == "close":
            self.close()
            self._client = Client(self._server.port)
        return reply

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def explorer(shared: Server) -> Iterator[Explorer]:
    with closing(Explorer(shared)) as explorer:
        yield explorer


PIECES = [*("/", "..", ".", "%2e", "%2f", "%00", "\\", "?", "#", ";", "%", "//", "~", "*", "a", "_", "-", "\xe9"), ""]


def mutated(chance: random.Random, target: str, keys: list[str]) -> str:
    at, to = sorted(chance.choices(range(len(target) + 1), k=2))
    piece = chance.choice([*PIECES, ".info", BASE, "attachments", chance.choice(keys)])
    edits: list[Callable[[], str]] = [
        lambda: target[:at] + piece + target[at:],
        lambda: target[:at] + piece + target[at + 1 :],
        lambda: target[:at] + target[at + 1 :],
        lambda: target[:at] + target[to:],
        lambda: target[:at] + target[at:].swapcase(),
        lambda: target + chance.choice([*PIECES, ".info"]),
        lambda: target,
    ]
    return chance.choice(edits)()


@pytest.mark.parametrize("seed", range(2))
def test_mutated_paths_get_the_named_upload_or_nothing(shared: Server, explorer: Explorer, seed: int) -> None:
    chance = random.Random(seed)
    contents = {put(shared.uploads, name.encode()): name.encode() for name in ("one", "another", "the third")}
    incomplete = put(shared.uploads, b"unfinished")
    (shared.uploads / f"{incomplete}.info").write_bytes(info(11))
    keys = [*contents, incomplete]
    served = 0
    for _ in range(1500):
        target = BASE + chance.choice(keys)
        for _ in range(chance.randrange(3)):
            target = mutated(chance, target, keys)
        if not target:
            continue
        earned = contents.get(target.removeprefix(BASE)) if target.startswith(BASE) else None
        reply = explorer.ask(target)
        if earned is None:
            assert (reply.status in NOT_FOUND, reply.body) == (True, b""), target
        else:
            served += 1
            assert (reply.status, reply.body) == (200, earned), target
    assert 150 < served < 1200


TARGET = st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"), min_size=1, max_size=60)
MANY = settings(max_examples=150, deadline=None)


@MANY
@given(target=TARGET | TARGET.map(lambda text: BASE + text) | TARGET.map(lambda text: f"{BASE}{'k' * 20}{text}"))
def test_any_path_gets_nothing(explorer: Explorer, target: str) -> None:
    assert explorer.ask(target).status in NOT_FOUND


@MANY
@given(header=RANGE, size=st.sampled_from([0, 1, 100]))
def test_any_range_gets_what_the_specification_says(shared: Server, explorer: Explorer, header: str, size: int) -> None:
    content, key = CONTENT[:size], f"range-{size:014}"
    if not (shared.uploads / key).exists():
        put(shared.uploads, content, key)
    check_range(explorer.ask(BASE + key, {"Range": header}), header, content)


CONDITION = st.sampled_from(["If-Match", "If-None-Match", "If-Range", "If-Modified-Since", "If-Unmodified-Since"])
VALUE = st.sampled_from(["*", '""', "W/", ",", LONG_AGO, FUTURE]) | st.text(string.printable[:95], max_size=30)


@MANY
@given(headers=st.dictionaries(CONDITION | st.just("Range"), VALUE | RANGE, max_size=4))
def test_any_headers_get_a_part_of_the_upload_or_nothing(shared: Server, explorer: Explorer, headers: Headers) -> None:
    content, key = CONTENT[:100], "conditions-000000000"
    if not (shared.uploads / key).exists():
        put(shared.uploads, content, key)
    reply = explorer.ask(BASE + key, headers)
    assert reply.status in (200, 206, 304, 412, 416)
    if reply.status == 206:
        check_range(reply, headers["Range"], content)
    else:
        assert reply.body == (content if reply.status == 200 else b"")


# --- connections ----------------------------------------------------------------------------------------------


def test_one_connection_serves_many_requests_even_sent_ahead(shared: Server) -> None:
    large, small = put(shared.uploads, CONTENT), put(shared.uploads, b"small")
    with shared.client() as client:
        for _ in range(3):
            assert client.ask(BASE + large).body == CONTENT
        expected = [(large, CONTENT), (small, b"small"), (new_key(), b""), (large, CONTENT)]
        for key, _ in expected:
            client.send(BASE + key)
        assert [client.reply().body for _ in expected] == [content for _, content in expected]


def test_a_client_that_sends_too_many_requests_ahead_is_dropped(shared: Server) -> None:
    key = put(shared.uploads, CONTENT)
    with shared.client() as client:
        client.socket.sendall(f"GET {BASE}{key} HTTP/1.1\r\nHost: cdn3\r\n\r\n".encode() * 200)
        client.wait_end()
    assert shared.ask(key).body == CONTENT


def test_content_of_a_request_is_ignored(shared: Server) -> None:
    key = put(shared.uploads, b"data")
    with shared.client() as client:
        client.send(BASE + key, {"Content-Length": "5"})
        client.socket.sendall(b"12345")
        assert client.reply().body == b"data"
        assert client.ask(BASE + key).body == b"data"


@contextmanager
def under_way(server: Server, key: str) -> Iterator[Client]:
    """A download that waits for its client: the head is read, the content is more than the kernel takes."""
    with server.client(receive_buffer=4096) as client:
        client.send(BASE + key)
        assert client.head().status == 200
        yield client


def test_two_hundred_downloads_of_one_file_at_a_time_in_bounded_memory(tmp_path: Path) -> None:
    content = random.Random(8).randbytes(8 * MIB)
    together = threading.Barrier(200, timeout=30)
    with serving(tmp_path, *ONE_MACHINE) as server:
        key = put(server.uploads, content)

        def fetch(_: int) -> bool:
            with server.client() as client:
                together.wait()
                client.send(BASE + key)
                length = int(client.head().headers["content-length"])
                together.wait()
                return all(client.body(MIB) == content[at : at + MIB] for at in range(0, length, MIB))

        with ThreadPoolExecutor(200) as pool:
            assert list(pool.map(fetch, range(200))) == [True] * 200
        assert peak_memory(server.process) < MEMORY_LIMIT
        wait_until(lambda: not server.open_files(), 10, "files closed")


def test_clients_that_leave_early_leave_nothing_open(tmp_path: Path) -> None:
    with serving(tmp_path, *ONE_MACHINE) as server:
        key = put(server.uploads, bytes(16 * MIB))
        for _ in range(30):
            with under_way(server, key):
                pass
        wait_until(lambda: not server.open_files(), 10, "files closed")
        four = f"GET {BASE}{key} HTTP/1.1\r\nHost: cdn3\r\n\r\n".encode() * 4
        # Ended and reset: while one answer is sent and three wait for their turn, and while files are being opened.
        for linger in (0, 1):
            with server.client(receive_buffer=4096) as client:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", linger, 0))
                client.socket.sendall(four)
                wait_until(lambda: len(server.open_files()) == 4, 10, "four answers begun")
                time.sleep(0.1)
            wait_until(lambda: not server.open_files(), 5, "files closed")
        for number in range(5):
            with ExitStack() as clients:
                for linger in (0, 1) * 20:
                    client = clients.enter_context(server.client(receive_buffer=4096))
                    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", linger, 0))
                    client.socket.sendall(four)
                time.sleep(number / 2_000)
        wait_until(lambda: not server.open_files(), 10, "files closed")
        assert server.ask(put(server.uploads, b"data")).body == b"data"
        server.process.terminate()
        assert server.process.wait(10) == 0
        last = events(server.process)[-1]
        assert (last["event"], last["connections"]) == ("summary", 0)
        assert last["gone"] >= 30
        assert not [event for event in events(server.process) if event["event"] == "error"]


def test_slow_clients_are_served_and_stalled_ones_dropped(tmp_path: Path) -> None:
    """The kernel takes up to 2 MiB at a time; here one comes every 0.6 s, and all take longer than twice the limit."""
    content = random.Random(5).randbytes(8 * MIB)
    with serving(tmp_path, *FLOOR) as server, server.client() as slow, server.client() as stalled:
        key = put(server.uploads, content)
        stalled.send(BASE + key)
        stalled.head()
        slow.send(BASE + key)
        slow.head()
        started = time.monotonic()
        received = bytearray()
        for step in range(1, 65):
            received += slow.body(len(content) // 64)
            time.sleep(max(0, started + step / 25 - time.monotonic()))
        assert bytes(received) == content
        wait_until(lambda: server.open_files() == [], 5, "the stalled client dropped")
        stalled.wait_end()
        assert slow.ask(BASE + key, method="HEAD").status == 200


def test_a_client_that_goes_on_below_the_floor_is_dropped(tmp_path: Path) -> None:
    """It takes bytes all the time, and has begun fast."""
    floor = ("--min-rate", "999999", "--grace-seconds", "3", "--idle-seconds", "3")
    with serving(tmp_path, *floor) as server, server.client(receive_buffer=4096) as dripping:
        key = put(server.uploads, bytes(64 * MIB))
        dripping.send(BASE + key)
        dripping.head()
        dripping.body(16 * MIB)

        def dropped() -> bool:
            dripping.body(32 * 1024)
            return not server.open_files()

        wait_until(dropped, 30, "dropped")
        server.process.terminate()
        assert server.process.wait(10) == 0
        assert events(server.process)[-1]["slow"] == 1


def test_no_client_takes_all_downloads(tmp_path: Path) -> None:
    """512 stalled downloads of one client once left none for others. Traefik writes the last address."""
    mine = ("2001:db8::1", "2001:db8::ffff:2", "203.0.113.9, 2001:db8:0:0:9::")
    with serving(tmp_path, "--max-per-client", "3") as server, ExitStack() as held:
        key = put(server.uploads, bytes(16 * MIB))

        def ask(forwarded: str) -> Client:
            client = held.enter_context(server.client(receive_buffer=4096))
            client.send(BASE + key, {"X-Forwarded-For": forwarded})
            return client

        stalled = [ask(address) for address in mine]
        assert [client.head().status for client in stalled] == [200] * 3
        refused = ask("203.0.113.9, 2001:db8::3").reply()
        assert (refused.status, refused.headers["retry-after"]) == (429, "5")
        assert [ask(address).head().status for address in ("203.0.113.9", "2001:db8:0:1::1")] == [200, 200]
        stalled[0].close()
        wait_until(lambda: ask("2001:db8::4").head().status == 200, 10, "a place that was left is free")


def test_an_unfinished_request_is_dropped_and_nothing_else(tmp_path: Path) -> None:
    content = random.Random(4).randbytes(12 * MIB)
    with serving(tmp_path, "--header-seconds", "1") as server, server.client() as idle, server.client() as unfinished:
        key = put(server.uploads, content)
        assert idle.ask(BASE + key, method="HEAD").status == 200
        with under_way(server, key) as waiting:
            unfinished.socket.sendall(f"GET {BASE}{key} HTTP/1.1\r\nHost: cdn3\r\n".encode())
            assert unfinished.reply().status == 408
            unfinished.wait_end()
            assert idle.ask(BASE + key, method="HEAD").status == 200
            assert waiting.body(len(content)) == content


def test_connections_beyond_the_limit_are_refused_and_probes_are_not(tmp_path: Path) -> None:
    with serving(tmp_path, "--max-connections", "2") as server:
        key = put(server.uploads, b"data")
        with server.client() as one, server.client() as two:
            assert one.ask(BASE + key).body == two.ask(BASE + key).body == b"data"
            with server.client() as three:
                three.wait_end()
            assert server.health() == 200
        wait_until(lambda: reachable(server, key), 10, "a free connection")
        server.process.terminate()
        assert server.process.wait(10) == 0
        assert events(server.process)[-1]["dropped"] >= 1


def reachable(server: Server, key: str) -> bool:
    try:
        return server.ask(key).status == 200
    except (EOFError, ConnectionError):
        return False


# --- files that change meanwhile ------------------------------------------------------------------------------


def test_a_download_under_way_ends_well_when_the_upload_is_deleted(shared: Server) -> None:
    content = random.Random(6).randbytes(12 * MIB)
    key = put(shared.uploads, content)
    with under_way(shared, key) as client:
        (shared.uploads / key).unlink()
        (shared.uploads / f"{key}.info").unlink()
        assert shared.ask(key).status == 404
        assert client.body(len(content)) == content
        assert client.ask(BASE + key).status == 404


def test_a_file_that_becomes_shorter_ends_the_connection_and_is_logged(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        key = put(server.uploads, bytes(12 * MIB))
        with under_way(server, key) as client:
            os.truncate(server.uploads / key, MIB)
            assert len(client.body(12 * MIB)) < 12 * MIB
        assert server.ask(key).status == 404
        [error] = [event for event in events(server.process) if event["event"] == "error"]
        assert (error["key"], error["reason"]) == (f"{key[:4]}…", "the file became shorter")
        assert key not in server.process.text()


def test_a_directory_that_is_away_is_no_proof_of_absence(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        key = put(server.uploads, b"data")
        assert (server.health(), server.health("/"), server.ask(key).status) == (200, 404, 200)
        away = server.uploads.rename(tmp_path / "away")
        reply = server.ask(key)
        assert (reply.status, reply.headers["retry-after"], reply.headers["cache-control"]) == (503, "10", "no-store")
        assert server.health() == 503
        away.rename(server.uploads)
        assert (server.health(), server.ask(key).body) == (200, b"data")


# --- the process ----------------------------------------------------------------------------------------------


def test_runs_confined_to_reading(tmp_path: Path) -> None:
    """Node's permission model allows it nothing but reading its program and the uploads."""
    node = permissions(CDN3_DOWNLOAD, tmp_path / "uploads")
    (tmp_path / "uploads").mkdir()
    with serving(tmp_path, node=node) as server:
        assert server.ask(put(server.uploads, b"data")).body == b"data"
        assert (server.ask(new_key()).status, server.health()) == (404, 200)


def test_a_file_that_cannot_be_opened_is_an_error_and_not_missing(tmp_path: Path) -> None:
    with serving(tmp_path) as server, server.client() as client:
        key = put(server.uploads, b"data")
        assert client.ask(BASE + key).body == b"data"
        limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (0, limits[1]))
        reply = client.ask(BASE + key)
        assert (reply.status, reply.headers["retry-after"], reply.headers["cache-control"]) == (503, "10", "no-store")
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)
        assert client.ask(BASE + key).body == b"data"
        [error] = [event for event in events(server.process) if event["event"] == "error"]
        assert (error["key"], error["reason"]) == (f"{key[:4]}…", "EMFILE")


def test_log_counts_everything_and_shows_no_whole_key(tmp_path: Path) -> None:
    with serving(tmp_path, "--summary-seconds", "1") as server:
        key, missing = put(server.uploads, b"data"), new_key()
        server.ask(key)
        server.ask(key, {"Range": "bytes=0-0"})
        server.ask(key, {"Range": "bytes=9-"})
        server.ask(missing)
        server.ask(f"{key}.info")
        expected = {"200": 1, "206": 1, "416": 1, "404": 2}

        def told() -> list[Json]:
            return [e for e in events(server.process) if e["event"] == "summary" and e["answers"] == expected]

        wait_until(lambda: bool(told()), 10, "a summary")
        assert told()[0]["bytes"] == 5
        assert key not in server.process.text()
        assert missing not in server.process.text()


def test_sigterm_lets_downloads_end_and_takes_no_more(tmp_path: Path) -> None:
    content = random.Random(7).randbytes(12 * MIB)
    with serving(tmp_path) as server, server.client() as idle, server.client() as silent:
        key = put(server.uploads, content)
        assert idle.ask(BASE + key, {"Range": "bytes=0-9"}).body == content[:10]
        with under_way(server, key) as client:
            server.process.terminate()
            wait_until(lambda: not listening("127.0.0.1", server.port), 10, "no more connections")
            idle.wait_end()
            silent.wait_end()
            time.sleep(0.3)
            assert server.process.running()
            assert client.body(len(content)) == content
            client.wait_end()
        assert server.process.wait(5) == 0
        last = events(server.process)[-1]
        assert (last["event"], last["gone"], last["bytes"]) == ("summary", 0, len(content) + 10)


def test_sigterm_ends_it_at_the_latest_after_the_drain(tmp_path: Path) -> None:
    with serving(tmp_path, "--drain-seconds", "1") as server:
        key = put(server.uploads, bytes(12 * MIB))
        with under_way(server, key):
            started = time.monotonic()
            server.process.terminate()
            assert server.process.wait(10) == 0
            assert time.monotonic() - started > 0.9
        assert events(server.process)[-1]["connections"] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_at_once_on_a_signal_when_nothing_is_under_way(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path) as server, server.client() as idle, server.client():
        assert idle.ask(BASE + put(server.uploads, b"data")).body == b"data"
        os.kill(server.process.pid, number)
        assert server.process.wait(5) == 0


def test_wrong_flags_end_it_with_one_clear_line(tmp_path: Path) -> None:
    good = {"listen": "127.0.0.1:0", "health-listen": "127.0.0.1:0", "upload-dir": tmp_path}
    wrong: list[tuple[dict[str, str | None], str]] = [
        ({"upload-dir": "/nonexistent/folder"}, "--upload-dir is not a directory"),
        ({"listen": None}, "--listen must be an IP address and a port"),
        ({"listen": "192.0.2.7:8080"}, "cannot listen on 192.0.2.7:8080 (EADDRNOTAVAIL)"),
        ({"health-listen": "127.0.0.1:65536"}, "--health-listen must be an IP address and a port"),
        ({"base-path": "/attachments"}, "--base-path must begin and end with a slash"),
        ({"base-path": "/a/../"}, "--base-path must begin and end with a slash"),
        ({"max-connections": "0"}, "--max-connections must be a whole number"),
        ({"header-seconds": "x"}, "--header-seconds must be a whole number"),
        ({"idle-seconds": "2m"}, "--idle-seconds must be a whole number"),
        ({"drain-seconds": "-1"}, "Option '--drain-seconds' argument is ambiguous"),
        ({"summary-seconds": "1000000"}, "--summary-seconds must be a whole number, 1 to 999999"),
        ({"unknown": "1"}, "Unknown option '--unknown'"),
    ]
    all_refused(DOWNLOAD, [(by_name(good, changes), says) for changes, says in wrong])


def test_base_path_is_the_only_one(tmp_path: Path) -> None:
    with serving(tmp_path, "--base-path", "/a/b/") as server, server.client() as client:
        key = put(server.uploads, b"data")
        assert client.ask(f"/a/b/{key}").body == b"data"
        assert [client.ask(path + key).status for path in (BASE, "/a/", "/", "/a/b/c/")] == [404] * 4
