"""IAM: grants are spelled out, and no key lives for ever."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from policies.model import Properties, Resource, Stack, items, mapping, number, objects, text
from policies.rule import ResourceRule, Setting, Settings, StackRule, Violation, strings

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
        if arn.split(":")[4:5] == ["aws"]:
            yield Violation(message=f"{where} is a policy of AWS, which is for every resource of the account")


def _wide_fields(statement: Properties) -> Iterator[str]:
    if "NotAction" in statement:
        yield "NotAction"
    elif any("*" in action or "?" in action for action in several(statement.get("Action")) or ["*"]):
        yield "Action"
    if "NotResource" in statement:
        yield "NotResource"
    elif any(_is_wide_arn(arn) for arn in several(statement.get("Resource")) or ["*"]):
        yield "Resource"


def _is_wide_arn(arn: str) -> bool:
    """Whether an ARN means several things (`*`, `table/*`, `table/a-*`), not several in one (`table/a/index/*`).

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html: the sixth part is the resource.
    """
    parts = arn.split(":", 5)
    if len(parts) < 6:
        return "*" in arn or "?" in arn or not arn
    service, name = parts[2], parts[5]
    kind, _, rest = name.partition("/" if "/" in name and ":" not in name.partition("/")[0] else ":")
    own = kind if service == "s3" or not rest else re.split("[/:]", rest.lstrip("/"))[0]
    return any(sign in part for sign in "*?" for part in (*parts[:5], kind, own))


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


def _actions(stack: Stack, settings: Settings) -> Iterator[Violation]:
    allowed = {action.lower() for action in settings["actions"]}  # IAM does not tell cases apart
    own = own_account(stack)
    for resource in stack:
        for where, value in _documents(resource):
            for index, statement in enumerate(statements_of(document_of(value))):
                if statement.get("Effect") == "Deny":
                    continue
                for action in several(statement.get("Action")):
                    if action.lower() not in allowed and "*" not in action and "?" not in action:
                        message = f"{where}: statement {index} allows more than to read and write data"
                        yield Violation(message=message, resource=resource, subject=action)
                        break
                accounts = {account_of(arn) for arn in several(statement.get("Resource"))} - {"", "*"}
                if own and accounts - {own}:
                    message = f"{where}: statement {index} is for resources of another account"
                    yield Violation(message=message, resource=resource)


def account_of(arn: str) -> str:
    """The account in an ARN; empty where there is none, as in those of S3."""
    parts = arn.split(":", 5)
    return parts[4] if len(parts) == 6 and parts[0] == "arn" and parts[4] != "aws" else ""


def own_account(stack: Stack) -> str:
    """The account that a stack is in: what its provider allows, or else where most of its resources are."""
    return stack.kept(_own_account)


def _own_account(stack: Stack) -> str:
    for provider in stack.typed("pulumi:providers:aws"):
        allowed = provider.properties.get("allowedAccountIds")
        if isinstance(allowed, str):
            try:
                allowed = json.loads(allowed)
            except ValueError:
                allowed = []
        if len(items(allowed)) == 1:
            return text(items(allowed)[0])
    found = Counter(
        account
        for resource in stack
        if resource.type.startswith("aws:") and (account := account_of(text(resource.properties.get("arn"))))
    )
    return found.most_common(1)[0][0] if found else ""


ACTIONS = StackRule(
    name="iam-data-only",
    description="Pods may read and write data of the stack's account; nothing gives rights, keys or other roles away.",
    frameworks=("FSBP IAM.21", "CKV_AWS_286", "CKV_AWS_287", "CKV_AWS_289"),
    remedy="Take the action out; what changes tables, buckets, keys and roles is for Pulumi and for people.",
    settings={"actions": strings("actions that a policy may allow", DATA_ACTIONS)},
    check=_actions,
)

ASSOCIATION = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
EKS = ("aws:RequestTag/kubernetes-namespace", "aws:RequestTag/kubernetes-service-account")


def _trust(stack: Stack, settings: Settings) -> Iterator[Violation]:
    for role in stack.typed(ROLE):
        statements = statements_of(document_of(role.properties.get("assumeRolePolicy")))
        if not statements:
            yield Violation(message="assumeRolePolicy is missing, or no policy document", resource=role)
        for index, statement in enumerate(statements):
            if statement.get("Effect") != "Deny":
                for message in _believed(stack, role, statement):
                    yield Violation(message=f"assumeRolePolicy: statement {index} {message}", resource=role)
    for association in stack.typed(ASSOCIATION):
        place = text(association.properties.get("namespace")), text(association.properties.get("serviceAccount"))
        if stack.get("ServiceAccount", *place) is None:
            yield Violation(message="serviceAccount is none of the stack's", resource=association)


def _believed(stack: Stack, role: Resource, statement: Properties) -> Iterator[str]:
    principal, own = statement.get("Principal"), own_account(stack)
    if "NotPrincipal" in statement or "NotAction" in statement:
        yield "leaves out instead of naming"
    if not isinstance(principal, dict) or not principal:
        yield "believes everybody, or names nobody"
        return
    for action in several(statement.get("Action")) or ["*"]:
        if action not in ("sts:AssumeRole", "sts:TagSession", "sts:AssumeRoleWithWebIdentity"):
            yield "allows another action than to take the role"
            break
    for kind, value in principal.items():
        for who in several(value) or [""]:
            if "*" in who or not who:
                yield "believes everybody"
            elif kind == "AWS":
                account = account_of(who) or who
                if own and account != own:
                    yield "believes another account"
                elif who == account or who.endswith(":root"):
                    yield "believes everybody in the account"
            elif kind == "Federated" and own and account_of(who) != own:
                yield "believes an issuer of another account"
            elif kind == "Service" and who != "pods.eks.amazonaws.com":
                yield "believes another service of AWS than the one that pods ask"
    yield from _conditions(stack, role, statement, principal)


def _exact(statement: Properties) -> dict[str, list[str]]:
    """The conditions that hold for one value exactly. IfExists and ForAnyValue pass where there is nothing."""
    conditions = mapping(statement.get("Condition"))
    return {
        text(key): several(value)
        for operator in ("StringEquals", "ArnEquals")
        for key, value in mapping(conditions.get(operator)).items()
    }


def _conditions(stack: Stack, role: Resource, statement: Properties, principal: Properties) -> Iterator[str]:
    exact = _exact(statement)
    if any(len(values) != 1 or "*" in value or "?" in value for values in exact.values() for value in values or [""]):
        yield "has a condition with several values or a wildcard"
    accounts: set[tuple[str, str]] = set()
    if "pods.eks.amazonaws.com" in several(principal.get("Service")):
        if not {*EKS, "aws:RequestTag/eks-cluster-name", "aws:SourceAccount"} <= set(exact):
            yield "does not say for which account, cluster, namespace and service account"
            return
        accounts = {(exact[EKS[0]][0], exact[EKS[1]][0])}
        own = own_account(stack)
        if own and exact["aws:SourceAccount"] != [own]:
            yield "is for pods of another account"
        for association in stack.typed(ASSOCIATION):
            if association.depends_on("roleArn", role.urn):
                given = association.properties
                if (text(given.get("namespace")), text(given.get("serviceAccount"))) not in accounts:
                    yield "is for another service account than its PodIdentityAssociation"
    elif "Federated" in principal:
        subjects = [values for key, values in exact.items() if key.endswith(":sub")]
        if not subjects or not any(key.endswith(":aud") for key in exact):
            yield "does not say for which service account and audience"
            return
        for subject in subjects[0]:
            _, _, rest = subject.partition("system:serviceaccount:")
            namespace, _, name = rest.partition(":")
            accounts.add((namespace, name))
    for place in accounts:
        if stack.get("ServiceAccount", *place) is None:
            yield "is for a service account that is none of the stack's"


TRUST = StackRule(
    name="iam-trust",
    description="A role can be taken by one service account of the stack.",
    frameworks=("FSBP IAM.21", "CKV_AWS_60", "CKV_AWS_61", "MITRE ATT&CK T1199"),
    remedy="Name the principal; compare account, cluster, namespace and service account with StringEquals.",
    check=_trust,
)

DATE_FORMS = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S%z")


def _access_keys(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if resource.type in PASSWORDS:
        yield Violation(message="is a key or a password of an account that pods and people share")
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

RULES = (WILDCARDS, ACTIONS, TRUST, ACCESS_KEYS)
