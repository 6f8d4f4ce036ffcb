"""An S3 bucket: its objects with their content and what is said about it."""

from collections.abc import Iterator, Sequence
from typing import Any

from migration.dynamodb import translated_errors
from migration.errors import SchemaMismatchError
from migration.parallel import map_unordered
from migration.records import (
    Collection,
    InvalidRecordError,
    Record,
    Schema,
    canonical,
    digest,
    fields,
    from_base64,
    to_base64,
)

READERS = 4
"""Objects that are fetched at the same time; the largest has 10 MiB (config.schema.objects)."""

_HEADERS = {
    "cacheControl": "CacheControl",
    "contentDisposition": "ContentDisposition",
    "contentEncoding": "ContentEncoding",
    "contentLanguage": "ContentLanguage",
}
"""Name in an archive → name in S3's API, for what few objects have."""

_MISSING = {"404", "NoSuchKey"}
_REFUSED = {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}


class Bucket(Collection):
    """A bucket by its role in the schema (`name`), under its name in an account. `client` is boto3's."""

    kind = "objects"
    writers, most, heaviest = 4, 1, 1

    def __init__(self, client: Any, role: str, physical: str) -> None:
        self.name = role
        self._client = client
        self._physical = physical

    def check(self, expected: Schema | None = None) -> Schema:
        """See `Collection`."""
        with translated_errors(f"bucket {self._physical}"):
            try:
                self._client.head_bucket(Bucket=self._physical)
            except self._client.exceptions.ClientError as problem:
                if problem.response["Error"]["Code"] in _REFUSED:
                    raise SchemaMismatchError(
                        f"bucket {self._physical}: the server refuses the key pair",
                        "Use one that may read and write both: docs/migration.md, 'How the stores are reached'.",
                    ) from None
                if problem.response["Error"]["Code"] not in {"404", "NoSuchBucket"}:
                    raise
                raise SchemaMismatchError(
                    f"bucket {self._physical} does not exist", "Bring the stack up first: buckets are not made here."
                ) from None
        return {}

    def read(self) -> Iterator[Record]:
        """See `Collection`."""
        for record in map_unordered(self._fetch, self._keys(), READERS):
            if record is not None:
                yield record

    def count(self) -> int:
        """See `Collection`."""
        return sum(1 for _ in self._keys())

    def record(self, document: Any) -> Record:
        """See `Collection`."""
        described = fields(
            fields(document, {"Object": dict})["Object"],
            {"key": str, "contentType": str, "body": str},
            {"metadata": dict, **dict.fromkeys(_HEADERS, str)},
        )
        if not all(isinstance(value, str) for value in described.get("metadata", {}).values()):
            raise InvalidRecordError("metadata")
        return _record(described, from_base64(described["body"]))

    def existing(self, records: Sequence[Record]) -> dict[bytes, Record]:
        """See `Collection`."""
        found = (self._fetch(record.body["Key"]) for record in records)
        return {record.key: record for record in found if record is not None}

    def write(self, records: Sequence[Record], *, exclusive: bool) -> None:
        """See `Collection`."""
        for record in records:
            with translated_errors(f"writing to bucket {self._physical}"):
                self._client.put_object(Bucket=self._physical, **record.body)

    def _keys(self) -> Iterator[str]:
        pages = iter(self._client.get_paginator("list_objects_v2").paginate(Bucket=self._physical))
        while True:
            with translated_errors(f"reading bucket {self._physical}"):
                page = next(pages, None)
            if page is None:
                return
            for entry in page.get("Contents", ()):
                yield entry["Key"]

    def _fetch(self, key: str) -> Record | None:
        with translated_errors(f"reading bucket {self._physical}"):
            try:
                answer = self._client.get_object(Bucket=self._physical, Key=key)
                body = answer["Body"].read()
            except self._client.exceptions.ClientError as problem:
                if problem.response["Error"]["Code"] not in _MISSING:
                    raise
                return None
        described = {"key": key, "contentType": answer["ContentType"]}
        described |= {name: answer[field] for name, field in _HEADERS.items() if answer.get(field)}
        if answer.get("Metadata"):
            described["metadata"] = dict(answer["Metadata"])
        return _record(described, body)


def _record(described: dict[str, Any], body: bytes) -> Record:
    text = canonical({"Object": {**described, "body": to_base64(body)}})
    request = {"Key": described["key"], "ContentType": described["contentType"], "Body": body}
    request |= {field: described[name] for name, field in _HEADERS.items() if name in described}
    if "metadata" in described:
        request["Metadata"] = described["metadata"]
    return Record(key=described["key"].encode(), text=text, digest=digest(text), body=request)
