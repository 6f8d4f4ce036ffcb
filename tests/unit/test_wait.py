"""programs/wait.mjs against servers that are late, closed, slow, or say something else."""

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.lab.node import NODE
from tests.lab.process import free_ports
from tests.lab.served import Handler, serving
from tests.programs.modules import HURRIED
from tests.programs.starts import all_refused

PROGRAM = Path(__file__).parents[2] / "programs" / "wait.mjs"
PASSWORD = "s3cret-word"
AUTH = f"*2\r\n$4\r\nAUTH\r\n${len(PASSWORD)}\r\n{PASSWORD}\r\n".encode()
PING = b"*1\r\n$4\r\nPING\r\n"
CLUSTER_INFO = b"*2\r\n$7\r\nCLUSTER\r\n$4\r\nINFO\r\n"

Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server: `serve(expected, answer, ...)` returns its host:port.

    Each connection is read until it has sent `expected` bytes, then gets the next answer (the last one for ever), in
    single bytes if `slowly`, and is closed. `port` takes a port that was free before.
    """
    with ExitStack() as running:

        def start(expected: bytes, *answers: bytes, slowly: bool = False, port: int = 0) -> str:
            listener = running.enter_context(socket.create_server(("127.0.0.1", port)))
            left = list(answers)

            def accept() -> None:
                with suppress(OSError):  # the listener was closed at the end of the test
                    while True:
                        connection, _ = listener.accept()
                        with connection:
                            received = b""
                            while len(received) < len(expected) and (part := connection.recv(4096)):
                                received += part
                            answer = left.pop(0) if len(left) > 1 else left[0]
                            if received != expected:
                                answer = b"-ERR not what was expected\r\n"
                            for at in range(0, len(answer), 1 if slowly else max(len(answer), 1)):
                                connection.sendall(answer[at:] if not slowly else answer[at : at + 1])

            thread = threading.Thread(target=accept)
            thread.start()
            running.callback(thread.join)
            running.callback(lambda: listener.shutdown(socket.SHUT_RDWR))
            return f"127.0.0.1:{listener.getsockname()[1]}"

        yield start


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    return str(file)


def _wait(*arguments: str, seconds: int = 20, node: tuple[str, ...] = HURRIED) -> tuple[int, list[dict[str, Any]], str]:
    command = [NODE, *node, str(PROGRAM), "--timeout", str(seconds), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert PASSWORD not in done.stdout + done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, [{k: v for k, v in event.items() if k != "time"} for event in events], done.stderr


def _info(state: str, slots: int) -> bytes:
    text = f"cluster_state:{state}\r\ncluster_slots_assigned:{slots}\r\ncluster_slots_ok:{slots}\r\n"
    return f"${len(text)}\r\n{text}\r\n".encode()


def test_a_connection_is_enough_for_tcp(serve: Serve) -> None:
    target = f"tcp://{serve(b'', b'')}"

    assert _wait(target) == (0, [{"event": "ready", "target": target}, {"event": "done"}], "")


def test_what_comes_late_is_waited_for_and_told_once(serve: Serve) -> None:
    port = free_ports(1)[0]
    target = f"tcp://127.0.0.1:{port}"
    timer = threading.Timer(1.5, lambda: serve(b"", b"", port=port))
    timer.start()
    try:
        status, events, errors = _wait(target, node=())
    finally:
        timer.join()

    assert (status, errors) == (0, "")
    assert events == [
        {"event": "waiting", "target": target, "reason": "ECONNREFUSED"},
        {"event": "ready", "target": target},
        {"event": "done"},
    ]


def test_all_targets_are_tried_at_once_and_the_missing_ones_are_named(serve: Serve) -> None:
    there = f"tcp://{serve(b'', b'')}"
    closed = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    silent = f"redis://{serve(b'-' * 10_000, b'')}"

    status, events, errors = _wait(closed, silent, there, there, seconds=7)

    assert status == 1
    assert events.count({"event": "ready", "target": there}) == 1
    assert {"event": "waiting", "target": closed, "reason": "ECONNREFUSED"} in events
    assert {"event": "waiting", "target": silent, "reason": "no answer"} in events
    assert errors == f"wait.mjs: after 7 s still missing: {closed} (ECONNREFUSED), {silent} (no answer)\n"


def test_what_is_missing_is_told_every_ten_seconds() -> None:
    closed = f"tcp://127.0.0.1:{free_ports(1)[0]}"

    _, events, _ = _wait(closed, seconds=21)

    assert events[1:] == [{"event": "missing", closed: "ECONNREFUSED"}] * 2


def test_a_name_that_does_not_resolve_is_not_there_yet() -> None:
    target = "tcp://no-such-host.invalid:80"

    status, events, errors = _wait(target, seconds=2)

    assert status == 1
    assert errors.startswith(f"wait.mjs: after 2 s still missing: {target} (")
    for event in events:
        assert event["event"] == "waiting"


@pytest.mark.parametrize(("statuses", "reasons"), [((503, 302, 204), ["status 503", "status 302"]), ((200,), [])])
def test_http_wants_a_status_of_success(statuses: tuple[int, ...], reasons: list[str]) -> None:
    left = list(statuses)

    class Answers(Handler):
        def answer(self) -> None:
            status = left.pop(0) if len(left) > 1 else left[0]
            self.reply(status if self.path == "/ready?x=1" else 500, Location="/")

    with serving(Answers) as port:
        target = f"http://127.0.0.1:{port}/ready?x=1"
        status, events, errors = _wait(target)

    assert (status, errors) == (0, "")
    assert [event["reason"] for event in events if event["event"] == "waiting"] == reasons
    assert events[-2:] == [{"event": "ready", "target": target}, {"event": "done"}]


@pytest.mark.parametrize("slowly", [False, True])
def test_redis_is_asked_with_the_password(serve: Serve, password_file: str, slowly: bool) -> None:
    answers = (b"-LOADING in mem", b"+OK", b"+OK\r\n+PONG\r\n")
    target = f"redis://{serve(AUTH + PING, *answers, slowly=slowly)}"

    status, events, errors = _wait("--redis-password-file", password_file, target)

    assert (status, errors) == (0, "")
    reasons = [event["reason"] for event in events if event["event"] == "waiting"]
    assert reasons == ["connection closed"]
    assert events[-1] == {"event": "done"}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"-LOADING Redis is loading\r\n", "LOADING Redis is loading"),
        (b"-NOAUTH Authentication required.\r\n", "NOAUTH Authentication required."),
        (b"+NOPONG\r\n", "not an answer of Redis"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not an answer of Redis"),
        (b"+" + b"x" * 70_000, "not an answer of Redis"),
        (b"", "connection closed"),
    ],
)
def test_redis_that_answers_something_else_is_not_ready(serve: Serve, answer: bytes, reason: str) -> None:
    target = f"redis://{serve(PING, answer)}"

    status, events, errors = _wait(target, seconds=2)

    assert status == 1
    assert events == [{"event": "waiting", "target": target, "reason": reason}]
    assert errors == f"wait.mjs: after 2 s still missing: {target} ({reason})\n"


def test_a_wrong_password_is_told_without_it(serve: Serve, password_file: str) -> None:
    refused = b"-WRONGPASS invalid password\r\n"
    target = f"redis://{serve(AUTH + PING, refused)}"

    _, events, _ = _wait("--redis-password-file", password_file, target, seconds=1)

    assert events == [{"event": "waiting", "target": target, "reason": "WRONGPASS invalid password"}]


@pytest.mark.parametrize("slowly", [False, True])
def test_a_redis_cluster_is_ready_when_it_serves_all_slots(serve: Serve, password_file: str, slowly: bool) -> None:
    answers = [_info("fail", 16384), _info("ok", 16383), _info("ok", 16384)]
    address = serve(AUTH + CLUSTER_INFO, *(b"+OK\r\n" + answer for answer in answers), slowly=slowly)
    target = f"redis-cluster://{address}"

    status, events, errors = _wait("--redis-password-file", password_file, target)

    assert (status, errors) == (0, "")
    assert [event.get("reason") for event in events] == [
        "cluster_state fail, 16384 slots assigned",
        "cluster_state ok, 16383 slots assigned",
        None,
        None,
    ]


def test_it_ends_when_asked_to() -> None:
    target = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    with subprocess.Popen([NODE, str(PROGRAM), target], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "waiting"
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143
        assert time.monotonic() - began < 5


def test_wrong_arguments_are_told_at_start() -> None:
    wrong: list[tuple[list[str], str]] = [
        ([], "nothing to wait for"),
        (["db:6379"], "db:6379 is not a target"),
        (["ftp://db:21"], "ftp://db:21 is not a target"),
        (["tcp://db"], "tcp://db needs a host and a port"),
        (["redis://db:6379/0"], "redis://db:6379/0 must end with its port"),
        (["redis://user:word@db:6379"], "a target holds no user and no password"),
        (["https://user:word@db/"], "https://...@db/ is not a target"),
        (["--timeout", "1.5", "tcp://db:1"], "--timeout must be a whole number of seconds"),
        (["--timeout", "0", "tcp://db:1"], "--timeout must be a whole number of seconds"),
        (["--redis-password-file", "/none", "redis://db:1"], "--redis-password-file cannot be read (ENOENT)"),
        (["--redis-password-file", "/dev/null", "redis://db:1"], "--redis-password-file must hold one line"),
        (["--password", "x", "tcp://db:1"], "Unknown option '--password'"),
    ]
    all_refused(PROGRAM, wrong, secrets=["word@"])
