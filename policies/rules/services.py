"""Services select pods of the stack and are not exposed; disruption budgets keep replicated workloads available."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from policies.model import Properties, Resource, Stack, at, items, mapping, number, objects, text
from policies.pods import Pod, container_ports, is_empty, pods_of, selected_pods, selects
from policies.rule import Settings, Violation, stack_rule, strings

EXPOSING = ("LoadBalancer", "NodePort")
"""Types of Services that are reachable from outside of the cluster."""


def pods_behind(stack: Stack, service: Resource) -> list[Pod]:
    """The pods that a Service selects; none for a Service without a selector."""
    selector = mapping(service.spec.get("selector"))
    if not selector:
        return []
    return selected_pods(stack, service.namespace, {"matchLabels": selector})


def target_of(port: Properties) -> object:
    """The port of the pods: targetPort, or else the Service's own port."""
    target = port.get("targetPort")
    return port.get("port") if target in (None, "") else target


@stack_rule(remedy="Set spec.selector to the labels of the Service's pods.")
def service_selector(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Each Service selects pods of the stack."""
    for service in stack.of("Service"):
        if service.spec.get("type") == "ExternalName":
            yield Violation("type is ExternalName, which leads out of the cluster", service)
        elif not mapping(service.spec.get("selector")):
            yield Violation("spec.selector is missing, so the Service's pods are unknown", service)
        elif not pods_behind(stack, service):
            yield Violation("spec.selector matches no pod", service)


@stack_rule(remedy="Correct targetPort or protocol, or declare the port in the container.")
def service_target_port(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """The pods of a Service declare each of its target ports, with the same protocol."""
    for service in stack.of("Service"):
        for pod in pods_behind(stack, service):
            ports = list(container_ports(pod))
            for index, port in enumerate(objects(service.spec.get("ports"))):
                target, protocol = target_of(port), port.get("protocol") or "TCP"
                matching = [p for p in ports if target in (p.get("name"), p.get("containerPort"))]
                where = f"port {text(port.get('name')) or index}"
                if not matching:
                    yield Violation(f"{where}: {pod.owner.label} does not declare its target", service)
                elif all((p.get("protocol") or "TCP") != protocol for p in matching):
                    yield Violation(f"{where}: {pod.owner.label} declares its target with another protocol", service)


@stack_rule(
    remedy="Set spec.type to ClusterIP, or add `namespace/name` to the setting `services`.",
    frameworks=("NSA/CISA: Network separation",),
    settings={"services": strings("patterns of Services that may be exposed, as `namespace/name`")},
)
def service_exposed(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Only listed Services are reachable from outside of the cluster; all others are behind the proxy."""
    for service in stack.of("Service"):
        name = f"{service.namespace}/{service.object_name}"
        if any(fnmatchcase(name, pattern) for pattern in settings["services"]):
            continue
        if service.spec.get("type") in EXPOSING:
            yield Violation("spec.type exposes the Service on the nodes or to the internet", service)
        if items(service.spec.get("externalIPs")):
            yield Violation("spec.externalIPs exposes the Service outside of the cluster", service)


def replicas_of(stack: Stack, workload: Resource) -> float:
    """The minimum number of pods of a workload: its own replicas (default 1), or the minimum of its autoscaler."""
    replicas = number(at(workload.spec, "replicas"))
    scaled = [
        number(at(scaler.spec, "minReplicas")) or 1
        for scaler in stack.of("HorizontalPodAutoscaler")
        if scaler.namespace == workload.namespace
        and at(scaler.spec, "scaleTargetRef", "kind") == workload.kind
        and at(scaler.spec, "scaleTargetRef", "name") == workload.object_name
    ]
    return max([1 if replicas is None else replicas, *scaled])


@stack_rule(
    remedy="Add a PodDisruptionBudget with maxUnavailable: 1 and the labels of the workload.",
    frameworks=("Kubernetes: Pod disruption budgets",),
)
def disruption_budget(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Each workload with several replicas has a disruption budget, so that maintenance keeps some running."""
    budgets = stack.of("PodDisruptionBudget")
    pods = [pod for pod in pods_of(stack) if pod.owner.kind in ("Deployment", "StatefulSet", "ReplicaSet")]
    for pod in pods:
        if replicas_of(stack, pod.owner) > 1 and not any(_protects(budget, pod) for budget in budgets):
            yield Violation("has several replicas and no PodDisruptionBudget", pod.owner)
    for budget in budgets:
        spec = budget.spec
        if not any(_protects(budget, pod) for pod in pods):
            yield Violation("spec.selector matches no workload", budget)
        elif spec.get("maxUnavailable") is None and spec.get("minAvailable") is None:
            yield Violation("has neither maxUnavailable nor minAvailable", budget)
        elif spec.get("maxUnavailable") in (0, "0", "0%") or spec.get("minAvailable") == "100%":
            yield Violation("allows no disruption, so that its nodes cannot be drained", budget)


def _protects(budget: Resource, pod: Pod) -> bool:
    selector = at(budget.spec, "selector")
    return budget.namespace == pod.namespace and not is_empty(selector) and selects(selector, pod.labels)


@stack_rule(remedy="Remove the object; let the Service select its pods.", frameworks=("CVE-2021-25740",))
def service_endpoints(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Only Kubernetes sets the addresses of a Service."""
    for resource in stack.of("Endpoints", "EndpointSlice"):
        yield Violation("sets the addresses of a Service manually", resource)
