"""An example of each type of cloud resource, with the outputs that are known before its creation."""

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_gcp as gcp
import pulumi_kubernetes as kubernetes
from pulumi import CustomResource, ResourceOptions, _types

from render.model import Recording
from tests.unit.render.programs import Providers, run

ACCOUNT, REGION, PROJECT = "123456789012", "eu-central-1", "chat-example"
TRUST = json.dumps({"Version": "2012-10-17", "Statement": []})


class Clouds(Providers):
    """Providers with the configuration of a cloud stack."""

    def __init__(self) -> None:
        super().__init__()
        self.aws = ResourceOptions(
            provider=aws.Provider(
                "aws",
                region=REGION,
                allowed_account_ids=[ACCOUNT],
                default_tags=aws.ProviderDefaultTagsArgs(tags={"project": "flatline"}),
            )
        )
        self.gcp = ResourceOptions(provider=gcp.Provider("gcp", project=PROJECT))


def in_clouds(program: Callable[[Clouds], object]) -> Recording:
    return run(lambda: program(Clouds()) and None)


@dataclass(frozen=True)
class Example:
    """A resource named `it`, its exact outputs, and the names of outputs that are placeholders or secret."""

    make: Callable[[Clouds], CustomResource]
    id: str | None
    exact: Mapping[str, Any] = field(default_factory=dict)
    placeholders: tuple[str, ...] = ()
    secret: tuple[str, ...] = ()


def _of_bucket(make: Callable[..., CustomResource], **arguments: Any) -> Example:
    return Example(lambda clouds: make("it", bucket="avatars", **arguments, opts=clouds.aws), "avatars")


def arn(service: str, rest: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{rest}"


def iam_arn(rest: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:{rest}"


INSTANCE = f"projects/{PROJECT}/instances/groups"
EMAIL = f"storage-pods@{PROJECT}.iam.gserviceaccount.com"
SERVICE_ACCOUNT = f"projects/{PROJECT}/serviceAccounts/{EMAIL}"

EXAMPLES: dict[str, Example] = {
    "aws:dynamodb/table:Table": Example(
        lambda clouds: aws.dynamodb.Table(
            "it",
            name="prod-Accounts",
            hash_key="U",
            attributes=[aws.dynamodb.TableAttributeArgs(name="U", type="B")],
            billing_mode="PAY_PER_REQUEST",
            tags={"data": "accounts"},
            opts=clouds.aws,
        ),
        "prod-Accounts",
        {
            "arn": arn("dynamodb", "table/prod-Accounts"),
            "region": REGION,
            "tagsAll": {"project": "flatline", "data": "accounts"},
        },
        ("streamArn",),
    ),
    "aws:ec2/securityGroup:SecurityGroup": Example(
        lambda clouds: aws.ec2.SecurityGroup("it", name="caches", vpc_id="vpc-given", opts=clouds.aws),
        None,
        {"ownerId": ACCOUNT, "description": "Managed by Pulumi", "vpcId": "vpc-given"},
        ("arn",),
    ),
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": Example(
        lambda clouds: aws.eks.PodIdentityAssociation(
            "it",
            cluster_name="home",
            namespace="flatline",
            service_account="whisper",
            role_arn=iam_arn("role/whisper"),
            opts=clouds.aws,
        ),
        None,
        {"clusterName": "home"},
        ("associationArn", "associationId"),
    ),
    "aws:elasticache/parameterGroup:ParameterGroup": Example(
        lambda clouds: aws.elasticache.ParameterGroup("it", name="Flatline", family="valkey8", opts=clouds.aws),
        "flatline",
        {"name": "flatline", "arn": arn("elasticache", "parametergroup:flatline")},
    ),
    "aws:elasticache/replicationGroup:ReplicationGroup": Example(
        lambda clouds: aws.elasticache.ReplicationGroup(
            "it",
            replication_group_id="Prod-Redis",
            description="Whisper's caches",
            auth_token="not-a-real-token-of-a-cache",
            opts=clouds.aws,
        ),
        "prod-redis",
        {
            "replicationGroupId": "prod-redis",
            "arn": arn("elasticache", "replicationgroup:prod-redis"),
            "engine": "redis",
            "port": 6379,
        },
        ("configurationEndpointAddress", "primaryEndpointAddress", "readerEndpointAddress", "memberClusters"),
        ("authToken",),
    ),
    "aws:elasticache/subnetGroup:SubnetGroup": Example(
        lambda clouds: aws.elasticache.SubnetGroup("it", name="Flatline", subnet_ids=["subnet-a"], opts=clouds.aws),
        "flatline",
        {"name": "flatline", "arn": arn("elasticache", "subnetgroup:flatline"), "description": "Managed by Pulumi"},
        ("vpcId",),
    ),
    "aws:iam/accessKey:AccessKey": Example(
        lambda clouds: aws.iam.AccessKey("it", user="uploader", opts=clouds.aws),
        None,
        {"status": "Active", "user": "uploader"},
        ("secret", "sesSmtpPasswordV4", "createDate"),
        ("secret", "sesSmtpPasswordV4"),
    ),
    "aws:iam/policy:Policy": Example(
        lambda clouds: aws.iam.Policy("it", name="read", path="/flatline/", policy=TRUST, opts=clouds.aws),
        iam_arn("policy/flatline/read"),
        {"arn": iam_arn("policy/flatline/read")},
        ("policyId",),
    ),
    "aws:iam/role:Role": Example(
        lambda clouds: aws.iam.Role("it", name="whisper", assume_role_policy=TRUST, opts=clouds.aws),
        "whisper",
        {"arn": iam_arn("role/whisper"), "path": "/"},
        ("uniqueId", "createDate"),
    ),
    "aws:iam/rolePolicy:RolePolicy": Example(
        lambda clouds: aws.iam.RolePolicy("it", name="tables", role="whisper", policy=TRUST, opts=clouds.aws),
        "whisper:tables",
        {"policy": TRUST},
    ),
    "aws:iam/user:User": Example(
        lambda clouds: aws.iam.User("it", name="uploader", opts=clouds.aws),
        "uploader",
        {"arn": iam_arn("user/uploader")},
        ("uniqueId",),
    ),
    "aws:iam/userPolicy:UserPolicy": Example(
        lambda clouds: aws.iam.UserPolicy("it", name="put", user="uploader", policy=TRUST, opts=clouds.aws),
        "uploader:put",
    ),
    "aws:iam/userPolicyAttachment:UserPolicyAttachment": Example(
        lambda clouds: aws.iam.UserPolicyAttachment(
            "it", user="uploader", policy_arn=iam_arn("policy/put"), opts=clouds.aws
        ),
        f"uploader/{iam_arn('policy/put')}",
    ),
    "aws:kms/alias:Alias": Example(
        lambda clouds: aws.kms.Alias(
            "it", name="alias/flatline", target_key_id=arn("kms", "key/given"), opts=clouds.aws
        ),
        "alias/flatline",
        {"arn": arn("kms", "alias/flatline"), "targetKeyArn": arn("kms", "key/given")},
    ),
    "aws:kms/key:Key": Example(
        lambda clouds: aws.kms.Key("it", enable_key_rotation=True, opts=clouds.aws),
        None,
        {"enableKeyRotation": True, "region": REGION},
        ("arn", "keyId"),
    ),
    "aws:route53/record:Record": Example(
        lambda clouds: aws.route53.Record(
            "it", zone_id="Z123", name="whisper.example.org", type="CNAME", ttl=60, records=["a.b"], opts=clouds.aws
        ),
        "Z123_whisper.example.org_CNAME",
        {"ttl": 60},
        ("fqdn",),
    ),
    "aws:s3/bucket:Bucket": Example(
        lambda clouds: aws.s3.Bucket("it", bucket="avatars", opts=clouds.aws),
        "avatars",
        {
            "arn": "arn:aws:s3:::avatars",
            "bucketDomainName": "avatars.s3.amazonaws.com",
            "bucketRegionalDomainName": f"avatars.s3.{REGION}.amazonaws.com",
            "bucketRegion": REGION,
        },
        ("hostedZoneId",),
    ),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": _of_bucket(
        aws.s3.BucketLifecycleConfiguration,
        rules=[aws.s3.BucketLifecycleConfigurationRuleArgs(id="abort", status="Enabled")],
    ),
    "aws:s3/bucketObjectv2:BucketObjectv2": Example(
        lambda clouds: aws.s3.BucketObjectv2("it", bucket="config", key="a/b.yaml", content="a: 1\n", opts=clouds.aws),
        "config/a/b.yaml",
        {"arn": "arn:aws:s3:::config/a/b.yaml"},
        ("etag", "versionId"),
    ),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": _of_bucket(
        aws.s3.BucketOwnershipControls,
        rule=aws.s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
    ),
    "aws:s3/bucketPolicy:BucketPolicy": _of_bucket(aws.s3.BucketPolicy, policy=TRUST),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _of_bucket(
        aws.s3.BucketPublicAccessBlock, block_public_acls=True
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": _of_bucket(
        aws.s3.BucketServerSideEncryptionConfiguration,
        rules=[aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(bucket_key_enabled=True)],
    ),
    "aws:s3/bucketVersioning:BucketVersioning": Example(
        lambda clouds: aws.s3.BucketVersioning(
            "it",
            bucket="config",
            expected_bucket_owner=ACCOUNT,
            versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
            opts=clouds.aws,
        ),
        f"config,{ACCOUNT}",
        {"versioningConfiguration": {"status": "Enabled"}},
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": Example(
        lambda clouds: aws.vpc.SecurityGroupIngressRule(
            "it", security_group_id="given", ip_protocol="tcp", from_port=6379, to_port=6379, opts=clouds.aws
        ),
        None,
        {"fromPort": 6379},
        ("arn", "securityGroupRuleId"),
    ),
    "gcp:bigtable/instance:Instance": Example(
        lambda clouds: gcp.bigtable.Instance(
            "it",
            name="groups",
            clusters=[gcp.bigtable.InstanceClusterArgs(cluster_id="a", zone="europe-west3-a")],
            opts=clouds.gcp,
        ),
        INSTANCE,
        {"displayName": "groups", "project": PROJECT, "clusters": [{"clusterId": "a", "zone": "europe-west3-a"}]},
        ("effectiveLabels",),
        # The SDK declares what a provider adds to labels as secret.
        ("effectiveLabels", "pulumiLabels"),
    ),
    "gcp:bigtable/instanceIamMember:InstanceIamMember": Example(
        lambda clouds: gcp.bigtable.InstanceIamMember(
            "it", instance="groups", role="roles/bigtable.user", member="user:a", opts=clouds.gcp
        ),
        None,
        {"project": PROJECT},
        ("etag",),
    ),
    "gcp:bigtable/table:Table": Example(
        lambda clouds: gcp.bigtable.Table(
            "it",
            name="groups",
            instance_name="groups",
            column_families=[gcp.bigtable.TableColumnFamilyArgs(family="g")],
            opts=clouds.gcp,
        ),
        f"{INSTANCE}/tables/groups",
        {"project": PROJECT, "columnFamilies": [{"family": "g"}]},
    ),
    "gcp:serviceaccount/account:Account": Example(
        lambda clouds: gcp.serviceaccount.Account("it", account_id="storage-pods", opts=clouds.gcp),
        SERVICE_ACCOUNT,
        {"email": EMAIL, "name": SERVICE_ACCOUNT, "member": f"serviceAccount:{EMAIL}", "project": PROJECT},
        ("uniqueId",),
    ),
    "gcp:serviceaccount/iAMMember:IAMMember": Example(
        lambda clouds: gcp.serviceaccount.IAMMember(
            "it", service_account_id=SERVICE_ACCOUNT, role="roles/viewer", member="user:a", opts=clouds.gcp
        ),
        None,
        {"member": "user:a"},
        ("etag",),
    ),
    "gcp:serviceaccount/key:Key": Example(
        lambda clouds: gcp.serviceaccount.Key("it", service_account_id=SERVICE_ACCOUNT, opts=clouds.gcp),
        None,
        {"serviceAccountId": SERVICE_ACCOUNT},
        ("name", "privateKey", "publicKey", "validAfter"),
        ("privateKey",),
    ),
    "kubernetes:helm.sh/v3:Release": Example(
        lambda clouds: kubernetes.helm.v3.Release(
            "it", name="traefik", namespace="ingress", chart="traefik", version="37.0.0", opts=clouds.kubernetes
        ),
        "ingress/traefik",
        {"name": "traefik", "chart": "traefik"},
        ("status",),
    ),
}


def outputs(resource: CustomResource) -> dict[str, pulumi.Output[Any]]:
    """The outputs that the SDK declares for a resource, by their names in requests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated ones are outputs too
        return {name: getattr(resource, python) for python, name, _ in _types._py_properties(type(resource))}


@cache
def every_type() -> Recording:
    """All examples in one recording, which tests must not change. What the stack puts out is `<type> <output>`."""

    def program() -> None:
        clouds = Clouds()
        for token, example in EXAMPLES.items():
            for name, output in outputs(example.make(clouds)).items():
                pulumi.export(f"{token} {name}", output)

    return run(program)
