"""Files on volumes, read and written by the program that runs in their pod, here on a folder of this machine."""

import hashlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.cluster_stores import Folder, PodFiles
from errors import FlatlineError
from migration import transfer
from migration.archive import Archive
from migration.records import Collection
from tests.lab.node import BIN
from tests.unit.migration.records import opened, written

LARGE = b"".join(hashlib.sha256(bytes([number % 256])).digest() for number in range(20_000))
"""More than two pieces."""

# The pod's container has the folder; what is run in it is run here.
KUBECTL = f"""#!{sys.executable}
import json, os, sys
words = sys.argv[1:]
if "get" in words:
    mount = {{"mountPath": os.environ["FOLDER"]}}
    containers = [
        {{"name": "tusd", "volumeMounts": [mount]}},
        {{"name": "reader", "command": ["node"], "volumeMounts": [{{**mount, "readOnly": True}}]}},
        {{"name": "expiry", "command": ["node"], "volumeMounts": [mount]}},
    ]
    status, spec = {{"phase": os.environ["PHASE"]}}, {{"containers": containers}}
    pod = {{"metadata": {{"name": "cdn3-0"}}, "status": status, "spec": spec}}
    print(json.dumps({{"items": [pod]}}))
else:
    assert words[words.index("-c") + 1] == "expiry"
    command = words[words.index("--") + 1:]
    os.execvp(command[0], command)
"""


def quiet(doing: str, collection: Collection, done: int, of: int | None) -> None:
    pass


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[Path, PodFiles]]:
    """Makes a folder by a name, and the collection of its files."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kubectl").write_text(KUBECTL)
    (tmp_path / "bin" / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{BIN}")
    monkeypatch.setenv("PHASE", "Running")

    def made(name: str) -> tuple[Path, PodFiles]:
        path = tmp_path / name
        path.mkdir(exist_ok=True)
        monkeypatch.setenv("FOLDER", str(path))
        return path, PodFiles("mine", "flatline", Folder("attachments", "cdn3", str(path)))

    return made


def archived(volume: Callable[[str], tuple[Path, PodFiles]], folder: Path) -> tuple[Path, Archive]:
    """A folder with files, and an archive of it."""
    path, source = volume("source")
    (path / "aa").mkdir()
    (path / "aa" / "one ü").write_bytes(LARGE)
    (path / "two").write_bytes(b"planted")
    (path / "two.info").write_text("{}")
    os.utime(path / "two", (1_700_000_000, 1_700_000_000))
    (path / "empty").touch()
    (path / "two.lock").write_text("1")
    (path / "link").symlink_to("/etc/passwd")
    with written(folder / "archive") as writer:
        transfer.export([source], writer, quiet, live=False)
    return path, opened(folder / "archive")


def contents(path: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(each.relative_to(path)): (each.read_bytes(), int(each.stat().st_mtime))
        for each in path.rglob("*")
        if each.is_file() and not each.is_symlink()
    }


def test_files_arrive_as_they_were_and_an_interrupted_restore_goes_on(
    volume: Callable[[str], tuple[Path, PodFiles]], tmp_path: Path
) -> None:
    path, archive = archived(volume, tmp_path)
    assert archive.manifest.parts["files"]["attachments"].count == 5
    wanted = {name: each for name, each in contents(path).items() if name not in {"empty", "two.lock"}}

    other, target = volume("target")
    (outcome,) = transfer.load([target], archive, time.time(), quiet, into_non_empty=False)
    assert (outcome.written, outcome.verified) == (5, True)
    assert contents(other) == wanted

    cut, begun = volume("begun")
    (cut / "aa").mkdir()
    (cut / "aa" / "one ü").write_bytes(LARGE[:300_001])
    (outcome,) = transfer.load([begun], archive, time.time(), quiet, into_non_empty=False)
    assert outcome.verified
    assert contents(cut) == wanted


def test_a_file_of_another_content_is_not_overwritten(
    volume: Callable[[str], tuple[Path, PodFiles]], tmp_path: Path
) -> None:
    _, archive = archived(volume, tmp_path)
    other, target = volume("target")
    (other / "two").write_bytes(b"another")
    with pytest.raises(FlatlineError, match=r"attachments \(1 that differ\); nothing was written"):
        transfer.load([target], archive, time.time(), quiet, into_non_empty=False)
    assert contents(other).keys() == {"two"}


def test_no_path_leads_out_of_the_volume(volume: Callable[[str], tuple[Path, PodFiles]], tmp_path: Path) -> None:
    _, target = volume("target")
    record = target.record({"File": {"path": "../out", "modified": 1, "size": 1, "offset": 0, "data": "eA=="}})
    with pytest.raises(FlatlineError, match="exec"):
        target.write([record], exclusive=True)
    assert not (tmp_path / "out").exists()


def test_a_pod_that_does_not_run(
    volume: Callable[[str], tuple[Path, PodFiles]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, target = volume("target")
    monkeypatch.setenv("PHASE", "Pending")
    with pytest.raises(FlatlineError, match="no pod of cdn3 runs on context mine with the volume of attachments"):
        target.check()
