"""Every invariant runs over every stack file of the repository."""

import json
from collections.abc import Iterator
from functools import cache

import pytest

from policies import secret_text
from policies.rules import secrets
from tests.graph.stack import Stack, configuration, load, stack_files


def _of_kind(kind: str) -> list[str]:
    return [name for name in stack_files() if json.loads(configuration(name)["flatline:target"])["kind"] == kind]


@pytest.fixture(params=_of_kind("local"))
def emulated(request: pytest.FixtureRequest) -> Stack:
    """A stack with the emulators, for what only they have."""
    return load(request.param)


@pytest.fixture(params=stack_files())
def stack(request: pytest.FixtureRequest) -> Stack:
    return load(request.param)


@pytest.fixture(scope="session", autouse=True)
def texts_searched_once() -> Iterator[None]:
    """A check of a stack mostly looks for secrets in its files, and hundreds of checks differ by a line of one file.

    What is found depends on the file and the settings alone.
    """

    @cache
    def remembered(name: str, content: str, placeholders: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        return tuple(secret_text.in_file(name, content, placeholders))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secrets, "in_file", lambda name, content, kept=(): remembered(name, content, tuple(kept)))
        yield
