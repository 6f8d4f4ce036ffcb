"""Permissions in the cluster: roles list what they allow, and only pods with a token have roles."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from policies.model import Properties, Resource, Stack, at, items, objects, text
from policies.pods import pods_of
from policies.rule import Settings, Violation, resource_rule, stack_rule, strings

ROLES = ("Role", "ClusterRole")
BINDINGS = ("RoleBinding", "ClusterRoleBinding")
EVERYBODY = frozenset({"system:anonymous", "system:unauthenticated", "system:authenticated", "system:serviceaccounts"})


@resource_rule(
    of=ROLES,
    remedy="Replace the wildcard by a list of what the pod needs.",
    frameworks=("CKV_K8S_49", "CIS Kubernetes 5.1.3", "NSA/CISA: Role-based access control"),
)
def rbac_wildcards(resource: Resource, settings: Settings) -> Iterator[str]:
    """Roles list each API group, resource and verb."""
    if objects(at(resource.properties, "aggregationRule", "clusterRoleSelectors")):
        yield "aggregationRule adds permissions of other roles"
    for index, rule in enumerate(objects(resource.properties.get("rules"))):
        for field in ("apiGroups", "resources", "verbs", "nonResourceURLs"):
            if any("*" in text(entry) for entry in items(rule.get(field))):
                yield f"rules[{index}].{field} has a wildcard"


BUILT_IN = frozenset({"cluster-admin", "admin", "edit", "view"})


@stack_rule(
    remedy="Bind a role of the stack to the service account that needs it.",
    frameworks=("CIS Kubernetes 5.1.1", "NSA/CISA: Role-based access control"),
)
def rbac_broad_bindings(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """A binding grants a role of the stack to a service account of the stack."""
    for resource in stack.of(*BINDINGS):
        role = text(at(resource.properties, "roleRef", "name"))
        if not role or role in BUILT_IN or role.startswith("system:"):
            yield Violation("roleRef is missing, or names a built-in role", resource)
        for index, subject in enumerate(objects(resource.properties.get("subjects"))):
            name = text(subject.get("name"))
            namespace = text(subject.get("namespace")) or resource.namespace
            if name in EVERYBODY or name.startswith("system:serviceaccounts:"):
                yield Violation(f"subjects[{index}] is a group of all users or accounts", resource)
            elif subject.get("kind") != "ServiceAccount" or stack.get("ServiceAccount", namespace, name) is None:
                yield Violation(f"subjects[{index}] is not a service account of the stack", resource)


READ_AND_WRITE = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
WRITE = ("create", "update", "patch", "delete", "deletecollection")
DANGEROUS: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (("secrets",), READ_AND_WRITE, "allows reading or writing Secrets"),
    (
        ("pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "pods/ephemeralcontainers", "services/proxy"),
        READ_AND_WRITE,
        "allows access to running pods",
    ),
    (("nodes/proxy", "nodes/exec", "nodes/pods"), READ_AND_WRITE, "allows access to kubelets"),
    (("serviceaccounts/token", "tokenreviews"), ("create",), "allows creating tokens"),
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
        "allows starting pods with any service account of the namespace",
    ),
    (
        (
            "mutatingwebhookconfigurations",
            "validatingwebhookconfigurations",
            "apiservices",
            "customresourcedefinitions",
        ),
        WRITE,
        "allows changing the behaviour of the API server",
    ),
    (("roles", "clusterroles", "rolebindings", "clusterrolebindings"), WRITE, "allows granting permissions"),
    (
        ("certificatesigningrequests", "certificatesigningrequests/approval", "signers"),
        WRITE,
        "allows issuing certificates",
    ),
    (
        ("nodes", "nodes/status", "persistentvolumes", "namespaces", "networkpolicies", "endpoints", "endpointslices"),
        WRITE,
        "allows changing the isolation of pods",
    ),
    (("configmaps", "services", "ingressroutes", "serviceaccounts"), WRITE, "allows changing objects of the stack"),
)
GRANTING = ("escalate", "bind", "impersonate", "approve", "sign")


@resource_rule(
    of=ROLES,
    remedy="Remove the permission from the role; if it is necessary, exempt the role with a reason.",
    frameworks=("CIS Kubernetes 5.1.2", "CIS Kubernetes 5.1.4", "Kubernetes: RBAC good practices"),
)
def rbac_dangerous(resource: Resource, settings: Settings) -> Iterator[str]:
    """No role allows reading Secrets, entering or starting pods, creating tokens, or granting permissions."""
    for index, rule in enumerate(objects(resource.properties.get("rules"))):
        for message in _dangerous_permissions(rule):
            yield f"rules[{index}] {message}"


def _dangerous_permissions(rule: Properties) -> Iterator[str]:
    verbs = {text(verb).lower() for verb in items(rule.get("verbs"))}
    resources = {text(resource).lower() for resource in items(rule.get("resources"))}
    if verbs & set(GRANTING):
        yield "has a verb that allows granting permissions"
    for names, risky, message in DANGEROUS:
        if resources & set(names) and verbs & set(risky):
            yield message


@stack_rule(
    remedy="Remove the role and its binding; add those for people to the setting `objects`.",
    frameworks=("CIS Kubernetes 5.1.6", "NSA/CISA: Role-based access control"),
    settings={"objects": strings("patterns of roles and bindings that are not for pods, as `Role/namespace/name`")},
)
def rbac_unneeded(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Only pods with a token have roles in the cluster."""
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
            yield Violation("grants permissions that no pod of the stack can use", resource)


TOKENS = ("kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token")


@resource_rule(
    remedy="Remove the Secret; use a projected volume, whose token expires.", frameworks=("CIS Kubernetes 5.1.6",)
)
def rbac_legacy_token(resource: Resource, settings: Settings) -> Iterator[str]:
    """No Secret holds a token of a service account."""
    if resource.is_object and resource.kind == "Secret" and resource.properties.get("type") in TOKENS:
        yield "type is that of a token without expiry"
    if resource.is_object and resource.kind == "ServiceAccount" and objects(resource.properties.get("secrets")):
        yield "secrets refers to tokens without expiry"


EXTENSIONS = {
    "APIService": "serves requests on behalf of the API server",
    "CertificateSigningRequest": "requests a certificate of the cluster",
    "ClusterTrustBundle": "changes the certificate authorities that pods trust",
    "CustomResourceDefinition": "adds a kind that the rules do not know",
    "FlowSchema": "changes the priority of API requests",
    "MutatingAdmissionPolicy": "changes objects on admission to the cluster",
    "MutatingAdmissionPolicyBinding": "changes objects on admission to the cluster",
    "MutatingWebhookConfiguration": "allows a server to read and change objects on admission",
    "Node": "adds a node to the cluster",
    "PriorityLevelConfiguration": "changes the priority of API requests",
    "ValidatingAdmissionPolicy": "decides which objects the cluster admits",
    "ValidatingAdmissionPolicyBinding": "decides which objects the cluster admits",
    "ValidatingWebhookConfiguration": "allows a server to read objects on admission",
}


@resource_rule(
    remedy="Remove the object; the cluster's operator manages such objects.",
    frameworks=("MITRE ATT&CK T1546", "Kubernetes: RBAC good practices"),
)
def rbac_cluster_extension(resource: Resource, settings: Settings) -> Iterator[str]:
    """The stack does not change the cluster itself."""
    if resource.is_object and resource.kind in EXTENSIONS:
        yield EXTENSIONS[resource.kind]
