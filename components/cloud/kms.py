"""The key of tables, private buckets and caches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_aws as aws

from components.base import Component
from components.capabilities import Grant
from components.cloud.durability import Durability

WAITING_DAYS = 30

USES: Mapping[Literal["dynamodb", "s3"], tuple[str, ...]] = {
    "dynamodb": ("kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"),
    "s3": ("kms:Decrypt", "kms:GenerateDataKey"),
}
"""Operations of a service with the key, for its readers and writers."""


@dataclass(frozen=True, kw_only=True)
class KmsKeyArgs:
    """`own` is the ARN of a key of the operator's; without it one is made."""

    prefix: str
    region: str
    own: str | None
    durability: Durability


class KmsKey(Component):
    """A symmetric KMS key, replaced every year by AWS. Without it nothing that it encrypted can be read again."""

    TYPE = "flatline:cloud:Encryption"

    def __init__(self, name: str, args: KmsKeyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._region = args.region
        self.arn: pulumi.Input[str] = args.own or self._make(name, args)
        self.register_outputs({"arn": self.arn})

    def _make(self, name: str, args: KmsKeyArgs) -> pulumi.Output[str]:
        key = aws.kms.Key(
            name,
            description=f"Tables, private buckets and caches of {args.prefix}",
            enable_key_rotation=True,
            deletion_window_in_days=WAITING_DAYS,
            opts=args.durability.options(self),
        )
        aws.kms.Alias(name, name=f"alias/{args.prefix}", target_key_id=key.key_id, opts=self.child_opts)
        return key.arn

    def grant(self, service: Literal["dynamodb", "s3"]) -> Grant:
        """Use of the key by way of a service and no other way."""
        return Grant(
            actions=USES[service],
            resources=(self.arn,),
            condition={"StringEquals": {"kms:ViaService": f"{service}.{self._region}.amazonaws.com"}},
        )
