"""Values that are not known before deployment. Reading one raises UndecidedError, so that no rule decides on it."""

from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from typing import Any, Final

from policies.model import UndecidedError


class Unknown(Enum):
    """The type of `UNKNOWN`."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN


class Object(dict[str, Any]):
    """An object whose unknown members raise `UndecidedError` when they are read, and only then."""

    path: tuple[str, ...] = ()

    def __getitem__(self, key: str) -> Any:
        return _known(super().__getitem__(key), (*self.path, key))

    def get(self, key: str, default: Any = None) -> Any:
        return _known(super().get(key, default), (*self.path, key))

    def items(self) -> Any:
        return [(key, self[key]) for key in self]

    def values(self) -> Any:
        return [self[key] for key in self]


class Array(list[Any]):
    """A list whose unknown entries raise `UndecidedError` when they are read, and only then."""

    path: tuple[str, ...] = ()

    def __getitem__(self, index: Any) -> Any:
        return _known(super().__getitem__(index), (*self.path, str(index)))

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))


def _known(value: Any, path: tuple[str, ...]) -> Any:
    if value is UNKNOWN:
        raise UndecidedError(path)
    return value


def guarded(value: Any, path: tuple[str, ...] = (), *, unknown: Collection[str] = ()) -> Any:
    """Copies plain data so that reading `UNKNOWN`, or a string in `unknown`, raises UndecidedError at any depth."""
    if isinstance(value, Mapping):
        guard = Object((key, guarded(entry, (*path, str(key)), unknown=unknown)) for key, entry in value.items())
        guard.path = path
        return guard
    if isinstance(value, (list, tuple)):
        array = Array(guarded(entry, (*path, str(index)), unknown=unknown) for index, entry in enumerate(value))
        array.path = path
        return array
    return UNKNOWN if isinstance(value, str) and value in unknown else value
