"""The kubernetes provider without a cluster: an object's outputs are its inputs, with a name."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from render.recorder import Created, Recorded

AUTONAMED: Final = "pulumi.com/autonamed"
"""The annotation of an object whose name the program did not choose (pulumi-kubernetes, provider/pkg/metadata)."""

_DIGEST_LENGTH: Final = 10
# Names of what becomes a label value or a host name: RFC 1123; a CronJob appends 11 characters to its own.
_LONGEST: Final = {"CronJob": 52}
_LONGEST_OTHER: Final = 63


def created(resource: Recorded, name_key: bytes) -> Created:
    """The object as it will stand in the cluster, named after its content where the program gave no name.

    Such an object carries the annotation of the real provider's auto-naming, so that an engine that takes the stack
    over keeps the name.

    A content name is ``<logical name>-<10 hex digits>``, so a changed ConfigMap or Secret is a new object and
    rolls what mounts it. The digits are SHA-256 of the canonical inputs; where these hold secrets they are
    HMAC-SHA256 under ``name_key``, so that a name cannot be used to test guesses of the content.

    Raises ``ValueError`` for what cannot be written as a manifest: charts, patches, lists, ``generateName``.
    """
    kind = _kind(resource)
    metadata = dict(resource.inputs.get("metadata", {}))
    if "generateName" in metadata:
        raise ValueError("metadata.generateName lets the cluster choose a name; leave the name out instead")
    if "name" not in metadata:
        metadata["name"] = content_name(resource, kind, name_key)
        metadata["annotations"] = {**metadata.get("annotations", {}), AUTONAMED: "true"}
    name, namespace = metadata["name"], metadata.get("namespace")
    outputs = {**resource.inputs, "metadata": metadata}
    return Created(f"{namespace}/{name}" if namespace else name, outputs)


def content_name(resource: Recorded, kind: str, name_key: bytes) -> str:
    """``<logical name>-<10 hex digits>``: lower-case letters, digits and hyphens, at most 63 long."""
    canonical = json.dumps(resource.inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    if kind == "Secret" or resource.secret_paths:
        digest = hmac.digest(name_key, canonical, hashlib.sha256).hex()
    else:
        digest = hashlib.sha256(canonical).hexdigest()
    room = _LONGEST.get(kind, _LONGEST_OTHER) - _DIGEST_LENGTH - 1
    base = re.sub(r"[^a-z0-9-]+", "-", resource.name.lower())[:room].strip("-")
    if not base:
        raise ValueError(f"the name {resource.name!r} has no letter or digit to name an object after")
    return f"{base}-{digest[:_DIGEST_LENGTH]}"


def _kind(resource: Recorded) -> str:
    inputs: Mapping[str, Any] = resource.inputs
    token = resource.type.rsplit(":", 1)[-1]
    if "apiVersion" not in inputs or "kind" not in inputs:
        raise ValueError("not a single Kubernetes object (a chart, a release, a directory of files)")
    if token.endswith("Patch") and not inputs["kind"].endswith("Patch"):
        raise ValueError("a patch of an object that something else owns cannot be rendered")
    if inputs["kind"].endswith("List") and "items" in inputs:
        raise ValueError("a list of objects cannot be rendered; declare each of its items")
    return str(inputs["kind"])
