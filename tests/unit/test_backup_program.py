"""The program of the CronJob writes lines, checksums and retention as the commands do."""

import json
import random
import signal
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.retention import PERIODS, Rule, superfluous
from migration import items, sealing
from migration.records import Tally
from migration.records import canonical as normal_form
from tests.lab.node import NODE
from tests.lab.process import free_ports
from tests.lab.served import Handler, serving
from tests.programs.modules import Modules
from tests.unit.migration.records import PLAIN, plain_items

PROGRAMS = Path(__file__).parents[2] / "programs" / "backup"

DRIVER = """
const { canonical, itemLine, Tally } = await load('backup/records');
const { superfluous } = await load('backup/retention');
const calls = {
  canonical: ({ value }) => canonical(value),
  superfluous: ({ names, rule }) => superfluous('dev', names, rule),
  item: ({ item }) => {
    const line = itemLine(item);
    const tally = new Tally();
    for (let each = 0; each < 3; each += 1) tally.add(line);
    return { ...line, count: tally.count, checksum: tally.checksum, again: canonical(JSON.parse(line.text)) };
  },
};
"""


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(some=st.lists(plain_items, min_size=10, max_size=40))
def test_an_item_has_the_line_and_the_digest_of_the_command(modules: Modules, some: list[dict[str, Any]]) -> None:
    for record in (items.record(PLAIN, item) for item in some):
        line = modules.call("item", item=json.loads(record.text)["Item"])
        tally = Tally()
        for _ in range(3):
            tally.add(record)
        assert line == {
            "text": record.text,
            "digest": record.digest.hex(),
            "count": 3,
            "checksum": tally.checksum,
            "again": record.text,
        }


def test_names_beyond_the_basic_plane_are_sorted_by_code_point(modules: Modules) -> None:
    document = {"\U0001f600": 1, "�": {"\U0010ffff": None, "": [True, '\x1f\u2028"\\']}, "ü": -5}
    assert modules.call("canonical", value=document) == normal_form(document)


def test_a_rule_keeps_what_the_command_keeps(modules: Modules) -> None:
    chance = random.Random(1)
    kept = 0
    for _ in range(60):
        begin = datetime(chance.choice((2020, 2024, 2026)), chance.choice((1, 12)), chance.randint(1, 31))
        times = {begin - timedelta(hours=chance.randint(0, 24 * 400)) for _ in range(chance.randint(0, 60))}
        names = [f"dev-{time:%Y%m%dT%H%M%SZ}" for time in times]
        names += ["dev-2-20240101T000000Z", "other", "dev-20241301T000000Z", "dev-20240230T000000Z"]
        rule = {period: chance.randint(1, 9) for period in PERIODS if chance.random() < 0.7}
        wanted = superfluous("dev", names, Rule(**rule))
        assert modules.call("superfluous", names=names, rule=rule) == wanted
        kept += len(wanted)
    assert kept > 100


def test_a_run_that_is_ended_while_its_manifest_is_written_leaves_nothing(tmp_path: Path) -> None:
    objects: dict[str, bytes] = {}
    running: list[subprocess.Popen[str]] = []

    class Store(Handler):
        """A bucket. A manifest gets there only some time after the run was ended."""

        def answer(self) -> None:
            listing, key, body = b"", self.path.removeprefix("/archives/"), self.taken()
            if self.command == "GET":
                keys = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in sorted(objects))
                listing = f"<ListBucketResult>{keys}</ListBucketResult>".encode()
            elif self.command == "DELETE":
                del objects[key]
            else:
                if key.endswith("/manifest.json.sealed"):
                    running[0].send_signal(signal.SIGTERM)
                    time.sleep(1)
                objects[key] = body
            self.reply(200, listing)

    (tmp_path / "place").write_text("[default]\naws_access_key_id = some\naws_secret_access_key = planted\n")
    (tmp_path / "documents").mkdir()
    (port,) = free_ports(1)
    where = {"endpoint": f"http://127.0.0.1:{port}", "region": "r", "credentials": str(tmp_path / "place")}
    plan = {
        "stack": "dev",
        "release": "1",
        "recipient": str(sealing.identity("planted").recipient),
        "keep": {},
        "to": {**where, "bucket": "archives", "prefix": "own/"},
        "dynamodb": {**where, "tables": []},
        "bigtable": {"tables": []},
        "objects": [],
        "secrets": [],
        "files": [],
        "documents": str(tmp_path / "documents"),
    }
    (tmp_path / "plan").write_text(json.dumps(plan))
    words = [NODE, PROGRAMS / "archive.mjs", "--plan", tmp_path / "plan"]
    with serving(Store, port), subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        running.append(process)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert objects == {}
    assert json.loads(said.splitlines()[-1])["reason"] == "SIGTERM"
