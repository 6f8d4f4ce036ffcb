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


HASH = bytes((i * 37 + 11) % 256 for i in range(32)).hex()
P256 = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEmZ3Vg0qB6sNnVb0Vq0F5mZbAXQ6bT4pOEh"
    "Q0mL7Kk1cGm7g0W8l1tqH0q6v4Rj7Yw2n9ZtL5sXcUeBfD3aPoIg=="
)
CERTIFICATE = base64.b64encode(bytes(random.Random("certificate").randbytes(600))).decode()
SSH = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0 " + random.Random("ssh").randbytes(32)).decode()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("GIT_COMMIT", HASH[:40]),
        ("", HASH[:40]),
        ("", f"--revision={HASH[:40]}"),
        ("", f"https://example.org/commit/{HASH[:40]}"),
        ("INSTALLATION_ID", HASH[:32]),
        ("", f'{{"deploymentId": "{HASH[:32]}"}}'),
        ("SERVER_PUBLIC_KEY", base64.b64encode(bytes.fromhex(HASH)).decode()),
        ("", f"image:\n  sha256: '{HASH}'\n"),
        ("", f"imageHash: {HASH}\n"),
        ("", f"image: redis@sha256:{HASH}\n"),
        ("ca.crt", f"-----BEGIN CERTIFICATE-----\n{CERTIFICATE}\n-----END CERTIFICATE-----\n"),
        ("", f"ca: |\n  -----BEGIN CERTIFICATE-----\n  {CERTIFICATE}\n  -----END CERTIFICATE-----\n"),
        ("", f"ssh-ed25519 {SSH} somebody@example.org"),
        ("", SSH),
        ("", P256),
        ("", f"verifier: {P256}"),
        ("", '{"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"}'),
    ],
)
def test_what_everybody_may_know_is_not_found(name: str, text: str) -> None:
    assert list(by_form(text, name)) == []


PRIVATE = base64.b64encode(
    bytes.fromhex("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420") + bytes(range(1, 104))
).decode()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SEED", HASH[:40]),
        ("", f"key: {HASH[:40]}"),
        ("TOKEN", HASH[:40]),
        ("VALUE", HASH[:32]),
        ("VALUE", HASH),
        ("GRID", HASH),
        ("publicApiSecret", HASH),
        ("", f"-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\nvalue: {HASH}"),
        ("PUBLIC_KEY", PRIVATE),
        ("", PRIVATE),
        ("PUBLIC_KEY", "-----BEGIN PRIVATE KEY-----"),
        ("", '{"kty": "EC", "x": "a", "d": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"}'),
    ],
)
def test_secrets_do_not_hide_as_what_everybody_may_know(name: str, text: str) -> None:
    assert list(by_form(text, name))


@pytest.mark.parametrize(
    "program",
    sorted(
        path
        for path in (ROOT / "programs").glob("**/*.*")
        if not {"node_modules", "__pycache__"}.intersection(path.parts)
    ),
    ids=lambda path: path.name,
)
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
SETTING = "assigns a value to the name of a secret"


@pytest.mark.parametrize("unit", LINES.values(), ids=LINES)
def test_long_lines_hide_nothing(unit: str) -> None:
    """What an expression that goes over a line again and again would need hours for (python -m benchmarks policies)."""
    text = unit * (SIZE // len(unit))
    assert ("line 1", SETTING) in in_file("a.js", f"let apiKey='horse-battery';`\n{text}")
    lines = text.count("\n") + 3
    assert (f"line {lines}", SETTING) in in_file("a.conf", f"x: [\n{text}\nrequirepass horse")
