"""`./flatline doctor` on one real node: before the first `up`, on a stack that is well, and with stores that are away.

`./flatline accounts` meets the same stack's stores. All of it on the node of this folder, which has no stack before the
second test, in this order; what is planted is taken away again. Images are composed (tests.lab.images), so no registry
is reached.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.accounts import REDIS_CLI
from cli.doctor.probe import OPEN_PORT
from cli.doctor.throwaway import RUN_LABEL
from config.certificates import LEAF_MAX_DAYS
from config.loading import load
from tests.integration import registering
from tests.integration.deployed import NAMESPACES
from tests.integration.engine import CONTEXT, Engine
from tests.integration.outside import report
from tests.lab import clock
from tests.lab.images import SERVICE_IMAGES
from tests.lab.k3s_images import references
from tests.lab.kubernetes_node import KubernetesNode
from tests.lab.process import slowness, wait_until
from tests.unit.cli.doctor_evidence import CLOUD
from tests.unit.cli.test_doctor import LINES
from tests.unit.migration.whisper import NUMBER, OTHER, identifiers

pytestmark = pytest.mark.integration

READY_SECONDS = 300
DNS_PORT = 53
WHOLE_RUN_SECONDS = 60
ORDINARY = {"traefik-read-timeout", "log-errors", "restarts", "connect-name"}
"""What the lab's own Traefik and a busy start may bring. No name server here knows flatline.internal, and Traefik's
Service has no address to go to instead."""
AWAY = {"localstack": "dynamodb", "object-store": "objects", "cbtemulator": "bigtable", "redis-pubsub": "pubsub"}
"""Deployments with one pod, and what is found while they have none."""
ON_THE_NODE = {
    *AWAY.values(),
    *LINES,
    "invitation-attacked",
    "invitation-locked",
    "connect-name",
    "certificate-ending",
    "certificate-expired",
    "clock-of-this-machine",
    "dns-silent",
    "policies-not-enforced",
    "policies-refuse",
    "registry-unseen",
}
"""Symptoms that are planted here; test_doctor_planted.py has the others."""
BY_A_CLOCK = {"certificate-ending", "certificate-expired", "clock-of-this-machine"}
OF_THE_NODE = {"dns-silent", "policies-not-enforced", "policies-refuse", "registry-unseen"}
"""Found where its network does not do what it should."""
WRONG_CODES, ALL_CODES = 10, 50
"""By which an invitation is attacked, and which no code can be tried any more after (programs/registration/limits.mjs).

A client may try as many of one number as the first.
"""
SLOW_SECONDS = 120
"""By which a machine's clock is behind."""


@dataclass
class Doctor:
    """`./flatline` in the checkout of an engine, without `pulumi`, for the cluster of a node."""

    node: KubernetesNode
    engine: Engine

    @property
    def path(self) -> str:
        folders = self.engine.environment["PATH"].split(os.pathsep)
        return os.pathsep.join(each for each in folders if not Path(each, "pulumi").exists())

    def flatline(self, *words: str, **variables: str) -> tuple[int, str, str]:
        """The exit status, standard output and standard error."""
        done = self.engine.ran(*words, variables={"PATH": self.path, **variables})
        return done.returncode, done.stdout, done.stderr

    def look(self, *words: str, ahead: int | None = None, context: str | None = CONTEXT) -> dict[str, Any]:
        """The document of a run, by a clock that may be ahead by some seconds; or of one that knows of no cluster."""
        where = ("--context", context) if context else ()
        variables = clock.ahead(ahead) if ahead is not None else {}
        status, out, err = self.flatline("doctor", *where, "--json", *words, **variables)
        assert out, err
        found: dict[str, Any] = json.loads(out)
        assert {"fine": 0, "wrong": 1, "blind": 2}[found["status"]] == status
        return found

    def left(self) -> list[str]:
        """What a run has left in the cluster."""
        places = [("namespaces", None), *((kind, each) for each in NAMESPACES for kind in ("pods", "networkpolicies"))]
        objects = [item for kind, place in places for item in self.node.get(kind, place)]
        ending = "deletionTimestamp"
        ours = [each["metadata"] for each in objects if RUN_LABEL in each["metadata"].get("labels", {})]
        return [each["name"] for each in ours if ending not in each]


@pytest.fixture(scope="module")
def doctor(node: KubernetesNode, engine: Engine) -> Doctor:
    return Doctor(node, engine)


def symptoms(found: dict[str, Any]) -> set[str]:
    return {each["symptom"] for each in found["findings"]} - ORDINARY


def results(found: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["result"] for each in found["checks"]}


def listed_images(node: KubernetesNode) -> set[str]:
    """What the kubelet says that it has; it looks every half minute."""
    (found,) = node.get("nodes")
    return {name for image in found["status"].get("images", ()) for name in image.get("names") or ()}


def test_before_the_first_up_the_cluster_is_looked_at(doctor: Doctor) -> None:
    wait_until(lambda: set(references(SERVICE_IMAGES)) <= listed_images(doctor.node), 120, "the kubelet lists them")
    found = doctor.look()
    print(json.dumps(found, indent=1))
    assert symptoms(found) == set()
    checks = results(found)
    assert {name for name, result in checks.items() if result == "unread"} == set()
    assert (checks["network"], checks["storage"], checks["clocks"]) == ("fine", "fine", "fine")
    assert checks["tables"] == "passedOver"
    assert doctor.left() == []


@pytest.mark.usefixtures("deployed")
def test_a_stack_that_is_well_is_fine(doctor: Doctor) -> None:
    began = time.monotonic()
    found = doctor.look()
    took = time.monotonic() - began
    report(f"doctor has looked at a whole stack after {took:.0f} s")
    print(json.dumps(found, indent=1))
    assert symptoms(found) == set()
    assert {name for name, result in results(found).items() if result in {"unread", "passedOver"}} == set(CLOUD)
    assert took < WHOLE_RUN_SECONDS * slowness()
    assert doctor.left() == []


@pytest.mark.usefixtures("deployed")
def test_a_signal_in_the_middle_leaves_no_pod(doctor: Doctor) -> None:
    def begun() -> bool:
        return any(RUN_LABEL in each["metadata"].get("labels", {}) for each in doctor.node.get("pods", None))

    wait_until(lambda: not begun(), 60, "the pods of the last run have ended")
    process = doctor.engine.started("doctor", "--context", CONTEXT, "--json", stderr=subprocess.PIPE, PATH=doctor.path)
    wait_until(begun, 60, "the throw-away pods are there")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, ""), err
    assert doctor.left() == []
    wait_until(lambda: not begun(), 60, "the pods have ended")


REGISTER = """
import sys
from types import SimpleNamespace
from cli import accounts
from cli.arguments import parse
from cli.terminal import Terminal
from config.schema.objects import BUCKETS
from tests.unit.migration.whisper import Asked, Service

roles = {name: role for role, name in BUCKETS.items()}
with accounts.opened(parse(["accounts", "list", "--context", sys.argv[1]]), Terminal()) as (_, _, store):
    put = lambda **words: store._buckets[roles[words["Bucket"]]].put_object(**words)
    service = Service(store._dynamodb, SimpleNamespace(put_object=put), Asked(), store, [], store._names)
    for number in sys.argv[2:]:
        service.register(number)
"""
"""Rows and objects as Whisper writes them (tests/unit/migration/whisper.py)."""


@pytest.mark.usefixtures("deployed")
def test_accounts_are_shown_blocked_and_deleted_in_the_stores_of_the_cluster(doctor: Doctor) -> None:
    node = doctor.node
    words = [*node.prefix, sys.executable, "-c", REGISTER, CONTEXT, NUMBER, OTHER]
    done = subprocess.run(
        words, cwd=doctor.engine.checkout, env=doctor.engine.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [each["number"] for each in documented(doctor, "list")["accounts"]] == [NUMBER, OTHER]
    shown = documented(doctor, "show", NUMBER)["account"]
    aci, pni = (uuid.UUID(bytes=each["B"]) for each in identifiers(NUMBER))
    assert (shown["identifier"], len(shown["devices"]), shown["blocked"]) == (str(aci), 2, False)

    said(doctor, "block", NUMBER, "--confirm", NUMBER)
    assert documented(doctor, "show", str(aci))["account"]["blocked"]
    said(doctor, "unblock", NUMBER)
    assert not documented(doctor, "show", NUMBER)["account"]["blocked"]

    cached = [f"Account3::{aci}", f"AccountMap::{pni}", f"profiles::{aci}"]
    redis(node, *(f"SETRANGE {key} 0 x" for key in cached))
    said(doctor, "delete", NUMBER, "--confirm", NUMBER)
    assert redis(node, *(f"EXISTS {key}" for key in cached)) == ["0"] * len(cached)
    assert [each["number"] for each in documented(doctor, "list")["accounts"]] == [OTHER]

    redis(node, f"SETRANGE {cached[0]} 0 x")
    assert "is deleted already" in said(doctor, "delete", str(aci))
    assert redis(node, f"EXISTS {cached[0]}") == ["0"]
    log = [
        json.loads(line) for line in (doctor.engine.checkout / "state" / "dev.accounts.log").read_text().splitlines()
    ]
    assert [(each["action"], each["result"]) for each in log if each["result"] == "done"] == [
        (action, "done") for action in ("block", "unblock", "delete", "delete")
    ]


def documented(doctor: Doctor, *words: str) -> dict[str, Any]:
    """The document of a command of `accounts`."""
    found: dict[str, Any] = json.loads(said(doctor, *words, "--json"))
    return found


def said(doctor: Doctor, *words: str) -> str:
    """What a command of `accounts` says."""
    status, out, err = doctor.flatline("accounts", *words, "--context", CONTEXT)
    assert status == 0, err
    return out


def redis(node: KubernetesNode, *commands: str) -> list[str]:
    """The answers of the stack's Redis Cluster."""
    script = "".join(f"{each}\n" for each in commands)
    said = node.execute(NAMESPACES[0], "redis-0", "sh", "-c", REDIS_CLI, stdin=script)
    return [line for line in said.splitlines() if not line.startswith("-> ")]


@pytest.mark.usefixtures("deployed")
def test_stores_that_are_away_logs_and_attacks_are_found_and_what_was_stopped_is_fixed(doctor: Doctor) -> None:
    node = doctor.node
    invited = [registering.invite(node, f"+6149157015{digit}") for digit in (8, 9)]
    wait_until(lambda: {number for number, _ in invited} <= registering.known(node), 150, "invitations are mounted")
    for (number, (code,)), times in zip(invited, (WRONG_CODES, ALL_CODES), strict=True):
        wrong = (number, [f"{(int(code) + 1) % 10**6:06}"], False)
        for client in range(times // WRONG_CODES):
            registering.verified(node, *[wrong] * WRONG_CODES, key=f"client {client} of {number}")
    node.apply([speaker()])
    for name in AWAY:
        namespace = NAMESPACES[1] if name == "localstack" else NAMESPACES[0]
        node.kubectl("-n", namespace, "scale", f"deployment/{name}", "--replicas", "0")
    wait_until(lambda: running(node) == {"speaker"}, 120, "the pods are away, and the speaker is there")
    found = doctor.look()
    print(json.dumps(found["findings"], indent=1))
    told = {each["symptom"] for each in found["findings"]}
    assert told >= (ON_THE_NODE - OF_THE_NODE - BY_A_CLOCK) | {"workload-stopped"}
    others = [each for each in found["findings"] if not each["symptom"].startswith("invitation-")]
    assert not [number for number, _ in invited if number in json.dumps(others)]

    status, out, err = doctor.flatline("doctor", "--context", CONTEXT, "--json", "--fix", "--yes")
    assert status == 1, err
    assert json.loads(out)["status"] == "wrong"
    for namespace in NAMESPACES:
        node.wait_ready(READY_SECONDS, namespace)
    left = {each["symptom"] for each in doctor.look()["findings"]}
    assert left & {*AWAY.values(), "workload-stopped"} == set()
    assert doctor.left() == []
    node.kubectl("-n", NAMESPACES[0], "delete", "pod/speaker", "--now")
    for number, _ in invited:
        registering.flatline(node, "revoke", f"+{number}")


@pytest.mark.usefixtures("deployed")
def test_a_clock_that_is_behind_is_found(doctor: Doctor) -> None:
    assert "clock-of-this-machine" in symptoms(doctor.look(ahead=-SLOW_SECONDS))


@pytest.mark.usefixtures("deployed")
def test_certificates_that_end_are_found(doctor: Doctor) -> None:
    """By a clock that is so far ahead; no cluster would be believed then."""
    for days, symptom in ((LEAF_MAX_DAYS - 10, "certificate-ending"), (LEAF_MAX_DAYS + 1, "certificate-expired")):
        assert symptom in symptoms(doctor.look(ahead=days * 86_400, context=None))


@pytest.mark.usefixtures("deployed")
def test_a_network_that_does_not_do_what_it_should_is_found(doctor: Doctor) -> None:
    """What people plant: a firewall of the node's that drops what pods send, and a plugin that has ended."""
    node, stack = doctor.node, doctor.engine.checkout / "Pulumi.dev.yaml"
    before = stack.read_text()
    drops = [
        ("FORWARD", "-p", protocol, "--dport", str(port), "-j", "DROP")
        for protocol, port in (("udp", DNS_PORT), ("tcp", DNS_PORT), ("tcp", OPEN_PORT))
    ]
    node.servers["kube-router"].stop()
    for each in drops:
        node.machine.call("iptables", "-I", *each)
    stack.write_text(with_image(before))
    try:
        found = doctor.look()
    finally:
        stack.write_text(before)
        for each in drops:
            node.machine.call("iptables", "-D", *each)
        node.start_router()
    print(json.dumps(found["findings"], indent=1))
    assert symptoms(found) >= OF_THE_NODE
    (registry,) = (each for each in found["findings"] if each["symptom"] == "registry-unseen")
    assert "1 images are not on every node" in registry["found"]
    assert doctor.left() == []


def with_image(text: str) -> str:
    """The file of a stack that has an image which no node has."""
    content = yaml.safe_load(text) or {}
    content.setdefault("config", {})["flatline:images"] = {"overrides": {"tusd": "registry.test/tusd:1"}}
    return yaml.safe_dump(content)


def running(node: KubernetesNode) -> set[str]:
    """Of the pods that are scaled those that are there, and the speaker."""
    pods = [pod for each in NAMESPACES for pod in node.get("pods", each)]
    names = {pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") == "Running"}
    return {name for name in names if name.startswith((*AWAY, "speaker"))}


def speaker() -> dict[str, Any]:
    """A pod of the stack whose log has a line of each cause."""
    program = f"console.log({json.dumps(chr(10).join(LINES.values()))}); setInterval(() => undefined, 1e6)"
    closed = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {
        "name": "main",
        "image": load({}).images.reference("node"),
        "command": ["node", "-e", program],
        "securityContext": closed,
    }
    spec = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    labels = {"app.kubernetes.io/name": "speaker"}
    metadata = {"name": "speaker", "namespace": NAMESPACES[0], "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
