"""Encryption is compatible with Pulumi's passphrase provider; the passphrase comes from the right place."""

import base64
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render import passphrase
from render.passphrase import Crypter, PassphraseError, find, generated_file, new_salt, unlock

# Made by Pulumi's own Go code: NewSymmetricCrypterFromPassphrase("pass", "12345678"), SDK 3.272.0.
PULUMI_SALT = "v1:MTIzNDU2Nzg=:v1:JUcKRpwB9TMhpP48:50QDdvIaWh2zwSLu6m4aDP8M6+icMQ=="
PULUMI_VALUE = "v1:MXiofbtHh9rQzn8X:WYONsARwxQHIszRX/ziOVZIZ+yfYkQ=="


def environment(home: Path, **variables: str) -> dict[str, str]:
    return {"HOME": str(home), **variables}


def test_reads_values_of_pulumi() -> None:
    assert unlock("pass", PULUMI_SALT).decrypt(PULUMI_VALUE) == "s3cr3t"


@given(st.text())
def test_round_trip(text: str) -> None:
    crypter = Crypter(b"k" * 32)
    assert crypter.decrypt(crypter.encrypt(text)) == text


def test_the_form_of_values() -> None:
    salt, crypter = new_salt("pass")
    version, raw, inner, nonce, proof = salt.split(":")
    assert (version, inner) == ("v1", "v1")
    assert [len(base64.b64decode(part)) for part in (raw, nonce, proof)] == [8, 12, len("pulumi") + 16]
    version, nonce, sealed = crypter.encrypt("text").split(":")
    assert version == "v1"
    assert [len(base64.b64decode(part)) for part in (nonce, sealed)] == [12, 4 + 16]
    assert unlock("pass", salt).decrypt(crypter.encrypt("text")) == "text"


def test_nonces_differ() -> None:
    crypter = Crypter(b"k" * 32)
    assert crypter.encrypt("text") != crypter.encrypt("text")


def test_wrong_passphrase() -> None:
    with pytest.raises(PassphraseError, match="incorrect passphrase"):
        unlock("other", PULUMI_SALT)


@pytest.mark.parametrize(
    "salt",
    [
        "",
        "v1",
        "v1:MTIzNDU2Nzg=",
        "v2:MTIzNDU2Nzg=:v1:JUcKRpwB9TMhpP48:50QDdvIaWh2zwSLu6m4aDP8M6+icMQ==",
        "v1:%:v1:a:b",
    ],
)
def test_malformed_salt(salt: str) -> None:
    with pytest.raises(PassphraseError):
        unlock("pass", salt)


@pytest.mark.parametrize("change", [lambda v: v[:-5] + "AAA==", lambda v: v.replace("v1", "v2"), lambda v: v + ":x"])
@pytest.mark.usefixtures("quick")
def test_changed_value(change: object) -> None:
    crypter = Crypter(b"k" * 32)
    value = crypter.encrypt("text")
    assert callable(change)
    with pytest.raises(PassphraseError):
        crypter.decrypt(change(value))


def test_derives_a_key_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    derive = passphrase.hashlib.pbkdf2_hmac

    def counting(*arguments: Any) -> bytes:
        calls.append(arguments)
        return bytes(derive(*arguments))

    monkeypatch.setattr("hashlib.pbkdf2_hmac", counting)
    salt, _ = new_salt("once")
    unlock("once", salt)
    unlock("once", salt)
    assert [arguments[3] for arguments in calls] == [1_000_000]


class TestFind:
    def test_variable_before_file(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_text("from the file\n")
        variables = {"PULUMI_CONFIG_PASSPHRASE": " as it is ", "PULUMI_CONFIG_PASSPHRASE_FILE": str(file)}
        found = find("p", "s", may_create=lambda: False, environment=environment(tmp_path, **variables))
        assert found.text == " as it is "
        assert "PULUMI_CONFIG_PASSPHRASE" in found.origin

    @pytest.mark.parametrize("text", ["", " ", "\n\t"])
    def test_an_empty_one_encrypts_nothing_new(self, tmp_path: Path, text: str) -> None:
        variables = environment(tmp_path, PULUMI_CONFIG_PASSPHRASE=text)
        with pytest.raises(PassphraseError, match="PULUMI_CONFIG_PASSPHRASE is set to an empty text"):
            find("p", "s", may_create=lambda: True, environment=variables)
        assert not (tmp_path / ".config").exists()

    def test_values_encrypted_with_an_empty_passphrase_can_be_read(self, tmp_path: Path) -> None:
        found = find("p", "s", may_create=lambda: False, environment=environment(tmp_path, PULUMI_CONFIG_PASSPHRASE=""))
        assert found.text == ""
        assert "protects nothing" in found.origin

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
    def test_a_named_file_that_others_can_read(self, tmp_path: Path, mode: int) -> None:
        file = tmp_path / "file"
        file.write_text("from the file")
        file.chmod(mode)
        variables = environment(tmp_path, PULUMI_CONFIG_PASSPHRASE_FILE=str(file))
        with pytest.raises(PassphraseError, match=f"mode {mode:04o}.*chmod 600"):
            find("p", "s", may_create=lambda: False, environment=variables)

    def test_file_without_surrounding_space(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.touch(mode=0o600)
        file.write_text("  from the file\n\n")
        variables = environment(tmp_path, PULUMI_CONFIG_PASSPHRASE_FILE=str(file))
        assert find("p", "s", may_create=lambda: False, environment=variables).text == "from the file"

    @pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
    def test_unusable_file(self, tmp_path: Path, content: bytes | None) -> None:
        file = tmp_path / "file"
        if content is not None:
            file.write_bytes(content)
        variables = environment(tmp_path, PULUMI_CONFIG_PASSPHRASE_FILE=str(file))
        with pytest.raises(PassphraseError, match=str(file)):
            find("p", "s", may_create=lambda: True, environment=variables)

    def test_made_once_and_private(self, tmp_path: Path) -> None:
        first = find("p", "s", may_create=lambda: True, environment=environment(tmp_path))
        file = tmp_path / ".config" / "flatline" / "p-s.passphrase"
        assert first.created
        assert len(first.text) >= 43
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert [path.name for path in file.parent.iterdir()] == [file.name]
        second = find("p", "s", may_create=lambda: True, environment=environment(tmp_path))
        assert (second.text, second.created) == (first.text, False)

    def test_other_stack_has_another(self, tmp_path: Path) -> None:
        texts = {find("p", s, may_create=lambda: True, environment=environment(tmp_path)).text for s in "ab"}
        assert len(texts) == 2

    def test_configuration_directory(self, tmp_path: Path) -> None:
        variables = environment(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "xdg"))
        find("p", "s", may_create=lambda: True, environment=variables)
        assert (tmp_path / "xdg" / "flatline" / "p-s.passphrase").exists()

    def test_never_made_again(self, tmp_path: Path) -> None:
        with pytest.raises(PassphraseError, match=r"cannot be made again: restore that file"):
            find("p", "s", may_create=lambda: False, environment=environment(tmp_path))
        assert not (tmp_path / ".config").exists()

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
    def test_file_open_to_others(self, tmp_path: Path, mode: int) -> None:
        find("p", "s", may_create=lambda: True, environment=environment(tmp_path))
        generated_file("p", "s", environment(tmp_path)).chmod(mode)
        with pytest.raises(PassphraseError, match=f"mode {mode:04o}.*chmod 600"):
            find("p", "s", may_create=lambda: True, environment=environment(tmp_path))

    def test_another_run_was_faster(self, tmp_path: Path) -> None:
        variables = environment(tmp_path)
        file = generated_file("p", "s", variables)

        def meanwhile() -> bool:
            file.parent.mkdir(parents=True)
            file.touch(mode=0o600)
            file.write_text("theirs\n")
            return True

        found = find("p", "s", may_create=meanwhile, environment=variables)
        assert (found.text, found.created) == ("theirs", False)

    def test_repr_shows_no_passphrase(self, tmp_path: Path) -> None:
        variables = environment(tmp_path, PULUMI_CONFIG_PASSPHRASE="hidden")
        assert "hidden" not in repr(find("p", "s", may_create=lambda: False, environment=variables))
