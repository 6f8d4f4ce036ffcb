"""Python programs as forks of one process that has their packages in memory, since a start takes longest.

A caller is a line of shell, which tells its number to that process and ends as the fork does. The fork has the caller's
arguments, variables, folder and streams, and dies with it. Signals alone do not reach the fork.
"""

import atexit
import ctypes
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
import threading
import traceback
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import NoReturn

CALL = """\
exec 3<&0 4>&1 5>&2 6<>/dev/tcp/127.0.0.1/{port} && echo "$$ {program}" >&6 && read -r -u 6 status
exit "${{status:-1}}"
"""
STREAMS = ((3, os.O_RDONLY), (4, os.O_WRONLY | os.O_APPEND), (5, os.O_WRONLY | os.O_APPEND))
"""Those of the shell, under numbers that it leaves alone when it says something to the process."""
LARGE_PAGE = 2 << 20
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25  # linux/mman.h
SHELL = shutil.which("bash")  # others open no connection


def call(program: str, packages: tuple[str, ...], prefix: tuple[str, ...] = ()) -> str:
    """Lines of bash that run a program: `$0.py`, or a file that is the first argument, `$1`.

    `prefix`: words before a command that run it where the program is to run.
    """
    return CALL.format(port=_server(packages, prefix), program=program)


@cache
def _server(packages: tuple[str, ...], prefix: tuple[str, ...]) -> int:
    """The port of the process that answers, which ends with this one."""
    command = [*prefix, sys.executable, "-I", __file__, *packages]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdout
    return int(server.stdout.readline())


def _serve(packages: Sequence[str]) -> None:
    for name in packages:
        importlib.import_module(name)
    keep_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while listener in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        with connection:
            number, _, program = connection.recv(4096).decode().strip().partition(" ")
            caller = Path("/proc", number or "none")
            # of the same user, and still there
            if caller.is_dir() and caller.stat().st_uid == os.getuid():
                _fork(connection, caller, program)


def keep_memory() -> None:
    """Makes forks of this process cheap, as it is now: they copy no memory when they look for garbage.

    Large pages, where the kernel has them, leave a fork a hundred entries to copy in place of fifty thousand.
    """
    gc.collect()
    gc.freeze()
    madvise = ctypes.CDLL(None).madvise
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, rights, _, _, inode, *path = line.split()
        first, end = (int(address, 16) // LARGE_PAGE for address in addresses.split("-"))
        if rights == "rw-p" and inode == "0" and path in ([], ["[heap]"]) and end > first + 1:
            begin, length = ctypes.c_void_p((first + 1) * LARGE_PAGE), ctypes.c_size_t((end - first - 1) * LARGE_PAGE)
            for advice in (MADV_HUGEPAGE, MADV_COLLAPSE):
                madvise(begin, length, advice)


def _fork(connection: socket.socket, caller: Path, program: str) -> None:
    words = [os.fsdecode(word) for word in (caller / "cmdline").read_bytes().split(b"\0")[1:-1]]
    words = words[words.index(program) if program in words else 0 :]
    code = _compiled(program, os.stat(program).st_mtime_ns)
    if os.fork() == 0:
        status = 1
        try:
            _become(connection, caller, program, words)
            exec(code, vars(sys.modules["__main__"]))  # noqa: S102 - the caller's program
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


def _become(connection: socket.socket, caller: Path, program: str, words: list[str]) -> None:
    """Makes this process look as if it were the one that calls, and end by a signal when that one does."""
    for number in (signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    fcntl.fcntl(connection, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(connection, fcntl.F_SETFL, os.O_ASYNC)
    for own, (number, flags) in enumerate(STREAMS):
        opened = os.open(caller / "fd" / str(number), flags)
        os.dup2(opened, own)
        os.close(opened)
    sys.stdin, sys.stdout = os.fdopen(0, encoding="utf-8"), os.fdopen(1, "w", buffering=1, encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8")
    os.chdir(caller / "cwd")
    os.environ.clear()
    for each in (caller / "environ").read_bytes().split(b"\0")[:-1]:
        name, _, value = os.fsdecode(each).partition("=")
        os.environ[name] = value
    more = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    sys.path[:0] = [os.path.dirname(program), *more]
    parent = int((caller / "stat").read_text().rpartition(")")[2].split()[1])
    os.getppid = lambda: parent
    sys.argv = words
    main = sys.modules["__main__"] = ModuleType("__main__")
    main.__file__ = program


def _end(connection: socket.socket, status: int) -> NoReturn:
    """Ends this process as Python does, and says how."""
    try:
        threading._shutdown()  # pyrefly: ignore[missing-attribute]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        connection.sendall(f"{status}\n".encode())
    finally:
        os._exit(status)


if __name__ == "__main__":
    _serve(sys.argv[1:])
