"""An AWS account of moto's, and a translation of what a recording has for AWS into calls of its API.

Every input of every resource is translated or refused by name (`UntranslatedError`), so that a new argument cannot
go untested. Texts that only a creation can tell are replaced by what moto told when it created the resource.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from graphlib import TopologicalSorter
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.validate import ParamValidator

from render.model import RecordedResource, Recording
from render.placeholders import MARK, placeholder

AWS: Final = "aws"
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


@dataclass(eq=False)
class Account:
    """An account of moto's in this process (inside `mock_aws`)."""

    id: str
    region: str
    tags: Mapping[str, str] = field(default_factory=dict)

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

    @cached_property
    def _administrator(self) -> Mapping[str, str]:
        """Credentials of a role of it, by which moto knows the account. It asks nobody who they are."""
        first = boto3.client("sts", self.region, aws_access_key_id="AKIAFIRST", aws_secret_access_key="first")
        role = f"arn:aws:iam::{self.id}:role/administrator"
        made = first.assume_role(RoleArn=role, RoleSessionName="pod")["Credentials"]
        return {
            "aws_access_key_id": made["AccessKeyId"],
            "aws_secret_access_key": made["SecretAccessKey"],
            "aws_session_token": made["SessionToken"],
        }

    @cache  # noqa: B019  # an account lives as long as the tests of its file
    def client(self, service: str) -> Any:
        """The administrator's client of an AWS API."""
        return boto3.client(  # pyrefly: ignore[no-matching-overload]  # the name of the service is not a literal
            service,
            region_name=self.region,
            config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}),
            **self._administrator,
        )


def surroundings(account: Account, *, vpc: str, subnets: Iterable[str], zone: str, domain: str) -> dict[str, str]:
    """Makes what an operator has before the stack: a VPC with subnets and a hosted zone.

    Ids that the configuration names → those that moto gave.
    """
    ec2 = account.client("ec2")
    made = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    found = {vpc: made}
    for i, subnet in enumerate(subnets):
        where = {"CidrBlock": f"10.20.{i}.0/24", "AvailabilityZone": f"{account.region}{'abc'[i]}"}
        found[subnet] = ec2.create_subnet(VpcId=made, **where)["Subnet"]["SubnetId"]
    answer = account.client("route53").create_hosted_zone(Name=domain, CallerReference="first")
    found[zone] = answer["HostedZone"]["Id"].rpartition("/")[2]
    return found


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


def _some(take: Inputs, words: str) -> dict[str, Any]:
    """The arguments that inputs have: a word is the name of one, and after `=` of its input, if that is another."""
    pairs = (word.partition("=") for word in words.split())
    return _given(**{name: take(source or name[0].lower() + name[1:]) for name, _, source in pairs})


def _all(take: Inputs | None, words: str) -> dict[str, Any] | None:
    """The same, of an object that has nothing else."""
    if take is None:
        return None
    made = _some(take, words)
    take.done()
    return made


Translation = Callable[[Applied, RecordedResource, Inputs], None]


def _made_by(service: str, operation: str, words: str, *, tagged: bool = False) -> Translation:
    """What is made by one call whose arguments are inputs."""

    def make(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
        tags = _pairs(applied.account.tags) if tagged else None
        getattr(applied.account.client(service), operation)(**_some(take, words), **_given(Tags=tags))

    return make


# --- DynamoDB ---------------------------------------------------------------------------------------------


def _table(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    client, name = applied.account.client("dynamodb"), take("name")
    keys = [(take("hashKey"), "HASH"), (take("rangeKey"), "RANGE")]
    schema = [{"AttributeName": key, "KeyType": kind} for key, kind in keys if key]
    expiry, recovery = take.object("ttl"), take.object("pointInTimeRecovery")
    encryption = _all(take.object("serverSideEncryption"), "Enabled KMSMasterKeyId=kmsKeyArn")
    client.create_table(
        TableName=name,
        AttributeDefinitions=[
            _all(each, "AttributeName=name AttributeType=type") for each in take.objects("attributes")
        ],
        KeySchema=schema,
        Tags=_pairs(applied.account.tags),
        **_some(take, "BillingMode DeletionProtectionEnabled"),
        **_given(
            LocalSecondaryIndexes=[_index(index, schema[0]) for index in take.objects("localSecondaryIndexes")] or None,
            GlobalSecondaryIndexes=[_index(index) for index in take.objects("globalSecondaryIndexes")] or None,
            SSESpecification=encryption and {**encryption, "SSEType": "KMS"},
        ),
    )
    if expiry:
        client.update_time_to_live(TableName=name, TimeToLiveSpecification=_all(expiry, "AttributeName Enabled"))
    if recovery:
        client.update_continuous_backups(
            TableName=name,
            PointInTimeRecoverySpecification=_all(recovery, "PointInTimeRecoveryEnabled=enabled"),
        )


def _index(take: Inputs, hash_key: dict[str, str] | None = None) -> dict[str, Any]:
    """An index; a local one has the hash key of its table."""
    schema = [_all(key, "AttributeName KeyType") for key in take.objects("keySchemas")]
    if hash_key:
        schema = [hash_key, {"AttributeName": take("rangeKey"), "KeyType": "RANGE"}]
    projection = _some(take, "ProjectionType")
    return {**(_all(take, "IndexName=name") or {}), "KeySchema": schema, "Projection": projection}


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


# --- S3 ---------------------------------------------------------------------------------------------------


def _bucket(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    client, name = applied.account.client("s3"), take("bucket")
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": applied.account.region})
    client.put_bucket_tagging(Bucket=name, Tagging={"TagSet": _pairs(applied.account.tags)})


def _of_bucket(operation: str, argument: str, made: Callable[[Inputs], dict[str, Any] | None]) -> Translation:
    """What a bucket is told by one call, beside whose name it has one argument."""

    def make(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
        getattr(applied.account.client("s3"), operation)(Bucket=take("bucket"), **{argument: made(take)})

    return make


def _access_block(take: Inputs) -> dict[str, Any]:
    return _some(take, "BlockPublicAcls IgnorePublicAcls BlockPublicPolicy RestrictPublicBuckets")


def _ownership(take: Inputs) -> dict[str, Any]:
    return {"Rules": [_all(take.object("rule"), "ObjectOwnership")]}


def _versioning(take: Inputs) -> dict[str, Any] | None:
    return _all(take.object("versioningConfiguration"), "Status")


def _encryption(take: Inputs) -> dict[str, Any]:
    rules = []
    for rule in take.objects("rules"):
        default = _all(
            rule.object("applyServerSideEncryptionByDefault"), "SSEAlgorithm=sseAlgorithm KMSMasterKeyID=kmsMasterKeyId"
        )
        rules.append({"ApplyServerSideEncryptionByDefault": default, **(_all(rule, "BucketKeyEnabled") or {})})
    return {"Rules": rules}


_LIFECYCLE: Final = {
    "abortIncompleteMultipartUpload": ("AbortIncompleteMultipartUpload", "DaysAfterInitiation"),
    "expiration": ("Expiration", "Days"),
    "filter": ("Filter", "Prefix"),
    "noncurrentVersionExpiration": ("NoncurrentVersionExpiration", "NoncurrentDays"),
}


def _lifecycle(take: Inputs) -> dict[str, Any]:
    rules = []
    for rule in take.objects("rules"):
        parts = {part: _all(rule.object(name), words) for name, (part, words) in _LIFECYCLE.items()}
        rules.append({**(_all(rule, "ID=id Status") or {}), **_given(**parts)})
    return {"Rules": rules}


# --- IAM --------------------------------------------------------------------------------------------------


def _inline_policy(kind: str) -> Translation:
    """A policy of a role, or of a user, under the name of its resource."""

    def make(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
        put = getattr(applied.account.client("iam"), f"put_{kind}_policy")
        put(PolicyName=resource.name, **_some(take, f"{kind.title()}Name={kind} PolicyDocument=policy"))

    return make


def _pod_identity(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    arguments = {name: take(name) for name in ("clusterName", "namespace", "serviceAccount", "roleArn")}
    _only_checked(applied, resource, "eks", "create_pod_identity_association", **arguments)


# --- networks and caches ----------------------------------------------------------------------------------


def _security_group(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    made = applied.account.client("ec2").create_security_group(
        **_some(take, "GroupName=name Description VpcId"),
        TagSpecifications=[{"ResourceType": "security-group", "Tags": _pairs(applied.account.tags)}],
    )
    applied.tell(resource, id=made["GroupId"])


def _ingress(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    permission = _some(take, "IpProtocol FromPort ToPort")
    ranges = {"IpRanges": _some(take, "CidrIp=cidrIpv4"), "Ipv6Ranges": _some(take, "CidrIpv6")}
    applied.account.client("ec2").authorize_security_group_ingress(
        GroupId=take("securityGroupId"),
        IpPermissions=[{**permission, **{name: [found] for name, found in ranges.items() if found}}],
    )


def _parameter_group(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    name = {"CacheParameterGroupName": take("name")}
    values = [_all(each, "ParameterName=name ParameterValue=value") for each in take.objects("parameters")]
    about = _some(take, "CacheParameterGroupFamily=family Description")
    _only_checked(applied, resource, "elasticache", "create_cache_parameter_group", **name, **about)
    _only_checked(applied, resource, "elasticache", "modify_cache_parameter_group", **name, ParameterNameValues=values)


_CACHE: Final = _made_by(
    "elasticache",
    "create_replication_group",
    "ReplicationGroupId ReplicationGroupDescription=description Engine EngineVersion CacheNodeType=nodeType "
    "NumNodeGroups NumCacheClusters ReplicasPerNodeGroup ClusterMode AutomaticFailoverEnabled "
    "MultiAZEnabled=multiAzEnabled CacheParameterGroupName=parameterGroupName CacheSubnetGroupName=subnetGroupName "
    "SecurityGroupIds Port AtRestEncryptionEnabled KmsKeyId TransitEncryptionEnabled TransitEncryptionMode AuthToken "
    "SnapshotRetentionLimit AutoMinorVersionUpgrade",
    tagged=True,
)


def _replication_group(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    # how a later change of the password is made, so no part of a creation
    if take("authTokenUpdateStrategy") not in ("SET", "ROTATE", "DELETE", None):
        raise ValueError(f"{resource.name}: authTokenUpdateStrategy is none that AWS knows")
    _CACHE(applied, resource, take)


def _record(applied: Applied, resource: RecordedResource, take: Inputs) -> None:
    values = [{"Value": value} for value in take("records")]
    record = {**_some(take, "Name Type TTL=ttl"), "ResourceRecords": values}
    applied.account.client("route53").change_resource_record_sets(
        HostedZoneId=take("zoneId"), ChangeBatch={"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]}
    )


TRANSLATIONS: Final[Mapping[str, Translation]] = {
    "aws:dynamodb/table:Table": _table,
    "aws:ec2/securityGroup:SecurityGroup": _security_group,
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": _pod_identity,
    "aws:elasticache/parameterGroup:ParameterGroup": _parameter_group,
    "aws:elasticache/replicationGroup:ReplicationGroup": _replication_group,
    "aws:elasticache/subnetGroup:SubnetGroup": _made_by(
        "elasticache",
        "create_cache_subnet_group",
        "CacheSubnetGroupName=name CacheSubnetGroupDescription=description SubnetIds",
        tagged=True,
    ),
    "aws:iam/accessKey:AccessKey": _made_by("iam", "create_access_key", "UserName=user"),
    "aws:iam/role:Role": _made_by(
        "iam", "create_role", "RoleName=name AssumeRolePolicyDocument=assumeRolePolicy", tagged=True
    ),
    "aws:iam/rolePolicy:RolePolicy": _inline_policy("role"),
    "aws:iam/user:User": _made_by("iam", "create_user", "UserName=name", tagged=True),
    "aws:iam/userPolicy:UserPolicy": _inline_policy("user"),
    "aws:kms/alias:Alias": _made_by("kms", "create_alias", "AliasName=name TargetKeyId"),
    "aws:kms/key:Key": _key,
    "aws:route53/record:Record": _record,
    "aws:s3/bucket:Bucket": _bucket,
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": _of_bucket(
        "put_bucket_lifecycle_configuration", "LifecycleConfiguration", _lifecycle
    ),
    "aws:s3/bucketObjectv2:BucketObjectv2": _made_by("s3", "put_object", "Bucket Key Body=content ContentType"),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": _of_bucket(
        "put_bucket_ownership_controls", "OwnershipControls", _ownership
    ),
    BUCKET_POLICY: _made_by("s3", "put_bucket_policy", "Bucket Policy"),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _of_bucket(
        "put_public_access_block", "PublicAccessBlockConfiguration", _access_block
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": _of_bucket(
        "put_bucket_encryption", "ServerSideEncryptionConfiguration", _encryption
    ),
    "aws:s3/bucketVersioning:BucketVersioning": _of_bucket(
        "put_bucket_versioning", "VersioningConfiguration", _versioning
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _ingress,
}
"""How each type is made."""
