"""Bigtable, which holds the groups: it is protected against deletion, has backups, and limits access."""

import re
from collections.abc import Iterator

from policies.model import Resource, Stack, items, mapping, text
from policies.rule import Settings, Violation, resource_rule, stack_rule, strings, switch

INSTANCE = "gcp:bigtable/instance:Instance"
TABLE = "gcp:bigtable/table:Table"


@resource_rule(
    remedy="Set deletionProtection to true for instances and to PROTECTED for tables; remove forceDestroy.",
    frameworks=("CKV_GCP_122",),
)
def bigtable_deletion_protection(resource: Resource, settings: Settings) -> Iterator[str]:
    """Instances and tables of Bigtable are protected against deletion."""
    if resource.type == INSTANCE:
        if resource.properties.get("deletionProtection") is not True:
            yield "deletionProtection is not true"
        if resource.properties.get("forceDestroy") not in (None, False):
            yield "forceDestroy allows deletion together with its backups"
    if resource.type == TABLE and resource.properties.get("deletionProtection") != "PROTECTED":
        yield "deletionProtection is not PROTECTED"


@resource_rule(of=[TABLE], remedy="Set automatedBackupPolicy with a frequency and a retentionPeriod.")
def bigtable_backup(resource: Resource, settings: Settings) -> Iterator[str]:
    """Bigtable backs up each table automatically."""
    policy = mapping(resource.properties.get("automatedBackupPolicy"))
    for name in ("retentionPeriod", "frequency"):
        # A value of "0" turns backups off (documentation of the property).
        if text(policy.get(name)).strip() in ("", "0", "0s"):
            yield f"automatedBackupPolicy.{name} is missing or zero"


IAM = re.compile(r"gcp:(\w+)/(\w*[iI][aA][mM](?:Member|Binding|Policy)):")
SUBJECT = re.compile(
    r"principal://iam\.googleapis\.com/projects/\d+/locations/global/workloadIdentityPools/[^/]+"
    r"/subject/(?:system:serviceaccount:|ns/)([a-z0-9-]+)(?::|/sa/)([a-z0-9.-]+)"
)
ACCOUNT = re.compile(r"serviceAccount:[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com")


@stack_rule(
    remedy="Grant roles/bigtable.user on the instance to the principal of one Kubernetes service account.",
    frameworks=("CKV_GCP_117", "CIS GCP 1.5"),
    settings={
        "roles": strings("allowed roles", ("roles/bigtable.user", "roles/bigtable.reader")),
        "keys": switch("allow keys of Google Cloud service accounts"),
    },
)
def bigtable_access(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Only service accounts of the stack have access to Bigtable, and only to its data."""
    for resource in stack:
        grant = IAM.match(resource.type)
        if resource.type == "gcp:serviceaccount/key:Key" and not settings["keys"]:
            yield Violation("is a key without expiry", resource)
        if grant is None:
            continue
        if grant.group(1) in ("projects", "organizations", "folder"):
            yield Violation("grants access to every resource of the project", resource)
        if grant.group(2).endswith("Policy"):
            yield Violation("replaces all existing grants of the resource", resource)
        if text(resource.properties.get("role")) not in settings["roles"]:
            yield Violation("role allows more than reading and writing data", resource)
        members = resource.properties.get("members")
        for member in items(members) if members is not None else [resource.properties.get("member")]:
            for message in _member(stack, text(member)):
                yield Violation(message, resource)


def _member(stack: Stack, member: str) -> Iterator[str]:
    subject = SUBJECT.fullmatch(member)
    if subject is not None:
        if stack.get("ServiceAccount", *subject.groups()) is None:
            yield "a member is a service account outside of the stack"
    elif not ACCOUNT.fullmatch(member):
        yield "a member is not a single service account"
