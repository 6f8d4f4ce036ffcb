"""A write-and-read load on a Redis Cluster that remembers every acknowledged write and finds what was lost."""

import random
import threading
import time
from collections import defaultdict
from typing import Self

from tests.lab.redis import SLOTS, Client, Cluster, RedisError, key_slot

RETRIED = ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY", "NOREPLICAS")


class ClusterClient:
    """Follows redirections to host names, and tries again on what passes, as cluster clients do. For one thread."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._connections: dict[str, Client] = {}
        self._hosts: dict[int, str] = {}
        self.redirections = 0

    def __call__(self, key: str, *words: str | int, seconds: float = 60) -> object:
        """The reply to a command about `key`. Raises the last error when there is none after `seconds`."""
        deadline, slot = time.monotonic() + seconds, key_slot(key)
        while True:
            try:
                return self._once(slot, words)
            except (OSError, RedisError) as error:
                passing = isinstance(error, OSError) or str(error).startswith(RETRIED)
                if not passing or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def _once(self, slot: int, words: tuple[str | int, ...]) -> object:
        host = self._hosts.get(slot) or self._learn(slot)
        for asking in (False, True):
            try:
                client = self._client(host)
                return client.many([("ASKING",), words])[1] if asking else client(*words)
            except OSError:
                self._drop(host)
                raise
            except RedisError as error:
                kind, *rest = str(error).split()
                if kind == "MOVED":
                    self.redirections += 1
                    self._hosts[slot] = rest[1].rpartition(":")[0]
                    raise
                if kind != "ASK" or asking:
                    raise
                host = rest[1].rpartition(":")[0]
        raise AssertionError("unreachable")

    def _client(self, host: str) -> Client:
        if host not in self._connections:
            address = self._cluster.lab.address_of(host)
            if address is None:
                raise ConnectionError(f"{host} does not resolve")
            self._connections[host] = Client(address, password=self._cluster.lab.password)
        return self._connections[host]

    def _drop(self, host: str) -> None:
        """Forgets the connection and who holds which slots, so that both are learned anew."""
        if connection := self._connections.pop(host, None):
            connection.close()
        self._hosts.clear()

    def _learn(self, slot: int) -> str:
        for pod in random.sample(self._cluster.nodes, len(self._cluster.nodes)):
            try:
                table = self._client(pod.host)("CLUSTER", "SLOTS")
            except (OSError, RedisError):
                self._drop(pod.host)
                continue
            for first, last, (host, *_), *_ in table:
                self._hosts.update(dict.fromkeys(range(first, last + 1), host))
            if slot in self._hosts:
                return self._hosts[slot]
        raise ConnectionError(f"no node tells who holds slot {slot}")


class Load:
    """Threads that write keys never written before, and read back keys written earlier, until left.

    `acknowledged` has each key whose SET was answered with OK, and the time of the answer.
    """

    def __init__(self, cluster: Cluster, name: str, *, threads: int = 4, pause: float = 0.01) -> None:
        self._cluster, self._name, self._pause = cluster, name, pause
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.acknowledged: dict[str, float] = {}
        self.longest = 0.0
        """Seconds that the slowest operation took, tries included: the outage that a client saw."""
        self.wrong: list[str] = []
        """Acknowledged keys that a later read did not find."""
        self.errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def lost(self) -> list[str]:
        """Acknowledged keys that are not there now."""
        return missing(self._cluster, list(self.acknowledged))

    def _run(self, number: int) -> None:
        client = ClusterClient(self._cluster)
        own: list[str] = []
        try:
            while not self._stop.is_set():
                key = f"{self._name}:{number}:{len(own)}"
                self._timed(client, key, "SET", key, key)
                with self._lock:
                    self.acknowledged[key] = time.monotonic()
                own.append(key)
                if len(own) % 4 == 0:
                    known = random.choice(own)
                    if self._timed(client, known, "GET", known) != known:
                        self.wrong.append(known)
                time.sleep(self._pause)
        except BaseException as error:
            self.errors.append(error)
        finally:
            client.close()

    def _timed(self, client: ClusterClient, key: str, *words: str) -> object:
        began = time.monotonic()
        reply = client(key, *words)
        self.longest = max(self.longest, time.monotonic() - began)
        return reply


def missing(cluster: Cluster, keys: list[str]) -> list[str]:
    """Those of `keys` that the masters do not have with the value that `Load` gave them."""
    by_pod: dict[str, list[str]] = defaultdict(list)
    owner: list[str] = [""] * SLOTS
    for pod in cluster.nodes:
        for first, last in _own_ranges(pod.client()):
            owner[first : last + 1] = [pod.name] * (last + 1 - first)
    for key in keys:
        by_pod[owner[key_slot(key)]].append(key)
    absent = by_pod.pop("", [])
    pods = {pod.name: pod for pod in cluster.nodes}
    for name, held in by_pod.items():
        with pods[name].client(timeout=10) as client:
            values = client.many([("GET", key) for key in held])
        absent += [key for key, value in zip(held, values, strict=True) if value != key]
    return absent


def _own_ranges(client: Client) -> list[tuple[int, int]]:
    with client:
        lines = client.text("CLUSTER", "NODES").splitlines()
    own = next(line.split() for line in lines if "myself" in line)
    pairs = [item.partition("-") for item in own[8:] if not item.startswith("[")]
    return [(int(first), int(last or first)) for first, _, last in pairs]
