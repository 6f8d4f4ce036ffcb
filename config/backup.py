"""Settings of backups that the cluster makes by itself."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from config import cron, retention
from config.base_model import StrictModel
from config.types import WebUrl, matching, web_port

_LATE = 9 * 3600
"""A run may begin an hour late and last six hours (components/backup.py), and clocks and collectors differ."""


def _place(value: str) -> str:
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._-]+)*/?", value) or "/.." in value:
        raise ValueError(
            "is no place; write s3://BUCKET or s3://BUCKET/PREFIX, the prefix of letters, digits, dots, hyphens, "
            "underscores and slashes"
        )
    return value


def _schedule(value: str) -> str:
    cron.parse(value)
    return value


def _keep(value: str) -> str:
    try:
        retention.parse(value)
    except ValueError:
        raise ValueError(f"is no rule; write such as daily=7,weekly=4,monthly=6 (1 to {retention.MOST} each)") from None
    return value


def _server(value: str) -> str:
    if urlsplit(value).path not in {"", "/"}:
        raise ValueError("has a path; write http(s)://host[:port]")
    return value.rstrip("/")


class BackupCredentials(StrictModel):
    """The bucket's key pair: `s3:ListBucket`, `PutObject`, `AbortMultipartUpload`; for `keep` also `DeleteObject`."""

    access_key_id: Annotated[str, matching(r"[!-~]{1,128}", "is no id of an access key; write it as you got it")]
    """Names the key pair."""
    secret_access_key: SecretStr
    """Its secret; `backup --schedule` writes it, encrypted."""


class ScheduledBackup(StrictModel):
    """A CronJob that writes encrypted archives into a bucket. `backup --schedule` writes this block."""

    to: Annotated[str, AfterValidator(_place)]
    """`s3://BUCKET/PREFIX`, on a server that is not this cluster: where the cluster is lost, archives must not be."""
    schedule: Annotated[str, AfterValidator(_schedule)]
    """When, as CronJobs have it, in UTC: `"15 3 * * *"` is each day at 03:15."""
    recipient: Annotated[
        str,
        matching(
            r"v1:[A-Za-z0-9+/]{22}==:[A-Za-z0-9+/]{43}=",
            "is no recipient; let `./flatline backup --schedule CRON --to s3://BUCKET/PREFIX` write it, which makes it "
            "of the stack's passphrase",
        ),
    ]
    """The public key that archives are encrypted for. It follows from the stack's passphrase, which opens them."""
    credentials: BackupCredentials
    endpoint: Annotated[WebUrl, AfterValidator(_server)] | None = None
    """The S3 server; that of AWS in `region` without it. `egress.backup` opens the way to it."""
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] = "us-east-1"
    """The bucket's region."""
    keep: Annotated[str, AfterValidator(_keep)] | None = None
    """The archives that stay once a new one is whole: the newest of each of so many days, weeks and months, such as
    `daily=7,weekly=4,monthly=6`. Without it all of them stay."""
    attachments: bool = False
    """Takes the attachments of CDN3 as well. Each archive has all of them."""

    @property
    def bucket(self) -> str:
        """The bucket of `to`."""
        return self.to.removeprefix("s3://").partition("/")[0]

    @property
    def prefix(self) -> str:
        """The common beginning of the objects' names: empty, or with a slash at its end."""
        inner = self.to.removeprefix("s3://").partition("/")[2].strip("/")
        return f"{inner}/" if inner else ""

    @property
    def server(self) -> str:
        """The URL of the S3 server."""
        return self.endpoint or f"https://s3.{self.region}.amazonaws.com"

    @property
    def port(self) -> int:
        """The TCP port of the server."""
        return web_port(self.server)

    @property
    def rule(self) -> dict[str, int]:
        """`keep` by period; nothing where all archives stay."""
        rule = retention.parse(self.keep) if self.keep else retention.Rule()
        return {period: count for period in retention.PERIODS if (count := getattr(rule, period))}

    @property
    def overdue_seconds(self) -> int:
        """The age of the newest archive at which something is wrong."""
        return cron.parse(self.schedule).longest_gap + _LATE
