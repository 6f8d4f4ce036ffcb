"""Atomic writes of files and directories, and locks between processes.

Standard library only and no import of ours, so that every package can use it.
"""

import contextlib
import fcntl
import glob
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700


def write(path: Path, content: bytes, mode: int = FILE_MODE) -> None:
    """Replaces a file, or the file that a symbolic link names, so that readers see the old or the new content.

    Raises ``OSError``; the file is then unchanged.
    """
    path = path.resolve()
    temporary = _temporary_file(path, content, mode)
    try:
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def create(path: Path, content: bytes, mode: int = FILE_MODE) -> bool:
    """Creates a file with its content in one step. Returns false, and changes nothing, if it exists.

    Creates missing parent directories, which only the user can open.
    """
    path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    temporary = _temporary_file(path, content, mode)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    _sync_directory(path.parent)
    return True


class Lock:
    """An exclusive lock on a directory or a file, which is created if it is absent. It ends with the process.

    Raises ``BlockingIOError`` if another process has it. ``release`` may be called more than once.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_DIRECTORY if path.is_dir() else os.O_CREAT
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags, FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor: int | None = descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Lets other processes take the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def replace_directory(directory: Path, files: Mapping[str, bytes]) -> None:
    """Replaces a directory by a private one that has exactly ``files``, whose keys are names without a slash.

    The new directory is written beside the old one and renamed. A run that is killed between the two renames leaves
    the old one under another name; ``recover_directory`` brings it back. One that is killed earlier leaves an
    unfinished directory; ``remove_unfinished`` removes it.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    previous = _previous(directory)
    unfinished = Path(tempfile.mkdtemp(dir=directory.parent, prefix=_unfinished_prefix(directory)))
    try:
        with Lock(unfinished):
            for name, content in files.items():
                _create_file(unfinished / name, content)
            if directory.exists():
                directory.rename(previous)
            unfinished.rename(directory)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        recover_directory(directory)
        raise
    shutil.rmtree(previous, ignore_errors=True)


def recover_directory(directory: Path) -> None:
    """Completes, or takes back, a ``replace_directory`` that was killed between its two renames."""
    previous = _previous(directory)
    if not previous.is_dir():
        return
    if directory.exists():
        shutil.rmtree(previous)
    else:
        previous.rename(directory)


def remove_unfinished(directory: Path, is_ours: Callable[[Path], bool]) -> None:
    """Removes the directories that killed calls of ``replace_directory`` left: they may hold secrets.

    Keeps those that another process writes at the moment, those that others can open, and those with an entry for
    which ``is_ours`` is false.
    """
    current = re.escape(_unfinished_prefix(directory))
    earlier = re.escape(f".{directory.name}.")  # the prefix of earlier versions
    name = re.compile(rf"({current}|{earlier}(?!previous$))[a-z0-9_]{{8}}")
    for path in sorted(directory.parent.glob(f".{glob.escape(directory.name)}.*")):
        if name.fullmatch(path.name) and _is_private_directory(path) and all(map(is_ours, path.iterdir())):
            with contextlib.suppress(BlockingIOError), Lock(path):
                shutil.rmtree(path)


def _temporary_file(path: Path, content: bytes, mode: int) -> Path:
    """A new file beside ``path`` whose content is on the disk."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def _create_file(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, FILE_MODE)  # whatever the umask is
        file.write(content)


def _is_private_directory(path: Path) -> bool:
    status = path.lstat()
    return (
        stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) == DIRECTORY_MODE and status.st_uid == os.getuid()
    )


def _sync_directory(directory: Path) -> None:
    """Makes a rename durable. The new content is in place, so a file system that cannot sync is not an error."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _previous(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}.previous")


def _unfinished_prefix(directory: Path) -> str:
    return f".{directory.name}.unfinished-"
