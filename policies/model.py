"""Resources as rules see them: plain, immutable, and the same from an engine, a recording or a file."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeVar

Properties = Mapping[str, Any]
T = TypeVar("T")

KUBERNETES: Final = "kubernetes:"
NOT_OBJECTS: Final = (
    "kubernetes:helm.sh/",
    "kubernetes:index:",
    "kubernetes:kustomize/",
    "kubernetes:kustomize:",
    "kubernetes:yaml/",
    "kubernetes:yaml:",
)
"""Types of Pulumi's Kubernetes package that are not objects of the API server."""

KUSTOMIZATION: Final = "files:kustomize:Kustomization"
CHART: Final = "files:helm:Chart"
UNBUILT: Final = {
    KUSTOMIZATION: "a kustomization that changes objects, or refers to objects outside of these files",
    CHART: "a Helm chart",
}
"""Types of sources in files that become objects only when a tool builds them."""

CLUSTER_SCOPED: Final = frozenset(
    # kubectl api-resources --namespaced=false, of Kubernetes 1.34 and of k3s
    {
        "APIService",
        "CSIDriver",
        "CSINode",
        "CertificateSigningRequest",
        "ClusterRole",
        "ClusterRoleBinding",
        "ClusterTrustBundle",
        "CustomResourceDefinition",
        "DeviceClass",
        "FlowSchema",
        "IPAddress",
        "IngressClass",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "PriorityLevelConfiguration",
        "ResourceSlice",
        "RuntimeClass",
        "ServiceCIDR",
        "StorageClass",
        "StorageVersionMigration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
        "VolumeAttachment",
        "VolumeAttributesClass",
    }
)


class UndecidedError(Exception):
    """A rule needs the value at `path`, which is not known before deployment."""

    def __init__(self, path: tuple[str, ...]) -> None:
        super().__init__(".".join(path))
        self.path = path


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource with the properties of its provider's schema (camelCase).

    `type` is Pulumi's type token, also for an object from a file. `protect` and `retain_on_delete` are None if the
    source does not know them; rules treat that as unprotected. `dependencies` maps a property to the URNs that its
    value depends on. `source` is the file and the line (from 1) of an object from a file.
    """

    urn: str
    type: str
    name: str
    properties: Properties = field(repr=False)
    protect: bool | None = None
    retain_on_delete: bool | None = None
    provider: str | None = None
    dependencies: Mapping[str, Collection[str]] = field(default_factory=dict, repr=False)
    source: tuple[str, int] | None = None

    @property
    def is_object(self) -> bool:
        """True for an object of a Kubernetes API server."""
        return self.type.startswith(KUBERNETES) and not self.type.startswith(NOT_OBJECTS)

    @cached_property
    def kind(self) -> str:
        """The last part of the type token: `Deployment`, `Table`. A `kind` among the properties cannot change it."""
        return self.type.rpartition(":")[2]

    @cached_property
    def metadata(self) -> Properties:
        """The metadata of an object; empty for anything else."""
        return mapping(self.properties.get("metadata")) if self.is_object else {}

    @property
    def spec(self) -> Properties:
        """The specification of an object."""
        return mapping(self.properties.get("spec"))

    @cached_property
    def namespace(self) -> str:
        """The namespace of an object; empty if it has none or does not name it."""
        return text(self.metadata.get("namespace")) if self.kind not in CLUSTER_SCOPED else ""

    @cached_property
    def object_name(self) -> str:
        """The name in the cluster; the logical name if that name is not known yet."""
        try:
            return text(self.metadata.get("name")) or self.name
        except UndecidedError:
            return self.name

    @cached_property
    def label(self) -> str:
        """The name for people and exemptions: `Deployment/flatline/whisper`, `Namespace/flatline`, `Table/accounts`."""
        return "/".join(part for part in (self.kind, self.namespace, self.object_name) if part)

    def depends_on(self, name: str, urn: str) -> bool:
        """True if the value of a property comes from another resource."""
        return urn in self.dependencies.get(name, ())


class Stack:
    """All resources of one installation, with look-ups that rules share."""

    def __init__(self, resources: Collection[Resource]) -> None:
        self.resources = tuple(resources)
        self._by_kind: dict[str, list[Resource]] = {}
        self._by_name: dict[tuple[str, str], list[Resource]] = {}
        for resource in self.resources:
            if resource.is_object:
                self._by_kind.setdefault(resource.kind, []).append(resource)
                self._by_name.setdefault((resource.kind, resource.object_name), []).append(resource)
        self._cache: dict[Callable[[Stack], Any], Any] = {}

    def __iter__(self) -> Iterator[Resource]:
        return iter(self.resources)

    def of(self, *kinds: str) -> list[Resource]:
        """The Kubernetes objects of some kinds."""
        return [resource for kind in kinds for resource in self._by_kind.get(kind, ())]

    def typed(self, *tokens: str) -> list[Resource]:
        """The resources of some type tokens."""
        return [resource for resource in self.resources if resource.type in tokens]

    def get(self, kind: str, namespace: str, name: str) -> Resource | None:
        """The object of a kind, namespace and name, or None."""
        return next((o for o in self._by_name.get((kind, name), ()) if o.namespace == namespace), None)

    def cached(self, compute: "Callable[[Stack], T]") -> T:
        """The result of `compute(self)`, computed once."""
        if compute not in self._cache:
            self._cache[compute] = compute(self)
        result: T = self._cache[compute]
        return result


def mapping(value: Any) -> Properties:
    """The value if it is an object, else an empty object: a field of the wrong type counts as absent."""
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> list[Any]:
    """The value if it is a list, else an empty list."""
    return list(value) if isinstance(value, (list, tuple)) else []


def objects(value: Any) -> list[Properties]:
    """The objects of a list."""
    return [entry for entry in items(value) if isinstance(entry, Mapping)]


def text(value: Any) -> str:
    """The value if it is a string, else an empty string."""
    return value if isinstance(value, str) else ""


def number(value: Any) -> float | None:
    """The value if it is a number or a string that is one, else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def whole(value: Any) -> int:
    """The value as an integer, such as a port; 0 if it is not a number."""
    plain = number(value)
    return int(plain) if plain is not None and abs(plain) < 2**53 else 0


def parsed(value: Any) -> Any:
    """The data of a JSON text, None if it is none; any other value as it is. Provider inputs hold objects as JSON."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return None


def members(value: Any, where: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yields (path, key, value) for each member of each object in some data, at any depth."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            path = f"{where}.{key}" if where else str(key)
            yield path, str(key), entry
            yield from members(entry, path)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from members(entry, f"{where}[{index}]")


def at(value: Any, *path: str) -> Any:
    """The value at a path of keys; None if a key is missing."""
    for key in path:
        value = mapping(value).get(key)
    return value
