"""The doctor's throw-away pods, with a stand-in for kubectl: what is made, and that nothing of it stays.

What real pods answer is in tests/integration/node/test_doctor.py.
"""

import json
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli import kubectl
from cli.doctor import gather, probe, throwaway
from cli.doctor.throwaway import RUN_LABEL, Mounted, Pod, Run
from cli.failure import Interrupted
from components.programs import DOCTOR_NETWORK, DOCTOR_STORES
from config.loading import load
from errors import FlatlineError
from tests.unit.cli.doctor_evidence import FLATLINE, Plant


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> "FakeCluster":
    made = FakeCluster()
    monkeypatch.setattr(kubectl, "apply", made.apply)
    monkeypatch.setattr(kubectl, "read", made.read)
    monkeypatch.setattr(kubectl, "say", made.say)
    monkeypatch.setattr(throwaway, "POLL_SECONDS", 0.01)
    return made


class FakeCluster:
    """Objects by kind, namespace and name; pods are at once in the phase that a test wants."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.made: list[dict[str, Any]] = []
        self.phases = {"listener": "Running", "caller": "Succeeded", "stores": "Succeeded"}
        self.logs = '{"open":true,"closed":false,"dns":{},"nameServers":[],"images":{}}'
        self.refuses = ""

    def apply(self, context: str, content: dict[str, Any], *, manager: str) -> None:
        for each in content["items"]:
            if each["kind"] == self.refuses:
                raise FlatlineError("kubectl could not apply", "Error from server (Forbidden)")
            found = json.loads(json.dumps(each))
            metadata = found["metadata"]
            metadata["creationTimestamp"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            if found["kind"] == "Pod":
                phase = self.phases[metadata["labels"]["role"]]
                found["status"] = {"phase": phase, "podIP": "10.42.0.9"}
            self.objects[found["kind"], metadata.get("namespace", ""), metadata["name"]] = found
            self.made.append(found)

    def read(self, context: str, *words: str) -> Any:
        if words[-2] == "pod":
            return self.objects["Pod", words[1], words[-1]]
        kinds = {"namespaces": {"Namespace"}}.get(words[words.index("get") + 1], {"Pod", "ConfigMap", "NetworkPolicy"})
        namespace = words[1] if words[0] == "-n" else ""
        items = [each for (kind, place, _), each in self.objects.items() if kind in kinds and place == namespace]
        return {"items": [each for each in items if RUN_LABEL in each["metadata"].get("labels", {})]}

    def say(self, context: str, *words: str) -> str:
        if "logs" in words:
            return f"{self.logs}\n"
        assert "delete" in words, words
        assert {"--ignore-not-found", "--wait=false"} <= set(words)
        if "namespace" in words:
            name = words[words.index("namespace") + 1]
            gone = [key for key in self.objects if name in key[1:]]
        else:
            run = words[words.index("--selector") + 1].partition("=")[2]
            of_run = lambda each: each["metadata"].get("labels", {}).get(RUN_LABEL) == run  # noqa: E731
            gone = [key for key, each in self.objects.items() if key[1] == words[1] and of_run(each)]
        for key in gone:
            del self.objects[key]
        return ""


def tried(cluster: FakeCluster, work: Callable[[Run], Any]) -> Any:
    problems: list[str] = []
    try:
        with throwaway.run("mine", problems) as run:
            return work(run)
    finally:
        assert problems == []
        assert cluster.objects == {}


def evidence() -> Any:
    plant = Plant()
    for workload, volume in (("redis-membership", "redis-password"), ("whisper", "whisper-identity")):
        volumes = [{"name": volume, "secret": {"secretName": f"{volume}-1234567890"}}]
        plant.named("stack", "Deployment", workload)["spec"]["template"] = {"spec": {"volumes": volumes}}
    return plant.evidence()


def test_the_network_is_tried_and_nothing_stays(cluster: FakeCluster) -> None:
    answer, clock = tried(cluster, lambda run: probe.network(run, load({})))
    assert answer["open"] is True
    assert abs(clock) <= 1
    (policy,) = (each for each in cluster.made if each["kind"] == "NetworkPolicy")
    (rule,) = policy["spec"]["ingress"]
    assert [each["port"] for each in rule["ports"]] == [8080]
    caller = next(each for each in cluster.made if each["metadata"]["name"].endswith("-caller") and "spec" in each)
    words = caller["spec"]["containers"][0]["args"]
    assert words[:7] == ["call", "--to", "10.42.0.9", "--open", "8080", "--closed", "8081"]
    assert words.count("--image") == len(load({}).used_images) > 5


def test_stores_are_tried_in_the_namespace_of_the_stack_and_nothing_stays(cluster: FakeCluster) -> None:
    cluster.logs = '{"redis":{"nodes":[]}}'
    found = evidence()
    assert tried(cluster, lambda run: probe.stores(run, found)) == {"redis": {"nodes": []}}
    (pod,) = (each for each in cluster.made if each["kind"] == "Pod")
    volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
    assert volumes["redis-password"]["secret"]["secretName"] == "redis-password-1234567890"
    assert volumes["aws-credentials"]["secret"]["secretName"] == "whisper-identity-1234567890"
    # Only the pod of this run is let in, and only by the ports of the stores.
    policies = [each for each in cluster.made if each["kind"] == "NetworkPolicy"]
    assert len(policies) == 6
    for each in policies:
        for rule in each["spec"].get("ingress", ()):
            (peer,) = rule["from"]
            assert peer["podSelector"]["matchLabels"][RUN_LABEL] == pod["metadata"]["labels"][RUN_LABEL]
            assert len(rule["ports"]) == 1


def test_pods_are_hardened_and_are_none_of_the_stack(cluster: FakeCluster) -> None:
    found = evidence()
    tried(cluster, lambda run: (probe.network(run, load({})), probe.stores(run, found)))
    pods = [each for each in cluster.made if each["kind"] == "Pod"]
    assert len(pods) == 3
    for pod in pods:
        assert not {key for key in pod["metadata"]["labels"] if key.endswith(("/name", "/component", "/part-of"))}
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["activeDeadlineSeconds"] <= 90
        security = pod["spec"]["securityContext"]
        assert (security["runAsNonRoot"], security["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        assert container["resources"]["limits"]["memory"]
    assert len({pod["metadata"]["name"] for pod in pods}) == 3
    (namespace,) = (each for each in cluster.made if each["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_a_pod_that_fails_says_why_and_nothing_stays(cluster: FakeCluster) -> None:
    cluster.phases["caller"], cluster.logs = "Failed", "doctor/network.mjs: --to is missing"
    with pytest.raises(FlatlineError, match=r"pod caller has failed: doctor/network\.mjs: --to is missing"):
        tried(cluster, lambda run: probe.network(run, load({})))


def test_a_pod_that_has_answered_is_not_waited_for(cluster: FakeCluster) -> None:
    """Where no name server answers, its look-ups put its end off for minutes."""
    cluster.phases["caller"] = "Running"
    answer, _ = tried(cluster, lambda run: probe.network(run, load({})))
    assert answer["open"] is True


def test_a_pod_that_does_not_start_says_why_and_nothing_stays(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "START_SECONDS", 0.05)
    cluster.phases["listener"] = "Pending"
    with pytest.raises(FlatlineError, match="pod listener did not get on"):
        tried(cluster, lambda run: probe.network(run, load({})))


def test_what_the_cluster_refuses_is_said_and_nothing_stays(cluster: FakeCluster) -> None:
    cluster.refuses = "Pod"
    with pytest.raises(FlatlineError) as refused:
        tried(cluster, lambda run: probe.network(run, load({})))
    assert refused.value.remedies == ("Error from server (Forbidden)",)


def test_a_signal_leaves_nothing(cluster: FakeCluster) -> None:
    cluster.phases["listener"] = "Pending"

    def work(run: Run) -> None:
        with gather._workers(run) as pool:
            pool.submit(probe.network, run, load({}))
            while not any(each["kind"] == "Pod" for each in cluster.made):
                time.sleep(0.01)
            raise Interrupted(signal.SIGTERM)

    with pytest.raises(Interrupted):
        tried(cluster, work)


def test_what_a_killed_run_left_is_removed_by_the_next_and_what_runs_is_not(cluster: FakeCluster) -> None:
    killed, running = Run("mine"), Run("mine")
    for run in (killed, running):
        run.namespace()
        run.make(FLATLINE, [Pod(role="stores", program=DOCTOR_STORES, image="node:1", arguments=[])])
    old = (datetime.now(UTC) - timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for each in cluster.objects.values():
        if each["metadata"]["labels"][RUN_LABEL] == killed.name:
            each["metadata"]["creationTimestamp"] = old
    removed = throwaway.remove_left("mine", [FLATLINE], datetime.now(UTC))
    assert removed == [f"namespace {killed.name}", f"{killed.name} in {FLATLINE}"]
    assert {each["metadata"]["labels"][RUN_LABEL] for each in cluster.objects.values()} == {running.name}


def test_secrets_are_mounted_and_never_written_down(cluster: FakeCluster) -> None:
    mounted = Mounted("redis-password-1", "redis-password", "/etc/flatline/redis-password")
    run = Run("mine")
    run.make(
        FLATLINE, [Pod(role="stores", program=DOCTOR_NETWORK, image="node:1", arguments=["listen"], files=[mounted])]
    )
    (pod,) = (each for each in cluster.made if each["kind"] == "Pod")
    mounts = pod["spec"]["containers"][0]["volumeMounts"]
    assert {
        "name": "redis-password",
        "mountPath": "/etc/flatline/redis-password",
        "subPath": "redis-password",
        "readOnly": True,
    } in mounts
