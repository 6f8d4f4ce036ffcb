"""Locks of Pulumi's file backend: who took one, and whether that process has ended for certain."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cli import engine_files
from errors import FlatlineError

_CLOCK_TOLERANCE = timedelta(seconds=2)


@dataclass(frozen=True)
class Lock:
    """A lock file, and what it says about the process that made it."""

    file: Path
    process: int
    user: str
    host: str
    since: datetime

    def __str__(self) -> str:
        return f"process {self.process} of {self.user} on {self.host}, since {self.since:%Y-%m-%d %H:%M:%S %Z}"

    @property
    def dead(self) -> bool:
        """True if its process has ended. Processes of other hosts are unknown, so their locks never count as dead."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # somebody else's process
        started = _started(self.process)
        return started is not None and started > self.since + _CLOCK_TOLERANCE  # the number was given out again


def of(backend: str, project: str, stack: str, working_folder: Path) -> list[Lock]:
    """The locks of a stack in a file backend; none for other backends, whose locks are not files here.

    Raises FlatlineError for a lock file that cannot be understood. The layout is pkg/backend/diy of pulumi/pulumi.
    """
    files = engine_files.folder(backend, working_folder)
    if files is None:
        return []
    locks = files / "locks"
    return [lock for part in (f"organization/{project}/{stack}", stack) for lock in _in(locks / part)]


def _in(folder: Path) -> Iterator[Lock]:
    for file in sorted(folder.glob("*.json")):
        try:
            content = json.loads(file.read_text())
            moment = datetime.fromisoformat(content["timestamp"])
            yield Lock(file, int(content["pid"]), content["username"], content["hostname"], moment)
        except FileNotFoundError:
            continue  # its process has just ended
        except (ValueError, KeyError, TypeError):
            raise FlatlineError(f"{file} is no lock that Pulumi could have written", "Look who wrote it.") from None


def _started(process: int) -> datetime | None:
    """When a process began, where the system tells."""
    with suppress(OSError, ValueError, IndexError):
        ticks = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
        booted = next(
            int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime ")
        )
        return datetime.fromtimestamp(booted + ticks / os.sysconf("SC_CLK_TCK"), UTC)
    return None
