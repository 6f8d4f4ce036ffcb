"""Converts between the properties of requests, which are protobuf Structs, and plain Python values."""

from __future__ import annotations

import base64
import math
from collections.abc import Collection, Mapping
from typing import Any, Final

from google.protobuf import struct_pb2  # type: ignore[import-untyped]

from render.model import UNKNOWN, Path, RecordingError, path_text
from render.pulumi_internals import RESOURCE_SIGNATURE, SECRET_SIGNATURE, SIGNATURE_KEY, UNKNOWN_VALUE

_WARNING: Final = "Calling __str__ on an Output"
# The warning as plain text, and in base64 at each of the three alignments.
_OUTPUT_AS_TEXT: Final = (
    _WARNING,
    *(base64.b64encode(b"\0" * i + _WARNING.encode()).decode()[4 if i else 0 : 36] for i in range(3)),
)
_EXACT_INTEGERS: Final = 2**53


class DecodedProperties:
    """The properties of a request in ``values``, with the paths of ``secrets``, of unknown values and of mistakes."""

    def __init__(self, struct: struct_pb2.Struct) -> None:
        self.secrets: set[Path] = set()
        self._unknown: list[Path] = []
        self._outputs_as_text: list[Path] = []
        self._unsupported: list[tuple[Path, str]] = []
        self.values: dict[str, Any] = self._object(struct, ())

    def check(self, source: str, preview: bool) -> None:
        """Raises ``RecordingError`` for a mistake. It names ``source`` and the path, and never a value."""
        for path in self._outputs_as_text:
            raise RecordingError(
                f"{source}: {path_text(path)} holds the warning text of an Output turned to a string;"
                " use Output.apply, Output.concat or Output.format instead of an f-string or str()"
            )
        for path, problem in self._unsupported:
            raise RecordingError(f"{source}: {path_text(path)} is {problem}")
        if not preview:
            for path in self._unknown:
                raise RecordingError(
                    f"{source}: {path_text(path)} is unknown; it comes from an output that only a cluster or"
                    " a cloud could tell, so it cannot be rendered"
                )

    def _object(self, struct: struct_pb2.Struct, path: Path) -> dict[str, Any]:
        decoded = {}
        for key in sorted(struct.fields):
            value = struct.fields[key]
            if value.WhichOneof("kind") in ("null_value", None):
                continue
            if _WARNING in key:
                self._outputs_as_text.append(path)
            decoded[key] = self._value(value, (*path, key))
        return decoded

    def _value(self, value: struct_pb2.Value, path: Path) -> Any:
        match value.WhichOneof("kind"):
            case "string_value":
                return self._text(value.string_value, path)
            case "number_value":
                return self._number(value.number_value, path)
            case "bool_value":
                return value.bool_value
            case "struct_value":
                return self._struct(value.struct_value, path)
            case "list_value":
                return [self._value(item, (*path, i)) for i, item in enumerate(value.list_value.values)]
            case _:
                return None

    def _struct(self, struct: struct_pb2.Struct, path: Path) -> Any:
        if SIGNATURE_KEY not in struct.fields:
            return self._object(struct, path)
        signature = struct.fields[SIGNATURE_KEY].string_value
        if signature == SECRET_SIGNATURE:
            self.secrets.add(path)
            return self._value(struct.fields["value"], path)
        if signature == RESOURCE_SIGNATURE:
            return struct.fields["urn"].string_value
        self._unsupported.append((path, "an asset or archive"))
        return None

    def _text(self, text: str, path: Path) -> Any:
        if text == UNKNOWN_VALUE:
            self._unknown.append(path)
            return UNKNOWN
        if any(form in text for form in _OUTPUT_AS_TEXT):
            self._outputs_as_text.append(path)
        return text

    def _number(self, number: float, path: Path) -> int | float:
        if not math.isfinite(number):
            self._unsupported.append((path, "a number that is not finite"))
        elif number.is_integer():
            if abs(number) > _EXACT_INTEGERS:
                self._unsupported.append((path, "an integer beyond 2^53, which loses digits on the wire"))
            return int(number)
        return number


def encode(value: Any, path: Path, secrets: Collection[Path]) -> Any:
    """Prepares the value at ``path`` for a response: marks secrets and unknown values."""
    if value is UNKNOWN:
        value = UNKNOWN_VALUE
    elif isinstance(value, Mapping):
        value = {key: encode(item, (*path, key), secrets) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        value = [encode(item, (*path, i), secrets) for i, item in enumerate(value)]
    if path in secrets:
        return {SIGNATURE_KEY: SECRET_SIGNATURE, "value": value}
    return value
