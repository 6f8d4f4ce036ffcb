"""Rights in the cluster are spelled out."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from policies.model import Properties, Resource, Stack, at, items, objects, text
from policies.pods import pods_of
from policies.rule import ResourceRule, Settings, StackRule, Violation, strings

ROLES = ("Role", "ClusterRole")
BINDINGS = ("RoleBinding", "ClusterRoleBinding")
EVERYBODY = frozenset({"system:anonymous", "system:unauthenticated", "system:authenticated", "system:serviceaccounts"})


def _wildcards(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if not resource.is_object or resource.kind not in ROLES:
        return
    if objects(at(resource.properties, "aggregationRule", "clusterRoleSelectors")):
        yield Violation(message="aggregationRule collects rights that are written elsewhere")
    for index, rule in enumerate(objects(resource.properties.get("rules"))):
        for field in ("apiGroups", "resources", "verbs", "nonResourceURLs"):
            if any("*" in text(entry) for entry in items(rule.get(field))):
                yield Violation(message=f"rules[{index}].{field} has a wildcard")


WILDCARDS = ResourceRule(
    name="rbac-wildcards",
    description="Roles name each API group, resource and verb.",
    frameworks=("CKV_K8S_49", "CIS Kubernetes 5.1.3", "NSA/CISA: Role-based access control"),
    remedy="Write out what is needed instead of the wildcard.",
    check=_wildcards,
)


BUILT_IN = frozenset({"cluster-admin", "admin", "edit", "view"})


def _bindings(stack: Stack, settings: Settings) -> Iterator[Violation]:
    for resource in stack.of(*BINDINGS):
        role = text(at(resource.properties, "roleRef", "name"))
        if not role or role in BUILT_IN or role.startswith("system:"):
            yield Violation(message="roleRef is missing, or a role that is not written here", resource=resource)
        for index, subject in enumerate(objects(resource.properties.get("subjects"))):
            name = text(subject.get("name"))
            where = text(subject.get("namespace")) or resource.namespace
            if name in EVERYBODY or name.startswith("system:serviceaccounts:"):
                yield Violation(message=f"subjects[{index}] is a group that everybody is in", resource=resource)
            elif subject.get("kind") != "ServiceAccount" or stack.get("ServiceAccount", where, name) is None:
                yield Violation(message=f"subjects[{index}] is no service account of the stack", resource=resource)


BROAD_BINDINGS = StackRule(
    name="rbac-broad-bindings",
    description="A binding gives a role of the stack to a service account of the stack.",
    frameworks=("CIS Kubernetes 5.1.1", "NSA/CISA: Role-based access control"),
    remedy="Bind a role of the stack's own to the one service account that needs it.",
    check=_bindings,
)

READ_AND_WRITE = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
WRITE = ("create", "update", "patch", "delete", "deletecollection")
DANGEROUS: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (("secrets",), READ_AND_WRITE, "reads or writes Secrets"),
    (
        ("pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "pods/ephemeralcontainers", "services/proxy"),
        READ_AND_WRITE,
        "enters running pods",
    ),
    (("nodes/proxy", "nodes/exec", "nodes/pods"), READ_AND_WRITE, "reaches the kubelets"),
    (("serviceaccounts/token", "tokenreviews"), ("create",), "makes tokens"),
    (
        (
            "pods",
            "deployments",
            "statefulsets",
            "daemonsets",
            "replicasets",
            "replicationcontrollers",
            "jobs",
            "cronjobs",
        ),
        ("create", "update", "patch"),
        "starts pods with any identity of the namespace",
    ),
    (
        (
            "mutatingwebhookconfigurations",
            "validatingwebhookconfigurations",
            "apiservices",
            "customresourcedefinitions",
        ),
        WRITE,
        "changes what the API server does",
    ),
    (("roles", "clusterroles", "rolebindings", "clusterrolebindings"), WRITE, "gives rights away"),
    (("certificatesigningrequests", "certificatesigningrequests/approval", "signers"), WRITE, "makes certificates"),
    (
        ("nodes", "nodes/status", "persistentvolumes", "namespaces", "networkpolicies", "endpoints", "endpointslices"),
        WRITE,
        "changes what keeps pods apart",
    ),
    (("configmaps", "services", "ingressroutes", "serviceaccounts"), WRITE, "changes what the stack says"),
)
GIVING = ("escalate", "bind", "impersonate", "approve", "sign")


def _dangerous(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if not resource.is_object or resource.kind not in ROLES:
        return
    for index, rule in enumerate(objects(resource.properties.get("rules"))):
        for message in _dangers(rule):
            yield Violation(message=f"rules[{index}] {message}")


def _dangers(rule: Properties) -> Iterator[str]:
    verbs = {text(verb).lower() for verb in items(rule.get("verbs"))}
    resources = {text(each).lower() for each in items(rule.get("resources"))}
    if verbs & set(GIVING):
        yield "has a verb that gives rights away"
    for names, risky, message in DANGEROUS:
        if resources & set(names) and verbs & set(risky):
            yield message


DANGEROUS_RIGHTS = ResourceRule(
    name="rbac-dangerous",
    description="No role can read Secrets, enter or start pods, make tokens, or give rights away.",
    frameworks=("CIS Kubernetes 5.1.2", "CIS Kubernetes 5.1.4", "Kubernetes: RBAC good practices"),
    remedy="Take the right out of the role; name the objects with resourceNames where one is needed.",
    check=_dangerous,
)


def _unneeded(stack: Stack, settings: Settings) -> Iterator[Violation]:
    with_token = {
        (pod.namespace, text(pod.spec.get("serviceAccountName")))
        for pod in pods_of(stack)
        if pod.spec.get("automountServiceAccountToken") is not False
    }
    used = set()
    for binding in stack.of(*BINDINGS):
        for subject in objects(binding.properties.get("subjects")):
            place = (text(subject.get("namespace")) or binding.namespace, text(subject.get("name")))
            if place in with_token:
                used |= {binding.urn, text(at(binding.properties, "roleRef", "name"))}
    for resource in stack.of(*ROLES, *BINDINGS):
        needed = resource.urn in used or (resource.kind in ROLES and resource.object_name in used)
        if not needed and not any(fnmatchcase(resource.label, pattern) for pattern in settings["objects"]):
            yield Violation(message="gives rights that no pod of the stack can use", resource=resource)


UNNEEDED = StackRule(
    name="rbac-unneeded",
    description="There are rights in the cluster only for pods that have a token.",
    frameworks=("CIS Kubernetes 5.1.6", "NSA/CISA: Role-based access control"),
    remedy="Remove the role and its binding; name those that people need in the setting `objects`.",
    settings={"objects": strings("patterns of roles and bindings for others than pods, as `Role/namespace/name`")},
    check=_unneeded,
)

TOKENS = ("kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token")


def _tokens(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if resource.is_object and resource.kind == "Secret" and resource.properties.get("type") in TOKENS:
        yield Violation(message="type is a token that never ends")
    if resource.is_object and resource.kind == "ServiceAccount" and objects(resource.properties.get("secrets")):
        yield Violation(message="secrets has tokens that never end")


LEGACY_TOKENS = ResourceRule(
    name="rbac-legacy-token",
    description="No Secret holds a token of a service account.",
    frameworks=("CIS Kubernetes 5.1.6",),
    remedy="Remove the Secret; a pod gets a token that ends by a projected volume.",
    check=_tokens,
)

EXTENSIONS = {
    "APIService": "answers for the API server",
    "CertificateSigningRequest": "asks for a certificate of the cluster",
    "ClusterTrustBundle": "says which authorities pods believe",
    "CustomResourceDefinition": "adds a kind that no rule knows",
    "FlowSchema": "changes whose requests the API server serves first",
    "MutatingAdmissionPolicy": "changes objects on their way into the cluster",
    "MutatingAdmissionPolicyBinding": "changes objects on their way into the cluster",
    "MutatingWebhookConfiguration": "lets a server see and change every object that it asks for",
    "Node": "adds a machine",
    "PriorityLevelConfiguration": "changes whose requests the API server serves first",
    "ValidatingAdmissionPolicy": "decides which objects the cluster takes",
    "ValidatingAdmissionPolicyBinding": "decides which objects the cluster takes",
    "ValidatingWebhookConfiguration": "lets a server see every object that it asks for",
}


def _extensions(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if resource.is_object and resource.kind in EXTENSIONS:
        yield Violation(message=EXTENSIONS[resource.kind])


CLUSTER_EXTENSIONS = ResourceRule(
    name="rbac-cluster-extension",
    description="The stack changes nothing about the cluster itself.",
    frameworks=("MITRE ATT&CK T1546", "Kubernetes: RBAC good practices"),
    remedy="Remove the object; whoever runs the cluster decides about it.",
    check=_extensions,
)

RULES = (WILDCARDS, BROAD_BINDINGS, DANGEROUS_RIGHTS, UNNEEDED, LEGACY_TOKENS, CLUSTER_EXTENSIONS)
