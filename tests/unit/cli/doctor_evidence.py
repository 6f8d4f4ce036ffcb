"""A cluster with a stack that is well, as the doctor reads it, and the ways to plant something in it."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cli.doctor.model import Evidence
from cli.doctor.outside import Tried
from cli.doctor.workloads import SERVICES, STORES
from cli.expiry import Certificate
from config.loading import load
from connectivity.check import STEPS, Host, Step

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
FLATLINE, EMULATORS, SYSTEM = "flatline", "flatline-emulators", "kube-system"
CLOUD = ("cloudTables", "cloudBuckets", "cloudCaches", "cloudBigtable")
"""What only a stack in a cloud has; a local one's is empty."""
STEPS_OF = ("whisper", "storage", "cdn0", "cdn3")
"""The public hosts."""
RUNNING = {"running": {"startedAt": "2026-11-30T12:00:00Z"}}


def ago(**time: float) -> str:
    """A time before now, as Kubernetes writes it."""
    return (NOW - timedelta(**time)).strftime("%Y-%m-%dT%H:%M:%SZ")


def item(kind: str, name: str, namespace: str = "", **content: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **content.pop("metadata", {})}
    return {"kind": kind, "metadata": metadata, **content}


def condition(kind: str, status: str = "True", **rest: str) -> dict[str, str]:
    return {"type": kind, "status": status, **rest}


def pod(name: str, namespace: str = FLATLINE, **status: Any) -> dict[str, Any]:
    """One that runs and is ready, but for what `status` says."""
    labels = {"app.kubernetes.io/name": name.rpartition("-")[0] or name}
    container = {"name": "main", "image": "an/image:1", "restartCount": 0, "ready": True, "state": RUNNING}
    well = {"phase": "Running", "conditions": [condition("Ready")], "containerStatuses": [container]}
    return item("Pod", name, namespace, metadata={"labels": labels}, spec={}, status={**well, **status})


def container(**status: Any) -> dict[str, Any]:
    return {"name": "main", "image": "an/image:1", "restartCount": 0, "state": RUNNING, **status}


def _workload(name: str, namespace: str) -> dict[str, Any]:
    kind = "StatefulSet" if name == "redis" else "Deployment"
    return item(kind, name, namespace, spec={"replicas": 1}, status={"conditions": []})


def _policy(namespace: str) -> dict[str, Any]:
    return item(
        "NetworkPolicy", "default-deny", namespace, spec={"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    )


def _node() -> dict[str, Any]:
    pressures = [condition(kind, "False") for kind in ("MemoryPressure", "DiskPressure", "PIDPressure")]
    status = {"conditions": [condition("Ready"), *pressures], "nodeInfo": {"architecture": "amd64"}, "images": []}
    return item("Node", "node1", status=status)


def _traefik() -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "traefik"}
    args = [
        "--entryPoints.web.address=:8000/tcp",
        "--entryPoints.websecure.address=:8443/tcp",
        "--entryPoints.websecure.transport.respondingTimeouts.readTimeout=600s",
    ]
    made = pod("traefik-1", SYSTEM)
    return {**made, "metadata": {**made["metadata"], "labels": labels}, "spec": {"containers": [{"args": args}]}}


def _traefik_service() -> dict[str, Any]:
    spec = {"type": "LoadBalancer", "selector": {"app.kubernetes.io/name": "traefik"}, "externalTrafficPolicy": "Local"}
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    return item("Service", "traefik", SYSTEM, spec=spec, status=status)


def _definition(name: str) -> dict[str, Any]:
    return item("CustomResourceDefinition", f"{name}.traefik.io", spec={"has": "ipv6Subnet"})


def _redis(name: str) -> dict[str, Any]:
    state = {"name": name, "state": "ok", "slots": 16384, "role": "master", "linked": False, "replicas": 0}
    return {**state, "owned": 5461, "usedMemory": 2**20, "maxMemory": 2**28}


def readings() -> dict[str, Any]:
    """Of a local stack on one node, where all is well."""
    names = [*SERVICES, "registration", *STORES]
    dns = pod("coredns-1", SYSTEM)
    dns["metadata"]["labels"] = {"k8s-app": "kube-dns"}
    stack = [
        *(_workload(name, FLATLINE) for name in names),
        _workload("localstack", EMULATORS),
        *(pod(f"{name}-0") for name in names),
        pod("localstack-0", EMULATORS),
        _policy(FLATLINE),
        _policy(EMULATORS),
        item("PersistentVolumeClaim", "attachments", FLATLINE, spec={}, status={"phase": "Bound"}),
    ]
    disk = {"capacityBytes": 100 * 2**30, "availableBytes": 50 * 2**30}
    volume = {"name": "data", "pvcRef": {"namespace": FLATLINE, "name": "attachments"}, **disk}
    namespaces = [item("Namespace", name, metadata={"labels": {}}) for name in (FLATLINE, EMULATORS)]
    default = {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
    return {
        "version": {"gitVersion": "v1.33.6+k3s1"},
        "nodes": [_node()],
        "leases": [item("Lease", "node1", "kube-node-lease", spec={"renewTime": "2026-12-01T11:59:55.000000Z"})],
        "storageclasses": [item("StorageClass", "local-path", metadata=default)],
        "namespaces": namespaces,
        "definitions": [
            _definition(each) for each in ("ingressroutes", "middlewares", "serverstransports", "tlsoptions")
        ],
        "system": [_traefik(), _traefik_service(), dns],
        "charts": None,
        "stack": stack,
        "summaries": [{"node": {"nodeName": "node1", "fs": disk}, "pods": [{"volume": [volume]}]}],
        "logs": [{"namespace": FLATLINE, "name": "whisper-0", "app": "whisper", "text": "INFO all is well\n"}],
        "trial": {
            "open": True,
            "closed": False,
            "dns": {"address": "10.43.0.1", "milliseconds": 3},
            "nameServers": ["10.43.0.10"],
            "images": {"docker.io/library/node:1": "ok"},
        },
        "clock": 0.0,
        "stores": {
            "redis": {"nodes": [_redis(f"redis-{number}") for number in range(3)]},
            "pubsub": {},
            "persister": {"queues": 3, "oldestSeconds": 20.0, "complete": True},
            "dynamodb": {"what": "table PushChallenge"},
            "objects": {"what": "bucket whisper-service-pre-key-store"},
            "bigtable": {"what": "table group-logs"},
        },
        "certificates": [Certificate("served for *.flatline.internal", NOW + timedelta(days=300), "renew it")],
        "continuity": None,
        "passphrase": None,
        **{name: [] for name in CLOUD},
        "outside": Tried(tuple(host(service) for service in STEPS_OF)),
        "invitations": [],
    }


def host(service: str, failing: str = "") -> Host:
    """A public host that serves, or that fails at one step."""
    steps, passed = [], True
    for name in STEPS:
        bad = name == failing
        told = Step(name, passed=False, cause="a cause", cure="Do it.") if bad else Step(name, passed=passed or None)
        steps.append(told)
        passed = passed and not bad
    addresses = () if failing == "name" else ("192.0.2.1",)
    return Host(service, f"{service}.flatline.internal", addresses, steps)


class Plant:
    """A cluster that is well until something in it is changed."""

    def __init__(self) -> None:
        self.readings = copy.deepcopy(readings())
        self.config: dict[str, str] = {}

    def named(self, reading: str, kind: str, name: str) -> dict[str, Any]:
        """The object of that name, to be changed."""
        found: dict[str, Any] = next(
            each for each in self.readings[reading] if each["kind"] == kind and each["metadata"]["name"] == name
        )
        return found

    def remove(self, reading: str, kind: str, name: str) -> None:
        self.readings[reading].remove(self.named(reading, kind, name))

    def add(self, *objects: dict[str, Any]) -> None:
        """Objects of the stack."""
        self.readings["stack"] += objects

    def pod(self, **status: Any) -> dict[str, Any]:
        """Whisper's pod, with another status."""
        found = self.named("stack", "Pod", "whisper-0")
        found["status"] |= status
        return found

    def log(self, text: str, app: str = "whisper") -> None:
        self.readings["logs"] = [{"namespace": FLATLINE, "name": "whisper-0", "app": app, "text": text}]

    def store(self, name: str, **answer: Any) -> None:
        self.readings["stores"][name] = {**self.readings["stores"][name], **answer}

    def evidence(self, **changes: Any) -> Evidence:
        """What the doctor reads of it."""
        made = Evidence(
            settings=load({f"flatline:{key}": value for key, value in self.config.items()}),
            stack="dev",
            context="my-k3s",
            now=NOW,
            readings=self.readings,
        )
        return replace(made, **changes)


def without(readings: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The readings but some."""
    return {name: value for name, value in readings.items() if name not in names}
