"""Redis as it is rendered: the pods of the cluster, of its membership program and of the stand-alone server.

A cluster grows from empty volumes, serves, and heals when all pods come back with new addresses at once. Every other
kind of restart, and what is lost in it, is in test_redis.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.graph.stack import load
from tests.integration.rendered_pod import Pods, RenderedPod
from tests.lab.fetch import skip_if_missing
from tests.lab.process import wait_until
from tests.lab.redis import Client, RedisError, info, key_slot, view

pytestmark = pytest.mark.integration

PASSWORD_FILE = "/etc/flatline/redis-password"
FORM_SECONDS = 20
HEAL_SECONDS = 10
WRITTEN = {f"key-{number}": f"value of {number}" for number in range(300)}


@dataclass
class Redis:
    """All Redis pods of the stack, those of the cluster first."""

    pods: Pods
    nodes: list[RenderedPod]
    membership: RenderedPod
    pubsub: RenderedPod
    password: str

    def client(self, pod: RenderedPod) -> Client:
        return Client(pod.address, password=self.password, timeout=5)

    def whole(self) -> bool:
        """Whether every node knows just the pods of now, sees all slots served, and every replica is in step."""
        try:
            return all(self._well(pod) for pod in self.nodes)
        except (OSError, RedisError):
            return False

    def _well(self, pod: RenderedPod) -> bool:
        with self.client(pod) as client:
            state, lines = info(client), view(client)
            link = info(client, "INFO", "replication").get("master_link_status", "up")
        known = {tuple(words[1].split(",")[:2]) for words in lines}
        linked = all(words[7] == "connected" and "fail" not in words[2] for words in lines)
        served = (state["cluster_state"], state["cluster_slots_ok"]) == ("ok", "16384")
        present = known == {(f"{each.address}:6379@16379", host(each)) for each in self.nodes}
        return present and linked and served and link == "up"

    def owners(self) -> dict[str, RenderedPod]:
        """The pod whose server holds each key, as a client is told."""
        with self.client(self.nodes[0]) as client:
            ranges = [(first, last, master[0]) for first, last, master, *_ in client("CLUSTER", "SLOTS")]
        by_host = {host(pod): pod for pod in self.nodes}
        slots = {slot: by_host[name] for first, last, name in ranges for slot in range(first, last + 1)}
        return {key: slots[key_slot(key)] for key in WRITTEN}

    def each(self, *command: str) -> dict[str, str]:
        """The reply to a command about each key, with its value where the command takes one."""
        owners, replies = self.owners(), dict[str, str]()
        for pod in set(owners.values()):
            keys = [key for key, owner in owners.items() if owner is pod]
            words = [[part.format(key=key, value=WRITTEN[key]) for part in command] for key in keys]
            with self.client(pod) as client:
                replies |= dict(zip(keys, client.many(words), strict=True))
        return replies

    def reboot(self) -> None:
        """SIGTERM to all at once and no time for preStop; then every pod comes back with another address."""
        everything = [*self.nodes, self.membership, self.pubsub]
        for pod in everything:
            for container in pod.containers.values():
                container.terminate()
        for pod in everything:
            for container in pod.containers.values():
                assert container.wait(10) == 0, container.text()[-2000:]
            pod.kill()
        *self.nodes, self.membership, self.pubsub = [pod.successor().start() for pod in everything]

    def wait_ready(self) -> None:
        for pod in (*self.nodes, self.membership, self.pubsub):
            pod.wait_ready(seconds=FORM_SECONDS)


def host(pod: RenderedPod) -> str:
    """The name of one pod alone."""
    (name,) = (name for name in pod.hostnames() if name.startswith(f"{pod.name}.") and name.count(".") == 3)
    return name


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory, worker_number: int) -> Iterator[Redis]:
    """Created from nothing, once all pods are there."""
    with skip_if_missing():
        made = Pods(tmp_path_factory.mktemp("redis") / "pods", load("dev"), worker_number)
    with made as pods:
        replicas = pods.stack.get("StatefulSet", "redis")["spec"]["replicas"]
        assert replicas == 3
        membership = pods.pod("redis-membership")
        with skip_if_missing():
            membership.start()
        nodes = [pods.pod("redis", name=f"redis-{ordinal}").start() for ordinal in range(replicas)]
        pubsub = pods.pod("redis-pubsub").start()
        running = Redis(pods, nodes, membership, pubsub, pods.stack.file("redis", PASSWORD_FILE))
        running.wait_ready()
        wait_until(running.whole, FORM_SECONDS, "a cluster from nothing")
        yield running


def test_the_password_is_required_and_known_to_all(redis: Redis) -> None:
    assert redis.password == redis.password.strip()
    assert redis.pods.stack.file("whisper", PASSWORD_FILE) == redis.password
    for pod in (*redis.nodes, redis.pubsub):
        with Client(pod.address) as stranger, pytest.raises(RedisError, match="NOAUTH"):
            stranger("PING")
        with redis.client(pod) as client:
            assert client("PING") == "PONG"


def test_the_password_is_in_no_log_no_argument_and_no_environment(redis: Redis) -> None:
    """Redis overwrites its own arguments and environment: of its start step a unit test tells more."""
    for pod in (*redis.nodes, redis.membership, redis.pubsub):
        container = next(iter(pod.containers.values()))
        seen = container.execute(["sh", "-c", "cat /proc/*/cmdline /proc/*/environ"])
        assert "/etc/flatline/redis-password" in seen.stdout
        assert redis.password not in seen.stdout
        assert redis.password not in container.text()


def test_the_stand_alone_server_tells_of_keys_that_are_set(redis: Redis) -> None:
    """Whisper waits so for a linked device and for a transfer archive."""
    with redis.client(redis.pubsub) as listener, redis.client(redis.pubsub) as client:
        listener("PSUBSCRIBE", "__keyspace@0__:linked:*")
        assert client("SET", "linked:1", "x", "EX", 60) == "OK"
        assert listener.read() == ["pmessage", "__keyspace@0__:linked:*", "__keyspace@0__:linked:1", "set"]


def test_the_stand_alone_server_passes_messages_and_keeps_nothing(redis: Redis) -> None:
    with redis.client(redis.pubsub) as listener, redis.client(redis.pubsub) as client:
        listener("SUBSCRIBE", "account")
        assert client("PUBLISH", "account", "changed") == 1
        assert listener.read() == ["message", "account", "changed"]
        assert info(client, "INFO", "cluster")["cluster_enabled"] == "0"
        assert client("CONFIG", "GET", "save")[1] == ""


def test_a_reboot_with_all_addresses_changed_heals_and_loses_nothing(redis: Redis) -> None:
    assert set(redis.each("SET", "{key}", "{value}").values()) == {"OK"}
    with redis.client(redis.pubsub) as client:
        client("SET", "linked:2", "x")
    before = {pod.address for pod in redis.nodes}
    redis.reboot()
    assert not before & {pod.address for pod in redis.nodes}
    wait_until(redis.whole, HEAL_SECONDS, "healed after all addresses changed")
    redis.wait_ready()
    assert redis.each("GET", "{key}") == WRITTEN
    with redis.client(redis.pubsub) as client:
        assert client("DBSIZE") == 0, "nothing of the stand-alone server is kept"
