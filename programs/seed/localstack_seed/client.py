"""A client of DynamoDB and S3 that has the standard library alone."""

import hashlib
import hmac
import http.client
import json
import re
import time
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from localstack_seed.errors import AwsError, SeedError, TransientError

RETRIED_STATUSES = (500, 502, 503, 504)
RETRIED_CODES = ("LimitExceededException", "ThrottlingException")
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
REQUEST_TIMEOUT_SECONDS = 30.0
S3_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
ANYBODY = ("test", "test")  # LocalStack checks nothing

Json = dict[str, Any]
T = TypeVar("T")


class Client:
    """DynamoDB and S3 at one endpoint, repeating what fails in passing for so many seconds in all.

    `keys` are the access key id and the secret access key that sign the requests.
    """

    def __init__(self, endpoint: str, region: str, seconds: float, keys: tuple[str, str] = ANYBODY) -> None:
        self.endpoint, self.region, self.seconds, self.keys = endpoint, region, seconds, keys
        self.deadline = time.monotonic() + seconds

    def dynamodb(self, operation: str, request: Json) -> Json:
        """DynamoDB's answer to an operation. Raises AwsError when refused, SeedError at the deadline."""
        action = f"{operation} {request.get('TableName', '')}".strip()
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"DynamoDB_20120810.{operation}"}

        def attempt() -> Json:
            status, _, body = self._exchange("dynamodb", "POST", "/", headers, json.dumps(request).encode())
            if status != 200:
                raise _refusal(action, status, *_dynamodb_error(body))
            answer: Json = json.loads(body)
            return answer

        return self._until_deadline(action, attempt)

    def s3(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        content_type: str = "",
        query: Mapping[str, str] = {},
    ) -> tuple[int, str, bytes]:
        """Status (2xx or 404), Content-Type and body of S3's answer. Raises AwsError, or SeedError at the deadline."""
        action = f"{method} s3:/{path}"
        headers = {"Content-Type": content_type} if content_type else {}

        def attempt() -> tuple[int, str, bytes]:
            answer = self._exchange("s3", method, urllib.parse.quote(path, safe="/-_.~"), headers, body, query)
            if answer[0] // 100 != 2 and answer[0] != 404:
                raise _refusal(action, answer[0], *_s3_error(answer[2]))
            return answer

        return self._until_deadline(action, attempt)

    def sizes(self, bucket: str, prefix: str = "") -> dict[str, int]:
        """The sizes of a bucket's objects by key. Raises AwsError, or SeedError at the deadline."""
        found: dict[str, int] = {}
        query = {"list-type": "2", "prefix": prefix}
        while True:
            status, _, body = self.s3("GET", f"/{bucket}", query=query)
            if status != 200:
                raise AwsError(f"GET s3://{bucket}", *_s3_error(body))
            try:
                page = ET.fromstring(body)
                entries = [(each.findtext(f"{S3_NAMESPACE}Key"), each) for each in page.iter(f"{S3_NAMESPACE}Contents")]
                found |= {key: int(each.findtext(f"{S3_NAMESPACE}Size") or "") for key, each in entries if key}
            except (ET.ParseError, ValueError):
                raise SeedError(f"GET s3://{bucket}: this is no list of objects") from None
            if page.findtext(f"{S3_NAMESPACE}IsTruncated") != "true":
                return found
            query["continuation-token"] = page.findtext(f"{S3_NAMESPACE}NextContinuationToken") or ""

    def wait(self, what: str, done: Callable[[], bool]) -> None:
        """Returns once `done()` is true. Raises SeedError naming `what` at the deadline."""

        def attempt() -> None:
            if not done():
                raise TransientError("not yet")

        self._until_deadline(what, attempt)

    def _until_deadline(self, action: str, attempt: Callable[[], T]) -> T:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return attempt()
            except TransientError as error:
                if time.monotonic() + pause > self.deadline:
                    seconds = f"{self.seconds:g} s"
                    raise SeedError(f"{action}: given up after {seconds}: {error}") from None
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _exchange(
        self,
        service: str,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        query: Mapping[str, str] = {},
    ) -> tuple[int, str, bytes]:
        address = urllib.parse.urlsplit(self.endpoint)
        arguments = "&".join(f"{key}={urllib.parse.quote(query[key], safe='-_.~')}" for key in sorted(query))
        signed = self._signed(service, method, path, arguments, {**headers, "Host": address.netloc}, body)
        connection = http.client.HTTPConnection(
            address.hostname or "", address.port or 80, timeout=REQUEST_TIMEOUT_SECONDS
        )
        try:
            connection.request(method, f"{path}?{arguments}" if arguments else path, body, signed)
            response = connection.getresponse()
            return response.status, response.getheader("Content-Type", ""), response.read()
        except (OSError, http.client.HTTPException) as error:
            raise TransientError(f"{self.endpoint}: {error or type(error).__name__}") from None
        finally:
            connection.close()

    def _signed(
        self, service: str, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> dict[str, str]:
        """The headers with those of Signature Version 4; all of them are signed."""
        now = time.gmtime()
        digest = hashlib.sha256(body).hexdigest()
        date = time.strftime("%Y%m%dT%H%M%SZ", now)
        sent = {name.lower(): value for name, value in headers.items()}
        sent |= {"x-amz-date": date, "x-amz-content-sha256": digest}
        names = ";".join(sorted(sent))
        lines = "".join(f"{name}:{sent[name].strip()}\n" for name in sorted(sent))
        request = "\n".join((method, path, query, lines, names, digest))
        scope = (date[:8], self.region, service, "aws4_request")
        text = "\n".join(("AWS4-HMAC-SHA256", date, "/".join(scope), hashlib.sha256(request.encode()).hexdigest()))
        key_id, secret = self.keys
        key = f"AWS4{secret}".encode()
        for part in scope:
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        credential = "/".join((key_id, *scope))
        sent["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
        )
        return sent


def _refusal(action: str, status: int, code: str, message: str) -> Exception:
    if status in RETRIED_STATUSES or code in RETRIED_CODES:
        return TransientError(f"status {status} {code}: {message}")
    return AwsError(action, code or f"status {status}", message)


def _dynamodb_error(body: bytes) -> tuple[str, str]:
    try:
        error = json.loads(body)
        return error["__type"].rpartition("#")[2], error.get("message") or error.get("Message") or ""
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", body[:200].decode(errors="replace")


def _s3_error(body: bytes) -> tuple[str, str]:
    text = body.decode(errors="replace")
    code, message = (re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL) for tag in ("Code", "Message"))
    return (code[1] if code else ""), (message[1] if message else text[:200])
