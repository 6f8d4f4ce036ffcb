"""Secrets in text are found by form, by randomness and by name; program text and settings are not taken for them."""

import base64
import random
import string
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.policies import LINES
from policies.secret_text import by_form, in_file, is_secret_name, is_value

ROOT = Path(__file__).parent.parent.parent.parent
SAMPLES = 400
ALPHABET = string.ascii_letters + string.digits

GENERATORS: dict[str, tuple[Callable[[random.Random], str], float]] = {
    "hex, 16 bytes": (lambda r: r.randbytes(16).hex(), 1.0),
    "hex, 32 bytes": (lambda r: r.randbytes(32).hex(), 1.0),
    "upper-case hex": (lambda r: r.randbytes(32).hex().upper(), 1.0),
    "base64, 16 bytes": (lambda r: base64.b64encode(r.randbytes(16)).decode(), 0.9),
    "base64, 32 bytes": (lambda r: base64.b64encode(r.randbytes(32)).decode(), 0.97),
    "base64url, 32 bytes": (lambda r: base64.urlsafe_b64encode(r.randbytes(32)).decode().rstrip("="), 0.97),
    "letters and digits": (lambda r: "".join(r.choices(ALPHABET, k=64)), 0.97),
}


@pytest.mark.parametrize("kind", GENERATORS)
def test_random_texts_are_found(kind: str) -> None:
    make, share = GENERATORS[kind]
    source = random.Random(kind)
    found = sum(1 for _ in range(SAMPLES) if any(by_form(f'value: "{make(source)}"')))
    assert found >= share * SAMPLES


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "a1B2" * 9,
        "redis://default:horse@redis:6379",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N",
        "token-eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N",
        "a.eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N",
        "jdbc:postgresql://app:horse@db:5432/app",
    ],
)
def test_known_forms_are_found(text: str) -> None:
    assert list(by_form(f"x {text} y"))


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----",
        "sha256:" + bytes(range(32)).hex(),
        "redis@sha256:" + (bytes((i * 37 + 11) % 256 for i in range(32)).hex()),
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        "X-Amz-Content-Sha256",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "organisation.whispersystems.textsecuregcm.WhisperServerService",
        "/usr/share/signal/secrets-bundle.yml",
        "https://storage.flatline.internal:8080/v1/groups",
        "00000000-0000-0000-0000-000000000000",
        "0" * 64,
        "redis://redis.flatline.svc:6379",
        "arn:aws:dynamodb:eu-west-1:123456789012:table/Accounts_Numbers2",
    ],
)
def test_what_is_no_secret_is_not_found(text: str) -> None:
    assert list(by_form(text)) == []


@pytest.mark.parametrize("program", sorted((ROOT / "programs").glob("*.*")), ids=lambda path: path.name)
def test_programs_have_no_secrets(program: Path) -> None:
    assert list(in_file(program.name, program.read_text())) == []


@pytest.mark.parametrize(
    "name",
    ["REDIS_PASSWORD", "password", "authenticationKey", "api-key", "AWS_SECRET_ACCESS_KEY", "authToken", "secret"],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["REDIS_PASSWORD_FILE", "passwordPath", "secretName", "secret_arn", "PORT", "keyspace", "tokenSeconds", "monkey"],
)
def test_names_of_other_things(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "value", ["", " ", "/etc/password", "$(PASSWORD)", "${password}", "secret://a.b", None, 7, True]
)
def test_references_are_no_values(value: object) -> None:
    assert not is_value(value)


def test_placeholders_are_no_values() -> None:
    assert is_value("test")
    assert not is_value("test", ["test"])


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("a.json", '{"a": [{"clientSecret": "horse"}]}', "a[0].clientSecret"),
        ("a.yaml", "a:\n  password: horse\n", "a.password"),
        ("a.conf", "port 1\n\nrequirepass horse\n", "line 3"),
        ("a.properties", "db.password=horse\n", "line 1"),
        ("a.mjs", "\nconst apiKey = 'horse-battery'\n", "line 2"),
        ("script", "#!/bin/sh\nTOKEN='horse-battery'\n", "line 2"),
        ("a.conf", "\r\nrequirepass\thorse \r\n", "line 2"),
        ("a.conf", "x: [\npassword: = horse\n  authToken:horse\n", "line 3"),
        ("a.js", "go('--db-password' , 1); a.config.password\n= `horse-battery`", "line 1"),
        ("a.js", "x" * 50_000 + ";let apiKey='horse-battery';" + "y=" * 50_000, "line 1"),
        ("a.json", '{"a": "\\ud83d\\ude00", "clientSecret": "horse"}', "clientSecret"),
        ("a.yaml", "a: &x 1\nb: &x 2\npassword: horse\nc: =\n", "password"),
    ],
)
def test_files_tell_where(name: str, content: str, where: str) -> None:
    assert [place for place, _ in in_file(name, content)] == [where]
    assert all("horse" not in why for _, why in in_file(name, content))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.mjs", "const password = await readFile(path)\nif (token === undefined) fail('token missing')\n"),
        ("a.sh", 'password=$(cat "$REDIS_PASSWORD_FILE")\n'),
        ("a.yaml", "passwordFile: /etc/p\ntoken: ${TOKEN}\nsecret: secret://a.b\n"),
        ("a.conf", "# password horse battery\naclfile /etc/acl\n"),
    ],
)
def test_files_that_read_their_secrets_elsewhere_are_right(name: str, content: str) -> None:
    assert list(in_file(name, content)) == []


SIZE = 100_000
SETTING = "gives a value to what has the name of a secret"


@pytest.mark.parametrize("unit", LINES.values(), ids=LINES)
def test_long_lines_hide_nothing(unit: str) -> None:
    """What an expression that goes over a line again and again would need hours for (python -m benchmarks policies)."""
    text = unit * (SIZE // len(unit))
    assert ("line 1", SETTING) in in_file("a.js", f"let apiKey='horse-battery';`\n{text}")
    lines = text.count("\n") + 3
    assert (f"line {lines}", SETTING) in in_file("a.conf", f"x: [\n{text}\nrequirepass horse")
