"""The archive: whole or not there, closed to others, and refused when it is not as it was written."""

import gzip
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from migration import items
from migration.archive import MANIFEST, Archive, Writer
from migration.errors import MigrationError
from migration.records import Record
from tests.lab.process import wait_until
from tests.unit.migration.records import TEXTS, Memory, text_item

ROOT = Path(__file__).parents[3]
FILE = "dynamodb/Texts.jsonl.gz"


def written(folder: Path, *some: dict[str, Any], live: bool = False) -> Path:
    records = (items.record(TEXTS, item) for item in some)
    with Writer(folder) as writer:
        for _ in writer.write("dynamodb", "Texts", {"keys": [["P", "S"]]}, records):
            pass
        writer.finish("dev", "2026-01-01T00:00:00+00:00", live=live)
    return folder


def read(folder: Path) -> list[Record]:
    archive = Archive(folder)
    archive.check()
    return list(archive.records("dynamodb", "Texts", Memory().record))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return written(tmp_path / "archive", *(text_item(f"k{number}", a={"B": b"x" * 50}) for number in range(20)))


def test_what_was_written_is_read(archive: Path) -> None:
    assert [record.body for record in read(archive)] == [
        text_item(f"k{number}", a={"B": b"x" * 50}) for number in range(20)
    ]
    manifest = json.loads((archive / MANIFEST).read_text())
    assert (manifest["format"], manifest["version"], manifest["stack"]) == ("flatline-archive", 1, "dev")
    assert manifest["dynamodb"]["Texts"]["count"] == 20
    lines = gzip.decompress((archive / FILE).read_bytes()).decode().splitlines()
    assert json.loads(lines[0]) == {"Item": {"P": {"S": "k0"}, "a": {"B": "eHh4" * 16 + "eHg="}}}


def test_an_archive_is_closed_to_others(archive: Path) -> None:
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (archive, *archive.rglob("*"))}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert sorted(path.name for path in archive.parent.iterdir()) == ["archive"], "nothing else is left"


def test_the_same_records_are_the_same_file(tmp_path: Path) -> None:
    one, other = (written(tmp_path / name, text_item("k")) / FILE for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").touch()
    with pytest.raises(MigrationError, match="not empty"):
        written(taken)
    assert [path.name for path in tmp_path.rglob("*")] == ["taken", "file"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir(mode=0o755)
    assert len(read(written(tmp_path / "empty", text_item("k")))) == 1
    assert stat.S_IMODE((tmp_path / "empty").stat().st_mode) == 0o700


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Any:
        yield items.record(TEXTS, text_item("k"))
        raise MigrationError("the source has gone")

    with pytest.raises(MigrationError, match="gone"), Writer(tmp_path / "archive") as writer:
        for _ in writer.write("dynamodb", "Texts", {}, failing()):
            pass
    assert list(tmp_path.iterdir()) == []


def test_one_export_at_a_time(tmp_path: Path) -> None:
    with (
        Writer(tmp_path / "archive"),
        pytest.raises(MigrationError, match="another export"),
        Writer(tmp_path / "archive"),
    ):
        pass


KILLED = """
import sys, time
from pathlib import Path
from migration import items
from migration.archive import Writer
from tests.unit.migration.records import TEXTS, text_item

def records():
    for number in range(1000):
        yield items.record(TEXTS, text_item(str(number), a={"B": bytes(5000)}))
    print("written", flush=True)
    time.sleep(600)

with Writer(Path(sys.argv[1])) as writer:
    for _ in writer.write("dynamodb", "Texts", {}, records()):
        pass
"""


def test_a_killed_export_leaves_nothing_that_looks_complete_and_can_be_run_again(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        wait_until(lambda: any(tmp_path.rglob("Texts.jsonl.gz")), 10, "a beginning")
        process.send_signal(signal.SIGKILL)
    assert not folder.exists()
    assert not list(tmp_path.rglob(MANIFEST))
    partial = next(path for path in tmp_path.iterdir() if path.is_dir())
    with pytest.raises(MigrationError, match="no archive"):
        Archive(partial)
    with Writer(folder) as writer:
        assert writer.restarted
    written(folder, text_item("k"))
    assert len(read(folder)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def _truncated(folder: Path) -> None:
    data = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(data[: len(data) // 2])


def _edited(folder: Path) -> None:
    lines = gzip.decompress((folder / FILE).read_bytes())
    (folder / FILE).write_bytes(gzip.compress(lines.replace(b"k7", b"k6"), mtime=0))


def _without_a_line(folder: Path) -> None:
    lines = gzip.decompress((folder / FILE).read_bytes()).splitlines(keepends=True)
    (folder / FILE).write_bytes(gzip.compress(b"".join(lines[1:]), mtime=0))


def _without_the_file(folder: Path) -> None:
    (folder / FILE).unlink()


def _edited_manifest(folder: Path) -> None:
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace('"count": 20', '"count": 19'))


def _truncated_manifest(folder: Path) -> None:
    os.truncate(folder / MANIFEST, 100)


def _binary_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"\xff\xfe")


def _without_a_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def _newer(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "version": 2}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_truncated, "SHA-256 differs"),
        (_edited, "SHA-256 differs"),
        (_without_a_line, "SHA-256 differs"),
        (_without_the_file, "is missing"),
        (_edited_manifest, "damaged or was edited"),
        (_truncated_manifest, "damaged or was edited"),
        (_binary_manifest, "damaged or was edited"),
        (_without_a_manifest, "is no archive"),
        (_newer, "version 2"),
    ],
)
def test_a_damaged_archive_is_refused_in_one_line(archive: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(archive)
    with pytest.raises(MigrationError, match=said) as refused:
        read(archive)
    assert "\n" not in refused.value.problem


@pytest.mark.parametrize(
    ("own", "other"),
    [('"stack": "dev"', '"stack": "prod"'), ('"count": 20', '"count": 19'), ('"live": false', '"live": true')],
)
def test_no_word_of_a_manifest_can_be_changed(archive: Path, own: str, other: str) -> None:
    text = (archive / MANIFEST).read_text()
    assert own in text
    (archive / MANIFEST).write_text(text.replace(own, other))
    with pytest.raises(MigrationError, match="damaged or was edited"):
        Archive(archive)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_truncated, "cannot be unpacked|does not have the records"),
        (_edited, "does not have the records"),
        (_without_a_line, "does not have the records"),
        (_without_the_file, "is missing"),
    ],
)
def test_damage_after_the_check_is_noticed_too(archive: Path, damage: Callable[[Path], None], said: str) -> None:
    opened = Archive(archive)
    opened.check()
    damage(archive)
    with pytest.raises(MigrationError, match=said):
        list(opened.records("dynamodb", "Texts", Memory().record))


def test_a_line_that_is_no_record_is_told_by_its_number(archive: Path) -> None:
    lines = gzip.decompress((archive / FILE).read_bytes()).splitlines()
    lines[4] = b'{"Item": {"P": {"S": 5}}}'
    opened = Archive(archive)
    (archive / FILE).write_bytes(gzip.compress(b"\n".join(lines)))
    with pytest.raises(MigrationError, match="no record in line 5"):
        list(opened.records("dynamodb", "Texts", Memory().record))


def test_no_name_in_a_manifest_leads_out_of_the_folder(archive: Path) -> None:
    from migration.records import canonical, digest

    manifest = json.loads((archive / MANIFEST).read_text())
    del manifest["sha256"]
    manifest["dynamodb"]["Texts"]["file"] = "../secret"
    manifest["sha256"] = digest(canonical(manifest)).hex()
    (archive / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(MigrationError, match="damaged or was edited"):
        Archive(archive)
