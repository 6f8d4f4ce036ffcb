"""Requests that CDN0 must answer, or must refuse without reaching anything but the objects of its own bucket.

Plain data for more than one test: straight at the gate with a recording upstream, and through the proxy with the
real S3 server behind. `Vector.build(site)` makes the request fresh (forms expire); `answers` are the statuses that
the gate gives, 0 for a connection closed without an answer. Whatever stands before the gate may refuse with another
status below 500 (or redirect), and requests with `direct` cannot come through it at all.
"""

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from config.schema.objects import CDN0_KEYS, KIB, MIB
from tests.programs.cdn0_forms import (
    BOUNDARY,
    FILE_HEADERS,
    Form,
    Headers,
    Request,
    Site,
    encode,
    form,
    multipart,
    okhttp_part,
    part,
    post,
    text_part,
)

PROFILE = "profiles/0123456789-_ABCDEFGHIQ=="
OTHER_PROFILE = "profiles/0123456789-_ABCDEFGHIg=="
PACK = "0123456789abcdef0123456789abcdef"
MANIFEST = f"stickers/{PACK}/manifest.proto"
STICKER = f"stickers/{PACK}/full/0"
GROUP = "groups/0123456789-_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdQ/0123456789-_ABCDEFGHIQ"

LIMITS = {rule.name: rule.max_bytes for rule in CDN0_KEYS}
STORED = {PROFILE: b"an encrypted avatar\r\n" * 20}
"""What the bucket must hold before the vectors run; none of them may change it, but `Vector.stores` says so."""

Reach = Literal["nothing", "read", "aborted", "stores"]


@dataclass(frozen=True)
class Vector:
    """One request: what the gate answers, and how far it may get.

    `reach`: nothing reaches the upstream; a read does; a PUT is begun and never completed; an object is stored.
    """

    name: str
    build: Callable[[Site], Request]
    answers: tuple[int, ...]
    reach: Reach = "nothing"
    direct: bool = False

    @property
    def accepted(self) -> bool:
        return any(200 <= status < 300 or status == 304 for status in self.answers)


VECTORS: list[Vector] = []


def _add(
    name: str,
    build: Callable[[Site], Request],
    *answers: int,
    reach: Reach = "nothing",
    direct: bool = False,
) -> None:
    VECTORS.append(Vector(name, build, answers, reach, direct))


FILE = b"\x00\x01 encrypted bytes \r\n--\r\n-- \xff" * 40


def profile(site: Site, **options: Any) -> Form:
    """The form for a profile's avatar; options as those of `form`."""
    return form(site, PROFILE, LIMITS["profiles"], **options)


# ---- accepted uploads -----------------------------------------------------------------------------------------


def _whole(make: Callable[[Site], Form], file: bytes = FILE) -> Callable[[Site], Request]:
    return lambda site: post(site, multipart(make(site).signed(), file))


def _android(site: Site) -> Request:
    signed = profile(site, content_type="image/jpeg").signed()
    order = ["acl", "key", "policy", "Content-Type"]
    fields = {**{name: signed[name] for name in order}, **signed}
    boundary = "5f0c2a54-2b7a-4f6b-9a3c-1d2e3f405162"
    headers = (*FILE_HEADERS, ("Content-Length", str(len(FILE))))
    body = multipart(fields, FILE, boundary=boundary, file_headers=headers, write=okhttp_part)
    return post(site, body, boundary=boundary)


def _desktop(site: Site) -> Request:
    headers = (("Content-Disposition", 'form-data; name="file"'), ("Content-Type", "application/octet-stream"))
    return post(site, multipart(form(site, STICKER, LIMITS["stickers"]).signed(), FILE, file_headers=headers))


def _ios(site: Site) -> Request:
    boundary = "Boundary+0A1B2C3D4E5F6071"
    signed = profile(site, content_type="image/jpeg").signed()
    return post(site, multipart(signed, FILE, boundary=boundary), boundary=boundary)


def _quoted(site: Site) -> Request:
    boundary = "with'all(of)RFC+_2046,./:=?"
    body = multipart(profile(site).signed(), FILE, boundary=boundary)
    return post(site, body, ("Content-Type", f'multipart/form-data; boundary="{boundary}"'))


def _service_text(site: Site) -> Request:
    """The policy as Whisper's own text, not as a JSON encoder prints it."""
    made = profile(site)
    conditions = ",\n    ".join(json.dumps(one) for one in made.policy.conditions)
    text = f'{{\n  "expiration": "{made.policy.expiration}",\n  "conditions": [\n    {conditions}\n  ]\n}}\n'
    return post(site, multipart(made.signed(b64encode(text.encode()).decode()), FILE))


def _acl_by(fields: dict[str, str], headers: Headers) -> bytes:
    """A form whose field acl is a part with these headers."""
    return multipart(_without(fields, "acl"), FILE, extra=part(headers, b"private"))


def _without(fields: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in fields.items() if name not in names}


def _upload(name: str, build: Callable[[Site], Request], direct: bool = False) -> None:
    _add(name, build, 204, reach="stores", direct=direct)


_upload("profile, four decimals as Whisper prints", _whole(profile))
_upload("profile, Whisper's policy text", _service_text)
_upload("sticker manifest", _whole(lambda s: form(s, MANIFEST, LIMITS["sticker-manifests"])))
_upload("sticker", _whole(lambda s: form(s, f"stickers/{PACK}/full/200", LIMITS["stickers"])))
_upload("group avatar, nine decimals as Storage prints", _whole(lambda s: form(s, GROUP, 3 * MIB, decimals=9)))
_upload("expiration in whole seconds", _whole(lambda s: profile(s, decimals=0)))
_upload("expiration in milliseconds", _whole(lambda s: profile(s, decimals=3)))
_upload("expiration in microseconds", _whole(lambda s: profile(s, decimals=6)))
_ELABORATE = (
    ("content-disposition", 'form-data; name="acl"'),
    ("Content-Type", "text/plain; charset=UTF-8"),
    ("Content-Transfer-Encoding", "8bit"),
    ("Content-Length", "7"),
)
_upload("field with a length and an encoding of its own", lambda s: post(s, _acl_by(profile(s).signed(), _ELABORATE)))
_upload("as Signal for Android sends it", _android)
_upload("as Signal Desktop sends it", _desktop)
_upload("as Signal for iOS sends it", _ios)
_upload("quoted boundary", _quoted)
_upload("one byte", _whole(profile, b"\r"))
_upload(
    "exactly as large as the rule allows",
    _whole(lambda s: form(s, MANIFEST, LIMITS["sticker-manifests"]), b"x" * 10 * KIB),
)
_upload("bytes that look like a delimiter", _whole(profile, f"\r\n--{BOUNDARY[:-1]}\r\n\r\n".encode() * 9))
_upload("empty Content-Type", _whole(lambda s: profile(s, content_type="")))
_upload("eq in list form", _whole(lambda s: profile(s).with_conditions(["eq", "$key", PROFILE])))
_upload("a second, narrower range", _whole(lambda s: profile(s).with_conditions(["content-length-range", 2, 9999])))
_upload(
    "Expect: 100-continue",
    lambda s: post(s, multipart(profile(s).signed(), FILE), ("Expect", "100-continue")),
)
_HOSTILE: Headers = (
    ("X-Amz-Target", "DynamoDB_20120810.ListTables"),
    ("Authorization", "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/dynamodb/aws4_request"),
    ("x-localstack-data", "1"),
    ("X-HTTP-Method-Override", "DELETE"),
)
_WRITING: Headers = (
    ("x-amz-copy-source", "/whisper-service-dynamic-config/dev.yml"),
    *(("x-amz-acl", "public-read-write"), ("x-amz-meta-a", "b"), ("Cookie", "a=b")),
)
_upload(
    "hostile headers beside a good form",
    lambda s: post(s, multipart(profile(s).signed(), FILE), *_HOSTILE, *_WRITING),
)
_upload("bucket without a slash", lambda s: post(s, multipart(profile(s).signed(), FILE), path=""), direct=True)


# ---- reads ----------------------------------------------------------------------------------------------------


def _get(key: str, *headers: tuple[str, str], method: str = "GET") -> Callable[[Site], Request]:
    return lambda site: Request(method, f"{site.prefix}/{key}", headers, host=site.host)


_add("GET", _get(PROFILE), 200, reach="read")
_add("HEAD", _get(PROFILE, method="HEAD"), 200, reach="read")
_add("GET a range", _get(PROFILE, ("Range", "bytes=1-5")), 206, reach="read")
_add("GET several ranges", _get(PROFILE, ("Range", "bytes=1-5,7-8")), 200, reach="read")
_add("GET beyond the end", _get(PROFILE, ("Range", "bytes=99999-")), 416, reach="read")
_add("GET with dates that are none", _get(PROFILE, ("If-Modified-Since", "now"), ("If-Range", "{}")), 200, reach="read")
_add("GET what is missing", _get(OTHER_PROFILE), 404, reach="read")
_add("HEAD what is missing", _get(OTHER_PROFILE, method="HEAD"), 404, reach="read")
_add(
    "GET with another service's headers",
    _get(PROFILE, *_HOSTILE, ("X-Forwarded-Host", "dynamodb.us-east-1.amazonaws.com"), ("X-Original-URL", "/")),
    200,
    reach="read",
)
_add(
    "GET with another service's host",
    lambda s: Request("GET", f"{s.prefix}/{PROFILE}", host="dynamodb.localhost.localstack.cloud"),
    200,
    reach="read",
    direct=True,
)


# ---- refused forms: signature, credential, policy -------------------------------------------------------------


def _refuse(name: str, build: Callable[[Site], Request], *answers: int, reach: Reach = "nothing") -> None:
    _add(f"form: {name}", build, *answers, reach=reach)


def _fields(name: str, change: Callable[[Site, dict[str, str]], dict[str, str]], *answers: int) -> None:
    """A well-signed profile form whose fields are changed afterwards."""
    _refuse(name, lambda s: post(s, multipart(change(s, profile(s).signed()), FILE)), *answers)


def _signed(name: str, make: Callable[[Site], Form], *answers: int, file: bytes = FILE) -> None:
    """A form that is truly signed, but must not be accepted."""
    _refuse(name, _whole(make, file), *answers)


def _removing(name: str) -> Callable[[Site, dict[str, str]], dict[str, str]]:
    return lambda _, fields: _without(fields, name)


def _emptying(name: str) -> Callable[[Site, dict[str, str]], dict[str, str]]:
    return lambda _, fields: {**fields, name: ""}


_fields("no policy, no signature", lambda _, f: _without(f, "policy", "x-amz-signature"), 403)
_fields("only a key", lambda _, f: {"key": f["key"]}, 403)
for _name in ("policy", "x-amz-signature", "x-amz-credential", "x-amz-date", "x-amz-algorithm", "acl", "key"):
    _fields(f"no {_name}", _removing(_name), 403)
    _fields(f"empty {_name}", _emptying(_name), 400, 403)
_fields("no Content-Type, which the policy names", lambda _, f: _without(f, "Content-Type"), 403)
_fields("signature of nothing", lambda _, f: {**f, "x-amz-signature": "0" * 64}, 403)
_fields("signature in capitals", lambda _, f: {**f, "x-amz-signature": f["x-amz-signature"].upper()}, 403)
_fields("signature cut short", lambda _, f: {**f, "x-amz-signature": f["x-amz-signature"][:32]}, 403)
_fields("signature too long", lambda _, f: {**f, "x-amz-signature": f["x-amz-signature"] + "00"}, 403)
_fields("signature after a space", lambda _, f: {**f, "x-amz-signature": " " + f["x-amz-signature"]}, 403)
_fields(
    "another policy under the signature",
    lambda s, f: {**f, "policy": form(s, OTHER_PROFILE, 5).policy.encoded()},
    403,
)
_fields("policy with a space after it", lambda _, f: {**f, "policy": f["policy"] + " "}, 403)
_fields("policy without its padding", lambda _, f: {**f, "policy": f["policy"] + "="}, 403)
_fields("another key than signed", lambda _, f: {**f, "key": OTHER_PROFILE}, 403)
_fields("acl public-read", lambda _, f: {**f, "acl": "public-read"}, 403)
_fields("acl in capitals", lambda _, f: {**f, "acl": "PRIVATE"}, 403)
_fields("another date", lambda _, f: {**f, "x-amz-date": "20260101T000000Z"}, 400)
_fields("another second", lambda _, f: {**f, "x-amz-date": f["x-amz-date"][:9] + "000000Z"}, 403)
_fields("date with hyphens", lambda _, f: {**f, "x-amz-date": "2026-01-01T00:00:00Z"}, 400)
_fields("date that does not exist", lambda _, f: {**f, "x-amz-date": f["x-amz-date"][:4] + "0230T000000Z"}, 400)
_fields("algorithm SHA1", lambda _, f: {**f, "x-amz-algorithm": "AWS4-HMAC-SHA1"}, 400)
_fields("algorithm none", lambda _, f: {**f, "x-amz-algorithm": "none"}, 400)
_fields("credential without scope", lambda s, f: {**f, "x-amz-credential": s.whisper.access_key_id}, 400)
_fields("credential with more scope", lambda _, f: {**f, "x-amz-credential": f["x-amz-credential"] + "/"}, 400)


def _by(site: Site, fields: dict[str, str], key: str) -> dict[str, str]:
    return {**fields, "x-amz-credential": fields["x-amz-credential"].replace(site.whisper.access_key_id, key)}


_fields("credential of the other service", lambda s, f: _by(s, f, s.storage.access_key_id), 403)
_fields("access key that nobody has", lambda s, f: _by(s, f, "AKIANOBODY"), 403)
_fields("access key that every object has", lambda s, f: _by(s, f, "__proto__"), 403)


def _scope(name: str, old: Callable[[Form], str], new: str, *answers: int) -> None:
    """A credential scope that is wrong everywhere alike: in the field, in the policy and in the signing key."""

    def make(site: Site) -> Form:
        made = profile(site)
        credential = made.fields["x-amz-credential"].replace(f"/{old(made)}/", f"/{new}/")
        others = made.with_conditions(
            {"x-amz-credential": credential},
            without=lambda one: isinstance(one, dict) and "x-amz-credential" in one,
        )
        return others.with_fields(**{"x-amz-credential": credential})

    _signed(name, make, *answers)


_scope("scope of another region", lambda made: made.site.region, "eu-west-3", 400)
_scope("scope of another service", lambda _: "s3", "dynamodb", 400)
_scope("scope of another day", lambda made: made.date[:8], "20260101", 400)
_scope("scope of another kind of request", lambda _: "s3", "s3/aws4_request", 400)


def _hyphenated(site: Site) -> Form:
    """A date in the other form of ISO 8601, in the fields, in the policy and, cut as ever, in the signing key."""
    made = profile(site)
    date = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    credential = f"{site.whisper.access_key_id}/{date[:8]}/{site.region}/s3/aws4_request"
    dated = {"x-amz-date": date, "x-amz-credential": credential}
    signed = made.with_conditions(
        *({name: value} for name, value in dated.items()),
        without=lambda one: isinstance(one, dict) and bool(set(one) & set(dated)),
    )
    return replace(signed.with_fields(**dated), date=date)


_signed("date with hyphens, truly signed", _hyphenated, 400)

_PAST = timedelta(seconds=-1)
_signed("Storage's key for a profile", lambda s: profile(s, signer=s.storage), 403)
_signed("Storage's key for a sticker", lambda s: form(s, STICKER, 9999, signer=s.storage), 403)
_signed("Whisper's key for a group", lambda s: form(s, GROUP, 9999, signer=s.whisper), 403)
_signed("expired a second ago", lambda s: profile(s, lifetime=_PAST), 403)
_signed("expired a second ago, in nanoseconds", lambda s: profile(s, lifetime=_PAST, decimals=9), 403)
_signed("expired years ago", lambda s: profile(s, lifetime=timedelta(days=-1000)), 403)


def _expiring(at: object) -> Callable[[Site], Form]:
    return lambda site: profile(site).with_policy(expiration=at)


for _name, _expiration in {
    "without a zone": "2099-01-01T00:00:00",
    "with an offset": "2099-01-01T00:00:00+00:00",
    "with ten decimals": "2099-01-01T00:00:00.0123456789Z",
    "with a point and no decimals": "2099-01-01T00:00:00.Z",
    "of a day that does not exist": "2099-02-30T00:00:00Z",
    "at 25 o'clock": "2099-01-01T25:00:00Z",
    "of a year with five digits": "12099-01-01T00:00:00Z",
    "as a number": 4070908800,
    "as a list": ["2099-01-01T00:00:00Z"],
    "of null": None,
    "in words": "never",
}.items():
    _signed(f"expiration {_name}", _expiring(_expiration), 400)


def _names(field: str) -> Callable[[object], bool]:
    return lambda one: field in one if isinstance(one, dict) else False


def _range(one: object) -> bool:
    return isinstance(one, list) and one[0] == "content-length-range"


_ANOTHER = {"bucket": "whisper-service-pre-key-store"}
_PREFIX, _ANYWHERE = ["starts-with", "$key", "profiles/"], ["starts-with", "$bucket", ""]
_POLICIES: dict[str, tuple[Callable[[Any], bool] | None, tuple[object, ...]]] = {
    "policy that does not fix the bucket": (_names("bucket"), ()),
    "policy that does not name the key": (_names("key"), ()),
    "policy with only the beginning of the key": (_names("key"), (_PREFIX,)),
    "policy with only the beginning of the bucket": (_names("bucket"), (_ANYWHERE,)),
    "policy that does not name the acl": (_names("acl"), ()),
    "policy that does not name the date": (_names("x-amz-date"), ()),
    "policy without a range": (_range, ()),
    "policy for another bucket": (None, (_ANOTHER,)),
    "policy for another bucket alone": (_names("bucket"), (_ANOTHER,)),
    "policy with two keys": (None, ({"key": OTHER_PROFILE},)),
    "Content-Type that must be another": (None, ({"Content-Type": "image/png"},)),
    "Content-Type that must begin otherwise": (None, (["starts-with", "$Content-Type", "image/"],)),
    "condition on a field that is not there": (None, ({"tagging": "a"},)),
    "condition that an absent field begins with nothing": (None, (["starts-with", "$x-amz-meta-a", ""],)),
}
"""Conditions that are left out, and such as are added."""


def _conditions(left_out: Callable[[Any], bool] | None, added: tuple[object, ...]) -> Callable[[Site], Form]:
    return lambda site: profile(site).with_conditions(*added, without=left_out or (lambda _: False))


for _name, _change in _POLICIES.items():
    _signed(_name, _conditions(*_change), 403)
_signed(
    "acl public-read, truly signed",
    lambda s: profile(s).with_conditions({"acl": "public-read"}, without=_names("acl")).with_fields(acl="public-read"),
    403,
)


def _requiring(condition: object) -> Callable[[Site], Form]:
    return lambda site: profile(site).with_conditions(condition)


for _name, _condition in {
    "of an unknown kind": ["ne", "$key", "x"],
    "of a kind in capitals": ["EQ", "$key", PROFILE],
    "without the dollar": ["eq", "key", PROFILE],
    "with two names": {"key": PROFILE, "acl": "private"},
    "with no name": {},
    "on a list": {"key": [PROFILE]},
    "on a number": {"key": 1},
    "on a name that is a list": ["eq", ["$key"], PROFILE],
    "with four members": ["eq", "$key", PROFILE, PROFILE],
    "with two members": ["eq", "$key"],
    "that is empty": [],
    "that is null": None,
    "that is text": "key",
    "that is a number": 7,
    "with a range of texts": ["content-length-range", "1", "10000"],
    "with a negative range": ["content-length-range", -1, 10000],
    "with a fraction": ["content-length-range", 1, 10000.5],
    "with a range too large to count": ["content-length-range", 1, 2**60],
    "with an open range": ["content-length-range", 1],
}.items():
    _signed(f"condition {_name}", _requiring(_condition), 400)
_signed("policy with another member", lambda s: profile(s).with_policy(more={"version": 1}), 400)
_signed("policy without conditions", lambda s: profile(s).with_policy(conditions=[]), 403)


def _raw_policy(name: str, encoded: Callable[[Site], str], *answers: int) -> None:
    _refuse(name, lambda s: post(s, multipart(profile(s).signed(encoded(s)), FILE)), *answers)


def _policy(site: Site, *added: object) -> str:
    conditions = [*profile(site).policy.conditions, *added]
    return json.dumps({"expiration": "2099-01-01T00:00:00Z", "conditions": conditions})


_NOT_UTF_8 = ["starts-with", "$Content-Type", "@"]
_raw_policy("policy that is not base64", lambda _: "{}", 400)
_raw_policy("policy in the alphabet of URLs", lambda _: "eyJhIjoi_-_-In0=", 400)
_raw_policy("policy that is not JSON", lambda _: "bm90IGpzb24=", 400)
_raw_policy("policy that is not UTF-8", lambda _: "eyLDKH0=", 400)
_raw_policy(
    "policy with a byte that is not UTF-8",
    lambda s: b64encode(_policy(s, _NOT_UTF_8).encode().replace(b"@", b"\xff")).decode(),
    400,
)
_raw_policy("policy that is a list", lambda _: encode([]), 400)
_raw_policy("policy that is null", lambda _: encode(None), 400)
_raw_policy("policy that is empty", lambda _: encode({}), 400)
_raw_policy("policy in base64 with a rest", lambda s: profile(s).policy.encoded() + "A", 400)
_raw_policy("policy without an expiration", lambda s: encode({"conditions": profile(s).policy.conditions}), 400)
_raw_policy(
    "policy with an object of conditions",
    lambda _: encode({"expiration": "2099-01-01T00:00:00Z", "conditions": {}}),
    400,
)


def _for_key(key: str) -> Callable[[Site], Form]:
    return lambda site: form(site, key, 9999, signer=site.whisper)


for _name, _key in {
    "of another prefix": "dev.yml",
    "of the bucket itself": "",
    "with dots": "profiles/../0123456789-_ABCDEFGHIQ==",
    "with a file name to insert": "profiles/${filename}",
    "with a slash before it": f"/{PROFILE}",
    "with two slashes": PROFILE.replace("/", "//"),
    "with another bucket before it": f"../whisper-service-pre-key-store/{PROFILE}",
    "with a percent sign": PROFILE.replace("/", "%2f"),
    "with a query": f"{PROFILE}?acl",
    "with a part too many": f"{PROFILE}/x",
    "that is cut": PROFILE[:-3],
    "that ends in a space": f"{PROFILE} ",
    "of a sticker in capitals": STICKER.upper(),
    "of a sticker beyond counting": f"stickers/{PACK}/full/1000",
}.items():
    _signed(f"key {_name}", _for_key(_key), 403, 400)

_signed("larger than the policy allows", lambda s: form(s, PROFILE, 100), 413)
_signed("one byte larger than the policy allows", lambda s: form(s, PROFILE, len(FILE) - 1), 413)
_signed(
    "larger than the rule, whatever the policy says",
    lambda s: form(s, MANIFEST, 10 * MIB),
    413,
    file=b"x" * (10 * KIB + 1),
)
_signed("empty file", profile, 400, file=b"")
_signed(
    "empty file that the policy allows",
    lambda s: profile(s).with_conditions(["content-length-range", 0, 5], without=_range),
    400,
    file=b"",
)
_signed(
    "smaller than the policy allows",
    lambda s: profile(s).with_conditions(["content-length-range", 5000, 9000]),
    400,
)


def _of_type(content_type: str) -> Callable[[Site], Form]:
    return lambda site: profile(site, content_type=content_type)


for _name, _type in {
    "without a slash": "image",
    "with a line break": "image/png\r\nX-Amz-Acl: public-read",
    "beyond ASCII": "image/pn\u00e7",
    "that is too long": "image/" + "x" * 300,
    "with a space": "image /png",
}.items():
    _signed(f"Content-Type {_name}", _of_type(_type), 400)


# ---- refused forms: fields and parts --------------------------------------------------------------------------


def _extra(field: str, value: str, *, signed: bool) -> Callable[[Site], Request]:
    def build(site: Site) -> Request:
        made = profile(site).with_conditions({field: value}) if signed else profile(site)
        return post(site, multipart({**made.with_fields(**{field: value}).signed()}, FILE))

    return build


for _name, _value, _way in (
    ("x-amz-meta-a", "b", False),
    ("x-amz-meta-a", "b", True),
    ("x-ignore-a", "b", False),
    ("Action", "ListTables", False),
    ("x-amz-copy-source", "/whisper-service-dynamic-config/dev.yml", True),
    ("success-action-status", "200", True),
    ("x-amz-security-token", "x", True),
    ("bucket", "whisper-service-cdn", False),
    ("x-amz-website-redirect-location", "/", True),
):
    _refuse(f"field {_name}{', signed' if _way else ''}", _extra(_name, _value, signed=_way), 403)
_refuse("a redirect, signed", _extra("success_action_redirect", "https://example.org/", signed=True), 400, 403)


def _parts(name: str, change: Callable[[Site, dict[str, str]], bytes], *answers: int, reach: Reach = "nothing") -> None:
    """A well-signed form with its body built by hand."""
    _refuse(name, lambda s: post(s, change(s, profile(s).signed())), *answers, reach=reach)


def _head(fields: dict[str, str]) -> bytes:
    return b"".join(text_part(name, value) for name, value in fields.items())


_END = f"--{BOUNDARY}--\r\n".encode()
_FILE = part(FILE_HEADERS, FILE)


def _disposition(value: str) -> Headers:
    return (("Content-Disposition", value),)


_parts("key twice", lambda _, f: multipart(f, FILE, extra=text_part("key", f["key"])), 400)
_parts("key twice, once in capitals", lambda _, f: multipart(f, FILE, extra=text_part("KEY", OTHER_PROFILE)), 400)
_parts("policy twice", lambda _, f: multipart(f, FILE, extra=text_part("policy", f["policy"])), 400)
_parts("no file", lambda _, f: _head(f) + _END, 400)
_parts("no part", lambda _, f: _END, 400)
_parts("no byte", lambda _, f: b"", 400, 411)
_parts("file first", lambda _, f: _FILE + _head(f) + _END, 403)
_parts("field after the file", lambda _, f: multipart(f, FILE, after=text_part("a", "b")), 400, reach="aborted")
_parts("two files", lambda _, f: multipart(f, FILE, after=_FILE), 400, reach="aborted")
_parts("text before the first part", lambda _, f: b"hello\r\n" + multipart(f, FILE), 400)
_parts("line break before the first part", lambda _, f: b"\r\n" + multipart(f, FILE), 400)
_parts("text after the last part", lambda _, f: multipart(f, FILE) + b"hello", 400, reach="aborted")
_parts("no line break at the end", lambda _, f: multipart(f, FILE)[:-2], 400, reach="aborted")
_parts("no final delimiter", lambda _, f: multipart(f, FILE)[: -len(_END)], 400, reach="aborted")
_parts(
    "final delimiter of another form",
    lambda _, f: multipart(f, FILE)[: -len(_END)] + _END.replace(b"3f1d", b"3f1e"),
    400,
    reach="aborted",
)
_parts("lines that end in LF", lambda _, f: multipart(f, b"x" * 100).replace(b"\r\n", b"\n"), 400)
_parts("more fields than 20 KiB", lambda _, f: multipart({**f, "x-ignore-a": "a" * 20480}, FILE), 400)
_parts("a field without end", lambda _, f: _head(f) + text_part("a", "a" * 50000)[:-2], 400)
_parts("headers without end", lambda _, f: _head(f) + f"--{BOUNDARY}\r\n".encode() + b"X: y\r\n" * 9000, 400)


def _with_part(headers: Headers) -> Callable[[Site, dict[str, str]], bytes]:
    """A form that would be right if this part were taken for the field acl."""
    return lambda _, fields: _acl_by(fields, headers)


_ACL = ("Content-Disposition", 'form-data; name="acl"')

for _name, _headers in {
    "without a name": _disposition("form-data"),
    "with an empty name": _disposition('form-data; name=""'),
    "with an unquoted name": _disposition("form-data; name=acl"),
    "with a name in single quotes": _disposition("form-data; name='acl'"),
    "with an encoded name": _disposition("form-data; name*=UTF-8''acl"),
    "with two names": _disposition('form-data; name="acl"; name="key"'),
    "with a name after the file name": _disposition('form-data; filename="a"; name="acl"'),
    "with an escaped letter": _disposition('form-data; name="\\acl"'),
    "with a byte of NUL": _disposition('form-data; name="acl\x00"'),
    "with a tab": _disposition('form-data;\tname="acl"'),
    "that is an attachment": _disposition('attachment; name="acl"'),
    "that is no form": _disposition('FORM-DATA; name="acl"'),
    "with an encoded file name": _disposition("form-data; name=\"acl\"; filename*=UTF-8''a"),
    "that is a field with a file name": _disposition('form-data; name="acl"; filename="a"'),
    "without headers": (),
    "without a disposition": (("Content-Type", "text/plain"),),
    "with two dispositions": (_ACL, _ACL),
    "with a folded header": _disposition('form-data;\r\n name="acl"'),
    "with a header of S3": (_ACL, ("x-amz-acl", "public-read")),
    "with a space before the colon": (("Content-Disposition ", 'form-data; name="acl"'),),
    "with a base64 encoding": (_ACL, ("Content-Transfer-Encoding", "base64")),
    "with a length too small": (_ACL, ("Content-Length", "6")),
    "with a length too large": (_ACL, ("Content-Length", "8")),
}.items():
    _parts(f"part {_name}", _with_part(_headers), 400)
_parts(
    "file part with a wrong length",
    lambda _, f: multipart(f, FILE, file_headers=(*FILE_HEADERS, ("Content-Length", str(len(FILE) + 1)))),
    400,
)
_parts("value beyond ASCII", lambda _, f: multipart({**f, "acl": "priv\u00e4t"}, FILE), 400)
_parts("value with NUL", lambda _, f: multipart({**f, "acl": "private\x00"}, FILE), 400)
_parts("value of two lines", lambda _, f: multipart({**f, "acl": "private\r\nx"}, FILE), 400)
_parts("value in UTF-16", lambda _, f: multipart(f, FILE).replace(b"private", "private".encode("utf-16")), 400)


def _typed(name: str, content_type: str, *answers: int) -> None:
    def build(site: Site) -> Request:
        return post(site, multipart(profile(site).signed(), FILE), ("Content-Type", content_type))

    _refuse(f"request of type {name}", build, *answers)


_FORM_TYPE = "application/x-www-form-urlencoded"
_typed("without a boundary", "multipart/form-data", 400)
_typed("with an empty boundary", "multipart/form-data; boundary=", 400)
_typed("with a boundary of 71 characters", "multipart/form-data; boundary=" + "a" * 71, 400)
_typed("with another boundary", "multipart/form-data; boundary=another", 400)
_typed("with two boundaries", f"multipart/form-data; boundary={BOUNDARY}; boundary=b", 400)
_typed("with a charset", f"multipart/form-data; charset=utf-8; boundary={BOUNDARY}", 400)
_typed("with a boundary of spaces", 'multipart/form-data; boundary=" "', 400)
_typed("mixed", f"multipart/mixed; boundary={BOUNDARY}", 400)
_typed("urlencoded", _FORM_TYPE, 400)
_typed("JSON", "application/x-amz-json-1.0", 400)
_TYPES = (("Content-Type", f"multipart/form-data; boundary={BOUNDARY}"), ("Content-Type", _FORM_TYPE))
_refuse("two types", lambda s: post(s, multipart(profile(s).signed(), FILE), *_TYPES), 400)


# ---- refused forms: framing -----------------------------------------------------------------------------------


def _framed(
    name: str, headers: Callable[[int], Headers], *answers: int, reach: Reach = "nothing", cut: int = 0
) -> None:
    def build(site: Site) -> Request:
        body = multipart(profile(site).signed(), FILE)
        made = post(site, body, *headers(len(body)))
        sent = body[: len(body) - cut]
        return Request(made.method, made.target, made.headers, sent, made.host, half_close=bool(cut))

    _add(f"framing: {name}", build, *answers, reach=reach, direct=True)


_framed("cut in the file", lambda n: (("Content-Length", str(n)),), 0, 400, cut=len(_END) + 50, reach="aborted")
_framed("cut before the last byte", lambda n: (("Content-Length", str(n)),), 0, 400, cut=1, reach="aborted")
_framed("cut in the fields", lambda n: (("Content-Length", str(n)),), 0, 400, cut=len(FILE) + 400)
_framed("longer than announced", lambda n: (("Content-Length", str(n - 10)),), 400, reach="aborted")
_add(
    "framing: chunked",
    lambda s: post(
        s,
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(body := multipart(profile(s).signed(), FILE)), body),
        ("Transfer-Encoding", "chunked"),
    ),
    411,
)
for _name, _framing in {
    "chunked and with a length": lambda n: (("Transfer-Encoding", "chunked"), ("Content-Length", str(n))),
    "chunked, obscured": lambda n: (("Transfer-Encoding", "xchunked"), ("Content-Length", str(n))),
    "two lengths": lambda n: (("Content-Length", str(n)), ("Content-Length", "0")),
    "a negative length": lambda _: (("Content-Length", "-1"),),
    "a length in words": lambda _: (("Content-Length", "many"),),
    "a length beyond counting": lambda _: (("Content-Length", "9" * 30),),
    "content encoding gzip": lambda _: (("Content-Encoding", "gzip"),),
    "an expectation of something else": lambda _: (("Expect", "the-unexpected"),),
}.items():
    _framed(_name, _framing, 400)
_framed("gzip transfer", lambda n: (("Transfer-Encoding", "gzip"),), 400, 411)
_framed("larger than any upload may be", lambda n: (("Content-Length", str(11 * MIB)),), 413)


# ---- refused requests -----------------------------------------------------------------------------------------


def _request(
    name: str,
    method: str,
    path: str,
    *answers: int,
    headers: Headers = (),
    body: bytes = b"",
    direct: bool = False,
) -> None:
    """`path` follows the prefix."""

    def build(site: Site) -> Request:
        return Request(method, site.prefix + path, headers, body, host=site.host)

    _add(f"request: {name}", build, *answers, direct=direct)


_DYNAMODB = (
    ("X-Amz-Target", "DynamoDB_20120810.ListTables"),
    ("Content-Type", "application/x-amz-json-1.0"),
    ("Authorization", "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/dynamodb/aws4_request, Signature=b"),
)
_request("PUT an object", "PUT", f"/{PROFILE}", 405, body=b"x")
_request("PUT with a copy", "PUT", f"/{PROFILE}", 405, headers=_WRITING[:1])
_request("PUT an acl", "PUT", f"/{PROFILE}?acl", 405, headers=(("x-amz-acl", "public-read"),))
_request("PUT the bucket", "PUT", "/", 405)
_request("DELETE an object", "DELETE", f"/{PROFILE}", 405, 403)
_request("DELETE the bucket", "DELETE", "/", 405)
_request("PATCH", "PATCH", f"/{PROFILE}", 405, body=b"x")
_request("OPTIONS", "OPTIONS", f"/{PROFILE}", 405, headers=(("Origin", "https://example.org"),))
_request("TRACE", "TRACE", "/", 405)
_request("PROPFIND", "PROPFIND", "/", 405)
_request("a method that is none", "LIST", "/", 400)
_request("CONNECT", "CONNECT", "", 0, 400, 405, direct=True)
_request("LIST", "GET", "/", 404)
_request("LIST by version 2", "GET", "/?list-type=2", 404)
_request("LIST by prefix", "GET", "/?prefix=profiles/", 404)
_request("HEAD the bucket", "HEAD", "/", 404)
_request("delete several", "POST", "/?delete", 405, body=b"<Delete/>")
_request("start a multipart upload", "POST", f"/{PROFILE}?uploads", 405)
_request("POST to a key", "POST", f"/{PROFILE}", 405, body=b"x")
for _query in (
    "acl",
    "policy",
    "tagging",
    "uploads",
    "versions",
    "torrent",
    "response-content-type=text/html",
    "",
    "x=1",
):
    _request(f"query ?{_query}", "GET", f"/{PROFILE}?{_query}", 404)
_request("an Action in the query", "GET", f"/{PROFILE}?Action=ListTables&Version=2012-08-10", 404)
_request("an Action in the query of a POST", "POST", "/?Action=AssumeRole", 405)
_ACTION = b"Action=GetCallerIdentity&Version=2011-06-15"
_request("an Action in a body", "POST", "/", 400, headers=(("Content-Type", _FORM_TYPE),), body=_ACTION)
_request("DynamoDB by its header", "POST", "/", 400, headers=_DYNAMODB, body=b"{}")
_request("DynamoDB as a read of the bucket", "GET", "/", 404, headers=_DYNAMODB)
_request("the emulator's own pages", "GET", "/_localstack/health", 404)
for _name, _path in {
    "dots": "/profiles/../dev.yml",
    "dots at the end": f"/{PROFILE}/..",
    "a dot": f"/./{PROFILE}",
    "dots to another bucket": "/../whisper-service-dynamic-config/dev.yml",
    "encoded dots": "/profiles/%2e%2e/%2e%2e/whisper-service-dynamic-config/dev.yml",
    "an encoded slash": "/" + PROFILE.replace("/", "%2f"),
    "encoded letters": "/%70" + PROFILE[1:],
    "an encoded end": "/" + PROFILE.replace("==", "%3D%3D"),
    "two slashes": "/" + PROFILE.replace("/", "//"),
    "a slash too many before": "//" + PROFILE,
    "a slash after": f"/{PROFILE}/",
    "a backslash": "/profiles\\..\\dev.yml",
    "a parameter": f"/{PROFILE};a=b",
    "a fragment": f"/{PROFILE}#a",
    "an encoded NUL": f"/{PROFILE}%00",
    "an encoded line break": f"/{PROFILE}%0d%0aX-Amz-Acl:%20public-read",
    "another prefix": "/dev.yml",
    "a key too short": "/" + PROFILE[:-4],
    "a key too long": "/" + PROFILE + "A",
    "a key of 5000 letters": "/profiles/" + "A" * 5000,
    "capitals in a pack": "/" + STICKER.upper(),
    "a sticker that is no number": f"/stickers/{PACK}/full/x",
    "a sticker beyond counting": f"/stickers/{PACK}/full/1000",
    "a folder": "/profiles/",
    "letters of other scripts": "/profiles/\u00e40123456789-_ABCDEFGH==",
}.items():
    _request(f"path with {_name}", "GET", _path, 404, 400)
_request("path with NUL", "GET", f"/{PROFILE}\x00", 400, direct=True)
_request("path with a space", "GET", f"/{PROFILE} x", 400, direct=True)
_HTTP2 = (("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA"))
_READS: dict[str, tuple[Headers, bytes]] = {
    "Upgrade to WebSocket": ((("Connection", "Upgrade"), ("Upgrade", "websocket")), b""),
    "Upgrade to HTTP/2": (_HTTP2, b""),
    "a read with a body": ((("Content-Length", "5"),), b"hello"),
    "a read with chunks": ((("Transfer-Encoding", "chunked"),), b"0\r\n\r\n"),
}
for _name, (_headers, _body) in _READS.items():
    _request(_name, "GET", f"/{PROFILE}", 400, headers=_headers, body=_body)
_request("headers beyond all measure", "GET", f"/{PROFILE}", 431, headers=(("X-A", "a" * 20000),), direct=True)
for _name, _header in {"a folded header": ("X-A", "b\r\n c"), "a header name with a space": ("X-A ", "b")}.items():
    _request(_name, "GET", f"/{PROFILE}", 400, headers=(_header,), direct=True)


def _target(name: str, target: Callable[[Site], str], *answers: int, method: str = "GET") -> None:
    _add(f"target: {name}", lambda s: Request(method, target(s), host=s.host), *answers, direct=True)


_target("absolute", lambda s: f"http://{s.host}{s.prefix}/{PROFILE}", 404)
_target("absolute, of another server", lambda s: f"http://127.0.0.1:4566{s.prefix}/{PROFILE}", 404)
_target("authority", lambda s: "localhost:4566", 0, 400, 405, method="CONNECT")
_target("asterisk", lambda s: "*", 405, method="OPTIONS")
_target("root", lambda s: "/", 404)
_target("another bucket", lambda s: "/whisper-service-dynamic-config/dev.yml", 404)
_target("another bucket with an allowed key", lambda s: f"/whisper-service-pre-key-store/{PROFILE}", 404)
_target("the bucket's name as a beginning", lambda s: f"/{s.bucket}x/{PROFILE}", 404)
_target("the bucket in capitals", lambda s: f"/{s.bucket.upper()}/{PROFILE}", 404)
_target("the emulator's health", lambda s: "/_localstack/health", 404)
_target("a path of another service", lambda s: "/2015-03-31/functions/", 404)
_target("two slashes before the bucket", lambda s: f"/{s.prefix}/{PROFILE}", 404)
_target("no slash before the bucket", lambda s: f"{s.bucket}/{PROFILE}", 400)
_target("POST to the root", lambda s: "/", 405, method="POST")
_target("POST to another bucket", lambda s: "/whisper-service-pre-key-store/", 405, method="POST")
_target("POST to the bucket with a query", lambda s: f"/{s.bucket}/?x", 405, method="POST")
