"""Every invariant runs over every stack file of the repository."""

import pytest

from tests.graph.stack import Stack, load, stack_files


@pytest.fixture(params=stack_files())
def stack(request: pytest.FixtureRequest) -> Stack:
    return load(request.param)
