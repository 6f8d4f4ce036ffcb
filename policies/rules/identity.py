"""Requirements for every object: it has a namespace, is unique, and is visible to the rules."""

from collections import Counter
from collections.abc import Iterator

from policies.model import CLUSTER_SCOPED, UNBUILT, Resource, Stack, mapping, text
from policies.pods import pod_of, pods_of
from policies.rule import ResourceRule, Settings, StackRule, Violation, strings


def _namespace(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if not resource.is_object or resource.kind in CLUSTER_SCOPED:
        return
    namespace = text(resource.metadata.get("namespace"))
    if not namespace:
        yield Violation(message="metadata.namespace is missing: the object goes to the namespace of kubectl's context")
    elif namespace == "default":
        yield Violation(message="metadata.namespace is default, which has no network policies of the stack")


NAMESPACE = ResourceRule(
    name="object-namespace",
    description="Each object names its namespace, which is not `default`.",
    frameworks=("CKV_K8S_21", "NSA/CISA: Namespaces"),
    remedy="Set metadata.namespace.",
    check=_namespace,
)


def _unique(stack: Stack, settings: Settings) -> Iterator[Violation]:
    identities = Counter(_identity(resource) for resource in stack)
    urns = Counter(resource.urn for resource in stack)
    reported: set[tuple[str, ...]] = set()
    for resource in stack:
        identity = _identity(resource)
        if (identities[identity] > 1 or urns[resource.urn] > 1) and identity not in reported:
            reported.add(identity)
            yield Violation(message="another object has the same kind, namespace and name", resource=resource)


def _identity(resource: Resource) -> tuple[str, ...]:
    if not resource.is_object:
        return (resource.urn,)
    group = resource.type.split(":")[1].rpartition("/")[0]
    return (group, resource.kind, resource.namespace, resource.object_name)


UNIQUE = StackRule(
    name="object-unique",
    description="No two objects have the same kind, namespace and name, because one would overwrite the other.",
    remedy="Rename one of them.",
    check=_unique,
)

OPAQUE = ("HelmChart", "HelmChartConfig", "HelmRelease", "Application", "Kustomization")
"""Objects from which a controller (of k3s, Flux, Argo CD) makes other objects."""


def _opaque(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if resource.type.startswith("kubernetes:helm.sh/v3:Release"):
        yield Violation(message="is a Helm release: the rules do not see its objects")
    elif resource.type in UNBUILT:
        yield Violation(message=f"is {UNBUILT[resource.type]}: the rules do not see the result of the build")
    elif resource.is_object and resource.kind in OPAQUE:
        yield Violation(message="makes a controller create objects that the rules do not see")
    elif resource.is_object and resource.kind.endswith("Patch"):
        yield Violation(message="patches an object that the rules do not see")
    elif resource.is_object and resource.kind.endswith("List") and "items" in resource.properties:
        yield Violation(message="is a list whose items the rules do not see")
    pod = pod_of(resource)
    if pod is not None and not any(container.list == "containers" for container in pod.containers()):
        yield Violation(message="has no containers in its pod template")


OPAQUE_OBJECTS = ResourceRule(
    name="object-opaque",
    description="The rules see every object that will run.",
    remedy="Render the objects and deploy them directly.",
    check=_opaque,
)


def _pod_security(stack: Stack, settings: Settings) -> Iterator[Violation]:
    name, levels = "pod-security.kubernetes.io/enforce", settings["levels"]
    known = {namespace.object_name for namespace in stack.of("Namespace")}
    for namespace in stack.of("Namespace"):
        level = mapping(namespace.metadata.get("labels")).get(name)
        if level not in levels:
            message = f"the label {name} is missing or not strict enough"
            yield Violation(message=message, resource=namespace, subject=text(level))
    reported = set()
    for pod in pods_of(stack):
        if pod.namespace not in known and pod.namespace not in reported:
            reported.add(pod.namespace)
            yield Violation(
                message=f"the pod's namespace is not part of the stack, so its label {name} is unknown",
                resource=pod.owner,
            )


POD_SECURITY = StackRule(
    name="namespace-pod-security",
    description="The API server enforces Pod Security `restricted` in each namespace.",
    frameworks=("PSS: Pod Security Admission", "NSA/CISA: Pod security"),
    remedy="Add the Namespace to the stack with the label pod-security.kubernetes.io/enforce: restricted.",
    settings={"levels": strings("accepted levels", ("restricted",))},
    check=_pod_security,
)

RULES = (NAMESPACE, UNIQUE, OPAQUE_OBJECTS, POD_SECURITY)
