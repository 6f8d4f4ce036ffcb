"""The archive: whole or not there, closed to others, and refused when it is not as it was written."""

import io
import json
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from migration import items, sealing
from migration.archive import HEADER, MANIFEST, Archive
from migration.errors import MigrationError
from migration.records import Record
from tests.lab.process import wait_until
from tests.unit.migration.records import KEYS, TEXTS, Memory, opened, text_item, written

ROOT = Path(__file__).parents[3]
FILE = "dynamodb/Texts.jsonl.gz.sealed"


def filled(folder: Path, *some: dict[str, Any], live: bool = False) -> Path:
    records = (items.record(TEXTS, item) for item in some)
    with written(folder) as writer:
        for _ in writer.write("dynamodb", "Texts", {"keys": [["P", "S"]]}, records):
            pass
        writer.finish(live=live, documents={"stack.yaml": "planted-document"})
    return folder


def read(folder: Path) -> list[Record]:
    archive = opened(folder)
    archive.check()
    return list(archive.records("dynamodb", "Texts", Memory().record))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return filled(tmp_path / "archive", *(text_item(f"k{number}", a={"B": b"x" * 50}) for number in range(20)))


def test_what_was_written_is_read(archive: Path) -> None:
    assert [record.body for record in read(archive)] == [
        text_item(f"k{number}", a={"B": b"x" * 50}) for number in range(20)
    ]
    manifest = opened(archive).manifest
    assert (manifest.stack, manifest.live) == ("dev", False)
    assert manifest.documents == {"stack.yaml": "planted-document"}
    assert manifest.parts["dynamodb"]["Texts"].count == 20


def test_nothing_but_the_header_is_readable(archive: Path) -> None:
    header = json.loads((archive / HEADER).read_text())
    assert header.keys() == {"format", "version", "stack", "created", "recipient", "ephemeral"}
    for path in archive.rglob("*.sealed"):
        content = path.read_bytes()
        assert not {each for each in (b"planted", b"Texts", b"xxxx", b"\x1f\x8b\x08") if each in content}, path


def test_the_passphrase_alone_opens_it_and_no_other_does(archive: Path) -> None:
    again = Archive(archive, lambda salt: sealing.identity("planted passphrase", salt))
    assert again.manifest.stack == "dev"
    with pytest.raises(MigrationError, match="another passphrase"):
        Archive(archive, lambda salt: sealing.identity("another", salt))


def test_an_archive_is_closed_to_others(archive: Path) -> None:
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (archive, *archive.rglob("*"))}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert sorted(path.name for path in archive.parent.iterdir()) == ["archive"], "nothing else is left"


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").touch()
    with pytest.raises(MigrationError, match="not empty"):
        filled(taken)
    assert [path.name for path in tmp_path.rglob("*")] == ["taken", "file"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir(mode=0o755)
    assert len(read(filled(tmp_path / "empty", text_item("k")))) == 1
    assert stat.S_IMODE((tmp_path / "empty").stat().st_mode) == 0o700


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Any:
        yield items.record(TEXTS, text_item("k"))
        raise MigrationError("the source has gone")

    with pytest.raises(MigrationError, match="gone"), written(tmp_path / "archive") as writer:
        for _ in writer.write("dynamodb", "Texts", {}, failing()):
            pass
    assert list(tmp_path.iterdir()) == []


def test_one_export_at_a_time(tmp_path: Path) -> None:
    with (
        written(tmp_path / "archive"),
        pytest.raises(MigrationError, match="another backup"),
        written(tmp_path / "archive"),
    ):
        pass


KILLED = """
import sys, time
from pathlib import Path
from migration import items
from tests.unit.migration.records import TEXTS, text_item, written

def records():
    for number in range(1000):
        yield items.record(TEXTS, text_item(str(number), a={"B": bytes(5000)}))
    print("written", flush=True)
    time.sleep(600)

with written(Path(sys.argv[1])) as writer:
    for _ in writer.write("dynamodb", "Texts", {}, records()):
        pass
"""


def test_a_killed_export_leaves_nothing_that_looks_complete_and_can_be_run_again(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        wait_until(lambda: any(tmp_path.rglob("Texts.jsonl.gz.sealed")), 10, "a beginning")
        process.send_signal(signal.SIGKILL)
    assert not folder.exists()
    assert not list(tmp_path.rglob(MANIFEST))
    partial = next(path for path in tmp_path.iterdir() if path.is_dir())
    with pytest.raises(MigrationError, match="is missing"):
        opened(partial)
    filled(folder, text_item("k"))
    assert len(read(folder)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def _edited(data: bytes) -> bytes:
    half = len(data) // 2
    return data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :]


def _of_another_archive(_: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return (filled(Path(folder) / "other", text_item("other")) / FILE).read_bytes()


Damage = tuple[str, Callable[[bytes], bytes | None]]
OF_THE_FILE: dict[str, Damage] = {
    "truncated": (FILE, lambda data: data[: len(data) // 2]),
    "edited": (FILE, _edited),
    "longer": (FILE, lambda data: data + b"x"),
    "of another archive": (FILE, _of_another_archive),
    "missing": (FILE, lambda _: None),
}
DAMAGES: list[tuple[Damage, str]] = [
    *((damage, "is missing" if name == "missing" else "SHA-256 differs") for name, damage in OF_THE_FILE.items()),
    ((MANIFEST, _edited), "cannot be decrypted"),
    ((MANIFEST, lambda data: data[:100]), "cannot be decrypted"),
    ((MANIFEST, lambda _: None), "is missing"),
    ((HEADER, lambda data: data.replace(b'"stack": "dev"', b'"stack": "prod"')), "cannot be decrypted"),
    ((HEADER, lambda data: data[:100]), "damaged or was edited"),
    ((HEADER, lambda _: None), "is no archive"),
    ((HEADER, lambda data: json.dumps({**json.loads(data), "version": 3}).encode()), "version 3"),
]


def damage(folder: Path, how: Damage) -> None:
    path = folder / how[0]
    before = path.read_bytes()
    after = how[1](before)
    assert after != before
    path.unlink()
    if after is not None:
        path.write_bytes(after)


@pytest.mark.parametrize(("how", "said"), DAMAGES)
def test_a_damaged_archive_is_refused_in_one_line(archive: Path, how: Damage, said: str) -> None:
    damage(archive, how)
    with pytest.raises(MigrationError, match=said) as refused:
        read(archive)
    assert "\n" not in refused.value.problem


@pytest.mark.parametrize("how", OF_THE_FILE.values(), ids=OF_THE_FILE)
def test_damage_after_the_check_is_noticed_too(archive: Path, how: Damage) -> None:
    again = opened(archive)
    again.check()
    damage(archive, how)
    with pytest.raises(MigrationError, match=r"cannot be decrypted|is missing"):
        list(again.records("dynamodb", "Texts", Memory().record))


CHUNK = sealing.CHUNK_BYTES + sealing.TAG_BYTES
CONTENT = bytes(range(251)) * 10_000  # three chunks


def sealed(content: bytes = CONTENT) -> bytes:
    file = io.BytesIO()
    sealer = sealing.Sealer(file, AESGCM(bytes(32)))
    for start in range(0, len(content), 300_000):
        sealer.write(content[start : start + 300_000])
    sealer.finish()
    return file.getvalue()


def unsealed(data: bytes) -> bytes:
    opener = sealing.Opener(io.BytesIO(data), AESGCM(bytes(32)), lambda: MigrationError("damaged"))
    return opener.read()


@pytest.mark.parametrize("size", [0, 1, sealing.CHUNK_BYTES - 1, sealing.CHUNK_BYTES, sealing.CHUNK_BYTES + 1])
def test_any_size_is_read_back(size: int) -> None:
    assert unsealed(sealed(CONTENT[:size])) == CONTENT[:size]
    assert unsealed(sealed()) == CONTENT


@pytest.mark.parametrize(
    "damaged",
    [
        sealed()[:CHUNK],  # cut off at the end of a chunk
        sealed()[: 2 * CHUNK],
        b"",
        sealed()[CHUNK:],
        sealed()[CHUNK : 2 * CHUNK] + sealed()[:CHUNK] + sealed()[2 * CHUNK :],
        sealed()[:CHUNK] + sealed(),
        sealed() + sealed(b""),
    ],
)
def test_chunks_that_are_missing_moved_or_added_are_noticed(damaged: bytes) -> None:
    with pytest.raises(MigrationError, match="damaged"):
        unsealed(damaged)


def test_a_line_that_is_no_record_is_told_by_its_number(tmp_path: Path) -> None:
    record = items.record(TEXTS, text_item("k"))
    several = [record, record, replace(record, text='{"Item": {"P": {"S": 5}}}')]
    with written(tmp_path / "archive") as writer:
        list(writer.write("dynamodb", "Texts", {}, iter(several)))
        writer.finish(live=False, documents={})
    with pytest.raises(MigrationError, match="no record in line 3"):
        read(tmp_path / "archive")


def test_no_name_in_a_manifest_leads_out_of_the_folder(tmp_path: Path) -> None:
    with written(tmp_path / "archive") as writer:
        list(writer.write("dynamodb", "Texts", {}, iter([])))
        writer._parts["dynamodb"]["Texts"] = replace(writer._parts["dynamodb"]["Texts"], file="../secret")
        writer.finish(live=False, documents={})
    with pytest.raises(MigrationError, match="damaged or was edited"):
        opened(tmp_path / "archive")


def test_a_recipient_is_read_from_its_text() -> None:
    assert sealing.Recipient.parse(str(KEYS.recipient)) == KEYS.recipient
    for text in ("", "v2:AA==:AA==", "v1:AA==:AA==", f"{KEYS.recipient}:", "v1"):
        with pytest.raises(ValueError, match=r"\w"):
            sealing.Recipient.parse(text)
