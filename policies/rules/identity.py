"""What every object is: in a namespace of its own, unique, and visible to the rules."""

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
        yield Violation(message="metadata.namespace is missing: it goes to wherever somebody applies it")
    elif namespace == "default":
        yield Violation(message="metadata.namespace is default, where no policy of ours holds")


NAMESPACE = ResourceRule(
    name="object-namespace",
    description="Each object says its namespace, which is not the default one.",
    frameworks=("CKV_K8S_21", "NSA/CISA: Namespaces"),
    remedy="Set metadata.namespace.",
    check=_namespace,
)


def _unique(stack: Stack, settings: Settings) -> Iterator[Violation]:
    identities = Counter(_identity(resource) for resource in stack)
    urns = Counter(resource.urn for resource in stack)
    told: set[tuple[str, ...]] = set()
    for resource in stack:
        identity = _identity(resource)
        if (identities[identity] > 1 or urns[resource.urn] > 1) and identity not in told:
            told.add(identity)
            yield Violation(message="there is another one of the same kind, namespace and name", resource=resource)


def _identity(resource: Resource) -> tuple[str, ...]:
    if not resource.is_object:
        return (resource.urn,)
    group = resource.type.split(":")[1].rpartition("/")[0]
    return (group, resource.kind, resource.namespace, resource.object_name)


UNIQUE = StackRule(
    name="object-unique",
    description="No two objects have the same kind, namespace and name: the later would overwrite the earlier.",
    remedy="Give one of them another name.",
    check=_unique,
)

OPAQUE = ("HelmChart", "HelmChartConfig", "HelmRelease", "Application", "Kustomization")
"""Objects from which a controller makes others: k3s, Flux, Argo CD."""


def _opaque(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if resource.type.startswith("kubernetes:helm.sh/v3:Release"):
        yield Violation(message="a release of Helm: no rule sees its objects")
    elif resource.type in UNBUILT:
        yield Violation(message=f"{UNBUILT[resource.type]}: no rule sees what is built from it")
    elif resource.is_object and resource.kind in OPAQUE:
        yield Violation(message="a controller makes objects from it that no rule sees")
    elif resource.is_object and resource.kind.endswith("Patch"):
        yield Violation(message="changes an object of somebody else, which no rule sees")
    elif resource.is_object and resource.kind.endswith("List") and "items" in resource.properties:
        yield Violation(message="a list, whose entries no rule sees")
    pod = pod_of(resource)
    if pod is not None and not any(container.list == "containers" for container in pod.containers()):
        yield Violation(message="has no container where this kind has them")


OPAQUE_OBJECTS = ResourceRule(
    name="object-opaque",
    description="Everything that will run is among the objects that the rules see.",
    remedy="Render it and deploy the objects themselves.",
    check=_opaque,
)


def _pod_security(stack: Stack, settings: Settings) -> Iterator[Violation]:
    name, levels = "pod-security.kubernetes.io/enforce", settings["levels"]
    known = {namespace.object_name for namespace in stack.of("Namespace")}
    for namespace in stack.of("Namespace"):
        level = mapping(namespace.metadata.get("labels")).get(name)
        if level not in levels:
            message = f"the label {name} is missing or allows too much"
            yield Violation(message=message, resource=namespace, subject=text(level))
    told = set()
    for pod in pods_of(stack):
        if pod.namespace not in known and pod.namespace not in told:
            told.add(pod.namespace)
            yield Violation(
                message=f"the namespace of this pod is none of the stack's, so its label {name} is nobody's",
                resource=pod.owner,
            )


POD_SECURITY = StackRule(
    name="namespace-pod-security",
    description="The API server enforces Pod Security `restricted` in each namespace.",
    frameworks=("PSS: Pod Security Admission", "NSA/CISA: Pod security"),
    remedy="Make the Namespace part of the stack and label it pod-security.kubernetes.io/enforce: restricted.",
    settings={"levels": strings("the levels that are enough", ("restricted",))},
    check=_pod_security,
)

RULES = (NAMESPACE, UNIQUE, OPAQUE_OBJECTS, POD_SECURITY)
