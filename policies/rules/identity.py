"""Requirements for every object: it has a namespace, is unique, and is visible to the rules."""

from collections import Counter
from collections.abc import Iterator

from policies.model import CLUSTER_SCOPED, UNBUILT, Resource, Stack, mapping, text
from policies.pods import pod_of, pods_of
from policies.rule import Settings, Violation, resource_rule, stack_rule, strings


@resource_rule(remedy="Set metadata.namespace.", frameworks=("CKV_K8S_21", "NSA/CISA: Namespaces"))
def object_namespace(resource: Resource, settings: Settings) -> Iterator[str]:
    """Each object names its namespace, which is not `default`."""
    if not resource.is_object or resource.kind in CLUSTER_SCOPED:
        return
    namespace = text(resource.metadata.get("namespace"))
    if not namespace:
        yield "metadata.namespace is missing: the object goes to the namespace of kubectl's context"
    elif namespace == "default":
        yield "metadata.namespace is default, which has no network policies of the stack"


@stack_rule(remedy="Rename one of them.")
def object_unique(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """No two objects have the same kind, namespace and name, because one would overwrite the other."""
    identities = Counter(_identity(resource) for resource in stack)
    urns = Counter(resource.urn for resource in stack)
    reported: set[tuple[str, ...]] = set()
    for resource in stack:
        identity = _identity(resource)
        if (identities[identity] > 1 or urns[resource.urn] > 1) and identity not in reported:
            reported.add(identity)
            yield Violation("another object has the same kind, namespace and name", resource)


def _identity(resource: Resource) -> tuple[str, ...]:
    if not resource.is_object:
        return (resource.urn,)
    group = resource.type.split(":")[1].rpartition("/")[0]
    return (group, resource.kind, resource.namespace, resource.object_name)


OPAQUE = ("HelmChart", "HelmChartConfig", "HelmRelease", "Application", "Kustomization")
"""Objects from which a controller (of k3s, Flux, Argo CD) makes other objects."""


@resource_rule(remedy="Render the objects and deploy them directly.")
def object_opaque(resource: Resource, settings: Settings) -> Iterator[str]:
    """The rules see every object that will run."""
    if resource.type.startswith("kubernetes:helm.sh/v3:Release"):
        yield "is a Helm release: the rules do not see its objects"
    elif resource.type in UNBUILT:
        yield f"is {UNBUILT[resource.type]}: the rules do not see the result of the build"
    elif resource.is_object and resource.kind in OPAQUE:
        yield "makes a controller create objects that the rules do not see"
    elif resource.is_object and resource.kind.endswith("Patch"):
        yield "patches an object that the rules do not see"
    elif resource.is_object and resource.kind.endswith("List") and "items" in resource.properties:
        yield "is a list whose items the rules do not see"
    pod = pod_of(resource)
    if pod is not None and not any(container.list == "containers" for container in pod.containers()):
        yield "has no containers in its pod template"


@stack_rule(
    remedy="Add the Namespace to the stack with the label pod-security.kubernetes.io/enforce: restricted.",
    frameworks=("PSS: Pod Security Admission", "NSA/CISA: Pod security"),
    settings={"levels": strings("accepted levels", ("restricted",))},
)
def namespace_pod_security(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """The API server enforces Pod Security `restricted` in each namespace."""
    name, levels = "pod-security.kubernetes.io/enforce", settings["levels"]
    known = {namespace.object_name for namespace in stack.of("Namespace")}
    for namespace in stack.of("Namespace"):
        level = mapping(namespace.metadata.get("labels")).get(name)
        if level not in levels:
            yield Violation(f"the label {name} is missing or not strict enough", namespace, subject=text(level))
    reported = set()
    for pod in pods_of(stack):
        if pod.namespace not in known and pod.namespace not in reported:
            reported.add(pod.namespace)
            yield Violation(f"the pod's namespace is not part of the stack, so its label {name} is unknown", pod.owner)
