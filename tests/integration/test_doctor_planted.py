"""Symptoms planted in a real API server: objects that its controllers and its scheduler make wrong, read by kubectl.

Where kubelets are simulated, what a kubelet writes into a status is written here. What only a real node can have is
planted on one in test_doctor.py, what real stores say in test_doctor_stores.py, what a client meets at a real Traefik
in test_connect.py; the rest is in `ELSEWHERE`, with the test that plants it.
"""

import importlib
import json
import ssl
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from cli import kubectl
from cli.commands import doctor
from cli.doctor import gather
from cli.doctor.examination import Examination
from cli.doctor.gather import LEASES
from cli.doctor.model import Evidence
from cli.doctor.symptoms import FIXES, SYMPTOMS
from cli.stacks import LoadedStack, Stack
from cli.terminal import Terminal
from config.loading import load
from config.schema.backup import NAME
from render.stack_file import StackConfig
from tests.graph import backed_up
from tests.integration.node.test_doctor import ON_THE_NODE
from tests.integration.test_connect import DOCTOR as CONNECT
from tests.integration.test_doctor_stores import ON_THIS_MACHINE
from tests.lab.kubernetes import Kubernetes
from tests.lab.kubernetes_client import Changes
from tests.lab.process import slowness, wait_until
from tests.lab.served import Handler, serving
from tests.unit.authority import issue, leaf
from tests.unit.edge import chain

pytestmark = pytest.mark.integration

OWN, EMULATORS, SYSTEM = "flatline", "flatline-emulators", "kube-system"
CONTEXT = "lab"
TRAEFIK = {"app.kubernetes.io/name": "traefik"}

FIRST = {
    "node-local-dns",
    "namespace-of-another",
    "traefik-not-ready",
    "traefik-read-timeout",
    "client-address-hidden",
    "workload-missing",
    "workload-stopped",
    "rollout-stuck",
    "autoscaler-blind",
    "pod-no-cpu",
    "pod-no-memory",
    "pod-no-volume",
    "pod-no-node",
    "image-pull",
    "container-config",
    "crash-loop",
    "oom-killed",
    "restarts",
    "pod-evicted",
    "volume-mount",
    "pod-forbidden",
    "job-failed",
    "cron-job-suspended",
    "claim-lost",
    "policy-missing",
}
LATER = {"pod-not-ready", "pod-terminating"}
"""Found of the same objects twenty minutes afterwards."""
BY_SETTINGS = {"storage-class-missing", "traefik-entry-point", "backup-old"}
"""Found of the same objects where the stack's file names another class and entry point, and backups by schedule."""
WORN = {
    "node-not-ready",
    "node-pressure",
    "node-disk-full",
    "volume-nearly-full",
    "clock-of-node",
    "load-balancer-pending",
}
"""Found of a second node, of what kubelets answer to the API server, and of a Service whose balancer nobody is."""
SECOND = {
    "architecture",
    "storage-class-no-default",
    "dns-pods",
    "traefik-missing",
    "traefik-definitions",
    "traefik-old",
}
ELSEWHERE = {
    "tests.unit.cli.test_doctor": {"cluster-version"},
    "tests.unit.cli.test_doctor_command": {"secrets-lost", "passphrase"},
    "tests.integration.test_stack_turn": {
        "relay-name",
        "relay-unreachable",
        "relay-refuses",
        "relay-full",
        "relay-tls",
        "relay-open",
    },
    "tests.unit.cli.test_doctor_cloud": {
        "cloud-dynamodb",
        "cloud-dynamodb-table",
        "cloud-objects",
        "cloud-objects-bucket",
        "cloud-cache",
        "cloud-bigtable",
        "cloud-bigtable-table",
    },
}
"""Planted without a real server. An API server says the version that it was built as, and one of another version would
be built for this alone; secrets and passphrases are files of this machine; AWS is moto, and Bigtable's errors are those
of its client library."""


def test_each_symptom_is_planted_in_one_place() -> None:
    places = [FIRST, LATER, BY_SETTINGS, WORN, SECOND, ON_THE_NODE, ON_THIS_MACHINE, CONNECT, *ELSEWHERE.values()]
    planted = [symptom for place in places for symptom in place]
    assert sorted(planted) == sorted(SYMPTOMS)
    assert all(importlib.import_module(name) for name in ELSEWHERE)


@dataclass
class Lab:
    """The cluster with stack dev on it."""

    cluster: Kubernetes
    loaded: LoadedStack

    def put(self, *objects: dict[str, Any]) -> None:
        self.cluster.apply(objects)

    def status(self, kind: str, name: str, status: dict[str, Any], namespace: str = OWN) -> None:
        words = () if kind == "node" else ("-n", namespace)
        patch = json.dumps({"status": status})
        self.cluster.kubectl(*words, "patch", kind, name, "--subresource", "status", "--type", "merge", "-p", patch)

    def read(self) -> Evidence:
        """What the doctor reads, without its throw-away pods, which simulated nodes do not run."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("KUBECTL_SECONDS", "READING_SECONDS"):
                patch.setattr(gather, name, getattr(gather, name) * slowness())
            return gather.everything(self.loaded, CONTEXT, Terminal(), trials=False)


@pytest.fixture(scope="module")
def lab(deployed_stack: tuple[Kubernetes, Path, Changes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    cluster, _, _ = deployed_stack
    text = cluster.kubectl("config", "view", "--raw", "-o", "json")
    config = json.loads(text)
    config["contexts"][0]["name"] = config["current-context"] = CONTEXT
    file = tmp_path_factory.mktemp("lab") / "kubeconfig"
    file.write_text(json.dumps(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(file))
        patch.setattr(kubectl, "program", lambda: str(cluster._kubectl))
        found = Lab(cluster, LoadedStack(Stack("dev"), StackConfig("flatline", "dev", {}), load({})))
        found.put(*well())
        for name in ("coredns", "traefik"):
            found.status("pod", name, {"phase": "Running", "conditions": [ready(True)]}, SYSTEM)
        yield found


def metadata(name: str, namespace: str = OWN, **more: Any) -> dict[str, Any]:
    return {"name": name, "namespace": namespace, **more}


def hardened(image: str = "registry.test/main:1", **container: Any) -> dict[str, Any]:
    """A pod's spec that Pod Security lets in."""
    closed = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "main", "image": image, "securityContext": closed, **container}],
    }


def pod(name: str, namespace: str = OWN, *, labels: Any = None, **spec: Any) -> dict[str, Any]:
    """No scheduler takes it unless `spec` names one: so its status is ours."""
    about = metadata(name, namespace, labels=labels or {"app.kubernetes.io/name": name})
    whole = {"schedulerName": "nobody", **hardened(), **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": whole}


def ready(well: bool, **more: Any) -> dict[str, Any]:
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": "Ready", "status": "True" if well else "False", "lastTransitionTime": since, **more}


def well() -> Iterable[dict[str, Any]]:
    """What a cluster has besides the stack: a name server and Traefik."""
    words = [
        "--entryPoints.web.address=:8000/tcp",
        "--entryPoints.websecure.address=:8443/tcp",
        "--entryPoints.websecure.transport.respondingTimeouts.readTimeout=600s",
    ]
    yield pod("coredns", SYSTEM, labels={"k8s-app": "kube-dns"})
    yield pod("traefik", SYSTEM, labels=TRAEFIK, **hardened(args=words))
    yield service("Local")


def service(policy: str) -> dict[str, Any]:
    """Traefik's; the lab gives it an address."""
    ports = [{"name": "websecure", "port": 443}]
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": policy, "selector": TRAEFIK, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata("traefik", SYSTEM), "spec": spec}


def names(evidence: Evidence) -> set[str]:
    return {each.symptom for each in Examination.of(evidence).findings}


def test_a_stack_that_is_well_has_none_of_them(lab: Lab) -> None:
    assert names(lab.read()) & (FIRST | SECOND) == set()


def test_what_is_planted_is_found_under_its_own_name(lab: Lab) -> None:
    plant_first(lab)
    evidence = lab.read()
    assert names(evidence) >= FIRST
    later = replace(evidence, now=evidence.now + timedelta(minutes=20))
    assert names(later) >= LATER
    changed = {
        "target": {"storageClass": "fast"},
        "ingress": {"tlsEntryPoint": "https"},
        "backup": backed_up.settings(),
        "egress": backed_up.egress(),
    }
    other = load({f"flatline:{key}": json.dumps(value) for key, value in changed.items()})
    assert names(replace(evidence, settings=other)) >= BY_SETTINGS


def test_what_fix_offers_ends_it(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = set(FIXES) & FIRST
    assert fixed == set(FIXES)
    before = Examination.of(lab.read())
    assert {each.symptom for each in before.findings if each.fix} == fixed
    real = subprocess.run

    def run(words: list[str], **options: Any) -> Any:
        return real([str(lab.cluster._kubectl), *words[1:]] if words[0] == "kubectl" else words, **options)

    monkeypatch.setattr(doctor.subprocess, "run", run)
    doctor._fix(before, CONTEXT, Terminal(), agreed=True)
    wait_until(lambda: not names(lab.read()) & fixed, 60, "the fixed symptoms gone")


def test_a_worn_node_and_a_balancer_that_nobody_is(lab: Lab) -> None:
    """The node that kwok runs is ready, and its disk is full; a clock that is ahead runs the other one."""
    ahead = (datetime.now(UTC) + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    lease = {"holderIdentity": "worn", "leaseDurationSeconds": 3600, "renewTime": ahead}
    lab.put(
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata("worn", LEASES), "spec": lease},
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "worn"}},
        {**service("Local"), "metadata": metadata("edge", SYSTEM)}
        | {"spec": {**service("Local")["spec"], "loadBalancerClass": "flatline.test/nobody"}},
    )
    pressed = [ready(False, message="container runtime is down"), condition("DiskPressure", "True")]
    lab.status("node", "worn", {"conditions": pressed})
    with kubelet() as port:
        lab.status("node", "node-1", {"daemonEndpoints": {"kubeletEndpoint": {"Port": port}}})
        evidence = lab.read()
    assert "summaries" not in evidence.unread, evidence.unread
    same = {**evidence.readings, "clock": 0.0}  # as a throw-away pod finds, of which none runs here
    found = Examination.of(replace(evidence, readings=same)).findings
    assert {each.symptom for each in found} >= WORN
    about = {each.symptom: each.about for each in found if each.symptom in WORN}
    assert (about["node-not-ready"], about["clock-of-node"]) == ("node worn", "node worn")
    assert about["volume-nearly-full"] == f"claim {OWN}/attachments"
    assert about["load-balancer-pending"] == f"service {SYSTEM}/edge"
    lab.cluster.kubectl("delete", "node", "worn")


@contextmanager
def kubelet() -> Iterator[int]:
    """The port of a kubelet whose disk and one volume are nearly full."""
    disk = {"capacityBytes": 100 * 2**30, "availableBytes": 5 * 2**30}
    volume = {"name": "data", "pvcRef": {"namespace": OWN, "name": "attachments"}, **disk}
    pods = [{"podRef": {"name": "cdn3", "namespace": OWN}, "volume": [volume]}]
    answer = json.dumps({"node": {"nodeName": "node-1", "fs": disk}, "pods": pods}).encode()

    class Answers(Handler):
        def answer(self) -> None:
            self.reply(200 if self.path.partition("?")[0] == "/stats/summary" else 404, answer)

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        tls.load_cert_chain(chain(leaf(issue("Kubelet"), "node-1"), Path(folder)))
    with serving(Answers, address="", tls=tls) as port:
        yield port


def test_the_cluster_itself_is_found_wanting(lab: Lab) -> None:
    for kind, name in (("pod", "coredns"), ("pod", "traefik")):
        lab.cluster.kubectl("-n", SYSTEM, "delete", kind, name, "--grace-period", "0", "--force")
    default = "storageclass.kubernetes.io/is-default-class-"
    for each in lab.cluster.get("storageclasses"):
        lab.cluster.kubectl("annotate", "storageclass", each["metadata"]["name"], default)
    lab.cluster.kubectl("delete", "crd", "serverstransports.traefik.io", "middlewares.traefik.io")
    lab.put(older_middlewares())
    for each in lab.cluster.get("nodes"):
        lab.status("node", each["metadata"]["name"], {"nodeInfo": {"architecture": "riscv64"}})
    assert names(lab.read()) >= SECOND


def backup() -> dict[str, Any]:
    """The CronJob of backups, with a schedule that makes no Job while this is tried."""
    job = {"template": {"spec": {**hardened(), "restartPolicy": "Never"}}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata(NAME),
        "spec": {"schedule": "0 0 29 2 *", "jobTemplate": {"spec": job}},
    }


def older_middlewares() -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": schema}
    called = {"kind": "Middleware", "plural": "middlewares", "singular": "middleware"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "middlewares.traefik.io"},
        "spec": {"group": "traefik.io", "names": called, "scope": "Namespaced", "versions": [version]},
    }


def plant_first(lab: Lab) -> None:
    """Everything that can be there at once. What controllers must notice comes first, what they undo last."""
    kube, template = lab.cluster.kubectl, {"metadata": {"labels": {"app": "planted"}}}
    selector = {"matchLabels": {"app": "planted"}}
    stuck = {"progressDeadlineSeconds": 1, "selector": selector}
    nowhere = {"nodeSelector": {"planted": "nowhere"}}
    open_pod = {"containers": [{"name": "main", "image": "registry.test/main:1"}]}
    apps: dict[str, Any] = {"apiVersion": "apps/v1", "kind": "Deployment"}
    scheduled = {"schedulerName": "default-scheduler"}
    lab.put(
        {
            **apps,
            "metadata": metadata("stuck"),
            "spec": {**stuck, "template": {**template, "spec": hardened() | nowhere}},
        },
        {
            **apps,
            "metadata": metadata("open"),
            "spec": {"selector": selector, "template": {**template, "spec": open_pod}},
        },
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": metadata("late"),
            "spec": {
                "activeDeadlineSeconds": 1,
                "template": {"spec": {**hardened(), **nowhere, "restartPolicy": "Never"}},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": metadata("lost", annotations={"pv.kubernetes.io/bind-completed": "yes"}),
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "volumeName": "gone",
                "resources": {"requests": {"storage": "1Mi"}},
            },
        },
        pod("too-much-cpu", **scheduled, **hardened(resources={"requests": {"cpu": "1000"}})),
        pod("too-much-memory", **scheduled, **hardened(resources={"requests": {"memory": "90Ti"}})),
        pod("no-volume", **scheduled, volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "nobody-s"}}]),
        pod("no-node", **scheduled, **nowhere),
        *(pod(name) for name in (*STATUSES, "evicted", "not-ready")),
        {**pod("ending"), "metadata": metadata("ending", finalizers=["flatline.test/stays"])},
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": metadata("blind"),
            "spec": {
                "maxReplicas": 2,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "cdn3"},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": metadata("mount"),
            "involvedObject": {"kind": "Pod", "namespace": OWN, "name": "too-much-cpu"},
            "reason": "FailedMount",
            "message": 'secret "keys-1" not found',
            "lastTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": metadata("node-local-dns", SYSTEM),
            "spec": {"selector": selector, "template": {**template, "spec": hardened() | nowhere}},
        },
    )
    kube("-n", OWN, "delete", "pod", "ending", "--wait=false")
    kube("-n", OWN, "delete", "deployment", "storage", "--wait=false")
    kube("-n", OWN, "scale", "deployment/whisper", "--replicas", "0")
    (first, *_) = lab.cluster.get("cronjobs", OWN)
    kube("-n", OWN, "patch", "cronjob", first["metadata"]["name"], "-p", '{"spec":{"suspend":true}}')
    unexplained = "flatline.org/suspended-because-"
    kube("-n", OWN, "annotate", "cronjob", first["metadata"]["name"], unexplained)
    for policy in lab.cluster.get("networkpolicies", EMULATORS):
        if not policy["spec"].get("podSelector"):
            kube("-n", EMULATORS, "delete", "networkpolicy", policy["metadata"]["name"])
    kube("label", "namespace", EMULATORS, "flatline.org/stack=flatline.another", "--overwrite")
    kube("-n", SYSTEM, "delete", "pod", "traefik", "--grace-period", "0", "--force")
    lab.put(pod("traefik", SYSTEM, labels=TRAEFIK, **hardened(args=ENTRY_POINTS)))
    lab.put(service("Cluster"))
    lab.put(backup())
    lab.status("cronjob", NAME, {"lastSuccessfulTime": "2024-02-29T00:00:00Z"})
    wait_until(lambda: lab_says(lab), 60, "controllers have noticed")
    lab.status("pod", "traefik", {"phase": "Running", "conditions": [ready(False, message="probe")]}, SYSTEM)
    lab.status("pod", "not-ready", {**running(), "conditions": [ready(False, message="probe")]})
    lab.status("pod", "evicted", {"phase": "Failed", "reason": "Evicted", "message": "low on memory"})
    for name, status in STATUSES.items():
        lab.status("pod", name, {"phase": "Running", "containerStatuses": [{**CONTAINER, **status}]})
    lab.status("hpa", "blind", {"conditions": [condition("ScalingActive", "False")], "desiredReplicas": 0})


def lab_says(lab: Lab) -> bool:
    """Whether the Job, the rollout and the claim have come to their ends, and the scheduler has tried its pods."""
    found = {
        *(c["reason"] for each in lab.cluster.get("jobs", OWN) for c in each["status"].get("conditions") or ()),
        *(c["reason"] for each in lab.cluster.get("deployments", OWN) for c in each["status"].get("conditions") or ()),
        *(each["status"]["phase"] for each in lab.cluster.get("persistentvolumeclaims", OWN)),
        *(each["reason"] for each in lab.cluster.get("events", OWN)),
    }
    return found >= {"DeadlineExceeded", "ProgressDeadlineExceeded", "Lost", "FailedCreate", "FailedScheduling"}


def condition(kind: str, status: str) -> dict[str, Any]:
    return {**ready(True), "type": kind, "status": status, "reason": "Planted", "message": "planted"}


def running() -> dict[str, Any]:
    return {"phase": "Running", "containerStatuses": [CONTAINER]}


def ended(code: int, reason: str) -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"terminated": {"exitCode": code, "reason": reason, "startedAt": now, "finishedAt": now}}


def waits(reason: str, **more: Any) -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": "planted"}}, "ready": False, **more}


ENTRY_POINTS = ["--entryPoints.web.address=:8000/tcp", "--entryPoints.websecure.address=:8443/tcp"]
CONTAINER = {
    "name": "main",
    "image": "registry.test/main:1",
    "imageID": "",
    "ready": True,
    "restartCount": 0,
    "state": {"running": {"startedAt": "2026-11-30T12:00:00Z"}},
}
STATUSES = {
    "no-image": waits("ImagePullBackOff"),
    "no-secret": waits("CreateContainerConfigError"),
    "crashes": waits("CrashLoopBackOff", restartCount=9, lastState=ended(1, "Error")),
    "killed": {"restartCount": 1, "lastState": ended(137, "OOMKilled")},
    "restarted": {"restartCount": 4, "lastState": ended(1, "Error")},
}
"""What a kubelet would write of a container, by the pod's name."""
