"""The rendered routes in a real Traefik: where each host leads, what is refused, and what a client can forge."""

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from render.model import Recording
from tests.integration.deployed import backends, deploy, rendered
from tests.lab.kubernetes import Kubernetes
from tests.lab.process import wait_until
from tests.lab.traefik import Traefik

pytestmark = pytest.mark.integration

DOMAIN = "flatline.internal"
CLIENT = "203.0.113.200"
KEY = "A" * 20
PICTURE = "/profiles/" + "A" * 22 + "=="
MULTIPART = "multipart/form-data; boundary=x"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def seen(self) -> dict[str, Any]:
        """What the backend received."""
        loaded: dict[str, Any] = json.loads(self.body)
        return loaded

    def header(self, name: str) -> str | None:
        """A header that the backend received."""
        found = [value for key, value in self.seen["headers"] if key.lower() == name.lower()]
        assert len(found) <= 1
        return found[0] if found else None


OTHER_ADDRESS = "127.0.0.44"


@dataclass(frozen=True)
class Edge:
    """The proxy, as a client sees it that was built from the pins alone."""

    address: str
    pods: dict[str, str]
    recording: Recording

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.recording.outputs["caCertificates"])

    def connect(self, host: str, context: ssl.SSLContext | None = None) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(host, timeout=120)
        plain = socket.create_connection((self.address, 443), 30, source_address=(CLIENT, 0))
        connection.sock = (context or self.trusting()).wrap_socket(plain, server_hostname=host)
        return connection

    def ask(self, method: str, name: str, path: str, body: Any = None, **headers: str) -> Answer:
        connection = self.connect(f"{name}.{DOMAIN}")
        try:
            written = {key.replace("_", "-"): value for key, value in headers.items()}
            connection.request(method, path, body, {"Host": f"{name}.{DOMAIN}"} | written)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def reached(self, answer: Answer) -> tuple[str, int]:
        """The pod and the port that answered."""
        backend = answer.seen["backend"]
        return self.pods[backend], int(backend.rpartition(":")[2])


@pytest.fixture(scope="module")
def edge(
    empty_kubernetes: Kubernetes, traefik: Traefik, ingress_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Edge]:
    folder, recording = rendered(tmp_path_factory.mktemp("dev") / "dev", ingress=RATE)
    deploy(empty_kubernetes, folder)
    with backends(empty_kubernetes) as pods:
        traefik.wait_hosts(*(f"{name}.{DOMAIN}" for name in ("whisper", "storage", "cdn0", "cdn3")))
        traefik.wait_backends(*pods)
        yield Edge(ingress_address, pods, recording)


RATE = '{"rateLimit": {"average": 10000, "burst": 10000}}'
"""More than these tests make: they come from one address."""


ROUTES = [
    ("GET", "whisper", "/v1/config", "whisper", 8080),
    ("PUT", "whisper", "/v1/messages/x?story=false", "whisper", 8080),
    ("GET", "storage", "/v1/groups", "storage", 10080),
    ("POST", "cdn3", "/attachments", "cdn3", 8080),
    ("POST", "cdn3", "/attachments/", "cdn3", 8080),
    ("HEAD", "cdn3", f"/attachments/{KEY}", "cdn3", 8080),
    ("PATCH", "cdn3", f"/attachments/{KEY}", "cdn3", 8080),
    ("GET", "cdn3", f"/attachments/{KEY}", "cdn3", 8084),
    ("GET", "cdn0", PICTURE, "cdn0-gate", 8080),
]


@pytest.mark.parametrize(("method", "name", "path", "pod", "port"), ROUTES)
def test_every_host_leads_to_its_service(edge: Edge, method: str, name: str, path: str, pod: str, port: int) -> None:
    answer = edge.ask(method, name, path)
    assert answer.status == 200
    if method != "HEAD":
        assert edge.reached(answer) == (pod, port)


def test_a_traefik_whose_rules_are_of_version_2_routes_every_host(
    edge: Edge, kubernetes: Kubernetes, tmp_path: Path
) -> None:
    """As one is set up that was upgraded from version 2: each route says of which version its rule is."""
    with Traefik(tmp_path, kubernetes.kubeconfig, OTHER_ADDRESS, "--core.defaultrulesyntax=v2") as traefik:
        traefik.wait_hosts(*(f"{name}.{DOMAIN}" for name in ("whisper", "storage", "cdn0", "cdn3")))
        traefik.wait_backends(*edge.pods)
        assert [router["rule"] for router in traefik.routers() if router["status"] != "enabled"] == []
        other = replace(edge, address=OTHER_ADDRESS)
        assert {other.ask(method, name, path).status for method, name, path, *_ in ROUTES} == {200}


def test_no_request_to_the_one_pod_of_a_service_is_sent_on_a_connection_that_was_kept(edge: Edge) -> None:
    """The pod closes it when it ends, maybe at that moment, and Traefik answers 502 in place of the next pod."""
    peers = [edge.ask("POST", "cdn3", "/attachments").seen["peer"] for _ in range(5)]
    assert len({*peers}) == 5


def test_cdn0_gains_exactly_the_prefix_of_its_bucket(edge: Edge) -> None:
    assert edge.ask("GET", "cdn0", PICTURE).seen["path"] == f"/whisper-service-cdn{PICTURE}"
    upload = edge.ask("POST", "cdn0", "/", b"--x--", Content_Type=MULTIPART)
    assert upload.seen["path"] == "/whisper-service-cdn/"
    assert upload.seen["length"] == 5


REFUSED = [
    ("PUT", "cdn0", PICTURE, {}),
    ("DELETE", "cdn0", PICTURE, {}),
    ("PATCH", "cdn0", PICTURE, {}),
    ("OPTIONS", "cdn0", PICTURE, {}),
    ("GET", "cdn0", "/", {}),
    ("GET", "cdn0", "/whisper-service-pre-key-store/x", {}),
    ("GET", "cdn0", "/profiles/../../whisper-service-dynamic-config/dev.yml", {}),
    ("GET", "cdn0", "/profiles/%2e%2e/%2e%2e/whisper-service-dynamic-config/dev.yml", {}),
    ("GET", "cdn0", "/_localstack/health", {}),
    ("GET", "cdn0", "/health", {}),
    ("POST", "cdn0", "/", {"X-Amz-Target": "DynamoDB_20120810.Scan", "Content-Type": "application/x-amz-json-1.0"}),
    ("POST", "cdn0", "/", {"Content-Type": "application/x-www-form-urlencoded"}),
    ("POST", "cdn0", "/", {}),
    ("POST", "cdn0", PICTURE, {"Content-Type": MULTIPART}),
    ("GET", "cdn0", PICTURE, {"Upgrade": "websocket", "Connection": "Upgrade"}),
    ("GET", "cdn3", "/metrics", {}),
    ("GET", "cdn3", "/", {}),
    ("GET", "cdn3", "/attachments/", {}),
    ("GET", "cdn3", f"/attachments/{KEY}.info", {}),
    ("GET", "cdn3", "/attachmentsx", {}),
    ("POST", "cdn3", "/attachments", {"Upload-Concat": "final;/attachments/a /attachments/b"}),
    ("GET", "whisper-admin", "/tasks/gc", {}),
    ("GET", "storage-admin", "/metrics", {}),
    ("GET", "nobody", "/", {}),
    ("GET", "traefik", "/dashboard/", {}),
]


@pytest.mark.parametrize(("method", "name", "path", "headers"), REFUSED)
def test_what_is_not_public_is_not_found(
    edge: Edge, method: str, name: str, path: str, headers: dict[str, str]
) -> None:
    answer = edge.ask(method, name, path, **headers)
    assert answer.status in {400, 404}


@pytest.mark.parametrize("query", ["?Action=ListUsers", "?acl", "?X-Amz-Signature=x", "?list-type=2", "?uploads"])
def test_a_query_never_reaches_the_bucket(edge: Edge, query: str) -> None:
    answer = edge.ask("GET", "cdn0", PICTURE + query)
    assert answer.status == 302
    assert answer.headers["location"] == f"https://cdn0.{DOMAIN}{PICTURE}"


@pytest.mark.parametrize("name", ["whisper", "storage", "cdn0", "cdn3"])
def test_plain_http_is_redirected(edge: Edge, name: str) -> None:
    connection = http.client.HTTPConnection(edge.address, 80, timeout=60, source_address=(CLIENT, 0))
    connection.request("GET", "/v1/config", headers={"Host": f"{name}.{DOMAIN}"})
    answer = connection.getresponse()
    assert answer.status in {301, 308}
    assert answer.headers["Location"] == f"https://{name}.{DOMAIN}/v1/config"
    connection.close()


def test_old_tls_is_refused(edge: Edge) -> None:
    old = edge.trusting()
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match=r"PROTOCOL_VERSION|protocol version|UNSUPPORTED_PROTOCOL"):
        edge.connect(f"whisper.{DOMAIN}", old)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_current_tls_is_spoken_and_the_pins_verify_it(edge: Edge, version: ssl.TLSVersion) -> None:
    context = edge.trusting()
    context.minimum_version = context.maximum_version = version
    connection = edge.connect(f"whisper.{DOMAIN}", context)
    assert isinstance(connection.sock, ssl.SSLSocket)
    assert connection.sock.cipher()
    connection.close()


def test_another_authority_does_not_verify_it(edge: Edge, tmp_path: Path) -> None:
    _, other = rendered(tmp_path / "other", certificates='{"authority": {"epoch": 2}}')
    context = ssl.create_default_context(cadata=other.outputs["caCertificates"])
    with pytest.raises(ssl.SSLCertVerificationError):
        edge.connect(f"whisper.{DOMAIN}", context)


FORGED = ["X-Forwarded-For", "X-Real-Ip", "Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Proxied-Https"]


@pytest.mark.parametrize("header", FORGED)
def test_a_client_cannot_forge_its_address(edge: Edge, header: str) -> None:
    value = "for=192.0.2.66;proto=http" if header == "Forwarded" else "192.0.2.66"
    answer = edge.ask("GET", "whisper", "/v1/config", **{header: value})
    assert answer.status == 200
    assert "192.0.2.66" not in json.dumps(answer.seen["headers"])
    assert answer.header("X-Forwarded-For") == CLIENT
    assert answer.header("Forwarded") is None


def test_a_forged_address_cannot_be_hidden_as_a_connection_header(edge: Edge) -> None:
    headers = {"X-Forwarded-For": "192.0.2.66", "Connection": "close, X-Forwarded-For"}
    answer = edge.ask("GET", "whisper", "/v1/config", **headers)
    assert answer.header("X-Forwarded-For") == CLIENT


def test_answers_ask_for_https_from_now_on(edge: Edge) -> None:
    assert "max-age=31536000" in edge.ask("GET", "whisper", "/v1/config").headers["strict-transport-security"]


def test_a_websocket_to_whisper_opens(edge: Edge) -> None:
    """The upgrade and its headers arrive; the echoing backend answers it as a plain request."""
    websocket = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    answer = edge.ask("GET", "whisper", "/v1/websocket/", **websocket)
    assert answer.header("Upgrade") == "websocket"
    assert answer.header("Sec-WebSocket-Key") == websocket["Sec-WebSocket-Key"]


def test_a_large_upload_streams(edge: Edge) -> None:
    block, blocks = b"x" * (1 << 20), 100
    answer = edge.ask(
        "PATCH", "cdn3", f"/attachments/{KEY}", (block for _ in range(blocks)), Content_Length=str(len(block) * blocks)
    )
    assert answer.status == 200
    assert answer.seen["length"] == len(block) * blocks


def test_a_flood_from_one_address_is_slowed(edge: Edge, kubernetes: Kubernetes) -> None:
    """With a limit low enough to be met; every route has it."""
    (limit,) = (
        o for o in kubernetes.get("middlewares.traefik.io", "flatline") if o["metadata"]["name"] == "rate-limit"
    )
    tight = {
        "apiVersion": limit["apiVersion"],
        "kind": limit["kind"],
        "metadata": {"name": "rate-limit", "namespace": "flatline"},
        "spec": {"rateLimit": {"average": 1, "burst": 2}},
    }
    loose = {**tight, "spec": limit["spec"]}
    kubernetes.apply([tight], server_side=False)
    try:
        for name, path in (
            ("whisper", "/v1/config"),
            ("storage", "/x"),
            ("cdn3", f"/attachments/{KEY}"),
            ("cdn0", PICTURE),
        ):
            flood = partial(edge.ask, "GET", name, path)
            wait_until(lambda ask=flood: 429 in {ask().status for _ in range(8)}, 20, f"{name} slows a flood")
    finally:
        kubernetes.apply([loose], server_side=False)
