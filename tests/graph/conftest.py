"""Every invariant runs over every stack file of the repository."""

import json

import pytest

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
