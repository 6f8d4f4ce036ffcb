"""Service accounts, references, name resolution and placement of pods."""

from collections import Counter
from collections.abc import Iterator, Mapping

from policies.model import Properties, Stack, at, items, mapping, objects, text
from policies.pods import Pod, pod_rule, pods_of
from policies.rule import Settings, Violation, stack_rule, strings


@pod_rule(remedy="Remove shareProcessNamespace.", frameworks=("CWE-668", "NSA/CISA: Pod security"))
def pod_shared_processes(pod: Pod, settings: Settings) -> Iterator[str]:
    """Containers of a pod do not see each other's processes."""
    if pod.spec.get("shareProcessNamespace") not in (None, False):
        yield "pod: shareProcessNamespace allows each container to read memory and files of the others"


@pod_rule(
    remedy="Remove hostAliases, dnsConfig.nameservers and dnsConfig.searches; leave dnsPolicy at ClusterFirst.",
    frameworks=("CWE-350", "MITRE ATT&CK T1557"),
)
def pod_name_resolution(pod: Pod, settings: Settings) -> Iterator[str | Violation]:
    """Pods resolve names only through the cluster's DNS."""
    for alias in items(pod.spec.get("hostAliases")):
        for name in items(mapping(alias).get("hostnames")) or [""]:
            yield Violation("pod: hostAliases overrides the cluster's DNS", subject=text(name))
    if pod.spec.get("dnsPolicy") not in (None, "ClusterFirst"):
        yield "pod: dnsPolicy uses another resolver than the cluster's DNS"
    for field in ("nameservers", "searches"):
        if items(at(pod.spec, "dnsConfig", field)):
            yield f"pod: dnsConfig.{field} overrides the cluster's DNS"


_OF_VOLUMES = {
    "secret": ("Secret", "secretName"),
    "configMap": ("ConfigMap", "name"),
    "persistentVolumeClaim": ("PersistentVolumeClaim", "claimName"),
}
_OF_PROJECTIONS = {"secret": ("Secret", "name"), "configMap": ("ConfigMap", "name")}
_OF_VARIABLES = {"secretKeyRef": ("Secret", "name"), "configMapKeyRef": ("ConfigMap", "name")}
_OF_ENVIRONMENTS = {"secretRef": ("Secret", "name"), "configMapRef": ("ConfigMap", "name")}
"""Fields that refer to objects, with the kind of the object and the key of its name."""


def references_of(pod: Pod) -> Iterator[tuple[str, str, str]]:
    """Yields (where, kind, name) for each object that a pod refers to. The name is empty if it is missing."""
    for volume in pod.volumes():
        where = f"volume {text(volume.get('name'))}"
        yield from _named(volume, _OF_VOLUMES, where)
        for source in objects(at(volume, "projected", "sources")):
            yield from _named(source, _OF_PROJECTIONS, where)
    for container in pod.containers():
        for variable in objects(container.spec.get("env")):
            yield from _named(mapping(variable.get("valueFrom")), _OF_VARIABLES, f"{container.where}: env")
        for source in objects(container.spec.get("envFrom")):
            yield from _named(source, _OF_ENVIRONMENTS, f"{container.where}: envFrom")
    for index, entry in enumerate(objects(pod.spec.get("imagePullSecrets"))):
        yield f"imagePullSecrets[{index}]", "Secret", text(entry.get("name"))


def _named(holder: Properties, fields: Mapping[str, tuple[str, str]], where: str) -> Iterator[tuple[str, str, str]]:
    for field, (kind, key) in fields.items():
        if holder.get(field) is not None:
            yield where, kind, text(at(holder, field, key))


@stack_rule(
    remedy="Add the object to the stack, or remove the reference.",
    frameworks=("NSA/CISA: Secrets",),
    settings={"outside": strings("names of Secrets that others put beside the stack's own")},
)
def pod_references(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Pods refer only to Secrets, ConfigMaps and claims of the stack, and not to the proxy's certificate."""
    route_secrets = {
        (route.namespace, text(at(route.spec, "tls", "secretName")))
        for route in stack.of("IngressRoute", "IngressRouteTCP")
    }
    for pod in pods_of(stack):
        for where, kind, name in references_of(pod):
            if kind == "Secret" and name in settings["outside"]:
                continue
            if kind == "PersistentVolumeClaim" and _is_of_template(stack, pod.namespace, name):
                continue
            if stack.get(kind, pod.namespace, name) is None:
                yield Violation(f"{where}: refers to a {kind} outside of the stack", pod.owner, subject=name)
            elif kind == "Secret" and (pod.namespace, name) in route_secrets:
                yield Violation(f"{where}: uses the private key of the public certificate", pod.owner)


def _is_of_template(stack: Stack, namespace: str, claim: str) -> bool:
    """True for a claim that a StatefulSet makes for one of its pods: `<template>-<StatefulSet>-<ordinal>`."""
    prefix, _, ordinal = claim.rpartition("-")
    return ordinal.isdigit() and prefix in {
        f"{text(at(template, 'metadata', 'name'))}-{each.name}"
        for each in stack.of("StatefulSet")
        if each.namespace == namespace
        for template in objects(at(each.spec, "volumeClaimTemplates"))
    }


@stack_rule(
    remedy="Add a ServiceAccount for the workload and name it in serviceAccountName.",
    frameworks=("CIS Kubernetes 5.1.5", "NSA/CISA: Role-based access control"),
)
def pod_service_account(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Each workload has its own service account, because cloud permissions are bound to service accounts."""
    pods = pods_of(stack)
    users = Counter((pod.namespace, _account(pod)) for pod in pods)
    for pod in pods:
        account = _account(pod)
        if not account:
            yield Violation("serviceAccountName is missing: the pod shares the namespace's default account", pod.owner)
        elif stack.get("ServiceAccount", pod.namespace, account) is None:
            yield Violation("serviceAccountName is not a service account of the stack", pod.owner)
        elif users[pod.namespace, account] > 1:
            yield Violation("serviceAccountName is shared with another workload", pod.owner)


def _account(pod: Pod) -> str:
    return text(pod.spec.get("serviceAccountName")) or text(pod.spec.get("serviceAccount"))


@pod_rule(
    remedy="Remove nodeName, schedulerName, system priorities and tolerations for the control plane.",
    frameworks=("MITRE ATT&CK T1610",),
    settings={"runtimes": strings("allowed runtime classes")},
)
def pod_placement(pod: Pod, settings: Settings) -> Iterator[str]:
    """The default scheduler places pods, on worker nodes and with normal priority."""
    if pod.spec.get("nodeName"):
        yield "pod: nodeName bypasses the scheduler"
    if pod.spec.get("schedulerName") not in (None, "", "default-scheduler"):
        yield "pod: schedulerName is not the default scheduler"
    if text(pod.spec.get("priorityClassName")).startswith("system-"):
        yield "pod: priorityClassName can evict pods of the cluster itself"
    if pod.spec.get("runtimeClassName") not in (None, "", *settings["runtimes"]):
        yield "pod: runtimeClassName is not an allowed one"
    for index, toleration in enumerate(objects(pod.spec.get("tolerations"))):
        key = text(toleration.get("key"))
        if not key or key.startswith("node-role.kubernetes.io/"):
            yield f"pod: tolerations[{index}] matches every taint, or nodes of the control plane"
