"""Access keys of a user, rotated by epoch."""

import pulumi
import pulumi_aws as aws


def rotated(name: str, user: pulumi.Input[str], epoch: int, parent: pulumi.Resource) -> dict[int, aws.iam.AccessKey]:
    """Keys of the newest epoch and of the one before, by epoch: what the older one signed stays good until it ends.

    IAM allows two keys for a user, so there are two places: a new epoch takes the place of the one before the last,
    whose key goes first.
    """
    return {
        each: aws.iam.AccessKey(
            f"{name}-{'odd' if each % 2 else 'even'}",
            user=user,
            opts=pulumi.ResourceOptions(parent=parent, replacement_trigger=each, delete_before_replace=True),
        )
        for each in range(max(1, epoch - 1), epoch + 1)
    }
