"""The commands that `accounts` gives to `redis-cli`, on a real cluster of three masters with a password."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli import accounts
from config.loading import load
from errors import FlatlineError
from migration.accounts import DEVICES, Accounts, _disconnection, _queues
from migration.endpoints import physical_names
from tests.graph.stack import configuration
from tests.lab.fetch import skip_if_missing
from tests.lab.process import Process, free_ports, wait_until
from tests.lab.redis import Client, info, redis_binaries
from tests.unit.migration.whisper import NUMBER, OTHER, found, stores

pytestmark = pytest.mark.integration

PASSWORD = "pass-word"


@dataclass(frozen=True)
class Nodes:
    """Three masters, and what the pods of a stack have in their environment."""

    ports: list[int]
    environment: dict[str, str]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with skip_if_missing():
        binaries = redis_binaries().folder
    folder = tmp_path_factory.mktemp("redis")
    (folder / "password").write_text(PASSWORD)
    ports = free_ports(6)
    with ExitStack() as running:
        for port, bus in zip(ports[:3], ports[3:], strict=True):
            own = folder / str(port)
            own.mkdir()
            words = ["--port", port, "--cluster-port", bus, "--dir", own, "--requirepass", PASSWORD]
            options = ["--masterauth", PASSWORD, "--cluster-enabled", "yes", "--save", "", "--bind", "127.0.0.1"]
            server = Process(f"redis-{port}", [binaries / "redis-server", *map(str, words), *options], folder / "logs")
            running.callback(server.stop)
        wait_until(lambda: all(map(answers, ports[:3])), 20, "the servers answer")
        environment = {
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "REDISCLI_AUTH": PASSWORD,
            "REDIS_PASSWORD_FILE": str(folder / "password"),
            "POD_IP": "127.0.0.1",
            "REDIS_PORT": str(ports[0]),
        }
        addresses = [f"127.0.0.1:{port}" for port in ports[:3]]
        create = ["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"]
        subprocess.run(create, env=environment, check=True, capture_output=True)
        wait_until(lambda: all(map(whole, ports[:3])), 20, "the cluster is whole")
        yield Nodes(ports[:3], environment)


def answers(port: int) -> bool:
    try:
        with Client("127.0.0.1", port, PASSWORD):
            return True
    except OSError:
        return False


def whole(port: int) -> bool:
    with Client("127.0.0.1", port, PASSWORD) as client:
        return info(client)["cluster_state"] == "ok"


class LocalRedis(accounts.ClusterRedis):
    """The words that pods get, run here in place of `kubectl exec`."""

    def __init__(self, environment: dict[str, str]) -> None:
        super().__init__("here", "flatline")
        self._environment = environment

    def _command(self, where: str) -> list[str]:
        variables = [f"{name}={value}" for name, value in self._environment.items() if name != "REDISCLI_AUTH"]
        return ["env", *variables, "sh", "-c", accounts.REDIS_CLI]


def test_keys_on_every_node_go_and_a_message_arrives_as_it_is(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with stores() as service:
        account = found(service)
    redis = LocalRedis(nodes.environment)
    redis.check()
    commands = _queues(account)
    filled = [
        ["ZADD", words[1], "1", words[2]] if words[0] == "ZREM" else ["SETRANGE", words[1], "0", "x"]
        for words in commands
    ]
    redis.cluster(filled)
    assert sum(map(keys, nodes.ports)) == len(commands)
    assert len([port for port in nodes.ports if keys(port)]) > 1, "several nodes have some"

    with socket.create_connection(("127.0.0.1", nodes.ports[0]), 5) as listener:
        listener.sendall(f"AUTH {PASSWORD}\r\nSUBSCRIBE disconnection_requests\r\n".encode())
        received = b""
        while b"subscribe" not in received:
            received += listener.recv(4096)
        redis.cluster(commands)
        message = _disconnection(account.identifier, DEVICES)
        redis.publish("disconnection_requests", message)
        while message not in received:
            more = listener.recv(4096)
            assert more, "the connection was closed before the message came"
            received += more
    assert sum(map(keys, nodes.ports)) == 0
    assert found_number_in(nodes, NUMBER) == []


def test_the_accounts_of_a_cloud_stack(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tables and buckets have names of its own."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    names = physical_names(load(configuration("prod")), {"pre-keys": "own-pre-keys", "cdn0": "own-cdn0"})
    assert names.tables["accounts.tableName"] != "Accounts"
    with stores(names) as service:
        service.register(OTHER)
        before, held = (
            service.count(),
            Accounts(service.dynamodb, dict.fromkeys(names.buckets, service.s3), names, LocalRedis(nodes.environment)),
        )
        account = held.find(NUMBER)
        assert account is not None
        assert {each.number for each in held.all()} == {NUMBER, OTHER}
        cached = [f"Account3::{account.identifier}", f"AccountMap::{account.pni}", f"profiles::{account.identifier}"]
        LocalRedis(nodes.environment).cluster([["SETRANGE", key, "0", "x"] for key in cached])
        assert held.unblock(held.block(account)).data == account.data
        assert sum(map(keys, nodes.ports)) == 1, "the cache has forgotten the account, and not yet its profile"
        held.delete(account)
        assert sum(map(keys, nodes.ports)) == 0
        after = service.count()
        assert (held.find(NUMBER), after["deletedAccounts.tableName"]) == (None, 1)
        assert after["accounts.tableName"] == before["accounts.tableName"] - 1 == 1
        assert (after["pre-keys"], after["cdn0"]) == (before["pre-keys"] // 2, before["cdn0"] // 2)


def keys(port: int) -> int:
    with Client("127.0.0.1", port, PASSWORD) as client:
        return int(client("DBSIZE"))


def found_number_in(nodes: Nodes, number: str) -> list[Path]:
    """Logs that name a number."""
    logs = Path(nodes.environment["REDIS_PASSWORD_FILE"]).with_name("logs")
    return [path for path in logs.iterdir() if number in path.read_text()]


def test_a_refusal_is_an_error(nodes: Nodes, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("wrong")
    redis = LocalRedis({**nodes.environment, "REDIS_PASSWORD_FILE": str(tmp_path / "wrong")})
    with pytest.raises(FlatlineError, match=r"refused: (NOAUTH|AUTH|WRONGPASS)"):
        redis.check()
