"""A Pulumi checkpoint of a recording, and back: so that an engine and rendered files share one set of secrets.

``deployment`` writes what `pulumi stack import` reads, version 3 (pulumi/pulumi, sdk/go/common/apitype/core.go);
``carried`` reads what `pulumi stack export` writes. Every value that is secret is encrypted on its own, as
``render.passphrase`` does.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from graphlib import TopologicalSorter
from typing import Any, Final

from render.generator import GeneratedResource
from render.passphrase import Crypter
from render.recorder import PROVIDER_PREFIX, STACK_TYPE, Path, Recorded, Recording, stack_urn

VERSION: Final = 3
FIELD_MANAGER: Final = "flatline"
"""Who owns the fields of an object that `kubectl apply` made; the engine goes on under the same name."""

_SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
_SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"
_GENERATED: Final = ("random", "tls")
_SCHEMA_VERSIONS: Final = {
    # Below these versions the providers believe that a state is old, and rewrite it. The other types are at 0.
    "random:index/randomPassword:RandomPassword": 3,
    "random:index/randomString:RandomString": 3,
    "tls:index/privateKey:PrivateKey": 1,
}
_KUBERNETES_SECRETS: Final = frozenset({"data", "stringData"})


@dataclass(frozen=True)
class Carried:
    """A random or tls resource of an exported stack: what it was made from, and what it is."""

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
    left_out: Collection[str] = (),
    objects: bool = True,
) -> dict[str, Any]:
    """The checkpoint of a stack that ``kubectl`` has deployed from this recording, for `pulumi stack import`.

    It has every random and tls resource but those ``left_out`` (URNs), their parents and providers and, with
    ``objects``, every Kubernetes object. ``salt`` and ``crypter`` are the stack's; ``engine`` is a version of Pulumi.
    """
    everything = {resource.urn: resource for resource in recording}
    wanted = {
        resource.urn
        for resource in recording
        if resource.custom
        and resource.urn not in left_out
        and (resource.package in _GENERATED or (objects and resource.package == "kubernetes"))
    }
    for urn in list(wanted):
        wanted.update(_ancestors(everything[urn], everything))
    writer = _Writer(crypter, wanted, now)
    root = {
        "urn": stack_urn(recording.project, recording.stack),
        "custom": False,
        "type": STACK_TYPE,
        "outputs": writer.properties(recording.outputs, {(name,) for name in recording.secret_outputs}),
        **writer.moments,
    }
    version = f"v{engine}"
    return {
        "version": VERSION,
        "deployment": {
            "manifest": {
                "time": writer.moments["created"],
                "magic": hashlib.sha256(version.encode()).hexdigest(),
                "version": version,
            },
            "secrets_providers": {"type": "passphrase", "state": {"salt": salt}},
            "resources": [
                root,
                *(writer.resource(each, root["urn"]) for each in _in_order(everything[urn] for urn in wanted)),
            ],
        },
    }


def empty(exported: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint of the same stack without any resource."""
    content = {key: value for key, value in exported["deployment"].items() if key in ("manifest", "secrets_providers")}
    return {"version": exported["version"], "deployment": {**content, "resources": []}}


def carried(exported: Mapping[str, Any], decrypt: Callable[[str], str] | None = None) -> dict[str, Carried]:
    """The random and tls resources of an exported stack by URN; those that wait for their deletion are left out.

    ``decrypt`` is needed where the export does not show its secrets.
    """
    found = {}
    for resource in resources(exported):
        if resource["type"].partition(":")[0] not in _GENERATED or resource.get("delete"):
            continue
        secrets: set[str] = set()
        inputs = _without_defaults(_plain(resource.get("inputs", {}), decrypt))
        outputs = {}
        for name, value in resource.get("outputs", {}).items():
            if name in inputs or name == "id" or name.startswith("__"):
                continue
            if _is_secret(value):
                secrets.add(name)
            outputs[name] = _plain(value, decrypt)
        found[resource["urn"]] = Carried(
            urn=resource["urn"],
            type=resource["type"],
            protect=resource.get("protect", False),
            inputs=inputs,
            ignore_changes=tuple(resource.get("ignoreChanges") or ()),
            generated=GeneratedResource(resource["id"], outputs, frozenset(secrets)),
        )
    return found


def objects(exported: Mapping[str, Any], decrypt: Callable[[str], str] | None = None) -> list[dict[str, Any]]:
    """The Kubernetes objects of an exported stack, as its program declares them; those that shall go, too."""
    return [
        _plain(resource["inputs"], decrypt)
        for resource in resources(exported)
        if resource["type"].startswith("kubernetes:") and "kind" in resource.get("inputs", {})
    ]


def resources(exported: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What providers keep in an exported stack."""
    for resource in exported["deployment"].get("resources") or ():
        if resource["custom"] and not resource["type"].startswith(PROVIDER_PREFIX):
            yield resource


class _Writer:
    """Writes the resources of one checkpoint."""

    def __init__(self, crypter: Crypter, there: Collection[str], now: datetime) -> None:
        self._crypter = crypter
        self._there = there
        moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.moments = {"created": moment, "modified": moment}

    def resource(self, resource: Recorded, root: str) -> dict[str, Any]:
        """One resource, without the parts that are empty."""
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
            "dependencies": self._known(resource.dependencies),
            "provider": resource.provider and f"{resource.provider}::{_provider_id(resource.provider)}",
            "propertyDependencies": {name: self._known(urns) for name, urns in resource.property_dependencies.items()},
            "additionalSecretOutputs": list(resource.additional_secret_outputs),
            "deletedWith": resource.deleted_with if resource.deleted_with in self._there else None,
            "ignoreChanges": list(resource.ignore_changes),
            "replaceOnChanges": list(resource.replace_on_changes),
            **self.moments,
        }
        return {key: value for key, value in entry.items() if value or key == "custom"}

    def properties(self, value: Any, secrets: Collection[Path], path: Path = ()) -> Any:
        """Values as a checkpoint holds them, those at the paths of ``secrets`` encrypted."""
        if path in secrets:
            text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
            return {_SIGNATURE: _SECRET, "ciphertext": self._crypter.encrypt(text)}
        if isinstance(value, Mapping):
            return {key: self.properties(item, secrets, (*path, key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.properties(item, secrets, (*path, i)) for i, item in enumerate(value)]
        return value

    def _known(self, urns: Collection[str]) -> list[str]:
        return [urn for urn in urns if urn in self._there]


def _ancestors(resource: Recorded, everything: Mapping[str, Recorded]) -> Iterator[str]:
    """The resources that must stand before it: its provider, and its parents up to the root."""
    for urn in (resource.provider, resource.parent):
        if urn is not None and urn in everything:
            yield urn
            yield from _ancestors(everything[urn], everything)


def _in_order(chosen: Iterator[Recorded]) -> list[Recorded]:
    """Each behind everything that it refers to."""
    by_urn = {resource.urn: resource for resource in chosen}
    graph = {}
    for urn in sorted(by_urn):
        each = by_urn[urn]
        before = {each.parent, each.provider, each.deleted_with, *each.dependencies}
        before.update(other for urns in each.property_dependencies.values() for other in urns)
        graph[urn] = sorted(other for other in before if other in by_urn)
    return [by_urn[urn] for urn in TopologicalSorter(graph).static_order()]


def _state(resource: Recorded) -> tuple[Mapping[str, Any], Mapping[str, Any], frozenset[Path]]:
    """Inputs and outputs as the resource's provider keeps them, and the paths of what is secret in both."""
    if resource.package == "kubernetes":
        inputs = resource.outputs  # they have the name, and its annotation, that `kubectl apply` saw
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
    if resource.package in _GENERATED:
        version = _SCHEMA_VERSIONS.get(resource.type)
        meta = {"__meta": json.dumps({"schema_version": str(version)}, separators=(",", ":"))} if version else {}
        outputs = {**resource.outputs, "id": resource.id, **meta}
        return resource.inputs, outputs, resource.secret_paths
    if resource.type.startswith(PROVIDER_PREFIX) and resource.version:
        inputs = {**resource.inputs, "version": resource.version}
        return inputs, inputs, resource.secret_paths
    return resource.inputs, resource.outputs, resource.secret_paths


def _id(resource: Recorded) -> str | None:
    if resource.type.startswith(PROVIDER_PREFIX):
        return _provider_id(resource.urn)
    return resource.id if resource.custom else None


def _provider_id(urn: str) -> str:
    """A UUID, as the engine gives providers; always the same for one provider."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, urn))


def _is_secret(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get(_SIGNATURE) == _SECRET


def _plain(value: Any, decrypt: Callable[[str], str] | None) -> Any:
    """Values of a checkpoint without the marks of secrets."""
    if _is_secret(value):
        text = value.get("plaintext")
        if text is None:
            if decrypt is None:
                raise ValueError("the exported stack does not show its secrets")
            text = decrypt(value["ciphertext"])
        return _plain(json.loads(text), decrypt)
    if isinstance(value, Mapping):
        return {key: _plain(item, decrypt) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, decrypt) for item in value]
    return value


def _without_defaults(value: Any) -> Any:
    """Inputs as the program gave them: a provider notes in ``__defaults`` which it has filled in."""
    if isinstance(value, Mapping):
        filled = {"__defaults", *value.get("__defaults", ())}
        return {key: _without_defaults(item) for key, item in value.items() if key not in filled}
    if isinstance(value, list):
        return [_without_defaults(item) for item in value]
    return value
