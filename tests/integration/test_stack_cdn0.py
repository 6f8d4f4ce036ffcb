"""CDN0 as it is rendered: real Traefik, the gate's own container, and the object store's, from end to end.

Every vector that can come through a proxy is sent over https, as a client that trusts the exported certificate; then
the store is asked what it holds.
"""

import hashlib
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from components.versitygw import PORT, ROOT, ROOT_SECRET_FILE
from config.schema.objects import BUCKETS, CDN0_KEYS
from tests.graph.stack import Stack
from tests.integration.deployed import deploy, labels, rendered
from tests.integration.rendered_pod import Pods, RenderedPod
from tests.lab.fetch import skip_if_missing
from tests.lab.kubernetes import Kubernetes
from tests.lab.process import wait_until
from tests.lab.traefik import Traefik
from tests.lab.versitygw import s3_client
from tests.programs.cdn0_forms import Reply, Request, Signer, Site, form, multipart, post, send
from tests.programs.cdn0_vectors import FILE, GROUP, LIMITS, PROFILE, STORED, VECTORS, Vector

pytestmark = pytest.mark.integration

HOST = "cdn0.flatline.internal"
CLIENT = "203.0.113.201"
RATE = '{"rateLimit": {"average": 10000, "burst": 10000}}'
"""More than these tests make: they come from one address."""

PROXIED = [vector for vector in VECTORS if not vector.direct]
CLEANED = {
    f"request: path with {what}" for what in ("a dot", "encoded letters", "two slashes", "a slash too many before")
}
"""Other spellings of a path that may be read: the proxy cleans them before the gate sees them."""


class Store:
    """The S3 server, seen by its operator."""

    def __init__(self, pod: RenderedPod, bucket: str) -> None:
        self.pod, self.bucket = pod, bucket
        (root,) = (file for file in pod.template.files["object-store"] if file.path == ROOT_SECRET_FILE)
        self.client = s3_client(f"http://{pod.address}:{PORT}", ROOT, root.text)

    def buckets(self) -> list[str]:
        return [str(each["Name"]) for each in self.client.list_buckets()["Buckets"]]

    def objects(self) -> dict[str, str]:
        """Keys and MD5 digests of everything in the bucket."""
        listed = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", ())
        return {str(each["Key"]): str(each["ETag"]).strip('"') for each in listed}

    def body(self, key: str) -> bytes:
        found: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return found

    def reset(self) -> None:
        """As the vectors want it."""
        for key in self.objects().keys() - STORED.keys():
            self.client.delete_object(Bucket=self.bucket, Key=key)
        for key, body in STORED.items():
            self.client.put_object(Bucket=self.bucket, Key=key, Body=body)


@dataclass
class Edge:
    """The whole way, from the proxy to the store."""

    address: str
    trusted: ssl.SSLContext
    site: Site
    gate: RenderedPod
    store: Store
    other: socket.socket
    whisper: Mapping[str, Any]

    def send(self, request: Request) -> Reply:
        """Through the proxy, on a connection of its own."""
        plain = socket.create_connection((self.address, 443), 20, source_address=(CLIENT, 0))
        with closing(self.trusted.wrap_socket(plain, server_hostname=HOST)) as connection:
            return send(connection, request)

    def straight(self, request: Request) -> Reply:
        """To the gate's Service, as a pod of the cluster."""
        with socket.create_connection((self.gate.address, 8080), 20) as connection:
            return send(connection, request)


def signers(stack: Stack) -> tuple[Signer, Signer]:
    """The keys that Whisper and Storage sign forms with: those of their own configurations."""
    whisper = yaml.safe_load(stack.file("whisper", "/usr/share/signal/secrets-bundle.yml"))
    storage = yaml.safe_load(stack.file("storage", "/usr/share/signal/dev.yml"))["cdn"]
    return (
        Signer(whisper["cdn.accessKey"], whisper["cdn.accessSecret"]),
        Signer(storage["accessKey"], storage["accessSecret"]),
    )


@pytest.fixture(scope="module")
def edge(
    ingress_address: str,
    empty_kubernetes: Kubernetes,
    traefik: Traefik,
    worker_number: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Edge]:
    folder, recording = rendered(tmp_path_factory.mktemp("dev") / "dev", ingress=RATE)
    stack = Stack(recording)
    deploy(empty_kubernetes, folder)

    def address(namespace: str, name: str) -> str:
        (found,) = empty_kubernetes.pod_ips(namespace, labels(name))
        return found

    with skip_if_missing():
        running = Pods(tmp_path_factory.mktemp("pods") / "pods", stack, worker_number)
    with running as pods, socket.socket() as other:
        other.bind((address("flatline-emulators", "localstack"), 4566))
        other.listen()
        other.setblocking(False)
        store = pods.pod("object-store", address=address("flatline", "object-store"))
        with skip_if_missing():
            store.start()
        store.wait_ready()
        gate = pods.pod("cdn0-gate", address=address("flatline", "cdn0-gate"))
        status, text = gate.run("wait")
        assert status == 0, text
        gate.start("gate")
        gate.wait_ready()
        traefik.wait_hosts(HOST)
        traefik.wait_backends(f"{gate.address}:8080")
        whisper = yaml.safe_load(stack.file("whisper", "/usr/share/signal/dev.yml"))["cdn"]
        site = Site(whisper["bucket"], whisper["region"], *signers(stack), prefix="", host=HOST)
        trusted = ssl.create_default_context(cadata=recording.outputs["caCertificates"])
        edge = Edge(ingress_address, trusted, site, gate, Store(store, site.bucket), other, whisper)
        edge.store.reset()
        yield edge


def digests(objects: Mapping[str, bytes]) -> dict[str, str]:
    return {key: hashlib.md5(body, usedforsecurity=False).hexdigest() for key, body in objects.items()}


def test_the_vectors_that_pass_a_proxy_are_many() -> None:
    assert sum(not vector.accepted for vector in PROXIED) >= 200
    assert sum(vector.accepted for vector in PROXIED) >= 20


@pytest.mark.parametrize("vector", PROXIED, ids=lambda vector: vector.name)
def test_vector(edge: Edge, vector: Vector) -> None:
    if vector.name in CLEANED:
        vector = replace(vector, answers=(200,), reach="read")
    request = vector.build(edge.site)
    reply = edge.send(request)
    if vector.accepted:
        assert reply.status in vector.answers, reply
    else:
        assert reply.status in vector.answers or 300 <= reply.status < 500, reply

    if vector.reach == "read" and reply.status in vector.answers and reply.status == 200:
        assert reply.body in (*STORED.values(), b"")
    held = edge.store.objects()
    if vector.reach == "stores":
        (key,) = {key for key, digest in held.items() if digests(STORED).get(key) != digest}
        assert any(re.fullmatch(rule.pattern, key) for rule in CDN0_KEYS)
        assert len(held.keys() - STORED.keys()) <= 1
        assert edge.store.body(key) in request.body
        edge.store.reset()
    else:
        assert held == digests(STORED)


def test_no_bucket_was_made_and_no_other_server_was_called(edge: Edge) -> None:
    edge.send(post(edge.site, b"", ("X-Amz-Target", "DynamoDB_20120810.ListTables")))
    assert set(edge.store.buckets()) == {BUCKETS["pre-keys"], edge.site.bucket}
    with pytest.raises(BlockingIOError):
        edge.other.accept()  # the LocalStack that has DynamoDB


def test_the_largest_avatar_goes_in_and_comes_out(edge: Edge) -> None:
    body = hashlib.shake_256(b"avatar").digest(LIMITS["groups"])
    request = post(edge.site, multipart(form(edge.site, GROUP, len(body), decimals=9).signed(), body))
    assert edge.send(request).status == 204
    assert edge.send(Request("GET", f"/{GROUP}", host=HOST)).body == body
    edge.store.reset()


def deletion(edge: Edge, key: str, signer: Signer) -> Request:
    """As an AWS SDK makes it for the endpoint in Whisper's configuration."""
    endpoint = edge.whisper["endpointOverride"]
    asked = AWSRequest("DELETE", f"{endpoint}/{edge.site.bucket}/{key.replace('=', '%3D')}")
    S3SigV4Auth(Credentials(signer.access_key_id, signer.secret_access_key), "s3", edge.site.region).add_auth(asked)
    prepared = asked.prepare()
    host = urlsplit(endpoint).netloc
    return Request("DELETE", prepared.url.partition(host)[2], tuple(prepared.headers.items()), host=host)


def test_whisper_deletes_inside_the_cluster_and_nobody_from_outside(edge: Edge) -> None:
    made = deletion(edge, PROFILE, edge.site.whisper)
    for outside in (
        made,
        replace(made, host=HOST),
        replace(made, host=HOST, target=made.target.removeprefix(f"/{edge.site.bucket}")),
        replace(made, host=HOST, method="POST", headers=(*made.headers, ("X-HTTP-Method-Override", "DELETE"))),
    ):
        assert 400 <= edge.send(outside).status < 500
    assert edge.straight(deletion(edge, PROFILE, edge.site.storage)).status == 403
    assert edge.straight(deletion(edge, GROUP, edge.site.whisper)).status == 403
    assert edge.straight(replace(made, headers=())).status == 403
    assert edge.store.objects() == digests(STORED)

    assert urlsplit(edge.whisper["endpointOverride"]).hostname in hosts_of(edge.gate)
    assert edge.straight(made).status == 204
    assert edge.store.objects() == {}
    edge.store.reset()


def hosts_of(pod: RenderedPod) -> list[str]:
    """The names under which a pod is reached."""
    lines = pod.containers["gate"].execute(["cat", "/etc/hosts"]).stdout.splitlines()
    return next(line.split()[1:] for line in lines if line.startswith(f"{pod.address} "))


def test_the_gate_ends_in_order_when_its_pod_is_deleted(edge: Edge) -> None:
    body = multipart(form(edge.site, PROFILE, 10_000).signed(), FILE)
    assert edge.send(post(edge.site, body)).status == 204
    edge.gate.stop()
    assert edge.gate.containers["gate"].wait(0) == 0
    wait_until(lambda: edge.send(Request("GET", f"/{PROFILE}", host=HOST)).status >= 500, 10, "no gate, no answer")
    assert edge.store.body(PROFILE) == FILE
    edge.gate.start("gate").wait_ready()
    assert edge.send(Request("GET", f"/{PROFILE}", host=HOST)).body == FILE
    edge.store.reset()
