"""Pods of workloads, tasks and bare pods, and how selectors find them."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from policies.model import Properties, Resource, Stack, at, items, mapping, objects, text
from policies.rule import Settings, Violation

T = TypeVar("T")

TEMPLATES: Final = {
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "DaemonSet": ("spec", "template"),
    "Deployment": ("spec", "template"),
    "Job": ("spec", "template"),
    "Pod": (),
    "PodTemplate": ("template",),
    "ReplicaSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
}
"""Where each kind has its pod template."""

SERVERS: Final = frozenset({"DaemonSet", "Deployment", "ReplicaSet", "ReplicationController", "StatefulSet"})
"""Kinds whose pods run until they are stopped."""

CONTAINER_LISTS: Final = {
    "containers": "container",
    "initContainers": "init container",
    "ephemeralContainers": "ephemeral container",
}


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container of any of the three lists; `where` names it in messages: `init container wait`."""

    list: str
    name: str
    spec: Properties = field(repr=False)

    @property
    def where(self) -> str:
        return f"{CONTAINER_LISTS[self.list]} {self.name}"

    @property
    def security(self) -> Properties:
        """Its security context."""
        return mapping(self.spec.get("securityContext"))

    @property
    def runs_on(self) -> bool:
        """Whether it runs as long as its pod: a main container, or a sidecar among the init containers."""
        return self.list == "containers" or (
            self.list == "initContainers" and self.spec.get("restartPolicy") == "Always"
        )


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod template with its owner."""

    owner: Resource
    metadata: Properties = field(repr=False)
    spec: Properties = field(repr=False)

    @property
    def namespace(self) -> str:
        return self.owner.namespace

    @property
    def labels(self) -> Properties:
        return mapping(self.metadata.get("labels"))

    @property
    def security(self) -> Properties:
        """Its security context."""
        return mapping(self.spec.get("securityContext"))

    def containers(self) -> Iterator[Container]:
        """All of them, those of the start and for debugging included."""
        for name in CONTAINER_LISTS:
            for index, spec in enumerate(objects(self.spec.get(name))):
                yield Container(list=name, name=text(spec.get("name")) or str(index), spec=spec)

    def volumes(self) -> list[Properties]:
        return objects(self.spec.get("volumes"))


def pod_of(resource: Resource) -> Pod | None:
    """The pod template of a workload or task; None for anything else."""
    if not resource.is_object or resource.kind not in TEMPLATES:
        return None
    template = mapping(at(resource.properties, *TEMPLATES[resource.kind]))
    return Pod(owner=resource, metadata=mapping(template.get("metadata")), spec=mapping(template.get("spec")))


def pods_of(stack: Stack) -> list[Pod]:
    """Every pod template of a stack."""
    return stack.kept(_pods_of)


def _pods_of(stack: Stack) -> list[Pod]:
    return [pod for resource in stack.of(*TEMPLATES) if (pod := pod_of(resource)) is not None]


def container_ports(pod: Pod) -> Iterator[Properties]:
    """The ports that the containers of a pod declare."""
    for container in pod.containers():
        yield from objects(container.spec.get("ports"))


PodCheck = Callable[[Pod, Settings], Iterable[str]]
ContainerCheck = Callable[[Pod, Container, Settings], Iterable[str]]


def each_pod(check: PodCheck) -> Callable[[Resource, Settings], Iterator[Violation]]:
    """A check of pods as one of resources."""

    def run(resource: Resource, settings: Settings) -> Iterator[Violation]:
        pod = pod_of(resource)
        if pod is not None:
            for message in check(pod, settings):
                yield Violation(message=message)

    return run


def each_container(check: ContainerCheck) -> Callable[[Resource, Settings], Iterator[Violation]]:
    """A check of containers as one of resources."""

    def run(pod: Pod, settings: Settings) -> Iterator[str]:
        for container in pod.containers():
            for message in check(pod, container, settings):
                yield f"{container.where}: {message}"

    return each_pod(run)


def selects(selector: Any, labels: Mapping[str, Any]) -> bool:
    """Whether a label selector (`matchLabels`, `matchExpressions`) matches. An empty one matches everything."""
    wanted = mapping(selector)
    if any(labels.get(key) != value for key, value in mapping(wanted.get("matchLabels")).items()):
        return False
    return all(_satisfied(expression, labels) for expression in objects(wanted.get("matchExpressions")))


def _satisfied(expression: Properties, labels: Mapping[str, Any]) -> bool:
    key, values = text(expression.get("key")), items(expression.get("values"))
    match expression.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False


class Labelled(Generic[T]):
    """Things with labels. A selector looks only at those that have one of the labels that it asks for."""

    def __init__(self, entries: Iterable[tuple[Mapping[str, Any], T]]) -> None:
        self._entries = list(entries)
        self._by_label: dict[tuple[str, str], list[tuple[Mapping[str, Any], T]]] = {}
        for labels, thing in self._entries:
            for key, value in labels.items():
                if isinstance(value, str):
                    self._by_label.setdefault((key, value), []).append((labels, thing))
        self._selected: dict[str, list[T]] = {}

    def select(self, selector: Any) -> list[T]:
        """Those that a label selector matches, in their order."""
        asked = json.dumps(selector, sort_keys=True, default=repr)
        if asked not in self._selected:
            self._selected[asked] = [thing for labels, thing in self._candidates(selector) if selects(selector, labels)]
        return self._selected[asked]

    def _candidates(self, selector: Any) -> list[tuple[Mapping[str, Any], T]]:
        wanted = [
            self._by_label.get((key, value), [])
            for key, value in mapping(mapping(selector).get("matchLabels")).items()
            if isinstance(value, str)
        ]
        return min([self._entries, *wanted], key=len)


def selected_pods(stack: Stack, namespace: str, selector: Any) -> list[Pod]:
    """The pods of a namespace that a selector matches."""
    found = stack.kept(_by_namespace).get(namespace)
    return found.select(selector) if found else []


def _by_namespace(stack: Stack) -> dict[str, Labelled[Pod]]:
    pods: dict[str, list[Pod]] = {}
    for pod in pods_of(stack):
        pods.setdefault(pod.namespace, []).append(pod)
    return {name: Labelled((pod.labels, pod) for pod in each) for name, each in pods.items()}


def is_empty(selector: Any) -> bool:
    """Whether a selector matches everything by saying nothing."""
    wanted = mapping(selector)
    return not mapping(wanted.get("matchLabels")) and not items(wanted.get("matchExpressions"))
