"""Pins that are not of their form, and the folder of a kit: whole or not at all, never over what differs."""

import base64
import struct
from pathlib import Path
from typing import Any

import pytest

import files
from client_kit import bks, kit, pins
from client_kit.kit import KitError
from client_kit.pins import PinsError
from tests.unit.authority import issue
from tests.unit.connectivity.test_check import flatline_authority, outputs

AUTHORITY = flatline_authority()
PINS = outputs(AUTHORITY)


def made(client: str = "android", **changed: Any) -> dict[str, bytes]:
    found = {**PINS, **changed}
    return dict(kit.made(client, "home", found, pins.of(found)))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("serverPublicParams", None, "pin serverPublicParams is missing"),
        ("serverPublicParams", "not base64", "pin serverPublicParams is not padded base64"),
        ("genericServerPublicParams", "AAAA", "pin genericServerPublicParams has 3 bytes, and must have 225"),
        (
            "unidentifiedSenderTrustRoot",
            base64.b64encode(bytes(33)).decode(),
            "pin unidentifiedSenderTrustRoot does not begin with the type byte 05",
        ),
        ("caCertificates", "nothing", "pin caCertificates is no PEM text of certificates"),
        ("urls", None, "pin urls.whisper is None, and must be https:// and a host name"),
        ("urls", {**PINS["urls"], "cdn3": "http://cdn3.example.org"}, "pin urls.cdn3 is 'http://cdn3.example.org'"),
        ("urls", {**PINS["urls"], "cdn0": "https://cdn0.example.org/x"}, "pin urls.cdn0 is 'https://cdn0.exam"),
        ("urls", {**PINS["urls"], "storage": "https://[x"}, "pin urls.storage is "),
    ],
)
def test_pins_of_another_form(name: str, value: Any, problem: str) -> None:
    with pytest.raises(PinsError) as found:
        pins.of({**PINS, name: value})
    assert str(found.value).startswith(problem)


def test_pins_are_read_from_their_document() -> None:
    read = pins.read(made()[kit.PINS].decode())
    assert read.domain == "chat.example.org"
    assert read.pem == AUTHORITY.pem
    with pytest.raises(PinsError, match="its version is 2"):
        pins.read(made()[kit.PINS].decode().replace('"version": 1', '"version": 2'))


def test_a_kit_is_written_whole(tmp_path: Path) -> None:
    folder = tmp_path / "clients" / "home" / "android"
    written = kit.write(folder, made())
    assert content(folder) == made()
    assert set(written.new) == set(made())
    again = kit.write(folder, made())
    assert (again.new, again.changed, again.removed) == ((), (), ())


def test_a_kit_of_other_pins_is_left_until_somebody_agrees(tmp_path: Path) -> None:
    folder = tmp_path / "kit"
    kit.write(folder, made())
    before = content(folder)
    other = made(caCertificates=issue("Another").pem)
    with pytest.raises(KitError, match=r"differs in README\.md, ca\.pem, pins\.json, whisper\.store"):
        kit.write(folder, other)
    assert content(folder) == before
    written = kit.write(folder, other, overwrite=True)
    assert written.changed == ("README.md", "ca.pem", "pins.json", "whisper.store")
    assert content(folder) == other


def test_a_kit_of_another_client_takes_its_place_whole(tmp_path: Path) -> None:
    kit.write(tmp_path / "kit", made())
    with pytest.raises(KitError, match="whisper"):
        kit.write(tmp_path / "kit", made("desktop"))
    written = kit.write(tmp_path / "kit", made("desktop"), overwrite=True)
    assert "whisper.store" in written.removed
    assert content(tmp_path / "kit") == made("desktop")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["notes.txt", "app.jks"])
def test_a_folder_with_something_of_ones_own_is_never_touched(tmp_path: Path, name: str, overwrite: bool) -> None:
    """Alone, and beside a kit."""
    for folder in (tmp_path / "own", tmp_path / "kit"):
        if folder.name == "kit":
            kit.write(folder, made())
        folder.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
        before = content(folder)
        with pytest.raises(KitError, match=f"is no client kit: it has {name}"):
            kit.write(folder, made(caCertificates=issue("Another").pem), overwrite=overwrite)
        assert content(folder) == before


def test_a_folder_without_pins_is_no_kit(tmp_path: Path) -> None:
    """Such as the root of an app's sources, which has a README.md."""
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(KitError, match=r"it has README\.md"):
        kit.write(tmp_path, made(), overwrite=True)


def test_what_is_no_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "deep" / "inner").mkdir(parents=True)
    for name in ("file", "link", "deep"):
        with pytest.raises(KitError):
            kit.write(tmp_path / name, made(), overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "deep" / "inner").is_dir()


def test_a_link_in_a_kit_leads_to_something_of_ones_own(tmp_path: Path) -> None:
    kit.write(tmp_path / "kit", made())
    (tmp_path / "mine.md").write_text("mine")
    (tmp_path / "kit" / "README.md").unlink()
    (tmp_path / "kit" / "README.md").symlink_to(tmp_path / "mine.md")
    with pytest.raises(KitError, match=r"it has README\.md, which is no file"):
        kit.write(tmp_path / "kit", made(), overwrite=True)
    assert (tmp_path / "mine.md").read_text() == "mine"


def test_a_write_that_fails_leaves_the_kit_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "kit"
    kit.write(folder, made())
    before = content(folder)
    create = files._create_file

    def full(path: Path, text: bytes) -> None:
        if path.name == "pins.json":
            raise OSError(28, "No space left on device")
        create(path, text)

    monkeypatch.setattr(files, "_create_file", full)
    with pytest.raises(OSError, match="No space"):
        kit.write(folder, made("ios"), overwrite=True)
    assert content(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["kit"]


def test_a_trust_store_depends_on_its_certificates_alone() -> None:
    one, other = AUTHORITY.certificate, issue("Another").certificate
    store = bks.trust_store({"a": one}, "whisper")
    assert store == bks.trust_store({"a": one}, "whisper")
    assert store != bks.trust_store({"a": other}, "whisper")
    version, length = struct.unpack(">iI", store[:8])
    assert (version, length) == (2, 20)
