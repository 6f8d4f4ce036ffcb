"""The whole default stack on one real node: who reaches whom, what is limited, and what comes back.

All of it on the stack of this folder, in this order. Images are composed; Whisper and Storage are stand-ins
(tests.lab.images).
"""

import base64
import json
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.integration import reach, registering
from tests.integration.deployed import NAMESPACES, labels, rolled_out
from tests.integration.node.installation import DOMAIN, READY_SECONDS, Deployed
from tests.integration.outside import PROBES, Entries, Load, Outside, Record, Uploads, lasting, report, until
from tests.lab.kubernetes_node import API_PORT, KUBELET_PORT, SYSTEM
from tests.lab.machine import ADDRESS, METADATA_ADDRESS, OUTSIDE
from tests.lab.process import slowness, wait_until

pytestmark = pytest.mark.integration

LISTENER = 9999
JAVA = {"whisper": 920 + 385, "whisper-persister": 512 + 260, "storage": 384 + 125}
"""MiB that each takes at its worst: its heap and what was measured besides."""


def test_every_host_is_served_outside_with_the_rendered_authority_alone(deployed: Deployed) -> None:
    unknown = Outside(deployed.node.machine, DOMAIN, None)
    outside = deployed.outside()
    for host, (method, path, expected) in PROBES.items():
        assert outside.request(host, method, path)[0] == expected
        with pytest.raises(ssl.SSLCertVerificationError):
            unknown.request(host, method, path)


def test_the_service_that_is_asked_reaches_the_others(deployed: Deployed) -> None:
    status, body, _ = deployed.outside().request("whisper", "GET", "/v1/lab/edges")
    assert (status, json.loads(body)) == (200, {"registration": True, "cdn0": True})


KUBELET_SECONDS = 150
"""Until a pod finds a change of a Secret: the kubelet's period and the time that it caches Secrets for."""


def test_invited_persons_register_until_they_are_revoked_and_no_code_is_anywhere(deployed: Deployed) -> None:
    node = deployed.node
    number, (code,) = registering.invite(node, "--next")
    revoked, (lost,) = registering.invite(node, "+61491570156")
    taken, pair = registering.invite(node, "+61491570157", "--again", "--codes", "2")
    invited = {number, revoked, taken}
    wait_until(lambda: registering.known(node) == invited, KUBELET_SECONDS, "the invitations are mounted")
    assert registering.states(node) == dict.fromkeys(invited, "waiting")
    hashes = list(registering.stored(node)["data"].values())

    registering.flatline(node, "revoke", f"+{revoked}")
    wait_until(lambda: revoked not in registering.known(node), KUBELET_SECONDS, "the revoked one is gone")
    wrong = f"{(int(code) + 1) % 10**6:06}"
    assert registering.verified(
        node,
        (number, [wrong], False),
        (number, [code], True),  # an account needs `again`
        (number, [code], False),
        (number, [code], False),  # a code works once
        (revoked, [lost], False),
        (taken, pair, True),
        ("12025550198", [code], False),  # nobody invited it
    ) == [False, False, True, False, False, True, False]
    assert registering.states(node) == {number: "used", taken: "used"}

    node.kubectl("delete", "pod", "-n", "flatline", "registration-0")
    deployed.wait_ready()
    assert registering.verified(node, (number, [code], False)) == [False], "it is remembered that a code is spent"
    values = [json.loads(base64.b64decode(each)) for each in hashes]
    texts = [*hashes, *(each[key] for each in values for key in ("hash", "salt", "id"))]
    secrets = [code, lost, *pair, number, revoked, taken, *texts]
    assert registering.holding(secrets, registering.places(node, deployed.engine.checkout / "build" / "dev")) == []


# ---- networks -------------------------------------------------------------------------------------------------------

WHISPER = ("whisper", "whisper-persister")
EDGES = {
    *((caller, "redis", 6379) for caller in (*WHISPER, "redis", "redis-membership")),
    *((caller, "redis-pubsub", 6379) for caller in WHISPER),
    *((caller, "localstack", 4566) for caller in WHISPER),
    *((caller, "object-store", 7070) for caller in (*WHISPER, "localstack", "cdn0-gate")),
    *((caller, "cdn0-gate", 8080) for caller in (*WHISPER, "traefik")),
    ("whisper", "registration", 50051),
    ("redis", "redis", 16379),
    ("storage", "cbtemulator", 9000),
    *(("traefik", callee, port) for callee, port in (("whisper", 8080), ("storage", 10080), ("cdn3", 8080))),
    ("traefik", "cdn3", 8084),
}
"""Caller, callee and TCP port of every connection between pods, spelt out: not taken from what is rendered."""
RESOLVERS = {*WHISPER, "localstack", "cdn0-gate", "redis", "redis-membership", "storage"}
"""Who asks the name server."""
MEASURED = {(caller, "otel-collector", 8125) for caller in WHISPER}
"""Of UDP."""


@pytest.fixture(scope="module")
def places(deployed: Deployed) -> dict[str, list[reach.Place]]:
    """The pods of the stack, and two of kube-system."""
    node = deployed.node
    return {"own": reach.pods(node, *NAMESPACES), "system": reach.pods(node, SYSTEM)}


def test_every_declared_edge_works_and_every_other_is_refused(
    deployed: Deployed, places: dict[str, list[reach.Place]]
) -> None:
    own, system = places["own"], places["system"]
    targets = {(each.address, port): each.name for each in (*own, *system) for port in reach.listening_ports(each)}
    assert len({port for _, port in targets}) > 15, "the servers listen"
    beyond = {(ADDRESS, API_PORT), (ADDRESS, KUBELET_PORT), ("10.43.0.1", 443), (ADDRESS, 443)}
    listeners = {(OUTSIDE, LISTENER), (METADATA_ADDRESS, 80)}
    system_names = {each.name for each in system}

    def differing(source: reach.Place) -> list[str]:
        asked = {target: name for target, name in targets.items() if target[0] != source.address}
        if source in system:  # what it may reach beyond the stack is the cluster's business
            asked = {target: name for target, name in asked.items() if name not in system_names}
        opened = reach.connected(source, [*asked, *beyond, *listeners])
        if source in system:
            assert listeners <= opened, "what is refused to the stack's pods is there"
            opened -= beyond | listeners
        declared = {target for target, name in asked.items() if (source.name, name, target[1]) in EDGES}
        if source.name in RESOLVERS:
            declared |= {target for target, name in asked.items() if (name, target[1]) == ("kube-dns", 53)}
        named = {**{each: str(each) for each in beyond | listeners}, **asked}
        wrong = [("reaches", each) for each in opened - declared] + [("misses", each) for each in declared - opened]
        return [f"{source.name} {verb} {named[each]} {each[1]}" for verb, each in wrong]

    servers = [deployed.node.machine.listen(*each) for each in sorted(listeners)]
    with ThreadPoolExecutor(len(own) + len(system)) as pool:
        assert [line for lines in pool.map(differing, (*own, *system)) for line in lines] == []
    for server in servers:
        server.close()
    callers = {each.name for each in own} | {each.name for each in system}
    assert callers >= {caller for caller, _, _ in EDGES}


def test_datagrams_arrive_where_they_are_declared_and_nowhere_else(
    deployed: Deployed, places: dict[str, list[reach.Place]]
) -> None:
    own, system = places["own"], places["system"]
    client = reach.Place("outside", OUTSIDE, deployed.node.machine.client_network)
    everywhere = [*own, *system, client]
    names = {each.address: each.name for each in everywhere}
    ports = (53, 8125, 6379, 40000)
    datagrams = reach.Datagrams(everywhere)
    for source in own:
        datagrams.send(source, [(each.address, port) for each in everywhere if each != source for port in ports])
    arrived = datagrams.arrived()
    datagrams.send(system[0], [(OUTSIDE, 40000)])
    assert {target for _, target, _ in datagrams.arrived()} == {OUTSIDE}, "what is sent outside can be seen"
    datagrams.close()
    expected = MEASURED | {(name, "kube-dns", 53) for name in RESOLVERS}
    assert {(names[source], names[target], port) for source, target, port in arrived} == expected


STRANGER_SECONDS = 10
STRANGER = """
import json, socket, time
began, opened = time.time(), {{}}
def attempt(target):
    with socket.socket() as one:
        one.settimeout(0.3)
        if one.connect_ex(target) == 0:
            opened[target] = time.time() - began
while time.time() - began < {seconds}:
    for target in {targets}:
        attempt(target)
print("opened", json.dumps([(*target, seconds) for target, seconds in opened.items()]), flush=True)
"""


def test_a_new_pod_reaches_no_pod_from_its_first_moment_and_soon_nothing_at_all(
    deployed: Deployed, places: dict[str, list[reach.Place]]
) -> None:
    """What others refuse is refused at once. What it may not ask for itself takes kube-router a moment to know."""
    node = deployed.node
    inside = [(each.address, port) for each in places["own"] for port in sorted(reach.listening_ports(each))[:1]]
    beyond = [(ADDRESS, API_PORT), (OUTSIDE, LISTENER)]
    listener = node.machine.listen(OUTSIDE, LISTENER)
    program = STRANGER.format(targets=[*beyond, *inside], seconds=STRANGER_SECONDS)

    def reached_from(namespace: str) -> dict[tuple[str, int], float]:
        node.apply([stranger(namespace, program)])
        ended = "--for=jsonpath={.status.phase}=Succeeded"
        node.kubectl("wait", ended, "--timeout=120s", "-n", namespace, "pod/stranger")
        opened = json.loads(node.kubectl("logs", "-n", namespace, "stranger").partition("opened ")[2])
        node.kubectl("delete", "-n", namespace, "pod/stranger", "--now")
        return {(host, port): seconds for host, port, seconds in opened}

    with ThreadPoolExecutor(2) as pool:
        limited, free = pool.map(reached_from, ("flatline", "default"))
    listener.close()
    assert free.keys() == set(beyond), "a pod without a policy reaches what has none"
    assert limited.keys() <= set(beyond)
    last = max(limited.values(), default=0)
    report(f"a new pod may ask the API server and the internet for {last:.1f} s")
    assert last < STRANGER_SECONDS / 2


def stranger(namespace: str, program: str) -> dict[str, Any]:
    """A pod that nobody has declared anything for."""
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsUser": 10001}
    hardened = {**security, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    resources = {"cpu": "10m", "memory": "64Mi"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "stranger", "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "stranger",
                    "image": "docker.io/rancher/mirrored-library-busybox:1.36.1",
                    "command": ["python3", "-c", program],
                    "securityContext": hardened,
                    "resources": {"requests": resources, "limits": {"memory": "64Mi"}},
                }
            ],
        },
    }


# ---- what a container may do ----------------------------------------------------------------------------------------


def containers(deployed: Deployed) -> Iterator[tuple[str, dict[str, Any], dict[str, Any], Path]]:
    """Of each running container: a title, its specification, its pod, and its first process in /proc."""
    for pod in deployed.pods():
        for spec in pod["spec"]["containers"]:
            (state,) = (each for each in pod["status"]["containerStatuses"] if each["name"] == spec["name"])
            process = deployed.node.machine.network_of(state["containerID"].rpartition("/")[2]).parents[1]
            yield f"{reach.workload(pod)}/{spec['name']}", spec, pod, process


WRITABLE = {"localstack/localstack"}
"""Containers with a root that they may write to: LocalStack's cannot be another way."""


def test_containers_run_as_they_are_rendered(deployed: Deployed) -> None:
    for title, spec, pod, process in containers(deployed):
        security = {**pod["spec"]["securityContext"], **spec["securityContext"]}
        status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
        assert status["Uid"].split()[0] == str(security.get("runAsUser", 0)), title
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0, title
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), title
        mounts = {
            line.split()[4]: line.split()[5].split(",") for line in (process / "mountinfo").read_text().splitlines()
        }
        assert ("ro" in mounts["/"]) is (title not in WRITABLE), title
        for mount in spec.get("volumeMounts", ()):
            assert ("ro" in mounts[mount["mountPath"]]) is mount.get("readOnly", False), f"{title} {mount['mountPath']}"
        root = process / "root"
        assert not (root / "var/run/secrets/kubernetes.io").exists(), title


def test_memory_is_limited_as_it_is_rendered(deployed: Deployed) -> None:
    units = {"Mi": 1 << 20, "Gi": 1 << 30}
    for title, spec, _, process in containers(deployed):
        group = next(line.split(":")[2] for line in (process / "cgroup").read_text().splitlines() if ":memory:" in line)
        limit = Path(f"/sys/fs/cgroup/memory{group}/memory.limit_in_bytes").read_text()
        text = spec["resources"]["limits"]["memory"]
        assert int(limit) == int(text[:-2]) * units[text[-2:]], title


def test_each_java_service_survives_its_worst_case_and_not_a_tenth_more_than_its_limit(deployed: Deployed) -> None:
    with ThreadPoolExecutor(len(JAVA)) as pool:
        list(pool.map(lambda name: grow(deployed, name), JAVA))
    deployed.wait_ready()


def grow(deployed: Deployed, name: str) -> None:
    node = deployed.node

    def pod() -> dict[str, Any]:
        (found,) = node.get("pods", "flatline", labels=labels(name))
        return found

    def state() -> dict[str, Any]:
        (found,) = pod()["status"]["containerStatuses"]
        return dict(found)

    def ask(factor: float) -> None:
        node.execute("flatline", pod()["metadata"]["name"], "sh", "-c", f"echo {factor} >/tmp/memory-asked")

    ask(1)
    taken: list[str] = []

    def grown() -> bool:
        taken[:] = [node.execute("flatline", pod()["metadata"]["name"], "sh", "-c", "cat /tmp/memory-taken || :")]
        return bool(taken[0])

    wait_until(grown, 60, f"{name} has taken its memory")
    assert JAVA[name] <= int(taken[0]) <= JAVA[name] + 10
    assert state()["restartCount"] == 0, f"{name} at its worst case is killed: {state()['lastState']}"
    limit = int(pod()["spec"]["containers"][0]["resources"]["limits"]["memory"][:-2])
    ask(1.1 * limit / JAVA[name])
    wait_until(lambda: "terminated" in state()["lastState"], 60, f"{name} above its limit is killed")
    assert state()["restartCount"] == 1
    assert state()["lastState"]["terminated"]["reason"] == "OOMKilled"


# ---- what comes back ------------------------------------------------------------------------------------------------


def test_pods_that_are_deleted_come_back_with_their_data(deployed: Deployed) -> None:
    outside = deployed.outside()
    entries = lasting(outside, "deleted")
    before = {each["metadata"]["uid"] for each in deployed.pods()}
    began = time.monotonic()
    for namespace in NAMESPACES:
        deployed.node.kubectl("delete", "pods", "--all", "--wait=false", "-n", namespace)
    wait_until(lambda: not before & {each["metadata"]["uid"] for each in deployed.pods()}, 120, "the old pods are gone")
    deployed.wait_served(outside)
    report(f"all pods deleted at once: everything answers {time.monotonic() - began:.0f} s later")
    assert entries.lost() == []


STORE, STORE_HOST = "object-store", "cdn0"
"""The workload whose restart is an interruption, because one pod has its files, and the host where it is noticed."""


def test_a_restart_of_every_workload_is_an_interruption_of_the_object_store_alone(deployed: Deployed) -> None:
    outside = deployed.outside()
    entries, nodes = lasting(outside, "restarted"), redis_nodes(deployed)
    workloads = [
        (each["kind"].lower(), each["metadata"]["namespace"], each["metadata"]["name"])
        for namespace in NAMESPACES
        for each in deployed.node.get("deployments,statefulsets", namespace)
    ]
    smooth = restarted(deployed, outside, [each for each in workloads if each[2] != STORE])
    assert {host: str(record) for host, record in smooth.items() if not served(record)} == {}
    cut = restarted(deployed, outside, [each for each in workloads if each[2] == STORE])
    assert {host for host, record in cut.items() if not served(record)} <= {STORE_HOST}
    assert cut[STORE_HOST].gap < 30 * slowness()
    assert entries.lost() == []
    assert redis_nodes(deployed) == nodes


def redis_nodes(deployed: Deployed) -> list[tuple[str, list[str]]]:
    """Of each pod of Redis Cluster: its identity and the slots that it holds."""
    pods = sorted(each["metadata"]["name"] for each in deployed.node.get("pods", "flatline", labels=labels("redis")))
    own = [deployed.node.execute("flatline", pod, "grep", "myself", "/data/nodes.conf").split() for pod in pods]
    return [(words[0], words[8:]) for words in own]


def test_a_client_of_cdn3_notices_nothing_of_its_restart_but_a_resume(deployed: Deployed) -> None:
    with Uploads(deployed.outside(), deployed.upload_secret()) as uploads:
        wait_until(lambda: uploads.whole > 0, 60, "an upload is whole")
        deployed.node.kubectl("rollout", "restart", "deployment/cdn3", "-n", "flatline")
        wait_until(lambda: rolled_out(deployed.node), READY_SECONDS, "cdn3 is rolled out")
        before = uploads.whole
        wait_until(lambda: uploads.whole > before + 1, 60, "uploads go on")
    report(f"restart of cdn3: {uploads.whole} uploads, {uploads.resumed} resumed, longest wait {uploads.longest:.1f} s")
    assert uploads.refused == []


def served(record: Record) -> bool:
    """Whether nearly all requests were. On a free machine all are; on a busy one a pod that has gone is still tried."""
    return len(record.bad) <= 0.05 * slowness() * (record.good + len(record.bad))


def restarted(deployed: Deployed, outside: Outside, workloads: list[tuple[str, str, str]]) -> dict[str, Record]:
    """Restarts some workloads at once; what came of the requests from outside meanwhile."""
    began = time.monotonic()
    with Load(outside) as load:
        for kind, namespace, name in workloads:
            deployed.node.kubectl("rollout", "restart", f"{kind}/{name}", "-n", namespace)
        wait_until(lambda: rolled_out(deployed.node), READY_SECONDS, "every workload is rolled out")
    for host, record in load.records.items():
        report(f"restart of {len(workloads)} workloads, {time.monotonic() - began:.0f} s, {host}: {record}")
    return load.records


def test_a_power_cut_heals_alone_and_loses_nothing_that_was_acknowledged(deployed: Deployed) -> None:
    outside = deployed.outside()
    with Entries(outside, "cut") as entries:
        wait_until(lambda: len(entries.acknowledged) >= 20, 60, "entries are written")
        deployed.node.power_cut()
        began = time.monotonic()
        deployed.node.boot()
        booted = time.monotonic() - began
        with ThreadPoolExecutor(len(PROBES)) as pool:
            back = list(pool.map(lambda host: until(lambda: outside.answers(host), 240), PROBES))
        deployed.wait_ready()
        ready = time.monotonic() - began
    times = ", ".join(f"{host} {booted + seconds:.0f} s" for host, seconds in zip(PROBES, back, strict=True))
    report(f"power cut: node ready after {booted:.0f} s, {times}, everything ready {ready:.0f} s")
    assert entries.lost() == []


def test_a_drained_node_takes_everything_back(deployed: Deployed) -> None:
    outside = deployed.outside()
    entries = lasting(outside, "drained")
    node = deployed.node
    began = time.monotonic()
    node.kubectl(
        "drain",
        "node",
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--disable-eviction",
        "--timeout=180s",
    )
    report(f"drained after {time.monotonic() - began:.0f} s")
    node.kubectl("uncordon", "node")
    began = time.monotonic()
    deployed.node.wait_ready(READY_SECONDS, SYSTEM)
    deployed.wait_served(outside)
    report(f"uncordoned: everything answers {time.monotonic() - began:.0f} s later")
    assert entries.lost() == []
