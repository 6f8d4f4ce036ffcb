"""Services select pods of the stack and are not exposed; disruption budgets keep replicated workloads available."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from policies.model import Properties, Resource, Stack, at, items, mapping, number, objects, text
from policies.pods import Pod, container_ports, is_empty, pods_of, selected_pods, selects
from policies.rule import Settings, StackRule, Violation, strings

EXPOSING = ("LoadBalancer", "NodePort")
"""Types of Services that are reachable from outside of the cluster."""


def spec_of(service: Resource) -> Properties:
    return mapping(service.properties.get("spec"))


def pods_behind(stack: Stack, service: Resource) -> list[Pod]:
    """The pods that a Service selects; none for a Service without a selector."""
    selector = mapping(spec_of(service).get("selector"))
    if not selector:
        return []
    return selected_pods(stack, service.namespace, {"matchLabels": selector})


def target_of(port: Properties) -> object:
    """The port of the pods: targetPort, or else the Service's own port."""
    target = port.get("targetPort")
    return port.get("port") if target in (None, "") else target


def _selector(stack: Stack, settings: Settings) -> Iterator[Violation]:
    for service in stack.of("Service"):
        if spec_of(service).get("type") == "ExternalName":
            yield Violation(message="type is ExternalName, which leads out of the cluster", resource=service)
        elif not mapping(spec_of(service).get("selector")):
            yield Violation(message="spec.selector is missing, so the Service's pods are unknown", resource=service)
        elif not pods_behind(stack, service):
            yield Violation(message="spec.selector matches no pod", resource=service)


SELECTOR = StackRule(
    name="service-selector",
    description="Each Service selects pods of the stack.",
    remedy="Set spec.selector to the labels of the Service's pods.",
    check=_selector,
)


def _target_port(stack: Stack, settings: Settings) -> Iterator[Violation]:
    for service in stack.of("Service"):
        for pod in pods_behind(stack, service):
            ports = list(container_ports(pod))
            for index, port in enumerate(objects(spec_of(service).get("ports"))):
                target, protocol = target_of(port), port.get("protocol") or "TCP"
                matching = [p for p in ports if target in (p.get("name"), p.get("containerPort"))]
                where = f"port {text(port.get('name')) or index}"
                if not matching:
                    yield Violation(message=f"{where}: {pod.owner.label} does not declare its target", resource=service)
                elif all((p.get("protocol") or "TCP") != protocol for p in matching):
                    message = f"{where}: {pod.owner.label} declares its target with another protocol"
                    yield Violation(message=message, resource=service)


TARGET_PORT = StackRule(
    name="service-target-port",
    description="The pods of a Service declare each of its target ports, with the same protocol.",
    remedy="Correct targetPort or protocol, or declare the port in the container.",
    check=_target_port,
)


def _exposed(stack: Stack, settings: Settings) -> Iterator[Violation]:
    for service in stack.of("Service"):
        name = f"{service.namespace}/{service.object_name}"
        if any(fnmatchcase(name, pattern) for pattern in settings["services"]):
            continue
        if spec_of(service).get("type") in EXPOSING:
            yield Violation(message="spec.type exposes the Service on the nodes or to the internet", resource=service)
        if items(spec_of(service).get("externalIPs")):
            yield Violation(message="spec.externalIPs exposes the Service outside of the cluster", resource=service)


EXPOSED = StackRule(
    name="service-exposed",
    description="Only listed Services are reachable from outside of the cluster; all others are behind the proxy.",
    frameworks=("NSA/CISA: Network separation",),
    remedy="Set spec.type to ClusterIP, or add `namespace/name` to the setting `services`.",
    settings={"services": strings("patterns of Services that may be exposed, as `namespace/name`")},
    check=_exposed,
)


def replicas_of(stack: Stack, workload: Resource) -> float:
    """The minimum number of pods of a workload: its own replicas (default 1), or the minimum of its autoscaler."""
    replicas = number(at(workload.properties, "spec", "replicas"))
    scaled = [
        number(at(scaler.properties, "spec", "minReplicas")) or 1
        for scaler in stack.of("HorizontalPodAutoscaler")
        if scaler.namespace == workload.namespace
        and at(scaler.properties, "spec", "scaleTargetRef", "kind") == workload.kind
        and at(scaler.properties, "spec", "scaleTargetRef", "name") == workload.object_name
    ]
    return max([1 if replicas is None else replicas, *scaled])


def _disruption_budget(stack: Stack, settings: Settings) -> Iterator[Violation]:
    budgets = stack.of("PodDisruptionBudget")
    pods = [pod for pod in pods_of(stack) if pod.owner.kind in ("Deployment", "StatefulSet", "ReplicaSet")]
    for pod in pods:
        if replicas_of(stack, pod.owner) > 1 and not any(_protects(budget, pod) for budget in budgets):
            yield Violation(message="has several replicas and no PodDisruptionBudget", resource=pod.owner)
    for budget in budgets:
        spec = mapping(budget.properties.get("spec"))
        if not any(_protects(budget, pod) for pod in pods):
            yield Violation(message="spec.selector matches no workload", resource=budget)
        elif spec.get("maxUnavailable") is None and spec.get("minAvailable") is None:
            yield Violation(message="has neither maxUnavailable nor minAvailable", resource=budget)
        elif spec.get("maxUnavailable") in (0, "0", "0%") or spec.get("minAvailable") == "100%":
            yield Violation(message="allows no disruption, so that its nodes cannot be drained", resource=budget)


def _protects(budget: Resource, pod: Pod) -> bool:
    selector = at(budget.properties, "spec", "selector")
    return budget.namespace == pod.namespace and not is_empty(selector) and selects(selector, pod.labels)


DISRUPTION_BUDGET = StackRule(
    name="disruption-budget",
    description="Each workload with several replicas has a disruption budget, so that maintenance keeps some running.",
    frameworks=("Kubernetes: Pod disruption budgets",),
    remedy="Add a PodDisruptionBudget with maxUnavailable: 1 and the labels of the workload.",
    check=_disruption_budget,
)


def _endpoints(stack: Stack, settings: Settings) -> Iterator[Violation]:
    for resource in stack.of("Endpoints", "EndpointSlice"):
        yield Violation(message="sets the addresses of a Service manually", resource=resource)


ENDPOINTS = StackRule(
    name="service-endpoints",
    description="Only Kubernetes sets the addresses of a Service.",
    frameworks=("CVE-2021-25740",),
    remedy="Remove the object; let the Service select its pods.",
    check=_endpoints,
)

RULES = (SELECTOR, TARGET_PORT, EXPOSED, DISRUPTION_BUDGET, ENDPOINTS)
