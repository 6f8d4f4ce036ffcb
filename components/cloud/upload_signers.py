"""The two users whose keys sign upload forms: POST policies know no session tokens, so no role can."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.base import Component
from components.capabilities import Grant
from components.cloud.access_keys import rotated
from components.cloud.identity import policy_document
from config.schema.objects import CDN0_KEYS, SIGNERS, Signer
from config.schema.secrets import Epochs


@dataclass(frozen=True, kw_only=True)
class UploadSignersArgs:
    """The epoch before the newest stays, because forms are good for 30 minutes."""

    prefix: str
    bucket: pulumi.Input[str]
    epochs: Mapping[Signer, Epochs]


class UploadSigners(Component):
    """`issued` are secrets by their names in `config.schema.secrets`, as AWS made them."""

    TYPE = "flatline:cloud:Uploaders"

    def __init__(self, name: str, args: UploadSignersArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self.issued: dict[str, pulumi.Output[str]] = {}
        for signer in SIGNERS:
            key = self._user(f"cdn0-{signer}", signer, args)
            self.issued[f"cdn0-{signer}-access-key"] = key.id
            self.issued[f"cdn0-{signer}-secret-key"] = key.secret
        self.register_outputs({})

    def _user(self, name: str, signer: Signer, args: UploadSignersArgs) -> aws.iam.AccessKey:
        user = aws.iam.User(name, name=f"{args.prefix}-{name}", opts=self.child_opts)
        aws.iam.UserPolicy(
            name,
            user=user.name,
            policy=policy_document(post_policy_grants(signer, args.bucket)),
            opts=self.child_opts,
        )
        epochs = args.epochs[signer]
        return rotated(name, user.name, epochs.newest, self)[epochs.used]


def post_policy_grants(signer: Signer, bucket: pulumi.Input[str]) -> tuple[Grant, ...]:
    """Grants for a signer's forms (`acl` is one of their fields), and for the deletion of objects that they replace."""
    written = dict.fromkeys(rule.prefix for rule in CDN0_KEYS if rule.signer == signer)
    deleted = dict.fromkeys(rule.prefix for rule in CDN0_KEYS if rule.signer == signer and rule.deletes)

    def objects(prefixes: dict[str, None]) -> tuple[pulumi.Output[str], ...]:
        return tuple(pulumi.Output.concat(bucket, "/", prefix, "*") for prefix in prefixes)

    writes = Grant(actions=("s3:PutObject", "s3:PutObjectAcl"), resources=objects(written))
    return (writes, Grant(actions=("s3:DeleteObject",), resources=objects(deleted))) if deleted else (writes,)
