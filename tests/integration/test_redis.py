"""The Redis Cluster through every kind of restart: real servers, the cluster's own programs.

Each test takes a whole cluster of three masters with one replica each, and leaves one. A load writes and reads all the
while. Orderly cases may lose no acknowledged write; the others say what is lost.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.lab.fetch import skip_if_missing
from tests.lab.held_thread import held_thread
from tests.lab.process import slowness, wait_until
from tests.lab.redis import (
    Cluster,
    Lab,
    Pod,
    RedisError,
    info,
    key_slot,
    membership_says,
    redis_binaries,
    together,
    view,
)
from tests.lab.redis_load import Load, missing

pytestmark = pytest.mark.integration

HEAL_SECONDS = 10
REPLICATION_LAG_SECONDS = 0.5  # asynchronous replication: what was acknowledged so shortly before a crash may be lost


class Ledger:
    """Every acknowledged write of the tests so far, but for those that a test proved to be lost."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._keys: set[str] = set()

    def lost(self, load: Load) -> dict[str, float]:
        """Checks all writes, of this load and earlier ones; what is lost, with the time of its acknowledgement."""
        assert not load.errors, load.errors
        assert len(load.acknowledged) > 100
        self._keys |= load.acknowledged.keys()
        lost = {key: load.acknowledged.get(key, 0) for key in missing(self._cluster, sorted(self._keys))}
        self._keys -= lost.keys()
        return lost


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with skip_if_missing():
        binaries = redis_binaries()
    with Lab(tmp_path_factory.mktemp("redis"), binaries) as lab:
        yield lab


@pytest.fixture(scope="module")
def founded(lab: Lab) -> Cluster:
    """Created from nothing, with one pod later than the others."""
    cluster = Cluster(lab)
    cluster.deploy_membership(3, 1)
    cluster.scale_out(5)
    for pod in cluster.nodes:
        pod.wait_ready()
    time.sleep(2)
    with cluster.nodes[0].client() as client:
        assert info(client)["cluster_slots_assigned"] == "0", "a cluster was created of some of its pods"
    cluster.scale_out(6)
    cluster.wait_whole(1, HEAL_SECONDS)
    for master in cluster.nodes[:3]:
        replica = cluster.nodes.index(cluster.replica_of(master))
        # Where pods are spread over three machines in turn, 0 and 3, 1 and 4, 2 and 5 share one.
        assert replica % 3 != cluster.nodes.index(master), f"{master.name} and redis-{replica} may share a machine"
    return cluster


@pytest.fixture(scope="module")
def ledger(founded: Cluster) -> Ledger:
    return Ledger(founded)


@pytest.fixture
def cluster(founded: Cluster) -> Iterator[Cluster]:
    founded.wait_whole(1, 2 * HEAL_SECONDS)
    yield founded
    for pod in founded.nodes:
        if pod.running():
            print(f"{pod.name} {pod.address} {pod.host}")
    print(founded.membership.process.text()[-6000:])


def served(cluster: Cluster) -> bool:
    """Whether every running node sees all slots served."""
    states = []
    for pod in cluster.nodes:
        if pod.running():
            try:
                with pod.client() as client:
                    state = info(client)
            except (OSError, RedisError):
                return False
            states.append((state["cluster_state"], state["cluster_slots_ok"]))
    return set(states) == {("ok", "16384")}


def holds_slots(pod: Pod) -> bool:
    with pod.client() as client:
        own = next(words for words in view(client) if "myself" in words[2])
    return "master" in own[2] and len(own) > 8


def reboot(cluster: Cluster) -> None:
    """SIGTERM to all at once, and no time for preStop: the machine goes down in order."""
    together([partial(pod.stop, pre_stop=False) for pod in cluster.nodes])


def just_before(crashed: float, written: float) -> bool:
    """Whether a write was acknowledged so shortly before a crash that its replica may lack it."""
    return crashed - REPLICATION_LAG_SECONDS * slowness() < written <= crashed + 0.1 * slowness()


def restart_all(cluster: Cluster, *, announce: bool = True) -> None:
    for pod in cluster.nodes:
        pod.start(announce=announce)


def test_creation(cluster: Cluster) -> None:
    assert sorted(cluster.masters().values()) == [5461, 5461, 5462]
    wait_until(lambda: membership_says(cluster.membership, "served"), 3, "the membership program sees it whole")
    assert membership_says(cluster.membership, "readyz")
    assert membership_says(cluster.membership, "livez")
    with cluster.nodes[0].client() as client:
        hosts = {node[0] for row in client("CLUSTER", "SLOTS") for node in row[2:]}
        config = client("CONFIG", "GET", "*")
    assert len(hosts) >= 3, "of the masters at least"
    assert hosts <= {pod.host for pod in cluster.nodes}, "clients must be sent to host names"
    settings = dict(zip(config[::2], config[1::2], strict=True))
    assert (settings["appendonly"], settings["maxmemory-policy"]) == ("yes", "noeviction")
    assert settings["maxmemory"] == cluster.nodes[0].container.env["REDIS_MAXMEMORY"]


def test_rolling_restart_loses_nothing(cluster: Cluster, ledger: Ledger) -> None:
    with Load(cluster, "rolling") as load:
        for pod in reversed(cluster.nodes):
            cluster.restart(pod)
        healed = cluster.wait_whole(1, HEAL_SECONDS)
    assert ledger.lost(load) == {}
    assert load.wrong == []
    assert load.longest < 2 * slowness(), "each master hands over before it goes"
    print(f"healed in {healed:.1f} s; longest operation {load.longest:.2f} s; {len(load.acknowledged)} writes")


def test_all_restart_at_once_with_other_addresses(cluster: Cluster, ledger: Ledger) -> None:
    with Load(cluster, "reboot") as load:
        time.sleep(1)
        reboot(cluster)
        restart_all(cluster)
        healed = cluster.wait_whole(1, HEAL_SECONDS)
        time.sleep(0.5)
    assert ledger.lost(load) == {}
    assert load.wrong == []
    print(f"healed in {healed:.1f} s; longest operation {load.longest:.1f} s")


def test_all_killed_at_once_heal_by_their_start_step_alone(cluster: Cluster, ledger: Ledger) -> None:
    """The processes die, the machine's page cache does not: the append-only files have all that was acknowledged."""
    cluster.membership.kill()
    with Load(cluster, "kill") as load:
        time.sleep(1)
        for pod in cluster.nodes:
            pod.kill()
        restart_all(cluster)
        healed = cluster.wait_whole(1, HEAL_SECONDS)
        time.sleep(0.5)
    cluster.deploy_membership(3, 1)
    assert ledger.lost(load) == {}
    assert load.wrong == []
    print(f"healed in {healed:.1f} s; longest operation {load.longest:.1f} s")


def test_a_disk_that_does_not_answer_makes_nothing_acknowledged_that_a_crash_would_take(
    cluster: Cluster, ledger: Ledger
) -> None:
    """A server that fsyncs beside its work acknowledges for 2 s what it keeps back in memory while an fsync lasts."""
    with Load(cluster, "slow") as load:
        with ExitStack() as held:
            for pod in cluster.nodes:
                held.enter_context(held_thread(pod.process.pid, "bio_aof"))
            time.sleep(2)
            for pod in cluster.nodes:
                pod.kill()
        restart_all(cluster)
        cluster.wait_whole(1, HEAL_SECONDS)
        time.sleep(0.5)
    assert ledger.lost(load) == {}
    assert load.wrong == []


def test_all_restart_at_once_while_the_name_server_lags(cluster: Cluster, ledger: Ledger) -> None:
    """No start step finds a peer; the membership program introduces them as soon as their names resolve."""
    with Load(cluster, "lag") as load:
        reboot(cluster)
        restart_all(cluster, announce=False)
        time.sleep(3)
        for pod in cluster.nodes:
            pod.announce()
        healed = cluster.wait_whole(1, HEAL_SECONDS)
    assert ledger.lost(load) == {}
    print(f"healed in {healed:.1f} s after the names")


def test_all_restart_at_once_and_one_stays_away(cluster: Cluster, ledger: Ledger) -> None:
    """The trap: with addresses put into nodes.conf alone, a single late pod kept all from healing, for good."""
    away = cluster.replica_of(cluster.pod_of("any"))
    with Load(cluster, "away") as load:
        reboot(cluster)
        here = [pod for pod in cluster.nodes if pod is not away]
        began = time.monotonic()
        for pod in here:
            pod.start()
        wait_until(lambda: served(cluster), HEAL_SECONDS, "served without the late pod")
        seconds = time.monotonic() - began
        time.sleep(5)  # longer than the node timeout: the late pod is down for all
        away.start()
        healed = cluster.wait_whole(1, HEAL_SECONDS)
    assert ledger.lost(load) == {}
    print(f"served in {seconds:.1f} s; whole {healed:.1f} s after the late pod")


def test_master_that_stays_away_after_a_restart_of_all_is_waited_for(cluster: Cluster, ledger: Ledger) -> None:
    """Its replica restarted too and may lack writes, so it does not take over: nothing is lost, and its slots wait."""
    away = cluster.pod_of("any")
    with Load(cluster, "waited", threads=8) as load:
        time.sleep(0.5)
        reboot(cluster)
        for pod in cluster.nodes:
            if pod is not away:
                pod.start()
        time.sleep(HEAL_SECONDS)  # the node timeout, and time for an election
        assert not served(cluster), "a replica that may lack writes has taken over"
        away.start()
        healed = cluster.wait_whole(1, HEAL_SECONDS)
    assert ledger.lost(load) == {}
    print(f"healed {healed:.1f} s after the master")


def test_scale_from_3_to_4_masters_and_back(cluster: Cluster, ledger: Ledger) -> None:
    """As `pulumi up` orders it: the membership program first; the pods are removed once it is ready.

    Then again, back in no order at all, as `kubectl apply` may do it: the pods' preStop steps hold them until their
    slots have moved. The second time the pods come back with the volumes, and the nodes.conf, of the first.
    """
    with Load(cluster, "scale") as load:
        cluster.deploy_membership(4, 1)
        wait_until(lambda: membership_says(cluster.membership, "readyz"), 3, "growing needs no wait")
        cluster.scale_out(8)
        grown = cluster.wait_whole(1, 30)
        assert sorted(cluster.masters().values()) == [4096] * 4

        cluster.deploy_membership(3, 1)
        began = time.monotonic()
        wait_until(lambda: membership_says(cluster.membership, "readyz"), 30, "drained")
        drained = time.monotonic() - began
        assert {"redis-6", "redis-7"}.isdisjoint(cluster.masters()), "ready, although a leaving node holds slots"
        cluster.scale_in(6)
        cluster.wait_whole(1, HEAL_SECONDS)
    assert ledger.lost(load) == {}
    assert load.wrong == []
    print(f"whole {grown:.1f} s after growing, drained in {drained:.1f} s; longest operation {load.longest:.2f} s")

    with Load(cluster, "again") as load:
        cluster.deploy_membership(4, 1)
        cluster.scale_out(8)
        cluster.wait_whole(1, 30)
        began = time.monotonic()
        said = together([lambda: "".join(cluster.scale_in(6)), lambda: cluster.deploy_membership(3, 1).name])
        left = time.monotonic() - began
        cluster.wait_whole(1, HEAL_SECONDS)
    assert ledger.lost(load) == {}
    assert load.wrong == []
    print(f"left in {left:.1f} s without order; longest operation {load.longest:.2f} s; {said}")


def test_crash_of_a_master(cluster: Cluster, ledger: Ledger) -> None:
    """Its replica takes over. Lost may be what was acknowledged just before and had not reached the replica."""
    master = cluster.pod_of("any")
    replica = cluster.replica_of(master)
    with Load(cluster, "crash") as load:
        time.sleep(1)
        crashed = time.monotonic()
        master.kill()
        wait_until(lambda: holds_slots(replica) and served(cluster), HEAL_SECONDS, "taken over")
        seconds = time.monotonic() - crashed
        time.sleep(0.5)
        master.start()
        cluster.wait_whole(1, HEAL_SECONDS)
    lost = ledger.lost(load)
    assert all(just_before(crashed, at) for at in lost.values()), lost
    print(f"served again in {seconds:.1f} s; lost {len(lost)} of {len(load.acknowledged)}")


@pytest.mark.parametrize("role", ["master", "replica"])
def test_loss_of_one_volume(cluster: Cluster, ledger: Ledger, role: str) -> None:
    """The node comes back empty under its host name, and becomes a replica; its old identity is forgotten."""
    master = cluster.pod_of("any")
    pod = master if role == "master" else cluster.replica_of(master)
    with Load(cluster, f"volume-{role}") as load:
        time.sleep(1)
        crashed = time.monotonic()
        pod.kill()
        empty(pod)
        pod.start()
        healed = cluster.wait_whole(1, 2 * HEAL_SECONDS)
        time.sleep(0.5)
    lost = ledger.lost(load)
    if role == "replica":
        assert lost == {}
    assert all(just_before(crashed, at) for at in lost.values()), lost
    assert load.longest < 5 * slowness(), "that it returns empty is reason enough for an election"
    print(f"whole in {healed:.1f} s, longest operation {load.longest:.1f} s, lost {len(lost)}")


def test_loss_of_both_volumes_of_a_master_and_its_replica(cluster: Cluster, ledger: Ledger) -> None:
    """The keys of these slots are gone, and only these; the slots are served again, and the log says so."""
    master = cluster.pod_of("any")
    pods = [master, cluster.replica_of(master)]
    with master.client() as client:
        ranges = next(words[8:] for words in view(client) if "myself" in words[2])
    held = {slot for item in ranges for slot in slots_of(item)}
    with Load(cluster, "both") as load:
        time.sleep(1)
        crashed = time.monotonic()
        for pod in pods:
            pod.kill()
            empty(pod)
            pod.start()
        healed = cluster.wait_whole(1, HEAL_SECONDS)
        time.sleep(0.5)
    lost = ledger.lost(load)
    assert lost, "the volumes were not lost"
    assert {key_slot(key) for key in lost} <= held
    assert all(at <= crashed + 0.1 * slowness() for at in lost.values())
    assert "no replica has the keys" in cluster.membership.process.text()
    print(f"healed in {healed:.1f} s; lost {len(lost)} keys of the slots, nothing else")


def test_a_spare_replica_becomes_a_master_and_keeps_nothing_of_its_old_keys(tmp_path: Path) -> None:
    """From one master with a replica to two masters without, in the same two pods.

    CLUSTER RESET empties the memory of a replica but not its append-only file: its next start would bring back old
    keys, and claim their slots.
    """
    with Lab(tmp_path, redis_binaries()) as lab:
        cluster = Cluster(lab)
        cluster.deploy_membership(1, 1)
        cluster.scale_out(2)
        cluster.wait_whole(1, HEAL_SECONDS)
        with Load(cluster, "before") as load:
            time.sleep(1)
        spare = cluster.replica_of(cluster.pod_of("any"))
        cluster.deploy_membership(2, 0)
        cluster.wait_whole(0, 2 * HEAL_SECONDS)
        spare.stop(pre_stop=False)
        spare.start()
        spare.wait_ready()
        with spare.client() as client:
            own = next(words for words in view(client) if "myself" in words[2])
            assert not [item for item in own if item.startswith("[")], "it claims slots of keys that it had before"
        cluster.wait_whole(0, HEAL_SECONDS)
        assert load.lost() == []
        assert load.wrong == []
        assert load.errors == []


@pytest.mark.parametrize("in_order", [True, False])
def test_replicas_are_given_up_without_losing_a_write(tmp_path: Path, in_order: bool) -> None:
    """A stack of three masters with a replica each becomes one of masters alone, one of whose pods is to go.

    In order, the pods go once the membership program is ready; else at once, held by their preStop steps.
    """
    with skip_if_missing():
        binaries = redis_binaries()
    with Lab(tmp_path, binaries) as lab:
        cluster = Cluster(lab)
        cluster.deploy_membership(3, 1)
        cluster.scale_out(6)
        cluster.wait_whole(1, 2 * HEAL_SECONDS)
        with cluster.nodes[4].client() as client:
            client("CLUSTER", "FAILOVER")
        wait_until(lambda: "redis-4" in cluster.masters(), HEAL_SECONDS, "a master beyond the third pod")
        cluster.wait_whole(1, HEAL_SECONDS)
        with Load(cluster, "fewer") as load:
            wait_until(lambda: len(load.acknowledged) > 200, HEAL_SECONDS, "some writes")
            if in_order:
                cluster.deploy_membership(3, 0)
                wait_until(lambda: membership_says(cluster.membership, "readyz"), 30, "no slots beyond")
                cluster.scale_in(3)
            else:
                together([lambda: "".join(cluster.scale_in(3)), lambda: cluster.deploy_membership(3, 0).name])
            cluster.wait_whole(0, 2 * HEAL_SECONDS)
        assert set(cluster.masters()) == {"redis-0", "redis-1", "redis-2"}
        assert Ledger(cluster).lost(load) == {}


def empty(pod: Pod) -> None:
    """Its volume is lost: a new one is bound to its claim."""
    place = pod.container.mounts["/data"]
    for file in sorted(place.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()


def slots_of(item: str) -> range:
    first, _, last = item.partition("-")
    return range(int(first), int(last or first) + 1)
