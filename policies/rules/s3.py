"""S3: a bucket is private, encrypted and owned by one account; what matters in it can be had back."""

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase

from policies.model import Properties, Resource, Stack, at, mapping, number, objects, text
from policies.rule import Setting, Settings, StackRule, Violation, strings, whole_number
from policies.rules.aws import names_own
from policies.rules.iam import document_of, own_account, several, statements_of

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

_blocked = every_bucket(
    "BucketPublicAccessBlock",
    lambda properties: all(properties.get(name) is True for name in BLOCKED),
    "has no BucketPublicAccessBlock with all four switches true",
)


def _public(stack: Stack, settings: Settings) -> Iterator[Violation]:
    yield from _blocked(stack, settings)
    acls = (*tokens("BucketAcl"), "aws:s3/bucketObject:BucketObject", "aws:s3/bucketObjectv2:BucketObjectv2")
    for resource in stack.typed(*BUCKETS, *acls):
        given = resource.properties
        if given.get("acl") not in (None, "", "private", "bucket-owner-full-control", "log-delivery-write"):
            yield Violation(message="acl is for others than the account", resource=resource)
        for grant in (*objects(given.get("grants")), *objects(at(given, "accessControlPolicy", "grants"))):
            if text(grant.get("uri")) or text(at(grant, "grantee", "uri")):
                yield Violation(message="grants something to a group that others are in", resource=resource)
        if given.get("website") is not None and resource.type in BUCKETS:
            yield Violation(message="website serves its objects to everybody", resource=resource)
    for resource in stack.typed(*tokens("BucketWebsiteConfiguration")):
        yield Violation(message="serves objects to everybody", resource=resource)
    for resource in stack.typed(*BUCKETS, *tokens("BucketCorsConfiguration")):
        for rule in objects(resource.properties.get("corsRules")):
            if any("*" in origin for origin in several(rule.get("allowedOrigins"))):
                yield Violation(message="corsRules lets every page read and write", resource=resource)


PUBLIC_ACCESS = StackRule(
    name="s3-public-access",
    description="No bucket can be made public.",
    frameworks=("FSBP S3.8", "CKV_AWS_53", "CKV_AWS_54", "CKV_AWS_55", "CKV_AWS_56", "CKV2_AWS_6"),
    remedy="Add a BucketPublicAccessBlock with all four switches true; let a CDN read with an identity of its own.",
    check=_public,
)


def _denies(properties: Properties, condition: Properties) -> bool:
    """Whether a policy refuses everybody everything where a condition holds. Another one beside it makes it weaker."""
    return any(
        statement.get("Effect") == "Deny"
        and statement.get("Principal") in ("*", {"AWS": "*"})
        and set(several(statement.get("Action"))) & {"s3:*", "*"}
        and statement.get("Condition") == condition
        and any(not arn.endswith("/*") for arn in several(statement.get("Resource")))
        and any(arn.endswith("*") for arn in several(statement.get("Resource")))
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
    description="Each bucket refuses requests without TLS 1.2 or later.",
    frameworks=("FSBP S3.5", "CKV_AWS_379"),
    remedy="Deny s3:* on the bucket and its objects where aws:SecureTransport is false, and s3:TlsVersion below 1.2.",
    check=every_bucket("BucketPolicy", _denies_plain_text, "has no BucketPolicy that denies requests without TLS 1.2"),
)


def _grants(stack: Stack, settings: Settings) -> Iterator[Violation]:
    own = own_account(stack)
    for resource in stack.typed(*tokens("BucketPolicy"), *BUCKETS):
        if resource.properties.get("policy") is None:
            continue
        for index, statement in enumerate(statements_of(document_of(resource.properties.get("policy")))):
            if statement.get("Effect") == "Deny":
                continue
            if not names_own(statement, own):
                message = f"policy: statement {index} allows something to others than the account"
                yield Violation(message=message, resource=resource)
            elif any("*" in action for action in several(statement.get("Action")) or ["*"]):
                yield Violation(message=f"policy: statement {index} has a wildcard as Action", resource=resource)
    for resource in stack.typed(*tokens("BucketReplicationConfig"), "aws:s3/accessPoint:AccessPoint"):
        yield Violation(message="gives its objects to another place", resource=resource)


GRANTS = StackRule(
    name="s3-grants",
    description="A bucket's policy allows nothing to others than the stack's account.",
    frameworks=("FSBP S3.6", "CKV_AWS_70"),
    remedy="Remove the statement; give rights to a role of the account by its own policy.",
    check=_grants,
)


def _expiry(stack: Stack, settings: Settings) -> Iterator[Violation]:
    for bucket in stack.typed(*BUCKETS):
        name = text(bucket.properties.get("bucket")) or bucket.name
        days = max((d for pattern, d in settings["buckets"].items() if fnmatchcase(name, pattern)), default=None)
        inline = [{"rules": bucket.properties.get("lifecycleRules")}]
        for properties in (*about(stack, bucket, "BucketLifecycleConfiguration"), *inline):
            for rule in objects(properties.get("rules")):
                if rule.get("status") != "Disabled" and rule.get("enabled") is not False:
                    for message in _deletes(rule, days, settings):
                        yield Violation(message=message, resource=bucket)


def _deletes(rule: Properties, days: float | None, settings: Settings) -> Iterator[str]:
    expiration = mapping(rule.get("expiration"))
    after = number(expiration.get("days"))
    if text(expiration.get("date")) or (after is not None and (days is None or after < days)):
        yield "a lifecycle deletes objects that are meant to stay, or too early"
    old = number(at(rule, "noncurrentVersionExpiration", "noncurrentDays"))
    if old is not None and old < settings["noncurrentDays"]:
        yield "a lifecycle deletes earlier versions too early"
    for transition in objects(rule.get("transitions")):
        if text(transition.get("storageClass")) in ("GLACIER", "DEEP_ARCHIVE"):
            yield "a lifecycle moves objects to where nobody can read them at once"


EXPIRY = StackRule(
    name="s3-expiry",
    description="S3 deletes objects only in buckets that are meant to forget, and not before their time.",
    frameworks=("Well-Architected REL09",),
    remedy="Remove expiration; or add the bucket with its shortest time to the setting `buckets`.",
    settings={
        "buckets": Setting(
            description="buckets whose objects may expire (patterns of names), with the fewest days",
            schema={"type": "object", "additionalProperties": {"type": "integer"}},
            default={},
        ),
        "noncurrentDays": whole_number("how long earlier versions stay at least", 30),
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

RULES = (PUBLIC_ACCESS, TLS_ONLY, GRANTS, ENCRYPTION, VERSIONING, LIFECYCLE, EXPIRY, OWNERSHIP)
