"""Rows that name a page of pre-keys which the other store no longer has.

Whisper stores the page first, so a row without its page means that the page was lost, and every attempt to fetch a key
of it is an error. Such rows are removed, and clients upload new keys. Where the other store does not answer in its
time, or refuses, nothing is removed and the reason is reported: then the next start looks again.
"""

import base64
import configparser
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from localstack_seed.client import Client
from localstack_seed.errors import AwsError, SeedError

PAGE_HEADER_BYTES, PAGE_KEY_BYTES = 8, 1641  # KEMPreKeyPage.java of Whisper, format 1

Json = dict[str, Any]


def remove_lost(client: Client, region: str, pages: Json, report: Callable[[str], None]) -> None:
    """Removes the rows of a table whose pages are lost. `pages` is as in the seed file."""
    table, bucket = pages["table"], pages["bucket"]
    # The rows first: the page of a row was there before the row was.
    rows = [row for row in _rows(client, table) if _page_of(row) is not None]
    if not rows:
        return
    try:
        keys = _keys(pages["credentialsFile"])
        store = Client(pages["endpoint"], region, pages["deadlineSeconds"], keys)
        sizes = store.sizes(bucket)
        suspects = [row for row in rows if _is_lost(row, sizes)]
        lost = [row for row in suspects if _is_lost(row, store.sizes(bucket, _page_of(row) or ""))]
    except SeedError as error:
        report(f"the pages of table {table} were not looked at, and no row was removed: {error}")
        return
    removed = sum(_remove_row(client, table, row) for row in lost)
    if removed:
        report(f"removed {removed} rows of table {table}, whose pages are lost: clients upload new keys")


def _rows(client: Client, table: str) -> Iterator[Json]:
    request: Json = {"TableName": table, "ConsistentRead": True}
    while True:
        page = client.dynamodb("Scan", request)
        yield from page["Items"]
        if not page.get("LastEvaluatedKey"):
            return
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def _remove_row(client: Client, table: str, row: Json) -> bool:
    """Removes a row, unless it names another page by now. True if it was removed."""
    request = {
        "TableName": table,
        "Key": {"U": row["U"], "D": row["D"]},
        "ConditionExpression": "#id = :id",
        "ExpressionAttributeNames": {"#id": "ID"},
        "ExpressionAttributeValues": {":id": row["ID"]},
    }
    try:
        client.dynamodb("DeleteItem", request)
    except AwsError as error:
        if error.code != "ConditionalCheckFailedException":
            raise
        return False
    return True


def _page_of(row: Json) -> str | None:
    """The key of the page that a row names (PagedSingleUseKEMPreKeyStore.java of Whisper); None for another row."""
    try:
        account, page = (uuid.UUID(bytes=base64.b64decode(row[name]["B"])) for name in ("U", "ID"))
        return f"{account}/{int(row['D']['N'])}/{page}"
    except (KeyError, TypeError, ValueError):
        return None


def _is_lost(row: Json, sizes: Mapping[str, int]) -> bool:
    """True if the page of a row is missing, or shorter than its keys: a power cut may leave an empty file."""
    size = sizes.get(_page_of(row) or "")
    if size is None:
        return True
    known = row.get("F") == {"N": "1"} and "N" in row.get("N", {})
    return known and size < PAGE_HEADER_BYTES + PAGE_KEY_BYTES * int(row["N"]["N"])


def _keys(credentials_file: str) -> tuple[str, str]:
    """The key pair in a shared credentials file. Raises SeedError, which says nothing of what is in the file."""
    profiles = configparser.RawConfigParser()
    try:
        profiles.read_string(Path(credentials_file).read_text(encoding="utf-8"))
        return profiles["default"]["aws_access_key_id"], profiles["default"]["aws_secret_access_key"]
    except OSError as error:
        raise SeedError(f"{credentials_file}: {error.strerror}") from None
    except (KeyError, configparser.Error):
        raise SeedError(f"{credentials_file}: no key pair of the profile default") from None
