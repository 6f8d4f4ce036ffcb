"""The rest of AWS: keys rotate, caches are encrypted and ask who is there, everything is tagged."""

import json
from collections.abc import Iterator

from policies.model import Resource, Stack, items, mapping, text
from policies.rule import ResourceRule, Settings, StackRule, Violation, strings

KEY = "aws:kms/key:Key"


def _rotation(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if resource.type != KEY:
        return
    symmetric = resource.properties.get("customerMasterKeySpec") in (None, "SYMMETRIC_DEFAULT")
    if symmetric and resource.properties.get("enableKeyRotation") is not True:
        yield Violation(message="enableKeyRotation is not true")


KMS_ROTATION = ResourceRule(
    name="kms-rotation",
    description="AWS replaces the material of each symmetric key every year.",
    frameworks=("Security Hub KMS.4", "CKV_AWS_7"),
    remedy="Set enableKeyRotation to true.",
    check=_rotation,
)

GROUP = "aws:elasticache/replicationGroup:ReplicationGroup"
CLUSTER = "aws:elasticache/cluster:Cluster"
SERVERLESS = "aws:elasticache/serverlessCache:ServerlessCache"


def _transit(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if resource.type in (GROUP, CLUSTER) and not _is_member(resource):
        if resource.properties.get("transitEncryptionEnabled") is not True:
            yield Violation(message="transitEncryptionEnabled is not true")
        elif resource.properties.get("transitEncryptionMode") == "preferred":
            yield Violation(message="transitEncryptionMode lets clients connect without TLS")


def _is_member(resource: Resource) -> bool:
    """Whether a cluster belongs to a replication group, which has the settings."""
    return resource.type == CLUSTER and bool(text(resource.properties.get("replicationGroupId")))


ELASTICACHE_TRANSIT = ResourceRule(
    name="elasticache-transit",
    description="Clients and nodes of a cache speak TLS.",
    frameworks=("FSBP ElastiCache.5", "CKV_AWS_30"),
    remedy="Set transitEncryptionEnabled to true, and transitEncryptionMode to required.",
    check=_transit,
)


def _rest(resource: Resource, settings: Settings) -> Iterator[Violation]:
    if resource.type == GROUP and resource.properties.get("atRestEncryptionEnabled") is not True:
        yield Violation(message="atRestEncryptionEnabled is not true")
    if resource.type == CLUSTER and not _is_member(resource):
        yield Violation(message="a cluster without a replication group cannot be encrypted at rest")


ELASTICACHE_REST = ResourceRule(
    name="elasticache-rest",
    description="What a cache writes to disk is encrypted.",
    frameworks=("FSBP ElastiCache.4", "CKV_AWS_29"),
    remedy="Use a ReplicationGroup with atRestEncryptionEnabled true.",
    check=_rest,
)


def _authentication(resource: Resource, settings: Settings) -> Iterator[Violation]:
    properties = resource.properties
    if resource.type == GROUP and not (
        _given(resource, "authToken") or _given(resource, "authTokenWo") or items(properties.get("userGroupIds"))
    ):
        yield Violation(message="has neither authToken nor userGroupIds: everybody who reaches it may use it")
    if resource.type == SERVERLESS and not text(properties.get("userGroupId")):
        yield Violation(message="has no userGroupId: everybody who reaches it may use it")
    if resource.type == CLUSTER and not _is_member(resource):
        yield Violation(message="a cluster without a replication group asks nobody who it is")


def _given(resource: Resource, name: str) -> bool:
    return resource.properties.get(name) not in (None, "")


ELASTICACHE_AUTHENTICATION = ResourceRule(
    name="elasticache-authentication",
    description="A cache demands a password or a user.",
    frameworks=("FSBP ElastiCache.6", "CKV_AWS_31"),
    remedy="Set authToken, or userGroupIds with users that have passwords.",
    check=_authentication,
)

TAGGED = frozenset(
    {
        "aws:dynamodb/table:Table",
        "aws:elasticache/replicationGroup:ReplicationGroup",
        "aws:elasticache/serverlessCache:ServerlessCache",
        "aws:elasticache/subnetGroup:SubnetGroup",
        "aws:iam/policy:Policy",
        "aws:iam/role:Role",
        "aws:iam/user:User",
        "aws:kms/key:Key",
        "aws:s3/bucket:Bucket",
        "aws:s3/bucketV2:BucketV2",
        "aws:secretsmanager/secret:Secret",
        "aws:cloudfront/distribution:Distribution",
    }
)


def _tags(stack: Stack, settings: Settings) -> Iterator[Violation]:
    providers = {resource.urn: _default_tags(resource) for resource in stack if resource.type == "pulumi:providers:aws"}
    for resource in stack:
        if resource.type in TAGGED:
            given = {
                **providers.get(resource.provider or "", {}),
                **mapping(resource.properties.get("tagsAll")),
                **mapping(resource.properties.get("tags")),
            }
            for name in settings["tags"]:
                if not text(given.get(name)):
                    yield Violation(message=f"the tag {name} is missing", resource=resource)


def _default_tags(provider: Resource) -> dict[str, object]:
    """The tags that a provider gives to everything. Providers take objects as their JSON."""
    value = provider.properties.get("defaultTags")
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = {}
    return dict(mapping(mapping(value).get("tags")))


TAGS = StackRule(
    name="aws-tags",
    description="Each resource of AWS says by tags what it belongs to.",
    frameworks=("FSBP Tagging", "Well-Architected COST03"),
    remedy="Set defaultTags on the provider.",
    settings={"tags": strings("the tags that must be there", ("project", "stack"))},
    check=_tags,
)

RULES = (KMS_ROTATION, ELASTICACHE_TRANSIT, ELASTICACHE_REST, ELASTICACHE_AUTHENTICATION, TAGS)
