"""What this machine lacks, said by name; and fetching only where there is a network."""

import importlib.metadata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import cache
from tests.lab.namespace import why_not_private


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
        raise Missing(f"needs the PyPI package {distribution} (requirements-dev.txt)") from None
    for file in files:
        if file.name == program and (path := Path(str(file.locate())).resolve()).is_file():
            return path
    raise Missing(f"needs {program}, which the PyPI package {distribution} does not have for this platform")
