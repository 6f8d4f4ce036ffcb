"""Resources as rules see them: plain, immutable, and the same whether an engine, a recording or a file gave them."""

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
"""Types of the Kubernetes package that are no objects of the API server."""

KUSTOMIZATION: Final = "files:kustomize:Kustomization"
CHART: Final = "files:helm:Chart"
UNBUILT: Final = {
    KUSTOMIZATION: "a kustomization that changes objects, or has some that are not among these files",
    CHART: "a Helm chart",
}
"""Types of what files hold beside objects, which they become only when they are built."""

CLUSTER_SCOPED: Final = frozenset(
    # kubectl api-resources --namespaced=false, Kubernetes 1.34, and what k3s adds
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
    """A rule needs a value that nobody knows before deployment. `path` says which, the value being none."""

    def __init__(self, path: tuple[str, ...]) -> None:
        super().__init__(".".join(path))
        self.path = path


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource with the properties of its provider's schema (camelCase).

    `type` is Pulumi's token; an object from a file has the one that Pulumi would give it. `protect` and
    `retain_on_delete` are None where the source cannot tell: that is no protection. `dependencies` maps a property
    to the URNs that its value comes from. `source` is a file and a line (from 1), where there is one.
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
        """Whether it is an object of a Kubernetes API server."""
        return self.type.startswith(KUBERNETES) and not self.type.startswith(NOT_OBJECTS)

    @cached_property
    def kind(self) -> str:
        """`Deployment`, `Table`: the last part of the token, so that no property can hide it."""
        return self.type.rpartition(":")[2]

    @cached_property
    def metadata(self) -> Properties:
        """The metadata of an object; empty for anything else."""
        return mapping(self.properties.get("metadata")) if self.is_object else {}

    @cached_property
    def namespace(self) -> str:
        """The namespace of an object, empty where it has none or does not say."""
        return text(self.metadata.get("namespace")) if self.kind not in CLUSTER_SCOPED else ""

    @cached_property
    def object_name(self) -> str:
        """The name in the cluster; the logical name where the cluster's is not known yet."""
        try:
            return text(self.metadata.get("name")) or self.name
        except UndecidedError:
            return self.name

    @cached_property
    def label(self) -> str:
        """`Deployment/flatline/whisper`, `Namespace/flatline`, `Table/accounts`: what people and exemptions call it."""
        return "/".join(part for part in (self.kind, self.namespace, self.object_name) if part)

    def depends_on(self, name: str, urn: str) -> bool:
        """Whether a property's value comes from another resource."""
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
        self._kept: dict[Callable[[Stack], Any], Any] = {}

    def __iter__(self) -> Iterator[Resource]:
        return iter(self.resources)

    def of(self, *kinds: str) -> list[Resource]:
        """The Kubernetes objects of some kinds."""
        return [found for kind in kinds for found in self._by_kind.get(kind, ())]

    def typed(self, *tokens: str) -> list[Resource]:
        """The resources of some type tokens."""
        return [found for found in self.resources if found.type in tokens]

    def get(self, kind: str, namespace: str, name: str) -> Resource | None:
        """The object of an identity."""
        return next((o for o in self._by_name.get((kind, name), ()) if o.namespace == namespace), None)

    def kept(self, make: "Callable[[Stack], T]") -> T:
        """What `make` says of this stack, asked once."""
        if make not in self._kept:
            self._kept[make] = make(self)
        found: T = self._kept[make]
        return found


def mapping(value: Any) -> Properties:
    """The value if it is an object, else an empty one: a field of the wrong form is as good as absent."""
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return list(value) if isinstance(value, (list, tuple)) else []


def objects(value: Any) -> list[Properties]:
    """The objects of a list."""
    return [entry for entry in items(value) if isinstance(entry, Mapping)]


def text(value: Any) -> str:
    """The value if it is text, else empty."""
    return value if isinstance(value, str) else ""


def number(value: Any) -> float | None:
    """The value if it is a number, also one written as text; else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def whole(value: Any) -> int:
    """The value as a whole number, such as a port; 0 if it is none."""
    found = number(value)
    return int(found) if found is not None and abs(found) < 2**53 else 0


def at(value: Any, *path: str) -> Any:
    """The value at a path of keys, None where something on the way is missing."""
    for key in path:
        value = mapping(value).get(key)
    return value
