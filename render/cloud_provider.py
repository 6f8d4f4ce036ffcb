"""Creates aws and gcp resources, and Helm releases, for a stack that is only shown and not deployed.

Outputs are the inputs, the values that follow from them and from the provider's configuration (region, account,
project), and placeholders for the rest. Types that are not listed here are refused by name.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from render.model import CreateResult, RecordedResource
from render.placeholders import HELM_RELEASE, complete, contains_placeholder, placeholder

_DEFAULT_DESCRIPTION: Final = "Managed by Pulumi"


def create(resource: RecordedResource, provider: RecordedResource | None) -> CreateResult:
    """The outputs of ``resource`` that its inputs and its ``provider`` determine, and placeholders for the others."""
    known = {**resource.inputs, **_DERIVED[resource.type](_Facts(resource, provider))}
    identity = known.pop("id", placeholder(resource, "id"))
    outputs, placeholders = dict(resource.inputs), {}
    for name, value in complete(resource, known).items():
        if not contains_placeholder(value):
            outputs[name] = value
        elif resource.inputs.get(name) != value:
            placeholders[name] = value
    return CreateResult(identity, outputs, placeholders=placeholders, complete=True)


def load_balancer_status(resource: RecordedResource) -> Mapping[str, Any]:
    """Placeholders for the address that the cluster gives to a Service of type LoadBalancer."""
    spec = resource.inputs.get("spec")
    if resource.inputs.get("kind") != "Service" or not isinstance(spec, Mapping) or spec.get("type") != "LoadBalancer":
        return {}
    path = ("status", "loadBalancer", "ingress", 0)
    ingress = {name: placeholder(resource, *path, name) for name in ("hostname", "ip")}
    return {"status": {"loadBalancer": {"ingress": [ingress]}}}


class _Facts:
    """The values that are known of a resource before its creation."""

    def __init__(self, resource: RecordedResource, provider: RecordedResource | None) -> None:
        self.resource = resource
        self._provider = provider

    def input(self, name: str, default: str | None = None) -> str:
        """The input ``name``, or the default, or the placeholder of the output of that name."""
        value = self.resource.inputs.get(name, default)
        return placeholder(self.resource, name) if value is None else str(value)

    def placeholder(self, *path: str) -> str:
        """The placeholder of an output."""
        return placeholder(self.resource, *path)

    @property
    def region(self) -> str:
        """The region of the resource, or of its provider."""
        return self._configured("region")

    @property
    def account(self) -> str:
        """The only account that the provider allows."""
        allowed = self._decoded("allowedAccountIds")
        if isinstance(allowed, list) and len(allowed) == 1:
            return str(allowed[0])
        return placeholder(self._provider or self.resource, "accountId")

    @property
    def project(self) -> str:
        """The project of the resource, or of its provider."""
        return self._configured("project")

    @property
    def partition(self) -> str:
        """The partition of the region (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html)."""
        prefixes = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}
        return next((name for prefix, name in prefixes.items() if self.region.startswith(prefix)), "aws")

    @property
    def domain(self) -> str:
        """The domain of the partition's endpoints."""
        return "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com"

    def arn(self, service: str, rest: str) -> str:
        """The ARN of a regional resource."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{rest}"

    def iam_arn(self, rest: str) -> str:
        """The ARN of an IAM resource, which has no region."""
        return f"arn:{self.partition}:iam::{self.account}:{rest}"

    def aws(self) -> dict[str, Any]:
        """The outputs that most aws resources have: the region, and the tags with the provider's default tags."""
        defaults = self._decoded("defaultTags")
        default_tags = defaults.get("tags") if isinstance(defaults, Mapping) else None
        return {"region": self.region, "tagsAll": {**(default_tags or {}), **self.resource.inputs.get("tags", {})}}

    def gcp(self) -> dict[str, Any]:
        """The outputs that most gcp resources have."""
        return {"project": self.project}

    def _configured(self, name: str) -> str:
        value = self.resource.inputs.get(name) or (self._provider.inputs.get(name) if self._provider else None)
        return str(value) if value else placeholder(self._provider or self.resource, name)

    def _decoded(self, name: str) -> Any:
        """An object or a list of the provider's configuration, which has the form of JSON text."""
        value = self._provider.inputs.get(name) if self._provider else None
        return json.loads(value) if isinstance(value, str) else value


# Derivations: one function for each type or group of types.
# ARNs: https://docs.aws.amazon.com/service-authorization/latest/reference/ (the resource types of each service).
# IDs: what `pulumi import` takes, in the documentation of each type.


def _table(facts: _Facts) -> dict[str, Any]:
    name = facts.input("name")
    return {**facts.aws(), "id": name, "name": name, "arn": facts.arn("dynamodb", f"table/{name}")}


def _bucket(facts: _Facts) -> dict[str, Any]:
    name = facts.input("bucket")
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
    """The configuration of a bucket. Its ID is the bucket's name, and the expected owner if there is one."""
    names = (facts.input("bucket"), str(facts.resource.inputs.get("expectedBucketOwner", "")))
    return {**facts.aws(), "id": ",".join(name for name in names if name)}


def _bucket_object(facts: _Facts) -> dict[str, Any]:
    path = f"{facts.input('bucket')}/{facts.input('key')}"
    return {**facts.aws(), "id": path, "arn": f"arn:{facts.partition}:s3:::{path}"}


def _key(facts: _Facts) -> dict[str, Any]:
    return {
        **facts.aws(),
        "id": facts.placeholder("keyId"),
        "arn": facts.arn("kms", f"key/{facts.placeholder('keyId')}"),
    }


def _alias(facts: _Facts) -> dict[str, Any]:
    name, key = facts.input("name"), facts.input("targetKeyId")
    target = key if key.startswith("arn:") else facts.arn("kms", f"key/{key}")
    return {**facts.aws(), "id": name, "name": name, "arn": facts.arn("kms", name), "targetKeyArn": target}


def _iam_entity(kind: str, *, id_is_arn: bool = False) -> Callable[[_Facts], dict[str, Any]]:
    def derive(facts: _Facts) -> dict[str, Any]:
        name, path = facts.input("name"), facts.input("path", "/")
        arn = facts.iam_arn(f"{kind}{path}{name}")
        return {**facts.aws(), "id": arn if id_is_arn else name, "name": name, "path": path, "arn": arn}

    return derive


def _inline_policy(owner: str) -> Callable[[_Facts], dict[str, Any]]:
    return lambda facts: {"id": f"{facts.input(owner)}:{facts.input('name')}", "name": facts.input("name")}


def _user_policy_attachment(facts: _Facts) -> dict[str, Any]:
    return {"id": f"{facts.input('user')}/{facts.input('policyArn')}"}


def _access_key(facts: _Facts) -> dict[str, Any]:
    return {"status": facts.input("status", "Active")}


def _association(facts: _Facts) -> dict[str, Any]:
    arn = facts.arn("eks", f"podidentityassociation/{facts.input('clusterName')}/{facts.placeholder('associationId')}")
    return {**facts.aws(), "id": facts.placeholder("associationId"), "associationArn": arn}


def _replication_group(facts: _Facts) -> dict[str, Any]:
    name = facts.input("replicationGroupId")
    name = name if contains_placeholder(name) else name.lower()
    return {
        **facts.aws(),
        "id": name,
        "replicationGroupId": name,
        "arn": facts.arn("elasticache", f"replicationgroup:{name}"),
        "engine": facts.input("engine", "redis"),
        "port": facts.resource.inputs.get("port", 6379),
    }


def _cache_group(kind: str) -> Callable[[_Facts], dict[str, Any]]:
    def derive(facts: _Facts) -> dict[str, Any]:
        name = facts.input("name")
        name = name if contains_placeholder(name) else name.lower()
        return {
            **facts.aws(),
            "id": name,
            "name": name,
            "arn": facts.arn("elasticache", f"{kind}:{name}"),
            "description": facts.input("description", _DEFAULT_DESCRIPTION),
        }

    return derive


def _security_group(facts: _Facts) -> dict[str, Any]:
    return {
        **facts.aws(),
        "arn": facts.arn("ec2", f"security-group/{facts.placeholder('id')}"),
        "ownerId": facts.account,
        "description": facts.input("description", _DEFAULT_DESCRIPTION),
    }


def _security_group_rule(facts: _Facts) -> dict[str, Any]:
    rule = facts.placeholder("securityGroupRuleId")
    return {**facts.aws(), "id": rule, "arn": facts.arn("ec2", f"security-group-rule/{rule}")}


def _record(facts: _Facts) -> dict[str, Any]:
    parts = [facts.input("zoneId"), facts.input("name"), facts.input("type")]
    return {"id": "_".join([*parts, *filter(None, [facts.resource.inputs.get("setIdentifier")])])}


def _bigtable_instance(facts: _Facts) -> dict[str, Any]:
    name = facts.input("name")
    return {
        **facts.gcp(),
        "id": f"projects/{facts.project}/instances/{name}",
        "name": name,
        "displayName": facts.input("displayName", name),
    }


def _bigtable_table(facts: _Facts) -> dict[str, Any]:
    name = facts.input("name")
    return {
        **facts.gcp(),
        "id": f"projects/{facts.project}/instances/{facts.input('instanceName')}/tables/{name}",
        "name": name,
    }


def _service_account(facts: _Facts) -> dict[str, Any]:
    # The host of a project of a domain (example.org:chat) reverses the order: chat.example.org.
    domain, _, project = facts.project.rpartition(":")
    host = facts.project if contains_placeholder(facts.project) else ".".join(filter(None, [project, domain]))
    email = f"{facts.input('accountId')}@{host}.iam.gserviceaccount.com"
    name = f"projects/{facts.project}/serviceAccounts/{email}"
    return {**facts.gcp(), "id": name, "name": name, "email": email, "member": f"serviceAccount:{email}"}


def _service_account_key(facts: _Facts) -> dict[str, Any]:
    """The placeholders of the key files have their form: base64 of JSON."""
    files = {name: json.dumps({"type": facts.placeholder(name)}) for name in ("privateKey", "publicKey")}
    encoded = {name: base64.b64encode(text.encode()).decode() for name, text in files.items()}
    return {"id": facts.placeholder("name"), "name": facts.placeholder("name"), **encoded}


def _release(facts: _Facts) -> dict[str, Any]:
    name, namespace = facts.input("name"), facts.input("namespace")
    return {"id": f"{namespace}/{name}", "name": name, "namespace": namespace}


_DERIVED: Final[Mapping[str, Callable[[_Facts], dict[str, Any]]]] = {
    "aws:dynamodb/table:Table": _table,
    "aws:ec2/securityGroup:SecurityGroup": _security_group,
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": _association,
    "aws:elasticache/parameterGroup:ParameterGroup": _cache_group("parametergroup"),
    "aws:elasticache/replicationGroup:ReplicationGroup": _replication_group,
    "aws:elasticache/subnetGroup:SubnetGroup": _cache_group("subnetgroup"),
    "aws:iam/accessKey:AccessKey": _access_key,
    "aws:iam/policy:Policy": _iam_entity("policy", id_is_arn=True),
    "aws:iam/role:Role": _iam_entity("role"),
    "aws:iam/rolePolicy:RolePolicy": _inline_policy("role"),
    "aws:iam/user:User": _iam_entity("user"),
    "aws:iam/userPolicy:UserPolicy": _inline_policy("user"),
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
    "gcp:bigtable/instanceIamMember:InstanceIamMember": _Facts.gcp,
    "gcp:bigtable/table:Table": _bigtable_table,
    "gcp:serviceaccount/account:Account": _service_account,
    "gcp:serviceaccount/iAMMember:IAMMember": _Facts.gcp,
    "gcp:serviceaccount/key:Key": _service_account_key,
    HELM_RELEASE: _release,
}

TYPES: Final = frozenset(_DERIVED)
"""The type tokens of the resources that can be shown."""
