"""S3: a bucket is private, encrypted and owned by one account, and keeps versions of configuration."""

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase

from policies.model import Properties, Resource, Stack, at, mapping, number, objects, text
from policies.rule import Setting, Settings, StackRule, Violation, strings, whole_number
from policies.rules.aws import is_for_account
from policies.rules.iam import document_of, own_account, statements_of, strings_of

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


def every_bucket(
    name: str, is_right: Callable[[Properties], bool], message: str
) -> Callable[[Stack, Settings], Iterator[Violation]]:
    """A check that each bucket has a configuration of a type that satisfies `is_right`."""

    def check(stack: Stack, settings: Settings) -> Iterator[Violation]:
        for bucket in stack.typed(*BUCKETS):
            if not any(is_right(properties) for properties in configurations(stack, bucket, name)):
                yield Violation(message=message, resource=bucket)

    return check


BLOCKED = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")

_blocked = every_bucket(
    "BucketPublicAccessBlock",
    lambda properties: all(properties.get(name) is True for name in BLOCKED),
    "has no BucketPublicAccessBlock with all four switches true",
)


def _public(stack: Stack, settings: Settings) -> Iterator[Violation]:
    yield from _blocked(stack, settings)
    acls = (*tokens("BucketAcl"), "aws:s3/bucketObject:BucketObject", "aws:s3/bucketObjectv2:BucketObjectv2")
    for resource in stack.typed(*BUCKETS, *acls):
        properties = resource.properties
        if properties.get("acl") not in (None, "", "private", "bucket-owner-full-control", "log-delivery-write"):
            yield Violation(message="acl allows access outside of the account", resource=resource)
        for grant in (*objects(properties.get("grants")), *objects(at(properties, "accessControlPolicy", "grants"))):
            if text(grant.get("uri")) or text(at(grant, "grantee", "uri")):
                yield Violation(
                    message="grants access to a group with members outside of the account", resource=resource
                )
        if properties.get("website") is not None and resource.type in BUCKETS:
            yield Violation(message="website serves the bucket's objects to the public", resource=resource)
    for resource in stack.typed(*tokens("BucketWebsiteConfiguration")):
        yield Violation(message="serves a bucket's objects to the public", resource=resource)
    for resource in stack.typed(*BUCKETS, *tokens("BucketCorsConfiguration")):
        for rule in objects(resource.properties.get("corsRules")):
            if any("*" in origin for origin in strings_of(rule.get("allowedOrigins"))):
                yield Violation(message="corsRules allows every web page to read and write", resource=resource)


PUBLIC_ACCESS = StackRule(
    name="s3-public-access",
    description="No bucket can be made public.",
    frameworks=("FSBP S3.8", "CKV_AWS_53", "CKV_AWS_54", "CKV_AWS_55", "CKV_AWS_56", "CKV2_AWS_6"),
    remedy="Add a BucketPublicAccessBlock with all four switches true; give a CDN an identity of its own for reading.",
    check=_public,
)


def _denies(properties: Properties, condition: Properties) -> bool:
    """True if a policy denies all actions to everybody under exactly this condition; a second one would narrow it."""
    return any(
        statement.get("Effect") == "Deny"
        and statement.get("Principal") in ("*", {"AWS": "*"})
        and set(strings_of(statement.get("Action"))) & {"s3:*", "*"}
        and statement.get("Condition") == condition
        and any(not arn.endswith("/*") for arn in strings_of(statement.get("Resource")))
        and any(arn.endswith("*") for arn in strings_of(statement.get("Resource")))
        for statement in statements_of(document_of(properties.get("policy")))
    )


def _denies_plain_text(properties: Properties) -> bool:
    return any(
        _denies(properties, {"Bool": {"aws:SecureTransport": false}}) for false in ("false", False, ["false"])
    ) and any(
        _denies(properties, {"NumericLessThan": {"s3:TlsVersion": version}})
        for version in ("1.2", "1.3", 1.2, 1.3, ["1.2"], ["1.3"])
    )


TLS_ONLY = StackRule(
    name="s3-tls-only",
    description="Each bucket denies requests without TLS 1.2 or later.",
    frameworks=("FSBP S3.5", "CKV_AWS_379"),
    remedy="Deny s3:* on the bucket and its objects where aws:SecureTransport is false, and s3:TlsVersion below 1.2.",
    check=every_bucket("BucketPolicy", _denies_plain_text, "has no BucketPolicy that denies requests without TLS 1.2"),
)


def _grants(stack: Stack, settings: Settings) -> Iterator[Violation]:
    stack_account = own_account(stack)
    for resource in stack.typed(*tokens("BucketPolicy"), *BUCKETS):
        if resource.properties.get("policy") is None:
            continue
        for index, statement in enumerate(statements_of(document_of(resource.properties.get("policy")))):
            if statement.get("Effect") == "Deny":
                continue
            if not is_for_account(statement, stack_account):
                message = f"policy: statement {index} allows principals outside of the account"
                yield Violation(message=message, resource=resource)
            elif any("*" in action for action in strings_of(statement.get("Action")) or ["*"]):
                yield Violation(message=f"policy: statement {index} has a wildcard in Action", resource=resource)
    for resource in stack.typed(*tokens("BucketReplicationConfig"), "aws:s3/accessPoint:AccessPoint"):
        yield Violation(message="makes objects available outside of the bucket", resource=resource)


GRANTS = StackRule(
    name="s3-grants",
    description="A bucket's policy grants access only to the stack's account.",
    frameworks=("FSBP S3.6", "CKV_AWS_70"),
    remedy="Remove the statement; grant access to a role of the account in the role's own policy.",
    check=_grants,
)


def _expiry(stack: Stack, settings: Settings) -> Iterator[Violation]:
    for bucket in stack.typed(*BUCKETS):
        name = text(bucket.properties.get("bucket")) or bucket.name
        days = max((d for pattern, d in settings["buckets"].items() if fnmatchcase(name, pattern)), default=None)
        inline = [{"rules": bucket.properties.get("lifecycleRules")}]
        for properties in (*configurations(stack, bucket, "BucketLifecycleConfiguration"), *inline):
            for rule in objects(properties.get("rules")):
                if rule.get("status") != "Disabled" and rule.get("enabled") is not False:
                    for message in _deletes(rule, days, settings):
                        yield Violation(message=message, resource=bucket)


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


EXPIRY = StackRule(
    name="s3-expiry",
    description="Objects expire only in listed buckets, and not before the listed number of days.",
    frameworks=("Well-Architected REL09",),
    remedy="Remove expiration; or add the bucket with its minimum number of days to the setting `buckets`.",
    settings={
        "buckets": Setting(
            description="buckets whose objects may expire (patterns of names), each with the minimum number of days",
            schema={"type": "object", "additionalProperties": {"type": "integer"}},
            default={},
        ),
        "noncurrentDays": whole_number("the minimum number of days for earlier versions", 30),
    },
    check=_expiry,
)


def _encrypts(properties: Properties) -> bool:
    rules = objects(properties.get("rules"))
    return any(
        text(at(rule, "applyServerSideEncryptionByDefault", "sseAlgorithm")) in ("AES256", "aws:kms", "aws:kms:dsse")
        for rule in rules
    )


ENCRYPTION = StackRule(
    name="s3-encryption",
    description="Each bucket has an encryption configuration.",
    frameworks=("CKV_AWS_19", "CKV_AWS_145"),
    remedy="Add a BucketServerSideEncryptionConfiguration with applyServerSideEncryptionByDefault.",
    check=every_bucket("BucketServerSideEncryptionConfiguration", _encrypts, "has no encryption configuration"),
)


def _versioning(stack: Stack, settings: Settings) -> Iterator[Violation]:
    for bucket in stack.typed(*BUCKETS):
        names = (bucket.name, text(bucket.properties.get("bucket")))
        if not any(fnmatchcase(name, pattern) for name in names for pattern in settings["buckets"]):
            continue
        states = [
            at(properties, "versioningConfiguration", "status")
            for properties in configurations(stack, bucket, "BucketVersioning")
        ]
        if "Enabled" not in states:
            yield Violation(message="holds configuration, but versioning is not enabled", resource=bucket)


VERSIONING = StackRule(
    name="s3-versioning",
    description="A bucket with configuration keeps versions, so that a bad change can be undone.",
    frameworks=("FSBP S3.14", "CKV_AWS_21"),
    remedy="Add a BucketVersioning with versioningConfiguration.status Enabled.",
    settings={"buckets": strings("patterns of the names of buckets with configuration", ("*config*",))},
    check=_versioning,
)


def _aborts(properties: Properties) -> bool:
    return any(
        rule.get("status") == "Enabled"
        and (number(at(rule, "abortIncompleteMultipartUpload", "daysAfterInitiation")) or 0) > 0
        and not text(at(rule, "filter", "prefix"))
        for rule in objects(properties.get("rules"))
    )


LIFECYCLE = StackRule(
    name="s3-lifecycle",
    description="Each bucket deletes the parts of unfinished uploads.",
    frameworks=("FSBP S3.13", "CKV_AWS_300", "CKV2_AWS_61"),
    remedy="Add a BucketLifecycleConfiguration with abortIncompleteMultipartUpload for the whole bucket.",
    check=every_bucket("BucketLifecycleConfiguration", _aborts, "has no lifecycle rule that aborts unfinished uploads"),
)

OWNERSHIP = StackRule(
    name="s3-ownership",
    description="The account owns every object in its buckets; access control lists are disabled.",
    frameworks=("FSBP S3.12", "CKV2_AWS_65"),
    remedy="Add BucketOwnershipControls with rule.objectOwnership BucketOwnerEnforced.",
    check=every_bucket(
        "BucketOwnershipControls",
        lambda properties: mapping(properties.get("rule")).get("objectOwnership") == "BucketOwnerEnforced",
        "has no BucketOwnershipControls with BucketOwnerEnforced",
    ),
)

RULES = (PUBLIC_ACCESS, TLS_ONLY, GRANTS, ENCRYPTION, VERSIONING, LIFECYCLE, EXPIRY, OWNERSHIP)
