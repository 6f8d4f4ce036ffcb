"""Every symptom of the table: its cause is planted in a cluster that is well, and it is found under its own name.

What the cluster, pods and stores really answer is in tests/integration/node/test_doctor.py.
"""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, get_args

import pytest

from cli.doctor.cloud import Wrong
from cli.doctor.examination import BLIND, FINE, WRONG, Examination, document_of, filled
from cli.doctor.logs import LEAST_UNKNOWN
from cli.doctor.outside import Tried
from cli.doctor.symptoms import FIXES, NOTICES, SYMPTOMS
from cli.expiry import Certificate
from cli.invitations import Care
from connectivity.check import Host, Step
from connectivity.relay import Kind
from docs.generate import ROOT
from tests.graph import backed_up
from tests.graph.stack import configuration
from tests.unit.cli.doctor_evidence import (
    EMULATORS,
    FLATLINE,
    NOW,
    RUNNING,
    SYSTEM,
    Plant,
    ago,
    condition,
    container,
    host,
    item,
    without,
)

PLANTED: dict[str, Callable[[Plant], Any]] = {}
Planting = Callable[[Plant], Any]


def plants(symptom: str) -> Callable[[Planting], Planting]:
    def note(planting: Planting) -> Planting:
        assert symptom not in PLANTED
        PLANTED[symptom] = planting
        return planting

    return note


def lasting(symptom: str, planting: Planting) -> None:
    plants(symptom)(planting)


# ---- the cluster

lasting("cluster-version", lambda p: p.readings.update(version={"gitVersion": "v1.27.3"}))
lasting(
    "node-not-ready",
    lambda p: p.named("nodes", "Node", "node1")["status"].update(
        conditions=[condition("Ready", "Unknown", message="Kubelet stopped posting node status.")]
    ),
)
lasting(
    "node-pressure",
    lambda p: p.named("nodes", "Node", "node1")["status"].update(
        conditions=[condition("Ready"), condition("DiskPressure", message="kubelet has disk pressure")]
    ),
)
lasting("node-disk-full", lambda p: p.readings["summaries"][0]["node"]["fs"].update(availableBytes=5 * 2**30))
lasting(
    "architecture", lambda p: p.named("nodes", "Node", "node1")["status"].update(nodeInfo={"architecture": "arm64"})
)
lasting("image-not-published", lambda p: p.readings["trial"].update(images={"ghcr.io/an/image:1": "status 403"}))
lasting("registry-unseen", lambda p: p.readings["trial"].update(images={"ghcr.io/an/image:1": "no answer (ENOTFOUND)"}))
lasting("storage-class-missing", lambda p: p.config.update(target='{"storageClass": "fast"}'))
lasting(
    "storage-class-no-default",
    lambda p: p.named("storageclasses", "StorageClass", "local-path").update(metadata={"name": "local-path"}),
)
lasting("dns-pods", lambda p: p.named("system", "Pod", "coredns-1")["metadata"].update(labels={"k8s-app": "other"}))
lasting(
    "dns-silent",
    lambda p: p.readings["trial"].update(dns={"problem": "no answer", "milliseconds": 5000}),
)
lasting("node-local-dns", lambda p: p.readings["system"].append(item("DaemonSet", "node-local-dns", SYSTEM, spec={})))
lasting("policies-not-enforced", lambda p: p.readings["trial"].update(closed=True))
lasting("policies-refuse", lambda p: p.readings["trial"].update(open=False))
lasting(
    "clock-of-node",
    lambda p: p.named("leases", "Lease", "node1")["spec"].update(renewTime="2026-12-01T12:05:00.000000Z"),
)


@plants("clock-of-this-machine")
def _slow_cluster(plant: Plant) -> None:
    plant.readings["clock"] = -120.0
    plant.named("leases", "Lease", "node1")["spec"]["renewTime"] = "2026-12-01T11:57:55.000000Z"


lasting(
    "namespace-of-another",
    lambda p: p.named("namespaces", "Namespace", FLATLINE)["metadata"].update(
        labels={"flatline.org/stack": "flatline.other"}
    ),
)

# ---- Traefik, secrets and certificates

lasting("traefik-missing", lambda p: p.remove("system", "Pod", "traefik-1"))
lasting(
    "traefik-not-ready",
    lambda p: p.named("system", "Pod", "traefik-1")["status"].update(conditions=[condition("Ready", "False")]),
)
lasting(
    "traefik-definitions", lambda p: p.remove("definitions", "CustomResourceDefinition", "serverstransports.traefik.io")
)
lasting(
    "traefik-old",
    lambda p: p.named("definitions", "CustomResourceDefinition", "middlewares.traefik.io").update(spec={}),
)
lasting("traefik-entry-point", lambda p: p.config.update(ingress='{"tlsEntryPoint": "https"}'))
lasting(
    "traefik-read-timeout",
    lambda p: p.named("system", "Pod", "traefik-1")["spec"]["containers"][0]["args"].pop(),
)
lasting(
    "client-address-hidden",
    lambda p: p.named("system", "Service", "traefik")["spec"].update(externalTrafficPolicy="Cluster"),
)
lasting("load-balancer-pending", lambda p: p.named("system", "Service", "traefik").update(status={"loadBalancer": {}}))
lasting("secrets-lost", lambda p: p.readings.update(continuity="the secrets of stack dev are missing"))
lasting("passphrase", lambda p: p.readings.update(passphrase="the passphrase is wrong"))


def _ends(plant: Plant, days: int) -> None:
    plant.readings["certificates"] = [Certificate("served for x", NOW + timedelta(days=days), "raise the epoch")]


lasting("certificate-expired", lambda p: _ends(p, -1))
lasting("certificate-ending", lambda p: _ends(p, 10))

# ---- as clients see it


def _fails(step: str) -> Planting:
    return lambda p: p.readings.update(outside=Tried((host("whisper", step), host("storage"))))


lasting(
    "connect-name",
    lambda p: p.readings.update(outside=Tried((host("whisper", "name"),), "192.0.2.1", (host("whisper"),))),
)
lasting("connect-port", _fails("connection"))
lasting("connect-tls", _fails("tls"))
lasting("connect-answer", _fails("answer"))


RELAY_STEPS: dict[Kind, str] = {
    "name": "name",
    "unreachable": "connection",
    "refuses": "connection",
    "full": "connection",
    "tls": "tls",
    "open": "answer",
}
"""The step at which each kind of problem of a TURN server is found."""


def _relay(kind: Kind) -> Planting:
    failed = Step(RELAY_STEPS[kind], passed=False, cause="a cause", cure="Do it.", kind=kind)
    turn = Host("turn", "turn.flatline.internal", ("192.0.2.1",), [failed])
    return lambda p: p.readings.update(outside=Tried((host("whisper"),), relay=(turn,)))


for each in get_args(Kind):
    lasting(f"relay-{each}", _relay(each))


def test_a_turn_server_whose_name_is_not_found_is_told_as_other_names_are() -> None:
    plant = Plant()
    plant.readings["outside"] = Tried((host("whisper"),), relay=(host("turn", "name"),))
    assert names(found(plant)) == ["connect-name"]


def _attacked(locked: bool) -> Planting:
    care = Care("+12025550123", locked, "12 wrong codes", "./flatline invite +12025550123 --codes 2 --replace")
    return lambda p: p.readings.update(invitations=[care])


lasting("invitation-attacked", _attacked(False))
lasting("invitation-locked", _attacked(True))

# ---- workloads and pods


def _unschedulable(message: str) -> Planting:
    told = condition("PodScheduled", "False", reason="Unschedulable", message=message)
    return lambda p: p.pod(phase="Pending", containerStatuses=[], conditions=[told])


def _waits(waiting: str, **last: Any) -> Planting:
    state = {"waiting": {"reason": waiting, "message": "a message"}}
    return lambda p: p.pod(containerStatuses=[container(state=state, restartCount=7, lastState={"terminated": last})])


def _event(reason: str, message: str, kind: str = "Pod") -> Planting:
    about = {"kind": kind, "namespace": FLATLINE, "name": "whisper-9"}
    told = {"involvedObject": about, "reason": reason, "message": message, "lastTimestamp": ago(minutes=2)}
    return lambda p: p.add(item("Event", "told", FLATLINE, **told))


lasting("workload-missing", lambda p: p.remove("stack", "Deployment", "storage"))
lasting("workload-stopped", lambda p: p.named("stack", "Deployment", "whisper")["spec"].update(replicas=0))
lasting(
    "rollout-stuck",
    lambda p: p.named("stack", "Deployment", "whisper")["status"].update(
        conditions=[condition("Progressing", "False", reason="ProgressDeadlineExceeded", message="timed out")]
    ),
)
lasting(
    "autoscaler-blind",
    lambda p: p.add(
        item(
            "HorizontalPodAutoscaler",
            "whisper",
            FLATLINE,
            status={"conditions": [condition("ScalingActive", "False", reason="FailedGetResourceMetric")]},
        )
    ),
)
lasting("pod-no-cpu", _unschedulable("0/1 nodes are available: 1 Insufficient cpu. preemption: no"))
lasting("pod-no-memory", _unschedulable("0/1 nodes are available: 1 Insufficient memory."))
lasting("pod-no-volume", _unschedulable("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."))
lasting("pod-no-node", _unschedulable("0/1 nodes are available: 1 node(s) had untolerated taint {a: b}."))
lasting("image-pull", _waits("ImagePullBackOff"))
lasting("container-config", _waits("CreateContainerConfigError"))
lasting("crash-loop", _waits("CrashLoopBackOff", exitCode=1, reason="Error", finishedAt=ago(minutes=3)))
lasting("oom-killed", _waits("", exitCode=137, reason="OOMKilled", finishedAt=ago(hours=2)))
lasting("restarts", _waits("", exitCode=1, reason="Error", finishedAt=ago(hours=2)))
lasting(
    "pod-not-ready",
    lambda p: p.pod(conditions=[condition("Ready", "False", lastTransitionTime=ago(minutes=9), message="probe")]),
)
lasting("pod-evicted", lambda p: p.pod(phase="Failed", reason="Evicted", message="low on memory", conditions=[]))
lasting("pod-terminating", lambda p: p.pod()["metadata"].update(deletionTimestamp=ago(minutes=30)))
lasting("volume-mount", _event("FailedMount", 'secret "keys-1" not found'))
lasting("pod-forbidden", _event("FailedCreate", "pods is forbidden: exceeded quota", "ReplicaSet"))
lasting(
    "job-failed",
    lambda p: p.add(
        item(
            "Job",
            "cbtemulator-seed-1",
            FLATLINE,
            status={"startTime": ago(hours=1), "conditions": [condition("Failed", message="deadline")]},
        )
    ),
)


@plants("backup-old")
def _(p: Plant) -> None:
    p.config |= {"backup": json.dumps(backed_up.settings()), "egress": json.dumps(backed_up.egress())}
    p.add(item("CronJob", "backup", FLATLINE, spec={}, status={"lastSuccessfulTime": ago(hours=34)}))


lasting(
    "cron-job-suspended",
    lambda p: p.add(item("CronJob", "whisper-remove-expired-accounts", FLATLINE, spec={"suspend": True})),
)
lasting(
    "volume-nearly-full",
    lambda p: p.readings["summaries"][0]["pods"][0]["volume"][0].update(availableBytes=2**30),
)
lasting(
    "claim-lost", lambda p: p.named("stack", "PersistentVolumeClaim", "attachments").update(status={"phase": "Lost"})
)
lasting("policy-missing", lambda p: p.remove("stack", "NetworkPolicy", "default-deny"))

# ---- stores

lasting("dynamodb", lambda p: p.store("dynamodb", problem="PutItem: status 500"))
lasting("dynamodb-table", lambda p: p.store("dynamodb", problem="PutItem: status 400 ResourceNotFoundException"))
lasting("objects", lambda p: p.store("objects", problem="no answer"))
lasting("objects-bucket", lambda p: p.store("objects", problem="PUT: status 404 NoSuchBucket"))
lasting("bigtable", lambda p: p.store("bigtable", problem="ECONNREFUSED"))
lasting("bigtable-table", lambda p: p.store("bigtable", problem='NOT_FOUND: table "group-logs" not found'))
lasting("pubsub", lambda p: p.store("pubsub", problem="no notification came"))
lasting("persister-behind", lambda p: p.store("persister", oldestSeconds=3600.0))
lasting("redis-write", lambda p: p.store("redis", problem="redis-0: CLUSTERDOWN The cluster is down"))


def _in_cloud(reading: str, name: str, **wrong: Any) -> Planting:
    def plant(planted: Plant) -> None:
        planted.config.update(target=configuration("prod")["flatline:target"])
        del planted.readings["stores"]
        planted.readings[reading] = [Wrong(name, "a code", **wrong)]

    return plant


lasting("cloud-dynamodb", _in_cloud("cloudTables", "flatline-Accounts"))
lasting("cloud-dynamodb-table", _in_cloud("cloudTables", "flatline-Accounts", absent=True))
lasting("cloud-objects", _in_cloud("cloudBuckets", "flatline-pre-keys-01234567"))
lasting("cloud-objects-bucket", _in_cloud("cloudBuckets", "flatline-pre-keys-*", absent=True))
lasting("cloud-cache", _in_cloud("cloudCaches", "flatline-redis"))
lasting("cloud-bigtable", _in_cloud("cloudBigtable", "group-logs"))
lasting("cloud-bigtable-table", _in_cloud("cloudBigtable", "group-logs", absent=True))


def _redis_node(number: int = 0, **answer: Any) -> Planting:
    return lambda p: p.readings["stores"]["redis"]["nodes"][number].update(answer)


lasting("redis-silent", _redis_node(problem="ECONNREFUSED"))
lasting("redis-slots", _redis_node(state="fail", slots=10922))
lasting("redis-replication", _redis_node(role="slave", owned=0))
lasting("redis-memory", _redis_node(usedMemory=0.95 * 2**28))

# ---- logs

LINES = {
    "log-redis": "WARN io.lettuce.core.RedisCommandTimeoutException: Command timed out after 1 second(s)",
    "log-name": "ERROR java.net.UnknownHostException: localstack.flatline-emulators.svc",
    "log-table": "ERROR ResourceNotFoundException: Cannot do operations on a non-existent table",
    "log-page-lost": "WARN NoSuchKeyException: The specified key does not exist",
    "log-heap": "java.lang.OutOfMemoryError: Java heap space",
    "log-no-space": "redis-start: write error: No space left on device",
    "log-upload-space": '{"time":"2026-12-01T11:40:00Z","event":"answered","status":507}',
    "log-registration": "ERROR io.grpc.StatusRuntimeException: UNAVAILABLE: io exception",
    "log-credentials": '{"event":"credentials-error","reason":"STS refused: 403 ExpiredToken"}',
    "log-library": "java.lang.UnsatisfiedLinkError: /tmp/libsignal_jni.so: failed to map segment from shared object",
    "log-cpu": "calling-start: the CPU of this node has no AVX2, and the image is built for others",
    "log-certificate": "javax.net.ssl.SSLHandshakeException: PKIX path building failed",
    "log-errors": "ERROR something else went wrong for +15550100\n" * LEAST_UNKNOWN,
}
for name, line in LINES.items():
    lasting(name, lambda p, text=line: p.log(text))


def found(plant: Plant) -> Examination:
    return Examination.of(plant.evidence())


def names(examination: Examination) -> list[str]:
    return [each.symptom for each in examination.findings]


def test_a_stack_that_is_well_has_no_symptom() -> None:
    examination = found(Plant())
    assert names(examination) == []
    assert examination.status == FINE
    assert not [result.check.name for result in examination.results if result.passed_over or result.unread]


def test_each_symptom_is_planted() -> None:
    assert set(PLANTED) == set(SYMPTOMS)
    assert len(SYMPTOMS) >= 40


@pytest.mark.parametrize("symptom", PLANTED)
def test_what_is_planted_is_found_under_its_own_name_alone(symptom: str) -> None:
    plant = Plant()
    PLANTED[symptom](plant)
    examination = found(plant)
    assert set(names(examination)) == {symptom}
    assert examination.status == (FINE if symptom in NOTICES else WRONG)
    for each in examination.findings:
        mend = examination.mend(each)
        assert not re.search(r"[{}]|<(?!context>)", mend.replace('{"spec":{"suspend":false}}', "")), mend
        assert bool(each.fix) == (symptom in FIXES)


def test_logs_are_counted_and_never_repeated() -> None:
    plant = Plant()
    plant.log(LINES["log-errors"] + LINES["log-redis"])
    shown = str(found(plant).document())
    assert "555" not in shown
    assert f"{LEAST_UNKNOWN} lines in the last hour" in shown
    assert "one line in the last hour" in shown


def test_few_errors_of_no_known_cause_are_passed_over() -> None:
    plant = Plant()
    plant.log("ERROR once\n")
    assert names(found(plant)) == []


@pytest.mark.parametrize(
    ("app", "line"),
    [
        ("whisper", '{"event":"waiting","target":"tcp://localstack:4566","reason":"ENOTFOUND"}'),
        ("localstack", "AWS dynamodb.DescribeTable => 400 (ResourceNotFoundException)"),
        ("redis-membership", '{"event":"absent","host":"redis-0","reason":"ENOTFOUND"}'),
    ],
)
def test_what_every_start_logs_is_no_symptom(app: str, line: str) -> None:
    plant = Plant()
    plant.log(line, app)
    assert names(found(plant)) == []


@pytest.mark.parametrize("taken", sorted(Plant().readings))
def test_what_could_not_be_read_is_said_and_is_not_fine(taken: str) -> None:
    plant = Plant()
    if taken == "charts":
        return  # of k3s alone
    lacking = plant.evidence(readings=without(plant.readings, taken), unread={taken: "nobody may read it"})
    examination = Examination.of(lacking)
    unread = [result.unread for result in examination.results if result.unread]
    assert unread, taken
    assert set(unread) == {"nobody may read it"}
    assert examination.status == BLIND


def test_something_wrong_counts_for_more_than_something_unread() -> None:
    plant = Plant()
    plant.store("bigtable", problem="ECONNREFUSED")
    evidence = plant.evidence(readings=without(plant.readings, "logs"), unread={"logs": "forbidden"})
    assert Examination.of(evidence).status == WRONG


def test_before_the_first_up_nothing_of_the_stack_is_missed() -> None:
    plant = Plant()
    plant.readings["stack"], plant.readings["namespaces"] = [], []
    examination = Examination.of(plant.evidence(readings=without(plant.readings, "stores", "logs", "certificates")))
    assert names(examination) == []
    assert examination.status == FINE
    assert {result.check.name for result in examination.results if result.passed_over} > {"workloads", "tables", "logs"}


def test_without_a_cluster_nobody_says_that_all_is_well() -> None:
    readings = {name: Plant().readings[name] for name in ("continuity", "passphrase", "certificates")}
    examination = Examination.of(Plant().evidence(readings=readings, context=None))
    assert examination.status == BLIND
    assert [result.check.name for result in examination.results if not result.passed_over] == [
        "secrets",
        "passphrase",
        "certificates",
    ]


# ---- what is ordinary, and could be taken for a symptom


def test_clean_ups_that_the_program_suspends_are_well() -> None:
    plant = Plant()
    because = {"annotations": {"flatline.org/suspended-because": "needs another service"}}
    plant.add(item("CronJob", "whisper-notify-idle-devices", FLATLINE, metadata=because, spec={"suspend": True}))
    assert names(found(plant)) == []


def test_a_job_that_failed_and_succeeded_afterwards_is_well() -> None:
    plant = Plant()
    owner = {"ownerReferences": [{"uid": "one"}]}
    for began, kind in ((30, "Failed"), (10, "Complete")):
        status = {"startTime": ago(minutes=began), "conditions": [condition(kind)]}
        plant.add(item("Job", f"clean-{began}", FLATLINE, metadata=owner, status=status))
    assert names(found(plant)) == []


def test_a_pod_that_starts_has_time() -> None:
    plant = Plant()
    plant.pod(conditions=[condition("Ready", "False", lastTransitionTime=ago(minutes=1))])
    slow = plant.named("stack", "Pod", "localstack-0")
    slow["metadata"]["namespace"] = EMULATORS
    slow["status"]["conditions"] = [condition("Ready", "False", lastTransitionTime=ago(minutes=5))]
    slow["status"]["containerStatuses"] = [container(state=RUNNING)]
    assert names(found(plant)) == []


def test_restarts_of_yesterday_are_over() -> None:
    plant = Plant()
    _waits("", exitCode=137, reason="OOMKilled", finishedAt=ago(days=2))(plant)
    assert names(found(plant)) == []


def test_an_image_that_every_node_has_needs_no_registry() -> None:
    plant = Plant()
    plant.readings["trial"]["images"] = {"ghcr.io/an/image:1": "no answer (ENOTFOUND)"}
    plant.named("nodes", "Node", "node1")["status"]["images"] = [{"names": ["ghcr.io/an/image:1"]}]
    assert names(found(plant)) == []


def test_a_replica_that_is_wanted_and_away_is_told_of_its_master() -> None:
    plant = Plant()
    plant.config["redis"] = '{"replicasPerMaster": 1}'
    for number in range(3):
        _redis_node(number, replicas=int(number > 0))(plant)
    examination = found(plant)
    assert names(examination) == ["redis-replication"]
    assert examination.findings[0].about == "pod redis-0"


def test_k3s_own_traefik_is_mended_by_a_chart_config_unless_there_is_one() -> None:
    plant = Plant()
    service = plant.named("system", "Service", "traefik")
    service["spec"]["externalTrafficPolicy"] = "Cluster"
    service["metadata"]["annotations"] = {"meta.helm.sh/release-name": "traefik"}
    plant.readings["charts"] = []
    (finding,) = found(plant).findings
    assert finding.fix == ("apply", "-f", "-")
    assert "kind: HelmChartConfig" in finding.manifest
    plant.readings["charts"] = [item("HelmChartConfig", "traefik", SYSTEM)]
    (finding,) = found(plant).findings
    assert finding.fix == ()


def test_a_host_is_told_of_where_it_was_tried() -> None:
    plant = Plant()
    hosts = (host("whisper", "name"), host("storage", "name"))
    plant.readings["outside"] = Tried(hosts, "192.0.2.1", (host("whisper", "answer"), host("storage")))
    examination = found(plant)
    assert names(examination) == ["connect-name", "connect-answer"]
    assert examination.findings[1].about == "host whisper.flatline.internal at 192.0.2.1"
    assert examination.mend(examination.findings[1]) == "Do it. `./flatline connect --stack dev` tries it again."


# ---- the document


def test_the_document_is_current_and_has_every_symptom() -> None:
    text = (ROOT / "docs" / "symptoms.md").read_text()
    assert text == document_of(SYMPTOMS.values())
    assert set(re.findall(r"^### `([a-z-]+)`", text, re.M)) == set(SYMPTOMS)


def test_what_a_finding_does_not_know_stays_a_placeholder() -> None:
    assert filled("kubectl -n {namespace} logs {name}", {"namespace": "chat"}) == "kubectl -n chat logs <name>"
