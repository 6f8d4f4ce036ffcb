"""DynamoDB, which holds accounts, keys and messages: a table can be restored and is protected against deletion."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from policies.model import Resource, Stack, at, number, text
from policies.rule import Setting, Settings, Violation, resource_rule, stack_rule, whole_number

TABLE = "aws:dynamodb/table:Table"
TARGET = "aws:appautoscaling/target:Target"


@resource_rule(
    of=[TABLE],
    remedy="Set pointInTimeRecovery to {enabled: true}.",
    frameworks=("FSBP DynamoDB.2", "CKV_AWS_28"),
    settings={"days": whole_number("the shortest allowed period for restores, in days", 7)},
)
def dynamodb_backup(resource: Resource, settings: Settings) -> Iterator[str]:
    """Each table can be restored to any second of a recent period."""
    recovery = "pointInTimeRecovery"
    if at(resource.properties, recovery, "enabled") is not True:
        yield f"{recovery}.enabled is not true"
    days = at(resource.properties, recovery, "recoveryPeriodInDays")
    if days is not None and (number(days) or 0) < settings["days"]:  # AWS' default is 35 days
        yield f"{recovery}.recoveryPeriodInDays is too short"


@resource_rule(remedy="Set deletionProtectionEnabled to true.", frameworks=("FSBP DynamoDB.6",))
def dynamodb_deletion_protection(resource: Resource, settings: Settings) -> Iterator[str]:
    """Each table has deletion protection."""
    if resource.type == TABLE and resource.properties.get("deletionProtectionEnabled") is not True:
        yield "deletionProtectionEnabled is not true"


@resource_rule(
    remedy="Set serverSideEncryption to {enabled: true}, with kmsKeyArn for a key of your own.",
    frameworks=("CKV_AWS_119", "Well-Architected SEC08"),
)
def dynamodb_encryption(resource: Resource, settings: Settings) -> Iterator[str]:
    """Each table is encrypted with a key of the account; AWS logs its use, and the account can revoke it."""
    if resource.type == TABLE and at(resource.properties, "serverSideEncryption", "enabled") is not True:
        yield "serverSideEncryption.enabled is not true: the table uses a key that AWS owns"


@stack_rule(
    remedy="Set billingMode to PAY_PER_REQUEST, or scale it with an appautoscaling Target.",
    frameworks=("FSBP DynamoDB.1",),
)
def dynamodb_capacity(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """The capacity of each table follows the load, so that AWS does not throttle requests."""
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
        yield Violation("billingMode is not PAY_PER_REQUEST, and nothing scales the capacity", table)


@resource_rule(
    remedy="Remove ttl; or add the table and its attribute to the setting `tables`.",
    frameworks=("Well-Architected REL09",),
    settings={
        "tables": Setting(
            description="tables whose items may expire (patterns), each with its expiry attribute",
            schema={"type": "object", "additionalProperties": {"type": "string"}},
            default={},
        )
    },
)
def dynamodb_expiry(resource: Resource, settings: Settings) -> Iterator[str]:
    """Items expire only in listed tables, and by the listed attribute."""
    if resource.type != TABLE or at(resource.properties, "ttl", "enabled") in (None, False):
        return
    name = text(resource.properties.get("name")) or resource.name
    attribute = text(at(resource.properties, "ttl", "attributeName"))
    if not any(fnmatchcase(name, table) and attribute == due for table, due in settings["tables"].items()):
        yield "ttl deletes items of a table, or by an attribute, that the setting `tables` does not list"
