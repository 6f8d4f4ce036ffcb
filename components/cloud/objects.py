"""The S3 buckets: dynamic configuration, pre-keys, CDN0's avatars and stickers, and CDN3's uploads."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pulumi
import pulumi_aws as aws
import pulumi_random as random

from components.base import Component
from components.capabilities import Access, Bucket, Grant, Network, ObjectStore, UploadsInBucket
from components.cloud.durability import Durability
from components.cloud.kms import KmsKey
from config.schema.objects import CDN0_KEYS, DYNAMIC_CONFIG_OBJECT, BucketRole

UPLOADS_PREFIX = "attachments/"
"""Before each upload's key, so that the bucket's own root stays free."""
UNFINISHED_DAYS, OLD_CONFIGURATION_DAYS = 7, 90


@dataclass(frozen=True, kw_only=True)
class S3BucketsArgs:
    """`adopted` maps roles to buckets that exist. Days count from the creation of an object."""

    prefix: str
    region: str
    adopted: Mapping[BucketRole, str]
    dynamic_config: str
    upload_days: int
    unfinished_upload_days: int
    encryption: KmsKey
    durability: Durability
    networks: tuple[Network, ...]


class S3Buckets(Component):
    """Nothing in them is public: pods read by their own identity, and clients write by forms that a user signed."""

    TYPE = "flatline:cloud:Buckets"

    def __init__(self, name: str, args: S3BucketsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._args = args
        self._suffix = random.RandomId(
            "bucket-names", byte_length=4, opts=pulumi.ResourceOptions(parent=self, protect=True)
        )
        configuration = self._bucket("dynamic-config", versions=True)
        pre_keys = self._bucket("pre-keys")
        # The upload forms ask for the access list `private`, which a bucket without access lists refuses (400
        # AccessControlListNotSupported), and SSE-KMS would make the signing users need the key.
        cdn0 = self._bucket("cdn0", kms=False, ownership="BucketOwnerPreferred")
        # once its parts are gone, tusd takes an unfinished upload for a finished one, so no client may come back to it
        unfinished_days = max(UNFINISHED_DAYS, args.unfinished_upload_days)
        uploads = self._bucket("uploads", expire_days=args.upload_days, unfinished_days=unfinished_days)
        aws.s3.BucketObjectv2(
            "dynamic-config",
            bucket=configuration.bucket,
            key=DYNAMIC_CONFIG_OBJECT,
            content=args.dynamic_config,
            content_type="application/yaml",
            opts=args.durability.options(self),
        )
        self.cdn0_arn = cdn0.arn
        self.objects = ObjectStore(
            dynamic_config=self._capability(configuration, ("s3:GetObject",), (DYNAMIC_CONFIG_OBJECT,), listing=True),
            pre_keys=self._capability(pre_keys, ("s3:DeleteObject", "s3:GetObject", "s3:PutObject"), ("*",)),
            cdn0=Bucket(access=Access(external_egress=args.networks), region=args.region, name=cdn0.bucket),
        )
        prefixes = tuple(dict.fromkeys(f"{rule.prefix}*" for rule in CDN0_KEYS))
        self.public_reads = self._capability(cdn0, ("s3:GetObject",), prefixes, kms=False)
        self.uploads = self._uploads(uploads)
        self.register_outputs(
            {
                "dynamicConfig": configuration.bucket,
                "preKeys": pre_keys.bucket,
                "cdn0": cdn0.bucket,
                "uploads": uploads.bucket,
            }
        )

    def _bucket(
        self,
        role: BucketRole,
        *,
        versions: bool = False,
        kms: bool = True,
        ownership: str = "BucketOwnerEnforced",
        expire_days: int = 0,
        unfinished_days: int = UNFINISHED_DAYS,
    ) -> aws.s3.Bucket:
        args = self._args
        adopted = args.adopted.get(role)
        bucket = aws.s3.Bucket(
            f"bucket-{role}",
            bucket=adopted or pulumi.Output.concat(args.prefix, "-", role, "-", self._suffix.hex),
            opts=args.durability.options(self, adopt=adopted),
        )
        about = pulumi.ResourceOptions(parent=self)
        aws.s3.BucketPublicAccessBlock(
            f"bucket-{role}",
            bucket=bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=about,
        )
        aws.s3.BucketOwnershipControls(
            f"bucket-{role}",
            bucket=bucket.bucket,
            rule=aws.s3.BucketOwnershipControlsRuleArgs(object_ownership=ownership),
            opts=about,
        )
        aws.s3.BucketPolicy(f"bucket-{role}", bucket=bucket.bucket, policy=bucket.arn.apply(tls_only), opts=about)
        aws.s3.BucketServerSideEncryptionConfiguration(
            f"bucket-{role}",
            bucket=bucket.bucket,
            rules=[
                aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
                    apply_server_side_encryption_by_default=(
                        aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
                            sse_algorithm="aws:kms" if kms else "AES256",
                            kms_master_key_id=args.encryption.arn if kms else None,
                        )
                    ),
                    bucket_key_enabled=True if kms else None,
                )
            ],
            opts=about,
        )
        versioning = None
        if versions:
            versioning = aws.s3.BucketVersioning(
                f"bucket-{role}",
                bucket=bucket.bucket,
                versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
                opts=about,
            )
        aws.s3.BucketLifecycleConfiguration(
            f"bucket-{role}",
            bucket=bucket.bucket,
            rules=_lifecycle(versions, expire_days, unfinished_days),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[versioning] if versioning else []),
        )
        return bucket

    def _capability(
        self,
        bucket: aws.s3.Bucket,
        actions: tuple[str, ...],
        keys: tuple[str, ...],
        *,
        listing: bool = False,
        kms: bool = True,
    ) -> Bucket:
        """With `listing`, a key that is not there answers 404 instead of 403."""
        args = self._args
        lists = Grant(actions=("s3:ListBucket",), resources=(bucket.arn,))
        return Bucket(
            access=Access(
                grants=(
                    Grant(actions=actions, resources=tuple(pulumi.Output.concat(bucket.arn, "/", key) for key in keys)),
                    *((lists,) if listing else ()),
                    *((args.encryption.grant("s3"),) if kms else ()),
                ),
                external_egress=args.networks,
            ),
            region=args.region,
            name=bucket.bucket,
            listing=Access(grants=(lists,)),
        )

    def _uploads(self, bucket: aws.s3.Bucket) -> UploadsInBucket:
        """tusd writes parts and puts them together; the programs beside it read (observed with tusd 2.9.1)."""
        args = self._args
        everything = pulumi.Output.concat(bucket.arn, "/", UPLOADS_PREFIX, "*")
        unfinished_tail = pulumi.Output.concat(bucket.arn, "/", UPLOADS_PREFIX, "*.part")
        reading = self._capability(bucket, ("s3:GetObject",), (f"{UPLOADS_PREFIX}*",), listing=True).access
        writing = (
            Grant(actions=("s3:ListMultipartUploadParts", "s3:PutObject"), resources=(everything,)),
            Grant(actions=("s3:DeleteObject",), resources=(unfinished_tail,)),
        )
        return UploadsInBucket(
            bucket=bucket.bucket,
            region=args.region,
            prefix=UPLOADS_PREFIX,
            access=replace(reading, grants=(*reading.grants, *writing)),
            reading=reading,
        )


def tls_only(arn: str) -> str:
    """A bucket policy that refuses requests without TLS 1.2 or later."""
    everything = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [arn, f"{arn}/*"]}
    statements = [
        {"Sid": "OnlyTls", **everything, "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        {"Sid": "OnlyTls12", **everything, "Condition": {"NumericLessThan": {"s3:TlsVersion": "1.2"}}},
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, sort_keys=True)


def _lifecycle(
    versions: bool, expire_days: int, unfinished_days: int
) -> list[aws.s3.BucketLifecycleConfigurationRuleArgs]:
    everything = aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix="")
    rules = [
        aws.s3.BucketLifecycleConfigurationRuleArgs(
            id="unfinished",
            status="Enabled",
            filter=everything,
            abort_incomplete_multipart_upload=aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                days_after_initiation=unfinished_days
            ),
        )
    ]
    if versions:
        rules.append(
            aws.s3.BucketLifecycleConfigurationRuleArgs(
                id="old-versions",
                status="Enabled",
                filter=everything,
                noncurrent_version_expiration=aws.s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
                    noncurrent_days=OLD_CONFIGURATION_DAYS
                ),
            )
        )
    if expire_days:
        rules.append(
            aws.s3.BucketLifecycleConfigurationRuleArgs(
                id="old",
                status="Enabled",
                filter=everything,
                expiration=aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(days=expire_days),
            )
        )
    return rules
