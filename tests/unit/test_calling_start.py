"""programs/calling: what the servers of the calling service get, and where credentials of Pod Identity come from."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import botocore.session
import pytest

from tests.lab.served import Handler, serving

PROGRAMS = Path(__file__).parents[2] / "programs" / "calling"
START, CREDENTIALS = PROGRAMS / "start.sh", PROGRAMS / "credentials.sh"
NEW, OLD = "flags\t\t: fpu sse4_2 avx avx2 bmi2\n", "flags\t\t: fpu sse4_2 avx avx512f_avx2_like\n"
SHOW = "printf '%s\\n' \"$@\"; env | grep ^AWS_ || true"


@pytest.fixture
def cpu(tmp_path: Path) -> Path:
    """A CPU that will do."""
    path = tmp_path / "cpuinfo"
    path.write_text(NEW)
    return path


def started(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What is printed by a server that shows its arguments, and AWS's variables."""
    return subprocess.run(
        ["sh", str(START), *map(str, words)],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_arguments_stay_and_secrets_follow_them(tmp_path: Path, cpu: Path) -> None:
    key, params = tmp_path / "key", tmp_path / "zkparams"
    key.write_text("00ff")
    params.write_text("AL+/ $(x) =\n")
    files = ("--from-file", f"authentication-key={key}", "--from-file", f"zkparams={params}")
    done = started("--cpu-info", cpu, *files, "sh", "-c", SHOW, "server", "--region", "a b", "--server-port", "8080")
    shown = ["--region", "a b", "--server-port", "8080"]
    secrets = ["--authentication-key", "00ff", "--zkparams", "AL+/ $(x) ="]
    assert done.stdout.splitlines()[:8] == [*shown, *secrets], done.stderr


@pytest.mark.parametrize("content", [None, ""])
def test_without_a_secret_nothing_is_started(tmp_path: Path, cpu: Path, content: str | None) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_text(content)
    done = started("--cpu-info", cpu, "--from-file", f"authentication-key={key}", "sh", "-c", SHOW)
    assert (done.returncode, done.stdout) == (1, "")
    assert str(key) in done.stderr


def test_a_cpu_without_avx2_is_told_instead_of_an_illegal_instruction(cpu: Path) -> None:
    cpu.write_text(OLD)
    done = started("--cpu-info", cpu, "sh", "-c", SHOW)
    assert (done.returncode, done.stdout) == (1, "")
    assert "calling-start: the CPU of this node has no AVX2" in done.stderr
    assert "flatline:calls.groups.nodeLabels" in done.stderr


def test_words_that_are_no_program_are_a_usage_error(cpu: Path) -> None:
    for words in ((), ("--cpu-info", cpu), ("--from-fil", "a=b", "true")):
        done = started(*words)
        assert done.returncode == 2, words
        assert "usage: calling/start.sh" in done.stderr


def test_a_web_identity_stays_what_it_is(cpu: Path) -> None:
    done = started("--cpu-info", cpu, "sh", "-c", SHOW, AWS_WEB_IDENTITY_TOKEN_FILE="/token", AWS_ROLE_ARN="arn")
    assert done.stdout.splitlines() == ["", "AWS_ROLE_ARN=arn", "AWS_WEB_IDENTITY_TOKEN_FILE=/token"]


def test_access_keys_get_the_variable_without_which_the_frontend_ends(cpu: Path) -> None:
    done = started("--cpu-info", cpu, "sh", "-c", SHOW, AWS_SHARED_CREDENTIALS_FILE="/keys")
    shown = ["AWS_SHARED_CREDENTIALS_FILE=/keys", "AWS_WEB_IDENTITY_TOKEN_FILE=/dev/null"]
    assert sorted(done.stdout.split()) == shown


AGENT = {
    "AccessKeyId": "ASIAEXAMPLE",
    "SecretAccessKey": "secret/of+the=agent",
    "Token": "the token",
    "AccountId": "111122223333",
    "Expiration": "2126-01-01T00:00:00Z",
}


@contextmanager
def agent(asked: list[str | None], status: int = 200) -> Iterator[str]:
    """The URL of an agent of EKS Pod Identity; `asked` gets what requests show for authorization."""

    class Requests(Handler):
        def answer(self) -> None:
            asked.append(self.headers["Authorization"])
            self.reply(status, json.dumps(AGENT).encode())

    with serving(Requests) as port:
        yield f"http://127.0.0.1:{port}/v1/credentials"


def test_pod_identity_comes_by_the_file_that_sdks_read_first(
    tmp_path: Path, cpu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An SDK of AWS reads the configuration that the start step leaves behind."""
    token = tmp_path / "token"
    token.write_text("token of the pod")
    asked: list[str | None] = []
    with agent(asked) as url:
        environment = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": url,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
            "TMPDIR": str(tmp_path),
        }
        done = started("--cpu-info", cpu, "sh", "-c", SHOW, **environment)
        left = dict(line.split("=", 1) for line in done.stdout.split())
        assert left["AWS_WEB_IDENTITY_TOKEN_FILE"] == "/dev/null"
        for name in list(os.environ):
            if name.startswith("AWS_"):
                monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_CONFIG_FILE", left["AWS_CONFIG_FILE"])
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        for name in ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
            monkeypatch.setenv(name, environment[name])
        found = botocore.session.Session().get_credentials()
    assert found is not None
    assert found.method == "custom-process"
    frozen = found.get_frozen_credentials()
    assert (frozen.access_key, frozen.secret_key, frozen.token) == (
        AGENT["AccessKeyId"],
        AGENT["SecretAccessKey"],
        AGENT["Token"],
    )
    assert asked == ["token of the pod"]


def test_an_agent_that_refuses_gives_no_credentials(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t")
    with agent([], status=403) as url:
        variables = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token)}
        done = subprocess.run(
            ["sh", str(CREDENTIALS)],
            env={"PATH": os.environ["PATH"], **variables},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode
    assert done.stdout == ""
