"""The state file is encrypted, private and written whole; anything else is an error."""

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from render.generator import GeneratedResource
from render.passphrase import PassphraseError, new_salt
from render.state import State, StateError, read_header

pytestmark = pytest.mark.usefixtures("quick")

URN = "urn:pulumi:dev::flatline::random:index/randomPassword:RandomPassword::it"
PLANTED = "a-planted-secret-value"
GENERATED = GeneratedResource("none", {"result": PLANTED, "plain": "public"}, frozenset({"result"}), {"special": True})


def opened(path: Path, passphrase: str = "pass", stack: str = "dev", salt: str | None = None) -> State:
    return State(path, project="flatline", stack=stack, passphrase=lambda: passphrase, salt=salt)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A saved state with one entry."""
    path = tmp_path / "state" / "dev.json"
    with opened(path) as state:
        state.put(URN, "random:index/randomPassword:RandomPassword", "digest", GENERATED)
        assert state.save()
    return path


def test_values_are_read_back(path: Path) -> None:
    with opened(path) as state:
        assert state.get(URN, "digest") == GENERATED
        assert state.get(URN, "other inputs") is None
        assert state.get("other urn", "digest") is None


def test_secret_is_nowhere_in_the_file_and_the_rest_is_plain(path: Path) -> None:
    content = path.read_text()
    assert PLANTED not in content
    entry = json.loads(content)["resources"][URN]
    assert entry["outputs"] == {"plain": "public"}
    assert entry["secrets"]["result"].startswith("v1:")


def test_private(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()} == {0o600}


def test_unchanged_is_not_written(path: Path) -> None:
    before = path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino
    with opened(path) as state:
        state.get(URN, "digest")
        assert not state.save()
    assert (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_one_change_leaves_the_other_ciphertexts(path: Path) -> None:
    before = json.loads(path.read_text())["resources"][URN]
    with opened(path) as state:
        state.put("other", "type", "digest", GENERATED)
        assert state.save()
    content = json.loads(path.read_text())
    assert content["resources"][URN] == before
    assert set(content["resources"]) == {URN, "other"}


def test_replaced_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with opened(path) as state:
        state.put("other", "type", "digest", GENERATED)
        with pytest.raises(StateError, match=r"dev\.json cannot be written, and is as it was: No space left on device"):
            state.save()
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["dev.json", "dev.json.lock"]


def test_a_symbolic_link_stays_one(path: Path, tmp_path: Path) -> None:
    """A user may keep the file on another disk."""
    elsewhere = path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(elsewhere)
    with opened(path) as state:
        state.put(URN, "random:index/randomPassword:RandomPassword", "other", GENERATED)
        assert state.save()
    assert path.is_symlink()
    with opened(elsewhere) as state:
        assert state.get(URN, "other") == GENERATED


def test_nothing_is_written_before_save(tmp_path: Path) -> None:
    path = tmp_path / "dev.json"
    with opened(path) as state:
        state.put(URN, "type", "digest", GENERATED)
    assert not path.exists()


def test_keys_last_and_differ_by_use(path: Path, tmp_path: Path) -> None:
    with opened(path) as state:
        keys = {state.key("names"), state.key("inputs")}
    with opened(path) as state:
        assert {state.key("names"), state.key("inputs")} == keys
    with opened(tmp_path / "other.json") as state:
        assert state.key("names") not in keys
    assert len(keys) == 2


def test_uses_the_salt_of_the_stack_file(tmp_path: Path) -> None:
    salt, _ = new_salt("pass")
    with opened(tmp_path / "dev.json", salt=salt) as state:
        state.put(URN, "type", "digest", GENERATED)
        state.save()
    assert json.loads((tmp_path / "dev.json").read_text())["encryptionsalt"] == salt
    with pytest.raises(PassphraseError, match="incorrect passphrase"):
        opened(tmp_path / "new.json", passphrase="other", salt=salt)


def test_wrong_passphrase(path: Path) -> None:
    with pytest.raises(PassphraseError, match=r"dev\.json: incorrect passphrase"):
        opened(path, passphrase="other")
    opened(path).close()


def test_of_another_stack(path: Path) -> None:
    with pytest.raises(StateError, match="belongs to the stack flatline/dev, not to flatline/prod"):
        opened(path, stack="prod")


def edit(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def entry(content: Any) -> Any:
    return content["resources"][URN]


CHANGED = "was changed by something else"
DAMAGED = r"dev\.json is damaged: restore it"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content.update(version=2), "is of version 2, and this Flatline reads up to 1"),
        (lambda content: entry(content)["outputs"].update(plain="other"), CHANGED),
        (lambda content: entry(content).update(inputs="other"), CHANGED),
        (lambda content: entry(content).update(id="other"), CHANGED),
        (lambda content: content["resources"].clear(), CHANGED),
        (lambda content: content["resources"].update(other=entry(content)), CHANGED),
        (lambda content: content.update(mac="00" * 32), CHANGED),
        (lambda content: content.update(mac=None), CHANGED),
        (lambda content: content.pop("mac"), CHANGED),
        (lambda content: content.update(more="fields"), CHANGED),
        (lambda content: content.pop("version"), DAMAGED),
        (lambda content: content.update(version="1"), DAMAGED),
        (lambda content: content.update(version=0), DAMAGED),
        (lambda content: content.pop("key"), DAMAGED),
        (lambda content: content.update(key="v1:AAAAAAAAAAAAAAAA:AAAA"), DAMAGED),
        (lambda content: content.update(key=None), DAMAGED),
        (lambda content: content.pop("project"), DAMAGED),
    ],
)
def test_any_edit_is_noticed(path: Path, change: Callable[[Any], object], problem: str) -> None:
    edit(path, change)
    with pytest.raises(StateError, match=problem):
        opened(path)


def test_truncated_at_any_place(path: Path) -> None:
    content = path.read_bytes()
    for length in range(0, len(content) - 2, 37):
        path.write_bytes(content[:length])
        with pytest.raises(StateError, match="is damaged"):
            opened(path)
    path.write_bytes(content)
    opened(path).close()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[]", b"null", b"1", b'"text"'])
def test_something_else(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StateError, match="is damaged"):
        opened(path)


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "dev.json").mkdir()
    for look in (read_header, opened):
        with pytest.raises(StateError, match=r"dev\.json cannot be read: Is a directory"):
            look(tmp_path / "dev.json")


def test_white_space_is_repaired_quietly(path: Path) -> None:
    before = path.read_bytes()
    path.write_text(json.dumps(json.loads(before)))
    with opened(path) as state:
        assert state.save()
    assert path.read_bytes() == before


def test_a_readable_file_is_made_private_with_a_notice(path: Path) -> None:
    path.chmod(0o644)
    with opened(path) as state:
        (notice,) = state.notices
    assert "mode 0644" in notice
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_runs_at_once(path: Path) -> None:
    with opened(path), pytest.raises(StateError, match="another run is using"):
        opened(path)
    opened(path).close()


def test_the_lock_of_another_process(path: Path) -> None:
    """The lock ends with its process, however that ends."""
    hold = f"import fcntl, os; f = os.open({str(path) + '.lock'!r}, os.O_RDWR); fcntl.flock(f, fcntl.LOCK_EX);"
    program = f"{hold} print('held', flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StateError, match="another run is using"):
            opened(path)
    finally:
        other.kill()
        other.communicate(timeout=30)
    opened(path).close()


def test_unused_entries_are_listed(path: Path) -> None:
    with opened(path) as state:
        assert state.unused() == (URN,)
        state.get(URN, "digest")
        assert state.unused() == ()
