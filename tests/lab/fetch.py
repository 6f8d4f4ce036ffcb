"""What this machine lacks, said by name; fetching only where there is a network, and again when that falters."""

import http.client
import importlib.metadata
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from tests.lab import cache
from tests.lab.namespace import why_not_private

PAUSES = (2.0, 8.0, 20.0)
"""Seconds before the second and each later attempt to fetch."""
LAST_LINES = 15

Result = TypeVar("Result")


class FetchError(subprocess.CalledProcessError):
    """A command that fetches failed at its last attempt too; the text has the command and the end of what it said."""

    def __str__(self) -> str:
        said = f"{self.stderr or ''}{self.output or ''}".splitlines()[-LAST_LINES:]
        return "\n".join([f"{_title(self.cmd)} ended with status {self.returncode}", *said])


class Missing(Exception):  # noqa: N818 - a fact about the machine, not an error
    """A server, a tool or a right that this machine lacks; the message names it."""


@contextmanager
def skip_if_missing() -> Iterator[None]:
    """Turns `Missing` into a skip of the test, or of every test that uses the fixture, with the same words."""
    try:
        yield
    except Missing as reason:
        pytest.skip(str(reason))


def fetched(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """Like `cache.cached`; raises `Missing` instead of building where no network can be reached.

    That is inside the private network namespace, which python -m tests.lab.run enters after fetching everything.
    """
    if not (cache.ROOT / f"{name}-{key}").exists() and not why_not_private():
        raise Missing(f"needs {name}, which python -m tests.lab.run fetches or builds before its tests")
    return cache.cached(name, key, build)


def packaged(distribution: str, program: str) -> Path:
    """The executable `program` that the PyPI package `distribution` has installed; raises `Missing` without it."""
    try:
        files = importlib.metadata.distribution(distribution).files or []
    except importlib.metadata.PackageNotFoundError:
        raise Missing(f"needs the PyPI package {distribution} (pyproject.toml)") from None
    for file in files:
        if file.name == program and (path := Path(str(file.locate())).resolve()).is_file():
            return path
    raise Missing(f"needs {program}, which the PyPI package {distribution} does not have for this platform")


def retried(
    what: str,
    attempt: Callable[[], Result],
    *,
    on: tuple[type[Exception], ...] = (OSError, http.client.HTTPException),
) -> Result:
    """The result of `attempt()`, which asks a registry; after failures of the kinds `on` tried again, with `PAUSES`.

    One name that does not resolve, or one connection that breaks, is then no failure. Tells of each attempt that
    failed, as `what`. Raises what the last one raised.
    """
    for pause in PAUSES:
        try:
            return attempt()
        except on as error:
            last = (str(error).splitlines() or [type(error).__name__])[-1]
            print(f"lab: {what}: {last}; again in {pause:g} s", flush=True)
            time.sleep(pause)
    return attempt()


def fetching(
    command: Sequence[str | Path], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """What a command that fetches from a registry prints, `retried`. Raises `FetchError`."""

    def attempt() -> str:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env={**os.environ, **environment} if environment else None,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise FetchError(done.returncode, [*map(str, command)], done.stdout, done.stderr)
        return done.stdout

    return retried(_title(command), attempt, on=(FetchError,))


def _title(command: Sequence[str | Path]) -> str:
    """Its program and its last word: such as "apt-get update"."""
    return f"{Path(command[0]).name} ... {command[-1]}" if len(command) > 2 else " ".join(map(str, command))
