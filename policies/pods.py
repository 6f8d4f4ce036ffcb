"""The pods of workloads, jobs and bare Pods, and label selectors over them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, Final, Generic, TypeVar, Unpack

from policies.model import Properties, Resource, Stack, at, items, mapping, objects, text
from policies.rule import ResourceRule, Settings, Texts, Violation, made, violation

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
"""The path of the pod template in each kind."""

SERVERS: Final = frozenset({"DaemonSet", "Deployment", "ReplicaSet", "ReplicationController", "StatefulSet"})
"""Kinds whose pods run until something stops them."""

CONTAINER_LISTS: Final = {
    "containers": "container",
    "initContainers": "init container",
    "ephemeralContainers": "ephemeral container",
}


PROBES: Final = ("startupProbe", "readinessProbe", "livenessProbe")


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container of one of the three lists. `where` is its name in messages: `init container wait`."""

    list: str
    name: str
    spec: Properties = field(repr=False)

    @property
    def where(self) -> str:
        return f"{CONTAINER_LISTS[self.list]} {self.name}"

    @property
    def security(self) -> Properties:
        """The container's security context."""
        return mapping(self.spec.get("securityContext"))

    @property
    def command(self) -> list[str]:
        """The words of the container's command and arguments."""
        return [text(word) for field in ("command", "args") for word in items(self.spec.get(field))]

    def handlers(self) -> Iterator[tuple[str, Properties]]:
        """Yields (where, handler) for each probe and each lifecycle hook."""
        for name in PROBES:
            yield name, mapping(self.spec.get(name))
        for name in ("postStart", "preStop"):
            yield f"lifecycle.{name}", mapping(at(self.spec, "lifecycle", name))

    @property
    def is_long_running(self) -> bool:
        """True for a main container, and for a sidecar among the init containers."""
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
        """The pod's security context."""
        return mapping(self.spec.get("securityContext"))

    def containers(self) -> Iterator[Container]:
        """All containers, including init and ephemeral ones."""
        for name in CONTAINER_LISTS:
            for index, spec in enumerate(objects(self.spec.get(name))):
                yield Container(list=name, name=text(spec.get("name")) or str(index), spec=spec)

    def volumes(self) -> list[Properties]:
        return objects(self.spec.get("volumes"))


def pod_of(resource: Resource) -> Pod | None:
    """The pod template of a workload or job; None for any other resource."""
    if not resource.is_object or resource.kind not in TEMPLATES:
        return None
    template = mapping(at(resource.properties, *TEMPLATES[resource.kind]))
    return Pod(owner=resource, metadata=mapping(template.get("metadata")), spec=mapping(template.get("spec")))


def pods_of(stack: Stack) -> list[Pod]:
    """Every pod template of a stack."""
    return stack.cached(_pods_of)


def _pods_of(stack: Stack) -> list[Pod]:
    return [pod for resource in stack.of(*TEMPLATES) if (pod := pod_of(resource)) is not None]


def container_ports(pod: Pod) -> Iterator[Properties]:
    """The ports that the containers of a pod declare."""
    for container in pod.containers():
        yield from objects(container.spec.get("ports"))


PodCheck = Callable[[Pod, Settings], Iterable[str | Violation]]
ContainerCheck = Callable[[Pod, Container, Settings], Iterable[str | Violation]]


def pod_rule(**texts: Unpack[Texts]) -> Callable[[PodCheck], ResourceRule]:
    """Makes a rule of a check of pods."""

    def rule(check: PodCheck) -> ResourceRule:
        @wraps(check)
        def of_resource(resource: Resource, settings: Settings) -> Iterable[str | Violation]:
            pod = pod_of(resource)
            return check(pod, settings) if pod else ()

        return made(ResourceRule, of_resource, texts)

    return rule


def container_rule(**texts: Unpack[Texts]) -> Callable[[ContainerCheck], ResourceRule]:
    """Makes a rule of a check of containers, whose messages then begin with the container."""

    def rule(check: ContainerCheck) -> ResourceRule:
        @wraps(check)
        def of_pod(pod: Pod, settings: Settings) -> Iterator[Violation]:
            for container in pod.containers():
                for found in map(violation, check(pod, container, settings)):
                    yield replace(found, message=f"{container.where}: {found.message}")

        return pod_rule(**texts)(of_pod)

    return rule


def selects(selector: Any, labels: Mapping[str, Any]) -> bool:
    """True if a label selector (`matchLabels`, `matchExpressions`) matches. An empty selector matches everything."""
    fields = mapping(selector)
    if any(labels.get(key) != value for key, value in mapping(fields.get("matchLabels")).items()):
        return False
    return all(_satisfied(expression, labels) for expression in objects(fields.get("matchExpressions")))


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
    """An index of things by label, so that a selector compares only things that have one of its labels."""

    def __init__(self, entries: Iterable[tuple[Mapping[str, Any], T]]) -> None:
        self._entries = list(entries)
        self._by_label: dict[tuple[str, str], list[tuple[Mapping[str, Any], T]]] = {}
        for labels, thing in self._entries:
            for key, value in labels.items():
                if isinstance(value, str):
                    self._by_label.setdefault((key, value), []).append((labels, thing))
        self._selected: dict[str, list[T]] = {}

    def select(self, selector: Any) -> list[T]:
        """The things that a label selector matches, in their original order."""
        key = repr(selector)
        if key not in self._selected:
            self._selected[key] = [thing for labels, thing in self._candidates(selector) if selects(selector, labels)]
        return self._selected[key]

    def _candidates(self, selector: Any) -> list[tuple[Mapping[str, Any], T]]:
        labelled = [
            self._by_label.get((key, value), [])
            for key, value in mapping(mapping(selector).get("matchLabels")).items()
            if isinstance(value, str)
        ]
        return min([self._entries, *labelled], key=len)


def selected_pods(stack: Stack, namespace: str, selector: Any) -> list[Pod]:
    """The pods of a namespace that a selector matches."""
    pods = stack.cached(_by_namespace).get(namespace)
    return pods.select(selector) if pods else []


def _by_namespace(stack: Stack) -> dict[str, Labelled[Pod]]:
    pods: dict[str, list[Pod]] = {}
    for pod in pods_of(stack):
        pods.setdefault(pod.namespace, []).append(pod)
    return {name: Labelled((pod.labels, pod) for pod in members) for name, members in pods.items()}


def is_empty(selector: Any) -> bool:
    """True for a selector without conditions, which matches everything."""
    fields = mapping(selector)
    return not mapping(fields.get("matchLabels")) and not items(fields.get("matchExpressions"))
