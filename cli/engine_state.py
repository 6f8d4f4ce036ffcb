"""Reads Pulumi's state of a stack: its Kubernetes objects, and the operations that an earlier run did not finish."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cli.objects import Object
from render.checkpoint import is_secret, plain
from render.model import STACK_TYPE

Json = dict[str, Any]

_WITHOUT_TRACE = ("random:", "tls:", "pulumi:")
"""Resources that are values in the state and nothing outside of it: a creation that was cut off made nothing."""


@dataclass(frozen=True)
class StateObject:
    """A Kubernetes object of the state: what was applied, and what the API server made of it."""

    urn: str
    applied: Object
    answered: Mapping[str, Any] = field(repr=False)
    protected: bool = False

    @property
    def manager(self) -> str:
        """The field manager that Pulumi applies it as."""
        return str(self.answered.get("__fieldManager") or "pulumi-kubernetes")

    def __str__(self) -> str:
        return str(self.applied)


def kubernetes_objects(deployment: Mapping[str, Any]) -> list[StateObject]:
    """The objects of a deployment that was exported with its secrets, in the order in which they were made."""
    return [
        StateObject(
            each["urn"], Object(plain(each["inputs"])), plain(each.get("outputs", {})), bool(each.get("protect"))
        )
        for each in deployment.get("resources", ())
        if _is_object(each) and not each.get("delete")
    ]


def namespaces(deployment: Mapping[str, Any]) -> set[str]:
    """The names of the namespaces that a stack has made."""
    return {each.applied.name for each in kubernetes_objects(deployment) if each.applied.kind == "Namespace"}


def protected(deployment: Mapping[str, Any]) -> list[str]:
    """Resources that `pulumi destroy --exclude-protected` keeps, a line each: the number of secrets, others by name."""
    kept = [each for each in deployment.get("resources", ()) if each.get("protect")]
    objects = [each for each in kept if not each["type"].startswith(("random:", "tls:"))]
    lines = [f"{each['type'].rsplit(':', 1)[-1]} {each.get('id', '')}" for each in objects]
    others = len(kept) - len(objects)
    return sorted(lines) + ([f"{others} secrets and certificate authorities"] if others else [])


def is_bare(deployment: Mapping[str, Any]) -> bool:
    """True if namespaces or volumes have lost their protection, the first step of deleting everything."""
    return any(
        not each.protected and each.applied.kind in {"Namespace", "PersistentVolumeClaim"}
        for each in kubernetes_objects(deployment)
    )


def outputs(deployment: Mapping[str, Any]) -> Json:
    """The outputs of the last update that are not secret."""
    found = (each.get("outputs", {}) for each in deployment.get("resources", ()) if each["type"] == STACK_TYPE)
    return {name: value for name, value in next(found, {}).items() if not is_secret(value)}


@dataclass(frozen=True)
class Unfinished:
    """Operations that were under way when an earlier run was cut off.

    `objects` are creations of Kubernetes objects, which the cluster may have; `unknown` are creations elsewhere, of
    which nobody here can tell what came. Components are in the state alone, so they leave nothing behind.
    """

    count: int
    objects: tuple[StateObject, ...]
    unknown: tuple[str, ...]


def unfinished(deployment: Mapping[str, Any]) -> Unfinished:
    """Operations that an earlier run did not finish, from a deployment that was exported with its secrets."""
    operations = deployment.get("pending_operations") or ()
    creations = [each["resource"] for each in operations if each["type"] == "creating"]
    return Unfinished(
        len(operations),
        tuple(StateObject(each["urn"], Object(plain(each["inputs"])), {}) for each in creations if _is_object(each)),
        tuple(
            f"{each['type']} {each['urn'].rpartition('::')[2]}"
            for each in creations
            if each.get("custom") and not _is_object(each) and not each["type"].startswith(_WITHOUT_TRACE)
        ),
    )


def settled(deployment: Mapping[str, Any], there: Collection[str]) -> tuple[Json, list[str]]:
    """A deployment without operations under way, and the URNs that it has taken over from them.

    An object that is `there` (by URN) belongs to the stack from now on, with what was applied of it. One that was to
    replace an object which the state still has is marked for deletion instead: the next update makes its own.
    """
    resources = list(deployment.get("resources", ()))
    urns = {each["urn"] for each in resources}
    adopted = []
    for operation in deployment.get("pending_operations") or ():
        resource = operation["resource"]
        if operation["type"] != "creating" or resource["urn"] not in there:
            continue
        metadata = resource["inputs"]["metadata"]
        name = "/".join(filter(None, (metadata.get("namespace"), metadata["name"])))
        taken = {**resource, "id": name, "outputs": resource.get("outputs") or resource["inputs"]}
        if resource["urn"] in urns:
            resources.append({**taken, "delete": True})
        else:
            resources.append(taken)
            adopted.append(resource["urn"])
    rest = {key: value for key, value in deployment.items() if key != "pending_operations"}
    return {**rest, "resources": resources}, adopted


def _is_object(resource: Mapping[str, Any]) -> bool:
    inputs = resource.get("inputs") or {}
    return (
        bool(resource.get("custom"))
        and str(resource["type"]).startswith("kubernetes:")
        and isinstance(inputs.get("metadata"), Mapping)
        and {"apiVersion", "kind"} <= set(inputs)
    )


def titles(kept: Iterable[StateObject]) -> list[str]:
    """The objects by kind, namespace and name, sorted."""
    return sorted(map(str, kept))
