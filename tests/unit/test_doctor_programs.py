"""programs/doctor/network.mjs and registry.mjs as they are shipped; stores.mjs meets real stores in integration/."""

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.node import NODE
from tests.lab.process import free_ports
from tests.programs.modules import Modules
from tests.programs.starts import all_refused

PROGRAMS = Path(__file__).parents[2] / "programs" / "doctor"


def run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([NODE, PROGRAMS / program, *words], capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def listening() -> Iterator[tuple[int, int]]:
    """Two ports of this machine: one that takes connections, and one that takes none."""
    opened, closed = free_ports(2)
    with socket.create_server(("127.0.0.1", opened)):
        yield opened, closed


def test_what_a_pod_sees_of_another_one(listening: tuple[int, int]) -> None:
    opened, closed = listening
    words = ("--to", "127.0.0.1", "--open", str(opened), "--closed", str(closed), "--seconds", "1")
    done = run("network.mjs", "call", *words, "--resolve", "localhost", "--image", "nothing")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert (found["open"], found["closed"]) == (True, False)
    assert found["dns"]["address"] in {"127.0.0.1", "::1"}
    assert found["images"] == {"nothing": "is no reference of an image"}


def test_a_port_that_should_be_closed_is_told(listening: tuple[int, int]) -> None:
    opened, closed = listening
    words = ("--to", "127.0.0.1", "--open", str(closed), "--closed", str(opened), "--seconds", "1")
    found = json.loads(run("network.mjs", "call", *words).stdout)
    assert (found["open"], found["closed"]) == (False, True)


def test_arguments_that_cannot_be_right() -> None:
    network: list[tuple[list[str], str]] = [
        ([], "the first argument is listen or call"),
        (["listen"], "--port is missing"),
        (["call", "--open", "1", "--closed", "2"], "--to is missing"),
    ]
    stores = [
        (["--redis", "redis-0"], "redis-0 must be [NAME=]HOST:PORT"),
        (["--dynamodb", "ftp://x", "--table", "t"], "--dynamodb must be https://HOST"),
        (["--redis-password-file", "/nowhere"], "--redis-password-file cannot be read (ENOENT)"),
    ]
    all_refused(PROGRAMS / "network.mjs", network)
    all_refused(PROGRAMS / "stores.mjs", stores)


def test_a_store_that_does_not_answer_is_a_problem_of_that_store() -> None:
    (port,) = free_ports(1)
    words = ("--seconds", "1", "--bigtable", f"127.0.0.1:{port}", "--bigtable-table", "t", "--family", "f")
    done = run("stores.mjs", *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"bigtable": {"what": "table t", "problem": "ECONNREFUSED"}}


def test_a_redis_that_says_nothing_is_a_problem_of_that_redis(tmp_path: Path) -> None:
    """Its deadline passes before there is a subscription."""
    (tmp_path / "password").write_text("a-password")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        words = ("--seconds", "1", "--redis-password-file", str(tmp_path / "password"), "--pubsub", address)
        done = run("stores.mjs", *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"pubsub": {"problem": "no answer"}}


DRIVER = """
const { partsOf, tokenUrl } = await load('doctor/registry');
const calls = { parts: ({ of }) => partsOf(of), token: ({ header }) => tokenUrl(header, 'a/b') };
"""


def test_references_of_images_are_taken_apart(modules: Modules) -> None:
    references = ("docker.io/library/node:24-alpine", "ghcr.io/a/b:main@sha256:12")
    assert [modules.call("parts", of=reference) for reference in references] == [
        {"host": "registry-1.docker.io", "path": "library/node", "reference": "24-alpine"},
        {"host": "ghcr.io", "path": "a/b", "reference": "sha256:12"},
    ]


def test_a_token_is_asked_of_who_the_registry_names_by_https_alone(modules: Modules) -> None:
    header = 'Bearer realm="{}://auth.example/token",service="registry.example"'
    assert modules.call("token", header=header.format("https")) == (
        "https://auth.example/token?service=registry.example&scope=repository%3Aa%2Fb%3Apull"
    )
    for other in (header.format("http"), 'Basic realm="x"'):
        assert modules.call("token", header=other) is None
