"""Bigtable holds the groups: it is not deleted by mistake, and there are copies."""

from collections.abc import Iterator

from policies.model import Resource, mapping, text
from policies.rule import ResourceRule, Settings, Violation

INSTANCE = "gcp:bigtable/instance:Instance"
TABLE = "gcp:bigtable/table:Table"


def _deletion_protection(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if resource.type == INSTANCE:
        if resource.properties.get("deletionProtection") is not True:
            yield Violation(message="deletionProtection is not true")
        if resource.properties.get("forceDestroy") not in (None, False):
            yield Violation(message="forceDestroy deletes its backups with it")
    if resource.type == TABLE and resource.properties.get("deletionProtection") != "PROTECTED":
        yield Violation(message="deletionProtection is not PROTECTED")


DELETION_PROTECTION = ResourceRule(
    name="bigtable-deletion-protection",
    description="Instances and tables of Bigtable cannot be deleted by mistake.",
    frameworks=("CKV_GCP_122",),
    remedy="Set deletionProtection to true for instances and PROTECTED for tables.",
    check=_deletion_protection,
)


def _backups(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if resource.type != TABLE:
        return
    policy = mapping(resource.properties.get("automatedBackupPolicy"))
    for name in ("retentionPeriod", "frequency"):
        # A policy of "0" switches backups off (documentation of the property).
        if text(policy.get(name)).strip() in ("", "0", "0s"):
            yield Violation(message=f"automatedBackupPolicy.{name} is missing or nothing")


BACKUPS = ResourceRule(
    name="bigtable-backup",
    description="Bigtable makes a backup of each table by itself.",
    remedy="Set automatedBackupPolicy with a frequency and a retentionPeriod.",
    check=_backups,
)

RULES = (DELETION_PROTECTION, BACKUPS)
