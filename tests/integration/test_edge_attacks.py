"""One stranger does not stop everybody: slow clients against the rendered edge, while somebody else is served.

The proxy is the real Traefik with the rendered routes; the gate and the downloads are the rendered containers. Only the
store behind the gate stands in: a slow client never reaches it.
"""

import http.client
import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from render.model import Recording
from tests.graph.stack import Stack, flags
from tests.integration.deployed import deploy, reached_at, rendered
from tests.integration.rendered_pod import Pods, RenderedPod
from tests.integration.test_stack_cdn0 import signers
from tests.integration.test_stack_cdn3 import put
from tests.lab.fetch import skip_if_missing
from tests.lab.kubernetes import Kubernetes
from tests.lab.node import NODE
from tests.lab.process import Process, wait_until
from tests.lab.served import Handler, serving
from tests.lab.traefik import Traefik
from tests.programs.cdn0_forms import Site, form, multipart, post
from tests.programs.cdn0_vectors import PROFILE

pytestmark = pytest.mark.integration

ATTACKER, CLIENT = "203.0.113.210", "203.0.113.211"
REQUESTS = 84
"""As many as were tried when the edge was first attacked: then two were served."""
SERVED = 0.95
PATIENCE_SECONDS = 20
AVATAR = os.urandom(20_000)
FORMS = 440
"""More than the gate has connections."""
DOWNLOADS = 513
"""More than all that the downloads take."""


class Store(Handler):
    """A store that has every object, and takes every one."""

    def answer(self) -> None:
        self.taken()
        self.reply(200, AVATAR if self.command == "GET" else b"", ETag='"x"')


@dataclass
class Edge:
    """The proxy in front of the stack, and the stack's own files."""

    address: str
    recording: Recording
    pods: Pods
    folder: Path
    kubernetes: Kubernetes

    @property
    def authority(self) -> str:
        return str(self.recording.outputs["caCertificates"])

    def ask(self, host: str, method: str, path: str, body: bytes = b"", **headers: str) -> int:
        """The status for somebody else than the attacker, on a connection of its own; 0 for a broken one."""
        connection = http.client.HTTPSConnection(host, timeout=PATIENCE_SECONDS)
        plain = socket.create_connection((self.address, 443), PATIENCE_SECONDS, source_address=(CLIENT, 0))
        try:
            context = ssl.create_default_context(cadata=self.authority)
            connection.sock = context.wrap_socket(plain, server_hostname=host)
            connection.request(
                method, path, body or None, {name.replace("_", "-"): text for name, text in headers.items()}
            )
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    @contextmanager
    def attacked(self, host: str, **attack: Any) -> Iterator[Process]:
        """While the block runs, one client holds requests open; it has begun all of them when the block begins."""
        options = {"address": self.address, "host": host, "source": ATTACKER, "authority": self.authority, **attack}
        command = [NODE, str(Path(__file__).with_name("slow_client.mjs")), json.dumps(options)]
        with Process("slow-client", command, self.folder) as process:
            process.wait_ready(lambda: '"all"' in process.text())
            yield process

    def pod(self, name: str) -> RenderedPod:
        (address,) = reached_at(self.kubernetes, name)
        return self.pods.pod(name, address=address)


@pytest.fixture(scope="module")
def edge(
    empty_kubernetes: Kubernetes,
    traefik: Traefik,
    ingress_address: str,
    worker_number: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Edge]:
    folder, recording = rendered(tmp_path_factory.mktemp("dev") / "dev")
    deploy(empty_kubernetes, folder)
    with skip_if_missing():
        running = Pods(tmp_path_factory.mktemp("pods") / "pods", Stack(recording), worker_number)
    with running as pods:
        yield Edge(ingress_address, recording, pods, tmp_path_factory.mktemp("attacks"), empty_kubernetes)


def served(ask: Callable[[int], bool]) -> float:
    """The share of requests that are answered; ends early once too few can be."""
    refused = 0
    for number in range(REQUESTS):
        refused += not ask(number)
        if refused > REQUESTS * (1 - SERVED):
            return (number + 1 - refused) / (number + 1)
    return 1 - refused / REQUESTS


def assert_served(edge: Edge, host: str, ask: Callable[[int], bool], attack: dict[str, Any], begun: int) -> None:
    """Requests are answered while an attacker has begun so many, and the attacker is told that it has too many."""
    wait_until(lambda: all(ask(number) for number in range(4)), 30, "every request is served")
    with edge.attacked(host, **attack) as attacker:
        share = served(ask)
        attacker.terminate()
        attacker.wait(10)
        met = json.loads(attacker.text().splitlines()[-1])
    assert met["begun"] >= begun
    assert share >= SERVED, met
    assert met["answers"].get("429"), met


@contextmanager
def store(pods: Pods, url: str) -> Iterator[None]:
    """The stand-in under the name that the gate calls."""
    parts = urlsplit(url)
    assert parts.hostname
    address = pods.new_address()
    pods.names.add(address, [parts.hostname])
    with serving(Store, parts.port or 80, address):
        yield


def test_unfinished_forms_of_one_client_do_not_stop_avatars(edge: Edge, traefik: Traefik) -> None:
    """Two TLS connections and 65 KiB a second were enough."""
    stack = edge.pods.stack
    given = flags(stack.pod("cdn0-gate").spec["containers"][0])
    host = "cdn0.flatline.internal"
    site = Site(given["s3-bucket"], given["s3-region"], *signers(stack), prefix="", host=host)
    begun = f'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\n{PROFILE}'
    attack = {
        "sessions": 2,
        "streams": FORMS // 2,
        "window": 65_535,
        "headers": {
            ":method": "POST",
            ":path": "/",
            "content-type": "multipart/form-data; boundary=x",
            "content-length": "1000000",
        },
        "head": begun,
        "drip": "x" * 15,
        "every": 100,
    }

    def ask(number: int) -> bool:
        if number % 4:
            return edge.ask(host, "GET", f"/{PROFILE}") == 200
        request = post(site, multipart(form(site, PROFILE, len(AVATAR)).signed(), AVATAR))
        headers = {name.replace("-", "_"): text for name, text in request.headers}
        return edge.ask(host, "POST", "/", request.body, **headers) == 204

    with store(edge.pods, given["s3-endpoint"]):
        gate = edge.pod("cdn0-gate").start("gate")
        gate.wait_ready()
        traefik.wait_hosts(host)
        traefik.wait_backends(f"{gate.address}:8080")
        assert_served(edge, host, ask, attack, FORMS)
        gate.kill()


def test_stalled_downloads_of_one_client_do_not_stop_downloads(edge: Edge, traefik: Traefik) -> None:
    """512 of one key were enough."""
    host = "cdn3.flatline.internal"
    pod = edge.pod("cdn3")
    uploads = pod.disk("attachments")
    user = pod.template.spec["securityContext"]["runAsUser"]
    wanted = put(uploads, AVATAR, group=user)
    large = put(uploads, bytes(16_000_000), group=user)
    attack = {
        "sessions": 3,
        "streams": DOWNLOADS // 3,
        "window": 0,
        "headers": {":method": "GET", ":path": f"/attachments/{large}"},
        "head": "",
    }

    def ask(_: int) -> bool:
        return edge.ask(host, "GET", f"/attachments/{wanted}") == 200

    pod.start("download").wait_ready()
    traefik.wait_hosts(host)
    traefik.wait_backends(f"{pod.address}:8084")
    assert_served(edge, host, ask, attack, DOWNLOADS)
    pod.kill()
