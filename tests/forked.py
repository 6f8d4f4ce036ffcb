"""Runs a Python program in a process that is forked from one with the packages in memory, which are most of its start.

It also has our modules of one checkout in memory (`load`): the commands of that checkout use them, for as long as none
of its files has changed. All others read our modules from where they lie.
"""

import marshal
import multiprocessing
import os
import pty
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, suppress
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from unittest import mock

REPOSITORY = Path(__file__).parents[1]
PACKAGES = (
    "boto3",
    "cryptography.hazmat.primitives.ciphers.aead",
    "cryptography.hazmat.primitives.kdf.hkdf",
    "cryptography.x509",
    "google.cloud.bigtable.data",
    "google.cloud.bigtable_admin_v2",
    "pulumi.automation",
    "pulumi.runtime.mocks",
    "pulumi_kubernetes.apps.v1",
    "pulumi_kubernetes.autoscaling.v2",
    "pulumi_kubernetes.batch.v1",
    "pulumi_kubernetes.core.v1",
    "pulumi_kubernetes.helm.v3",
    "pulumi_kubernetes.meta.v1",
    "pulumi_kubernetes.networking.v1",
    "pulumi_kubernetes.policy.v1",
    "pulumi_random",
    "pulumi_tls",
    "pydantic.alias_generators",
    "pydantic.json_schema",
    "pydantic.main",
    "pydantic.types",
    "rbcl",
    "rich._emoji_codes",
    "rich.console",
    "rich.progress",
    "rich.table",
    "xeddsa",
    "yaml",
)
"""Of other people: what most commands import."""


def flatline(
    root: Path,
    words: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdin: str = "",
    columns: int | None = None,
    stdout: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """A command of the checkout in a folder, as it is once it is in a Python that has the packages."""
    entered = {**environment, "FLATLINE_ENTERED": str(root.resolve())}
    program = root / "flatline"
    return run(program, words, environment=entered, stdin=stdin, timeout=300, columns=columns, stdout=stdout)


_loaded: dict[Path, Mapping[str, tuple[int, int]]] = {}
"""The checkout whose modules are in memory, with the state of its files when they were read."""
_loaded_by: int | None = None
"""The server's process. One that Python has started in its place has modules of wherever that was: of the repository,
whose state and files a command would then write."""


_left: list[ModuleType] = []
"""What a process has of a checkout that is not its own."""


def load(root: Path, modules: Sequence[str], files: Iterable[Path]) -> None:
    """Reads modules of a checkout, which depend on nothing but `files` and folders, for all programs in it.

    Once a process.
    """
    context = multiprocessing.get_context("forkserver")
    # One that has run a program before this has not these modules.
    forkserver._forkserver._stop()  # pyrefly: ignore[missing-attribute]
    context.set_forkserver_preload([*PACKAGES, __name__, *modules])
    # the new process has the folder at the beginning of its path
    with chdir(root), mock.patch.dict(os.environ, PYTHONPATH=str(REPOSITORY)):
        forkserver.ensure_running()
    started = context.Process(target=int)
    started.start()
    started.join()
    _loaded[root] = _states(map(str, files))
    global _loaded_by
    _loaded_by = _server()


def _server() -> int:
    """Of all programs; it is started if it has ended."""
    forkserver.ensure_running()
    return int(forkserver._forkserver._forkserver_pid)  # pyrefly: ignore[missing-attribute]


def is_as_loaded(root: Path) -> bool:
    """True if a checkout's modules are in memory as they are in its files."""
    files = _loaded.get(root)
    return files is not None and _states(files) == files


def _states(files: Iterable[str]) -> dict[str, tuple[int, int]]:
    states = {}
    for file in files:
        with suppress(FileNotFoundError):
            state = os.stat(file)
            states[file] = (state.st_mtime_ns, state.st_size)
    return states


def run(
    program: Path,
    words: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdin: str,
    timeout: float,
    columns: int | None = None,
    stdout: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` in the program's folder, without a terminal. Raises TimeoutExpired.

    `columns`: standard output is a terminal of that width. `stdout`: it is that file.
    """
    with TemporaryDirectory() as folder, _terminal(columns) as (terminal, shown):
        streams = [Path(folder) / name for name in ("stdin", "stdout", "stderr")]
        for stream in streams:
            stream.touch()
        streams[0].write_text(stdin, encoding="utf-8")
        streams[1] = stdout or terminal or streams[1]
        context = _context()  # before the server is asked for: it says what that has in memory
        again = _server() != _loaded_by
        others = {
            Path(file).relative_to(root).parts[0].removesuffix(".py")
            for root, files in _loaded.items()
            if again or program.parent != root or not is_as_loaded(root)
            for file in files
        }
        given = (
            program,
            _compiled(program, program.stat().st_mtime_ns),
            list(words),
            dict(environment),
            streams,
            others,
        )
        process = context.Process(target=_become, args=given)
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired([str(program), *words], timeout)
        said = shown() if terminal else "" if stdout else streams[1].read_text(encoding="utf-8")
        errors = streams[2].read_text(encoding="utf-8")
        return subprocess.CompletedProcess([str(program), *words], process.exitcode, said, errors)


@contextmanager
def _terminal(columns: int | None) -> Iterator[tuple[Path | None, Callable[[], str]]]:
    """The path of a terminal, and what was written to it when it is asked, which ends it."""
    if columns is None:
        yield None, str
        return
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, columns))
    read: list[bytes] = []

    def take() -> None:
        with suppress(OSError):  # that nobody has it open any more
            while chunk := os.read(ours, 65536):
                read.append(chunk)

    def shown() -> str:
        os.close(theirs)
        reader.join()
        return b"".join(read).decode().replace("\r\n", "\n")

    reader = threading.Thread(target=take, daemon=True)
    reader.start()
    try:
        yield Path(os.ttyname(theirs)), shown
    finally:
        os.close(ours)


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    if not _loaded:
        context.set_forkserver_preload(list(PACKAGES))
    return context


@cache
def _compiled(program: Path, _written: int) -> bytes:
    return marshal.dumps(compile(program.read_bytes(), program, "exec"))


def _become(
    program: Path,
    code: bytes,
    words: Sequence[str],
    environment: Mapping[str, str],
    streams: Sequence[Path],
    others: Collection[str],
) -> None:
    """Makes this process look as if it had been started with the program, without modules and packages of `others`."""
    # looking at a module, or its end, takes a copy of its memory
    if others:
        _left.extend(sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] in others)
    for number, (stream, flags) in enumerate(zip(streams, (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=True)):
        opened = os.open(stream, flags | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin, sys.stdout = os.fdopen(0, encoding="utf-8"), os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8")
    os.chdir(program.parent)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [str(program), *words]
    sys.path[:] = [str(program.parent), *(path for path in sys.path if Path(path).resolve() != REPOSITORY)]
    main = sys.modules["__main__"] = ModuleType("__main__")
    main.__file__ = str(program)
    exec(marshal.loads(code), vars(main))  # noqa: S102 - a test's program
