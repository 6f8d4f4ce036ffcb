"""Providers of AWS and Google Cloud, for one account and one project."""

import pulumi
import pulumi_aws as aws
import pulumi_gcp as gcp

from config.target import Cloud


def providers(target: Cloud) -> dict[str, pulumi.ProviderResource]:
    """They refuse credentials of another account before they do anything."""
    belongs = {"project": "flatline", "stack": target.aws.name_prefix}
    return {
        "aws": aws.Provider(
            "aws",
            region=target.aws.region,
            allowed_account_ids=[target.aws.account],
            default_tags=aws.ProviderDefaultTagsArgs(tags={**target.aws.tags, **belongs}),
        ),
        "gcp": gcp.Provider("gcp", project=target.gcp.project, default_labels=belongs),
    }
