"""Rights in the cluster are spelled out."""

from collections.abc import Iterator

from policies.model import Resource, at, items, objects, text
from policies.rule import ResourceRule, Settings, Violation

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


def _bindings(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if not resource.is_object or resource.kind not in BINDINGS:
        return
    if at(resource.properties, "roleRef", "name") in ("cluster-admin", "admin", "edit", None):
        yield Violation(message="roleRef is missing, or a role that may do nearly everything")
    for index, subject in enumerate(objects(resource.properties.get("subjects"))):
        name = text(subject.get("name"))
        if name in EVERYBODY or name.startswith("system:serviceaccounts:"):
            yield Violation(message=f"subjects[{index}] is a group that everybody is in")


BROAD_BINDINGS = ResourceRule(
    name="rbac-broad-bindings",
    description="No binding gives away the cluster, or anything to everybody.",
    frameworks=("CIS Kubernetes 5.1.1", "NSA/CISA: Role-based access control"),
    remedy="Bind a role of the stack's own to the one service account that needs it.",
    check=_bindings,
)

RULES = (WILDCARDS, BROAD_BINDINGS)
