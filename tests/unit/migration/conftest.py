"""AWS without AWS, a server for each test process."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.config import Config

from components.emulators.seeds import create_table_request
from config.schema.dynamodb import Table

REGION = "us-east-1"


@dataclass(frozen=True)
class Aws:
    """An address that answers as AWS does."""

    url: str

    @cache  # noqa: B019 - one of each kind: a client takes longer to make than most tests do otherwise
    def client(self, service: str, region: str = REGION) -> Any:
        """A client that tests share."""
        return self.own_client(service, region)

    def own_client(self, service: str, region: str = REGION) -> Any:
        """A client whose events a test may change."""
        return boto3.client(  # pyrefly: ignore[no-matching-overload]  # the name of the service is not a literal
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"mode": "standard", "total_max_attempts": 10}, s3={"addressing_style": "path"}),
        )

    def table(self, table: Table, name: str) -> str:
        """Makes a table of the schema under a name."""
        self.client("dynamodb").create_table(**{**create_table_request(table), "TableName": name})
        return name


@pytest.fixture
def aws(moto: str) -> Aws:
    """Empty."""
    return Aws(moto)
