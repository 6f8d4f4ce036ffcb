"""Redis nodes whose files are damaged while all of them are down, as after a power cut: real servers, under load.

The cluster heals within a minute and without a person, serves every key that the volumes still have, deletes no file,
and each damaged node reports what it found and what is to do.
"""

import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.lab.fetch import skip_if_missing
from tests.lab.process import wait_until
from tests.lab.redis import (
    Cluster,
    Lab,
    Pod,
    RedisError,
    info,
    membership_answer,
    membership_says,
    node_container,
    redis_binaries,
    view,
)
from tests.lab.redis_damage import KEEPS_ALL, LOSES_SOME, Damage, base, commands, manifest, nodes, of, readable
from tests.lab.redis_load import Load, missing

pytestmark = pytest.mark.integration

HEAL_SECONDS = 60
ALL = KEEPS_ALL | LOSES_SOME
SAID = "2 clusters that do not know each other"


def volume(pod: Pod) -> Path:
    return pod.container.mounts["/data"]


def damage_report(pod: Pod) -> str:
    """What the probe says; empty when nothing is set aside."""
    done = pod.execute(["sh", "/etc/redis/probe.sh", "damage"])
    assert (done.returncode == 0) == (not done.stdout), done
    return done.stdout


def made(tmp_path: Path, replicas: int) -> Iterator[Cluster]:
    with skip_if_missing():
        binaries = redis_binaries()
    with Lab(tmp_path, binaries) as lab:
        cluster = Cluster(lab)
        cluster.deploy_membership(3, replicas)
        cluster.scale_out(3 * (1 + replicas))
        cluster.wait_whole(replicas, HEAL_SECONDS)
        yield cluster
        print(cluster.membership.process.text()[-8000:])
        for pod in cluster.nodes:
            print(pod.name, pod.process.text()[:2000])


@pytest.fixture(scope="module")
def masters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three masters without replicas, as a local stack has them."""
    yield from made(tmp_path_factory.mktemp("redis"), 0)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with skip_if_missing():
        binaries = redis_binaries()
    with Lab(tmp_path_factory.mktemp("redis"), binaries) as lab:
        yield lab


@pytest.fixture(scope="module")
def written(lab: Lab) -> Path:
    """The volume of a node that held all slots, and a hundred keys in its base file and in its file of commands."""
    pod = lab.pod("redis-99", node_container(lab, 99))
    pod.start()
    pod.wait_ready()
    with pod.client() as client:
        client("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: info(client)["cluster_state"] == "ok", 10, "it serves")
        client.many([("SET", f"b:0:{n}", f"b:0:{n}") for n in range(100)])
    rewrite(pod)
    with pod.client() as client:
        client.many([("SET", f"b:1:{n}", f"b:1:{n}") for n in range(100)])
    pod.kill()
    return volume(pod)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three masters with a replica each."""
    yield from made(tmp_path_factory.mktemp("redis"), 1)


def power_cut(
    cluster: Cluster, replicas: int, damages: dict[Pod, Damage], name: str, *, undamaged_alone: bool = False
) -> tuple[Load, set[str]]:
    """A load, the end of all nodes, damage to some, and their return: what was written, and what the volumes still had.

    Half of what is written is in base files, which a rewrite in the middle makes. With `undamaged_alone` the damaged
    volumes do not count: a replica takes over, and the last writes of its master may not have reached it.
    """
    with Load(cluster, name) as load:
        wait_until(lambda: len(load.acknowledged) > 150, HEAL_SECONDS, "writes")
        for pod in cluster.nodes:
            rewrite(pod)
        wait_until(lambda: len(load.acknowledged) > 400, HEAL_SECONDS, "more writes")
        for pod in cluster.nodes:
            pod.kill()
        for pod, damage in damages.items():
            damage(volume(pod))
        counted = [pod for pod in cluster.nodes if not undamaged_alone or pod not in damages]
        kept = set().union(*(readable(volume(pod), name) for pod in counted))
        for pod in cluster.nodes:
            pod.start()
        healed = cluster.wait_whole(replicas, HEAL_SECONDS)
        wait_until(lambda: membership_says(cluster.membership, "served"), HEAL_SECONDS, "served")
    assert load.errors == []
    assert healed < HEAL_SECONDS
    print(f"healed in {healed:.1f} s; {len(kept)} of {len(load.acknowledged)} keys were still there")
    return load, kept


def rewrite(pod: Pod) -> None:
    """Makes a new base file."""
    folder = volume(pod) / "appendonlydir"
    before = set(folder.glob("*.base.rdb"))
    with pod.client() as client:
        client("BGREWRITEAOF")

    def made() -> bool:
        """With its file of commands and the manifest alone: while it is made there are two files of commands."""
        return bool(set(folder.glob("*.base.rdb")) - before) and len(set(folder.glob("*")) - before) == 3

    wait_until(made, 20, "a base")


def rounds() -> list[list[str]]:
    """Every damage once, three at a time."""
    names = list(ALL)
    random.Random(13).shuffle(names)
    while len(names) % 3:
        names.append(names[0])
    return [names[at : at + 3] for at in range(0, len(names), 3)]


@pytest.mark.parametrize("names", rounds(), ids=", ".join)
def test_each_of_three_masters_is_damaged_in_another_way(masters: Cluster, names: list[str]) -> None:
    number = rounds().index(names)
    damages = {pod: ALL[name] for pod, name in zip(masters.nodes, names, strict=True)}
    load, kept = power_cut(masters, 0, damages, f"m{number}")
    lost = set(missing(masters, sorted(load.acknowledged)))
    assert lost & kept == set(), "keys that were on a volume"
    for pod, name in zip(masters.nodes, names, strict=True):
        report = damage_report(pod)
        assert report or name == "commands empty", "an empty file is what a rewrite leaves"
        if report:
            assert f"kubectl -n flatline exec {pod.name} -- rm -r" in report.splitlines()[-1]
            assert report.splitlines()[0].partition(" ")[2] in pod.process.text(), "the log says it too"
        set_aside = list((volume(pod) / "set-aside").glob("*"))
        assert bool(set_aside) == bool(report)
        for folder in set_aside:
            subprocess.run(["rm", "-r", folder], check=True)
        assert damage_report(pod) == "", "the command that it names ends the report"


def test_all_masters_lose_who_they_are(masters: Cluster) -> None:
    """None knows a cluster any more; each has the slots of its keys, and the others are shared out."""
    damages = dict.fromkeys(masters.nodes, KEEPS_ALL["nodes.conf empty"])
    load, _ = power_cut(masters, 0, damages, "who")
    assert missing(masters, sorted(load.acknowledged)) == []


def test_the_others_are_healed_while_a_person_is_needed_for_one(masters: Cluster) -> None:
    """A node of another cluster is in place of one: it is left alone, and said by name with what to do."""
    away, *others = masters.nodes
    for pod in masters.nodes:
        pod.kill()
    own = nodes(volume(away)).read_text()
    slots = next(line.split()[8] for line in own.splitlines() if others[0].host in line)
    place = f"{away.address}:6379@16379,{away.host}"
    foreign = f"{'f' * 40} {place} myself,master - 0 0 99 connected {slots}\nvars currentEpoch 99 lastVoteEpoch 0\n"
    nodes(volume(away)).write_text(foreign)
    for pod in masters.nodes:
        pod.start(announce=False)
    for pod in masters.nodes:
        pod.announce()
    try:
        wait_until(lambda: know_each_other(others), HEAL_SECONDS, "the others are introduced to each other")
        wait_until(lambda: SAID in membership_answer(masters.membership, "served")[1], HEAL_SECONDS, SAID)
        status, said = membership_answer(masters.membership, "served")
        assert status == 503
        assert f"{away.host} holds keys or slots" in said
        assert "To do: " in said
    finally:
        away.kill()
        nodes(volume(away)).write_text(own)
        away.start()
        masters.wait_whole(0, HEAL_SECONDS)


def know_each_other(pods: Sequence[Pod]) -> bool:
    """Whether each is connected to every other one at its address of now."""
    for pod in pods:
        try:
            with pod.client() as client:
                connected = {words[1].split(",")[0] for words in view(client) if words[7] == "connected"}
        except (OSError, RedisError):
            return False
        if not {f"{other.address}:6379@16379" for other in pods} <= connected:
            return False
    return True


@pytest.mark.parametrize("both", [False, True], ids=["one of them", "both"])
@pytest.mark.parametrize("name", ["commands padded with NULs", "nodes.conf empty", "nodes.conf cut in half"])
def test_a_master_and_its_replica(pairs: Cluster, name: str, both: bool) -> None:
    """Whoever has the keys serves them: when the machine dies no replica takes over by itself."""
    master = pairs.pod_of("any")
    hit = [master, pairs.replica_of(master)] if both else [master]
    load, kept = power_cut(pairs, 1, dict.fromkeys(hit, ALL[name]), f"p{'12'[both]}{list(ALL).index(name)}")
    assert set(missing(pairs, sorted(load.acknowledged))) & kept == set()
    for pod in hit:
        assert damage_report(pod), pod.name


@pytest.mark.parametrize("name", ["base of NULs", "base empty", "base gone"])
def test_a_replica_has_what_its_master_lost(pairs: Cluster, name: str) -> None:
    """The master gives up its identity, so that the replica takes over with all keys."""
    master = pairs.pod_of("any")
    load, kept = power_cut(pairs, 1, {master: LOSES_SOME[name]}, f"r{list(ALL).index(name)}", undamaged_alone=True)
    assert set(missing(pairs, sorted(load.acknowledged))) & kept == set()
    assert "a replica may have the keys" in damage_report(master)


def test_a_replica_that_lost_who_it_is_follows_again(pairs: Cluster) -> None:
    """Only it restarts: its keys are an older copy of what its master serves."""
    replica = pairs.replica_of(pairs.pod_of("any"))
    with Load(pairs, "rep") as load:
        wait_until(lambda: len(load.acknowledged) > 200, HEAL_SECONDS, "writes")
        replica.kill()
        KEEPS_ALL["nodes.conf empty"](volume(replica))
        replica.start()
        pairs.wait_whole(1, HEAL_SECONDS)
    assert load.errors == []
    assert missing(pairs, sorted(load.acknowledged)) == []
    kept = volume(replica) / "set-aside"
    assert len(list(kept.glob("*/appendonlydir/*.aof"))) > 0, "its files are still there"


def generated(seed: int) -> tuple[str, Damage]:
    """Some file of a node, cut or filled with NULs at some place."""
    chosen = random.Random(seed)
    name = chosen.choice(["commands", "base", "manifest", "nodes"])
    file = {"commands": commands, "base": base, "manifest": manifest, "nodes": nodes}[name]
    share, size, kind = chosen.random(), chosen.choice([1, 7, 512, 4096]), chosen.choice(["cut", "end", "hole", "more"])

    def change(data: bytes) -> bytes:
        at = int(share * len(data))
        if kind == "hole":
            at -= at % 512
            return data[:at] + bytes(min(len(data) - at, 512)) + data[at + 512 :]
        return {"cut": data[:at], "end": data[:at] + bytes(len(data) - at), "more": data + bytes(size)}[kind]

    return f"{name}, {kind} at {share:.2f}", of(file, change)


@pytest.mark.parametrize("seed", range(16), ids=lambda seed: generated(seed)[0])
def test_any_damage_lets_a_node_start_with_what_is_left(lab: Lab, written: Path, seed: int) -> None:
    """And every byte that was not NUL is still on its volume."""
    _, damage = generated(seed)
    pod = lab.pod(f"redis-{seed}", node_container(lab, seed))
    shutil.copytree(written, volume(pod), dirs_exist_ok=True, copy_function=shutil.copy2)
    damage(volume(pod))
    damaged = {path: path.read_bytes() for path in volume(pod).rglob("*") if path.is_file()}
    kept = readable(volume(pod), "b")
    pod.start()
    pod.wait_ready()
    with pod.client() as client:
        assert kept <= set(client("KEYS", "b:*"))
    pod.kill()
    for path, content in damaged.items():
        there = [each.read_bytes() for each in volume(pod).rglob(f"{path.name}*")]
        cut = [one + rest for one in there for rest in there]
        assert content.strip(b"\0") in b"".join(there + cut) or path.name == "nodes.conf", (
            f"some of {path.name} is gone"
        )
