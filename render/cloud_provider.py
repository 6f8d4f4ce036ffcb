"""Stands in for the aws and gcp providers, and for Helm, where a stack is shown and not deployed.

Outputs are the inputs, what follows from them and from the provider's configuration (region, account, project)
alone, and for everything else a text that says so: ``(known after creation: <type> <name> <output>)``. Which
outputs a type has, and of what shape, is read from the SDK's own resource classes, which are imported only
when a program has such a resource. Types that are not listed here are refused by name.
"""

from __future__ import annotations

import base64
import json
import typing
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any, Final

from pulumi import Output, _types

from render.recorder import Created, Path, Recorded, path_text

MARK: Final = "(known after creation: "
"""How every stand-in begins. Nothing real holds it."""

HELM_RELEASE: Final = "kubernetes:helm.sh/v3:Release"

_ENCODED_MARK: Final = base64.b64encode(f'{{"type": "{MARK}'.encode()[:30]).decode()
"""How the stand-in of a key file begins: 30 bytes, whose base64 does not depend on what follows."""

_SDK_MODULES: Final = {HELM_RELEASE: "pulumi_kubernetes.helm.v3"}
_DEFAULT_DESCRIPTION: Final = "Managed by Pulumi"


def known_after(resource: Recorded, *path: str | int) -> str:
    """The text in place of an output, or a part of one, that only creation can tell."""
    return f"{MARK}{resource.type} {resource.name} {path_text(path)})"


def is_stand_in(value: Any) -> bool:
    """Whether a stand-in is anywhere in a value."""
    if isinstance(value, Mapping):
        return any(is_stand_in(item) for pair in value.items() for item in pair)
    if isinstance(value, list):
        return any(is_stand_in(item) for item in value)
    return isinstance(value, str) and (MARK in value or _ENCODED_MARK in value)


def created(resource: Recorded, provider: Recorded | None) -> Created:
    """What creation would answer, as far as ``resource`` and its ``provider`` tell; stand-ins are in ``later``.

    Optional outputs that were not given as inputs are absent, as they are before anybody sets them.
    """
    known = {**resource.inputs, **_DERIVED[resource.type](_Facts(resource, provider))}
    identity = known.pop("id", known_after(resource, "id"))
    outputs, later = dict(resource.inputs), {}
    for name, (hint, optional) in _properties(_resource_class(resource.type)).items():
        if name not in known and optional:
            continue
        value = _shaped(known.get(name), hint, resource, (name,))
        if not is_stand_in(value):
            outputs[name] = value
        elif resource.inputs.get(name) != value:
            later[name] = value
    return Created(identity, outputs, later=later, complete=True)


def after_creation(resource: Recorded) -> Mapping[str, Any]:
    """What the cluster adds to an object, where a program may use it: the address of a load balancer."""
    spec = resource.inputs.get("spec")
    if resource.inputs.get("kind") != "Service" or not isinstance(spec, Mapping) or spec.get("type") != "LoadBalancer":
        return {}
    where = ("status", "loadBalancer", "ingress", 0)
    return {
        "status": {
            "loadBalancer": {"ingress": [{name: known_after(resource, *where, name) for name in ("hostname", "ip")}]}
        }
    }


# --- shapes, from the SDK -----------------------------------------------------------------------------------


def _resource_class(token: str) -> type:
    package, module, name = token.split(":")
    path = _SDK_MODULES.get(token) or f"pulumi_{package}.{module.partition('/')[0]}"
    found: type = getattr(import_module(path), name)
    return found


@cache
def _properties(cls: type) -> Mapping[str, tuple[Any, bool]]:
    """The outputs of a resource class, or the fields of an output type: type hint, and whether it may be absent."""
    hints = {name: _without_output(hint) for name, hint in _types._raw_return_hints(cls).items()}
    return {name: (_types.unwrap_optional_type(hint), _may_be_absent(hint)) for name, hint in hints.items()}


def _without_output(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Output else hint


def _may_be_absent(hint: Any) -> bool:
    return type(None) in typing.get_args(hint)


def _shaped(value: Any, hint: Any, resource: Recorded, path: Path) -> Any:
    """``value`` with what is missing in it filled in, or stand-ins in the shape of ``hint`` if there is none."""
    hint = _types.unwrap_optional_type(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, type) and _types.is_output_type(hint) and (value is None or isinstance(value, Mapping)):
        return _shaped_object(value, _properties(hint), resource, path)
    if value is None and origin is not None and issubclass(origin, Mapping):
        return {known_after(resource, *path): _shaped(None, arguments[1], resource, (*path, "*"))}
    if isinstance(value, list):
        item_hint = arguments[0] if arguments else Any
        return [_shaped(item, item_hint, resource, (*path, i)) for i, item in enumerate(value)]
    if value is None and origin is not None and issubclass(origin, typing.Sequence):
        return [_shaped(None, arguments[0], resource, (*path, 0))]
    return known_after(resource, *path) if value is None else value


def _shaped_object(
    value: Mapping[str, Any] | None, fields: Mapping[str, tuple[Any, bool]], resource: Recorded, path: Path
) -> dict[str, Any]:
    required = [name for name, (_, optional) in fields.items() if not optional]
    whole = dict.fromkeys(required or fields) if value is None else {**dict.fromkeys(required), **value}
    return {
        name: _shaped(item, fields[name][0], resource, (*path, name)) if name in fields else item
        for name, item in whole.items()
    }


# --- facts that inputs and the provider's configuration give -------------------------------------------------


class _Facts:
    """What is known of a resource before it is there."""

    def __init__(self, resource: Recorded, provider: Recorded | None) -> None:
        self.resource = resource
        self._provider = provider

    def given(self, name: str, default: str | None = None) -> str:
        """The input of a name, else the default, else the stand-in for the output of that name."""
        value = self.resource.inputs.get(name, default)
        return known_after(self.resource, name) if value is None else str(value)

    def later(self, *path: str) -> str:
        return known_after(self.resource, *path)

    @property
    def region(self) -> str:
        own = self.resource.inputs.get("region")
        return str(own) if own else self._configured("region")

    @property
    def account(self) -> str:
        """The one account that the provider may be used with."""
        allowed = self._decoded("allowedAccountIds")
        if isinstance(allowed, list) and len(allowed) == 1:
            return str(allowed[0])
        return known_after(self._provider or self.resource, "accountId")

    @property
    def project(self) -> str:
        own = self.resource.inputs.get("project")
        return str(own) if own else self._configured("project")

    @property
    def partition(self) -> str:
        """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html#arns-syntax"""
        prefixes = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}
        return next((name for prefix, name in prefixes.items() if self.region.startswith(prefix)), "aws")

    @property
    def domain(self) -> str:
        return "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com"

    def arn(self, service: str, rest: str) -> str:
        """The ARN of something in one region of the account."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{rest}"

    def iam_arn(self, rest: str) -> str:
        return f"arn:{self.partition}:iam::{self.account}:{rest}"

    def aws(self) -> dict[str, Any]:
        """What the aws provider gives to everything that has it: the region, and all tags."""
        default = self._decoded("defaultTags")
        inherited = default.get("tags") if isinstance(default, Mapping) else None
        return {"region": self.region, "tagsAll": {**(inherited or {}), **self.resource.inputs.get("tags", {})}}

    def gcp(self) -> dict[str, Any]:
        """What the gcp provider gives to everything that has it."""
        return {"project": self.project}

    def _configured(self, name: str) -> str:
        value = self._provider.inputs.get(name) if self._provider else None
        return str(value) if value else known_after(self._provider or self.resource, name)

    def _decoded(self, name: str) -> Any:
        """Providers take objects and lists as their JSON."""
        value = self._provider.inputs.get(name) if self._provider else None
        return json.loads(value) if isinstance(value, str) else value


# --- derivations: one function for each type or group of types ------------------------------------------------
# ARNs: https://docs.aws.amazon.com/service-authorization/latest/reference/ (the resource types of each service).
# IDs: what `pulumi import` takes, in the documentation of each type.


def _table(facts: _Facts) -> dict[str, Any]:
    name = facts.given("name")
    return {**facts.aws(), "id": name, "name": name, "arn": facts.arn("dynamodb", f"table/{name}")}


def _bucket(facts: _Facts) -> dict[str, Any]:
    name = facts.given("bucket")
    return {
        **facts.aws(),
        "id": name,
        "bucket": name,
        "arn": f"arn:{facts.partition}:s3:::{name}",
        "bucketDomainName": f"{name}.s3.{facts.domain}",
        "bucketRegion": facts.region,
        "bucketRegionalDomainName": f"{name}.s3.{facts.region}.{facts.domain}",
    }


def _of_bucket(facts: _Facts) -> dict[str, Any]:
    """What configures a bucket has the bucket's name as its ID, with the owner if that is expected."""
    names = (facts.given("bucket"), str(facts.resource.inputs.get("expectedBucketOwner", "")))
    return {**facts.aws(), "id": ",".join(name for name in names if name)}


def _bucket_object(facts: _Facts) -> dict[str, Any]:
    path = f"{facts.given('bucket')}/{facts.given('key')}"
    return {**facts.aws(), "id": path, "arn": f"arn:{facts.partition}:s3:::{path}"}


def _key(facts: _Facts) -> dict[str, Any]:
    return {**facts.aws(), "id": facts.later("keyId"), "arn": facts.arn("kms", f"key/{facts.later('keyId')}")}


def _alias(facts: _Facts) -> dict[str, Any]:
    name, key = facts.given("name"), facts.given("targetKeyId")
    target = key if key.startswith("arn:") else facts.arn("kms", f"key/{key}")
    return {**facts.aws(), "id": name, "name": name, "arn": facts.arn("kms", name), "targetKeyArn": target}


def _role(facts: _Facts) -> dict[str, Any]:
    name, path = facts.given("name"), facts.given("path", "/")
    arn = facts.iam_arn(f"role{path}{name}")
    return {**facts.aws(), "id": name, "name": name, "path": path, "arn": arn}


def _policy(facts: _Facts) -> dict[str, Any]:
    name, path = facts.given("name"), facts.given("path", "/")
    arn = facts.iam_arn(f"policy{path}{name}")
    return {**facts.aws(), "id": arn, "name": name, "path": path, "arn": arn}


def _user(facts: _Facts) -> dict[str, Any]:
    name, path = facts.given("name"), facts.given("path", "/")
    arn = facts.iam_arn(f"user{path}{name}")
    return {**facts.aws(), "id": name, "name": name, "path": path, "arn": arn}


def _role_policy(facts: _Facts) -> dict[str, Any]:
    return {"id": f"{facts.given('role')}:{facts.given('name')}", "name": facts.given("name")}


def _user_policy(facts: _Facts) -> dict[str, Any]:
    return {"id": f"{facts.given('user')}:{facts.given('name')}", "name": facts.given("name")}


def _user_policy_attachment(facts: _Facts) -> dict[str, Any]:
    return {"id": f"{facts.given('user')}/{facts.given('policyArn')}"}


def _access_key(facts: _Facts) -> dict[str, Any]:
    return {"status": facts.given("status", "Active")}


def _association(facts: _Facts) -> dict[str, Any]:
    arn = facts.arn("eks", f"podidentityassociation/{facts.given('clusterName')}/{facts.later('associationId')}")
    return {**facts.aws(), "id": facts.later("associationId"), "associationArn": arn}


def _replication_group(facts: _Facts) -> dict[str, Any]:
    name = facts.given("replicationGroupId")
    name = name if is_stand_in(name) else name.lower()
    return {
        **facts.aws(),
        "id": name,
        "replicationGroupId": name,
        "arn": facts.arn("elasticache", f"replicationgroup:{name}"),
        "engine": facts.given("engine", "redis"),
        "port": facts.resource.inputs.get("port", 6379),
    }


def _cache_group(kind: str) -> Callable[[_Facts], dict[str, Any]]:
    def derive(facts: _Facts) -> dict[str, Any]:
        name = facts.given("name")
        name = name if is_stand_in(name) else name.lower()
        return {
            **facts.aws(),
            "id": name,
            "name": name,
            "arn": facts.arn("elasticache", f"{kind}:{name}"),
            "description": facts.given("description", _DEFAULT_DESCRIPTION),
        }

    return derive


def _security_group(facts: _Facts) -> dict[str, Any]:
    return {
        **facts.aws(),
        "arn": facts.arn("ec2", f"security-group/{facts.later('id')}"),
        "ownerId": facts.account,
        "description": facts.given("description", _DEFAULT_DESCRIPTION),
    }


def _security_group_rule(facts: _Facts) -> dict[str, Any]:
    rule = facts.later("securityGroupRuleId")
    return {**facts.aws(), "id": rule, "arn": facts.arn("ec2", f"security-group-rule/{rule}")}


def _record(facts: _Facts) -> dict[str, Any]:
    parts = [facts.given("zoneId"), facts.given("name"), facts.given("type")]
    return {"id": "_".join([*parts, *filter(None, [facts.resource.inputs.get("setIdentifier")])])}


def _bigtable_instance(facts: _Facts) -> dict[str, Any]:
    name = facts.given("name")
    return {
        **facts.gcp(),
        "id": f"projects/{facts.project}/instances/{name}",
        "name": name,
        "displayName": facts.given("displayName", name),
    }


def _bigtable_table(facts: _Facts) -> dict[str, Any]:
    name = facts.given("name")
    return {
        **facts.gcp(),
        "id": f"projects/{facts.project}/instances/{facts.given('instanceName')}/tables/{name}",
        "name": name,
    }


def _service_account(facts: _Facts) -> dict[str, Any]:
    # A project of a domain (example.org:chat) has it in reverse: chat.example.org.
    domain, _, project = facts.project.rpartition(":")
    host = facts.project if is_stand_in(facts.project) else ".".join(filter(None, [project, domain]))
    email = f"{facts.given('accountId')}@{host}.iam.gserviceaccount.com"
    name = f"projects/{facts.project}/serviceAccounts/{email}"
    return {**facts.gcp(), "id": name, "name": name, "email": email, "member": f"serviceAccount:{email}"}


def _service_account_key(facts: _Facts) -> dict[str, Any]:
    """The keys are base64, the private one of JSON, and so are their stand-ins."""
    files = {name: json.dumps({"type": facts.later(name)}) for name in ("privateKey", "publicKey")}
    encoded = {name: base64.b64encode(text.encode()).decode() for name, text in files.items()}
    return {"id": facts.later("name"), "name": facts.later("name"), **encoded}


def _member(facts: _Facts) -> dict[str, Any]:
    return facts.gcp()


def _release(facts: _Facts) -> dict[str, Any]:
    name, namespace = facts.given("name"), facts.given("namespace")
    return {"id": f"{namespace}/{name}", "name": name, "namespace": namespace}


_DERIVED: Final[Mapping[str, Callable[[_Facts], dict[str, Any]]]] = {
    "aws:dynamodb/table:Table": _table,
    "aws:ec2/securityGroup:SecurityGroup": _security_group,
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": _association,
    "aws:elasticache/parameterGroup:ParameterGroup": _cache_group("parametergroup"),
    "aws:elasticache/replicationGroup:ReplicationGroup": _replication_group,
    "aws:elasticache/subnetGroup:SubnetGroup": _cache_group("subnetgroup"),
    "aws:iam/accessKey:AccessKey": _access_key,
    "aws:iam/policy:Policy": _policy,
    "aws:iam/role:Role": _role,
    "aws:iam/rolePolicy:RolePolicy": _role_policy,
    "aws:iam/user:User": _user,
    "aws:iam/userPolicy:UserPolicy": _user_policy,
    "aws:iam/userPolicyAttachment:UserPolicyAttachment": _user_policy_attachment,
    "aws:kms/alias:Alias": _alias,
    "aws:kms/key:Key": _key,
    "aws:route53/record:Record": _record,
    "aws:s3/bucket:Bucket": _bucket,
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": _of_bucket,
    "aws:s3/bucketObjectv2:BucketObjectv2": _bucket_object,
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": _of_bucket,
    "aws:s3/bucketPolicy:BucketPolicy": _of_bucket,
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _of_bucket,
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": _of_bucket,
    "aws:s3/bucketVersioning:BucketVersioning": _of_bucket,
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _security_group_rule,
    "gcp:bigtable/instance:Instance": _bigtable_instance,
    "gcp:bigtable/instanceIamMember:InstanceIamMember": _member,
    "gcp:bigtable/table:Table": _bigtable_table,
    "gcp:serviceaccount/account:Account": _service_account,
    "gcp:serviceaccount/iAMMember:IAMMember": _member,
    "gcp:serviceaccount/key:Key": _service_account_key,
    HELM_RELEASE: _release,
}

TYPES: Final = frozenset(_DERIVED)
"""The type tokens of what can be stood in for."""
