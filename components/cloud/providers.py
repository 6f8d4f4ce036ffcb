"""Providers of AWS and Google Cloud, for one account and one project."""

from collections.abc import Callable

import pulumi
import pulumi_aws as aws
import pulumi_gcp as gcp

from config.target import Cloud


def providers(target: Cloud) -> dict[str, Callable[[str], pulumi.ProviderResource]]:
    """Factories of the providers, by package. They refuse credentials of another account before they do anything."""
    belongs = {"project": "flatline", "stack": target.aws.name_prefix}
    return {
        "aws": lambda name: aws.Provider(
            name,
            region=target.aws.region,
            allowed_account_ids=[target.aws.account],
            default_tags=aws.ProviderDefaultTagsArgs(tags={**target.aws.tags, **belongs}),
        ),
        "gcp": lambda name: gcp.Provider(name, project=target.gcp.project, default_labels=belongs),
    }
