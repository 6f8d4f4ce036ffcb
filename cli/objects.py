"""Rendered Kubernetes objects, read back from a folder or taken from a recording."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from render.manifests import INVENTORY, KUSTOMIZATION, PLAN, STACK_OUTPUTS, kubernetes_objects
from render.model import Recording

SELECTOR = "app.kubernetes.io/part-of=flatline"
"""Every object of ours carries this label (components/kubernetes)."""

_CONTENT_NAME = re.compile(r"(?P<role>.+)-[0-9a-f]{10}")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Object:
    """One Kubernetes object."""

    content: Mapping[str, Any] = field(repr=False)

    @property
    def kind(self) -> str:
        """`Deployment`."""
        return str(self.content["kind"])

    @property
    def group(self) -> str:
        """The API group, empty for the core."""
        return str(self.content["apiVersion"]).rpartition("/")[0]

    @property
    def resource(self) -> str:
        """The name of its type for kubectl: `deployment.apps`."""
        return f"{self.kind}.{self.group}".lower() if self.group else self.kind.lower()

    @property
    def namespace(self) -> str:
        """Empty for what belongs to the whole cluster."""
        return str(self.content["metadata"].get("namespace", ""))

    @property
    def name(self) -> str:
        """`metadata.name`."""
        return str(self.content["metadata"]["name"])

    @property
    def role(self) -> str:
        """The name without the digits of its content, which change with it."""
        match = _CONTENT_NAME.fullmatch(self.name)
        return match["role"] if match else self.name

    @property
    def key(self) -> tuple[str, str, str]:
        """Its identity in a cluster: type, namespace and name."""
        return self.resource, self.namespace, self.name

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {where}{self.name}"


def read(folder: Path, kind: str = "") -> list[Object]:
    """The objects, or those of one kind, that an earlier run wrote; none if there is no such folder."""
    inventory = folder / INVENTORY
    if not inventory.is_file():
        return []
    written = set(inventory.read_text().splitlines()) - {KUSTOMIZATION, PLAN}
    of_kind = f"-{kind.lower()}_" if kind else ""
    names = sorted(name for name in written if name.endswith(".yaml") and of_kind in name)
    return [Object(yaml.load((folder / name).read_text(), Loader=_LOADER)) for name in names]


def recorded(recording: Recording) -> list[Object]:
    """The objects that a program registered."""
    return [Object(each.outputs) for each in kubernetes_objects(recording)]


def outputs(folder: Path) -> dict[str, Any] | None:
    """The stack outputs that an earlier run wrote, None if it wrote none."""
    path = folder / STACK_OUTPUTS
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def of_kind(objects: Iterable[Object], *kinds: str) -> list[Object]:
    """Those of some kinds, in the order of the objects."""
    return [each for each in objects if each.kind in kinds]


def namespaces(objects: Iterable[Object]) -> list[str]:
    """The names of our namespaces, sorted."""
    return sorted(each.name for each in of_kind(objects, "Namespace"))


def claims(objects: Iterable[Object]) -> list[str]:
    """Every volume claim, those that a StatefulSet makes for its pods among them: `flatline/attachments (20Gi)`."""
    found = []
    for each in objects:
        if each.kind == "PersistentVolumeClaim":
            found.append(f"{each.namespace}/{each.name} ({_size(each.content)})")
        for template in each.content.get("spec", {}).get("volumeClaimTemplates", ()):
            last = each.content["spec"]["replicas"] - 1
            name = template["metadata"]["name"]
            found.append(f"{each.namespace}/{name}-{each.name}-0 to -{last} ({_size(template)} each)")
    return sorted(found)


def waits(objects: Iterable[Object]) -> list[list[str]]:
    """kubectl's words that wait until everything runs, for each namespace."""
    everything = list(objects)
    found = []
    for namespace in namespaces(everything):
        here = [each for each in everything if each.namespace == namespace]
        for each in of_kind(here, "StatefulSet"):
            found.append(["-n", namespace, "rollout", "status", f"statefulset/{each.name}", "--timeout", "15m"])
        if of_kind(here, "Deployment"):
            wait = ["wait", "deployment", "--all", "--for", "condition=Available", "--timeout", "15m"]
            found.append(["-n", namespace, *wait])
    return found


def _size(claim: Mapping[str, Any]) -> str:
    return str(claim["spec"]["resources"]["requests"]["storage"])
