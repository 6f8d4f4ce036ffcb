"""Least privilege for pods: a role for each service account, made of what its pods were granted."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import pulumi
import pulumi_aws as aws
import pulumi_gcp as gcp

from components.base import Component
from components.capabilities import Access, Grant, Identity, InstanceRole, Network, Token
from components.cloud.access_keys import rotated
from components.config_tree import shared_credentials
from components.kubernetes.mounted_files import MountedFiles, MountedFilesArgs, secret_files
from config.target import (
    AccessKeys,
    Aws,
    Federation,
    Gcp,
    PodIdentity,
    ServiceAccountKey,
    WebIdentity,
    WorkloadIdentity,
)

AWS_AUDIENCE = "sts.amazonaws.com"
AWS_TOKEN = "/var/run/secrets/flatline/aws/token"
AWS_CREDENTIALS = "/var/run/secrets/flatline/aws-credentials"
GOOGLE_TOKEN = "/var/run/secrets/flatline/google/token"
GOOGLE_CREDENTIALS = "/var/run/secrets/flatline/google-credentials.json"
GRANTS_IN_POLICY = 20
"""A managed policy has room for 6,144 characters, a user for ten of them."""
POD_IDENTITY_AGENT = (Network("169.254.170.23/32", (80,)), Network("fd00:ec2::23/128", (80,)))
GKE_METADATA = (Network("169.254.169.252/32", (988,)), Network("169.254.169.254/32", (80,)))
"""https://cloud.google.com/kubernetes-engine/docs/how-to/network-policy#network-policy-and-workload-identity"""


def policy_document(grants: Sequence[Grant]) -> pulumi.Output[str]:
    """An IAM policy of exactly these grants; statements of the same actions and condition are one."""

    def document(resources: list[list[str]]) -> str:
        merged: dict[str, dict[str, Any]] = {}
        for grant, arns in zip(grants, resources, strict=True):
            statement: dict[str, Any] = {"Effect": "Allow", "Action": sorted(grant.actions)}
            if grant.condition:
                statement["Condition"] = grant.condition
            merged.setdefault(json.dumps(statement, sort_keys=True), {**statement, "Resource": set()})
            merged[json.dumps(statement, sort_keys=True)]["Resource"] |= set(arns)
        statements = [{**each, "Resource": sorted(each["Resource"])} for _, each in sorted(merged.items())]
        return json.dumps({"Version": "2012-10-17", "Statement": statements}, sort_keys=True)

    return pulumi.Output.all(*(pulumi.Output.all(*grant.resources) for grant in grants)).apply(document)


@dataclass(frozen=True, kw_only=True)
class CloudIdentitiesArgs:
    """Both accounts, and how pods prove who they are to each."""

    aws: Aws
    gcp: Gcp


class CloudIdentities(Component):
    """Identities for AWS and Google Cloud. A service account that was granted nothing gets nothing."""

    TYPE = "flatline:cloud:CloudIdentities"

    def __init__(self, name: str, args: CloudIdentitiesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._aws, self._gcp = args.aws, args.gcp
        self.register_outputs({})

    def of(self, account: str, namespace: pulumi.Input[str], access: tuple[Access, ...]) -> Identity:
        """See `components.capabilities.Identities`."""
        grants = tuple(grant for each in access for grant in each.grants)
        roles = tuple(dict.fromkeys(role for each in access for role in each.roles))
        parts = [
            *([self._aws_identity(account, namespace, grants)] if grants else []),
            *([self._gcp_identity(account, namespace, roles)] if roles else []),
        ]
        return Identity(
            annotations={key: value for part in parts for key, value in part.annotations.items()},
            env={key: value for part in parts for key, value in part.env.items()},
            tokens=tuple(token for part in parts for token in part.tokens),
            files=tuple(files for part in parts for files in part.files),
            external_egress=tuple(network for part in parts for network in part.external_egress),
            depends_on=tuple(resource for part in parts for resource in part.depends_on),
        )

    # --- AWS ----------------------------------------------------------------------------------------------

    def _aws_identity(self, account: str, namespace: pulumi.Input[str], grants: tuple[Grant, ...]) -> Identity:
        env = {"AWS_REGION": self._aws.region, "AWS_STS_REGIONAL_ENDPOINTS": "regional"}
        match self._aws.identity:
            case PodIdentity(cluster=cluster):
                role, policy = self._role(account, grants, self._trusts_eks(account, namespace, cluster))
                association = aws.eks.PodIdentityAssociation(
                    account,
                    cluster_name=cluster,
                    namespace=namespace,
                    service_account=account,
                    role_arn=role.arn,
                    opts=self.child_opts,
                )
                # EKS gives the credentials to pods that start after the association
                return Identity(env=env, external_egress=POD_IDENTITY_AGENT, depends_on=(association, policy))
            case WebIdentity(issuer=issuer):
                role, policy = self._role(account, grants, self._trusts_issuer(account, namespace, issuer))
                return Identity(
                    env={**env, "AWS_ROLE_ARN": role.arn, "AWS_WEB_IDENTITY_TOKEN_FILE": AWS_TOKEN},
                    tokens=(Token(AWS_AUDIENCE, AWS_TOKEN),),
                    depends_on=(policy,),
                )
            case AccessKeys(epoch=epoch):
                return self._access_keys(account, namespace, grants, epoch, env)
            case other:
                assert_never(other)

    def _role(
        self, account: str, grants: tuple[Grant, ...], trust: pulumi.Output[str]
    ) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
        role = aws.iam.Role(
            account, name=f"{self._aws.name_prefix}-{account}", assume_role_policy=trust, opts=self.child_opts
        )
        policy = aws.iam.RolePolicy(account, role=role.name, policy=policy_document(grants), opts=self.child_opts)
        return role, policy

    def _trusts_eks(self, account: str, namespace: pulumi.Input[str], cluster: str) -> pulumi.Output[str]:
        def document(name: str) -> str:
            tags = {"eks-cluster-name": cluster, "kubernetes-namespace": name, "kubernetes-service-account": account}
            conditions = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
            return _trust(
                {"Service": "pods.eks.amazonaws.com"},
                ["sts:AssumeRole", "sts:TagSession"],
                {**conditions, "aws:SourceAccount": self._aws.account},
            )

        return pulumi.Output.from_input(namespace).apply(document)

    def _trusts_issuer(self, account: str, namespace: pulumi.Input[str], issuer: str) -> pulumi.Output[str]:
        name = issuer.removeprefix("https://")
        provider = f"arn:{self._aws.partition}:iam::{self._aws.account}:oidc-provider/{name}"

        def document(namespace: str) -> str:
            subject = f"system:serviceaccount:{namespace}:{account}"
            return _trust(
                {"Federated": provider},
                ["sts:AssumeRoleWithWebIdentity"],
                {f"{name}:aud": AWS_AUDIENCE, f"{name}:sub": subject},
            )

        return pulumi.Output.from_input(namespace).apply(document)

    def _access_keys(
        self,
        account: str,
        namespace: pulumi.Input[str],
        grants: tuple[Grant, ...],
        epoch: int,
        env: dict[str, str],
    ) -> Identity:
        user = aws.iam.User(account, name=f"{self._aws.name_prefix}-{account}", opts=self.child_opts)
        attached = self._attached(account, user, grants)
        made = rotated(account, user.name, epoch, self)[epoch]
        text = shared_credentials(made.id, made.secret)
        files = secret_files(
            f"{account}-aws-credentials", namespace, {AWS_CREDENTIALS: pulumi.Output.secret(text)}, self.child_opts
        )
        return Identity(
            env={**env, "AWS_SHARED_CREDENTIALS_FILE": AWS_CREDENTIALS}, files=(files,), depends_on=attached
        )

    def _attached(
        self, account: str, user: aws.iam.User, grants: tuple[Grant, ...]
    ) -> tuple[aws.iam.UserPolicyAttachment, ...]:
        """Managed policies of a part of the grants each: a user's own policies have room for 2,048 characters."""
        parts = [grants[start : start + GRANTS_IN_POLICY] for start in range(0, len(grants), GRANTS_IN_POLICY)]
        attached = []
        for number, part in enumerate(parts, 1):
            name = f"{account}-{number}"
            policy = aws.iam.Policy(
                name, name=f"{self._aws.name_prefix}-{name}", policy=policy_document(part), opts=self.child_opts
            )
            attached.append(
                aws.iam.UserPolicyAttachment(name, user=user.name, policy_arn=policy.arn, opts=self.child_opts)
            )
        return tuple(attached)

    # --- Google Cloud -------------------------------------------------------------------------------------

    def _gcp_identity(self, account: str, namespace: pulumi.Input[str], roles: tuple[InstanceRole, ...]) -> Identity:
        file = {"GOOGLE_APPLICATION_CREDENTIALS": GOOGLE_CREDENTIALS}
        match self._gcp.identity:
            case WorkloadIdentity(pool=pool):
                gcp_account = self._service_account(account)
                bound = gcp.serviceaccount.IAMMember(
                    account,
                    service_account_id=gcp_account.name,
                    role="roles/iam.workloadIdentityUser",
                    member=pulumi.Output.concat("serviceAccount:", pool, "[", namespace, "/", account, "]"),
                    opts=self.child_opts,
                )
                return Identity(
                    annotations={"iam.gke.io/gcp-service-account": gcp_account.email},
                    external_egress=GKE_METADATA,
                    depends_on=(bound, *self._instance_roles(account, roles, gcp_account.member)),
                )
            case Federation(provider=provider):
                pool = provider.partition("/providers/")[0]
                principal = pulumi.Output.concat(
                    f"principal://iam.googleapis.com/{pool}/subject/system:serviceaccount:", namespace, ":", account
                )
                files = self._gcp_file(account, namespace, external_account(provider), secret=False)
                return Identity(
                    env=file,
                    files=(files,),
                    tokens=(Token(f"https://iam.googleapis.com/{provider}", GOOGLE_TOKEN),),
                    depends_on=self._instance_roles(account, roles, principal),
                )
            case ServiceAccountKey(epoch=epoch):
                gcp_account = self._service_account(account)
                keys = [
                    gcp.serviceaccount.Key(
                        f"{account}-{each}", service_account_id=gcp_account.name, opts=self.child_opts
                    )
                    for each in range(max(1, epoch - 1), epoch + 1)
                ]
                key = keys[-1].private_key.apply(_from_base64)
                files = self._gcp_file(account, namespace, pulumi.Output.secret(key), secret=True)
                return Identity(
                    env=file, files=(files,), depends_on=self._instance_roles(account, roles, gcp_account.member)
                )
            case other:
                assert_never(other)

    def _service_account(self, account: str) -> gcp.serviceaccount.Account:
        name = f"{self._aws.name_prefix}-{account}"
        return gcp.serviceaccount.Account(
            account, account_id=name, display_name=name, project=self._gcp.project, opts=self.child_opts
        )

    def _instance_roles(
        self, account: str, roles: tuple[InstanceRole, ...], member: pulumi.Input[str]
    ) -> tuple[pulumi.Resource, ...]:
        return tuple(
            gcp.bigtable.InstanceIamMember(
                f"{account}-{role.role.rpartition('/')[2]}",
                project=role.project,
                instance=role.instance,
                role=role.role,
                member=member,
                opts=self.child_opts,
            )
            for role in roles
        )

    def _gcp_file(
        self, account: str, namespace: pulumi.Input[str], text: pulumi.Input[str], *, secret: bool
    ) -> MountedFiles:
        return MountedFiles(
            f"{account}-google-credentials",
            MountedFilesArgs(namespace=namespace, files={GOOGLE_CREDENTIALS: text}, secret=secret),
            self.child_opts,
        )


def external_account(provider: str) -> str:
    """Google's credential configuration for a token that a file holds (https://google.aip.dev/auth/4117)."""
    return json.dumps(
        {
            "type": "external_account",
            "audience": f"//iam.googleapis.com/{provider}",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": "https://sts.googleapis.com/v1/token",
            "credential_source": {"file": GOOGLE_TOKEN},
        },
        indent=2,
        sort_keys=True,
    )


def _trust(principal: dict[str, str], actions: list[str], equal: dict[str, str]) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": principal,
        "Action": actions,
        "Condition": {"StringEquals": equal},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, sort_keys=True)


def _from_base64(text: str) -> str:
    return base64.b64decode(text).decode()
