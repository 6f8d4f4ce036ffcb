"""programs/seed/bigtable.mjs against a gRPC server that answers as it is told to.

What Google's own emulator and client make of its messages is in tests/integration/test_bigtable_seed.py.
"""

import json
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.lab.node import NODE
from tests.lab.process import free_ports
from tests.lab.served import Handler, serving
from tests.programs.starts import all_refused

grpc: Any = import_module("grpc")  # without types

PROGRAM = Path(__file__).parents[2] / "programs" / "seed" / "bigtable.mjs"
SERVICE = "google.bigtable.admin.v2.BigtableTableAdmin"
TABLES = {"t": ["f"]}
NAME = b"projects/p/instances/i/tables/t"

Answer = bytes | tuple[Any, str]


def _message(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def _table(*families: str) -> bytes:
    """A Table as servers send it, with fields of every wire type that is none of the program's business."""
    entries = [_message(3, _message(1, family.encode()) + _message(2, b"")) for family in families]
    others = b"\x20\x01" + b"\x78\xff\xff\xff\xff\x0f" + b"\x71" + b"\xff" * 8 + b"\x75" + b"\xff" * 4
    return _message(1, NAME) + others + b"".join(entries)


class Emulator:
    """Answers call after call with `script`, and notes each call's method and message."""

    def __init__(self, script: list[tuple[str, Answer]]) -> None:
        self.script = script
        self.calls: list[tuple[str, bytes]] = []
        self.server = grpc.server(ThreadPoolExecutor(max_workers=1))
        handlers = {
            method: grpc.unary_unary_rpc_method_handler(self._answer(method))
            for method in ("GetTable", "CreateTable", "ModifyColumnFamilies", "DropRowRange", "DeleteTable")
        }
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    def _answer(self, method: str) -> Any:
        def answer(request: bytes, context: Any) -> bytes:
            self.calls.append((method, request))
            expected, given = self.script.pop(0)
            if expected != method:
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"{expected} was expected, not {method}")
            if isinstance(given, tuple):
                context.abort(*given)
            assert isinstance(given, bytes)
            return given

        return answer

    def __enter__(self) -> "Emulator":
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop(None).wait()


ABSENT = (grpc.StatusCode.NOT_FOUND, "no such table")


def _command(address: str, *more: str) -> list[str]:
    return [NODE, str(PROGRAM), "--emulator", address, "--project", "p", "--instance", "i", *more]


def _run(command: list[str]) -> tuple[int, list[dict[str, Any]], str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, [{k: v for k, v in event.items() if k != "time"} for event in events], done.stderr


def _seed(
    script: list[tuple[str, Answer]], tables: dict[str, list[str]] | None = None, *more: str
) -> tuple[int, list[dict[str, Any]], str, list[tuple[str, bytes]]]:
    with Emulator(script) as emulator:
        flags = [f"--table={id}={','.join(families)}" for id, families in (tables or TABLES).items()]
        command = _command(emulator.address, *flags, *more)
        status, events, errors = _run(command)
        assert script == [], "calls that were expected and did not come"
        return status, events, errors, emulator.calls


def test_a_missing_table_is_created_and_looked_at_again() -> None:
    status, events, errors, calls = _seed(
        [("GetTable", ABSENT), ("CreateTable", _table()), ("GetTable", _table("f")), ("GetTable", _table("f"))]
    )

    assert (status, errors) == (0, "")
    assert events == [
        {"event": "created", "table": "t", "families": ["f"]},
        {"event": "done", "tables": 1, "created": 1},
    ]
    get = _message(1, NAME) + b"\x10\x02"
    family = _message(3, _message(1, b"f") + _message(2, b""))
    assert calls[0] == ("GetTable", get)
    assert calls[1] == ("CreateTable", _message(1, b"projects/p/instances/i") + _message(2, b"t") + _message(3, family))


def test_missing_families_are_added_one_by_one() -> None:
    added = [("ModifyColumnFamilies", _table("x", "f")), ("ModifyColumnFamilies", _table("x", "f", "g"))]
    script: list[tuple[str, Answer]] = [("GetTable", _table("x")), *added, ("GetTable", _table("x", "f", "g"))]
    status, events, errors, calls = _seed(script, {"t": ["f", "g", "f"]})

    assert (status, errors) == (0, "")
    assert events == [
        {"event": "created", "table": "t", "family": "f"},
        {"event": "created", "table": "t", "family": "g"},
        {"event": "surplus", "table": "t", "families": ["x"]},
        {"event": "done", "tables": 1, "created": 2},
    ]
    modification = _message(2, _message(1, b"f") + _message(2, b""))
    assert calls[1] == ("ModifyColumnFamilies", _message(1, NAME) + modification)


def test_a_table_that_somebody_else_creates_meanwhile_is_fine() -> None:
    exists = (grpc.StatusCode.ALREADY_EXISTS, "table already exists")
    late = [("GetTable", _table()), ("ModifyColumnFamilies", exists), ("GetTable", _table("f"))]
    status, events, errors, _ = _seed([("GetTable", ABSENT), ("CreateTable", exists), *late])

    assert (status, errors) == (0, "")
    assert events == [{"event": "done", "tables": 1, "created": 0}]


def test_passing_refusals_are_repeated() -> None:
    busy = (grpc.StatusCode.UNAVAILABLE, "starting")
    status, events, errors, _ = _seed(
        [("GetTable", busy), ("GetTable", busy), ("GetTable", _table("f")), ("GetTable", _table("f"))]
    )

    assert (status, errors) == (0, "")
    assert [event["event"] for event in events] == ["waiting", "done"]
    assert events[0]["reason"] == "UNAVAILABLE: starting"


def test_a_refusal_is_told_at_once() -> None:
    refused = (grpc.StatusCode.INVALID_ARGUMENT, "bad family «f» 100 %")
    status, events, errors, _ = _seed([("GetTable", ABSENT), ("CreateTable", refused)])

    assert (status, events) == (1, [])
    assert errors.startswith("seed/bigtable.mjs: CreateTable t at 127.0.0.1:")
    assert errors.endswith(": INVALID_ARGUMENT: bad family «f» 100 %\n")


def test_what_is_not_there_afterwards_is_a_failure() -> None:
    absent = [("GetTable", ABSENT), ("CreateTable", b""), ("GetTable", ABSENT)]
    status, _, errors, _ = _seed([*absent, ("ModifyColumnFamilies", b""), ("GetTable", b"")])

    assert (status, errors) == (1, "seed/bigtable.mjs: table t still lacks f\n")


@pytest.mark.parametrize("answer", [b"\x1a\x7f", b"\x1a", b"\x0b", b"\x80"])
def test_an_answer_that_makes_no_sense_is_a_failure(answer: bytes) -> None:
    status, _, errors, _ = _seed([("GetTable", answer)])

    assert status == 1
    assert ": an answer that " in errors
    assert errors.count("\n") == 1


@pytest.fixture
def web_server() -> Iterator[str]:
    """Speaks HTTP/1.1 only."""
    with serving(Handler) as port:
        yield f"127.0.0.1:{port}"


def test_a_server_of_another_kind_is_given_up_at_the_deadline(web_server: str) -> None:
    status, events, errors = _run(_command(web_server, "--table", "t=f", "--deadline", "1"))

    assert status == 1
    assert events[0]["event"] == "waiting"
    assert errors.startswith(f"seed/bigtable.mjs: GetTable t at {web_server}: ")
    assert errors.endswith("; given up after 1 s\n")


def test_wrong_arguments_are_told_at_start() -> None:
    wrong: list[tuple[list[str], str]] = [
        ([], "--emulator must be host:port"),
        (["--emulator", "127.0.0.1"], "--emulator must be host:port"),
        (["--emulator", "http://h:1"], "--emulator must be host:port"),
        (["--emulator", "h:1"], "--project must be an id of lower-case letters, digits and hyphens"),
        (["--emulator", "h:1", "--project", "p"], "--instance must be an id"),
        (["--emulator", "h:1", "--project", "p", "--instance", "i/j"], "--instance must be an id"),
        (_command("h:1")[2:], "--table is missing"),
        *(
            (_command("h:1", "--table", text)[2:], f"--table {text} must be ID=FAMILY[,FAMILY]...")
            for text in ("t", "a b=f", "t=", "t=f,", "t=f:g", "=f")
        ),
        (_command("h:1", "--table", "t=f", "--deadline", "0")[2:], "--deadline must be a whole number"),
        (_command("h:1", "--tables", "x")[2:], "Unknown option '--tables'"),
    ]
    all_refused(PROGRAM, wrong)


def test_it_ends_when_asked_to() -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    command = _command(address, "--table", "t=f")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["reason"] == "ECONNREFUSED"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143
