"""Symptoms of stores and of a registry, planted in real servers on this machine: what the throw-away pods say of them.

Their programs are asked as the pods run them, and the checks read the answer; test_doctor.py has the pods themselves.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.doctor.examination import Examination
from cli.doctor.probe import ROW, TABLE
from config.schema import objects
from tests.integration.test_bigtable_seed import PLACE
from tests.integration.test_localstack_seed import ENVIRONMENT, SEED
from tests.lab.bigtable import BigtableEmulator
from tests.lab.fetch import skip_if_missing
from tests.lab.localstack import LocalStack
from tests.lab.node import NODE
from tests.lab.process import free_ports, wait_until
from tests.lab.redis import Cluster, Lab, redis_binaries
from tests.lab.registry import Registry, binaries
from tests.unit.authority import SERVER, issue
from tests.unit.cli.doctor_evidence import Plant

pytestmark = pytest.mark.integration

PROGRAMS = Path(__file__).parents[2] / "programs" / "doctor"
REDIS = {"redis-slots", "redis-write", "redis-silent", "redis-replication", "redis-memory", "persister-behind"}
OTHERS = {"dynamodb-table", "objects-bucket", "bigtable-table"}
ON_THIS_MACHINE = REDIS | OTHERS | {"image-not-published"}
WHOLE_SECONDS = 60


def symptoms(*words: str, **variables: str) -> set[str]:
    """What is found of the program's answer, in a cluster that is well otherwise."""
    plant = Plant()
    plant.config["redis"] = '{"replicasPerMaster": 1}'
    plant.readings["stores"] = answer("stores.mjs", *words, **variables)
    return found(plant)


def answer(program: str, *words: str, **variables: str) -> dict[str, Any]:
    command = [NODE, str(PROGRAMS / program), *words, "--seconds", "2"]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def found(plant: Plant) -> set[str]:
    return {each.symptom for each in Examination.of(plant.evidence()).findings}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three masters with a replica each, and a membership program that has ended: nothing heals by itself."""
    with skip_if_missing():
        programs = redis_binaries()
    with Lab(tmp_path_factory.mktemp("redis"), programs) as lab:
        made = Cluster(lab)
        made.deploy_membership(3, 1)
        made.scale_out(6)
        made.wait_whole(1, WHOLE_SECONDS)
        made.membership.stop()
        yield made


@pytest.fixture
def look(cluster: Cluster) -> Callable[[], set[str]]:
    nodes = [word for pod in cluster.nodes for word in ("--redis", f"{pod.name}={pod.address}:6379")]
    password = cluster.lab.secrets / "redis-password"
    return lambda: symptoms("--redis-password-file", str(password), *nodes)


def test_a_cluster_that_is_well_has_none_of_them(look: Callable[[], set[str]]) -> None:
    assert look() == set()


def test_memory_that_is_nearly_full(cluster: Cluster, look: Callable[[], set[str]]) -> None:
    with cluster.nodes[0].client() as client:
        before = client.text("INFO", "memory")
        used = int(before.partition("used_memory:")[2].split()[0])
        client("CONFIG", "SET", "maxmemory", str(used * 10 // 9))
        assert look() == {"redis-memory"}
        client("CONFIG", "SET", "maxmemory", str(128 << 20))


def test_messages_that_nobody_persists(cluster: Cluster, look: Callable[[], set[str]]) -> None:
    key = "user_queue_index::{0}"
    with cluster.pod_of("0").client() as client:  # the slot of a key is that of what its braces hold
        client("ZADD", key, str(int(time.time() - 3600) * 1000), "user_queue::{somebody::1}")
        assert look() == {"persister-behind"}
        client("DEL", key)


def test_a_replica_that_has_gone(cluster: Cluster, look: Callable[[], set[str]]) -> None:
    master = next(pod for pod in cluster.nodes if pod.name in cluster.masters())
    replica = cluster.replica_of(master)
    replica.kill()
    wait_until(lambda: look() == {"redis-silent", "redis-replication"}, WHOLE_SECONDS, "both are found")
    replica.start(replica.address)
    wait_until(lambda: look() == set(), WHOLE_SECONDS, "the replica is back")


def test_writes_that_are_refused(cluster: Cluster, look: Callable[[], set[str]]) -> None:
    for wanted, found in (("9", {"redis-write"}), ("0", set())):
        for pod in cluster.nodes:
            with pod.client() as client:
                client("CONFIG", "SET", "min-replicas-to-write", wanted)
        assert look() == found


def test_slots_that_nobody_has(cluster: Cluster, look: Callable[[], set[str]]) -> None:
    """The last one of the cluster: a master has given a slot up."""
    (name, *_) = cluster.masters()
    master = next(pod for pod in cluster.nodes if pod.name == name)
    with master.client() as client:
        client("CLUSTER", "DELSLOTS", next(_own(client.text("CLUSTER", "NODES"))))
    assert look() >= {"redis-slots"}


def _own(nodes: str) -> Iterator[str]:
    """The first slot of each range of the node itself."""
    (own,) = (line.split() for line in nodes.splitlines() if "myself" in line)
    return (item.partition("-")[0] for item in own[8:])


def test_a_table_of_bigtable_that_is_gone(tmp_path: Path) -> None:
    project, instance = PLACE
    table = f"projects/{project}/instances/{instance}/tables/{ROW.name}"
    with skip_if_missing():
        emulator = BigtableEmulator(tmp_path / "emulator")
    with emulator:
        emulator.start()
        words = ("--bigtable", emulator.address, "--bigtable-table", table, "--family", ROW.family)
        assert symptoms(*words) == {"bigtable-table"}
        emulator.ask(*PLACE, ["create", ROW.name, ROW.family])
        assert symptoms(*words) == set()


def test_a_table_and_a_bucket_that_are_gone(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.write_text("[default]\naws_access_key_id = test\naws_secret_access_key = test\n")
    with skip_if_missing():
        server = LocalStack(tmp_path / "localstack", ENVIRONMENT)

    def look(bucket: str) -> set[str]:
        keys = ("--hash", TABLE.hash.name, "--ttl", str(TABLE.ttl))
        table = ("--dynamodb", server.url, "--table", TABLE.name, *keys)
        words = ("--objects", server.url, "--bucket", bucket)
        return symptoms(*table, *words, AWS_SHARED_CREDENTIALS_FILE=str(credentials))

    with server:
        server.start(SEED)
        assert look(objects.BUCKETS["dynamic-config"]) == set()
        server.dynamodb("DeleteTable", {"TableName": TABLE.name})
        assert look("nobody-s-bucket") == {"dynamodb-table", "objects-bucket"}


def test_an_image_that_its_registry_does_not_have(tmp_path: Path) -> None:
    authority = issue("Registry")
    certificate = authority.signs("localhost", authority=False, names=("localhost",), usages=SERVER)
    (tmp_path / "authority.pem").write_text(authority.pem)
    (tmp_path / "registry.pem").write_text(certificate.pem + certificate.private_pem)
    with skip_if_missing():
        binaries()
    with Registry(tmp_path / "registry", tls=tmp_path / "registry.pem") as registry:
        _, _, port = registry.address.partition(":")
        image = f"localhost:{port}/nobody/nothing:1"
        words = ("call", "--to", "127.0.0.1", "--open", port, "--closed", str(free_ports(1)[0]), "--image", image)
        plant = Plant()
        plant.readings["trial"] |= answer(
            "network.mjs", *words, "--resolve", "localhost", NODE_EXTRA_CA_CERTS=str(tmp_path / "authority.pem")
        )
    assert plant.readings["trial"]["images"] == {image: "status 404"}
    assert found(plant) == {"image-not-published"}
