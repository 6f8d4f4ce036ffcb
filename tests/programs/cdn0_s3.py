"""A stand-in for Amazon S3 with a private bucket: it verifies every read and every form, as S3 does.

The check of a read is botocore's own signer; that of a form follows "Authenticating requests in browser-based uploads
using POST". A missing key is a NoSuchKey for those who have s3:ListBucket, and an AccessDenied for the others.
"""

import email.parser
import email.policy
import hashlib
import json
import re
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.programs.cdn0_forms import Fields, Site, signature
from tests.programs.cdn0_upstream import Handler, RecordingS3, serving

AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=(\S+), SignedHeaders=(\S+), Signature=([0-9a-f]{64})")


class DeniedError(Exception):
    """An error of S3's: status and code."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Identity:
    """Who may do what: keys of objects, as patterns."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    reads: str = "(?!)"
    uploads: str = "(?!)"
    lists: bool = False


@dataclass
class PrivateS3(RecordingS3):
    """The state of the server; `refuse`, if set, is the error of everything that is asked.

    `pieces`, if set, are the seconds before each 64 KiB of an object; `clip` so many bytes less than asked for are the
    answer to a range.
    """

    region: str = "us-east-1"
    identities: list[Identity] = field(default_factory=list)
    fields: list[Fields] = field(default_factory=list)
    """Of the forms that were stored, in their order and with their own spelling."""
    refuse: tuple[int, str] | None = None
    connections: int = 0
    pieces: float = 0.0
    clip: int = 0
    sent: int = 0
    """Bytes of objects."""
    cut_off: int = 0
    """Answers whose reader left."""

    def reset(self) -> None:
        super().reset()
        self.refuse, self.fields, self.connections = None, [], 0
        self.pieces, self.clip, self.sent, self.cut_off = 0.0, 0, 0, 0

    def identity(self, access_key_id: str) -> Identity:
        for one in self.identities:
            if one.access_key_id == access_key_id:
                return one
        raise DeniedError(403, "InvalidAccessKeyId")

    def check_read(self, method: str, target: str, headers: dict[str, str]) -> None:
        """Raises DeniedError unless the request is signed by one who may read the object, which is there."""
        found = AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        if not found:
            raise DeniedError(403, "AccessDenied")
        credential, names, given = found.groups()
        identity = self.identity(credential.partition("/")[0])
        if headers.get("x-amz-security-token") != identity.session_token:
            raise DeniedError(403, "InvalidToken")
        signed = names.split(";")
        if missing := [name for name in headers if name.startswith("x-amz-") and name not in signed]:
            raise AssertionError(f"not signed: {missing}")
        assert {"host", "x-amz-date", "x-amz-content-sha256"} <= set(signed)
        request = AWSRequest(
            method, f"http://{headers['host']}{target}", headers={name: headers[name] for name in signed}
        )
        date = request.context["timestamp"] = headers["x-amz-date"]
        signer = S3SigV4Auth(Credentials(identity.access_key_id, identity.secret_access_key), "s3", self.region)
        text = signer.string_to_sign(request, signer.canonical_request(request))
        if credential.partition("/")[2] != signer.credential_scope(request):
            raise DeniedError(400, "AuthorizationHeaderMalformed")
        if signer.signature(text, request) != given:
            raise DeniedError(403, "SignatureDoesNotMatch")
        if abs(datetime.now(UTC) - datetime.strptime(date, "%Y%m%dT%H%M%S%z")) > timedelta(minutes=15):
            raise DeniedError(403, "RequestTimeTooSkewed")
        key = target.removeprefix(f"/{self.bucket}/").replace("%3D", "=")
        if not re.fullmatch(identity.reads, key):
            raise DeniedError(403, "AccessDenied")
        if key not in self.objects:
            raise DeniedError(404, "NoSuchKey") if identity.lists else DeniedError(403, "AccessDenied")

    def check_form(self, fields: Fields, size: int) -> None:
        """Raises DeniedError unless the form's policy is signed, holds, and is of one who may upload the key."""
        form = {name.lower(): value for name, value in fields.items()}
        credential, date = form["x-amz-credential"].split("/"), form["x-amz-date"]
        identity = self.identity(credential[0])
        if signature(identity.secret_access_key, date[:8], self.region, form["policy"]) != form["x-amz-signature"]:
            raise DeniedError(403, "SignatureDoesNotMatch")
        policy: dict[str, Any] = json.loads(b64decode(form["policy"]))
        if datetime.fromisoformat(re.sub(r"(\.\d{1,6})\d*Z", r"\1Z", policy["expiration"])) < datetime.now(UTC):
            raise DeniedError(403, "AccessDenied")
        values = {**form, "bucket": self.bucket}
        covered = {"policy", "x-amz-signature"}
        for condition in policy["conditions"]:
            operator, left, right = condition if isinstance(condition, list) else ("eq", *next(iter(condition.items())))
            name = str(left).lstrip("$").lower()
            covered.add(name)
            if operator == "content-length-range":
                if not left <= size <= right:
                    raise DeniedError(400, "EntityTooLarge" if size > right else "EntityTooSmall")
            elif values[name] != right if operator == "eq" else not values[name].startswith(right):
                raise DeniedError(403, "AccessDenied")
        if set(form) - covered or not re.fullmatch(identity.uploads, form["key"]):
            raise DeniedError(403, "AccessDenied")


def parse(content_type: str, body: bytes) -> tuple[Fields, bytes]:
    """The fields of a form, and its file, which must be the last part."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    *parts, file = list(message.iter_parts())
    assert not message.defects
    names = [part.get_param("name", header="content-disposition") for part in [*parts, file]]
    assert names[-1] == "file"
    assert len(set(names)) == len(names)
    fields = {str(name): str(part.get_payload()) for name, part in zip(names, parts, strict=False)}
    boundary = re.escape(str(message.get_boundary()))
    found = re.search(rf'name="file"; filename="file"\r\n\r\n(.*)\r\n--{boundary}--\r\n\Z'.encode(), body, re.DOTALL)
    assert found
    return fields, bytes(found[1])


class PrivateHandler(Handler, BaseHTTPRequestHandler):
    """One connection, which may serve many reads."""

    @property
    def private(self) -> PrivateS3:
        assert isinstance(self.s3, PrivateS3)
        return self.s3

    def setup(self) -> None:
        super().setup()
        self.private.connections += 1

    def answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        super().answer(status, headers, body[: len(body) - self.private.clip] if status == 206 else body)

    def content(self, body: bytes) -> None:
        s3 = self.private
        for at in range(0, len(body), 65536):
            time.sleep(s3.pieces)
            try:
                self.wfile.write(body[at : at + 65536])
            except ConnectionError:
                s3.cut_off += 1
                raise
            s3.sent += len(body[at : at + 65536])

    def denied(self, error: DeniedError) -> None:
        body = f"<?xml version='1.0'?>\n<Error><Code>{error.code}</Code><Message>secret of S3</Message></Error>"
        self.answer(error.status, {"Content-Type": "application/xml"}, body.encode())

    def do_GET(self) -> None:
        if not self.judged(lambda: self.private.check_read(self.command, self.path, self.lowered())):
            return
        self.path = self.path.replace("%3D", "=")
        super().do_GET()

    def do_POST(self) -> None:
        record = self.seen()
        s3 = self.private
        if s3.early:
            assert s3.refuse
            self.denied(DeniedError(*s3.refuse))
        body = self.body(record)
        if body is None or s3.early:
            return None
        assert self.path == f"/{s3.bucket}"
        fields, file = parse(self.headers["Content-Type"], body)
        if not self.judged(lambda: s3.check_form(fields, len(file))):
            return None
        s3.fields.append(fields)
        s3.objects[fields["key"]] = (file, fields.get("Content-Type") or "binary/octet-stream")
        digest = hashlib.md5(file, usedforsecurity=False).hexdigest()
        return self.answer(204, {"ETag": f'"{digest}"', "x-amz-secret": "of the upstream"})

    def judged(self, check: Callable[[], None]) -> bool:
        """Whether the request is to be served; answers it if not."""
        try:
            if self.private.refuse:
                raise DeniedError(*self.private.refuse)
            check()
        except DeniedError as error:
            if self.command != "POST":  # recorded before it is answered: the one who asked looks at once
                self.seen().complete = True
            self.denied(error)
            return False
        return True

    def lowered(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}


@contextmanager
def private_s3(site: Site, *identities: Identity) -> Iterator[PrivateS3]:
    """The server on a free port of 127.0.0.1, until the block ends."""

    def make(port: int) -> PrivateS3:
        return PrivateS3(port, site.bucket, region=site.region, identities=list(identities))

    with serving(make, PrivateHandler) as s3:
        yield s3
