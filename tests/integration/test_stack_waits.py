"""The rendered start of Whisper: its wait ends when the last of the servers that it needs has come, and not before."""

import json
import time
from pathlib import Path

import pytest

from tests.graph.stack import load
from tests.integration.rendered_pod import Pods, RenderedPod
from tests.lab.fetch import skip_if_missing
from tests.lab.process import slowness, wait_until

pytestmark = pytest.mark.integration

SECONDS = 60
CLUSTER = "redis-cluster://redis.flatline.svc:6379"
PUBSUB = "redis://redis-pubsub.flatline.svc:6379"
LOCALSTACK = "tcp://localstack.flatline-emulators.svc:4566"
OBJECT_STORE = "tcp://object-store.flatline.svc:7070"


def told(pod: RenderedPod, event: str) -> set[str]:
    """The targets of an event."""
    lines = [json.loads(line) for line in pod.text("wait").splitlines()]
    return {line["target"] for line in lines if line["event"] == event and "target" in line}


def test_whisper_waits_for_servers_that_come_one_by_one(tmp_path: Path, worker_number: int) -> None:
    with skip_if_missing():
        made = Pods(tmp_path / "pods", load("dev"), worker_number)
    with made as pods:
        whisper = pods.pod("whisper").start("wait")
        wait = whisper.containers["wait"]
        everything = {CLUSTER, PUBSUB, LOCALSTACK, OBJECT_STORE}
        wait_until(lambda: told(whisper, "waiting") == everything, SECONDS, "nothing is there")

        with skip_if_missing():
            localstack = pods.pod("localstack").start()
        with skip_if_missing():
            pods.pod("redis-pubsub").start()
        wait_until(lambda: told(whisper, "ready") == {PUBSUB, LOCALSTACK}, SECONDS, "two are there")
        localstack.kill()

        with skip_if_missing():
            pods.pod("object-store").start()
        for ordinal in range(3):
            pods.pod("redis", name=f"redis-{ordinal}").start()
        time.sleep(3)
        assert told(whisper, "ready") == everything - {CLUSTER}, "nodes that answer are no cluster"
        assert wait.running()

        pods.pod("redis-membership").start()
        assert wait.wait(SECONDS) == 0
        assert told(whisper, "ready") == everything
        password = pods.stack.file("redis", "/etc/flatline/redis-password")
        assert password not in wait.text()


def test_a_waiting_pod_that_is_deleted_ends_at_once(tmp_path: Path, worker_number: int) -> None:
    with skip_if_missing():
        made = Pods(tmp_path / "pods", load("dev"), worker_number)
    with made as pods:
        whisper = pods.pod("whisper").start("wait")
        wait_until(lambda: bool(told(whisper, "waiting")), SECONDS, "the wait has begun")
        began = time.monotonic()
        whisper.stop()
        assert whisper.containers["wait"].wait(0) == 143
        assert time.monotonic() - began < 5 * slowness()
