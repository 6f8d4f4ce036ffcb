"""IAM: policies list actions and resources, roles name who can assume them, and access keys are replaced."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from policies.model import Properties, Resource, Stack, items, mapping, number, objects, parsed, text
from policies.rule import Setting, Settings, Violation, resource_rule, stack_rule, strings

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
PASSWORDS = ("aws:iam/userLoginProfile:UserLoginProfile", "aws:iam/sshKey:SshKey")


def statements_of(document: Any) -> list[Properties]:
    """The statements of a policy document, an object or its JSON. `Statement` is one statement or a list."""
    statements = mapping(parsed(document)).get("Statement")
    return [statements] if isinstance(statements, dict) else objects(statements)


def allowing(document: Any) -> Iterator[tuple[int, Properties]]:
    """The statements of a policy document that do not deny, with their places."""
    return (entry for entry in enumerate(statements_of(document)) if entry[1].get("Effect") != "Deny")


def strings_of(value: Any) -> list[str]:
    """A list of strings, from a string or a list of strings."""
    return [value] if isinstance(value, str) else [text(entry) for entry in items(value)]


def _documents(resource: Resource) -> Iterator[tuple[str, Any]]:
    if resource.type in POLICIES:
        yield "policy", resource.properties.get("policy")
    if resource.type == ROLE:
        for index, inline in enumerate(objects(resource.properties.get("inlinePolicies"))):
            yield f"inlinePolicies[{index}].policy", inline.get("policy")


@resource_rule(
    remedy="List the actions that the program calls, and the ARNs of the resources.",
    frameworks=("FSBP IAM.1", "FSBP IAM.21", "CKV_AWS_62", "CKV_AWS_63", "CKV_AWS_355", "CKV_AWS_356"),
)
def iam_wildcards(resource: Resource, settings: Settings) -> Iterator[str]:
    """Policies list each action and each resource."""
    for where, value in _documents(resource):
        if not statements_of(value):
            yield f"{where} is missing or not a policy document"
        for index, statement in allowing(value):
            for field in _wide_fields(statement):
                yield f"{where}: statement {index} has a wildcard in {field}"
    for where, arn in _attached(resource):
        if arn.split(":")[4:5] == ["aws"]:
            yield f"{where} is an AWS managed policy, which covers every resource of the account"


def _wide_fields(statement: Properties) -> Iterator[str]:
    if "NotAction" in statement:
        yield "NotAction"
    elif any("*" in action or "?" in action for action in strings_of(statement.get("Action")) or ["*"]):
        yield "Action"
    if "NotResource" in statement:
        yield "NotResource"
    elif any(_is_wide_arn(arn) for arn in strings_of(statement.get("Resource")) or ["*"]):
        yield "Resource"


def _is_wide_arn(arn: str) -> bool:
    """True if an ARN matches several resources (`*`, `table/*`, `table/a-*`), and not parts of one (`table/a/index/*`).

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html: the sixth part is the resource.
    """
    parts = arn.split(":", 5)
    if len(parts) < 6:
        return "*" in arn or "?" in arn or not arn
    service, name = parts[2], parts[5]
    kind, _, rest = name.partition("/" if "/" in name and ":" not in name.partition("/")[0] else ":")
    resource_id = kind if service == "s3" or not rest else re.split("[/:]", rest.lstrip("/"))[0]
    return any(sign in part for sign in "*?" for part in (*parts[:5], kind, resource_id))


def _attached(resource: Resource) -> Iterator[tuple[str, str]]:
    if resource.type in ATTACHMENTS:
        yield "policyArn", text(resource.properties.get("policyArn"))
    if resource.type == ROLE:
        for index, arn in enumerate(items(resource.properties.get("managedPolicyArns"))):
            yield f"managedPolicyArns[{index}]", text(arn)


DATA_ACTIONS = (
    "cloudwatch:PutMetricData",
    "dynamodb:BatchGetItem",
    "dynamodb:BatchWriteItem",
    "dynamodb:ConditionCheckItem",
    "dynamodb:DeleteItem",
    "dynamodb:DescribeTable",
    "dynamodb:DescribeTimeToLive",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:Scan",
    "dynamodb:UpdateItem",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "s3:AbortMultipartUpload",
    "s3:DeleteObject",
    "s3:GetBucketLocation",
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
    "s3:ListMultipartUploadParts",
    "s3:PutObject",
    "s3:PutObjectAcl",
)


@stack_rule(
    remedy="Remove the action; only Pulumi and operators change tables, buckets, keys and roles.",
    frameworks=("FSBP IAM.21", "CKV_AWS_286", "CKV_AWS_287", "CKV_AWS_289"),
    settings={"actions": strings("actions that a policy may allow", DATA_ACTIONS)},
)
def iam_data_only(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Policies allow pods only to read and write data of the stack's account, not to manage resources."""
    allowed = {action.lower() for action in settings["actions"]}  # IAM ignores case
    stack_account = own_account(stack)
    for resource in stack:
        for where, value in _documents(resource):
            for index, statement in allowing(value):
                for action in strings_of(statement.get("Action")):
                    if action.lower() not in allowed and "*" not in action and "?" not in action:
                        message = f"{where}: statement {index} allows more than reading and writing data"
                        yield Violation(message, resource, subject=action)
                        break
                accounts = {account_of(arn) for arn in strings_of(statement.get("Resource"))} - {"", "*"}
                if stack_account and accounts - {stack_account}:
                    yield Violation(f"{where}: statement {index} allows resources of another account", resource)


def account_of(arn: str) -> str:
    """The account in an ARN; empty if there is none, as in ARNs of S3."""
    parts = arn.split(":", 5)
    return parts[4] if len(parts) == 6 and parts[0] == "arn" and parts[4] != "aws" else ""


def own_account(stack: Stack) -> str:
    """The stack's account: the one that its provider allows, or else the account of most of its resources."""
    return stack.cached(_own_account)


def _own_account(stack: Stack) -> str:
    for provider in stack.typed("pulumi:providers:aws"):
        allowed = items(parsed(provider.properties.get("allowedAccountIds")))
        if len(allowed) == 1:
            return text(allowed[0])
    accounts = Counter(
        account
        for resource in stack
        if resource.type.startswith("aws:") and (account := account_of(text(resource.properties.get("arn"))))
    )
    return accounts.most_common(1)[0][0] if accounts else ""


ASSOCIATION = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
EKS = ("aws:RequestTag/kubernetes-namespace", "aws:RequestTag/kubernetes-service-account")


@stack_rule(
    remedy="Name the principal; compare account, cluster, namespace and service account with StringEquals.",
    frameworks=("FSBP IAM.21", "CKV_AWS_60", "CKV_AWS_61", "MITRE ATT&CK T1199"),
)
def iam_trust(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Only one service account of the stack can assume a role."""
    for role in stack.typed(ROLE):
        policy = role.properties.get("assumeRolePolicy")
        if not statements_of(policy):
            yield Violation("assumeRolePolicy is missing or not a policy document", role)
        for index, statement in allowing(policy):
            for message in _trusted(stack, role, statement):
                yield Violation(f"assumeRolePolicy: statement {index} {message}", role)
    for association in stack.typed(ASSOCIATION):
        place = text(association.properties.get("namespace")), text(association.properties.get("serviceAccount"))
        if stack.get("ServiceAccount", *place) is None:
            yield Violation("serviceAccount is not a service account of the stack", association)


def _trusted(stack: Stack, role: Resource, statement: Properties) -> Iterator[str]:
    principal, stack_account = statement.get("Principal"), own_account(stack)
    if "NotPrincipal" in statement or "NotAction" in statement:
        yield "uses NotPrincipal or NotAction"
    if not isinstance(principal, dict) or not principal:
        yield "trusts everybody, or has no principal"
        return
    for action in strings_of(statement.get("Action")) or ["*"]:
        if action not in ("sts:AssumeRole", "sts:TagSession", "sts:AssumeRoleWithWebIdentity"):
            yield "allows an action other than assuming the role"
            break
    for kind, value in principal.items():
        for principal_id in strings_of(value) or [""]:
            yield from _wide_principal(kind, principal_id, stack_account)
    yield from _conditions(stack, role, statement, principal)


def _wide_principal(kind: str, principal: str, stack_account: str) -> Iterator[str]:
    """Reports a principal other than one identity of the stack's account, or the service that pods use."""
    if "*" in principal or not principal:
        yield "trusts everybody"
    elif kind == "AWS":
        account = account_of(principal) or principal
        if stack_account and account != stack_account:
            yield "trusts another account"
        elif principal == account or principal.endswith(":root"):
            yield "trusts every identity of the account"
    elif kind == "Federated" and stack_account and account_of(principal) != stack_account:
        yield "trusts an identity provider of another account"
    elif kind == "Service" and principal != "pods.eks.amazonaws.com":
        yield "trusts an AWS service other than EKS Pod Identity"


def _exact(statement: Properties) -> dict[str, list[str]]:
    """The conditions that require exact values. Others (IfExists, ForAnyValue) are true for a missing key."""
    conditions = mapping(statement.get("Condition"))
    return {
        text(key): strings_of(value)
        for operator in ("StringEquals", "ArnEquals")
        for key, value in mapping(conditions.get(operator)).items()
    }


def _conditions(stack: Stack, role: Resource, statement: Properties, principal: Properties) -> Iterator[str]:
    exact = _exact(statement)
    if any(len(values) != 1 or "*" in value or "?" in value for values in exact.values() for value in values or [""]):
        yield "has a condition with several values or a wildcard"
    if "pods.eks.amazonaws.com" in strings_of(principal.get("Service")):
        yield from _pod_identity_conditions(stack, role, exact)
    elif "Federated" in principal:
        yield from _federated_conditions(stack, exact)


def _pod_identity_conditions(stack: Stack, role: Resource, exact: dict[str, list[str]]) -> Iterator[str]:
    if not {*EKS, "aws:RequestTag/eks-cluster-name", "aws:SourceAccount"} <= set(exact):
        yield "does not require an account, cluster, namespace and service account"
        return
    account = (exact[EKS[0]][0], exact[EKS[1]][0])
    stack_account = own_account(stack)
    if stack_account and exact["aws:SourceAccount"] != [stack_account]:
        yield "trusts pods of another account"
    for association in stack.typed(ASSOCIATION):
        if association.depends_on("roleArn", role.urn):
            properties = association.properties
            if (text(properties.get("namespace")), text(properties.get("serviceAccount"))) != account:
                yield "trusts another service account than its PodIdentityAssociation names"
    yield from _unknown_accounts(stack, {account})


def _federated_conditions(stack: Stack, exact: dict[str, list[str]]) -> Iterator[str]:
    subjects = [values for key, values in exact.items() if key.endswith(":sub")]
    if not subjects or not any(key.endswith(":aud") for key in exact):
        yield "does not require a service account and an audience"
        return
    parts = (subject.partition("system:serviceaccount:")[2].partition(":") for subject in subjects[0])
    yield from _unknown_accounts(stack, {(namespace, name) for namespace, _, name in parts})


def _unknown_accounts(stack: Stack, accounts: set[tuple[str, str]]) -> Iterator[str]:
    for namespace, name in accounts:
        if stack.get("ServiceAccount", namespace, name) is None:
            yield "trusts a service account outside of the stack"


@resource_rule(
    remedy="Use a role (IRSA, instance profile); if a key is necessary, list its user in `users`, and rotate it.",
    frameworks=("FSBP IAM.3", "CKV_AWS_273"),
    settings={
        "users": Setting(
            description="users that may have keys (patterns), each with the maximum age of a key in days",
            schema={"type": "object", "additionalProperties": {"type": "integer"}},
            default={},
        ),
        "today": Setting(
            description="the current date (ISO 8601); the clock's if empty", schema={"type": "string"}, default=""
        ),
    },
)
def iam_access_keys(resource: Resource, settings: Settings) -> Iterator[str]:
    """Only listed users have access keys, and no key exceeds its maximum age."""
    if resource.type in PASSWORDS:
        yield "is an SSH key or a console password of an IAM user"
    if resource.type != ACCESS_KEY:
        return
    user = text(resource.properties.get("user"))
    days = next((limit for name, limit in settings["users"].items() if fnmatchcase(user or resource.name, name)), None)
    if days is None:
        yield "is a long-lived key of a user that the setting `users` does not list"
        return
    limit, created = number(days), text(resource.properties.get("createDate"))
    if limit is None or limit <= 0:
        yield "has no maximum age"
    elif created and _age(created, text(settings["today"])) > limit:  # a new key has no date yet
        yield "is older than the maximum age of its user's keys"


def _age(created: str, today: str) -> float:
    """Whole days since a date. An unreadable date is older than any limit."""
    now = datetime.fromisoformat(today).replace(tzinfo=UTC) if today else datetime.now(UTC)
    try:
        return (now - datetime.fromisoformat(created).replace(tzinfo=UTC)).days
    except ValueError:
        return float("inf")
