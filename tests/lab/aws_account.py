"""An AWS account of moto's, and a translation of what a recording has for AWS into calls of its API.

Every input of every resource is translated or refused by name (`UntranslatedError`), so that a new argument cannot
go untested. Texts that only a creation can tell are replaced by what moto told when it created the resource.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.validate import ParamValidator

from render.model import RecordedResource, Recording
from render.placeholders import MARK, placeholder

AWS: Final = "aws"
ADMINISTRATOR: Final = "administrator"
BUCKET_POLICY: Final = "aws:s3/bucketPolicy:BucketPolicy"


class UntranslatedError(Exception):
    """The translation does not know a type of resource, or one of its inputs."""


class Inputs:
    """The inputs of a resource, or an object in them: each is taken once, and none may be left."""

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        self._where, self._left = where, dict(values)

    def __call__(self, name: str, default: Any = None) -> Any:
        """Takes an input."""
        return self._left.pop(name, default)

    def object(self, name: str) -> "Inputs | None":
        """Takes an input that is an object."""
        value = self._left.pop(name, None)
        return None if value is None else Inputs(f"{self._where}.{name}", value)

    def objects(self, name: str) -> "list[Inputs]":
        """Takes an input that is a list of objects."""
        values = self._left.pop(name, None) or []
        return [Inputs(f"{self._where}.{name}[{i}]", value) for i, value in enumerate(values)]

    def done(self) -> None:
        """Raises UntranslatedError for what nobody took."""
        if self._left:
            raise UntranslatedError(f"{self._where}: {', '.join(sorted(self._left))}: the translation does not know it")


@dataclass
class Account:
    """An account of moto's in this process (inside `mock_aws`)."""

    id: str
    region: str
    tags: Mapping[str, str] = field(default_factory=dict)
    _administrator: Mapping[str, str] = field(default_factory=dict, repr=False)
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, recording: Recording) -> "Account":
        """The account that the recording's provider of AWS may be used with, in its region and with its tags."""
        (provider,) = recording.of_type("pulumi:providers:aws")
        take = Inputs(f"provider {provider.name}", provider.inputs)
        (account,) = json.loads(take("allowedAccountIds"))
        made = cls(account, take("region"), json.loads(take("defaultTags"))["tags"])
        for check in ("skipCredentialsValidation", "skipRegionValidation"):
            take(check)
        take.done()
        return made

    def __post_init__(self) -> None:
        # moto knows the account of a session by the role that it assumed
        self._administrator = self.session(f"arn:aws:iam::{self.id}:role/{ADMINISTRATOR}", FIRST)

    def session(self, role: str, by: Mapping[str, str] | None = None) -> Mapping[str, str]:
        """Credentials of a role."""
        made = self.client("sts", by).assume_role(RoleArn=role, RoleSessionName="pod")["Credentials"]
        return {
            "aws_access_key_id": made["AccessKeyId"],
            "aws_secret_access_key": made["SecretAccessKey"],
            "aws_session_token": made["SessionToken"],
        }

    def client(self, service: str, credentials: Mapping[str, str] | None = None) -> Any:
        """A client of an AWS API, for the administrator or somebody else; one for each and everybody."""
        who = credentials or self._administrator
        key = (service, who["aws_access_key_id"])
        if key not in self._clients:
            self._clients[key] = boto3.client(  # pyrefly: ignore[no-matching-overload]  # the name of the service is not a literal
                service,
                region_name=self.region,
                config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}),
                **who,
            )
        return self._clients[key]


FIRST: Final = {"aws_access_key_id": "AKIAFIRST", "aws_secret_access_key": "first"}
"""Anybody's, while moto asks nobody who they are."""


@dataclass
class Surroundings:
    """What the operator has before the stack: ids that the configuration names → those that moto gave."""

    found: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, account: Account, *, vpc: str, subnets: Iterable[str], zone: str, domain: str) -> "Surroundings":
        """Makes a VPC with subnets and a hosted zone, to stand where the configuration names its own."""
        ec2 = account.client("ec2")
        made = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
        found = {vpc: made}
        for i, subnet in enumerate(subnets):
            answer = ec2.create_subnet(
                VpcId=made, CidrBlock=f"10.20.{i}.0/24", AvailabilityZone=f"{account.region}{'abc'[i]}"
            )
            found[subnet] = answer["Subnet"]["SubnetId"]
        answer = account.client("route53").create_hosted_zone(Name=domain, CallerReference="first")
        found[zone] = answer["HostedZone"]["Id"].rpartition("/")[2]
        return cls(found)


@dataclass
class Applied:
    """What has been made: `known` has what moto told, by the text that stands for it in the recording."""

    account: Account
    known: dict[str, str] = field(default_factory=dict)
    unmade: list[RecordedResource] = field(default_factory=list)
    """What moto has no API for. Its requests were checked against botocore's model of the service."""

    def real(self, value: Any) -> Any:
        """A value with what moto told in the place of every text that stands for it."""
        if isinstance(value, Mapping):
            return {key: self.real(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.real(item) for item in value]
        if not isinstance(value, str):
            return value
        for text, told in self.known.items():
            value = value.replace(text, told)
        return value

    def tell(self, resource: RecordedResource, **outputs: str) -> None:
        """Keeps what moto told about a resource."""
        self.known |= {placeholder(resource, name): text for name, text in outputs.items()}


def apply(account: Account, recording: Recording, given: Mapping[str, str]) -> Applied:
    """Makes all AWS resources of a recording, each after what it depends on.

    `given` has texts of the recording that somebody else tells: ids of the operator's and of other providers.
    Raises UntranslatedError, and whatever boto3 raises.
    """
    applied = Applied(account, dict(given))
    resources = recording.by_urn()
    order = TopologicalSorter({urn: resource.dependencies for urn, resource in resources.items()}).static_order()
    # moto applies what a bucket's policy denies whatever its conditions say, so it would refuse the objects
    for urn in sorted(order, key=lambda urn: resources[urn].type == BUCKET_POLICY):
        resource = resources[urn]
        if resource.package != AWS:
            continue
        if resource.type not in TRANSLATIONS:
            raise UntranslatedError(f"{resource.type} {resource.name}: the translation does not know the type")
        values = applied.real(resource.inputs)
        if MARK in json.dumps(values):
            raise UntranslatedError(f"{resource.type} {resource.name}: refers to something that nobody made")
        inputs = Inputs(f"{resource.type} {resource.name}", values)
        TRANSLATIONS[resource.type](applied, resource, inputs)
        inputs.done()
    return applied


def _pairs(tags: Mapping[str, str], key: str = "Key", value: str = "Value") -> list[dict[str, str]]:
    return [{key: name, value: text} for name, text in sorted(tags.items())]


def _given(**arguments: Any) -> dict[str, Any]:
    """The arguments that have a value."""
    return {name: value for name, value in arguments.items() if value is not None}


def _only_checked(applied: Applied, resource: RecordedResource, service: str, operation: str, **arguments: Any) -> None:
    """For what moto has not: the request is valid by botocore's model, and is not made."""
    client = applied.account.client(service)
    model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation])
    report = ParamValidator().validate(arguments, model.input_shape)
    if report.has_errors():
        raise ValueError(f"{resource.type} {resource.name}: {report.generate_report()}")
    if resource not in applied.unmade:
        applied.unmade.append(resource)


# --- DynamoDB ---------------------------------------------------------------------------------------------


def _table(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    client, name = applied.account.client("dynamodb"), take("name")
    keys = [(take("hashKey"), "HASH"), (take("rangeKey"), "RANGE")]
    schema = [{"AttributeName": key, "KeyType": kind} for key, kind in keys if key]
    encryption, recovery = take.object("serverSideEncryption"), take.object("pointInTimeRecovery")
    local = [_local_index(index, schema[0]) for index in take.objects("localSecondaryIndexes")]
    indexes = [_global_index(index) for index in take.objects("globalSecondaryIndexes")]
    client.create_table(
        TableName=name,
        BillingMode=take("billingMode"),
        AttributeDefinitions=[_attribute(each) for each in take.objects("attributes")],
        KeySchema=schema,
        DeletionProtectionEnabled=take("deletionProtectionEnabled"),
        Tags=_pairs(applied.account.tags),
        **_given(
            LocalSecondaryIndexes=local or None,
            GlobalSecondaryIndexes=indexes or None,
            SSESpecification=encryption and _table_encryption(encryption),
        ),
    )
    expiry = take.object("ttl")
    if expiry:
        client.update_time_to_live(
            TableName=name,
            TimeToLiveSpecification={"AttributeName": expiry("attributeName"), "Enabled": expiry("enabled")},
        )
        expiry.done()
    if recovery:
        client.update_continuous_backups(
            TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": recovery("enabled")}
        )
        recovery.done()


def _attribute(take: Inputs) -> dict[str, str]:
    made = {"AttributeName": take("name"), "AttributeType": take("type")}
    take.done()
    return made


def _local_index(take: Inputs, hash_key: dict[str, str]) -> dict[str, Any]:
    made = {
        "IndexName": take("name"),
        "KeySchema": [hash_key, {"AttributeName": take("rangeKey"), "KeyType": "RANGE"}],
        "Projection": {"ProjectionType": take("projectionType")},
    }
    take.done()
    return made


def _global_index(take: Inputs) -> dict[str, Any]:
    schema = []
    for key in take.objects("keySchemas"):
        schema.append({"AttributeName": key("attributeName"), "KeyType": key("keyType")})
        key.done()
    made = {
        "IndexName": take("name"),
        "KeySchema": schema,
        "Projection": {"ProjectionType": take("projectionType")},
    }
    take.done()
    return made


def _table_encryption(take: Inputs) -> dict[str, Any]:
    made = {"Enabled": take("enabled"), "SSEType": "KMS", "KMSMasterKeyId": take("kmsKeyArn")}
    take.done()
    return made


# --- KMS --------------------------------------------------------------------------------------------------


def _key(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    client = applied.account.client("kms")
    made = client.create_key(Description=take("description"), Tags=_pairs(applied.account.tags, "TagKey", "TagValue"))
    identity = made["KeyMetadata"]["KeyId"]
    if take("enableKeyRotation"):
        client.enable_key_rotation(KeyId=identity)
    # asked for when the key is deleted: https://docs.aws.amazon.com/kms/latest/APIReference/API_ScheduleKeyDeletion.html
    waiting = take("deletionWindowInDays")
    if not 7 <= waiting <= 30:
        raise ValueError(f"{resource.name}: a key waits 7 to 30 days, not {waiting}")
    applied.tell(resource, keyId=identity)


def _alias(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    applied.account.client("kms").create_alias(AliasName=take("name"), TargetKeyId=take("targetKeyId"))


# --- S3 ---------------------------------------------------------------------------------------------------


def _bucket(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    client, name = applied.account.client("s3"), take("bucket")
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": applied.account.region})
    client.put_bucket_tagging(Bucket=name, Tagging={"TagSet": _pairs(applied.account.tags)})


def _access_block(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    applied.account.client("s3").put_public_access_block(
        Bucket=take("bucket"),
        PublicAccessBlockConfiguration=_given(
            BlockPublicAcls=take("blockPublicAcls"),
            IgnorePublicAcls=take("ignorePublicAcls"),
            BlockPublicPolicy=take("blockPublicPolicy"),
            RestrictPublicBuckets=take("restrictPublicBuckets"),
        ),
    )


def _ownership(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    rule = Inputs(f"{resource.name}.rule", take("rule"))
    applied.account.client("s3").put_bucket_ownership_controls(
        Bucket=take("bucket"), OwnershipControls={"Rules": [{"ObjectOwnership": rule("objectOwnership")}]}
    )
    rule.done()


def _bucket_policy(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    applied.account.client("s3").put_bucket_policy(Bucket=take("bucket"), Policy=take("policy"))


def _bucket_encryption(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    rules = []
    for rule in take.objects("rules"):
        default = Inputs(f"{resource.name}.rules", rule("applyServerSideEncryptionByDefault"))
        made = _given(
            ApplyServerSideEncryptionByDefault=_given(
                SSEAlgorithm=default("sseAlgorithm"), KMSMasterKeyID=default("kmsMasterKeyId")
            ),
            BucketKeyEnabled=rule("bucketKeyEnabled"),
        )
        default.done()
        rule.done()
        rules.append(made)
    applied.account.client("s3").put_bucket_encryption(
        Bucket=take("bucket"), ServerSideEncryptionConfiguration={"Rules": rules}
    )


def _versioning(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    wanted = Inputs(f"{resource.name}.versioningConfiguration", take("versioningConfiguration"))
    applied.account.client("s3").put_bucket_versioning(
        Bucket=take("bucket"), VersioningConfiguration={"Status": wanted("status")}
    )
    wanted.done()


def _lifecycle(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    applied.account.client("s3").put_bucket_lifecycle_configuration(
        Bucket=take("bucket"),
        LifecycleConfiguration={"Rules": [_lifecycle_rule(rule) for rule in take.objects("rules")]},
    )


_LIFECYCLE: Final = {
    "abortIncompleteMultipartUpload": ("AbortIncompleteMultipartUpload", "daysAfterInitiation", "DaysAfterInitiation"),
    "expiration": ("Expiration", "days", "Days"),
    "noncurrentVersionExpiration": ("NoncurrentVersionExpiration", "noncurrentDays", "NoncurrentDays"),
}


def _lifecycle_rule(take: Inputs) -> dict[str, Any]:
    made: dict[str, Any] = {"ID": take("id"), "Status": take("status")}
    affected = take.object("filter")
    if affected:
        made["Filter"] = {"Prefix": affected("prefix")}
        affected.done()
    for name, (action, days, its_days) in _LIFECYCLE.items():
        wanted = take.object(name)
        if wanted:
            made[action] = {its_days: wanted(days)}
            wanted.done()
    take.done()
    return made


def _object(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    applied.account.client("s3").put_object(
        Bucket=take("bucket"),
        Key=take("key"),
        Body=take("content").encode(),
        ContentType=take("contentType"),
    )


# --- IAM --------------------------------------------------------------------------------------------------


def _role(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    applied.account.client("iam").create_role(
        RoleName=take("name"),
        AssumeRolePolicyDocument=take("assumeRolePolicy"),
        Tags=_pairs(applied.account.tags),
    )


def _role_policy(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    name = take("name", resource.name)
    applied.account.client("iam").put_role_policy(RoleName=take("role"), PolicyName=name, PolicyDocument=take("policy"))
    applied.tell(resource, name=name)


def _user(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    applied.account.client("iam").create_user(UserName=take("name"), Tags=_pairs(applied.account.tags))


def _user_policy(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    name = take("name", resource.name)
    applied.account.client("iam").put_user_policy(UserName=take("user"), PolicyName=name, PolicyDocument=take("policy"))
    applied.tell(resource, name=name)


def _policy(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    applied.account.client("iam").create_policy(
        **_given(PolicyName=take("name"), PolicyDocument=take("policy"), Description=take("description")),
        Tags=_pairs(applied.account.tags),
    )


def _user_policy_attachment(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    applied.account.client("iam").attach_user_policy(UserName=take("user"), PolicyArn=take("policyArn"))


def _access_key(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    made = applied.account.client("iam").create_access_key(UserName=take("user"))["AccessKey"]
    applied.tell(resource, id=made["AccessKeyId"], secret=made["SecretAccessKey"])


def _pod_identity(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    _only_checked(
        applied,
        resource,
        "eks",
        "create_pod_identity_association",
        clusterName=take("clusterName"),
        namespace=take("namespace"),
        serviceAccount=take("serviceAccount"),
        roleArn=take("roleArn"),
    )


# --- networks and caches ----------------------------------------------------------------------------------


def _security_group(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    made = applied.account.client("ec2").create_security_group(
        GroupName=take("name"),
        Description=take("description"),
        VpcId=take("vpcId"),
        TagSpecifications=[{"ResourceType": "security-group", "Tags": _pairs(applied.account.tags)}],
    )
    applied.tell(resource, id=made["GroupId"])


def _ingress(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    permission = _given(IpProtocol=take("ipProtocol"), FromPort=take("fromPort"), ToPort=take("toPort"))
    version4, version6 = take("cidrIpv4"), take("cidrIpv6")
    if version4:
        permission["IpRanges"] = [{"CidrIp": version4}]
    if version6:
        permission["Ipv6Ranges"] = [{"CidrIpv6": version6}]
    applied.account.client("ec2").authorize_security_group_ingress(
        GroupId=take("securityGroupId"), IpPermissions=[permission]
    )


def _subnet_group(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    applied.account.client("elasticache").create_cache_subnet_group(
        CacheSubnetGroupName=take("name"),
        CacheSubnetGroupDescription=take("description"),
        SubnetIds=take("subnetIds"),
        Tags=_pairs(applied.account.tags),
    )


def _parameter_group(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    name, values = take("name"), []
    for parameter in take.objects("parameters"):
        values.append({"ParameterName": parameter("name"), "ParameterValue": parameter("value")})
        parameter.done()
    _only_checked(
        applied,
        resource,
        "elasticache",
        "create_cache_parameter_group",
        CacheParameterGroupName=name,
        CacheParameterGroupFamily=take("family"),
        Description=take("description"),
    )
    _only_checked(
        applied,
        resource,
        "elasticache",
        "modify_cache_parameter_group",
        CacheParameterGroupName=name,
        ParameterNameValues=values,
    )


def _replication_group(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    # how a later change of the password is made, so no part of a creation
    if take("authTokenUpdateStrategy") not in ("SET", "ROTATE", "DELETE", None):
        raise ValueError(f"{resource.name}: authTokenUpdateStrategy is none that AWS knows")
    applied.account.client("elasticache").create_replication_group(
        ReplicationGroupId=take("replicationGroupId"),
        ReplicationGroupDescription=take("description"),
        Tags=_pairs(applied.account.tags),
        **_given(
            Engine=take("engine"),
            EngineVersion=take("engineVersion"),
            CacheNodeType=take("nodeType"),
            NumNodeGroups=take("numNodeGroups"),
            NumCacheClusters=take("numCacheClusters"),
            ReplicasPerNodeGroup=take("replicasPerNodeGroup"),
            ClusterMode=take("clusterMode"),
            AutomaticFailoverEnabled=take("automaticFailoverEnabled"),
            MultiAZEnabled=take("multiAzEnabled"),
            CacheParameterGroupName=take("parameterGroupName"),
            CacheSubnetGroupName=take("subnetGroupName"),
            SecurityGroupIds=take("securityGroupIds"),
            Port=take("port"),
            AtRestEncryptionEnabled=take("atRestEncryptionEnabled"),
            KmsKeyId=take("kmsKeyId"),
            TransitEncryptionEnabled=take("transitEncryptionEnabled"),
            TransitEncryptionMode=take("transitEncryptionMode"),
            AuthToken=take("authToken"),
            SnapshotRetentionLimit=take("snapshotRetentionLimit"),
            AutoMinorVersionUpgrade=take("autoMinorVersionUpgrade"),
        ),
    )


def _record(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    record = {
        "Name": take("name"),
        "Type": take("type"),
        "TTL": take("ttl"),
        "ResourceRecords": [{"Value": value} for value in take("records")],
    }
    applied.account.client("route53").change_resource_record_sets(
        HostedZoneId=take("zoneId"), ChangeBatch={"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]}
    )


TRANSLATIONS: Final[Mapping[str, Callable[[Applied, RecordedResource, Inputs], None]]] = {
    "aws:dynamodb/table:Table": _table,
    "aws:ec2/securityGroup:SecurityGroup": _security_group,
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": _pod_identity,
    "aws:elasticache/parameterGroup:ParameterGroup": _parameter_group,
    "aws:elasticache/replicationGroup:ReplicationGroup": _replication_group,
    "aws:elasticache/subnetGroup:SubnetGroup": _subnet_group,
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
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": _lifecycle,
    "aws:s3/bucketObjectv2:BucketObjectv2": _object,
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": _ownership,
    BUCKET_POLICY: _bucket_policy,
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _access_block,
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": _bucket_encryption,
    "aws:s3/bucketVersioning:BucketVersioning": _versioning,
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _ingress,
}
"""How each type is made."""
