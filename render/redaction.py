"""Removes the secrets from what is written for review, and searches the result for secrets that are left."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any, Final

from render.model import Path, RecordedResource, Recording
from render.placeholders import contains_placeholder, placeholder

REDACTED: Final = "REDACTED"
_SECRET_PACKAGES: Final = ("random", "tls", "aws", "gcp")
_MIN_LENGTH: Final = 12
"""The length of the shortest secret that is searched for. Shorter ones could match by accident."""


def redact_all(value: Any) -> Any:
    """Replaces every value in an object or a list, and keeps the keys."""
    if isinstance(value, Mapping):
        return {key: redact_all(item) for key, item in value.items()}
    if isinstance(value, list):
        return [redact_all(item) for item in value]
    return REDACTED


def redacted_object(resource: RecordedResource) -> dict[str, Any]:
    """A Kubernetes object without the values at its secret paths, and without the data of a Secret."""
    content: dict[str, Any] = _redact_paths(dict(resource.outputs), (), resource.secret_output_paths)
    if content["kind"] == "Secret":
        if "data" in content:
            encoded = base64.b64encode(REDACTED.encode()).decode()
            content["data"] = dict.fromkeys(content["data"], encoded)
        if "stringData" in content:
            content["stringData"] = dict.fromkeys(content["stringData"], REDACTED)
    return content


def find_leak(recording: Recording, texts: Mapping[str, str]) -> tuple[str, str] | None:
    """The name of a text that contains a generated secret, as it is or in base64, and the URN of its resource."""
    all_texts = "\0".join(texts.values())
    for resource in recording:
        for secret in _secrets(resource):
            forms = (secret, base64.b64encode(secret.encode()).decode())
            if any(form in all_texts for form in forms):
                name = next(name for name, text in texts.items() if any(form in text for form in forms))
                return name, resource.urn
    return None


def _redact_paths(value: Any, path: Path, secrets: frozenset[Path]) -> Any:
    if path in secrets:
        return redact_all(value)
    if isinstance(value, Mapping):
        return {key: _redact_paths(item, (*path, key), secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [_redact_paths(item, (*path, i), secrets) for i, item in enumerate(value)]
    return value


def _secrets(resource: RecordedResource) -> Iterator[str]:
    """The texts to search for: passwords, placeholders, and one line of each private key.

    One line, because a manifest indents the lines of a key.
    """
    if resource.package not in _SECRET_PACKAGES:
        return
    outputs = {**resource.outputs, **resource.placeholders}
    for name, *_ in resource.secret_output_paths:
        value = outputs.get(str(name))
        if not isinstance(value, str) or len(value) < _MIN_LENGTH:
            continue
        lines = value.splitlines()
        yield lines[1] if len(lines) > 1 else value
        if contains_placeholder(value):
            yield placeholder(resource, name)
