"""Upload forms of the CDN as the services sign them and as Signal's apps send them, and raw HTTP to send them with.

Independent of the gate: the signature follows "Authenticating requests in browser-based uploads using POST
(AWS Signature Version 4)", the policies are those of Whisper's and Storage's `PostPolicyGenerator`.
"""

import base64
import hashlib
import hmac
import http.client
import io
import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

Fields = dict[str, str]
Headers = tuple[tuple[str, str], ...]

BOUNDARY = "----------------3f1d5f0f2d9c4b0e8a7c"


@dataclass(frozen=True)
class Signer:
    """A service's key pair for upload forms."""

    access_key_id: str
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True)
class Site:
    """What a sender must know: the bucket and region, who signs, the host, and what stands before a key in a path.

    `prefix` is `/<bucket>` straight at the gate, empty where a proxy adds it.
    """

    bucket: str
    region: str
    whisper: Signer
    storage: Signer
    prefix: str
    host: str = "cdn0.flatline.internal"


@dataclass(frozen=True)
class Policy:
    """A POST policy before it is encoded; the members that a test wants to spoil are plain data."""

    expiration: Any
    conditions: list[Any]
    more: Mapping[str, Any] = field(default_factory=dict)

    def encoded(self) -> str:
        return encode({"expiration": self.expiration, "conditions": self.conditions, **self.more})


def encode(document: object) -> str:
    """Standard base64 of the JSON text."""
    return base64.b64encode(json.dumps(document).encode()).decode()


def instant(at: datetime, decimals: int) -> str:
    """ISO 8601 in UTC with that many decimals of the second, as Java's DateTimeFormatter prints them."""
    fraction = f"{at.microsecond:06d}789"[:decimals]
    return f"{at:%Y-%m-%dT%H:%M:%S}" + (f".{fraction}" if decimals else "") + "Z"


def signature(secret: str, date: str, region: str, policy: str) -> str:
    """Hex signature of the base64 policy, for `date` as yyyyMMdd and service s3."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), hashlib.sha256)
    return hmac.digest(key, policy.encode(), hashlib.sha256).hex()


@dataclass(frozen=True)
class Form:
    """One upload form before it is signed. `fields` and `policy` may be spoilt; `signed` then signs what is there."""

    site: Site
    signer: Signer
    fields: Fields
    policy: Policy
    date: str

    def signed(self, policy: str | None = None) -> Fields:
        """The fields with policy and signature; `policy` replaces the encoded policy."""
        policy = self.policy.encoded() if policy is None else policy
        secret = self.signer.secret_access_key
        day = self.date[:8]
        return {
            **self.fields,
            "policy": policy,
            "x-amz-signature": signature(secret, day, self.site.region, policy),
        }

    def with_fields(self, **changes: str | None) -> "Form":
        """Other values for fields (underscores stand for hyphens); None removes one. The policy stays."""
        named = {name.replace("_", "-"): value for name, value in changes.items()}
        merged = {**self.fields, **named}
        return replace(self, fields={name: value for name, value in merged.items() if value is not None})

    def with_conditions(self, *added: object, without: Callable[[Any], bool] = lambda _: False) -> "Form":
        """A policy with more conditions, or without some."""
        kept = [one for one in self.policy.conditions if not without(one)]
        return replace(self, policy=replace(self.policy, conditions=[*kept, *added]))

    def with_policy(self, **changes: Any) -> "Form":
        return replace(self, policy=replace(self.policy, **changes))


def form(
    site: Site,
    key: str,
    max_bytes: int,
    *,
    signer: Signer | None = None,
    decimals: int = 4,
    lifetime: timedelta = timedelta(minutes=30),
    content_type: str = "application/octet-stream",
) -> Form:
    """What Whisper (4 decimals) or Storage (9) hand out for one key, and the Content-Type that the app adds."""
    now = datetime.now(UTC)
    date = f"{now:%Y%m%dT%H%M%SZ}"
    signer = signer or (site.storage if key.startswith("groups/") else site.whisper)
    credential = f"{signer.access_key_id}/{date[:8]}/{site.region}/s3/aws4_request"
    conditions: list[Any] = [
        {"bucket": site.bucket},
        {"key": key},
        {"acl": "private"},
        ["starts-with", "$Content-Type", ""],
        ["content-length-range", 1, max_bytes],
        {"x-amz-credential": credential},
        {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
        {"x-amz-date": date},
    ]
    fields = {
        "key": key,
        "acl": "private",
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": credential,
        "x-amz-date": date,
        "Content-Type": content_type,
    }
    return Form(site, signer, fields, Policy(instant(now + lifetime, decimals), conditions), date)


# ---- multipart/form-data --------------------------------------------------------------------------------------

FILE_HEADERS: Headers = (
    ("Content-Disposition", 'form-data; name="file"; filename="file"'),
    ("Content-Type", "application/octet-stream"),
)


def part(headers: Headers, body: bytes, boundary: str = BOUNDARY) -> bytes:
    """One part with the delimiter before it and the line break after it."""
    lines = [f"--{boundary}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body + b"\r\n"


def text_part(name: str, value: str, boundary: str = BOUNDARY) -> bytes:
    headers = (("Content-Disposition", f'form-data; name="{name}"'),)
    return part(headers, value.encode("latin-1"), boundary)


def okhttp_part(name: str, value: str, boundary: str = BOUNDARY) -> bytes:
    """A field as OkHttp 3 and older write it (Signal for Android): with the length of each part."""
    headers = (("Content-Disposition", f'form-data; name="{name}"'), ("Content-Length", str(len(value))))
    return part(headers, value.encode("latin-1"), boundary)


def multipart(
    fields: Mapping[str, str],
    file: bytes,
    *,
    boundary: str = BOUNDARY,
    file_headers: Headers = FILE_HEADERS,
    write: Callable[[str, str, str], bytes] = text_part,
    extra: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A whole form body. `extra` stands between the fields and the file, `after` between file and final delimiter."""
    head = b"".join(write(name, value, boundary) for name, value in fields.items())
    return head + extra + part(file_headers, file, boundary) + after + f"--{boundary}--\r\n".encode()


# ---- HTTP/1.1 by hand -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """One request, as the bytes that it will be. Content-Length is added unless `headers` has framing of its own."""

    method: str
    target: str
    headers: Headers = ()
    body: bytes = b""
    host: str = "cdn0.flatline.internal"
    half_close: bool = False  # end the sending side at once: what there is is all that will come

    def wire(self) -> bytes:
        names = {name.lower() for name, _ in self.headers}
        lines = [f"{self.method} {self.target} HTTP/1.1"]
        if "host" not in names:
            lines.append(f"Host: {self.host}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        if (self.body or self.method in ("POST", "PUT")) and not names & {"content-length", "transfer-encoding"}:
            lines.append(f"Content-Length: {len(self.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + self.body


def post(site: Site, body: bytes, *headers: tuple[str, str], boundary: str = BOUNDARY, path: str = "/") -> Request:
    """The POST that an app sends; a Content-Type among `headers` replaces the usual one."""
    names = {name.lower() for name, _ in headers}
    usual = () if "content-type" in names else (("Content-Type", f"multipart/form-data; boundary={boundary}"),)
    return Request("POST", f"{site.prefix}{path}", (*usual, *headers), body, host=site.host)


@dataclass(frozen=True)
class Reply:
    """An answer; status 0 when the connection was closed without one."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def code(self) -> str:
        """The S3 error code, or nothing."""
        return self.body.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()


class _Received(io.BytesIO):
    def makefile(self, *_: object) -> "io.BytesIO":
        return self


def parse(received: bytes, method: str) -> Reply:
    """The first final answer among received bytes."""
    while received.startswith(b"HTTP/1.1 100 "):
        received = received.partition(b"\r\n\r\n")[2]
    if not received:
        return Reply(0)
    response = http.client.HTTPResponse(_Received(received), method=method)  # pyrefly: ignore[bad-argument-type]  # type: ignore[arg-type]
    response.begin()
    return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def send(connection: socket.socket, request: Request, patience: float = 20.0) -> Reply:
    """Sends on a fresh connection (TLS or plain) and waits for the whole answer or the end of the connection."""
    connection.settimeout(patience)
    try:
        connection.sendall(request.wire())
        if request.half_close:
            connection.shutdown(socket.SHUT_WR)
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before everything was sent: the answer may have come all the same
    return receive(connection, request.method, patience)


def receive(connection: socket.socket, method: str, patience: float = 20.0) -> Reply:
    """Waits for the whole answer to a request of `method`, or for the end of the connection."""
    received = b""
    deadline = time.monotonic() + patience
    while not _whole(received, method):
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            more = connection.recv(65536)
        except ConnectionResetError:
            break
        if not more:
            break
        received += more
    return parse(received, method)


def _whole(received: bytes, method: str) -> bool:
    while received.startswith(b"HTTP/1.1 100 "):
        received = received.partition(b"\r\n\r\n")[2]
    head, ended, body = received.partition(b"\r\n\r\n")
    if not ended:
        return False
    reply = http.client.HTTPResponse(_Received(head + ended), method=method)  # pyrefly: ignore[bad-argument-type]  # type: ignore[arg-type]
    reply.begin()
    if method == "HEAD" or reply.status in (204, 304):
        return True
    if reply.chunked:
        return body.endswith(b"0\r\n\r\n")
    length = reply.getheader("Content-Length")
    return length is not None and len(body) >= int(length)
