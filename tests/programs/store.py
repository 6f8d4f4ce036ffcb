"""A bucket of uploads for the programs of CDN3, and the pod that may read it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3

from tests.programs.cdn0_s3 import Identity
from tests.programs.gate import SITE

SITE_OF_CDN3 = replace(SITE, bucket="attachments-of-a-test", region="eu-west-1")

POD = Identity(
    "ASIAPODTEST",
    "pod-secret-of-this-test-0123456789",
    "the-session-token/of+the-pod==",
    reads=r"attachments/[A-Za-z0-9_-]{20}(?:\.info)?",
    lists=True,
)


def pod_file(folder: Path, identity: Identity = POD) -> dict[str, str]:
    """The environment of a pod with a file of credentials."""
    file = folder / "aws-credentials"
    lines = {
        "aws_access_key_id": identity.access_key_id,
        "aws_secret_access_key": identity.secret_access_key,
        "aws_session_token": identity.session_token,
    }
    text = "".join(f"{name} = {value}\n" for name, value in lines.items() if value)
    file.write_text(f"[default]\n{text}")
    return {"AWS_SHARED_CREDENTIALS_FILE": str(file)}


def s3_flags(port: int, prefix: str = "attachments/", bucket: str = SITE_OF_CDN3.bucket) -> list[str]:
    return [
        *("--s3-bucket", bucket, "--s3-region", SITE_OF_CDN3.region),
        *("--s3-prefix", prefix, "--s3-endpoint", f"http://127.0.0.1:{port}"),
    ]


def role_of_a_pod(folder: Path, sts: str) -> dict[str, str]:
    """The environment of a pod with a role by its service account's token."""
    token = folder / "token"
    token.write_text("a-token-of-the-service-account")
    role = "arn:aws:iam::123456789012:role/of-a-pod"
    return {"AWS_ROLE_ARN": role, "AWS_WEB_IDENTITY_TOKEN_FILE": str(token), "AWS_ENDPOINT_URL_STS": sts}


def s3_client(url: str, region: str = SITE_OF_CDN3.region) -> Any:
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    return boto3.client("s3", endpoint_url=url, region_name=region, **keys)
