"""CDN3's expiry, run as in the cluster over a directory as tusd leaves it: what goes, what stays, what it survives."""

import http.client
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.process import Process, wait_until
from tests.programs.starts import all_refused, by_name
from tests.tus.hook import EXPIRY, Json, events, new_key, ports, program

COMPLETED = 1000
INCOMPLETE = 100
LOCK = 50


def start(folder: Path, uploads: Path, *arguments: str, interval: int = 3600, node: tuple[str, ...] = ()) -> Process:
    return program(
        "expiry",
        EXPIRY,
        folder,
        *("--upload-dir", uploads, "--interval", str(interval), "--health-listen", "127.0.0.1:0"),
        *("--completed-max-age", str(COMPLETED), "--incomplete-max-age", str(INCOMPLETE), *arguments),
        node=node,
    )


def sweeps(process: Process) -> list[Json]:
    return [event for event in events(process) if event["event"] == "sweep"]


@contextmanager
def waiting(folder: Path, uploads: Path, *arguments: str, **how: Any) -> Iterator[Process]:
    """The program after its first sweep."""
    with start(folder, uploads, *arguments, **how) as process:
        process.wait_ready(lambda: bool(sweeps(process)))
        yield process


def sweep(folder: Path, uploads: Path, *arguments: str, node: tuple[str, ...] = ()) -> Json:
    """One sweep; returns its line of the log, with the lines of its errors under `messages`."""
    with waiting(folder, uploads, *arguments, node=node) as process:
        messages = [event for event in events(process) if event["event"] in ("error", "sweep-failed")]
        return {**sweeps(process)[0], "messages": messages}


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    folder = tmp_path / "uploads"
    folder.mkdir()
    return folder


def put(path: Path, content: bytes, age: float) -> Path:
    path.write_bytes(content)
    os.utime(path, (time.time() - age,) * 2)
    return path


def info(size: int, **changes: Any) -> bytes:
    """The info that tusd 2.9.1's file store writes."""
    fields = {
        "ID": "k",
        "Size": size,
        "SizeIsDeferred": False,
        "Offset": 0,
        "MetaData": {"filename": "k"},
        "IsPartial": False,
        "IsFinal": False,
        "PartialUploads": None,
        "Storage": {"InfoPath": "k.info", "Path": "k", "Type": "filestore"},
    }
    return json.dumps({**fields, **changes}).encode()


def upload(folder: Path, size: int, stored: int, age: float, info_age: float | None = None, **changes: Any) -> str:
    """An upload of `size` bytes of which `stored` came, last written `age` seconds ago; its key."""
    key = new_key()
    put(folder / key, b"x" * stored, age)
    put(folder / f"{key}.info", info(size, **changes), age if info_age is None else info_age)
    return key


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def pair(key: str) -> set[str]:
    return {key, f"{key}.info"}


def test_only_old_uploads_go(tmp_path: Path, uploads: Path) -> None:
    kept = [
        upload(uploads, 10, 10, COMPLETED - 60, COMPLETED + 500),
        upload(uploads, 0, 0, INCOMPLETE + 60),
        upload(uploads, 10, 5, INCOMPLETE - 60, INCOMPLETE + 500),
        upload(uploads, 10, 0, 0),
    ]
    upload(uploads, 10, 10, COMPLETED + 60)
    upload(uploads, 0, 0, COMPLETED + 60)
    upload(uploads, 10, 7, INCOMPLETE + 60)
    upload(uploads, 10, 0, INCOMPLETE + 60)
    swept = sweep(tmp_path, uploads)
    assert names(uploads) == set().union(*map(pair, kept))
    expected = {"completed": 2, "incomplete": 2, "orphan": 0, "deleted_bytes": 17, "kept": 4, "kept_bytes": 15}
    assert {name: swept[name] for name in expected} == expected
    assert (swept["errors"], swept["skipped"], swept["foreign"]) == (0, 0, 0)
    assert swept["free_bytes"] > 0


def test_info_without_a_fitting_size_means_incomplete(tmp_path: Path, uploads: Path) -> None:
    contents = {
        "empty": b"",
        "cut off": b'{"Size": 1',
        "null": b"null",
        "list": b"[]",
        "not text": b"\xff\xfe",
        "deferred": info(5, SizeIsDeferred=True),
        "text": info(5, Size="5"),
        "no size": info(5, Size=None),
        "smaller": info(4),
        "huge": b" " * 40000 + info(5),
    }
    old, young = ({name: new_key() for name in contents} for _ in range(2))
    for keys, age in ((old, INCOMPLETE + 60), (young, INCOMPLETE - 60)):
        for name, key in keys.items():
            put(uploads / key, b"12345", age)
            put(uploads / f"{key}.info", contents[name], age)
    swept = sweep(tmp_path, uploads)
    left = names(uploads)
    assert {name for name, key in old.items() if pair(key) & left} == set(), "kept, though they are old"
    assert {name for name, key in young.items() if not pair(key) <= left} == set(), "gone, though they are young"
    assert (swept["incomplete"], swept["completed"], swept["errors"]) == (len(contents), 0, 0)


def test_incomplete_upload_lives_while_either_file_is_written(tmp_path: Path, uploads: Path) -> None:
    resumed = upload(uploads, 10, 5, age=0, info_age=INCOMPLETE + 60)
    declared = upload(uploads, 10, 5, age=INCOMPLETE + 60, info_age=0)
    assert sweep(tmp_path, uploads)["kept"] == 2
    assert names(uploads) == pair(resumed) | pair(declared)


def test_halves_of_a_pair_go_after_the_age_of_the_incomplete(tmp_path: Path, uploads: Path) -> None:
    data, lone, young = new_key(), new_key(), new_key()
    put(uploads / data, b"1234", INCOMPLETE + 60)
    put(uploads / f"{lone}.info", info(4), INCOMPLETE + 60)
    put(uploads / young, b"1234", INCOMPLETE - 60)
    put(uploads / f"{new_key()}.info", info(4), INCOMPLETE - 60)
    swept = sweep(tmp_path, uploads)
    assert (swept["orphan"], swept["deleted_bytes"], swept["kept"]) == (2, 4, 2)
    assert young in names(uploads)
    assert len(names(uploads)) == 2


def test_every_other_name_is_left_alone(tmp_path: Path, uploads: Path) -> None:
    age = COMPLETED * 100
    key = new_key()
    others = [
        *("evil.info", "a" * 19, "a" * 21, "a" * 21 + ".info", f"{key}.info.info", f"{key}.INFO", f"{key}.txt"),
        *(f".{key[1:]}", f"{key}.lock", f"{key}.stop", f"{key}.lock.123", "lost+found", f"{key[:-1]}+", f"{key}\n"),
        *(f"{key}.infox", f"{key}info", ".info", "a b"),
    ]
    for name in others:
        put(uploads / name, info(0), age)
    nested = uploads / "folder"
    nested.mkdir()
    put(nested / key, b"", age)
    put(tmp_path / key, b"", age)
    swept = sweep(tmp_path, uploads)
    assert names(uploads) == {*others, "folder"}
    assert (nested / key).exists()
    assert (tmp_path / key).exists()
    assert (swept["locks"], swept["completed"], swept["orphan"]) == (0, 0, 0)
    assert swept["foreign"] == len(names(uploads)) - len([f"{key}.lock", f"{key}.stop"])


def test_links_and_folders_are_never_followed_nor_deleted(tmp_path: Path, uploads: Path) -> None:
    age = COMPLETED * 100
    outside = put(tmp_path / "outside", b"data", age)
    outside_info = put(tmp_path / "outside.info", info(4), age)
    linked, linked_info, folder, pipe = new_key(), new_key(), new_key(), new_key()
    (uploads / linked).symlink_to(outside)
    put(uploads / f"{linked}.info", info(4), age)
    put(uploads / linked_info, b"data", age)
    (uploads / f"{linked_info}.info").symlink_to(outside_info)
    (uploads / folder).mkdir()
    os.mkfifo(uploads / f"{pipe}.info")
    for path in uploads.iterdir():
        os.utime(path, (time.time() - age,) * 2, follow_symlinks=False)
    before = names(uploads)
    swept = sweep(tmp_path, uploads)
    assert names(uploads) == before
    assert (swept["skipped"], swept["errors"]) == (4, 0)
    assert (outside.read_bytes(), outside_info.read_bytes()) == (b"data", info(4))


def test_a_path_in_the_info_is_not_believed(tmp_path: Path, uploads: Path) -> None:
    outside = put(tmp_path / "outside", b"data", COMPLETED * 100)
    upload(uploads, 4, 4, COMPLETED + 60, Storage={"Path": str(outside), "InfoPath": str(outside)})
    assert sweep(tmp_path, uploads)["completed"] == 1
    assert outside.exists()
    assert names(uploads) == set()


def test_a_download_under_way_ends_well(tmp_path: Path, uploads: Path) -> None:
    key = upload(uploads, 6, 6, COMPLETED + 60)
    with (uploads / key).open("rb") as download:
        assert download.read(2) == b"xx"
        assert sweep(tmp_path, uploads)["completed"] == 1
        assert download.read() == b"xxxx"
    assert names(uploads) == set()


def unprivileged(path: Path) -> tuple[str, ...]:
    """Node's permission model with deletion forbidden for one file: an error that does not depend on the user."""
    writable = [other for other in path.parent.iterdir() if other != path]
    return (
        "--permission",
        f"--allow-fs-read={EXPIRY.parents[1]}/",
        f"--allow-fs-read={path.parent}/",
        *(f"--allow-fs-write={other}" for other in writable),
    )


@pytest.mark.parametrize("suffix", ["", ".info"])
def test_one_file_that_cannot_be_deleted_does_not_stop_the_others(tmp_path: Path, uploads: Path, suffix: str) -> None:
    """Data go first: an upload whose data cannot be deleted stays whole, and one whose info cannot is tried again."""
    keys = [upload(uploads, 4, 4, COMPLETED + 60) for _ in range(5)]
    stuck = keys[2]
    swept = sweep(tmp_path, uploads, node=unprivileged(uploads / f"{stuck}{suffix}"))
    assert (swept["completed"], swept["errors"]) == (4, 1)
    assert names(uploads) == (pair(stuck) if suffix == "" else {f"{stuck}.info"})
    [message] = swept["messages"]
    assert message["reason"] == "ERR_ACCESS_DENIED"
    assert message["key"] == f"{stuck[:4]}…"
    assert sweep(tmp_path / "again", uploads)["errors"] == 0
    assert names(uploads) == set()


def test_locks_of_a_dead_tusd_go_only_when_asked_and_idle(tmp_path: Path, uploads: Path) -> None:
    dead, busy, young, gone = upload(uploads, 9, 5, 90), upload(uploads, 9, 5, 5), upload(uploads, 9, 5, 90), new_key()
    for key, age in ((dead, 90), (busy, 90), (young, 5), (gone, 90)):
        for suffix in ("lock", "stop"):
            put(uploads / f"{key}.{suffix}", b"1\n", age)
    link = uploads / f"{new_key()}.lock"
    link.symlink_to("nowhere")
    os.utime(link, (time.time() - 90,) * 2, follow_symlinks=False)
    before = names(uploads)
    assert sweep(tmp_path, uploads)["locks"] == 0
    assert names(uploads) == before
    assert sweep(tmp_path / "asked", uploads, "--lock-max-age", str(LOCK))["locks"] == 4
    assert names(uploads) == before - {f"{key}.{suffix}" for key in (dead, gone) for suffix in ("lock", "stop")}


def test_empty_directory_and_two_thousand_uploads(tmp_path: Path, uploads: Path) -> None:
    assert sweep(tmp_path / "empty", uploads)["kept"] == 0
    for number in range(2000):
        age = COMPLETED + 60 if number % 2 else 0
        key = f"{number:020}"
        put(uploads / key, b"", age)
        put(uploads / f"{key}.info", info(0), age)
    swept = sweep(tmp_path, uploads)
    assert (swept["completed"], swept["kept"], swept["errors"]) == (1000, 1000, 0)
    assert len(names(uploads)) == 2000


# --- the process ----------------------------------------------------------------------------------------------


def test_sweeps_again_and_again(tmp_path: Path, uploads: Path) -> None:
    with waiting(tmp_path, uploads, interval=1) as process:
        key = upload(uploads, 4, 4, COMPLETED + 60)
        wait_until(lambda: not (uploads / key).exists(), 10, "the next sweep")
        wait_until(lambda: sum(line["completed"] for line in sweeps(process)) == 1, 10, "its line in the log")


def health(port: int, path: str = "/livez") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_liveness_fails_while_nothing_is_swept_and_recovers(tmp_path: Path, uploads: Path) -> None:
    with start(tmp_path, uploads, "--health-max-age", "2", interval=1) as process:
        [port] = ports(process)
        assert health(port) == 200
        assert health(port, "/") == 404
        away = uploads.rename(tmp_path / "away")
        wait_until(lambda: health(port) == 503, 20, "unhealthy")
        assert any(event["event"] == "sweep-failed" for event in events(process))
        assert process.running()
        away.rename(uploads)
        wait_until(lambda: health(port) == 200, 20, "healthy again")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_at_once_on_a_signal(tmp_path: Path, uploads: Path, number: signal.Signals) -> None:
    with waiting(tmp_path, uploads) as process:
        os.kill(process.pid, number)
        assert process.wait(4) == 0


def test_log_shows_no_whole_key(tmp_path: Path, uploads: Path) -> None:
    keys = [upload(uploads, 4, 4, COMPLETED + 60) for _ in range(3)]
    with waiting(tmp_path, uploads, node=unprivileged(uploads / keys[0])) as process:
        assert not [key for key in keys if key in process.text()]


def test_wrong_flags_end_it_with_one_clear_line(uploads: Path) -> None:
    good = {
        "upload-dir": uploads,
        "interval": "60",
        "completed-max-age": "60",
        "incomplete-max-age": "60",
        "health-listen": "127.0.0.1:0",
    }
    wrong: list[tuple[dict[str, str | None], str]] = [
        ({"upload-dir": "/nonexistent/folder"}, "--upload-dir is not a directory"),
        ({"interval": "0"}, "--interval must be a whole number of seconds, 1 to 999999999"),
        ({"interval": None}, "--interval must be a whole number of seconds, 1 to 999999999"),
        ({"completed-max-age": "45d"}, "--completed-max-age must be"),
        ({"incomplete-max-age": "-1"}, "Option '--incomplete-max-age' argument is ambiguous"),
        ({"health-listen": "8080"}, "--health-listen must be an IP address and a port"),
        ({"lock-max-age": "0"}, "--lock-max-age must be"),
        ({"unknown": "1"}, "Unknown option '--unknown'"),
    ]
    all_refused(EXPIRY, [(by_name(good, changes), says) for changes, says in wrong])
