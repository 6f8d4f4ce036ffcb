"""The module of AWS that programs of the cluster share: credentials, signatures, and reads of a bucket."""

import json
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from components.programs import FOLDER
from tests.lab.served import Handler, serving
from tests.programs.modules import CallError, Modules

Json = dict[str, Any]
LIBRARY = FOLDER / "lib"
SECRETS = ("the-secret-access-key", "the-session-token", "the-web-identity-token")

DRIVER = """
const aws = Object.assign({}, ...(await Promise.all(['lib/aws', 'lib/aws-credentials', 'lib/s3'].map(load))));
const kept = new Map();
const calls = {
  sign: (request) => aws.sign(request),
  path: ({ bucket, key }) => aws.objectPath(bucket, key),
  host: ({ service, region }) => aws.hostOf(service, region),
  open: ({ id, env, region }) => {
    const reports = [];
    const report = (error) => reports.push(error.message);
    kept.set(id, { reports, credentials: new aws.Credentials({ env, region, session: 'test', report }) });
    return kept.get(id).credentials.obtained;
  },
  get: ({ id, times = 1 }) => Promise.all(Array.from({ length: times }, () => kept.get(id).credentials.get())),
  reports: ({ id }) => kept.get(id).reports,
  obtain: async ({ id }) => {
    await kept.get(id).credentials.obtain();
    return kept.get(id).credentials.obtained;
  },
  read: async ({ endpoint, method, key, headers, patience }) => {
    const credentials = { get: async () => ({ accessKeyId: 'AKID', secretAccessKey: 'x' }) };
    const bucket = new aws.Bucket({ name: 'b', region: 'eu-west-1', endpoint: new URL(endpoint), credentials });
    const answer = await bucket.read(method, key, headers, patience && AbortSignal.timeout(patience));
    let body = '';
    for await (const chunk of answer.setEncoding('latin1')) body += chunk;
    return { status: answer.statusCode, body, reused: answer.req.reusedSocket };
  },
};
"""


# --- signatures ------------------------------------------------------------------------------------------------

AT = datetime(2026, 2, 28, 23, 59, 58, tzinfo=UTC)
VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
TOKENS = st.text(VISIBLE, min_size=1, max_size=40)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40) | st.text(" \tab", max_size=9)
NAMES = st.sampled_from(
    ["range", "if-match", "If-None-Match", "if-modified-since", "x-amz-acl", "x-amz-meta-a", "X-Amz-Meta-B", "zzz"]
)


def botocore_signs(
    method: str, host: str, path: str, headers: dict[str, str], region: str, credentials: Json, payload: str
) -> dict[str, str]:
    """The headers that botocore's signer for S3 adds at AT."""
    request = AWSRequest(method, f"https://{host}{path}", headers=headers)
    signer = S3SigV4Auth(
        Credentials(credentials["accessKeyId"], credentials["secretAccessKey"], credentials.get("sessionToken")),
        "s3",
        region,
    )
    with (
        mock.patch("botocore.auth.get_current_datetime", return_value=AT.replace(tzinfo=None)),  # pyrefly: ignore[missing-attribute-patch-target]
        mock.patch.object(signer, "payload", return_value=payload),
    ):
        signer.add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


@settings(max_examples=300, deadline=None)
@given(
    key=KEYS,
    headers=st.dictionaries(NAMES, VALUES, max_size=4),
    method=st.sampled_from(["GET", "HEAD", "PUT", "DELETE"]),
    secret=TOKENS,
    token=st.none() | TOKENS,
    query=st.sampled_from(["", "uploads=", "list-type=2&prefix=a%2Fb"]),
    host=st.sampled_from(["s3.eu-central-1.amazonaws.com", "s3.example.org:9000"]),
    payload=st.sampled_from(["UNSIGNED-PAYLOAD", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]),
)
def test_signatures_are_botocore_s(
    modules: Modules,
    key: str,
    headers: dict[str, str],
    method: str,
    secret: str,
    token: str | None,
    query: str,
    host: str,
    payload: str,
) -> None:
    credentials = {
        "accessKeyId": "AKIAEXAMPLE",
        "secretAccessKey": secret,
        **({"sessionToken": token} if token else {}),
    }
    path = modules.call("path", bucket="a-bucket", key=key)
    assert path == "/a-bucket/" + urllib.parse.quote(key, safe="/~")
    given_names = {name.lower(): value for name, value in headers.items()}
    ours = modules.call(
        "sign",
        method=method,
        host=host,
        path=path,
        query=query,
        headers=headers,
        payload=payload,
        region="eu-central-1",
        credentials=credentials,
        now=int(AT.timestamp() * 1000) + 999,
    )
    theirs = botocore_signs(method, host, f"{path}?{query}", given_names, "eu-central-1", credentials, payload)
    assert ours == {"host": host, **given_names, **theirs}


def test_no_payload_is_the_default(modules: Modules) -> None:
    credentials = {"accessKeyId": "AKIAEXAMPLE", "secretAccessKey": "x"}
    signed = modules.call("sign", method="GET", host="h", path="/b/k", region="r", credentials=credentials)
    assert signed["x-amz-content-sha256"] == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert abs(datetime.strptime(signed["x-amz-date"], "%Y%m%dT%H%M%S%z") - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("service", "region", "host"),
    [
        ("s3", "us-east-1", "s3.us-east-1.amazonaws.com"),
        ("sts", "cn-north-1", "sts.cn-north-1.amazonaws.com.cn"),
        ("sts", "us-gov-west-1", "sts.us-gov-west-1.amazonaws.com"),
    ],
)
def test_hosts(modules: Modules, service: str, region: str, host: str) -> None:
    assert modules.call("host", service=service, region=region) == host


# --- credentials -----------------------------------------------------------------------------------------------


@dataclass
class Aws:
    """A server that hands out credentials as STS or as an agent does, and tells what it was asked."""

    port: int
    kind: str
    lifetime: float = 3600  # seconds
    status: int = 200
    body: str | None = None  # instead of credentials
    pause: float = 0
    asked: list[Json] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def answer(self, request: Json) -> str:
        self.asked.append(request)
        time.sleep(self.pause)
        if self.body is not None:
            return self.body
        end = f"{datetime.now(UTC) + timedelta(seconds=self.lifetime):%Y-%m-%dT%H:%M:%SZ}"
        values = (f"ASIA{len(self.asked)}", SECRETS[0], SECRETS[1], end)
        if self.kind == "agent":
            return json.dumps(dict(zip(("AccessKeyId", "SecretAccessKey", "Token", "Expiration"), values, strict=True)))
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
        inner = "".join(f"<{name}>{value}</{name}>" for name, value in zip(names, values, strict=True))
        return (
            '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            "<AssumeRoleWithWebIdentityResult><SubjectFromWebIdentityToken>x</SubjectFromWebIdentityToken>"
            f"<Credentials>\n  {inner}\n</Credentials></AssumeRoleWithWebIdentityResult>"
            "</AssumeRoleWithWebIdentityResponse>"
        )


@contextmanager
def handing_out(kind: str) -> Iterator[Aws]:
    class Answers(Handler):
        def answer(self) -> None:
            form = dict(urllib.parse.parse_qsl(self.taken().decode()))
            headers = {name.lower(): value for name, value in self.headers.items()}
            text = aws.answer({"method": self.command, "path": self.path, "headers": headers, "form": form})
            self.reply(aws.status, text.encode(), Location="/elsewhere")

    with serving(Answers) as port:
        aws = Aws(port, kind)
        yield aws


@pytest.fixture
def sts() -> Iterator[Aws]:
    with handing_out("sts") as aws:
        yield aws


@pytest.fixture
def agent() -> Iterator[Aws]:
    with handing_out("agent") as aws:
        yield aws


def web_identity(folder: Path, sts: Aws) -> dict[str, str]:
    token = folder / "token"
    token.write_text(f"{SECRETS[2]}\n")
    return {
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/flatline-cdn3",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
        "AWS_ENDPOINT_URL_STS": sts.url,
    }


def pod_identity(folder: Path, agent: Aws) -> dict[str, str]:
    token = folder / "token"
    token.write_text(SECRETS[2])
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{agent.url}v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
    }


def shared_file(folder: Path, text: str) -> dict[str, str]:
    file = folder / "credentials"
    file.write_text(text)
    return {"AWS_SHARED_CREDENTIALS_FILE": str(file)}


def opened(modules: Modules, env: dict[str, str], folder: Path) -> "Ask":
    """A call on credentials of that environment, which have a name of their own in the process."""
    assert modules.call("open", id=str(folder), env=env, region="eu-west-1") is False
    return lambda name="get", **arguments: modules.call(name, id=str(folder), **arguments)


Ask = Callable[..., Any]


@pytest.fixture
def ask(modules: Modules, sts: Aws, tmp_path: Path) -> Ask:
    """A call on credentials that STS gives."""
    return opened(modules, web_identity(tmp_path, sts), tmp_path)


def test_web_identity(ask: Ask, sts: Aws) -> None:
    [found] = ask()
    assert found["expires"] / 1000 == pytest.approx(time.time() + 3600, abs=5)
    assert (found["accessKeyId"], found["secretAccessKey"], found["sessionToken"]) == ("ASIA1", *SECRETS[:2])
    [asked] = sts.asked
    assert asked["method"] == "POST"
    assert asked["headers"]["content-type"].startswith("application/x-www-form-urlencoded")
    assert asked["form"] == {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": "arn:aws:iam::123456789012:role/flatline-cdn3",
        "RoleSessionName": "test",
        "WebIdentityToken": SECRETS[2],
    }


def test_pod_identity(modules: Modules, agent: Aws, tmp_path: Path) -> None:
    ask = opened(modules, pod_identity(tmp_path, agent), tmp_path)
    [found] = ask()
    assert (found["accessKeyId"], found["secretAccessKey"], found["sessionToken"]) == ("ASIA1", *SECRETS[:2])
    [asked] = agent.asked
    assert (asked["method"], asked["path"]) == ("GET", "/v1/credentials")
    assert asked["headers"]["authorization"] == SECRETS[2]


def test_a_shared_file(modules: Modules, tmp_path: Path) -> None:
    text = (
        "# of the installation\n[other]\naws_access_key_id = AKIAOTHER\naws_session_token = x\n\n"
        "[ default ]\r\nAWS_Access_Key_Id=AKIAFILE\r\n; a remark = x\naws_secret_access_key =  a/b+c=d  \nregion=x\n"
    )
    ask = opened(modules, shared_file(tmp_path, text), tmp_path)
    [found] = ask()
    assert {**found, "expires": 0} == {"accessKeyId": "AKIAFILE", "secretAccessKey": "a/b+c=d", "expires": 0}
    assert found["expires"] / 1000 == pytest.approx(time.time() + 360, abs=5)


def test_the_first_source_counts(modules: Modules, sts: Aws, agent: Aws, tmp_path: Path) -> None:
    text = "[default]\naws_access_key_id = AKIAFILE\naws_secret_access_key = x\n"
    both = {**pod_identity(tmp_path, agent), **web_identity(tmp_path, sts)}
    assert opened(modules, {**both, **shared_file(tmp_path, text)}, tmp_path)()[0]["accessKeyId"] == "AKIAFILE"
    opened(modules, both, tmp_path)()
    assert (len(sts.asked), len(agent.asked)) == (1, 0)


def test_credentials_are_kept_and_got_once_for_all_who_wait(ask: Ask, sts: Aws) -> None:
    sts.pause = 0.2
    assert {one["accessKeyId"] for one in ask(times=20) + ask(times=20)} == {"ASIA1"}
    assert len(sts.asked) == 1


def test_credentials_are_renewed_beside_the_work_before_they_end(ask: Ask, sts: Aws, tmp_path: Path) -> None:
    sts.lifetime = 240
    ask()
    (tmp_path / "token").write_text("a-rotated-token")
    sts.pause = 0.3
    begun = time.monotonic()
    assert [one["accessKeyId"] for one in ask(times=3)] == ["ASIA1"] * 3
    assert time.monotonic() - begun < 0.25
    time.sleep(0.5)
    assert ask()[0]["accessKeyId"] == "ASIA2"
    assert sts.asked[1]["form"]["WebIdentityToken"] == "a-rotated-token"


def test_credentials_that_end_soon_are_renewed_first(ask: Ask, sts: Aws) -> None:
    sts.lifetime = 30
    assert [ask()[0]["accessKeyId"] for _ in range(3)] == ["ASIA1", "ASIA2", "ASIA3"]


def test_a_failed_renewal_is_reported_while_the_old_ones_do(ask: Ask, sts: Aws) -> None:
    sts.lifetime = 30
    ask()
    sts.status, sts.body = 503, "<Error><Code>ServiceUnavailable</Code></Error>"
    assert {one["accessKeyId"] for one in ask(times=5) + ask(times=5)} == {"ASIA1"}
    assert len(sts.asked) == 2, "the second attempt waits"
    assert ask("reports") == ["STS refused: 503 ServiceUnavailable"]


def test_credentials_that_have_ended_are_never_given(ask: Ask, sts: Aws) -> None:
    sts.lifetime = 2
    ask()
    sts.status, sts.body = 500, ""
    time.sleep(2.1)
    with pytest.raises(CallError, match=r"^CredentialsError: STS refused: 500$"):
        ask()


def test_the_first_ones_are_waited_for(modules: Modules, agent: Aws, tmp_path: Path) -> None:
    ask = opened(modules, pod_identity(tmp_path, agent), tmp_path)
    assert ask("obtain") is True
    assert len(agent.asked) == 1


def credentials(key: str = "A", end: str = "") -> str:
    """An answer of STS's, without the time of their end if there is none."""
    ends = f"<Expiration>{end}</Expiration>" if end else ""
    return f"<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>B</SecretAccessKey>{ends}"


FAULTS: dict[str, tuple[int, str, str]] = {
    "denied": (403, f"<Error><Code>AccessDenied</Code><Message>{SECRETS[2]}</Message></Error>", "403 AccessDenied"),
    "denied in JSON": (400, '{"code": "InvalidToken", "message": "the-web-identity-token"}', "400 InvalidToken"),
    "not AWS": (200, "<html>the-web-identity-token</html>", "gave no"),
    "elsewhere": (302, "", "does not answer"),
    "no end": (200, credentials(), "no time of expiration"),
    "ended": (200, credentials(end="2020-01-01T00:00:00Z"), "have ended already"),
    "a key of two lines": (200, credentials("A\nB", "2099-01-01T00:00:00Z"), "gave no access key"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_refusal_is_told_without_secrets(modules: Modules, sts: Aws, tmp_path: Path, fault: str) -> None:
    sts.status, sts.body, expected = FAULTS[fault]
    with pytest.raises(CallError) as raised:
        opened(modules, web_identity(tmp_path, sts), tmp_path)()
    assert str(raised.value).startswith("CredentialsError: ")
    assert expected in str(raised.value)
    assert not any(secret in str(raised.value) for secret in SECRETS)
    assert len(sts.asked) == 1


def test_an_agent_that_gives_no_json(modules: Modules, agent: Aws, tmp_path: Path) -> None:
    agent.body = f"{SECRETS[0]}"
    with pytest.raises(CallError, match=r"^CredentialsError: the container agent gave no JSON$"):
        opened(modules, pod_identity(tmp_path, agent), tmp_path)()


def test_nobody_there(modules: Modules, tmp_path: Path) -> None:
    with handing_out("sts") as gone:
        env = web_identity(tmp_path, gone)
    with pytest.raises(CallError, match=r"^CredentialsError: STS does not answer \(ECONNREFUSED\)$"):
        opened(modules, env, tmp_path)()


def test_token_files_that_are_none(modules: Modules, sts: Aws, tmp_path: Path) -> None:
    env = web_identity(tmp_path, sts)
    (tmp_path / "token").write_text("one\ntwo")
    with pytest.raises(CallError, match="file of AWS_WEB_IDENTITY_TOKEN_FILE holds no token"):
        opened(modules, env, tmp_path)()
    (tmp_path / "token").unlink()
    with pytest.raises(CallError, match=r"file of AWS_WEB_IDENTITY_TOKEN_FILE cannot be read \(ENOENT\)"):
        opened(modules, env, tmp_path / "again")()
    assert sts.asked == []


@pytest.mark.parametrize("text", ["", "[default]\naws_access_key_id = A\n", "[other]\naws_access_key_id=A\n"])
def test_files_without_a_key(modules: Modules, tmp_path: Path, text: str) -> None:
    with pytest.raises(CallError, match="the file of AWS_SHARED_CREDENTIALS_FILE gave no access key"):
        opened(modules, shared_file(tmp_path, text), tmp_path)()


def agents(url: str) -> dict[str, str]:
    return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/var/run/token"}


ROLE = {"AWS_ROLE_ARN": "a", "AWS_WEB_IDENTITY_TOKEN_FILE": "/t"}
UNUSABLE: dict[str, tuple[dict[str, str], str]] = {
    "nothing": ({}, "names no AWS credentials"),
    "half of one": ({"AWS_ROLE_ARN": "a"}, "names no AWS credentials"),
    "an agent anywhere": (agents("http://agent.example.org/"), "must be https, or http to the agent of the node"),
    "a session that is none": ({**ROLE, "AWS_ROLE_SESSION_NAME": "a b"}, "AWS_ROLE_SESSION_NAME"),
    "an endpoint that is none": ({**ROLE, "AWS_ENDPOINT_URL_STS": "sts"}, "AWS_ENDPOINT_URL_STS"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_environment_that_cannot_be_right_is_told_at_once(modules: Modules, case: str) -> None:
    env, expected = UNUSABLE[case]
    with pytest.raises(CallError, match=expected):
        modules.call("open", id=case, env=env, region="eu-west-1")


@pytest.mark.parametrize("host", ["169.254.170.23", "[fd00:ec2::23]", "localhost:8000"])
def test_the_agents_of_a_node(modules: Modules, host: str) -> None:
    assert modules.call("open", id=host, env=agents(f"http://{host}/v1/credentials"), region="eu-west-1") is False


# --- reads -----------------------------------------------------------------------------------------------------


@dataclass
class Faulty:
    """A server of one object: `faults` are what happens to the next requests, before it answers 200."""

    endpoint: str = ""
    faults: list[int | str] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    state = Faulty()

    class Faults(Handler):
        def answer(self) -> None:
            state.asked.append((self.command, self.path))
            fault = state.faults.pop(0) if state.faults else 200
            if fault == "silent":
                time.sleep(3)
            if isinstance(fault, str):
                self.close_connection = True
                return
            self.reply(fault, b"bytes")

    with serving(Faults) as port:
        state.endpoint = f"http://127.0.0.1:{port}"
        yield state


@pytest.mark.parametrize("faults", [[], [503], [500, 503], ["closed"], ["closed", 503]], ids=str)
def test_passing_faults_are_tried_again(modules: Modules, faulty: Faulty, faults: list[int | str]) -> None:
    faulty.faults = list(faults)
    answer = modules.call("read", endpoint=faulty.endpoint, method="GET", key="a key", headers={})
    assert (answer["status"], answer["body"]) == (200, "bytes")
    assert faulty.asked == [("GET", "/b/a%20key")] * (len(faults) + 1)


@pytest.mark.parametrize("status", [400, 403, 404, 412, 416])
def test_refusals_are_not_tried_again(modules: Modules, faulty: Faulty, status: int) -> None:
    faulty.faults = [status]
    assert modules.call("read", endpoint=faulty.endpoint, method="GET", key="k", headers={})["status"] == status
    assert len(faulty.asked) == 1


def test_lasting_faults_are_the_answer(modules: Modules, faulty: Faulty) -> None:
    faulty.faults = [503, 503, 503]
    assert modules.call("read", endpoint=faulty.endpoint, method="GET", key="k", headers={})["status"] == 503
    faulty.faults = ["closed"] * 3
    with pytest.raises(CallError, match=r"socket hang up|ECONNRESET"):
        modules.call("read", endpoint=faulty.endpoint, method="GET", key="k", headers={})
    assert len(faulty.asked) == 6


def test_a_reader_waits_no_longer_than_it_says(modules: Modules, faulty: Faulty) -> None:
    faulty.faults = ["silent"]
    begun = time.monotonic()
    with pytest.raises(CallError, match=r"TimeoutError|DOMException|aborted"):
        modules.call("read", endpoint=faulty.endpoint, method="GET", key="k", headers={}, patience=300)
    assert time.monotonic() - begun < 2
    assert len(faulty.asked) == 1


def test_the_module_fits_a_config_map_and_names_no_deployment() -> None:
    texts = [(LIBRARY / name).read_text() for name in ("aws.mjs", "aws-credentials.mjs", "s3.mjs")]
    assert sum(len(text.encode()) for text in texts) < 64 * 1024
    assert not any("flatline" in text for text in texts)
