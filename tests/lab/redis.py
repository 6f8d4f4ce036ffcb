"""Redis pods as plain processes: the very programs, configuration and probes of the containers, on loopback addresses.

A pod gets a new address at every start, as in Kubernetes; a volume is a folder that outlives it. Host names are in a
file that two shims read in place of the name server: `getent` on the PATH of the shell programs, and a module that
Node.js loads before its program. Both may be told to lag, as name servers do.
"""

import os
import random
import re
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.lab.cache import digest
from tests.lab.debian import unpack
from tests.lab.fetch import Missing, fetched
from tests.lab.node import NODE
from tests.lab.process import Process, slowness

PROGRAMS = Path(__file__).resolve().parents[2] / "programs" / "redis"
SLOTS = 16384
SUITE = "trixie"
PACKAGES = (
    *("redis-server", "redis-tools", "libjemalloc2", "liblzf1", "libatomic1", "libssl3t64", "libsystemd0", "libc6"),
    *("libstdc++6", "libgcc-s1", "libcap2", "zlib1g", "libzstd1"),
)
WRAPPER = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
exec "$here/{loader}" --library-path "{libraries}" "$here/root/usr/bin/{name}" "$@"
"""

GETENT = """#!/bin/sh
# getent ahosts NAME, from $LAB_HOSTS: lines "name address"
awk -v name="$2" '$1 == name { found = $2 } END { if (found == "") exit 2; print found, "STREAM", name }' "$LAB_HOSTS"
"""
LOOKUP = """
import dns from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

dns.lookup = async (name) => {
  const lines = readFileSync(process.env.LAB_HOSTS, 'utf8').split('\\n');
  const found = lines.find((line) => line.startsWith(`${name} `));
  if (found) return { address: found.split(' ')[1], family: 4 };
  if (name === 'kubernetes.default.svc') return { address: '10.43.0.1', family: 4 };
  // as in a cluster without the internet, where nobody can say that a name outside of the cluster does not exist
  throw Object.assign(new Error(`getaddrinfo EAI_AGAIN ${name}`), { code: 'EAI_AGAIN', syscall: 'getaddrinfo' });
};
syncBuiltinESMExports();
"""


TOOLS = ("redis-server", "redis-cli", "redis-check-aof", "redis-check-rdb")


@dataclass(frozen=True)
class Binaries:
    """A folder with executables of the names in `TOOLS`."""

    folder: Path


def redis_binaries() -> Binaries:
    """Redis 8.0.2 of Debian 13, the release of the container image, with the libraries of that release."""
    return Binaries(fetched("redis", digest(SUITE, *PACKAGES, *TOOLS, WRAPPER), _build))


prepare = redis_binaries


def _build(target: Path) -> None:
    unpack(target / "root", SUITE, PACKAGES)
    libraries = sorted({one.parent.relative_to(target) for one in (target / "root").rglob("*.so*")})
    loader = next((target / "root").rglob("ld-linux-*.so.*")).relative_to(target)
    for name in TOOLS:
        path = ":".join(f"$here/{folder}" for folder in libraries)
        (target / name).write_text(WRAPPER.format(loader=loader, libraries=path, name=name))
        (target / name).chmod(0o755)


# ---- the protocol ---------------------------------------------------------------------------------------------------


class RedisError(Exception):
    """An error reply; the message is Redis' own."""


Reply = Any
"""str, int, None, or a list of such: what it is depends on the command."""


class Client:
    """A connection that speaks RESP2, with the timeout that Whisper has (1 s)."""

    def __init__(self, address: str, port: int = 6379, password: str | None = None, timeout: float = 1) -> None:
        self._socket = socket.create_connection((address, port), timeout)
        self._stream = self._socket.makefile("rb")
        if password is not None:
            self("AUTH", password)

    def __call__(self, *words: str | int) -> Reply:
        return self.many([words])[0]

    def many(self, commands: Sequence[Sequence[str | int]]) -> list[Reply]:
        """Sends all, then reads all replies. Raises the first RedisError after all are read."""
        self._socket.sendall(b"".join(_encode(words) for words in commands))
        replies = [self._read() for _ in commands]
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return replies

    def text(self, *words: str | int) -> str:
        reply = self(*words)
        assert isinstance(reply, str), reply
        return reply

    def read(self) -> Reply:
        """The next message that comes by itself, as after SUBSCRIBE."""
        reply = self._read()
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> Reply:
        line = self._stream.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("closed")
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"+":
            return rest
        if kind == b"-":
            return RedisError(rest)
        if kind == b":":
            return int(rest)
        size = int(rest)
        if size < 0:
            return None
        if kind == b"$":
            data = self._stream.read(size + 2)
            if len(data) < size + 2:
                raise ConnectionError("closed")
            return data[:-2].decode()
        return [self._read() for _ in range(size)]


def _encode(words: Sequence[str | int]) -> bytes:
    parts = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def key_slot(key: str) -> int:
    """The hash slot of a key without a hash tag: CRC16/XMODEM modulo 16384 (Redis Cluster specification)."""
    crc = 0
    for byte in key.encode():
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc % SLOTS


def view(client: Client) -> list[list[str]]:
    """CLUSTER NODES, each line in its words."""
    return [line.split() for line in client.text("CLUSTER", "NODES").splitlines() if line]


def info(client: Client, *section: str) -> dict[str, str]:
    """INFO <section> or CLUSTER INFO as a table."""
    text = client.text(*(section or ("CLUSTER", "INFO")))
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))


# ---- pods -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Container:
    """What a pod template says of one container. Paths are the container's; `mounts` tells where they really are.

    POD_IP and POD_NAME are given by the lab, the former also as $(POD_IP) in the command. Every
    occurrence of a mount path in the words and in the environment is replaced by its real place, because these
    processes share the machine's file system.
    """

    command: Sequence[str]
    env: Mapping[str, str]
    mounts: Mapping[str, Path] = field(default_factory=dict)
    ready: Sequence[str] = ()
    """The readiness probe's command."""
    pre_stop: Sequence[str] = ()
    grace_seconds: float = 600


class Pod:
    """One pod of one container: it may be started and ended many times, and has another address each time."""

    def __init__(self, lab: "Lab", name: str, container: Container) -> None:
        self.lab, self.name, self.container = lab, name, container
        self.host = f"{name}.{lab.domain}"
        self.address = ""
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        assert self._process, f"{self.name} was never started"
        return self._process

    def running(self) -> bool:
        return self._process is not None and self._process.running()

    def start(self, address: str | None = None, *, announce: bool = True) -> None:
        """Starts it and tells the name server its address, unless the news is to lag (`announce` then does it)."""
        self.address = address or self.lab.new_address()
        if announce:
            self.announce()
        command = [word.replace("$(POD_IP)", self.address) for word in self._real(self.container.command)]
        self._process = Process(self.name, command, self.lab.folder / "logs", environment=self._environment())

    def announce(self) -> None:
        self.lab.set_host(self.host, self.address)

    def ready(self) -> bool:
        """Whether the readiness probe succeeds."""
        return self.execute(self.container.ready).returncode == 0

    def wait_ready(self, seconds: float = 20) -> None:
        self.process.wait_ready(self.ready, seconds)

    def stop(self, *, pre_stop: bool = True) -> str:
        """Ends it as the kubelet does: preStop, SIGTERM, SIGKILL after the grace period. Returns preStop's output."""
        deadline = time.monotonic() + self.container.grace_seconds
        said = ""
        if pre_stop and self.container.pre_stop:
            done = self.execute(self.container.pre_stop, timeout=self.container.grace_seconds)
            said = done.stdout + done.stderr
            assert done.returncode == 0, said
        self.process.stop(deadline - time.monotonic())
        self.lab.remove_host(self.host)
        return said

    def kill(self) -> None:
        """Ends it without warning."""
        self.process.kill()
        self.lab.remove_host(self.host)

    def memory(self) -> int:
        """Resident set size in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024

    def client(self, *, timeout: float = 5) -> Client:
        """An authenticated connection to the server in it."""
        return Client(self.address, password=self.lab.password, timeout=timeout)

    def _environment(self) -> dict[str, str]:
        own = {**self.container.env, "POD_IP": self.address, "POD_NAME": self.name}
        places = dict(zip(own, self._real(own.values()), strict=True))
        return {**places, **self.lab.shims}

    def _real(self, texts: Iterable[str]) -> list[str]:
        places = self.container.mounts
        paths = "|".join(re.escape(path) for path in sorted(places, key=len, reverse=True))
        whole = re.compile(rf"(?<![\w./-])(?:{paths})(?![\w.-])")
        return [whole.sub(lambda found: str(places[found[0]]), text) if paths else text for text in texts]

    def execute(self, command: Sequence[str], timeout: float = 120) -> "subprocess.CompletedProcess[str]":
        """Runs a command as in its container."""
        return subprocess.run(
            self._real(command), env=self._environment(), capture_output=True, text=True, timeout=timeout
        )


class Lab:
    """Pods in a folder, on a block of loopback addresses of their own. Ends all of them when left."""

    def __init__(self, folder: Path, binaries: Binaries, *, domain: str = "redis-nodes.flatline.svc") -> None:
        self.folder, self.binaries, self.domain = folder, binaries, domain
        self.password = "".join(random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=32))
        self.pods: dict[str, Pod] = {}
        self._block, self._claim = _claim_block()
        self._last = 9
        secrets, tools = folder / "secrets", folder / "bin"
        for one in (secrets, tools):
            one.mkdir(parents=True)
        self.secrets = secrets
        (secrets / "redis-password").write_text(self.password + "\n")
        self._hosts, self._addresses, self._lock = folder / "hosts", dict[str, str](), threading.Lock()
        self._publish()
        (tools / "getent").write_text(GETENT)
        (tools / "getent").chmod(0o755)
        (folder / "lookup.mjs").write_text(LOOKUP)
        for name, place in {**{name: binaries.folder / name for name in TOOLS}, "node": Path(NODE)}.items():
            (tools / name).write_text(f'#!/bin/sh\nexec "{place}" "$@"\n')
            (tools / name).chmod(0o755)
        self.shims = {
            "PATH": f"{tools}:{os.environ.get('PATH', os.defpath)}",
            "LAB_HOSTS": str(self._hosts),
            "NODE_OPTIONS": f"--import={folder / 'lookup.mjs'}",
        }

    def new_address(self) -> str:
        """One that no pod of this lab had before."""
        self._last += 1
        if self._last > 254:
            raise RuntimeError("this lab's block of addresses is used up")
        return f"{self._block}.{self._last}"

    def set_host(self, host: str, address: str) -> None:
        """Tells the name server."""
        with self._lock:
            self._addresses[host] = address
            self._publish()

    def remove_host(self, host: str) -> None:
        """Tells the name server, which then answers that there is no such name."""
        with self._lock:
            self._addresses.pop(host, None)
            self._publish()

    def address_of(self, host: str) -> str | None:
        """What the name server says."""
        return self._addresses.get(host)

    def _publish(self) -> None:
        partial = self._hosts.with_suffix(".new")
        partial.write_text("".join(f"{host} {address}\n" for host, address in self._addresses.items()))
        partial.replace(self._hosts)

    def pod(self, name: str, container: Container) -> Pod:
        self.pods[name] = Pod(self, name, container)
        return self.pods[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pod in self.pods.values():
            if pod.running():
                pod.process.kill()
        self._claim.close()


def _claim_block() -> tuple[str, socket.socket]:
    """Three bytes of 127.0.0.0/8 and the listening socket that shows others that they are taken."""
    for _ in range(1000):
        block = f"127.{random.randrange(16, 255)}.{random.randrange(256)}"
        claim = socket.socket()
        try:
            claim.bind((f"{block}.1", 6379))
            claim.listen()
        except OSError:
            claim.close()
            continue
        return block, claim
    raise Missing("needs a free block of loopback addresses with port 6379")


# ---- the cluster and the stand-alone server, as the stack deploys them ----------------------------------------------


def node_container(lab: Lab, ordinal: int, **env: str) -> Container:
    """The container of a cluster node. Its volume is <folder>/volumes/data-redis-<ordinal>."""
    volume = lab.folder / "volumes" / f"data-redis-{ordinal}"
    volume.mkdir(parents=True, exist_ok=True)
    return Container(
        command=["sh", "/etc/redis/start.sh", "cluster", "/etc/redis/cluster.conf"],
        env={
            "REDIS_PORT": "6379",
            "REDIS_DATA_DIR": "/data",
            "REDIS_MAXMEMORY": str(128 << 20),
            "REDIS_PASSWORD_FILE": "/run/secrets/redis/redis-password",
            "REDIS_PEER_DOMAIN": lab.domain,
            "REDIS_STOP_SECONDS": "540",
            "REDIS_STOP_PATIENCE": "15",
            "REDIS_FEWEST_MASTERS": "3",
            **env,
        },
        mounts={"/etc/redis": PROGRAMS, "/data": volume, "/run/secrets/redis": lab.secrets},
        ready=["sh", "/etc/redis/probe.sh", "ready"],
        pre_stop=["sh", "/etc/redis/stop.sh"],
    )


def membership_container(lab: Lab, masters: int, replicas: int) -> Container:
    """The container of the membership program. Its readiness probe is HTTP: `membership_says(pod, "readyz")`."""
    return Container(
        command=[
            *("node", "/etc/redis/membership.mjs", "--listen", "[$(POD_IP)]:8080", "--stateful-set", "redis"),
            *("--peer-domain", lab.domain, "--redis-port", "6379", "--masters", str(masters)),
            *("--replicas-per-master", str(replicas)),
            *("--redis-password-file", "/run/secrets/redis/redis-password"),
        ],
        env={},
        mounts={"/etc/redis": PROGRAMS, "/run/secrets/redis": lab.secrets},
    )


def membership_says(pod: Pod, path: str) -> bool:
    """Whether the membership program answers 200 at /<path>."""
    return membership_answer(pod, path)[0] == 200


def membership_answer(pod: Pod, path: str) -> tuple[int, str]:
    """Its status and text; 0 when there is no answer."""
    try:
        with urllib.request.urlopen(f"http://{pod.address}:8080/{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


class Cluster:
    """The StatefulSet `redis` and the Deployment `redis-membership`, scaled and restarted as Kubernetes would.

    `node` and `membership` make the containers: those of this module, or rendered ones.
    """

    def __init__(
        self,
        lab: Lab,
        *,
        node: Callable[[Lab, int], Container] = node_container,
        membership: Callable[[Lab, int, int], Container] = membership_container,
    ) -> None:
        self.lab, self._node, self._membership = lab, node, membership
        self.nodes: list[Pod] = []
        self._member: Pod | None = None

    @property
    def membership(self) -> Pod:
        """The pod of the membership program."""
        assert self._member, "the membership program was not deployed"
        return self._member

    def deploy_membership(self, masters: int, replicas: int) -> Pod:
        """Replaces the membership pod by one with this target (strategy Recreate)."""
        if self._member and self._member.running():
            self._member.stop()
        self._member = self.lab.pod("redis-membership", self._membership(self.lab, masters, replicas))
        self._member.start()
        return self._member

    def scale_out(self, count: int) -> list[Pod]:
        """Starts the pods that are missing, all at once (podManagementPolicy Parallel)."""
        added = []
        for ordinal in range(len(self.nodes), count):
            pod = self.lab.pod(f"redis-{ordinal}", self._node(self.lab, ordinal))
            pod.start()
            added.append(pod)
        self.nodes += added
        return added

    def scale_in(self, count: int) -> list[str]:
        """Ends the pods beyond `count`, all at once; returns what their preStop steps said."""
        leaving, self.nodes = self.nodes[count:], self.nodes[:count]
        return together(pod.stop for pod in leaving)

    def restart(self, pod: Pod) -> None:
        """One step of a rolling update: stop, start with a new address, wait for readiness."""
        pod.stop()
        pod.start()
        pod.wait_ready()

    def problem(self, replicas: int) -> str:
        """Empty when all nodes know each other's addresses, all slots are served evenly and all replicas follow."""
        addresses = {f"{pod.address}:6379@16379,{pod.host}" for pod in self.nodes}
        for pod in self.nodes:
            try:
                with pod.client() as client:
                    problem = _problem(client, addresses, replicas)
            except (OSError, RedisError) as error:
                problem = str(error)
            if problem:
                return f"{pod.name}: {problem}"
        return ""

    def wait_whole(self, replicas: int, seconds: float) -> float:
        """The seconds until there is no `problem`; raises TimeoutError naming it after `seconds` times `slowness()`."""
        began = time.monotonic()
        while problem := self.problem(replicas):
            if time.monotonic() - began > seconds * slowness():
                raise TimeoutError(f"not whole within {seconds} s: {problem}")
            time.sleep(0.1)
        return time.monotonic() - began

    def masters(self) -> dict[str, int]:
        """Names of the pods that hold slots, with how many."""
        held = {}
        for pod in self.nodes:
            with pod.client() as client:
                own = next(words for words in view(client) if "myself" in words[2])
            if count := sum(_size(item) for item in own[8:]):
                held[pod.name] = count
        return held

    def pod_of(self, key: str) -> Pod:
        """The pod of the master that holds the key's slot."""
        slot = key_slot(key)
        for pod in self.nodes:
            if not pod.running():
                continue
            with pod.client() as client:
                own = next(words for words in view(client) if "myself" in words[2])
            for item in own[8:]:
                first, _, last = item.partition("-")
                if not item.startswith("[") and int(first) <= slot <= int(last or first):
                    return pod
        raise LookupError(f"nobody holds slot {slot}")

    def replica_of(self, master: Pod) -> Pod:
        """A pod that replicates this master."""
        with master.client() as client:
            lines = view(client)
        own = next(words[0] for words in lines if "myself" in words[2])
        host = next(words[1].split(",")[1] for words in lines if words[3] == own)
        return next(pod for pod in self.nodes if pod.host == host)


def _size(item: str) -> int:
    first, _, last = item.partition("-")
    return 0 if item.startswith("[") else int(last or first) - int(first) + 1


def _problem(client: Client, addresses: set[str], replicas: int) -> str:
    state, lines = info(client), view(client)
    if state["cluster_state"] != "ok" or state["cluster_slots_ok"] != str(SLOTS):
        return f"state {state['cluster_state']}, {state['cluster_slots_ok']} slots"
    known = {",".join(words[1].split(",")[:2]) for words in lines}
    if known != addresses:
        return f"knows {sorted(known)}"
    for words in lines:
        if words[7] != "connected" or "fail" in words[2] or any(item.startswith("[") for item in words[8:]):
            return f"not well: {words[:8]}"
    masters = {words[0] for words in lines if "master" in words[2]}
    sizes = sorted(sum(_size(item) for item in words[8:]) for words in lines if words[0] in masters)
    if sizes[-1] - sizes[0] > 1:
        return f"slots of the masters {sizes}"
    for master in masters:
        if (count := sum(words[3] == master for words in lines)) != replicas:
            return f"{count} replicas of {master}"
    replication = info(client, "INFO", "replication")
    if replication["role"] == "slave" and replication["master_link_status"] != "up":
        return "replica not in step"
    return ""


def together(tasks: Iterable[Callable[[], str]]) -> list[str]:
    """Runs all at the same time; returns their results, or raises the first error."""
    tasks = list(tasks)
    with ThreadPoolExecutor(max_workers=max(1, len(tasks))) as pool:
        return list(pool.map(lambda task: task(), tasks))
