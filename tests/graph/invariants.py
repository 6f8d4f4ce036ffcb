"""The tests that hold for any stack, so that stacks with options of their own are put to them as well."""

import inspect
from collections.abc import Callable, Iterator
from types import ModuleType

from tests.graph.stack import Stack

Invariant = Callable[[Stack], None]


def invariants(*modules: ModuleType) -> Iterator[Invariant]:
    """Each test of the modules that takes any stack and nothing else."""
    for module in modules:
        for name, found in vars(module).items():
            if name.startswith("test_") and callable(found) and list(inspect.signature(found).parameters) == ["stack"]:
                yield found
