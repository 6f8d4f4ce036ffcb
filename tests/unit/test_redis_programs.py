"""The Redis programs of the cluster, without a Redis: start step, probes, preStop step, and the rules of membership."""

import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.lab.node import NODE
from tests.programs.modules import Modules
from tests.programs.starts import all_refused

PROGRAMS = Path(__file__).resolve().parents[2] / "programs" / "redis"
MEMBERSHIP = PROGRAMS / "membership.mjs"
DOMAIN = "redis-nodes.flatline.svc"
PASSWORD = "Abc-123._~"

# Written by Redis 8.0.2 (shortened), with what earlier failures leave behind, and a line in the form of 7.0.
NODES_CONF = f"""\
{"a" * 40} 10.42.0.11:6379@16379,redis-0.{DOMAIN},,tls-port=0,shard-id={"1" * 40} myself,master - 0 0 5 connected 0-5461
{"b" * 40} 10.42.0.12:6379@16379,redis-1.{DOMAIN},,shard-id={"2" * 40} master,fail - 1 2 7 disconnected 5462-10922
{"c" * 40} 10.42.0.13:6379@16379,redis-2.{DOMAIN} master,fail? - 1 2 6 connected 10923-16383 [42->-{"b" * 40}]
{"d" * 40} :0@0,redis-3.{DOMAIN},,shard-id={"1" * 40} slave,noaddr {"a" * 40} 1 2 5 disconnected
{"e" * 40} 10.42.0.15:6379@16379,redis-4.{DOMAIN},,shard-id={"2" * 40} slave,fail,nofailover {"b" * 40} 1 2 7 connected
{"f" * 40} 10.42.0.16:6379@16379,,tls-port=0,shard-id={"3" * 40} slave {"c" * 40} 0 2 6 connected
vars currentEpoch 9 lastVoteEpoch 6
"""


# ---- the shell programs ---------------------------------------------------------------------------------------------


@dataclass
class Shell:
    """A folder with stand-ins for the tools of the image, in front of the real PATH."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def tool(self, name: str, script: str) -> None:
        place = self.folder / "bin" / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"#!/bin/sh\n{script}\n")
        place.chmod(0o755)

    def run(self, program: str, *arguments: str | Path, **env: str) -> "subprocess.CompletedProcess[str]":
        path = f"{self.folder / 'bin'}:{os.environ.get('PATH', os.defpath)}"
        words = ["sh", str(PROGRAMS / program), *map(str, arguments)]
        whole = {"PATH": path, **self.env, **env}
        return subprocess.run(words, env=whole, capture_output=True, text=True, timeout=30)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "password").write_text(PASSWORD + "\n")
    shell = Shell(tmp_path)
    shell.env = {
        "POD_IP": "10.42.7.1",
        "POD_NAME": "redis-0",
        "REDIS_PEER_DOMAIN": DOMAIN,
        "REDIS_PORT": "6379",
        "REDIS_DATA_DIR": str(data),
        "REDIS_MAXMEMORY": "1000000",
        "REDIS_PASSWORD_FILE": str(tmp_path / "password"),
        "REDIS_STOP_SECONDS": "20",
        "REDIS_STOP_PATIENCE": "2",
        "REDIS_FEWEST_MASTERS": "3",
    }
    shell.tool("redis-server", 'echo "arguments: $*"; env | sed "s/^/environment: /"; cat')
    shell.tool("getent", "exit 2")
    return shell


@pytest.mark.parametrize("program", sorted(PROGRAMS.glob("*.sh")), ids=lambda path: path.name)
def test_shell_programs_parse(program: Path) -> None:
    done = subprocess.run(["sh", "-n", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["cluster.conf", "pubsub.conf"])
def test_configuration_says_each_thing_once_and_nothing_of_a_deployment(name: str) -> None:
    lines = [line.split() for line in (PROGRAMS / name).read_text().splitlines() if line and line[0] != "#"]
    options = [words[0] for words in lines]
    assert len(options) == len(set(options))
    given = {"bind", "port", "dir", "maxmemory", "requirepass", "masterauth", "cluster-announce-ip"}
    assert given.isdisjoint(options), "the start step gives these"


def test_start_gives_the_whole_configuration_on_standard_input(shell: Shell) -> None:
    done = shell.run("start.sh", "cluster", PROGRAMS / "cluster.conf")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert "arguments: -" in said
    config = [line for line in said if not line.startswith(("arguments:", "environment:")) and line]
    assert config == [
        f"include {PROGRAMS / 'cluster.conf'}",
        "bind 10.42.7.1",
        "port 6379",
        f"dir {shell.env['REDIS_DATA_DIR']}",
        "maxmemory 1000000",
        f"requirepass {PASSWORD}",
        f"masterauth {PASSWORD}",
        f"user default on >{PASSWORD} ~* &* +@all -psync -sync",
        "cluster-announce-ip 10.42.7.1",
        f"cluster-announce-hostname redis-0.{DOMAIN}",
    ]
    outside = [line for line in said if line.startswith(("arguments:", "environment:"))]
    assert not any(PASSWORD in line for line in outside), "the password is in an argument or the environment"
    assert list(Path(shell.env["REDIS_DATA_DIR"]).iterdir()) == [], "the first start leaves the volume to Redis"


def test_start_judges_no_file_by_a_check_that_did_not_run(shell: Shell) -> None:
    """A tool that is missing, or killed, says nothing about the data."""
    folder = Path(shell.env["REDIS_DATA_DIR"]) / "appendonlydir"
    folder.mkdir()
    (folder / "appendonly.aof.1.base.rdb").write_bytes(b"REDIS0012")
    (folder / "appendonly.aof.1.incr.aof").touch()
    lines = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"
    (folder / "appendonly.aof.manifest").write_text(lines)
    shell.tool("redis-check-aof", "exit 137")
    done = shell.run("start.sh", "cluster", PROGRAMS / "cluster.conf")
    assert done.returncode == 2
    assert "redis-check-aof ended with status 137" in done.stderr
    assert not (folder.parent / "set-aside").exists()


def test_start_of_the_stand_alone_server_announces_nothing(shell: Shell) -> None:
    del shell.env["POD_NAME"], shell.env["REDIS_PEER_DOMAIN"]
    done = shell.run("start.sh", "standalone", PROGRAMS / "pubsub.conf")
    assert done.returncode == 0, done.stderr
    assert f"requirepass {PASSWORD}" in done.stdout
    assert "announce" not in done.stdout


def test_start_puts_the_addresses_of_today_into_nodes_conf(shell: Shell) -> None:
    """By host name; peers that do not resolve keep theirs; one that does not answer delays the start by 2 s at most."""
    shell.tool(
        "getent",
        """case $2 in
  redis-0.*) echo "10.42.0.11 STREAM $2" ;;
  redis-1.*) echo "10.42.9.12 STREAM $2"; echo "10.42.9.12 DGRAM" ;;
  redis-2.*) sleep 20 ;;
  redis-3.*) echo "10.42.9.14 STREAM $2" ;;
  redis-4.*) echo "10.42.7.1 STREAM $2" ;;
esac""",
    )
    file = Path(shell.env["REDIS_DATA_DIR"]) / "nodes.conf"
    file.write_text(NODES_CONF)
    began = time.monotonic()
    done = shell.run("start.sh", "cluster", PROGRAMS / "cluster.conf")
    assert time.monotonic() - began < 6
    assert done.returncode == 0, done.stderr

    expected = NODES_CONF
    for old, new in {
        "10.42.0.11:": "10.42.7.1:",  # myself
        "10.42.0.12:": "10.42.9.12:",
        " master,fail - ": " master - ",  # what failed before says nothing about now
        " master,fail? - ": " master - ",
        ":0@0,": "10.42.9.14:6379@16379,",
        " slave,noaddr ": " slave ",
        " slave,fail,nofailover ": " slave,nofailover ",  # redis-4 has this pod's address: the news is old
    }.items():
        assert expected.count(old) == 1, old
        expected = expected.replace(old, new)
    assert file.read_text() == expected
    assert [one.name for one in file.parent.iterdir()] == ["nodes.conf"]


def test_start_takes_no_file_for_damaged_for_want_of_a_tool(shell: Shell) -> None:
    """An image may have no more than coreutils, awk, grep and sed beside Redis and libc: no diffutils, for example."""
    file = Path(shell.env["REDIS_DATA_DIR"]) / "nodes.conf"
    file.write_text(NODES_CONF)
    tools = "awk cat cut date grep head mkdir mv rm sed sh sleep sort stat sync tail timeout touch tr wc"
    for name in tools.split():
        shell.tool(name, f'exec {shutil.which(name)} "$@"')
    shell.tool("redis-server", "cat")
    done = shell.run("start.sh", "cluster", PROGRAMS / "cluster.conf", PATH=str(shell.folder / "bin"))
    assert "not found" not in done.stderr
    assert [one.name for one in file.parent.iterdir()] == ["nodes.conf"]


def test_start_keeps_flags_that_redis_demands(shell: Shell) -> None:
    file = Path(shell.env["REDIS_DATA_DIR"]) / "nodes.conf"
    file.write_text(NODES_CONF.replace(" slave,noaddr ", " fail "))
    shell.run("start.sh", "cluster", PROGRAMS / "cluster.conf")
    assert file.read_text().splitlines()[3].split()[2] == "noflags"


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({"POD_IP": ""}, ["cluster"], "POD_IP"),
        ({"REDIS_MAXMEMORY": ""}, ["cluster"], "REDIS_MAXMEMORY"),
        ({"REDIS_PEER_DOMAIN": ""}, ["cluster"], "REDIS_PEER_DOMAIN"),
        ({"REDIS_PASSWORD_FILE": "/dev/null/nowhere"}, ["standalone"], "no password file /dev/null/nowhere"),
        ({"REDIS_DATA_DIR": "/dev/null/nowhere"}, ["standalone"], "no folder /dev/null/nowhere"),
        ({}, ["sentinel"], "no such mode: sentinel"),
        ({}, [], "usage"),
    ],
)
def test_start_refuses_a_wrong_set_up_with_a_clear_line(
    shell: Shell, change: dict[str, str], arguments: list[str], message: str
) -> None:
    config = [PROGRAMS / "cluster.conf"] if arguments else []
    done = shell.run("start.sh", *arguments, *config, **change)
    assert done.returncode == 2
    assert message in done.stderr
    assert "requirepass" not in done.stdout


@pytest.mark.parametrize("password", ["", "two\nlines", "with space", 'quote"', "100%"])
def test_start_refuses_a_password_that_is_no_part_of_an_address(shell: Shell, password: str) -> None:
    Path(shell.env["REDIS_PASSWORD_FILE"]).write_text(password)
    done = shell.run("start.sh", "standalone", PROGRAMS / "pubsub.conf")
    assert done.returncode == 2
    assert "must be letters, digits" in done.stderr
    assert not password or password not in done.stderr


@pytest.mark.parametrize(
    ("reply", "ready", "alive"),
    [
        ("echo PONG", True, True),
        ("echo LOADING Redis is loading", False, True),
        ("exit 1", False, False),
        ("", False, False),
    ],
)
def test_probe(shell: Shell, reply: str, ready: bool, alive: bool) -> None:
    shell.tool(
        "redis-cli", f'[ "$REDISCLI_AUTH" = "{PASSWORD}" ] || exit 9\ncase $* in *{PASSWORD}*) exit 9;; esac\n{reply}'
    )
    assert (shell.run("probe.sh", "ready").returncode == 0) is ready
    assert (shell.run("probe.sh", "alive").returncode == 0) is alive


def stand_in_cli(shell: Shell, nodes: str, replica: str = "yes") -> None:
    """redis-cli of a master: CLUSTER NODES is `nodes`; its replica, asked for its configuration, answers `replica`."""
    (shell.folder / "nodes").write_text(nodes)
    shell.tool(
        "redis-cli",
        f"""echo "$*" >>{shell.folder}/asked
case $* in
  *"cluster nodes") cat {shell.folder}/nodes ;;
  *"info replication") echo master_link_status:up ;;
  *"config get"*) echo cluster-replica-no-failover; echo {replica} ;;
  *"cluster failover") sed -i 's/myself,master/myself,slave/' {shell.folder}/nodes; echo OK ;;
  *) echo OK ;;
esac""",
    )


MASTER = (
    f"{'a' * 40} 10.42.7.1:6379@16379,redis-0.{DOMAIN} myself,master - 0 0 5 connected 0-99 200 [300->-{'b' * 40}]\n"
)
REPLICA = f"{'d' * 40} 10.42.7.4:6379@16379,redis-3.{DOMAIN} slave {'a' * 40} 0 0 5 connected\n"


def test_stop_hands_over_to_a_replica_that_stays(shell: Shell) -> None:
    stand_in_cli(shell, MASTER + REPLICA, replica="no")
    done = shell.run("stop.sh")
    assert done.returncode == 0, done.stderr
    asked = (shell.folder / "asked").read_text()
    assert "-h 10.42.7.1 -p 6379 config set cluster-replica-no-failover yes" in asked
    assert "-h 10.42.7.4 -p 6379 cluster failover" in asked


@pytest.mark.parametrize(
    ("replica", "leaves"),
    [
        ("", "no"),
        (REPLICA, "yes"),
        (REPLICA.replace("slave", "slave,fail"), "no"),
        (REPLICA.replace("slave", "slave,nofailover"), "no"),
        (REPLICA.replace(" connected", " disconnected"), "no"),
    ],
    ids=["none", "it leaves as well", "failing", "known to leave", "disconnected"],
)
def test_stop_without_such_a_replica_waits_for_a_while_and_says_what_waits(
    shell: Shell, replica: str, leaves: str
) -> None:
    stand_in_cli(shell, MASTER + replica, replica=leaves)
    began = time.monotonic()
    done = shell.run("stop.sh")
    assert done.returncode == 0, done.stderr
    assert "no node takes over 101 slots" in done.stdout
    assert time.monotonic() - began >= 1, "patience is counted in whole seconds"
    assert "failover\n" not in (shell.folder / "asked").read_text().replace("no-failover", "")


@pytest.mark.parametrize(("pod", "waits"), [("redis-2", False), ("redis-3", True), ("redis-10", True)])
def test_stop_waits_for_nobody_where_nobody_takes_over_and_the_pod_comes_back(
    shell: Shell, pod: str, waits: bool
) -> None:
    """Of three masters none goes for good; of more, the slots of the last one may be about to move."""
    others = REPLICA.replace("a" * 40, "e" * 40)
    stand_in_cli(shell, MASTER.partition(" [")[0] + "\n" + others)
    began = time.monotonic()
    done = shell.run("stop.sh", POD_NAME=pod)
    assert done.returncode == 0, done.stderr
    assert "no node takes over 101 slots" in done.stdout
    assert (time.monotonic() - began >= 1) is waits


@pytest.mark.parametrize(
    "nodes",
    [
        f"{'d' * 40} 10.42.7.1:6379@16379,redis-3.{DOMAIN} myself,slave {'a' * 40} 0 0 5 connected\n",
        f"{'a' * 40} 10.42.7.1:6379@16379,redis-0.{DOMAIN} myself,master - 0 0 5 connected\n",
    ],
    ids=["replica", "master without slots"],
)
def test_stop_lets_go_a_node_that_serves_nothing(shell: Shell, nodes: str) -> None:
    stand_in_cli(shell, nodes)
    done = shell.run("stop.sh")
    assert (done.returncode, done.stdout) == (0, "")


def test_stop_lets_go_a_server_that_does_not_answer(shell: Shell) -> None:
    shell.tool("redis-cli", "exit 1")
    assert shell.run("stop.sh").returncode == 0


# ---- the rules of membership ----------------------------------------------------------------------------------------

RUNNING: list[Modules] = []
DRIVER = """
const modules = ['redis/plan', 'redis/survey', 'redis/nodes', 'lib/redis'];
const program = Object.assign({}, ...(await Promise.all(modules.map(load))));

const short = (value) => value?.host ? value.ordinal : Array.isArray(value) ? value.map(short) : value;
const calls = {
  plan: ({ config, seen, age }) => {
    const { actions, ...rest } = program.plan(config, seen, (key) => age?.[key.split(' ')[0]] ?? 0);
    const fields = (one) => Object.fromEntries(Object.entries(one).map(([name, value]) => [name, short(value)]));
    return { ...rest, actions: actions?.map(fields) };
  },
  judge: ({ config, seen }) => program.judge(config, seen),
  mayShrink: ({ state, now }) => program.mayShrink(state, now),
  parseNodes: ({ text }) => program.parseNodes(text),
  replies: ({ chunks }) => {
    const out = [];
    const plain = (value) => {
      if (Buffer.isBuffer(value)) return value.toString('latin1');
      if (value instanceof Error) return `error ${value.message}`;
      return Array.isArray(value) ? value.map(plain) : value;
    };
    let held = Buffer.alloc(0);
    for (const chunk of chunks) {
      held = Buffer.concat([held, Buffer.from(chunk, 'latin1')]);
      for (let got = program.parseReply(held); got; got = program.parseReply(held)) {
        out.push(plain(got[0]));
        held = held.subarray(got[1]);
      }
    }
    return out;
  },
  encode: ({ chunks }) => program.encodeCommand(chunks).toString('latin1'),
};
"""


@pytest.fixture(scope="module", autouse=True)
def driver(modules: Modules) -> None:
    """One Node.js for all tests of this file: `node` asks it."""
    RUNNING[:] = [modules]


def node(call: str, **given: Any) -> Any:
    """What the program's function answers."""
    return RUNNING[0].call(call, **given)


@dataclass
class Node:
    """A pod. `knows`: the ordinals of the identities in its view, with `old` ones as strings; None: all."""

    ordinal: int
    ranges: list[list[int]] = field(default_factory=list)
    of: int | str | None = None
    keys: int = 0
    linked: bool = True
    offset: int = 0
    ok: bool = True
    address: str = ""
    open: list[dict[str, Any]] = field(default_factory=list)
    knows: list[int | str] | None = None
    absent: str = ""
    epoch: int = 1
    closed: bool = False

    @property
    def id(self) -> str:
        return identity(self.ordinal)


def identity(name: int | str) -> str:
    return f"id-{name}"


def address(ordinal: int) -> str:
    return f"10.0.0.{ordinal}"


def seen(
    nodes: Sequence[Node],
    past: Mapping[str, Mapping[str, Any]] | None = None,
    views: Mapping[tuple[int, int], Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """What the program sees. `past`: identities that no pod has, with `host` (an ordinal), `ranges`, `of`.

    `views`: what node a thinks of node b, where it differs from the truth.
    """
    past, views = past or {}, views or {}
    result: list[dict[str, Any]] = []
    for one in nodes:
        host = f"redis-{one.ordinal}.{DOMAIN}"
        if one.absent:
            result.append(
                {"ordinal": one.ordinal, "host": host, "absent": one.absent, "gone": one.absent == "ENOTFOUND"}
            )
            continue
        entries = []
        for other in nodes:
            if one.knows is not None and other.ordinal not in one.knows and other is not one:
                continue
            if other.absent and other.ordinal not in (one.knows or []) and not other.ranges and other.of is None:
                continue
            role = "slave" if other.of is not None else "master"
            entry = {
                "id": other.id,
                "address": other.address or address(other.ordinal),
                "host": f"redis-{other.ordinal}.{DOMAIN}",
                "flags": ["myself", role] if one is other else [role],
                "master": None if other.of is None else identity(other.of),
                "ranges": other.ranges,
                "epoch": other.epoch,
                "open": one.open if one is other else [],
            }
            entries.append({**entry, **views.get((one.ordinal, other.ordinal), {})})
        for name, old in past.items():
            if one.knows is None or name in one.knows:
                of, ranges = old.get("of"), old.get("ranges", [])
                entries.append(
                    {
                        "id": identity(name),
                        "address": "10.9.9.9",
                        "host": f"redis-{old['host']}.{DOMAIN}" if "host" in old else "",
                        "flags": ["slave" if of is not None else "master", "fail"],
                        "master": None if of is None else identity(of),
                        "ranges": ranges,
                        "epoch": 1,
                        "open": [],
                    }
                )
        follows = one.of if isinstance(one.of, int) else one.ordinal
        result.append(
            {
                "ordinal": one.ordinal,
                "host": host,
                "address": one.address or address(one.ordinal),
                "id": one.id,
                "keys": one.keys,
                "nodes": entries,
                "ok": one.ok,
                "epoch": one.epoch,
                "closed": one.closed,
                "linked": one.linked and one.of is not None,
                "follows": address(follows) if one.of is not None else None,
                "offset": one.offset,
            }
        )
    return result


def plan(
    nodes: Sequence[Node], masters: int = 3, replicas: int = 1, age: dict[str, int] | None = None, **more: Any
) -> Any:
    return node("plan", config=target(masters, replicas), seen=seen(nodes, **more), age=age or {})


def waiting(step: Mapping[str, Any]) -> str:
    """What a step that does nothing waits for."""
    assert "actions" not in step
    return str(step["waiting"])


def done(step: Mapping[str, Any], *fields: str) -> list[tuple[Any, ...]]:
    """These fields of every action."""
    return [tuple(one[field] for field in fields) for one in step.get("actions", [])]


def target(masters: int, replicas: int) -> dict[str, Any]:
    pods = masters * (1 + replicas)
    return {"masters": masters, "replicas": replicas, "pods": pods, "statefulSet": "redis", "domain": DOMAIN}


A, B, C = [[0, 5461]], [[5462, 10922]], [[10923, 16383]]


def whole(**changes: Any) -> list[Node]:
    """Three masters with a replica each: 3 of 2, 4 of 0, 5 of 1."""
    nodes = [
        Node(0, A, keys=9),
        Node(1, B, keys=9),
        Node(2, C, keys=9),
        Node(3, of=2, keys=9),
        Node(4, of=0, keys=9),
        Node(5, of=1, keys=9),
    ]
    for name, change in changes.items():
        number = int(name.removeprefix("n"))
        nodes[number] = Node(**{**vars(nodes[number]), **change})
    return nodes


def fresh(count: int) -> list[Node]:
    return [Node(ordinal, knows=[], ok=False) for ordinal in range(count)]


LOST: dict[str, Any] = {"ranges": [], "of": None, "keys": 0, "knows": [], "ok": False}


def test_nothing_to_do_when_whole() -> None:
    assert plan(whole()) == {}


def test_creation_waits_for_every_pod() -> None:
    assert f"redis-5.{DOMAIN} (ENOTFOUND)" in waiting(plan([*fresh(5), Node(5, absent="ENOTFOUND")]))


def test_creation_introduces_then_gives_roles_then_slots() -> None:
    assert done(plan(fresh(6)), "action", "on", "peers") == [("meet", n, [0]) for n in range(1, 6)]

    met = [Node(ordinal, ok=False) for ordinal in range(6)]
    assert done(plan(met), "on", "master") == [(3, 2), (4, 0), (5, 1)]

    with_roles = [*met[:3], Node(3, of=2), Node(4, of=0), Node(5, of=1)]
    assert done(plan(with_roles), "action", "on", "ranges") == [("assign", 0, A), ("assign", 1, B), ("assign", 2, C)]


@pytest.mark.parametrize(("masters", "replicas"), [(1, 0), (1, 1), (3, 0), (3, 2), (5, 1), (7, 3)])
def test_roles_are_spread_evenly(masters: int, replicas: int) -> None:
    step = plan([Node(ordinal, ok=False) for ordinal in range(masters * (1 + replicas))], masters, replicas)
    if replicas == 0:
        ends = [one["ranges"][0] for one in step["actions"]]
        assert ends[0][0] == 0
        assert ends[-1][1] == 16383
        assert all(later[0] == earlier[1] + 1 for earlier, later in itertools.pairwise(ends))
        return
    followed = [one["master"] for one in step["actions"]]
    assert sorted(followed) == sorted(list(range(masters)) * replicas)
    if masters > 1:
        assert all(one["on"] % masters != one["master"] for one in step["actions"]), "beside its master"


def test_keys_of_a_node_without_a_cluster_are_left_alone() -> None:
    assert "hold keys but no slots" in waiting(plan([*fresh(5), Node(5, knows=[], keys=3)]))


def test_two_clusters_are_never_joined() -> None:
    nodes = [Node(0, [[0, 16383]], knows=[]), Node(1, [[0, 16383]], knows=[])]
    assert "2 clusters" in waiting(plan(nodes, masters=2, replicas=0))


def test_a_stranger_with_keys_is_not_introduced() -> None:
    others: dict[str, Any] = {f"n{n}": {"knows": [0, 2, 3, 4, 5, "old"]} for n in (0, 2, 3, 4, 5)}
    others["n5"] |= {"of": "old"}
    step = plan(whole(n1={**LOST, "keys": 4}, **others), past={"old": {"host": 1, "ranges": B}})
    assert "not known to the cluster" in waiting(step), "its keys may be the only copy"


def test_new_addresses_are_told_to_those_who_know_old_ones() -> None:
    old = {"address": "10.8.8.8"}
    step = plan(whole(), views={(0, 1): old, (0, 2): old, (3, 2): old})
    assert step["actions"] == [{"action": "meet", "on": 0, "peers": [1, 2]}, {"action": "meet", "on": 3, "peers": [2]}]


def test_a_replica_that_follows_an_old_address_is_pointed_to_the_new_one() -> None:
    nodes = seen(whole(n4={"linked": False}))
    nodes[4]["follows"] = "10.8.8.8"
    assert done(node("plan", config=target(3, 1), seen=nodes), "action", "on", "master") == [("replicate", 4, 0)]


class TestLostVolume:
    """Pod 1 comes back empty, as another identity; `old` is the one that it had."""

    def test_it_is_introduced_first(self) -> None:
        others: dict[str, Any] = {f"n{n}": {"knows": [m for m in range(6) if m != 1] + ["old"]} for n in (0, 2, 3, 4)}
        step = plan(
            whole(n1=LOST, n5={"of": "old", "knows": [0, 2, 3, 4, "old"]}, **others),
            past={"old": {"host": 1, "ranges": B}},
        )
        assert done(step, "action", "on") == [("meet", 1)]

    @pytest.mark.parametrize(("waited", "action"), [(0, "election"), (9000, "election"), (11000, "takeover")])
    def test_its_replica_takes_over(self, waited: int, action: str) -> None:
        nodes = whole(n1={**LOST, "knows": None}, n5={"of": "old"})
        step = plan(nodes, past={"old": {"host": 1, "ranges": B}}, age={"election": waited})
        assert done(step, "action", "on") == [(action, 5)]

    def test_of_two_replicas_the_one_that_has_more(self) -> None:
        nodes = [
            *whole(n1={**LOST, "knows": None}, n5={"of": "old", "offset": 5}),
            Node(6, of="old", offset=8),
            Node(7, of=0),
            Node(8, of=2),
        ]
        step = plan(nodes, replicas=2, past={"old": {"host": 1, "ranges": B}})
        assert [one["on"] for one in step["actions"]] == [6]

    def test_a_replica_that_is_away_is_waited_for(self) -> None:
        nodes = whole(n1={**LOST, "knows": None}, n5={"absent": "ECONNREFUSED", "of": "old"})
        step = plan(nodes, past={"old": {"host": 1, "ranges": B}}, age={"election": 10**9})
        assert f"redis-5.{DOMAIN}" in waiting(step), "the slots would be given away while their keys still exist"

    def test_without_any_replica_the_slots_become_free_and_the_log_says_so(self) -> None:
        nodes = whole(n1={**LOST, "knows": None}, n5={**LOST, "knows": None})
        past = {"old": {"host": 1, "ranges": B}, "older": {"host": 5, "of": "old"}}
        step = plan(nodes, past=past)
        (one,) = step["actions"]
        assert (one["action"], one["id"], one["by"]) == ("forget", "id-old", [0, 1, 2, 3, 4, 5])
        assert "no replica has the keys of its 5461 slots" in one["why"]

    def test_once_replaced_it_is_forgotten_and_follows_the_new_master(self) -> None:
        nodes = whole(n1={**LOST, "knows": None, "ok": True}, n5={"of": None, "ranges": B})
        assert done(plan(nodes, past={"old": {"host": 1}}), "action", "id") == [("forget", "id-old")]
        assert done(plan(nodes), "action", "on", "master") == [("replicate", 1, 5)]

    def test_free_slots_go_to_the_empty_master(self) -> None:
        step = plan(whole(n1={**LOST, "knows": None}, n5={"of": 1}))
        assert done(step, "action", "on", "ranges") == [("assign", 1, B)]

    def test_free_slots_wait_for_every_pod(self) -> None:
        step = plan(whole(n1={**LOST, "knows": None}, n5={"of": 1}, n4={"absent": "ECONNREFUSED", "of": 0}))
        assert "5461 slots are free" in waiting(step)


class TestLostIdentity:
    """Pod 1 comes back alone, with a new identity and its keys; `old` is the identity that it had."""

    PAST: Mapping[str, Mapping[str, Any]] = {"old": {"host": 1, "ranges": B}}

    def nodes(self, keys: int = 9, ranges: Any = ((6000, 6001),), **changes: Any) -> list[Node]:
        known: dict[str, dict[str, Any]] = {f"n{n}": {"knows": [0, 2, 3, 4, 5, "old"]} for n in (0, 2, 3, 4, 5)}
        known["n5"] |= {"of": "old"}
        for name, change in changes.items():
            known[name] |= change
        claimed = [list(each) for each in ranges]
        return whole(n1={"ranges": claimed, "keys": keys, "knows": [], "epoch": 0}, **known)

    def test_it_gets_back_what_it_had(self) -> None:
        step = plan(self.nodes(), past=self.PAST)
        (one,) = step["actions"]
        assert (one["action"], one["on"], one["epoch"]) == ("claim", 1, 2)
        assert one["ranges"] == [[5462, 5999], [6002, 10922]]
        assert (one["older"], one["moving"]) == ([], [])

    def test_a_replica_with_more_keys_is_better(self) -> None:
        assert done(plan(self.nodes(keys=8), past=self.PAST), "action", "on") == [("drop", 1)]

    def test_a_replica_that_is_away_is_waited_for_but_not_for_ever(self) -> None:
        nodes = self.nodes(n5={"absent": "ECONNREFUSED"})
        past = {**self.PAST, "five": {"host": 5, "of": "old"}}
        assert f"redis-5.{DOMAIN}" in waiting(plan(nodes, past=past))
        assert done(plan(nodes, past=past, age={"heirs": 20_000}), "action") == [("claim",)]

    def test_what_others_serve_by_now_is_an_older_copy(self) -> None:
        nodes = self.nodes(n5={"of": None, "ranges": B})
        assert done(plan(nodes, past={"old": {"host": 1}}), "action", "on") == [("drop", 1)]

    def test_keys_of_other_slots_are_dropped_alone(self) -> None:
        step = plan(self.nodes(ranges=((3, 4), (6000, 6001))), past=self.PAST)
        (one,) = step["actions"]
        assert (one["action"], one["older"]) == ("claim", [3, 4])

    def test_keys_that_were_moving_to_it_are_kept(self) -> None:
        nodes = self.nodes(ranges=((3, 3),), n0={"open": [{"slot": 3, "to": "id-old"}]})
        step = plan(nodes, past={"old": {"host": 1}})
        (one,) = step["actions"]
        assert (one["action"], one["moving"], one["older"]) == ("claim", [[3, "id-0"]], [])

    def test_a_node_that_was_somebody_elses_is_left_alone_and_the_others_are_healed(self) -> None:
        nodes = self.nodes(ranges=B)
        nodes[1].epoch = 1
        step = plan(nodes, past=self.PAST, views={(0, 2): {"address": "10.8.8.8"}})
        assert done(step, "action", "on") == [("meet", 0)]
        assert "To do: if they are worthless, empty its volume" in waiting(plan(nodes, past=self.PAST))
        assert node("judge", config=target(3, 1), seen=seen(nodes, past=self.PAST))["served"] is False

    def test_slots_of_a_stranger_are_given_to_nobody(self) -> None:
        nodes = self.nodes(ranges=((3, 3),))
        nodes[1].epoch = 1
        assert "2 clusters" in waiting(plan(nodes, past={"old": {"host": 1}}))

    def test_all_have_lost_it(self) -> None:
        """The one with most slots is the first member; the others join it one by one, that with most keys first."""
        lost = [Node(n, [[n, n + 1]], keys=n, knows=[], epoch=0) for n in (0, 4, 8)]
        lost = [Node(i, one.ranges, keys=one.keys, knows=[], epoch=0) for i, one in enumerate(lost)]
        lost[0].ranges = [[100, 200]]
        assert done(plan(lost, replicas=0), "action", "on", "peers", "epoch") == [("claim", 2, [0], 1)]

    def test_one_that_may_know_the_cluster_is_waited_for(self) -> None:
        lost = [Node(0, [[0, 9]], keys=1, knows=[], epoch=0), Node(1, [[20, 21]], keys=1, knows=[], epoch=0)]
        lost.append(Node(2, absent="ECONNREFUSED"))
        assert "may know the cluster" in waiting(plan(lost, replicas=0))
        assert done(plan(lost, replicas=0, age={"founding": 20_000}), "action") == [("claim",)]

    def test_one_that_returns_after_the_others_found_each_other_forgets_who_they_were(self) -> None:
        nodes = [
            Node(0, A, keys=3, knows=[1]),
            Node(1, [[6000, 6001]], keys=3, knows=[0]),
            Node(2, C, knows=["o", "p"]),
        ]
        nodes[2].keys = 5
        step = plan(nodes, replicas=0, past={"o": {"host": 0}, "p": {"host": 1, "ranges": B}})
        assert done(step, "action", "by", "id") == [("forget", [2], "id-o"), ("forget", [2], "id-p")]


class TestClosed:
    """A node with a new identity may not be replicated at first."""

    def test_it_is_opened(self) -> None:
        assert done(plan(whole(n1={"closed": True})), "action", "on") == [("open", 1)]

    def test_not_while_a_replica_follows_its_old_identity(self) -> None:
        nodes = whole(n1={**LOST, "knows": None, "closed": True}, n5={"of": "old", "absent": "ECONNREFUSED"})
        step = plan(nodes, past={"old": {"host": 1, "ranges": B}})
        assert "actions" not in step


def test_a_master_that_is_away_keeps_its_slots() -> None:
    step = plan(whole(n1={"absent": "EHOSTUNREACH"}))
    waiting = f"redis-1.{DOMAIN} (EHOSTUNREACH), whose 5461 slots nobody serves"
    assert step == {"rule": "look", "waiting": waiting}


def test_nothing_moves_while_the_nodes_disagree() -> None:
    step = plan(whole(), views={(0, 1): {"ranges": []}})
    assert "actions" not in step
    assert step["rule"] == "agree"


class TestScaling:
    def test_a_new_pair_gets_its_roles_before_slots(self) -> None:
        assert done(plan([*whole(), Node(6), Node(7)], masters=4), "action", "on", "master") == [("replicate", 7, 6)]

    def test_then_a_fair_share_of_every_master(self) -> None:
        step = plan([*whole(), Node(6), Node(7, of=6)], masters=4)
        moves = {(one["from"], one["to"]): len(one["slots"]) for one in step["actions"]}
        assert moves == {(0, 6): 1366, (1, 6): 1365, (2, 6): 1365}

    def test_not_before_the_new_replica_is_in_step(self) -> None:
        nodes = seen([*whole(), Node(6), Node(7, of=6, linked=False)])
        step = node("plan", config=target(4, 1), seen=nodes)
        assert f"redis-7.{DOMAIN} to be in step" in waiting(step)

    def test_not_before_the_source_knows_the_name_of_the_target(self) -> None:
        assert "by name" in waiting(plan([*whole(), Node(6), Node(7, of=6)], masters=4, views={(1, 6): {"host": ""}}))

    def test_leaving_masters_are_drained(self) -> None:
        nodes = [Node(0, [[0, 4095]]), Node(1, [[4096, 8191]]), Node(2, [[8192, 12287]]), *whole()[3:]]
        nodes += [Node(6, [[12288, 16383]]), Node(7, of=6)]
        step = plan(nodes)
        assert {one["from"] for one in step["actions"]} == {6}
        assert sorted(slot for one in step["actions"] for slot in one["slots"]) == list(range(12288, 16384))
        assert node("judge", config=target(3, 1), seen=seen(nodes))["surplus"] is True

    def test_a_leaving_master_hands_over_to_a_replica_that_stays(self) -> None:
        nodes = [Node(0, [[0, 8191]]), Node(1, of=2), Node(2, [[8192, 16383]]), Node(3, of=0)]
        assert done(plan(nodes, masters=2, replicas=0), "action", "on") == [("failover", 1)]

    def test_a_spare_replica_becomes_a_master_only_while_another_is_in_step(self) -> None:
        def nodes(**third: Any) -> list[Node]:
            linked = third.pop("linked", True)
            spare = [Node(n, of=0, keys=9, linked=linked) for n in (1, 2)]
            third = {"of": 0, "keys": 9, "linked": linked, **third}
            return [Node(0, [[0, 16383]], keys=9), *spare, Node(3, **third)]

        assert done(plan(nodes(), masters=2), "action", "on") == [("renew", 3)]
        assert done(plan(nodes(linked=False), masters=2), "action", "on") == [], (
            "the last copy that is known to be good"
        )
        away = plan(nodes(of=None, absent="ENOTFOUND"), masters=2)
        assert done(away, "action", "on") == [], "the pod that is missing may be the new master"

    def test_pods_that_are_gone_are_forgotten_once_they_hold_nothing(self) -> None:
        nodes = [*whole(), Node(6, absent="ENOTFOUND"), Node(7, absent="ECONNREFUSED")]
        past = {"six": {"host": 6}, "seven": {"host": 7}}
        assert done(plan(nodes, past=past), "action", "id") == [("forget", "id-six")], "7 is only down"

    def test_the_slots_of_a_pod_that_is_gone_are_not_given_away(self) -> None:
        nodes = [Node(0, [[0, 8191]]), Node(1, absent="ENOTFOUND", ranges=[[8192, 16383]])]
        assert f"redis-1.{DOMAIN}" in waiting(plan(nodes, masters=1, replicas=0))

    @pytest.mark.parametrize(("age", "action"), [(0, None), (4000, "renew"), (66000, "meet")])
    def test_a_pod_that_returns_after_it_was_forgotten_gets_a_new_identity(self, age: int, action: str | None) -> None:
        """For a minute nodes refuse the identity that they were told to forget."""
        known = [{"knows": list(range(6))} for _ in range(6)]
        nodes = [
            *whole(**{f"n{n}": one for n, one in enumerate(known)}),
            Node(6, knows=list(range(8))),
            Node(7, of=6, knows=list(range(8))),
        ]
        step = plan(nodes, masters=4, age={"forgotten": age})
        assert {one["action"] for one in step.get("actions", [])} == ({action} if action else set())

    def test_unless_it_may_hold_the_only_copy_of_something(self) -> None:
        known = {f"n{n}": {"knows": list(range(6))} for n in range(6)}
        nodes = [*whole(**known), Node(6, keys=5, knows=list(range(8))), Node(7, knows=list(range(8)))]
        assert done(plan(nodes, masters=4, age={"forgotten": 4000}), "action", "on") == [("renew", 7)]


class TestOpenSlots:
    def test_both_ends_open_is_one_move(self) -> None:
        nodes = whole(n0={"open": [{"slot": 7, "to": "id-1"}]}, n1={"open": [{"slot": 7, "from": "id-0"}]})
        assert done(plan(nodes), "action", "from", "to", "slots") == [("move", 0, 1, [7])]

    def test_a_move_goes_on_to_the_replica_that_took_over(self) -> None:
        nodes = whole(
            n0={"open": [{"slot": 7, "to": "id-1"}]}, n1={"of": 5, "ranges": []}, n5={"of": None, "ranges": B}
        )
        assert done(plan(nodes), "from", "to") == [(0, 5)]

    def test_a_move_that_is_over_is_closed(self) -> None:
        nodes = whole(n0={"open": [{"slot": 6000, "to": "id-1"}]}, n1={"open": [{"slot": 6001, "from": "id-0"}]})
        assert done(plan(nodes), "action", "on", "slot") == [("stable", 0, 6000), ("stable", 1, 6001)]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"answering": 6, "surplus": False}, True),
        ({"answering": 6, "surplus": True}, False),
        ({"answering": 0, "absent": 99_000, "silent": 99_000}, False),
        ({"answering": 0, "absent": 94_000, "silent": 94_000}, True),
        ({"answering": 0, "silent": 94_000}, False),
        ({"answering": 0, "silent": 69_000}, True),
        ({"answering": 0}, False),
    ],
    ids=[
        "nothing surplus",
        "surplus",
        "just no names",
        "no names: no cluster",
        "no answers",
        "for long",
        "just started",
    ],
)
def test_may_shrink(state: dict[str, Any], expected: bool) -> None:
    assert node("mayShrink", state=state, now=100_000) is expected


def test_judge_tells_whether_every_slot_is_served() -> None:
    def served(**changes: Any) -> Any:
        return node("judge", config=target(3, 1), seen=seen(whole(**changes)))["served"]

    assert served() is True
    assert served(n1={"ok": False}) is False
    assert served(n1={"absent": "ECONNREFUSED"}) is False


def test_parse_nodes() -> None:
    entries = node("parseNodes", text=NODES_CONF.rpartition("vars")[0])
    assert entries[2] == {
        "id": "c" * 40,
        "address": "10.42.0.13",
        "host": f"redis-2.{DOMAIN}",
        "flags": ["master", "fail?"],
        "master": None,
        "epoch": 6,
        "ranges": [[10923, 16383]],
        "open": [{"slot": 42, "to": "b" * 40}],
    }
    assert (entries[3]["address"], entries[3]["master"], entries[5]["host"]) == ("", "a" * 40, "")


def test_replies_are_read_however_they_arrive() -> None:
    stream = "+OK\r\n-ERR no\r\n:42\r\n$5\r\na\r\nbc\r\n$-1\r\n*3\r\n:1\r\n$0\r\n\r\n*1\r\n+x\r\n*0\r\n"
    expected = ["OK", "error ERR no", 42, "a\r\nbc", None, [1, "", ["x"]], []]
    assert node("replies", chunks=[stream]) == expected
    assert node("replies", chunks=list(stream)) == expected


def test_commands_are_counted_in_bytes() -> None:
    assert node("encode", chunks=["SET", "ä", 1]) == "*3\r\n$3\r\nSET\r\n$2\r\nÃ¤\r\n$1\r\n1\r\n"


def membership_flags(tmp_path: Path, **changes: str) -> list[str]:
    (tmp_path / "password").write_text(PASSWORD + "\n")
    flags = {
        "listen": "127.0.0.1:0",
        "stateful-set": "redis",
        "peer-domain": DOMAIN,
        "redis-port": "6379",
        "masters": "3",
        "replicas-per-master": "1",
        "redis-password-file": str(tmp_path / "password"),
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    return [f"--{name}={value}" for name, value in flags.items()]


def test_membership_tells_what_it_is_started_for(tmp_path: Path) -> None:
    command = [NODE, str(MEMBERSHIP), *membership_flags(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        started = json.loads(process.stdout.readline())
        process.terminate()
        assert process.wait(10) == 0
    assert (started["event"], started["pods"], started["masters"], started["replicas"]) == ("started", 6, 3, 1)


def test_membership_refuses_a_wrong_set_up_with_one_line(tmp_path: Path) -> None:
    wrong: list[tuple[dict[str, str], str]] = [
        ({"listen": ""}, "--listen must be an IP address and a port, or :PORT"),
        ({"masters": "0"}, "--masters must be a whole number"),
        ({"masters": "three"}, "--masters must be a whole number"),
        ({"redis_password_file": "/dev/null/nowhere"}, "--redis-password-file cannot be read (ENOTDIR)"),
        ({"redis_password_file": "/dev/null"}, "--redis-password-file must hold one line"),
        ({"redis_port": "x"}, "--redis-port must be a whole number"),
    ]
    all_refused(MEMBERSHIP, [(membership_flags(tmp_path, **changes), says) for changes, says in wrong])
