"""S3: a bucket is private, encrypted and owned by one account; what matters in it can be had back."""

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase

from policies.model import Properties, Resource, Stack, at, mapping, number, objects, text
from policies.rule import Settings, StackRule, Violation, strings
from policies.rules.iam import document_of, several, statements_of

BUCKETS = ("aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2")


def tokens(name: str) -> tuple[str, ...]:
    """The type tokens of something about buckets, the one of older programs included."""
    lower = name[0].lower() + name[1:]
    return (f"aws:s3/{lower}:{name}", f"aws:s3/{lower}V2:{name}V2")


def about(stack: Stack, bucket: Resource, name: str) -> Iterator[Properties]:
    """The properties of what configures a bucket: it depends on the bucket, or has its name."""
    own_name = text(bucket.properties.get("bucket"))
    for found in stack.typed(*tokens(name)):
        if found.depends_on("bucket", bucket.urn) or (own_name and found.properties.get("bucket") == own_name):
            yield found.properties


def every_bucket(
    name: str, is_right: Callable[[Properties], bool], message: str
) -> Callable[[Stack, Settings], Iterator[Violation]]:
    """A check that each bucket has a configuration of some type that is right."""

    def check(stack: Stack, settings: Settings) -> Iterator[Violation]:
        for bucket in stack.typed(*BUCKETS):
            if not any(is_right(properties) for properties in about(stack, bucket, name)):
                yield Violation(message=message, resource=bucket)

    return check


BLOCKED = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")

PUBLIC_ACCESS = StackRule(
    name="s3-public-access",
    description="No bucket can be made public.",
    frameworks=("FSBP S3.8", "CKV_AWS_53", "CKV_AWS_54", "CKV_AWS_55", "CKV_AWS_56", "CKV2_AWS_6"),
    remedy="Add a BucketPublicAccessBlock with all four switches true; let a CDN read with an identity of its own.",
    check=every_bucket(
        "BucketPublicAccessBlock",
        lambda properties: all(properties.get(name) is True for name in BLOCKED),
        "has no BucketPublicAccessBlock with all four switches true",
    ),
)


def _denies_plain_text(properties: Properties) -> bool:
    return any(
        statement.get("Effect") == "Deny"
        and statement.get("Principal") in ("*", {"AWS": "*"})
        and set(several(statement.get("Action"))) & {"s3:*", "*"}
        and text(at(statement, "Condition", "Bool", "aws:SecureTransport")) == "false"
        and any(not arn.endswith("/*") for arn in several(statement.get("Resource")))
        and any(arn.endswith("*") for arn in several(statement.get("Resource")))
        for statement in statements_of(document_of(properties.get("policy")))
    )


TLS_ONLY = StackRule(
    name="s3-tls-only",
    description="Each bucket refuses requests without TLS.",
    frameworks=("FSBP S3.5", "CKV_AWS_379"),
    remedy="Add a BucketPolicy that denies s3:* on the bucket and its objects where aws:SecureTransport is false.",
    check=every_bucket("BucketPolicy", _denies_plain_text, "has no BucketPolicy that denies requests without TLS"),
)


def _encrypts(properties: Properties) -> bool:
    rules = objects(properties.get("rules"))
    return any(
        text(at(rule, "applyServerSideEncryptionByDefault", "sseAlgorithm")) in ("AES256", "aws:kms", "aws:kms:dsse")
        for rule in rules
    )


ENCRYPTION = StackRule(
    name="s3-encryption",
    description="Each bucket says how it is encrypted.",
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
            for properties in about(stack, bucket, "BucketVersioning")
        ]
        if "Enabled" not in states:
            yield Violation(message="holds configuration and keeps no versions of it", resource=bucket)


VERSIONING = StackRule(
    name="s3-versioning",
    description="A bucket with configuration keeps its versions, so that a bad change can be taken back.",
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
    description="Each bucket drops uploads that were never finished.",
    frameworks=("FSBP S3.13", "CKV_AWS_300", "CKV2_AWS_61"),
    remedy="Add a BucketLifecycleConfiguration with abortIncompleteMultipartUpload for the whole bucket.",
    check=every_bucket("BucketLifecycleConfiguration", _aborts, "has no lifecycle that aborts unfinished uploads"),
)

OWNERSHIP = StackRule(
    name="s3-ownership",
    description="The account owns every object of its buckets; access lists are off.",
    frameworks=("FSBP S3.12", "CKV2_AWS_65"),
    remedy="Add BucketOwnershipControls with rule.objectOwnership BucketOwnerEnforced.",
    check=every_bucket(
        "BucketOwnershipControls",
        lambda properties: mapping(properties.get("rule")).get("objectOwnership") == "BucketOwnerEnforced",
        "has no BucketOwnershipControls with BucketOwnerEnforced",
    ),
)

RULES = (PUBLIC_ACCESS, TLS_ONLY, ENCRYPTION, VERSIONING, LIFECYCLE, OWNERSHIP)
