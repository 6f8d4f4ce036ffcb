"""CDN3's pre-create hook where tusd keeps its uploads in S3."""

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from components.programs import CDN3_HOOK
from tests.lab.node import NODE
from tests.lab.process import Process, wait_until
from tests.programs.cdn0_s3 import PrivateS3, private_s3
from tests.programs.modules import HURRIED
from tests.programs.starts import all_refused, by_name
from tests.programs.store import POD, SITE_OF_CDN3, pod_file, role_of_a_pod, s3_client, s3_flags
from tests.tus.hook import HOOK, MAX_SIZE, SECRET, Answer, Connection, call_for, events, new_key, permissions, ports


def arguments(folder: Path, *flags: str) -> list[str | Path]:
    secret = folder / "attachments.key"
    secret.write_text(base64.b64encode(SECRET).decode() + "\n")
    listen = ("--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0")
    return [HOOK, *listen, "--secret-file", secret, "--max-size", str(MAX_SIZE), *flags]


@dataclass
class Hook:
    process: Process
    port: int
    health_port: int

    def ask(self, call: dict[str, Any]) -> Answer:
        with closing(Connection(self.port)) as connection:
            return connection.ask(call)

    def health(self) -> int:
        with closing(Connection(self.health_port)) as connection:
            return connection.send(b"", "/readyz", "GET").status

    def told(self, event: str) -> list[dict[str, Any]]:
        return [one for one in events(self.process) if one["event"] == event]


@contextmanager
def hooking(folder: Path, environment: dict[str, str], *flags: str, node: tuple[str, ...] = ()) -> Iterator[Hook]:
    command: list[str | Path] = [NODE, *node, *arguments(folder, *flags)]
    with Process("hook", command, folder, environment=environment) as process:
        yield Hook(process, *ports(process, 2))


@pytest.fixture(scope="module")
def hook(bucket: PrivateS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hook]:
    folder = tmp_path_factory.mktemp("hook")
    with hooking(folder, pod_file(folder), *s3_flags(bucket.port)) as hook:
        yield hook
        assert hook.told("internal-error") == []


def test_a_new_key_is_accepted_after_two_looks(hook: Hook, s3: PrivateS3) -> None:
    key = new_key()
    assert hook.ask(call_for(key)).json == {"ChangeFileInfo": {"ID": key, "MetaData": {"filename": key}}}
    assert {(seen.method, seen.target) for seen in s3.requests} == {
        ("HEAD", f"/{s3.bucket}/attachments/{key}"),
        ("HEAD", f"/{s3.bucket}/attachments/{key}.info"),
    }
    assert len(s3.requests) == 2


@pytest.mark.parametrize("suffix", ["", ".info"])
def test_a_key_that_is_there_is_refused(hook: Hook, s3: PrivateS3, suffix: str) -> None:
    key = new_key()
    s3.objects[f"attachments/{key}{suffix}"] = (b"", "")
    for _ in range(2):
        assert hook.ask(call_for(key)).for_client == 409


def test_only_the_prefix_counts(hook: Hook, s3: PrivateS3) -> None:
    key = new_key()
    s3.objects.update({key: (b"", ""), f"backups/{key}": (b"", ""), f"attachments/x/{key}": (b"", "")})
    assert hook.ask(call_for(key)).accepted == key


def test_what_is_refused_anyway_asks_nothing(hook: Hook, s3: PrivateS3) -> None:
    forged = call_for(new_key())
    forged["Event"]["HTTPRequest"]["Header"]["Authorization"] = ["Basic eDp5"]
    large = call_for(new_key())
    large["Event"]["Upload"]["Size"] = MAX_SIZE + 1
    assert [hook.ask(call).for_client for call in (forged, large)] == [401, 413]
    assert s3.requests == []


@pytest.mark.parametrize(
    "refuse",
    [
        (403, "AccessDenied"),
        (403, "InvalidAccessKeyId"),
        (400, "ExpiredToken"),
        (301, "PermanentRedirect"),
        (500, "InternalError"),
        (503, "SlowDown"),
    ],
)
def test_an_s3_that_does_not_say_refuses_all_for_now(hook: Hook, s3: PrivateS3, refuse: tuple[int, str]) -> None:
    key = new_key()
    s3.refuse = refuse
    answer = hook.ask(call_for(key))
    assert (answer.status, answer.for_client) == (200, 503)
    assert answer.json["HTTPResponse"]["Header"]["Retry-After"] == "10"
    assert hook.told("storage-error")[-1]["reason"] == f"S3 answered {refuse[0]}"
    s3.refuse = None
    assert hook.ask(call_for(key)).accepted == key, "nothing is left of the attempt"


def test_without_list_bucket_nothing_is_accepted(s3: PrivateS3, tmp_path: Path) -> None:
    """S3 then answers 403 for what is missing, as for what may not be seen."""
    blind = replace(POD, access_key_id="ASIABLIND", lists=False)
    s3.identities.append(blind)
    try:
        with hooking(tmp_path, pod_file(tmp_path, blind), *s3_flags(s3.port)) as hook:
            assert hook.ask(call_for(new_key())).for_client == 503
    finally:
        s3.identities.remove(blind)


def test_an_s3_that_is_gone(tmp_path: Path) -> None:
    with private_s3(SITE_OF_CDN3, POD) as gone:
        pass
    with hooking(tmp_path, pod_file(tmp_path), *s3_flags(gone.port)) as hook:
        assert hook.ask(call_for(new_key())).for_client == 503
        assert hook.told("storage-error")[-1]["reason"] == "ECONNREFUSED"


def test_a_silent_s3_is_not_waited_for_long(s3: PrivateS3, tmp_path: Path) -> None:
    s3.silent = True
    with (
        hooking(tmp_path, pod_file(tmp_path), *s3_flags(s3.port), node=HURRIED) as hook,
        ThreadPoolExecutor() as pool,
    ):
        answers = list(pool.map(hook.ask, [call_for(new_key()) for _ in range(3)]))
        assert [answer.for_client for answer in answers] == [503] * 3
        assert hook.health() == 200


def test_one_of_many_calls_for_a_key_is_accepted(hook: Hook, s3: PrivateS3) -> None:
    key = new_key()
    calls = [call_for(key) for _ in range(10)]
    for number, call in enumerate(calls):
        call["Event"]["HTTPRequest"]["RemoteAddr"] = f"10.0.0.1:{number}"
    with ThreadPoolExecutor(10) as pool:
        statuses = [answer.for_client for answer in pool.map(hook.ask, calls)]
    assert sorted(statuses) == [201] + [409] * 9


def test_without_credentials_it_is_not_healthy_and_accepts_nothing(s3: PrivateS3, tmp_path: Path) -> None:
    environment = pod_file(tmp_path)
    file = tmp_path / "aws-credentials"
    text = file.read_text()
    file.unlink()
    with hooking(tmp_path, environment, *s3_flags(s3.port), node=HURRIED) as hook:
        assert hook.health() == 503
        assert hook.ask(call_for(new_key())).for_client == 503
        file.write_text(text)
        wait_until(lambda: hook.health() == 200, 15, "credentials")
        assert hook.ask(call_for(new_key())).for_client == 201
        assert "cannot be read (ENOENT)" in hook.told("credentials-error")[0]["reason"]


def test_nothing_secret_and_no_key_is_told(hook: Hook, s3: PrivateS3) -> None:
    key = new_key()
    hook.ask(call_for(key))
    s3.refuse = (403, "AccessDenied")
    hook.ask(call_for(key))
    text = hook.process.text()
    assert POD.session_token
    for secret in (key, POD.secret_access_key, POD.session_token, POD.access_key_id):
        assert secret not in text


def test_runs_confined_and_ends_on_sigterm(s3: PrivateS3, tmp_path: Path) -> None:
    environment = pod_file(tmp_path)
    node = permissions(CDN3_HOOK, tmp_path / "attachments.key", tmp_path / "aws-credentials")
    with hooking(tmp_path, environment, *s3_flags(s3.port), node=node) as hook:
        assert hook.ask(call_for(new_key())).for_client == 201
        hook.process.terminate()
        assert hook.process.wait(10) == 0


def test_wrong_flags_end_it_with_one_clear_line(tmp_path: Path) -> None:
    good = dict(zip((name[2:] for name in s3_flags(1)[::2]), s3_flags(1)[1::2], strict=True))
    wrong: list[tuple[dict[str, str | None], str]] = [
        ({"upload-dir": "/tmp"}, "--upload-dir and --s3-bucket exclude each other"),
        ({"s3-bucket": None}, "--s3-bucket must be the name of a bucket"),
        ({"s3-bucket": "No"}, "--s3-bucket must be the name of a bucket"),
        ({"s3-region": "EU"}, "--s3-region must be the name of a region"),
        ({"s3-prefix": "/x"}, "--s3-prefix must be names and slashes"),
        ({"s3-prefix": "a//b"}, "--s3-prefix must be names and slashes"),
        ({"s3-endpoint": "s3"}, "--s3-endpoint must be https://HOST"),
        ({"s3-endpoint": "http://s3/x"}, "--s3-endpoint must be https://HOST"),
        ({}, "the environment names no AWS credentials"),
    ]
    words = arguments(tmp_path)[1:]
    all_refused(HOOK, [([*words, *by_name(good, changes)], says) for changes, says in wrong])


# --- a real S3 ------------------------------------------------------------------------------------------------


def test_with_a_role_of_the_pod_on_moto(moto: str, tmp_path: Path) -> None:
    client = s3_client(moto)
    where = {"LocationConstraint": SITE_OF_CDN3.region}
    client.create_bucket(Bucket=SITE_OF_CDN3.bucket, CreateBucketConfiguration=where)
    created, done = new_key(), new_key()
    client.put_object(Bucket=SITE_OF_CDN3.bucket, Key=f"attachments/{created}.info", Body=b"{}")
    client.put_object(Bucket=SITE_OF_CDN3.bucket, Key=f"attachments/{done}", Body=b"data")
    port = int(moto.rpartition(":")[2])
    for name, prefix in {"without": "attachments", "with": "attachments/"}.items():
        folder = tmp_path / name
        folder.mkdir()
        with hooking(folder, role_of_a_pod(folder, moto), *s3_flags(port, prefix)) as hook:
            wait_until(lambda hook=hook: hook.health() == 200, 10, "credentials")
            statuses = [hook.ask(call_for(key)).for_client for key in (created, done, new_key())]
            assert statuses == [409, 409, 201]
