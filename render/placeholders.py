"""Placeholders: texts in place of outputs that are known only after creation.

A placeholder reads ``(known after creation: <type> <name> <output>)``. The outputs of a type, and their shapes, come
from the SDK's own resource classes, which are imported only if a program has such a resource.
"""

from __future__ import annotations

import base64
import typing
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any, Final

from pulumi import Output

from render.model import Path, RecordedResource, path_text
from render.pulumi_internals import is_output_type, output_hints, unwrap_optional

MARK: Final = "(known after creation: "
"""The beginning of every placeholder. No real value contains it."""

HELM_RELEASE: Final = "kubernetes:helm.sh/v3:Release"

_ENCODED_MARK: Final = base64.b64encode(f'{{"type": "{MARK}'.encode()[:30]).decode()
"""The beginning of the placeholder of a key file: 30 bytes, whose base64 does not depend on the text that follows."""

_SDK_MODULES: Final = {HELM_RELEASE: "pulumi_kubernetes.helm.v3"}


def placeholder(resource: RecordedResource, *path: str | int) -> str:
    """The placeholder of the output, or of the part of an output, at ``path``."""
    return f"{MARK}{resource.type} {resource.name} {path_text(path)})"


def contains_placeholder(value: Any) -> bool:
    """True if a placeholder is anywhere in a value."""
    if isinstance(value, Mapping):
        return any(contains_placeholder(item) for pair in value.items() for item in pair)
    if isinstance(value, list):
        return any(contains_placeholder(item) for item in value)
    return isinstance(value, str) and (MARK in value or _ENCODED_MARK in value)


def complete(resource: RecordedResource, known: Mapping[str, Any]) -> dict[str, Any]:
    """All outputs of a resource: the ``known`` ones, and placeholders for the missing ones and for missing parts.

    Optional outputs that are not known are absent, as they are before anybody sets them.
    """
    return {
        name: _filled(known.get(name), hint, resource, (name,))
        for name, (hint, optional) in _properties(_resource_class(resource.type)).items()
        if name in known or not optional
    }


def _resource_class(token: str) -> type:
    package, module, name = token.split(":")
    path = _SDK_MODULES.get(token) or f"pulumi_{package}.{module.partition('/')[0]}"
    resource_class: type = getattr(import_module(path), name)
    return resource_class


@cache
def _properties(cls: type) -> Mapping[str, tuple[Any, bool]]:
    """The outputs of a resource class, or the fields of an output type: each with its type, and true if optional."""
    hints = {name: _without_output(hint) for name, hint in output_hints(cls).items()}
    return {name: (unwrap_optional(hint), type(None) in typing.get_args(hint)) for name, hint in hints.items()}


def _without_output(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Output else hint


def _filled(value: Any, hint: Any, resource: RecordedResource, path: Path) -> Any:
    """``value`` with placeholders for its missing parts; without a value, placeholders in the shape of ``hint``."""
    hint = unwrap_optional(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if is_output_type(hint) and (value is None or isinstance(value, Mapping)):
        return _filled_object(value, _properties(hint), resource, path)
    if value is None and origin is not None and issubclass(origin, Mapping):
        return {placeholder(resource, *path): _filled(None, arguments[1], resource, (*path, "*"))}
    if isinstance(value, list):
        item_hint = arguments[0] if arguments else Any
        return [_filled(item, item_hint, resource, (*path, i)) for i, item in enumerate(value)]
    if value is None and origin is not None and issubclass(origin, typing.Sequence):
        return [_filled(None, arguments[0], resource, (*path, 0))]
    return placeholder(resource, *path) if value is None else value


def _filled_object(
    value: Mapping[str, Any] | None, fields: Mapping[str, tuple[Any, bool]], resource: RecordedResource, path: Path
) -> dict[str, Any]:
    required = [name for name, (_, optional) in fields.items() if not optional]
    items = dict.fromkeys(required or fields) if value is None else {**dict.fromkeys(required), **value}
    return {
        name: _filled(item, fields[name][0], resource, (*path, name)) if name in fields else item
        for name, item in items.items()
    }
