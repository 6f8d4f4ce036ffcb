"""Programs on a test's PATH. Each call is a fork of one process that has the packages, since a start takes longest.

The program itself is a line of shell, which tells its number to that process and ends as the fork does. The fork has
its arguments, variables, folder and streams, and dies with it. Signals alone do not reach the fork: where the variable
FAKE_PULUMI_WAITS is set, the program is started as it is.
"""

import fcntl
import gc
import importlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import traceback
from functools import cache
from pathlib import Path
from types import CodeType
from typing import NoReturn

PACKAGES = ("json", "grpc", "google.protobuf.wrappers_pb2", "cryptography.hazmat.primitives.ciphers.aead")
"""What the programs import."""

CALL = """#!{shell}
[ -z "$FAKE_PULUMI_WAITS" ] || exec {python} "$0.py" "$@"
exec 3<&0 4>&1 5>&2 6<>/dev/tcp/127.0.0.1/{port} && echo $$ >&6 && read -r -u 6 status
exit "${{status:-1}}"
"""
STREAMS = ((3, os.O_RDONLY), (4, os.O_WRONLY | os.O_APPEND), (5, os.O_WRONLY | os.O_APPEND))
"""Those of the shell, under numbers that it leaves alone when it says something to the process."""


def put_program(folder: Path, name: str, body: str) -> Path:
    """Writes a program in Python; `record(...)` in it appends a line of JSON to the file that is returned."""
    calls = folder / f"{name}.calls"
    program, script = folder / name, folder / f"{name}.py"
    script.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        f"def record(**call):\n    open({str(calls)!r}, 'a').write(json.dumps(call) + '\\n')\n" + textwrap.dedent(body)
    )
    shell = shutil.which("bash")  # others open no connection
    if shell:
        program.write_text(CALL.format(shell=shell, python=sys.executable, port=_server()))
    else:
        shutil.copy(script, program)
    program.chmod(0o755)
    return calls


@cache
def _server() -> int:
    """The port of the process that answers, which ends with this one."""
    server = subprocess.Popen([sys.executable, "-I", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdout
    return int(server.stdout.readline())


def _serve() -> None:
    for name in PACKAGES:
        importlib.import_module(name)
    gc.freeze()  # so that a fork copies none of it when it looks for garbage
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while listener in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        with connection:
            caller = Path("/proc", connection.recv(16).decode().strip() or "none")
            # of the same user, and still there
            if caller.is_dir() and caller.stat().st_uid == os.getuid():
                _fork(connection, caller)


def _fork(connection: socket.socket, caller: Path) -> None:
    words = [os.fsdecode(word) for word in (caller / "cmdline").read_bytes().split(b"\0")[1:-1]]
    code = _compiled(f"{words[0]}.py", os.stat(f"{words[0]}.py").st_mtime_ns)
    if os.fork() == 0:
        status = 1
        try:
            _become(connection, caller, words)
            exec(code, {"__name__": "__main__", "__file__": words[0]})  # noqa: S102 - what the test has written
            status = 0
        except SystemExit as ended:
            status = int(ended.code) if isinstance(ended.code, int) else int(ended.code is not None)
            if isinstance(ended.code, str):
                print(ended.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            _end(connection, status)


@cache
def _compiled(file: str, _written: int) -> CodeType:
    return compile(Path(file).read_bytes(), file, "exec")


def _become(connection: socket.socket, caller: Path, words: list[str]) -> None:
    """Makes this process look as if it were the one that calls, and end by a signal when that one does."""
    for number in (signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    fcntl.fcntl(connection, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(connection, fcntl.F_SETFL, os.O_ASYNC)
    for own, (number, flags) in enumerate(STREAMS):
        opened = os.open(caller / "fd" / str(number), flags)
        os.dup2(opened, own)
        os.close(opened)
    sys.stdin, sys.stdout = os.fdopen(0, encoding="utf-8"), os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8")
    os.chdir(caller / "cwd")
    os.environ.clear()
    for each in (caller / "environ").read_bytes().split(b"\0")[:-1]:
        name, _, value = os.fsdecode(each).partition("=")
        os.environ[name] = value
    parent = int((caller / "stat").read_text().rpartition(")")[2].split()[1])
    os.getppid = lambda: parent
    sys.argv = words


def _end(connection: socket.socket, status: int) -> NoReturn:
    """Ends this process as programs do that are killed by nothing, at once."""
    try:
        sys.stdout.flush()
        connection.sendall(f"{status}\n".encode())
    finally:
        os._exit(status)


if __name__ == "__main__":
    _serve()
