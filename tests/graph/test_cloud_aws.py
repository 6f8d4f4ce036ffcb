"""The AWS half of the cloud stack, made in an account of moto's and asked for again.

What is expected is written down here or computed from the schema, never from the recorded inputs.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any

import pytest
from moto import mock_aws

from config.schema.dynamodb import TABLES, Table
from config.whisper_dynamic import DynamicConfiguration
from render.model import RecordedResource, Recording
from tests.graph.stack import load
from tests.graph.test_cloud_stack import CLEAN_UPS
from tests.graph.test_spelt_out import INDEXES
from tests.lab.aws_account import Account, Applied, Inputs, UntranslatedError, apply, surroundings
from tests.lab.aws_iam import Document, Request, allowed

REGION, ACCOUNT, PREFIX = "eu-central-1", "111122223333", "flatline-prod"
BUCKETS = ("dynamic-config", "pre-keys", "cdn0", "uploads")
TAGS = {"project": "flatline", "stack": PREFIX}
OPERATORS = {
    "vpc": "vpc-0123456789abcdef0",
    "subnets": ("subnet-0123456789abcdef0", "subnet-0123456789abcdef1"),
    "zone": "Z0123456789ABCDEFGHIJ",
    "domain": "chat.example.org",
}
EDGE = "edge.elb.example.net"
LISTS_PRE_KEYS = "whisper-remove-orphaned-pre-key-pages"
WHISPER = ("whisper", "whisper-persister", *(f"whisper-{command}" for command in CLEAN_UPS))
ROLES = (*WHISPER, "cdn0-gate", "cdn3", "cdn3-download")
USERS = ("cdn0-whisper", "cdn0-storage")


# --- what Whisper does, written down from its storage classes ----------------------------------------------


OPERATIONS = {
    "Accounts": "Get Put Update Delete Query(index) Scan TransactWrite",
    "Accounts_PhoneNumbers": "Get TransactWrite",
    "Accounts_PhoneNumberIdentifiers": "Get TransactWrite",
    "Accounts_Usernames": "Get Put Update Delete TransactWrite",
    "Accounts_UsedLinkDeviceTokens": "TransactWrite",
    "AppleDeviceChecks": "Get Query Update TransactWrite",
    "AppleDeviceCheckPublicKeys": "TransactWrite",
    "Backups": "Get Update Delete Scan",
    "ClientPublicKeys": "Get Put TransactWrite",
    "ClientReleases": "Scan",
    "DeletedAccounts": "Get Query(index) TransactWrite",
    "DeletedAccountsLock": "Get Put Update Delete",
    "Keys": "Put Query Delete",
    "EC_Signed_Pre_Keys": "Get Put TransactWrite",
    "IssuedReceipts": "Update Delete",
    "Messages": "Query Query(index) Delete BatchWrite",
    "OnetimeDonations": "Get Put",
    "PQ_Paged_Keys": "Get Put Update Delete Query",
    "PhoneNumberIdentifiers": "BatchGet Query(index) TransactWrite",
    "PQ_Keys": "Put Query Delete",
    "PQ_Last_Resort_Keys": "Get Put TransactWrite",
    "Profiles": "Get Update Delete Query",
    "PushChallenge": "Put Delete",
    "PushNotificationExperimentSamples": "Put Update Delete Query Scan",
    "RedeemedReceipts": "Update",
    "RegistrationRecovery": "Get Put Delete",
    "RemoteConfig": "Scan Put Delete",
    "ReportMessage": "Put Delete",
    "ScheduledJobs": "Put Query Delete",
    "Subscriptions": "Get Update Query(index)",
    "VerificationSessions": "Get Put Delete",
}
"""What the code does with the rows of each table; test_spelt_out.py has the keys and the indexes."""
TRANSACTION = {"PutItem", "UpdateItem", "DeleteItem", "ConditionCheckItem"}
NAMES: dict[str, set[str]] = {
    "Get": {"GetItem"},
    "BatchGet": {"BatchGetItem"},
    "BatchWrite": {"BatchWriteItem"},
    "Put": {"PutItem"},
    "Update": {"UpdateItem"},
    "Delete": {"DeleteItem"},
    "Query": {"Query"},
    "Query(index)": set(),
    "Scan": {"Scan"},
    "TransactWrite": TRANSACTION,
}
ITEMS = sorted(set().union(*NAMES.values()))
"""Every action on rows."""


def on_table(name: str) -> set[str]:
    """The actions that a table's own ARN needs."""
    return set().union(*(NAMES[word] for word in OPERATIONS[name].split()))


# --- the account ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """The stack in an account."""

    account: Account
    applied: Applied
    recording: Recording
    buckets: Mapping[str, str] = field(default_factory=dict)

    def arn(self, bucket: str, key: str = "") -> str:
        return f"arn:aws:s3:::{self.buckets[bucket]}" + (f"/{key}" if key else "")

    @cached_property
    def key(self) -> str:
        """The ARN of the installation's key."""
        (alias,) = (
            each
            for each in self.account.client("kms").list_aliases()["Aliases"]
            if each["AliasName"] == f"alias/{PREFIX}"
        )
        return f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{alias['TargetKeyId']}"

    def policies(self, who: str) -> list[Document]:
        """All policies of a role or a user, read back."""
        iam, kind = self.account.client("iam"), "user" if who in USERS else "role"
        name = {f"{kind.title()}Name": f"{PREFIX}-{who}"}
        assert getattr(iam, f"list_attached_{kind}_policies")(**name)["AttachedPolicies"] == []
        get = getattr(iam, f"get_{kind}_policy")
        names = getattr(iam, f"list_{kind}_policies")(**name)["PolicyNames"]
        return [_document(get(**name, PolicyName=each)["PolicyDocument"]) for each in names]

    def bucket_policy(self, bucket: str) -> Document:
        answer = self.account.client("s3").get_bucket_policy(Bucket=self.buckets[bucket])
        return _document(answer["Policy"])


def _document(document: Any) -> Document:
    decoded: Document = json.loads(document) if isinstance(document, str) else document
    return decoded


def made(recording: Recording) -> Made:
    """Makes the stack in an account of moto's."""
    account = Account.of(recording)
    (edge,) = (each for each in recording.of_type("kubernetes:core/v1:Service") if each.name == "edge")
    address = edge.placeholders["status"]["loadBalancer"]["ingress"][0]["hostname"]
    given = {**surroundings(account, **OPERATORS), address: EDGE}
    applied = apply(account, recording, given)
    names = [each["Name"] for each in account.client("s3").list_buckets()["Buckets"]]
    found = {name.removeprefix(f"{PREFIX}-").rpartition("-")[0]: name for name in names}
    return Made(account, applied, recording, found)


@pytest.fixture(scope="module")
def prod() -> Iterator[Made]:
    with mock_aws():
        yield made(load("prod").recording)


# --- the translation itself -------------------------------------------------------------------------------


def test_an_input_that_nobody_translates_is_refused(prod: Made) -> None:
    take = Inputs("aws:x/y:Z it", {"known": 1, "nested": {"known": 2, "added": 3}, "new": 4})
    assert take("known") == 1
    nested = take.object("nested")
    assert nested is not None
    assert nested("known") == 2
    with pytest.raises(UntranslatedError, match=r"aws:x/y:Z it\.nested: added"):
        nested.done()
    with pytest.raises(UntranslatedError, match=r"aws:x/y:Z it: new"):
        take.done()


@pytest.mark.parametrize(
    ("token", "where", "name"),
    [
        ("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", (), "expectedBucketOwner"),
        ("aws:s3/bucketPolicy:BucketPolicy", (), "region"),
        ("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", ("rules", 0), "transitions"),
        ("aws:s3/bucketVersioning:BucketVersioning", ("versioningConfiguration",), "mfaDelete"),
        ("aws:dynamodb/table:Table", ("pointInTimeRecovery",), "recoveryPeriodInDays"),
        ("aws:dynamodb/table:Table", ("serverSideEncryption",), "kmsKeyId"),
    ],
)
def test_a_new_argument_cannot_go_untested(prod: Made, token: str, where: tuple[str | int, ...], name: str) -> None:
    one = prod.recording.of_type(token)[0]
    inputs = json.loads(json.dumps(one.inputs))
    inner = inputs
    for part in where:
        inner = inner[part]
    inner[name] = "new"
    if "Table" in token:
        inputs["name"] = f"untested-{name}"
    changed = replace(one, inputs=inputs, dependencies=())
    with pytest.raises(UntranslatedError, match=name):
        apply(prod.account, replace(prod.recording, resources=(changed,)), prod.applied.known)


def test_a_new_type_cannot_go_untested(prod: Made) -> None:
    queue = RecordedResource(urn="urn:it", type="aws:sqs/queue:Queue", name="it", custom=True, inputs={})
    with pytest.raises(UntranslatedError, match=r"aws:sqs/queue:Queue it"):
        apply(prod.account, replace(prod.recording, resources=(queue,)), {})


def test_only_what_moto_lacks_was_not_made(prod: Made) -> None:
    assert {each.type for each in prod.applied.unmade} == {
        "aws:eks/podIdentityAssociation:PodIdentityAssociation",
        "aws:elasticache/parameterGroup:ParameterGroup",
    }


# --- tables -----------------------------------------------------------------------------------------------


def expected_table(table: Table) -> dict[str, Any]:
    """What DynamoDB must say of a table of the schema."""
    keys = [(table.hash, "HASH"), *([(table.range, "RANGE")] if table.range else [])]

    def index(local: bool) -> list[dict[str, Any]]:
        return [
            {
                "IndexName": each.name,
                "KeySchema": [
                    {"AttributeName": key.name, "KeyType": kind}
                    for key, kind in ((each.hash, "HASH"), (each.range, "RANGE"))
                    if key
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            for each in table.indexes
            if each.local is local
        ]

    indexed = [key for each in table.indexes for key in (each.hash, each.range) if key]
    attributes = {key.name: key.type for key in [*(key for key, _ in keys), *indexed]}
    return {
        "TableName": f"{PREFIX}-{table.name}",
        "KeySchema": [{"AttributeName": key.name, "KeyType": kind} for key, kind in keys],
        "AttributeDefinitions": attributes,
        "LocalSecondaryIndexes": index(local=True),
        "GlobalSecondaryIndexes": index(local=False),
        "BillingMode": "PAY_PER_REQUEST",
        "DeletionProtectionEnabled": True,
    }


def said_of_table(account: Account, name: str) -> dict[str, Any]:
    said = account.client("dynamodb").describe_table(TableName=name)["Table"]

    def indexes(kind: str) -> list[dict[str, Any]]:
        return [{part: each[part] for part in ("IndexName", "KeySchema", "Projection")} for each in said.get(kind, [])]

    return {
        "TableName": said["TableName"],
        "KeySchema": said["KeySchema"],
        "AttributeDefinitions": {each["AttributeName"]: each["AttributeType"] for each in said["AttributeDefinitions"]},
        "LocalSecondaryIndexes": indexes("LocalSecondaryIndexes"),
        "GlobalSecondaryIndexes": indexes("GlobalSecondaryIndexes"),
        "BillingMode": said["BillingModeSummary"]["BillingMode"],
        "DeletionProtectionEnabled": said["DeletionProtectionEnabled"],
    }


def test_the_account_has_the_tables_of_the_schema_and_no_others(prod: Made) -> None:
    client = prod.account.client("dynamodb")
    names = [name for page in client.get_paginator("list_tables").paginate() for name in page["TableNames"]]
    names = [name for name in names if not name.startswith("untested-")]
    assert sorted(names) == sorted(f"{PREFIX}-{table.name}" for table in TABLES.values())
    assert len(names) == 31


@pytest.mark.parametrize("path", TABLES)
def test_a_table_is_as_the_schema_has_it(prod: Made, path: str) -> None:
    table, client = TABLES[path], prod.account.client("dynamodb")
    name = f"{PREFIX}-{table.name}"
    assert said_of_table(prod.account, name) == expected_table(table)
    said = client.describe_table(TableName=name)["Table"]
    assert said["SSEDescription"] == {"Status": "ENABLED", "SSEType": "KMS", "KMSMasterKeyArn": prod.key}
    expiry = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    assert expiry == (
        {"TimeToLiveStatus": "ENABLED", "AttributeName": table.ttl} if table.ttl else {"TimeToLiveStatus": "DISABLED"}
    )
    backups = client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    tags = client.list_tags_of_resource(ResourceArn=said["TableArn"])["Tags"]
    assert {each["Key"]: each["Value"] for each in tags} == TAGS


# --- buckets and the key ----------------------------------------------------------------------------------

RETENTION_DAYS, UNFINISHED_DAYS = 45, 7
"""`cdn.retentionDays`, which prod leaves as it is, and the least for parts of an upload that nobody finished."""


def _expires(days: int) -> dict[str, Any]:
    return {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": days}}


LIFECYCLE: dict[str, list[dict[str, Any]]] = {
    "dynamic-config": [
        {
            "ID": "old-versions",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 90},
        }
    ],
    "pre-keys": [],
    "cdn0": [],
    "uploads": [_expires(RETENTION_DAYS)],
}


def test_the_account_has_the_four_buckets(prod: Made) -> None:
    assert sorted(prod.buckets) == sorted(BUCKETS)
    suffixes = {name.rpartition("-")[2] for name in prod.buckets.values()}
    assert len(suffixes) == 1
    assert re.fullmatch(r"[0-9a-f]{8}", suffixes.pop())


@pytest.mark.parametrize("role", BUCKETS)
def test_a_bucket_is_private_encrypted_and_clears_up(prod: Made, role: str) -> None:
    client, bucket = prod.account.client("s3"), {"Bucket": prod.buckets[role]}
    assert client.get_bucket_location(**bucket)["LocationConstraint"] == REGION
    assert client.get_public_access_block(**bucket)["PublicAccessBlockConfiguration"] == {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": True,
        "BlockPublicPolicy": True,
        "RestrictPublicBuckets": True,
    }
    assert client.get_bucket_policy_status(**bucket)["PolicyStatus"]["IsPublic"] is False
    # forms ask for the access list `private`, which a bucket without access lists refuses
    ownership = "BucketOwnerPreferred" if role == "cdn0" else "BucketOwnerEnforced"
    rules = client.get_bucket_ownership_controls(**bucket)["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": ownership}]
    # with SSE-KMS the users who sign forms would need the key
    encryption = (
        {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        if role == "cdn0"
        else {
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": prod.key},
            "BucketKeyEnabled": True,
        }
    )
    (found,) = client.get_bucket_encryption(**bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert {name: value for name, value in found.items() if name != "BucketKeyEnabled" or value} == encryption
    versions = {"Status": "Enabled"} if role == "dynamic-config" else {}
    answer = client.get_bucket_versioning(**bucket)
    assert {name: value for name, value in answer.items() if name != "ResponseMetadata"} == versions
    unfinished = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UNFINISHED_DAYS}}
    assert sorted(client.get_bucket_lifecycle_configuration(**bucket)["Rules"], key=lambda rule: rule["ID"]) == sorted(
        [{"ID": "unfinished", "Status": "Enabled", "Filter": {"Prefix": ""}, **unfinished}, *LIFECYCLE[role]],
        key=lambda rule: str(rule["ID"]),
    )
    assert {each["Key"]: each["Value"] for each in client.get_bucket_tagging(**bucket)["TagSet"]} == TAGS


@pytest.mark.parametrize("role", BUCKETS)
def test_a_bucket_refuses_what_is_not_tls(prod: Made, role: str) -> None:
    everything: list[Document] = [
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    ]
    policy = [prod.bucket_policy(role)]

    def may(action: str, key: str, **context: str) -> bool:
        named = {name.replace("_", ":"): value for name, value in context.items()}
        return allowed(Request(action, prod.arn(role, key), named), everything, policy)

    for action, key in (("s3:GetObject", "profiles/a"), ("s3:PutObject", "a"), ("s3:ListBucket", "")):
        assert may(action, key, aws_SecureTransport="true", s3_TlsVersion="1.3")
        assert may(action, key, aws_SecureTransport="true", s3_TlsVersion="1.2")
        assert not may(action, key, aws_SecureTransport="true", s3_TlsVersion="1.1")
        assert not may(action, key, aws_SecureTransport="false")
    other = f"arn:aws:s3:::{prod.buckets[role]}-of-somebody/a"
    assert allowed(Request("s3:GetObject", other, {"aws:SecureTransport": "false"}), everything, policy)


def test_the_dynamic_configuration_is_there(prod: Made) -> None:
    client, bucket = prod.account.client("s3"), prod.buckets["dynamic-config"]
    assert [each["Key"] for each in client.list_objects_v2(Bucket=bucket)["Contents"]] == ["dev.yml"]
    # moto applies what a bucket's policy denies whatever its conditions say; `allowed` knows better
    policy = client.get_bucket_policy(Bucket=bucket)["Policy"]
    client.delete_bucket_policy(Bucket=bucket)
    answer = client.get_object(Bucket=bucket, Key="dev.yml")
    client.put_bucket_policy(Bucket=bucket, Policy=policy)
    assert answer["Body"].read() == DynamicConfiguration().text().encode() == b"captcha:\n  scoreFloor: 0.0\n"
    assert answer["ContentType"] == "application/yaml"
    for role in set(BUCKETS) - {"dynamic-config"}:
        assert "Contents" not in client.list_objects_v2(Bucket=prod.buckets[role])


def test_the_key_is_one_and_is_replaced_every_year(prod: Made) -> None:
    client = prod.account.client("kms")
    assert [each["KeyArn"] for each in client.list_keys()["Keys"]] == [prod.key]
    said = client.describe_key(KeyId=f"alias/{PREFIX}")["KeyMetadata"]
    assert (said["KeySpec"], said["KeyState"], said["KeyManager"]) == ("SYMMETRIC_DEFAULT", "Enabled", "CUSTOMER")
    assert client.get_key_rotation_status(KeyId=prod.key)["KeyRotationEnabled"] is True


# --- caches, names ----------------------------------------------------------------------------------------


def test_the_caches_are_encrypted_and_closed(prod: Made) -> None:
    client = prod.account.client("elasticache")
    groups = {each["ReplicationGroupId"]: each for each in client.describe_replication_groups()["ReplicationGroups"]}
    assert sorted(groups) == [f"{PREFIX}-pubsub", f"{PREFIX}-redis"]
    for each in groups.values():
        assert each["TransitEncryptionEnabled"] is True
        assert each["AtRestEncryptionEnabled"] is True
        assert each["AuthTokenEnabled"] is True
        assert each["KmsKeyId"] == prod.key
        assert each["AutomaticFailover"] == "enabled"
        assert each["MultiAZ"] == "enabled"
    cluster, pubsub = groups[f"{PREFIX}-redis"], groups[f"{PREFIX}-pubsub"]
    assert cluster["ClusterEnabled"] is True
    assert len(cluster["NodeGroups"]) == 3
    assert {len(each["NodeGroupMembers"]) for each in cluster["NodeGroups"]} == {2}
    assert cluster["SnapshotRetentionLimit"] == 7
    assert pubsub["ClusterEnabled"] is False
    (subnets,) = client.describe_cache_subnet_groups()["CacheSubnetGroups"]
    assert len(subnets["Subnets"]) == 2
    ec2 = prod.account.client("ec2")
    found = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [f"{PREFIX}-redis"]}])
    (firewall,) = found["SecurityGroups"]
    (rule,) = firewall["IpPermissions"]
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 6379, 6379)
    assert [each["CidrIp"] for each in rule["IpRanges"]] == ["10.20.0.0/16"]


def test_a_full_cache_refuses_instead_of_forgetting(prod: Made) -> None:
    found = {
        each.inputs["name"]: (each.inputs["family"], {p["name"]: p["value"] for p in each.inputs["parameters"]})
        for each in prod.recording.of_type("aws:elasticache/parameterGroup:ParameterGroup")
    }
    assert found == {
        f"{PREFIX}-redis": ("valkey8", {"cluster-enabled": "yes", "maxmemory-policy": "noeviction"}),
        f"{PREFIX}-redis-pubsub": (
            "valkey8",
            {"maxmemory-policy": "volatile-ttl", "notify-keyspace-events": "K$"},
        ),
    }


def test_the_public_hosts_point_to_the_load_balancer(prod: Made) -> None:
    client = prod.account.client("route53")
    (zone,) = client.list_hosted_zones()["HostedZones"]
    records = client.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
    names = {
        each["Name"]: [value["Value"] for value in each["ResourceRecords"]]
        for each in records
        if each["Type"] == "CNAME"
    }
    hosts = ("whisper", "storage", "cdn0", "cdn3")
    assert names == {f"{host}.chat.example.org.": [EDGE] for host in hosts}


# --- the evaluator ----------------------------------------------------------------------------------------

EXAMPLE: Document = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["s3:Get*", "S3:putobject"], "Resource": "arn:aws:s3:::b/open/?*"},
        {"Effect": "Deny", "Action": "s3:*", "Resource": ["arn:aws:s3:::b/open/closed/*"]},
        {
            "Effect": "Allow",
            "Action": "kms:Decrypt",
            "Resource": "*",
            "Condition": {"StringEquals": {"kms:ViaService": ["s3.x", "sqs.x"]}, "Bool": {"a:b": "true"}},
        },
        {"Effect": "Deny", "Action": "kms:*", "Resource": "*", "Condition": {"NumericLessThan": {"a:c": "1.2"}}},
    ],
}


@pytest.mark.parametrize(
    ("action", "resource", "context", "expected"),
    [
        ("s3:GetObject", "arn:aws:s3:::b/open/a", {}, True),
        ("s3:PutObject", "arn:aws:s3:::b/open/a/b", {}, True),
        ("s3:PutObjectAcl", "arn:aws:s3:::b/open/a", {}, False),
        ("s3:GetObject", "arn:aws:s3:::b/open/", {}, False),
        ("s3:GetObject", "arn:aws:s3:::b/opened/a", {}, False),
        ("s3:GetObject", "arn:aws:s3:::bXopen/a", {}, False),
        ("s3:GetObject", "arn:aws:s3:::b/open/closed/a", {}, False),
        ("kms:Decrypt", "k", {"kms:ViaService": "s3.x", "a:b": "true"}, True),
        ("kms:Decrypt", "k", {"kms:viaservice": "sqs.x", "a:b": "True"}, True),
        ("kms:Decrypt", "k", {"kms:ViaService": "s3.x", "a:b": "false"}, False),
        ("kms:Decrypt", "k", {"kms:ViaService": "s3.x"}, False),
        ("kms:Decrypt", "k", {"kms:ViaService": "S3.x", "a:b": "true"}, False),
        ("kms:Decrypt", "k", {"kms:ViaService": "s3.x", "a:b": "true", "a:c": "1.1"}, False),
        ("kms:Decrypt", "k", {"kms:ViaService": "s3.x", "a:b": "true", "a:c": "1.2"}, True),
    ],
)
def test_the_evaluator_decides_as_iam_does(action: str, resource: str, context: dict[str, str], expected: bool) -> None:
    assert allowed(Request(action, resource, context), [EXAMPLE]) is expected


@pytest.mark.parametrize(
    "statement",
    [
        {"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"},
        {"Effect": "Allow", "Action": "s3:*", "NotResource": "*"},
        {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"DateGreaterThan": {"a": "b"}}},
        {"Effect": "Allow", "Action": "*", "Resource": "arn:aws:s3:::${aws:username}"},
    ],
)
def test_the_evaluator_refuses_what_it_does_not_know(statement: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="evaluator does not know"):
        allowed(Request("s3:GetObject", "*"), [{"Version": "2012-10-17", "Statement": [statement]}])


# --- what roles may do with tables --------------------------------------------------------------------------


def table_arn(name: str, index: str = "") -> str:
    return f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{PREFIX}-{name}" + (f"/index/{index}" if index else "")


def dynamodb_actions(prod: Made) -> list[str]:
    """Every operation of the API, and the actions that only policies know."""
    names = prod.account.client("dynamodb").meta.service_model.operation_names
    partiql = ("PartiQLDelete", "PartiQLInsert", "PartiQLSelect", "PartiQLUpdate")
    return sorted({*names, *ITEMS, *partiql, "StartAwsBackupJob", "PurchaseReservedCapacityOfferings"})


def test_the_roles_are_those_of_the_services(prod: Made) -> None:
    iam = prod.account.client("iam")
    assert sorted(each["RoleName"] for each in iam.list_roles()["Roles"]) == sorted(f"{PREFIX}-{r}" for r in ROLES)
    assert sorted(each["UserName"] for each in iam.list_users()["Users"]) == sorted(f"{PREFIX}-{u}" for u in USERS)
    assert iam.list_policies(Scope="Local")["Policies"] == []
    assert iam.list_groups()["Groups"] == []
    for role in ROLES:
        tags = iam.list_role_tags(RoleName=f"{PREFIX}-{role}")["Tags"]
        assert {each["Key"]: each["Value"] for each in tags} == TAGS


@pytest.mark.parametrize("role", WHISPER)
def test_whisper_may_do_with_rows_what_its_code_does_and_no_more(prod: Made, role: str) -> None:
    policies, every = prod.policies(role), dynamodb_actions(prod)
    for name, operations in OPERATIONS.items():
        granted = {a for a in every if allowed(Request(f"dynamodb:{a}", table_arn(name)), policies)}
        assert granted == on_table(name), name
        for index in INDEXES.get(name, ()):
            granted = {a for a in every if allowed(Request(f"dynamodb:{a}", table_arn(name, index)), policies)}
            assert granted == {"Query"}, f"{name}/{index}"
        assert ("Query(index)" in operations) is (name in INDEXES)
        for elsewhere in (
            table_arn(name, "another"),
            f"{table_arn(name)}2",
            f"{table_arn(name)}/stream/2026-01-01T00:00:00.000",
            f"{table_arn(name)}/backup/01",
            table_arn(name).replace(PREFIX, "flatline-test"),
            table_arn(name).replace(REGION, "eu-west-1"),
            table_arn(name).replace(ACCOUNT, "999999999999"),
        ):
            assert not any(allowed(Request(f"dynamodb:{action}", elsewhere), policies) for action in ITEMS), elsewhere
    assert not any(allowed(Request(f"dynamodb:{action}", "*"), policies) for action in every)


@pytest.mark.parametrize("role", [*sorted(set(ROLES) - set(WHISPER)), *USERS])
def test_nobody_else_may_do_anything_with_rows(prod: Made, role: str) -> None:
    policies = prod.policies(role)
    for name, action in product(OPERATIONS, dynamodb_actions(prod)):
        assert not allowed(Request(f"dynamodb:{action}", table_arn(name)), policies)


# --- what roles may do with objects --------------------------------------------------------------------------

UUID = "5f2b8a50-3a54-4b1c-9a26-0d6a3d2f9d11"
PAGE = f"{UUID}/1/{UUID}"
PROFILE, STICKER = f"profiles/{'A' * 22}==", f"stickers/{'0' * 32}/manifest.proto"
GROUP, UPLOAD = f"groups/{'A' * 43}=/{'B' * 22}==", f"attachments/{'a' * 20}"
KEYS = ("dev.yml", "prod.yml", PAGE, PROFILE, STICKER, GROUP, UPLOAD, f"{UPLOAD}.info", f"{UPLOAD}.part", "a", "a/b")
READ, WRITE, DELETE, LIST = "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"
PUBLIC = (PROFILE, STICKER, GROUP)
PARTS = "s3:ListMultipartUploadParts"
UPLOADS = tuple(key for key in KEYS if key.startswith("attachments/"))

MAY: dict[str, dict[tuple[str, str], set[str]]] = {
    "whisper": {
        ("dynamic-config", "dev.yml"): {READ},
        ("dynamic-config", ""): {LIST},
        **{("pre-keys", key): {READ, WRITE, DELETE} for key in KEYS},
    },
    "cdn0-gate": {("cdn0", key): {READ} for key in PUBLIC},
    "cdn3": {
        ("uploads", ""): {LIST},
        # the tail of an upload that is too small for a part is an object of its own while it is unfinished
        **{("uploads", key): {READ, WRITE, PARTS} | ({DELETE} if key.endswith(".part") else set()) for key in UPLOADS},
    },
    "cdn3-download": {("uploads", ""): {LIST}, **{("uploads", key): {READ} for key in UPLOADS}},
    "cdn0-whisper": {
        ("cdn0", PROFILE): {WRITE, "s3:PutObjectAcl", DELETE},
        ("cdn0", STICKER): {WRITE, "s3:PutObjectAcl"},
    },
    "cdn0-storage": {("cdn0", GROUP): {WRITE, "s3:PutObjectAcl"}},
}
"""Bucket and key (or none) → the actions that the code behind a role or user takes."""


def may(role: str) -> Mapping[tuple[str, str], set[str]]:
    if role == LISTS_PRE_KEYS:
        return {**MAY["whisper"], ("pre-keys", ""): {LIST}}
    return MAY["whisper"] if role in WHISPER else MAY[role]


S3_ACTIONS = (
    *(
        READ,
        WRITE,
        DELETE,
        LIST,
        PARTS,
        "s3:AbortMultipartUpload",
        "s3:PutObjectAcl",
        "s3:GetObjectAcl",
        "s3:GetObjectVersion",
    ),
    *("s3:DeleteObjectVersion", "s3:PutObjectVersionAcl", "s3:RestoreObject", "s3:PutObjectTagging"),
    *("s3:GetObjectTagging", "s3:DeleteObjectTagging", "s3:GetObjectAttributes", "s3:ReplicateObject"),
    *("s3:PutObjectRetention", "s3:PutObjectLegalHold", "s3:BypassGovernanceRetention", "s3:ObjectOwnerOverride"),
    *("s3:CreateBucket", "s3:DeleteBucket", "s3:ListAllMyBuckets", "s3:ListBucketVersions", "s3:GetBucketPolicy"),
    *("s3:ListBucketMultipartUploads", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy", "s3:PutBucketAcl"),
    *("s3:GetBucketAcl", "s3:PutBucketOwnershipControls", "s3:PutBucketPublicAccessBlock"),
    *("s3:PutLifecycleConfiguration", "s3:PutEncryptionConfiguration", "s3:PutBucketVersioning"),
    *("s3:GetBucketLocation", "s3:PutBucketCORS", "s3:PutBucketWebsite", "s3:PutBucketLogging"),
    *("s3:PutBucketNotification", "s3:PutReplicationConfiguration", "s3:PutAccountPublicAccessBlock"),
)
TLS = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.3"}


@pytest.mark.parametrize("who", [*ROLES, *USERS])
def test_everybody_may_do_with_objects_what_their_code_does_and_no_more(prod: Made, who: str) -> None:
    own = prod.policies(who)
    for bucket in BUCKETS:
        theirs = [prod.bucket_policy(bucket)]
        for key in ("", *KEYS):
            requests = {action: Request(action, prod.arn(bucket, key), TLS) for action in S3_ACTIONS}
            granted = {action for action, request in requests.items() if allowed(request, own, theirs)}
            assert granted == may(who).get((bucket, key), set()), (bucket, key)
            for request in requests.values():
                assert not allowed(replace(request, context={**TLS, "aws:SecureTransport": "false"}), own, theirs)
                for elsewhere in (
                    request.resource.replace(PREFIX, "flatline-test"),
                    request.resource.replace(prod.buckets[bucket], f"{prod.buckets[bucket]}2"),
                ):
                    assert not allowed(replace(request, resource=elsewhere), own)
    assert not any(allowed(Request(action, "*", TLS), own) for action in S3_ACTIONS)


# --- the key, and everything else ---------------------------------------------------------------------------

KMS_USES = {
    "dynamodb": {"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"},
    "s3": {"kms:Decrypt", "kms:GenerateDataKey"},
}
"""What the services do with a key on behalf of those who ask them."""
KMS_ACTIONS = (
    *sorted(KMS_USES["dynamodb"]),
    *("kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKeyWithoutPlaintext", "kms:CreateGrant"),
    *("kms:ScheduleKeyDeletion", "kms:DisableKey", "kms:PutKeyPolicy", "kms:GetKeyPolicy", "kms:RetireGrant"),
    *("kms:CreateKey", "kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias", "kms:ListKeys", "kms:TagResource"),
    *("kms:DisableKeyRotation", "kms:EnableKeyRotation", "kms:Sign", "kms:GenerateMac", "kms:GenerateRandom"),
)


@pytest.mark.parametrize("who", [*ROLES, *USERS])
def test_the_key_is_used_through_its_services_only(prod: Made, who: str) -> None:
    own = prod.policies(who)
    services = {"dynamodb", "s3"} if who in WHISPER else {"s3"} if who in ("cdn3", "cdn3-download") else set()
    for service in ("dynamodb", "s3", "secretsmanager", "ebs", "lambda", "elasticache"):
        through = f"{service}.{REGION}.amazonaws.com"
        requests = [Request(action, prod.key).by(through) for action in KMS_ACTIONS]
        granted = {request.action for request in requests if allowed(request, own)}
        assert granted == (KMS_USES[service] if service in services else set()), service
        other = prod.key[:-1] + ("0" if prod.key[-1] != "0" else "1")
        assert not any(allowed(replace(request, resource=other), own) for request in requests)
        elsewhere = [Request(action, prod.key).by(f"{service}.eu-west-1.amazonaws.com") for action in KMS_ACTIONS]
        assert not any(allowed(request, own) for request in elsewhere)
    assert not any(allowed(Request(action, prod.key), own) for action in KMS_ACTIONS)


OTHERS = (
    *("iam:CreateUser", "iam:CreateAccessKey", "iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:PassRole"),
    *("iam:UpdateAssumeRolePolicy", "iam:DeleteRole", "iam:GetUser", "iam:ListUsers", "iam:CreateServiceLinkedRole"),
    *("sts:AssumeRole", "sts:TagSession", "sts:GetFederationToken", "sts:AssumeRoleWithWebIdentity"),
    *("eks:DescribeCluster", "eks:CreatePodIdentityAssociation", "ec2:RunInstances", "ec2:DescribeInstances"),
    *("ec2:AuthorizeSecurityGroupIngress", "elasticache:DescribeReplicationGroups", "elasticache:Connect"),
    *(
        "elasticache:DeleteReplicationGroup",
        "secretsmanager:GetSecretValue",
        "ssm:GetParameter",
        "lambda:InvokeFunction",
    ),
    *("route53:ChangeResourceRecordSets", "route53:ListHostedZones", "logs:PutLogEvents", "cloudtrail:StopLogging"),
    *("sqs:SendMessage", "sns:Publish", "backup:DeleteRecoveryPoint", "dax:GetItem", "organizations:LeaveOrganization"),
)


@pytest.mark.parametrize("who", [*ROLES, *USERS])
def test_nobody_may_do_anything_else(prod: Made, who: str) -> None:
    own = prod.policies(who)
    everything = [
        *(f"arn:aws:iam::{ACCOUNT}:role/{PREFIX}-{role}" for role in ROLES),
        *(f"arn:aws:iam::{ACCOUNT}:user/{PREFIX}-{user}" for user in USERS),
        *(prod.arn(bucket) for bucket in BUCKETS),
        *(table_arn(name) for name in OPERATIONS),
        *(prod.key, "*"),
    ]
    assert [(a, r) for a, r in product(OTHERS, everything) if allowed(Request(a, r), own)] == []
    services = {str(a).partition(":")[0] for each in own for s in each["Statement"] for a in s["Action"]}
    assert services <= {"dynamodb", "kms", "s3"}
