"""IAM: grants are spelled out, and no key lives for ever."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from policies.model import Properties, Resource, items, mapping, number, objects, text
from policies.rule import ResourceRule, Setting, Settings, Violation

POLICIES = (
    "aws:iam/policy:Policy",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/userPolicy:UserPolicy",
    "aws:iam/groupPolicy:GroupPolicy",
)
ATTACHMENTS = (
    "aws:iam/policyAttachment:PolicyAttachment",
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    "aws:iam/userPolicyAttachment:UserPolicyAttachment",
    "aws:iam/groupPolicyAttachment:GroupPolicyAttachment",
)
ROLE = "aws:iam/role:Role"
ACCESS_KEY = "aws:iam/accessKey:AccessKey"


def document_of(value: Any) -> Properties:
    """A policy document, which is an object or its JSON; empty if it is neither."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return mapping(value)


def statements_of(document: Properties) -> list[Properties]:
    """The statements of a policy document, which has one or a list of them."""
    found = document.get("Statement")
    return [found] if isinstance(found, dict) else objects(found)


def several(value: Any) -> list[str]:
    """A text or a list of texts, as a list."""
    return [value] if isinstance(value, str) else [text(entry) for entry in items(value)]


def _documents(resource: Resource) -> Iterator[tuple[str, Any]]:
    if resource.type in POLICIES:
        yield "policy", resource.properties.get("policy")
    if resource.type == ROLE:
        for index, inline in enumerate(objects(resource.properties.get("inlinePolicies"))):
            yield f"inlinePolicies[{index}].policy", inline.get("policy")


def _wildcards(resource: Resource, settings: Settings) -> Iterator[Violation]:
    for where, value in _documents(resource):
        statements = statements_of(document_of(value))
        if not statements:
            yield Violation(message=f"{where} is missing, or no policy document")
        for index, statement in enumerate(statements):
            if statement.get("Effect") == "Deny":
                continue
            for field in _wide_fields(statement):
                yield Violation(message=f"{where}: statement {index} has a wildcard as {field}")
    for where, arn in _attached(resource):
        if arn.endswith(("/AdministratorAccess", "/PowerUserAccess", "/IAMFullAccess")) or "FullAccess" in arn:
            yield Violation(message=f"{where} is a policy of AWS that allows everything")


def _wide_fields(statement: Properties) -> Iterator[str]:
    if "NotAction" in statement:
        yield "NotAction"
    elif any(action == "*" or action.endswith(":*") for action in several(statement.get("Action")) or ["*"]):
        yield "Action"
    if "NotResource" in statement:
        yield "NotResource"
    elif any(_is_wide_arn(arn) for arn in several(statement.get("Resource")) or ["*"]):
        yield "Resource"


def _is_wide_arn(arn: str) -> bool:
    """Whether an ARN means everything of a service (`*`, `table/*`), not everything in one thing (`table/a/index/*`).

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html: the sixth part is the resource.
    """
    parts = arn.split(":", 5)
    if len(parts) < 6:
        return "*" in arn or not arn
    service, name = parts[2], parts[5]
    head, _, rest = name.partition("/" if "/" in name else ":")
    return head.startswith("*") or (service != "s3" and rest == "*" and service != "logs")


def _attached(resource: Resource) -> Iterator[tuple[str, str]]:
    if resource.type in ATTACHMENTS:
        yield "policyArn", text(resource.properties.get("policyArn"))
    if resource.type == ROLE:
        for index, arn in enumerate(items(resource.properties.get("managedPolicyArns"))):
            yield f"managedPolicyArns[{index}]", text(arn)


WILDCARDS = ResourceRule(
    name="iam-wildcards",
    description="Policies name each action, and the resources that it is for.",
    frameworks=("FSBP IAM.1", "FSBP IAM.21", "CKV_AWS_62", "CKV_AWS_63", "CKV_AWS_355", "CKV_AWS_356"),
    remedy="Write out the actions that are called and the ARNs of the resources.",
    check=_wildcards,
)

DATE_FORMS = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S%z")


def _access_keys(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if resource.type != ACCESS_KEY:
        return
    user = text(resource.properties.get("user"))
    days = next((limit for name, limit in settings["users"].items() if fnmatchcase(user or resource.name, name)), None)
    if days is None:
        yield Violation(message="is a long-lived key of a user that may not have one")
        return
    limit, created = number(days), text(resource.properties.get("createDate"))
    if limit is None or limit <= 0:
        yield Violation(message="has no age at which it must be replaced")
    elif created and _age(created, text(settings["today"])) > limit:  # one that is being made has no date yet
        yield Violation(message="is older than its user's keys may be")


def _age(created: str, today: str) -> float:
    """Whole days since a date; a date that cannot be read is older than any limit."""
    now = datetime.fromisoformat(today).replace(tzinfo=UTC) if today else datetime.now(UTC)
    for form in DATE_FORMS:
        try:
            return (now - datetime.strptime(created, form).replace(tzinfo=UTC)).days
        except ValueError:
            continue
    return float("inf")


ACCESS_KEYS = ResourceRule(
    name="iam-access-keys",
    description="Only named users have access keys, and those are replaced before they are old.",
    frameworks=("FSBP IAM.3", "CKV_AWS_273"),
    remedy="Use a role (IRSA, instance profile); where only a key will do, name the user and the age, and rotate it.",
    settings={
        "users": Setting(
            description="users that may have a key (patterns), with the greatest age of one in days",
            schema={"type": "object", "additionalProperties": {"type": "integer"}},
            default={},
        ),
        "today": Setting(
            description="the date to count from (ISO 8601); today if empty", schema={"type": "string"}, default=""
        ),
    },
    check=_access_keys,
)

RULES = (WILDCARDS, ACCESS_KEYS)
