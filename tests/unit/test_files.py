"""Files and directories are replaced whole, privately, by one process at a time."""

import os
import stat
from pathlib import Path

import pytest

import files


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"first", b"second"):
        files.write(path, content)
        assert (path.read_bytes(), mode(path), names(tmp_path)) == (content, 0o600, ["file"])
    files.write(path, b"third", 0o644)
    assert (path.read_bytes(), mode(path)) == (b"third", 0o644)


def test_a_failed_write_leaves_the_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    path = tmp_path / "file"
    files.write(path, b"first")
    for function in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, fail)
            with pytest.raises(OSError, match="disk full"):
                files.write(path, b"second")
        assert (path.read_bytes(), names(tmp_path)) == (b"first", ["file"])


def test_a_directory_that_cannot_be_synced_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError("not supported")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    files.write(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_file_is_created_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    assert files.create(path, b"first")
    assert not files.create(path, b"second")
    assert (path.read_bytes(), mode(path), mode(path.parent), names(path.parent)) == (b"first", 0o600, 0o700, ["file"])


@pytest.mark.parametrize("kind", ["absent", "file", "directory"])
def test_a_lock_is_exclusive_until_it_is_released(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "locked"
    if kind == "file":
        path.touch()
    elif kind == "directory":
        path.mkdir()
    with files.Lock(path) as lock:
        with pytest.raises(BlockingIOError):
            files.Lock(path)
        lock.release()
        lock.release()
        files.Lock(path).release()
    files.Lock(path).release()


def test_a_directory_is_replaced_whole(tmp_path: Path) -> None:
    directory = tmp_path / "parent" / "directory"
    files.replace_directory(directory, {"a": b"1", "b": b"2"})
    files.replace_directory(directory, {"b": b"3"})
    assert (names(directory), (directory / "b").read_bytes()) == (["b"], b"3")
    assert (mode(directory), mode(directory / "b"), names(directory.parent)) == (0o700, 0o600, ["directory"])
