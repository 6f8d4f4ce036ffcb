"""CDN3 as it is rendered: tusd, its hook, its expiry and its downloads, over one volume and with one key.

The keys and forms are Whisper's. What tusd alone does, and what it sends to the hook, is in test_cdn3_tus.py.
"""

import base64
import http.client
import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.graph.stack import load
from tests.integration.rendered_pod import Pods, RenderedPod
from tests.lab.fetch import skip_if_missing
from tests.lab.process import listening, wait_until
from tests.lab.tus import upload
from tests.tus.hook import Answer, call_for, credentials, metadata, new_key

pytestmark = pytest.mark.integration

SECRETS = "/usr/share/signal/secrets-bundle.yml"
CONTAINERS = ("tusd", "hook", "expiry", "download")
DAY = 86_400
ASK = """
const [url, body] = process.argv.slice(1);
const answer = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
console.log(JSON.stringify([answer.status, await answer.text()]));
"""


@dataclass
class Cdn3:
    """The pod, its volume, and the key that Whisper signs with."""

    pod: RenderedPod
    uploads: Path
    secret: bytes
    old: str

    def ask(self, call: dict[str, Any]) -> Answer:
        """The hook's answer, at the address that tusd is given, from inside the pod."""
        (tusd,) = (each for each in self.pod.template.containers() if each["name"] == "tusd")
        (url,) = (word.partition("=")[2] for word in tusd["args"] if word.startswith("--hooks-http="))
        command = ["node", "--input-type=module", "-e", ASK, url, json.dumps(call)]
        done = self.pod.containers["hook"].execute(command)
        assert done.returncode == 0, done.stderr
        status, body = json.loads(done.stdout)
        return Answer(status, body.encode())

    def good(self, key: str) -> dict[str, Any]:
        """A call of tusd for a client that Whisper sent, with credentials of now."""
        call = call_for(key)
        call["Event"]["HTTPRequest"]["Header"]["Authorization"] = [credentials(key, secret=self.secret)]
        return call

    def tus(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> http.client.HTTPResponse:
        """tusd's answer, as it reaches the client."""
        connection = http.client.HTTPConnection(self.pod.address, 8080, timeout=60)
        connection.request(method, f"/attachments{path}", body, headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer

    def get(self, key: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(f"http://{self.pod.address}:8084/attachments/{key}", timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read()


def put(folder: Path, content: bytes, *, age: float = 0, group: int) -> str:
    """A complete upload, as tusd's file store leaves it; its key."""
    key = new_key()
    info = {"ID": key, "Size": len(content), "SizeIsDeferred": False, "Offset": 0, "MetaData": {"filename": key}}
    for name, text in ((key, content), (f"{key}.info", json.dumps(info).encode())):
        path = folder / name
        path.write_bytes(text)
        os.chown(path, group, group)
        path.chmod(0o664)
        os.utime(path, (time.time() - age,) * 2)
    return key


@pytest.fixture(scope="module")
def cdn3(tmp_path_factory: pytest.TempPathFactory, worker_number: int) -> Iterator[Cdn3]:
    stack = load("dev")
    with skip_if_missing():
        made = Pods(tmp_path_factory.mktemp("cdn3") / "pods", stack, worker_number)
    with made as pods:
        pod = pods.pod("cdn3")
        secret = yaml.safe_load(stack.file("whisper", SECRETS))["tus.userAuthenticationTokenSharedSecret"]
        uploads = pod.disk("attachments")
        user = pod.template.spec["securityContext"]["runAsUser"]
        old = put(uploads, b"forgotten", age=46 * DAY, group=user)
        running = Cdn3(pod.start(*CONTAINERS), uploads, base64.b64decode(secret, validate=True), old)
        pod.wait_ready(*CONTAINERS, seconds=20)
        yield running


def test_all_are_healthy_and_the_hook_is_the_pods_own(cdn3: Cdn3) -> None:
    for container in CONTAINERS:
        assert cdn3.pod.ready(container)
        assert cdn3.pod.ready(container, "livenessProbe")
    assert not listening(cdn3.pod.address, 8081)


def test_an_upload_that_whisper_signed_is_accepted_and_a_forged_one_is_not(cdn3: Cdn3) -> None:
    key = new_key()
    answer = cdn3.ask(cdn3.good(key))
    assert answer.accepted == key
    forged = cdn3.good(key)
    forged["Event"]["HTTPRequest"]["Header"]["Authorization"] = [credentials(key, secret=bytes(32))]
    assert cdn3.ask(forged).for_client == 401
    large = cdn3.good(key)
    large["Event"]["Upload"]["Size"] = 134217729
    assert cdn3.ask(large).for_client == 413
    assert base64.b64encode(cdn3.secret).decode() not in cdn3.pod.text("hook")


def test_what_a_client_uploads_is_what_others_download(cdn3: Cdn3, tmp_path: Path) -> None:
    key, content = new_key(), tmp_path / "content"
    content.write_bytes(os.urandom(3_000_000))
    report = upload(
        endpoint=f"http://{cdn3.pod.address}:8080/attachments",
        file=str(content),
        headers={"Authorization": credentials(key, secret=cdn3.secret)},
        metadata={"filename": key},
        retryDelays=[],
    )
    assert [(one["method"], one["status"]) for one in report["requests"]] == [("POST", 201), ("PATCH", 204)]
    assert cdn3.get(key) == (200, content.read_bytes())
    assert key not in cdn3.pod.text("tusd")


def test_tusd_logs_errors_without_the_key(cdn3: Cdn3) -> None:
    key = put(cdn3.uploads, b"", group=cdn3.pod.template.spec["securityContext"]["runAsUser"])
    (cdn3.uploads / f"{key}.info").write_text("no JSON")
    ask = urllib.request.Request(
        f"http://{cdn3.pod.address}:8080/attachments/{key}", method="HEAD", headers={"Tus-Resumable": "1.0.0"}
    )
    with pytest.raises(urllib.error.HTTPError, match="500"):
        urllib.request.urlopen(ask, timeout=60)
    wait_until(lambda: "InternalServerError" in cdn3.pod.text("tusd"), 10, "the error")
    assert "level=ERROR" in cdn3.pod.text("tusd")
    assert "path=<key>" in cdn3.pod.text("tusd")
    assert key not in cdn3.pod.text("tusd")


def test_an_upload_goes_on_at_once_after_tusd_was_killed(cdn3: Cdn3) -> None:
    """tusd is always process 1, so it takes a lock that it left for one of its own, and waits for it in vain."""
    key, content = new_key(), os.urandom(3_000_000)
    tus = {"Tus-Resumable": "1.0.0"}
    creation = {
        "Upload-Length": str(len(content)),
        "Upload-Metadata": metadata(filename=key),
        "Authorization": credentials(key, secret=cdn3.secret),
    }
    assert cdn3.tus("POST", "", {**tus, **creation}).status == 201
    with socket.create_connection((cdn3.pod.address, 8080), 30) as broken:
        head = (
            f"PATCH /attachments/{key} HTTP/1.1\r\nHost: cdn3\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
            f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        broken.sendall(head.encode() + content[:1_000_000])
        wait_until(lambda: (cdn3.uploads / key).stat().st_size > 0, 20, "some of it stored")
        cdn3.pod.containers["tusd"].kill()
    assert (cdn3.uploads / f"{key}.lock").exists()
    cdn3.pod.start("tusd").wait_ready("tusd")
    found = cdn3.tus("HEAD", f"/{key}", tus)
    assert found.status == 200
    offset = int(found.headers["Upload-Offset"])
    assert 0 < offset <= 1_000_000
    more = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    assert cdn3.tus("PATCH", f"/{key}", {**tus, **more}, content[offset:]).status == 204
    assert cdn3.get(key) == (200, content)
    assert not list(cdn3.uploads.glob("*.lock"))


def test_what_is_on_the_volume_comes_out_and_its_key_is_taken(cdn3: Cdn3) -> None:
    content = os.urandom(300_000)
    key = put(cdn3.uploads, content, group=cdn3.pod.template.spec["securityContext"]["runAsUser"])
    assert cdn3.get(key) == (200, content)
    assert cdn3.get(f"{key}.info")[0] == 404
    assert cdn3.get(new_key())[0] == 404
    assert cdn3.ask(cdn3.good(key)).for_client == 409


def test_the_first_sweep_removes_what_is_older_than_45_days(cdn3: Cdn3) -> None:
    wait_until(lambda: '"event":"sweep"' in cdn3.pod.text("expiry"), 10, "a sweep")
    assert not (cdn3.uploads / cdn3.old).exists()
    assert not (cdn3.uploads / f"{cdn3.old}.info").exists()
    assert cdn3.get(cdn3.old)[0] == 404


def test_only_tusd_and_the_expiry_may_write_to_the_volume(cdn3: Cdn3) -> None:
    for container, allowed in (("hook", False), ("download", False), ("expiry", True), ("tusd", True)):
        done = cdn3.pod.containers[container].execute(
            ["sh", "-c", "touch /srv/tusd-data/data/x && rm /srv/tusd-data/data/x"]
        )
        assert (done.returncode == 0) is allowed, done.stderr
