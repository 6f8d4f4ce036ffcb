"""DynamoDB, which holds accounts, keys and messages: a table can be restored and is protected against deletion."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from policies.model import Resource, Stack, at, number, text
from policies.rule import ResourceRule, Setting, Settings, StackRule, Violation, whole_number

TABLE = "aws:dynamodb/table:Table"
TARGET = "aws:appautoscaling/target:Target"


def _backup(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if resource.type != TABLE:
        return
    recovery = "pointInTimeRecovery"
    if at(resource.properties, recovery, "enabled") is not True:
        yield Violation(message=f"{recovery}.enabled is not true")
    days = at(resource.properties, recovery, "recoveryPeriodInDays")
    if days is not None and (number(days) or 0) < settings["days"]:  # AWS' default is 35 days
        yield Violation(message=f"{recovery}.recoveryPeriodInDays is too short")


BACKUP = ResourceRule(
    name="dynamodb-backup",
    description="Each table can be restored to any second of a recent period.",
    frameworks=("FSBP DynamoDB.2", "CKV_AWS_28"),
    remedy="Set pointInTimeRecovery to {enabled: true}.",
    settings={"days": whole_number("the shortest allowed period for restores, in days", 7)},
    check=_backup,
)


def _deletion_protection(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if resource.type == TABLE and resource.properties.get("deletionProtectionEnabled") is not True:
        yield Violation(message="deletionProtectionEnabled is not true")


DELETION_PROTECTION = ResourceRule(
    name="dynamodb-deletion-protection",
    description="Each table has deletion protection.",
    frameworks=("FSBP DynamoDB.6",),
    remedy="Set deletionProtectionEnabled to true.",
    check=_deletion_protection,
)


def _encryption(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if resource.type == TABLE and at(resource.properties, "serverSideEncryption", "enabled") is not True:
        yield Violation(message="serverSideEncryption.enabled is not true: the table uses a key that AWS owns")


ENCRYPTION = ResourceRule(
    name="dynamodb-encryption",
    description="Each table is encrypted with a key of the account; AWS logs its use, and the account can revoke it.",
    frameworks=("CKV_AWS_119", "Well-Architected SEC08"),
    remedy="Set serverSideEncryption to {enabled: true}, with kmsKeyArn for a key of your own.",
    check=_encryption,
)


def _capacity(stack: Stack, settings: Settings) -> Iterator[Violation]:
    scaled = {
        text(target.properties.get("resourceId"))
        for target in stack.typed(TARGET)
        if target.properties.get("serviceNamespace") == "dynamodb"
    }
    for table in stack.typed(TABLE):
        name = text(table.properties.get("name")) or table.name
        by_reference = any(target.depends_on("resourceId", table.urn) for target in stack.typed(TARGET))
        if table.properties.get("billingMode") == "PAY_PER_REQUEST" or by_reference or f"table/{name}" in scaled:
            continue
        yield Violation(message="billingMode is not PAY_PER_REQUEST, and nothing scales the capacity", resource=table)


CAPACITY = StackRule(
    name="dynamodb-capacity",
    description="The capacity of each table follows the load, so that AWS does not throttle requests.",
    frameworks=("FSBP DynamoDB.1",),
    remedy="Set billingMode to PAY_PER_REQUEST, or scale it with an appautoscaling Target.",
    check=_capacity,
)


def _expiry(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if resource.type != TABLE or at(resource.properties, "ttl", "enabled") in (None, False):
        return
    name = text(resource.properties.get("name")) or resource.name
    attribute = text(at(resource.properties, "ttl", "attributeName"))
    if not any(fnmatchcase(name, table) and attribute == due for table, due in settings["tables"].items()):
        yield Violation(
            message="ttl deletes items of a table, or by an attribute, that the setting `tables` does not list"
        )


EXPIRY = ResourceRule(
    name="dynamodb-expiry",
    description="Items expire only in listed tables, and by the listed attribute.",
    frameworks=("Well-Architected REL09",),
    remedy="Remove ttl; or add the table and its attribute to the setting `tables`.",
    settings={
        "tables": Setting(
            description="tables whose items may expire (patterns), each with its expiry attribute",
            schema={"type": "object", "additionalProperties": {"type": "string"}},
            default={},
        )
    },
    check=_expiry,
)

RULES = (BACKUP, DELETION_PROTECTION, ENCRYPTION, CAPACITY, EXPIRY)
