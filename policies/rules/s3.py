"""S3: a bucket is private, encrypted and owned by one account, and keeps versions of configuration."""

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import wraps
from typing import Unpack

from policies.model import Properties, Resource, Stack, at, mapping, number, objects, text
from policies.rule import Setting, Settings, StackRule, Texts, Violation, stack_rule, strings, whole_number
from policies.rules.aws import is_for_account
from policies.rules.iam import allowing, own_account, statements_of, strings_of

BUCKETS = ("aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2")


def tokens(name: str) -> tuple[str, ...]:
    """The type tokens of a bucket configuration, including the one of older programs."""
    lower = name[0].lower() + name[1:]
    return (f"aws:s3/{lower}:{name}", f"aws:s3/{lower}V2:{name}V2")


def configurations(stack: Stack, bucket: Resource, name: str) -> Iterator[Properties]:
    """The properties of the configurations of a bucket, which depend on the bucket or name it."""
    bucket_name = text(bucket.properties.get("bucket"))
    for resource in stack.typed(*tokens(name)):
        names_it = bucket_name and resource.properties.get("bucket") == bucket_name
        if resource.depends_on("bucket", bucket.urn) or names_it:
            yield resource.properties


BucketCheck = Callable[[Properties], bool]


def bucket_rule(configuration: str, message: str, **texts: Unpack[Texts]) -> Callable[[BucketCheck], StackRule]:
    """Makes a rule of a check that is true for the right configuration: each bucket must have such a configuration."""

    def rule(is_right: BucketCheck) -> StackRule:
        @wraps(is_right)
        def each_bucket(stack: Stack, settings: Settings) -> Iterator[Violation]:
            for bucket in stack.typed(*BUCKETS):
                if not any(map(is_right, configurations(stack, bucket, configuration))):
                    yield Violation(message, bucket)

        return stack_rule(**texts)(each_bucket)

    return rule


BLOCKED = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")


@stack_rule(
    remedy="Add a BucketPublicAccessBlock with all four switches true; give a CDN an identity of its own for reading.",
    frameworks=("FSBP S3.8", "CKV_AWS_53", "CKV_AWS_54", "CKV_AWS_55", "CKV_AWS_56", "CKV2_AWS_6"),
)
def s3_public_access(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """No bucket can be made public."""
    for bucket in stack.typed(*BUCKETS):
        blocks = configurations(stack, bucket, "BucketPublicAccessBlock")
        if not any(all(block.get(name) is True for name in BLOCKED) for block in blocks):
            yield Violation("has no BucketPublicAccessBlock with all four switches true", bucket)
    acls = (*tokens("BucketAcl"), "aws:s3/bucketObject:BucketObject", "aws:s3/bucketObjectv2:BucketObjectv2")
    for resource in stack.typed(*BUCKETS, *acls):
        properties = resource.properties
        if properties.get("acl") not in (None, "", "private", "bucket-owner-full-control", "log-delivery-write"):
            yield Violation("acl allows access outside of the account", resource)
        for grant in (*objects(properties.get("grants")), *objects(at(properties, "accessControlPolicy", "grants"))):
            if text(grant.get("uri")) or text(at(grant, "grantee", "uri")):
                yield Violation("grants access to a group with members outside of the account", resource)
        if properties.get("website") is not None and resource.type in BUCKETS:
            yield Violation("website serves the bucket's objects to the public", resource)
    for resource in stack.typed(*tokens("BucketWebsiteConfiguration")):
        yield Violation("serves a bucket's objects to the public", resource)
    for resource in stack.typed(*BUCKETS, *tokens("BucketCorsConfiguration")):
        for rule in objects(resource.properties.get("corsRules")):
            if any("*" in origin for origin in strings_of(rule.get("allowedOrigins"))):
                yield Violation("corsRules allows every web page to read and write", resource)


def _denies(properties: Properties, condition: Properties) -> bool:
    """True if a policy denies all actions to everybody under exactly this condition; a second one would narrow it."""
    return any(
        statement.get("Effect") == "Deny"
        and statement.get("Principal") in ("*", {"AWS": "*"})
        and set(strings_of(statement.get("Action"))) & {"s3:*", "*"}
        and statement.get("Condition") == condition
        and any(not arn.endswith("/*") for arn in strings_of(statement.get("Resource")))
        and any(arn.endswith("*") for arn in strings_of(statement.get("Resource")))
        for statement in statements_of(properties.get("policy"))
    )


@bucket_rule(
    "BucketPolicy",
    "has no BucketPolicy that denies requests without TLS 1.2",
    remedy="Deny s3:* on the bucket and its objects where aws:SecureTransport is false, and s3:TlsVersion below 1.2.",
    frameworks=("FSBP S3.5", "CKV_AWS_379"),
)
def s3_tls_only(policy: Properties) -> bool:
    """Each bucket denies requests without TLS 1.2 or later."""
    plain_text = [{"Bool": {"aws:SecureTransport": false}} for false in ("false", False, ["false"])]
    versions = ("1.2", "1.3", 1.2, 1.3, ["1.2"], ["1.3"])
    old_tls = [{"NumericLessThan": {"s3:TlsVersion": version}} for version in versions]
    return all(any(_denies(policy, condition) for condition in spellings) for spellings in (plain_text, old_tls))


@stack_rule(
    remedy="Remove the statement; grant access to a role of the account in the role's own policy.",
    frameworks=("FSBP S3.6", "CKV_AWS_70"),
)
def s3_grants(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """A bucket's policy grants access only to the stack's account."""
    stack_account = own_account(stack)
    for resource in stack.typed(*tokens("BucketPolicy"), *BUCKETS):
        for index, statement in allowing(resource.properties.get("policy")):
            if not is_for_account(statement, stack_account):
                yield Violation(f"policy: statement {index} allows principals outside of the account", resource)
            elif any("*" in action for action in strings_of(statement.get("Action")) or ["*"]):
                yield Violation(f"policy: statement {index} has a wildcard in Action", resource)
    for resource in stack.typed(*tokens("BucketReplicationConfig"), "aws:s3/accessPoint:AccessPoint"):
        yield Violation("makes objects available outside of the bucket", resource)


@bucket_rule(
    "BucketServerSideEncryptionConfiguration",
    "has no encryption configuration",
    remedy="Add a BucketServerSideEncryptionConfiguration with applyServerSideEncryptionByDefault.",
    frameworks=("CKV_AWS_19", "CKV_AWS_145"),
)
def s3_encryption(configuration: Properties) -> bool:
    """Each bucket has an encryption configuration."""
    return any(
        text(at(rule, "applyServerSideEncryptionByDefault", "sseAlgorithm")) in ("AES256", "aws:kms", "aws:kms:dsse")
        for rule in objects(configuration.get("rules"))
    )


@stack_rule(
    remedy="Add a BucketVersioning with versioningConfiguration.status Enabled.",
    frameworks=("FSBP S3.14", "CKV_AWS_21"),
    settings={"buckets": strings("patterns of the names of buckets with configuration", ("*config*",))},
)
def s3_versioning(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """A bucket with configuration keeps versions, so that a bad change can be undone."""
    for bucket in stack.typed(*BUCKETS):
        names = (bucket.name, text(bucket.properties.get("bucket")))
        if not any(fnmatchcase(name, pattern) for name in names for pattern in settings["buckets"]):
            continue
        states = [
            at(properties, "versioningConfiguration", "status")
            for properties in configurations(stack, bucket, "BucketVersioning")
        ]
        if "Enabled" not in states:
            yield Violation("holds configuration, but versioning is not enabled", bucket)


@bucket_rule(
    "BucketLifecycleConfiguration",
    "has no lifecycle rule that aborts unfinished uploads",
    remedy="Add a BucketLifecycleConfiguration with abortIncompleteMultipartUpload for the whole bucket.",
    frameworks=("FSBP S3.13", "CKV_AWS_300", "CKV2_AWS_61"),
)
def s3_lifecycle(configuration: Properties) -> bool:
    """Each bucket deletes the parts of unfinished uploads."""
    return any(
        rule.get("status") == "Enabled"
        and (number(at(rule, "abortIncompleteMultipartUpload", "daysAfterInitiation")) or 0) > 0
        and not text(at(rule, "filter", "prefix"))
        for rule in objects(configuration.get("rules"))
    )


@stack_rule(
    remedy="Remove expiration; or add the bucket with its minimum number of days to the setting `buckets`.",
    frameworks=("Well-Architected REL09",),
    settings={
        "buckets": Setting(
            description="buckets whose objects may expire (patterns of names), each with the minimum number of days",
            schema={"type": "object", "additionalProperties": {"type": "integer"}},
            default={},
        ),
        "noncurrentDays": whole_number("the minimum number of days for earlier versions", 30),
    },
)
def s3_expiry(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Objects expire only in listed buckets, and not before the listed number of days."""
    for bucket in stack.typed(*BUCKETS):
        name = text(bucket.properties.get("bucket")) or bucket.name
        days = max((d for pattern, d in settings["buckets"].items() if fnmatchcase(name, pattern)), default=None)
        inline = [{"rules": bucket.properties.get("lifecycleRules")}]
        for properties in (*configurations(stack, bucket, "BucketLifecycleConfiguration"), *inline):
            for rule in objects(properties.get("rules")):
                if rule.get("status") != "Disabled" and rule.get("enabled") is not False:
                    for message in _deletes(rule, days, settings):
                        yield Violation(message, bucket)


def _deletes(rule: Properties, days: float | None, settings: Settings) -> Iterator[str]:
    expiration = mapping(rule.get("expiration"))
    after = number(expiration.get("days"))
    if text(expiration.get("date")) or (after is not None and (days is None or after < days)):
        yield "a lifecycle rule deletes objects that must stay, or deletes objects too early"
    noncurrent_days = number(at(rule, "noncurrentVersionExpiration", "noncurrentDays"))
    if noncurrent_days is not None and noncurrent_days < settings["noncurrentDays"]:
        yield "a lifecycle rule deletes earlier versions too early"
    for transition in objects(rule.get("transitions")):
        if text(transition.get("storageClass")) in ("GLACIER", "DEEP_ARCHIVE"):
            yield "a lifecycle rule moves objects to a storage class without immediate reads"


@bucket_rule(
    "BucketOwnershipControls",
    "has no BucketOwnershipControls with BucketOwnerEnforced",
    remedy="Add BucketOwnershipControls with rule.objectOwnership BucketOwnerEnforced.",
    frameworks=("FSBP S3.12", "CKV2_AWS_65"),
)
def s3_ownership(controls: Properties) -> bool:
    """The account owns every object in its buckets; access control lists are disabled."""
    return mapping(controls.get("rule")).get("objectOwnership") == "BucketOwnerEnforced"
