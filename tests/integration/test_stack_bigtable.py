"""The emulator of Bigtable and its seed as they are rendered: the job waits for a late emulator and can run again."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.emulators import seeds
from config.schema.bigtable import TABLES
from tests.graph.stack import Stack, load
from tests.integration.rendered_pod import Pods, RenderedPod
from tests.lab.bigtable import BigtableEmulator
from tests.lab.fetch import skip_if_missing
from tests.lab.process import wait_until

pytestmark = pytest.mark.integration

SECONDS = 30
WANTED = seeds.bigtable(TABLES)


def events(pod: RenderedPod) -> list[dict[str, Any]]:
    return [json.loads(line) for line in pod.text("seed").splitlines()]


def place(stack: Stack) -> tuple[str, str]:
    """Project and instance where Storage looks for its tables."""
    bigtable = yaml.safe_load(stack.file("storage", "/usr/share/signal/dev.yml"))["bigtable"]
    return bigtable["projectId"], bigtable["instanceId"]


def look(folder: Path, address: str, stack: Stack, *actions: list[str]) -> list[Any]:
    """What Google's client sees at the pod."""
    with skip_if_missing():
        client = BigtableEmulator(folder)
    client.address = f"{address}:9000"
    return client.ask(*place(stack), *actions)


def test_the_job_seeds_a_late_emulator_and_again_changes_nothing(tmp_path: Path, worker_number: int) -> None:
    stack = load("dev")
    with skip_if_missing():
        made = Pods(tmp_path / "pods", stack, worker_number)
    with made as pods:
        emulator, first = pods.pod("cbtemulator"), pods.pod("cbtemulator-seed")
        storage = pods.pod("storage")
        with skip_if_missing():
            first.start()
        storage.start("wait")
        wait_until(lambda: "waiting" in first.text("seed"), SECONDS, "the seed looks for its emulator")
        time.sleep(1)
        assert first.containers["seed"].running()
        assert storage.containers["wait"].running()

        with skip_if_missing():
            emulator.start()
        emulator.wait_ready()
        assert first.containers["seed"].wait(SECONDS) == 0
        assert events(first)[-1]["created"] == len(WANTED)
        assert storage.containers["wait"].wait(SECONDS) == 0
        (tables,) = look(tmp_path / "client", emulator.address, stack, ["tables"])
        assert tables == WANTED
        configured = yaml.safe_load(stack.file("storage", "/usr/share/signal/dev.yml"))["bigtable"]
        assert {configured[key] for key in configured if key.endswith("TableId")} == set(WANTED)

        table, families = next(iter(WANTED.items()))
        look(tmp_path / "client", emulator.address, stack, ["write", table, families[0], "row", "kept"])
        again = first.successor()
        status, text = again.run("seed", SECONDS)
        assert status == 0, text
        assert [event["created"] for event in events(again) if event["event"] == "done"] == [0]
        kept = look(tmp_path / "client", emulator.address, stack, ["tables"], ["read", table, families[0], "row"])
        assert kept == [WANTED, "kept"]
        emulator.stop()
