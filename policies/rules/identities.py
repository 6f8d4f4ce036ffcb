"""What pods refer to, whose name they act under, and whose answers they believe."""

from collections import Counter
from collections.abc import Iterator

from policies.model import Stack, at, items, objects, text
from policies.pods import Pod, each_pod, pods_of
from policies.rule import ResourceRule, Settings, StackRule, Violation, strings
from policies.rules.services import spec_of


def _shared_processes(pod: Pod, settings: Settings) -> Iterator[str]:
    if pod.spec.get("shareProcessNamespace") not in (None, False):
        yield "pod: shareProcessNamespace lets each container read the memory and the files of the others"


SHARED_PROCESSES = ResourceRule(
    name="pod-shared-processes",
    description="Containers of a pod do not see each other's processes.",
    frameworks=("CWE-668", "NSA/CISA: Pod security"),
    remedy="Remove shareProcessNamespace.",
    check=each_pod(_shared_processes),
)


def _names(pod: Pod, settings: Settings) -> Iterator[str]:
    if items(pod.spec.get("hostAliases")):
        yield "pod: hostAliases answers for names instead of the cluster's DNS"
    if pod.spec.get("dnsPolicy") not in (None, "ClusterFirst"):
        yield "pod: dnsPolicy asks somebody else than the cluster's DNS"
    for field in ("nameservers", "searches"):
        if items(at(pod.spec, "dnsConfig", field)):
            yield f"pod: dnsConfig.{field} changes whose answers are believed"


NAME_RESOLUTION = ResourceRule(
    name="pod-name-resolution",
    description="Pods find each other by the cluster's DNS and by nothing else.",
    frameworks=("CWE-350", "MITRE ATT&CK T1557"),
    remedy="Remove hostAliases, dnsConfig.nameservers and dnsConfig.searches; leave dnsPolicy at ClusterFirst.",
    check=each_pod(_names),
)


def references_of(pod: Pod) -> Iterator[tuple[str, str, str]]:
    """Every object that a pod names: where, kind and name. An empty name is one that is missing."""
    for volume in pod.volumes():
        where = f"volume {text(volume.get('name'))}"
        if volume.get("secret") is not None:
            yield where, "Secret", text(at(volume, "secret", "secretName"))
        if volume.get("configMap") is not None:
            yield where, "ConfigMap", text(at(volume, "configMap", "name"))
        if volume.get("persistentVolumeClaim") is not None:
            yield where, "PersistentVolumeClaim", text(at(volume, "persistentVolumeClaim", "claimName"))
        for source in objects(at(volume, "projected", "sources")):
            for field, kind in (("secret", "Secret"), ("configMap", "ConfigMap")):
                if source.get(field) is not None:
                    yield where, kind, text(at(source, field, "name"))
    for container in pod.containers():
        for variable in objects(container.spec.get("env")):
            for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                if at(variable, "valueFrom", field) is not None:
                    yield f"{container.where}: env", kind, text(at(variable, "valueFrom", field, "name"))
        for source in objects(container.spec.get("envFrom")):
            for field, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
                if source.get(field) is not None:
                    yield f"{container.where}: envFrom", kind, text(at(source, field, "name"))
    for index, entry in enumerate(objects(pod.spec.get("imagePullSecrets"))):
        yield f"imagePullSecrets[{index}]", "Secret", text(entry.get("name"))


def _references(stack: Stack, settings: Settings) -> Iterator[Violation]:
    of_routes = {
        (route.namespace, text(at(spec_of(route), "tls", "secretName")))
        for route in stack.of("IngressRoute", "IngressRouteTCP")
    }
    for pod in pods_of(stack):
        for where, kind, name in references_of(pod):
            if stack.get(kind, pod.namespace, name) is None:
                message = f"{where}: names a {kind} that is none of the stack's"
                yield Violation(message=message, resource=pod.owner, subject=name)
            elif kind == "Secret" and (pod.namespace, name) in of_routes:
                yield Violation(message=f"{where}: takes the key of the public certificate", resource=pod.owner)


REFERENCES = StackRule(
    name="pod-references",
    description="Each Secret, ConfigMap and claim that a pod names is one of the stack's, and none is the proxy's own.",
    frameworks=("NSA/CISA: Secrets",),
    remedy="Make the object part of the stack, or remove the reference.",
    check=_references,
)


def _accounts(stack: Stack, settings: Settings) -> Iterator[Violation]:
    pods = pods_of(stack)
    users = Counter((pod.namespace, _account(pod)) for pod in pods)
    for pod in pods:
        account = _account(pod)
        if not account:
            yield Violation(message="serviceAccountName is missing: it acts as everybody else", resource=pod.owner)
        elif stack.get("ServiceAccount", pod.namespace, account) is None:
            yield Violation(message="serviceAccountName is none of the stack's", resource=pod.owner)
        elif users[pod.namespace, account] > 1:
            yield Violation(message="serviceAccountName is another workload's as well", resource=pod.owner)


def _account(pod: Pod) -> str:
    return text(pod.spec.get("serviceAccountName")) or text(pod.spec.get("serviceAccount"))


ACCOUNTS = StackRule(
    name="pod-service-account",
    description="Each workload has a service account of its own, which is what its rights in clouds are tied to.",
    frameworks=("CIS Kubernetes 5.1.5", "NSA/CISA: Role-based access control"),
    remedy="Add a ServiceAccount for the workload and name it in serviceAccountName.",
    check=_accounts,
)


def _placement(pod: Pod, settings: Settings) -> Iterator[str]:
    if pod.spec.get("nodeName"):
        yield "pod: nodeName goes round the scheduler and what it checks"
    if pod.spec.get("schedulerName") not in (None, "", "default-scheduler"):
        yield "pod: schedulerName is somebody else's"
    if text(pod.spec.get("priorityClassName")).startswith("system-"):
        yield "pod: priorityClassName drives out what the cluster itself needs"
    if pod.spec.get("runtimeClassName") not in (None, "", *settings["runtimes"]):
        yield "pod: runtimeClassName is none of those that are allowed"
    for index, toleration in enumerate(objects(pod.spec.get("tolerations"))):
        key = text(toleration.get("key"))
        if not key or key.startswith("node-role.kubernetes.io/"):
            yield f"pod: tolerations[{index}] is for every node, or for those of the control plane"


PLACEMENT = ResourceRule(
    name="pod-placement",
    description="Pods run where the scheduler puts them, beside what runs the cluster and not among it.",
    frameworks=("MITRE ATT&CK T1610",),
    remedy="Remove nodeName, schedulerName, system priorities and tolerations of the control plane.",
    settings={"runtimes": strings("runtime classes that a pod may name")},
    check=each_pod(_placement),
)

RULES = (SHARED_PROCESSES, NAME_RESOLUTION, REFERENCES, ACCOUNTS, PLACEMENT)
