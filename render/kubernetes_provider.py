"""Creates Kubernetes objects without a cluster: the outputs of an object are its inputs, with a name."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from render.model import CreateResult, RecordedResource

AUTONAMED: Final = "pulumi.com/autonamed"
"""The annotation of an object whose name the program did not choose (pulumi-kubernetes, provider/pkg/metadata)."""

_DIGEST_LENGTH: Final = 10
# Names become label values and host names (RFC 1123). A CronJob appends 11 characters to its own.
_MAX_LENGTH: Final = {"CronJob": 52}
_DEFAULT_MAX_LENGTH: Final = 63


def create(resource: RecordedResource, name_key: bytes) -> CreateResult:
    """The object as the cluster will have it. Without a name from the program it is named after its content.

    Such an object gets the annotation of the real provider's auto-naming, so that an engine that manages the stack
    later keeps the name.

    Raises ``ValueError`` for what cannot be written as a manifest: charts, patches, lists, ``generateName``.
    """
    kind = _kind(resource)
    metadata = dict(resource.inputs.get("metadata", {}))
    if "generateName" in metadata:
        raise ValueError("metadata.generateName lets the cluster choose a name; leave the name out instead")
    if "name" not in metadata:
        metadata["name"] = _content_name(resource, kind, name_key)
        metadata["annotations"] = {**metadata.get("annotations", {}), AUTONAMED: "true"}
    name, namespace = metadata["name"], metadata.get("namespace")
    outputs = {**resource.inputs, "metadata": metadata}
    return CreateResult(f"{namespace}/{name}" if namespace else name, outputs)


def _content_name(resource: RecordedResource, kind: str, name_key: bytes) -> str:
    """The name ``<logical name>-<10 hex digits>``: lower-case letters, digits and hyphens, at most 63 characters.

    A changed ConfigMap or Secret so becomes a new object, and the pods that mount it are replaced. The digits are
    SHA-256 of the canonical inputs. With secrets in the inputs they are HMAC-SHA256 under ``name_key``, so that the
    name cannot be used to test guesses of the content.
    """
    canonical = json.dumps(resource.inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    if kind == "Secret" or resource.secret_paths:
        digest = hmac.digest(name_key, canonical, hashlib.sha256).hex()
    else:
        digest = hashlib.sha256(canonical).hexdigest()
    room = _MAX_LENGTH.get(kind, _DEFAULT_MAX_LENGTH) - _DIGEST_LENGTH - 1
    base = re.sub(r"[^a-z0-9-]+", "-", resource.name.lower())[:room].strip("-")
    if not base:
        raise ValueError(f"the name {resource.name!r} has no letter or digit to name an object after")
    return f"{base}-{digest[:_DIGEST_LENGTH]}"


def _kind(resource: RecordedResource) -> str:
    inputs: Mapping[str, Any] = resource.inputs
    token = resource.type.rsplit(":", 1)[-1]
    if "apiVersion" not in inputs or "kind" not in inputs:
        raise ValueError("not a single Kubernetes object (a chart, a release, a directory of files)")
    if token.endswith("Patch") and not inputs["kind"].endswith("Patch"):
        raise ValueError("a patch of an object that something else owns cannot be rendered")
    if inputs["kind"].endswith("List") and "items" in inputs:
        raise ValueError("a list of objects cannot be rendered; declare each of its items")
    return str(inputs["kind"])
