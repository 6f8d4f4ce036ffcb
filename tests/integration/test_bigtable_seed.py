"""Google's Bigtable emulator with programs/seed/bigtable.mjs, seen by Google's own client.

As it is rendered, with a late emulator and again, it is in test_stack_bigtable.py.
"""

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.emulators import seeds
from config.schema.bigtable import TABLES
from tests.lab.bigtable import BigtableEmulator
from tests.lab.fetch import skip_if_missing
from tests.lab.node import NODE

pytestmark = pytest.mark.integration

PROGRAM = Path(__file__).parents[2] / "programs" / "seed" / "bigtable.mjs"
PLACE = ("flatline-dev", "storage")
WANTED = seeds.bigtable(TABLES)


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[BigtableEmulator]:
    """Not started yet."""
    with skip_if_missing():
        made = BigtableEmulator(tmp_path / "emulator")
    with made:
        yield made


def _seed(
    emulator: BigtableEmulator, tables: dict[str, list[str]], deadline: int = 30
) -> tuple[int, list[dict[str, Any]], str]:
    """Exit status, events and errors of the program, started as the job starts it."""
    project, instance = PLACE
    command = [NODE, str(PROGRAM), "--emulator", emulator.address, "--project", project, "--instance", instance]
    done = subprocess.run(
        [
            *command,
            *(f"--table={id}={','.join(families)}" for id, families in tables.items()),
            f"--deadline={deadline}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, [{k: v for k, v in event.items() if k != "time"} for event in events], done.stderr


def test_a_missing_family_is_added_and_nothing_is_deleted(emulator: BigtableEmulator) -> None:
    emulator.start()
    emulator.ask(
        *PLACE, ["create", "groups", "old"], ["create", "other", "x"], ["write", "groups", "old", "row", "kept"]
    )

    status, events, errors = _seed(emulator, {"groups": ["g", "h"]})

    assert (status, errors) == (0, "")
    assert events == [
        {"event": "created", "table": "groups", "family": "g"},
        {"event": "created", "table": "groups", "family": "h"},
        {"event": "surplus", "table": "groups", "families": ["old"]},
        {"event": "done", "tables": 1, "created": 2},
    ]
    left = {"groups": ["g", "h", "old"], "other": ["x"]}
    assert emulator.ask(*PLACE, ["tables"], ["read", "groups", "old", "row"]) == [left, "kept"]


def test_seeds_at_the_same_time_do_not_hinder_each_other(emulator: BigtableEmulator) -> None:
    emulator.start()
    results: list[tuple[int, list[dict[str, Any]], str]] = []

    threads = [threading.Thread(target=lambda: results.append(_seed(emulator, WANTED))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [(status, errors) for status, _, errors in results] == [(0, "")] * 4
    assert sum(events[-1]["created"] for _, events, _ in results) == 4
    assert emulator.ask(*PLACE, ["tables"]) == [WANTED]


def test_an_emulator_that_never_comes_ends_the_job(emulator: BigtableEmulator) -> None:
    status, _, errors = _seed(emulator, WANTED, deadline=1)

    assert status == 1
    assert errors == (f"seed/bigtable.mjs: GetTable contacts at {emulator.address}: ECONNREFUSED; given up after 1 s\n")
