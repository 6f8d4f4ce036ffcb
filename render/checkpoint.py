"""Converts a recording to a Pulumi checkpoint and back, so that an engine and rendered files share their secrets.

``deployment`` makes the input of `pulumi stack import`, version 3 (pulumi/pulumi, sdk/go/common/apitype/core.go);
``generated_resources`` reads the output of `pulumi stack export`. Every secret value is encrypted on its own, as
``render.passphrase`` does.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from graphlib import TopologicalSorter
from typing import Any, Final

from render.generator import GeneratedResource
from render.model import PROVIDER_PREFIX, STACK_TYPE, Path, RecordedResource, Recording, stack_urn
from render.passphrase import Crypter

VERSION: Final = 3
FIELD_MANAGER: Final = "flatline"
"""The owner of an object's fields after `kubectl apply`. The engine continues under the same name."""

_SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
_SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"
_GENERATED_PACKAGES: Final = ("random", "tls")
_SCHEMA_VERSIONS: Final = {
    # The providers rewrite a state of a lower version. The other types are at 0.
    "random:index/randomPassword:RandomPassword": 3,
    "tls:index/privateKey:PrivateKey": 1,
}
_KUBERNETES_SECRETS: Final = frozenset({"data", "stringData"})


@dataclass(frozen=True)
class ExportedResource:
    """A random or tls resource of an exported stack, with the inputs that it was generated from."""

    urn: str
    type: str
    protect: bool
    inputs: Mapping[str, Any]
    ignore_changes: tuple[str, ...]
    generated: GeneratedResource


def deployment(
    recording: Recording,
    crypter: Crypter,
    salt: str,
    *,
    now: datetime,
    engine: str,
    exclude: Collection[str] = (),
    include_kubernetes: bool = True,
) -> dict[str, Any]:
    """Makes a checkpoint for `pulumi stack import` of a stack that ``kubectl`` has deployed from this recording.

    It has every random and tls resource except ``exclude`` (URNs), their parents and providers and, with
    ``include_kubernetes``, every Kubernetes object. ``salt`` and ``crypter`` are the stack's; ``engine`` is a version
    of Pulumi.
    """
    by_urn = recording.by_urn()
    included = {
        resource.urn
        for resource in recording
        if resource.custom
        and resource.urn not in exclude
        and (resource.package in _GENERATED_PACKAGES or (include_kubernetes and resource.package == "kubernetes"))
    }
    for urn in list(included):
        included.update(_ancestors(by_urn[urn], by_urn))
    writer = _Writer(crypter, included, now)
    root = {
        "urn": stack_urn(recording.project, recording.stack),
        "custom": False,
        "type": STACK_TYPE,
        "outputs": writer.properties(recording.outputs, {(name,) for name in recording.secret_outputs}),
        **writer.timestamps,
    }
    version = f"v{engine}"
    return {
        "version": VERSION,
        "deployment": {
            "manifest": {
                "time": writer.timestamps["created"],
                "magic": hashlib.sha256(version.encode()).hexdigest(),
                "version": version,
            },
            "secrets_providers": {"type": "passphrase", "state": {"salt": salt}},
            "resources": [
                root,
                *(writer.resource(resource, root["urn"]) for resource in _sorted(by_urn[urn] for urn in included)),
            ],
        },
    }


def without_resources(exported: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint of an exported stack without its resources."""
    content = {key: value for key, value in exported["deployment"].items() if key in ("manifest", "secrets_providers")}
    return {"version": exported["version"], "deployment": {**content, "resources": []}}


def generated_resources(exported: Mapping[str, Any]) -> dict[str, ExportedResource]:
    """The random and tls resources of an exported stack by URN, without those that are pending deletion."""
    exported_resources = {}
    for resource in custom_resources(exported):
        if resource["type"].partition(":")[0] not in _GENERATED_PACKAGES or resource.get("delete"):
            continue
        secrets: set[str] = set()
        inputs = _without_defaults(plain(resource.get("inputs", {})))
        outputs = {}
        for name, value in resource.get("outputs", {}).items():
            if name in inputs or name == "id" or name.startswith("__"):
                continue
            if is_secret(value):
                secrets.add(name)
            outputs[name] = plain(value)
        exported_resources[resource["urn"]] = ExportedResource(
            urn=resource["urn"],
            type=resource["type"],
            protect=resource.get("protect", False),
            inputs=inputs,
            ignore_changes=tuple(resource.get("ignoreChanges") or ()),
            generated=GeneratedResource(resource["id"], outputs, frozenset(secrets)),
        )
    return exported_resources


def kubernetes_objects(exported: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The Kubernetes objects of an exported stack as its program declares them, with those pending deletion."""
    return [
        plain(resource["inputs"])
        for resource in custom_resources(exported)
        if resource["type"].startswith("kubernetes:") and "kind" in resource.get("inputs", {})
    ]


def custom_resources(exported: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The resources of an exported stack that providers manage."""
    for resource in exported["deployment"].get("resources") or ():
        if resource["custom"] and not resource["type"].startswith(PROVIDER_PREFIX):
            yield resource


class _Writer:
    """Writes the resources of one checkpoint, which has those whose URN is in ``included``."""

    def __init__(self, crypter: Crypter, included: Collection[str], now: datetime) -> None:
        self._crypter = crypter
        self._included = included
        timestamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.timestamps = {"created": timestamp, "modified": timestamp}

    def resource(self, resource: RecordedResource, root: str) -> dict[str, Any]:
        """Writes a resource without its empty properties."""
        inputs, outputs, secrets = _state(resource)
        entry = {
            "urn": resource.urn,
            "custom": resource.custom,
            "id": _id(resource),
            "type": resource.type,
            "inputs": self.properties(inputs, secrets),
            "outputs": self.properties(outputs, secrets | resource.secret_output_paths),
            "parent": resource.parent or root,
            "protect": resource.protect,
            "retainOnDelete": resource.retain_on_delete,
            "dependencies": self._only_included(resource.dependencies),
            "provider": resource.provider and f"{resource.provider}::{_provider_id(resource.provider)}",
            "propertyDependencies": {
                name: self._only_included(urns) for name, urns in resource.property_dependencies.items()
            },
            "additionalSecretOutputs": list(resource.additional_secret_outputs),
            "deletedWith": resource.deleted_with if resource.deleted_with in self._included else None,
            "ignoreChanges": list(resource.ignore_changes),
            "replaceOnChanges": list(resource.replace_on_changes),
            **self.timestamps,
        }
        return {key: value for key, value in entry.items() if value or key == "custom"}

    def properties(self, value: Any, secrets: Collection[Path], path: Path = ()) -> Any:
        """Writes values, encrypted at the paths of ``secrets``."""
        if path in secrets:
            text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
            return {_SIGNATURE: _SECRET, "ciphertext": self._crypter.encrypt(text)}
        if isinstance(value, Mapping):
            return {key: self.properties(item, secrets, (*path, key)) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.properties(item, secrets, (*path, i)) for i, item in enumerate(value)]
        return value

    def _only_included(self, urns: Collection[str]) -> list[str]:
        return [urn for urn in urns if urn in self._included]


def _ancestors(resource: RecordedResource, by_urn: Mapping[str, RecordedResource]) -> Iterator[str]:
    """The URNs of the provider and the parents of a resource, up to the root."""
    for urn in (resource.provider, resource.parent):
        if urn is not None and urn in by_urn:
            yield urn
            yield from _ancestors(by_urn[urn], by_urn)


def _sorted(resources: Iterator[RecordedResource]) -> list[RecordedResource]:
    """Sorts each resource after those that it refers to, as an engine requires."""
    by_urn = {resource.urn: resource for resource in resources}
    graph = {}
    for urn in sorted(by_urn):
        resource = by_urn[urn]
        references = {resource.parent, resource.provider, resource.deleted_with, *resource.dependencies}
        references.update(other for urns in resource.property_dependencies.values() for other in urns)
        graph[urn] = sorted(other for other in references if other in by_urn)
    return [by_urn[urn] for urn in TopologicalSorter(graph).static_order()]


def _state(resource: RecordedResource) -> tuple[Mapping[str, Any], Mapping[str, Any], frozenset[Path]]:
    """The inputs and outputs that the resource's provider would keep, and the secret paths in both."""
    if resource.package == "kubernetes":
        inputs = resource.outputs  # they have the name, and its annotation, that `kubectl apply` used
        secrets = set(resource.secret_output_paths)
        if inputs["kind"] == "Secret":
            secrets = {path for path in secrets if path[0] not in _KUBERNETES_SECRETS}
            secrets |= {(key,) for key in _KUBERNETES_SECRETS & inputs.keys()}
        secrets |= {("__inputs", *path) for path in secrets}
        outputs = {
            **inputs,
            "__inputs": inputs,
            "__initialApiVersion": inputs["apiVersion"],
            "__fieldManager": FIELD_MANAGER,
        }
        return inputs, outputs, frozenset(secrets)
    if resource.package in _GENERATED_PACKAGES:
        version = _SCHEMA_VERSIONS.get(resource.type)
        meta = {"__meta": json.dumps({"schema_version": str(version)}, separators=(",", ":"))} if version else {}
        outputs = {**resource.outputs, "id": resource.id, **meta}
        return resource.inputs, outputs, resource.secret_paths
    if resource.type.startswith(PROVIDER_PREFIX) and resource.version:
        inputs = {**resource.inputs, "version": resource.version}
        return inputs, inputs, resource.secret_paths
    return resource.inputs, resource.outputs, resource.secret_paths


def _id(resource: RecordedResource) -> str | None:
    if resource.type.startswith(PROVIDER_PREFIX):
        return _provider_id(resource.urn)
    return resource.id if resource.custom else None


def _provider_id(urn: str) -> str:
    """A UUID, as the engine gives to providers. It is a function of the URN."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, urn))


def is_secret(value: Any) -> bool:
    """True for the form that a secret value has in a checkpoint."""
    return isinstance(value, Mapping) and value.get(_SIGNATURE) == _SECRET


def plain(value: Any) -> Any:
    """A value of an exported stack with its secrets as they are. Raises ``ValueError`` if the export hides them."""
    if is_secret(value):
        if "plaintext" not in value:
            raise ValueError("the exported stack does not show its secrets")
        return plain(json.loads(value["plaintext"]))
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def _without_defaults(value: Any) -> Any:
    """Removes the inputs that the provider filled in, which it lists in ``__defaults``."""
    if isinstance(value, Mapping):
        defaults = {"__defaults", *value.get("__defaults", ())}
        return {key: _without_defaults(item) for key, item in value.items() if key not in defaults}
    if isinstance(value, list):
        return [_without_defaults(item) for item in value]
    return value
