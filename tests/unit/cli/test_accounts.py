"""`accounts`: what is asked before anything is changed, what is shown, and what the log has."""

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from cli import accounts
from cli.arguments import parse
from cli.commands import accounts_block, accounts_delete, accounts_list, accounts_show, accounts_unblock
from cli.terminal import Terminal
from config.schema import invitations as schema
from errors import FlatlineError
from tests.unit.cli.checkout import Checkout, calls
from tests.unit.cli.conftest import Clusters
from tests.unit.cli.test_json import as_documented
from tests.unit.migration.conftest import Aws
from tests.unit.migration.whisper import NUMBER, OTHER, Service, _service, found, stores

COMMANDS = {
    "list": accounts_list,
    "show": accounts_show,
    "delete": accounts_delete,
    "block": accounts_block,
    "unblock": accounts_unblock,
}


@dataclass
class Stack:
    """A stack with the accounts of `service` and some invitations."""

    service: Service
    loaded: Any
    invited: dict[str, str] = field(default_factory=dict)

    def run(self, typed: str) -> int:
        arguments = parse(["accounts", *typed.split()])
        return int(COMMANDS[arguments.command.removeprefix("accounts-")].run(arguments, Terminal()))

    def lines(self) -> list[dict[str, str]]:
        path = accounts.log(self.loaded)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Stack]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("COLUMNS", "120")
    settings = SimpleNamespace(registration=SimpleNamespace(kind="invitation"), namespace="flatline")
    loaded = SimpleNamespace(
        stack=SimpleNamespace(name="dev", state=tmp_path / "state" / "dev.json"), settings=settings
    )
    with stores() as service:
        made = Stack(service, loaded)

        @contextmanager
        def opened(arguments: Namespace, terminal: Terminal) -> Iterator[tuple[Any, str, Any]]:
            yield loaded, "my-k3s", service.accounts

        class Store:
            def __init__(self, *_: str) -> None:
                pass

            def read(self) -> Mapping[str, str]:
                return made.invited

            def change(self, decide: Any) -> None:
                for name, value in decide(made.invited).items():
                    made.invited.pop(name) if value is None else made.invited.update({name: value})

        monkeypatch.setattr(accounts, "opened", opened)
        monkeypatch.setattr(accounts_block, "Store", Store)
        yield made


@pytest.mark.parametrize("action", ["delete", "block"])
def test_without_the_number_nothing_is_changed(stack: Stack, action: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = stack.service.count(), found(stack.service).data
    assert stack.run(f"{action} {NUMBER}") == 0
    assert f"--confirm {NUMBER}" in capsys.readouterr().out
    with pytest.raises(FlatlineError, match="was not typed"):
        stack.run(f"{action} {NUMBER} --confirm {OTHER}")
    assert (stack.service.count(), found(stack.service).data) == before
    assert stack.lines() == []
    assert stack.service.redis.commands == []


def test_what_would_be_deleted_is_counted(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    stack.run(f"delete {NUMBER}")
    shown = capsys.readouterr().out
    for line in ("up to 12 rows of table Keys", "up to 4 objects of bucket pre-keys", "up to 1 objects of bucket cdn0"):
        assert line in shown


def test_the_log_names_the_account_and_never_the_number(stack: Stack) -> None:
    identifier = str(found(stack.service).identifier)
    assert stack.run(f"block {NUMBER} --confirm {NUMBER}") == 0
    assert stack.run(f"unblock {NUMBER}") == 0
    assert stack.run(f"delete {NUMBER} --confirm {NUMBER}") == 0
    assert [(each["action"], each["result"]) for each in stack.lines()] == [
        (action, result) for action in ("block", "unblock", "delete") for result in ("begun", "done")
    ]
    assert {each["account"] for each in stack.lines()} == {identifier}
    path = accounts.log(stack.loaded)
    assert NUMBER[1:] not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_without_a_log_nothing_is_done(stack: Stack) -> None:
    accounts.log(stack.loaded).mkdir(parents=True)
    before = stack.service.count()
    with pytest.raises(FlatlineError, match="nothing was changed"):
        stack.run(f"delete {NUMBER} --confirm {NUMBER}")
    assert stack.service.count() == before


def test_without_redis_nothing_is_done(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its cache still has would be served for two days."""

    def down() -> None:
        raise FlatlineError("Redis does not answer")

    monkeypatch.setattr(stack.service.redis, "check", down)
    before = stack.service.count()
    for action in ("delete", "block"):
        with pytest.raises(FlatlineError, match="does not answer"):
            stack.run(f"{action} {NUMBER} --confirm {NUMBER}")
    assert stack.service.count() == before


@pytest.mark.parametrize("action", ["block", "unblock"])
def test_what_ended_before_the_cache_is_finished_by_the_next_run(
    stack: Stack, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache would serve the account as it was for two days."""
    words = f"block {NUMBER} --confirm {NUMBER}" if action == "block" else f"unblock {NUMBER}"
    if action == "unblock":
        stack.service.accounts.block(found(stack.service))

    def down(*_: object) -> None:
        raise FlatlineError("Redis has gone")

    with monkeypatch.context() as patched:
        patched.setattr(stack.service.redis, "cluster", down)
        with pytest.raises(FlatlineError, match="has gone"):
            stack.run(words)
    stack.service.redis.commands.clear()
    stack.service.redis.published.clear()
    assert stack.run(words) == 0
    assert ["DEL", f"Account3::{found(stack.service).identifier}"] in stack.service.redis.commands
    assert stack.service.redis.published


@pytest.mark.parametrize("by", ["number", "identifier"])
def test_a_deletion_that_ended_before_the_cache_is_finished_by_the_next_run(
    stack: Stack, by: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    account = found(stack.service)

    def down(*_: object) -> None:
        raise FlatlineError("Redis has gone")

    with monkeypatch.context() as patched:
        patched.setattr(stack.service.redis, "publish", down)
        with pytest.raises(FlatlineError, match="Redis has gone"):
            stack.run(f"delete {NUMBER} --confirm {NUMBER}")
        with pytest.raises(FlatlineError, match="Redis has gone"):
            stack.run(f"delete {NUMBER}")
    stack.service.redis.commands.clear()
    assert stack.run(f"delete {NUMBER if by == 'number' else account.identifier}") == 0
    assert "is deleted already" in capsys.readouterr().out
    assert ["DEL", f"Account3::{account.identifier}"] in stack.service.redis.commands
    assert stack.service.redis.published
    assert [each["result"] for each in stack.lines()] == ["begun", "failed"] * 2 + ["begun", "done"]
    assert {each["account"] for each in stack.lines()} == {str(account.identifier)}


def test_an_identifier_names_an_account_and_the_number_confirms(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    identifier = found(stack.service).identifier
    stack.run(f"show {identifier}")
    assert NUMBER in capsys.readouterr().out
    with pytest.raises(FlatlineError, match="was not typed"):
        stack.run(f"delete {identifier} --confirm {identifier}")
    assert stack.run(f"delete {str(identifier).upper()} --confirm {NUMBER}") == 0
    with pytest.raises(FlatlineError, match="has no account"):
        stack.run("delete 01234567-89ab-cdef-0123-456789abcdef")


def test_blocking_takes_the_invitation_of_that_number_back(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    stack.invited.update({schema.key(NUMBER): "{}", schema.key(OTHER): "{}"})
    stack.run(f"block {NUMBER} --confirm {NUMBER}")
    assert list(stack.invited) == [schema.key(OTHER)]
    assert f"unblock {NUMBER}" in capsys.readouterr().out
    assert stack.run(f"block {NUMBER} --confirm {NUMBER}") == 0
    assert len(stack.lines()) == 2, "what is blocked is not blocked again"


@pytest.mark.parametrize(("kind", "said"), [("webhook", "can still register"), ("development", "registers any number")])
def test_what_blocking_cannot_do_is_said(
    stack: Stack, kind: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.loaded.settings.registration.kind = kind
    stack.run(f"block {NUMBER}")
    assert said in capsys.readouterr().out


def test_documents_are_as_documented(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    stack.run("list --json")
    assert as_documented("accounts list", json.loads(capsys.readouterr().out))
    stack.run(f"show {NUMBER} --json")
    shown = json.loads(capsys.readouterr().out)
    assert as_documented("accounts show", shown)
    assert [each["id"] for each in shown["account"]["devices"]] == [1, 2]


def test_nobody_and_nothing(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FlatlineError, match="has no account"):
        stack.run(f"show {OTHER}")
    stack.run(f"delete {NUMBER} --confirm {NUMBER}")
    stack.run("list")
    assert "Nobody has an account" in capsys.readouterr().out


KUBECTL = """
words = sys.argv[1:]
record(arguments=words)
if "port-forward" in words:
    print("Forwarding from 127.0.0.1:{port} -> 1", flush=True)
    import time
    time.sleep(60)
elif "namespaces" in words:
    labels = {{"app.kubernetes.io/part-of": "flatline", "flatline.org/stack": "flatline.dev"}}
    print(json.dumps({{"items": [{{"metadata": {{"name": "flatline", "labels": labels}}}}]}}))
elif "deployment.apps" in words:
    volumes = [{{"name": "object-store-accounts", "secret": {{"secretName": "made"}}}}]
    print(json.dumps({{"spec": {{"template": {{"spec": {{"volumes": volumes}}}}}}}}))
elif "secret" in words:
    print(json.dumps({{"data": {{"root-secret": "c2VjcmV0"}}}}))
elif "secrets" in words:
    print(json.dumps({{"items": []}}))
elif "exec" in words:
    asked = sys.stdin.read().splitlines()
    record(redis=[words[words.index("-i") + 1], *asked])
    print("\\n".join("0" for _ in asked))
"""


@pytest.fixture
def aws() -> Iterator[Aws]:
    """A server, for what reaches it from another process."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield Aws(f"http://{host}:{port}")
    server.stop()


def test_stores_are_reached_through_the_cluster(brought_up: Checkout, clusters: Clusters, aws: Aws) -> None:
    """By ports of Services, and by commands on standard input of Redis' pods; numbers are in no argument of kubectl."""
    service = _service(aws.client("dynamodb"), aws.client("s3"))
    account = found(service)
    log = brought_up.program("kubectl", KUBECTL.format(port=aws.url.rpartition(":")[2]))
    where = ("--context", "mine")
    assert NUMBER in brought_up.succeed("accounts", "list", *where)
    brought_up.succeed("accounts", "delete", NUMBER, "--confirm", NUMBER, *where)
    assert service.accounts.find(NUMBER) is None
    asked = calls(log)
    assert not [each for each in asked if NUMBER[1:] in str(each.get("arguments"))]
    redis = [each["redis"] for each in asked if "redis" in each]
    assert {each[0] for each in redis} == {accounts.REDIS_NODE, accounts.PUBLICATIONS}
    assert f"DEL Account3::{account.identifier}" in {line for each in redis for line in each}
