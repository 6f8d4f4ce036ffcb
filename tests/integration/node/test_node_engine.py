"""`./flatline` on one real node: by files, by the engine, with every option on, and with pods that cannot run.

All of it on the stack of this folder, in this order. Images are composed (tests.lab.images).
"""

import asyncio
import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config.installation import VERSION_ANNOTATION
from config.schema.secrets import BY_NAME
from config.version import VERSION
from connectivity.turn import RefusedError, credentials, opened
from tests.graph.stack import ROOT
from tests.integration import reach
from tests.integration.deployed import NAMESPACES
from tests.integration.engine import CONTEXT
from tests.integration.node.installation import READY_SECONDS, Deployed, ending
from tests.integration.outside import Entries, Uploads, lasting, report
from tests.lab.fetch import Missing, skip_if_missing
from tests.lab.kubernetes_node import API_PORT, KUBELET_PORT, SYSTEM, KubernetesNode
from tests.lab.machine import ADDRESS, METADATA_ADDRESS, OUTSIDE, entered
from tests.lab.process import Process, slowness, wait_until
from tests.lab.versitygw import versitygw_binary
from tests.tus.hook import new_key
from tests.unit.authority import NOW, SERVER, issue

pytestmark = pytest.mark.integration

NAMED_SECONDS = 30
UP = ("up", "--context", CONTEXT, "--yes", "--confirm", "dev")
OTHER_DOMAIN = "chat.example.org"
MEDIA_PORT = 30900
TURN_NAMESPACE = "flatline-turn"


def test_an_upgrade_from_the_previous_release_loses_nothing(deployed: Deployed) -> None:
    """Neither an acknowledged write, nor a WebSocket that could be closed in order."""
    upgraded = deployed.upgraded
    if upgraded is None:
        with skip_if_missing():
            raise Missing("needs the previous release in the history of the clone")
        return
    assert upgraded.lost == []
    assert upgraded.written >= 20
    assert upgraded.sockets.dropped == []
    restarts = "Deployment flatline/whisper:" in upgraded.said
    assert (upgraded.sockets.drained >= upgraded.sockets.COUNT) is restarts
    assert upgraded.claims_kept
    (space,) = (each for each in deployed.node.get("namespaces", None) if each["metadata"]["name"] == "flatline")
    assert space["metadata"]["annotations"][VERSION_ANNOTATION] == VERSION


# Something in every table, accounts among them, and groups, through ports that are forwarded.
FILL = """
import random, boto3
from google.cloud.bigtable.data import RowMutationEntry
from cli.port_forward import PortForward
from components.emulators.cbtemulator import INSTANCE
from config.schema import bigtable, dynamodb
from migration.stores import _bigtable
from tests.integration.test_migration import NAMES, an_item, some_rows
chance = random.Random(1)
with PortForward("lab", "flatline-emulators", "localstack", 4566) as tables:
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    client = boto3.client("dynamodb", endpoint_url=f"http://{tables.address}", **keys)
    for table in dynamodb.TABLES.values():
        put = [{"PutRequest": {"Item": an_item(table, number, chance)}} for number in range(1, 40, 2)]  # which live
        assert not client.batch_write_item(RequestItems={table.name: put})["UnprocessedItems"]
with PortForward("lab", "flatline", "cbtemulator", 9000) as rows, _bigtable(NAMES, rows.address) as (data, _):
    for table in bigtable.TABLES.values():
        made = [RowMutationEntry(key, cells) for key, cells in some_rows(table.family, 20, chance)]
        data.get_table(INSTANCE, table.name).bulk_mutate_rows(made)
"""
WITHOUT_REDIS = b'{"dynamodb": true, "redis": false, "s3": true}'


def test_a_backup_comes_back_into_an_empty_cluster(deployed: Deployed, tmp_path: Path) -> None:
    """Everything of the stack is destroyed: its namespaces with their volumes, its file, its state."""
    node, engine = deployed.node, deployed.engine
    outside = deployed.outside()
    entries = lasting(outside, "saved")
    fill = [*node.prefix, sys.executable, "-c", FILL]
    subprocess.run(fill, cwd=ROOT, env=engine.environment, check=True)
    attachments = {new_key(): os.urandom(700_000) for _ in range(3)}
    uploads = Uploads(outside, deployed.upload_secret())
    for key, content in attachments.items():
        uploads._upload(key, content)
    assert (uploads.whole, uploads.refused) == (3, [])
    engine.flatline("invite", "+61491570156", "--context", CONTEXT)
    pins, claims = engine.flatline("pins", "--json"), deployed.identities()

    began = time.monotonic()
    words = ("--to", str(tmp_path), "--attachments", "--context", CONTEXT)
    said = engine.flatline("backup", "--pause", *words)
    report(f"backup with a pause: {time.monotonic() - began:.0f} s")
    deployed.wait_served(outside)
    (archive,) = tmp_path.iterdir()
    files = [engine.checkout / "Pulumi.dev.yaml", engine.checkout / "state" / "dev.json"]
    texts = [each.read_text() for each in files]

    began = time.monotonic()
    node.delete_namespaces(*NAMESPACES)
    for each in files:
        each.unlink()
    destroyed = time.monotonic()
    engine.flatline("restore", "--from", str(archive), "--context", CONTEXT)
    assert [each.read_text() for each in files] == texts
    engine.typed(engine.flatline("up", "--engine", "none"))
    deployed.wait_served(outside)
    up = time.monotonic()
    assert restarts(deployed) == {}, "all of it waits for what it needs, where nothing is there yet"
    assert not claims.items() & deployed.identities().items()
    restored = engine.flatline("restore", "--from", str(archive), "--context", CONTEXT, "--pause")
    deployed.wait_served(outside)
    ended = time.monotonic()
    report(
        f"destroyed in {destroyed - began:.0f} s, empty stack up after {up - destroyed:.0f} s more, "
        f"data restored and everything served after {ended - up:.0f} s more"
    )
    assert "checksums are those of the archive" in restored
    assert engine.flatline("pins", "--json") == pins
    found = [outside.request("whisper", "GET", f"/v1/lab/entry/{key}")[1] for key in entries.acknowledged]
    assert set(found) == {WITHOUT_REDIS}
    again = {key: uploads._ask("GET", f"/{key}")[1] for key in attachments}
    assert again == attachments
    assert "+61491570156" in engine.flatline("invitations", "--context", CONTEXT)
    assert checksums(engine.flatline("backup", *words)) == checksums(said)


def restarts(deployed: Deployed) -> dict[str, int]:
    """Of each container that was started more than once."""
    states = [each for pod in deployed.pods() for each in pod["status"]["containerStatuses"]]
    return {each["name"]: each["restartCount"] for each in states if each["restartCount"]}


def checksums(said: str) -> dict[str, str]:
    """Number and checksum of each collection that a backup shows; the registration service writes its file again."""
    lines = re.findall(r"^(\S.*?) +(\d+) +([0-9a-f]{16}) *$", said, re.M)
    assert len(lines) > 30
    return {name: f"{count} {checksum}" for name, count, checksum in lines if name != "volume registration"}


def test_the_engine_takes_over_what_files_have_made(deployed: Deployed) -> None:
    outside = deployed.outside()
    entries, claims = lasting(outside, "files"), deployed.identities()
    pods = deployed.serving()
    began = time.monotonic()
    deployed.engine.flatline(*UP)
    report(f"the engine has taken over after {time.monotonic() - began:.0f} s")
    assert deployed.identities() == claims
    assert deployed.serving() == pods
    deployed.wait_served(outside)
    assert entries.lost() == []
    deployed.engine.run("preview", "--stack", "dev", "--expect-no-changes")


def test_the_cluster_backs_itself_up_and_that_can_be_restored(deployed: Deployed, tmp_path: Path) -> None:
    """By the documented commands, to an S3 server outside of the node, whose buckets are folders."""
    node, engine, place = deployed.node, deployed.engine, f"{OUTSIDE}:7070"
    bucket, pair, claims = tmp_path / "buckets" / "archives", tmp_path / "pair", deployed.identities()
    bucket.mkdir(parents=True)
    pair.write_text("[default]\naws_access_key_id = lab\naws_secret_access_key = lab-secret-key\n")
    keys = {"ROOT_ACCESS_KEY": "lab", "ROOT_SECRET_KEY": "lab-secret-key"}
    command = [*node.prefix, versitygw_binary(), "--port", place, "posix", bucket.parent]
    server = Process("archives", command, tmp_path, environment=keys)
    try:
        said = ("--to", "s3://archives/all", "--schedule", "15 3 * * *", "--attachments", "--endpoint")
        engine.flatline("backup", *said, f"http://{place}", "--network", f"{OUTSIDE}/32", "--credentials", str(pair))
        engine.flatline(*UP)
        began = time.monotonic()
        node.kubectl("-n", "flatline", "create", "job", "--from", "cronjob/backup", "backup-now")
        node.kubectl("-n", "flatline", "wait", "--for=condition=complete", "job/backup-now", "--timeout=240s")
        report(f"the cluster has backed itself up after {time.monotonic() - began:.0f} s")
    finally:
        server.stop()
    began = time.monotonic()
    drilled = engine.flatline("backup", "--to", str(bucket / "all"), "--drill", "--context", CONTEXT)
    report(f"drill: {time.monotonic() - began:.0f} s")
    assert "The archive can be restored" in drilled
    assert "no secrets of the stack" not in drilled
    assert not [each for each in node.get("namespaces") if "drill" in each["metadata"]["name"]]
    assert deployed.identities() == claims


def test_pods_that_cannot_run_are_named_while_up_waits(deployed: Deployed) -> None:
    node, engine = deployed.node, deployed.engine
    node.kubectl("cordon", "node")
    engine.configure(
        {
            "registration": {"kind": "development"},  # the other service with one image of its own
            "images": {
                "overrides": {
                    "storage": "registry.invalid/storage:1",
                    "registration": "docker.io/rancher/mirrored-library-busybox:1.36.1",
                }
            },
        }
    )
    with engine.started(*UP) as process:
        output = Output(process)
        try:
            wait_until(lambda: len(pending(node)) >= 2, 120, "pods that wait for a node")
            named = output.wait_for("pod flatline/storage-", "cannot be scheduled: 0/1 nodes are available")
            node.kubectl("uncordon", "node")
            named += output.wait_for("pod flatline/storage-", "image registry.invalid/storage:1 cannot be pulled")
            named += output.wait_for("pod flatline/registration-", "container registration ")
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)
            node.kubectl("uncordon", "node")
            engine.configure({"images": None, "registration": None})  # the next test goes on from here
    report(f"pods that cannot run were named, together after {named:.0f} s")


def pending(node: KubernetesNode) -> list[dict[str, Any]]:
    return [each for each in node.get("pods", "flatline") if each["status"]["phase"] == "Pending"]


class Output:
    """What a process prints, as it comes."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process, self._text = process, ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._text += line

    def wait_for(self, *words: str) -> float:
        """The seconds until one line has all words."""
        began = time.monotonic()
        unwrapped = " ".join(words)
        try:
            wait_until(lambda: self._has(words), NAMED_SECONDS * slowness(), unwrapped)
        except TimeoutError as late:
            raise TimeoutError(f"{late}\n{self._text[-4000:]}") from None
        return time.monotonic() - began

    def _has(self, words: tuple[str, ...]) -> bool:
        text = " ".join(self._text.split())
        return any(all(word in part for word in words) for part in text.split("warning: "))


OPTIONS: dict[str, Any] = {
    "exposeAdmin": True,
    "logRequests": True,
    "scaling": {"storage": {"replicas": 2, "maxReplicas": 3}, "cdn0": {"replicas": 2}},
    "redis": {"masters": 4, "memory": "640Mi"},
    "cdn": {"maxAttachmentSize": "64Mi", "retentionDays": 60, "minFreeSpace": "512Mi"},
    "telemetry": {
        "exporters": {"prometheus": {"endpoint": ":8889"}, "debug": {}},
        "scrapers": [{"namespace": "monitoring", "podLabels": {"app": "prometheus"}}],
    },
    "egress": {"otel-collector": [{"cidr": "203.0.113.7/32", "ports": [4317]}]},
    "ingress": {"rateLimit": {"average": 200, "burst": 600}, "inFlight": {"requests": 32, "webSockets": 500}},
    "clusterDns": {"networks": ["169.254.20.10/32"]},
    "whisper": {
        "dynamicConfig": {"limits": {"prekeys": {"bucketSize": 10, "permitRegenerationDuration": "PT5M"}}},
        "remoteConfig": {"global.calling": "true"},
        "drainSeconds": 5,
    },
    "secrets": {name: {"epoch": 2} for name in BY_NAME},
    "calls": {
        "turn": {"address": ADDRESS, "allowedNetworks": ["10.99.0.0/24"], "deniedNetworks": ["8.8.0.0/16"]},
        "groups": {"addresses": [ADDRESS], "allowPrivateAddresses": True},
    },
}


def test_every_option_can_be_turned_on_where_the_stack_runs(deployed: Deployed) -> None:
    """Another domain, a certificate of the operator's, every secret rotated, and one Redis master more.

    All of it in one step from an `up` that was interrupted, with pods that could not run.
    """
    engine = deployed.engine
    entries, claims = lasting(deployed.outside(), "before"), deployed.identities()
    authority = issue("own authority")
    hosts = tuple(
        f"{name}.{OTHER_DOMAIN}"
        for name in ("whisper", "storage", "cdn0", "cdn3", "sfu", "turn", "whisper-admin", "storage-admin")
    )
    leaf = authority.signs(hosts[0], authority=False, names=hosts, usages=SERVER, ends=NOW + timedelta(days=90))
    engine.configure({**OPTIONS, "domain": OTHER_DOMAIN, "backup": None})
    provided = "flatline:certificates.provided"
    engine.set(f"{provided}.certificate", leaf.pem)
    engine.set(f"{provided}.authority", authority.pem)
    engine.set(f"{provided}.privateKey", leaf.private_pem, secret=True)
    began = time.monotonic()
    engine.flatline(*UP)
    outside = deployed.outside(OTHER_DOMAIN)
    deployed.wait_served(outside)
    wait_until(lambda: not ending(deployed.node), READY_SECONDS, "what was replaced has ended")
    report(f"every option on, every secret rotated: served {time.monotonic() - began:.0f} s later")
    assert Path(engine.folder / f"{OTHER_DOMAIN}.pem").read_text() == authority.pem
    assert claims.items() <= deployed.identities().items()
    assert Entries.of(outside, entries).lost() == []
    assert outside.request("storage-admin", "GET", "/healthcheck")[0] == 200
    engine.run("preview", "--stack", "dev", "--expect-no-changes")


def test_a_group_call_is_joined_from_outside_and_signalling_is_the_frontends_alone(deployed: Deployed) -> None:
    """By the documented command, over Traefik, the frontend, the table, the backend, and the node's media ports."""
    tried = ("connect", "--call", "--context", CONTEXT, "--address", ADDRESS, "--json")
    deployed.node.wait_ready(READY_SECONDS, TURN_NAMESPACE)
    said = deployed.engine.flatline(*tried)
    hosts = {each["service"]: each for each in json.loads(said[said.index("{") : said.rindex("}") + 1])["hosts"]}
    assert hosts["turn"]["served"], hosts["turn"]
    assert hosts["sfu"]["served"], hosts["sfu"]
    assert hosts["call"]["served"], hosts["call"]
    assert hosts["call"]["addresses"] == [ADDRESS]
    node = deployed.node
    places = {each.name: each for each in reach.pods(node, "flatline", SYSTEM)}
    frontend, backend = places["calling-frontend"], places["calling-backend"]
    signalling, internal, media = (backend.address, 8080), (frontend.address, 8100), (backend.address, MEDIA_PORT)
    for name in ("whisper", "storage", "traefik", "cdn3", "calling-frontend", "calling-backend"):
        asked = [each for each in (signalling, internal, media) if each[0] != places[name].address]
        # Traefik's own pods have no policy here, and media is open to everybody
        allowed = {"calling-frontend": {signalling}, "calling-backend": {internal}, "traefik": {media}}.get(name, set())
        assert reach.connected(places[name], asked) == allowed, name
    for port, taken in ((MEDIA_PORT, True), (8080, False), (8100, False)):
        assert can_connect(node, port) is taken, port


async def carried(secret: str, device: socket.socket, server: socket.socket) -> dict[str, object]:
    """What two devices outside get through the relay, and of which addresses it refuses to send to."""
    given = [credentials(secret, int(time.time()) + 300) for _ in range(2)]
    place = (ADDRESS, 30478)
    async with opened(place, "udp", given[0]) as one, opened(place, "tcp", given[1]) as two:
        for each in (one, two):
            await each.allocate()
        await one.permit(two.relayed)
        await two.permit(one.relayed)
        one.send(two.relayed, b"ring")
        heard = await two.receive()
        refused = []
        for address in (METADATA_ADDRESS, "10.42.0.1", "10.43.0.1", "8.8.8.8"):
            try:
                await one.permit((address, 40000))
            except RefusedError:
                refused.append(address)
        await one.permit((OUTSIDE, 40000))
        for listener in (server, device):
            one.send(listener.getsockname(), b"hello")
        await asyncio.sleep(1)
    return {"ring": heard == (one.relayed, b"ring"), "refused": refused, "seen": {one.seen_as[0], two.seen_as[0]}}


def datagrams(listener: socket.socket) -> int:
    """How many have come."""
    count = 0
    with suppress(BlockingIOError):
        while listener.recv(100):
            count += 1
    return count


def test_devices_outside_reach_each_other_through_turn_and_it_reaches_nothing_else(deployed: Deployed) -> None:
    """By the node's ports. In the allowed network, where the node is too, only the ports of devices are open."""
    node, machine = deployed.node, deployed.node.machine
    texts = [
        base64.b64decode(text).decode()
        for each in node.get("secrets", TURN_NAMESPACE)
        for text in each["data"].values()
    ]
    (secret,) = {found[1] for text in texts if (found := re.search("^static-auth-secret=(.+)$", text, re.MULTILINE))}
    listeners = {}
    for network, address in ((machine.client_network, OUTSIDE), (machine.network, ADDRESS)):
        with entered(network):
            for port in (5353, 8472, 40000):
                listeners[address, port] = one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                one.bind((address, port))
                one.setblocking(False)
    with entered(machine.client_network):
        got = asyncio.run(carried(secret, listeners[OUTSIDE, 40000], listeners[OUTSIDE, 5353]))
    refused = [METADATA_ADDRESS, "10.42.0.1", "10.43.0.1", "8.8.8.8"]
    assert got == {"ring": True, "refused": refused, "seen": {OUTSIDE}}
    assert {place: count for place, one in listeners.items() if (count := datagrams(one))} == {(OUTSIDE, 40000): 1}

    (turn,) = reach.pods(node, TURN_NAMESPACE)
    others = reach.pods(node, *NAMESPACES, SYSTEM)
    asked = [(each.address, port) for each in others for port in reach.listening_ports(each)]
    beyond = [(ADDRESS, API_PORT), (ADDRESS, KUBELET_PORT), (ADDRESS, 443), ("10.43.0.1", 443), (METADATA_ADDRESS, 80)]
    resolvers = {(each.address, 53) for each in others if each.name == "kube-dns"}
    servers = [machine.listen(*beyond[-1])]
    assert reach.connected(turn, [*asked, *beyond]) == resolvers
    for server in servers:
        server.close()
    watched = reach.Datagrams(others)
    watched.send(turn, [*((each.address, port) for each in others for port in (53, 8125, 40000)), *listeners])
    assert {(target, port) for _, target, port in watched.arrived()} == resolvers
    watched.close()
    assert {place for place, one in listeners.items() if datagrams(one)} == {(OUTSIDE, 40000), (ADDRESS, 40000)}
    for one in listeners.values():
        one.close()
    (whisper,) = (
        each["metadata"]["name"] for each in node.get("pods", "flatline") if reach.workload(each) == "whisper"
    )
    assert ADDRESS in node.execute("flatline", whisper, "getent", "hosts", f"turn.{OTHER_DOMAIN}")


def can_connect(node: KubernetesNode, port: int) -> bool:
    """Whether a port of the node takes a connection from outside."""
    try:
        node.machine.connect(ADDRESS, port, 3).close()
    except OSError:
        return False
    return True


def test_redis_gets_smaller_again_and_what_is_down_comes_back_with_its_data(deployed: Deployed) -> None:
    engine, outside = deployed.engine, deployed.outside(OTHER_DOMAIN)
    entries = lasting(outside, "options")
    claims = deployed.identities()
    engine.configure({"redis": {"masters": 3}, "scaling": None})
    began = time.monotonic()
    engine.flatline(*UP)
    deployed.wait_served(outside)
    report(f"one Redis master less: served {time.monotonic() - began:.0f} s later")
    assert entries.lost() == []
    engine.flatline("down", "--context", CONTEXT, "--yes")
    assert deployed.node.get("deployments,statefulsets", "flatline") == []
    assert claims.items() <= deployed.identities().items()
    began = time.monotonic()
    engine.flatline(*UP)
    deployed.wait_served(outside)
    report(f"down and up: served {time.monotonic() - began:.0f} s later")
    assert entries.lost() == []
