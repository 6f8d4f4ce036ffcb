"""The program of the CronJob writes lines, checksums and retention as the commands do."""

import json
import os
import random
import signal
import subprocess
import time
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.retention import PERIODS, Rule, superfluous
from migration import items, sealing
from migration.records import Tally
from migration.records import canonical as normal_form
from tests.lab.node import NODE
from tests.unit.migration.records import PLAIN, plain_items

PROGRAMS = Path(__file__).parents[2] / "programs" / "backup"

READ = """
import { createInterface } from 'node:readline';
const lines = createInterface({ input: process.stdin });
for await (const line of lines) console.log(JSON.stringify(answer(JSON.parse(line))));
"""


def asked(program: str, questions: list[Any]) -> list[Any]:
    """Answers of a module, by a function of one argument in its words."""
    done = subprocess.run(
        [NODE, "--input-type=module", "--eval", program + READ],
        input="".join(f"{json.dumps(each)}\n" for each in questions),
        cwd=PROGRAMS,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


RECORDS = f"""
import {{ canonical, itemLine, Tally }} from '{PROGRAMS}/records.mjs';
const answer = (item) => {{
  const line = itemLine(item);
  const tally = new Tally();
  for (let each = 0; each < 3; each += 1) tally.add(line);
  return {{ ...line, count: tally.count, checksum: tally.checksum, again: canonical(JSON.parse(line.text)) }};
}};
"""


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(plain_items, min_size=10, max_size=40))
def test_an_item_has_the_line_and_the_digest_of_the_command(some: list[dict[str, Any]]) -> None:
    wanted = [items.record(PLAIN, item) for item in some]
    found = asked(RECORDS, [json.loads(record.text)["Item"] for record in wanted])
    for record, line in zip(wanted, found, strict=True):
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


def test_names_beyond_the_basic_plane_are_sorted_by_code_point() -> None:
    document = {"\U0001f600": 1, "�": {"\U0010ffff": None, "": [True, '\x1f\u2028"\\']}, "ü": -5}
    program = f"import {{ canonical }} from '{PROGRAMS}/records.mjs'; const answer = (value) => canonical(value);"
    assert asked(program, [document]) == [normal_form(document)]


def test_a_rule_keeps_what_the_command_keeps() -> None:
    chance = random.Random(1)
    cases = []
    for _ in range(60):
        begin = datetime(chance.choice((2020, 2024, 2026)), chance.choice((1, 12)), chance.randint(1, 31))
        times = {begin - timedelta(hours=chance.randint(0, 24 * 400)) for _ in range(chance.randint(0, 60))}
        names = [f"dev-{time:%Y%m%dT%H%M%SZ}" for time in times]
        names += ["dev-2-20240101T000000Z", "other", "dev-20241301T000000Z", "dev-20240230T000000Z"]
        rule = {period: chance.randint(1, 9) for period in PERIODS if chance.random() < 0.7}
        cases.append((names, rule))
    program = f"import {{ superfluous }} from '{PROGRAMS}/retention.mjs';" + (
        "const answer = ([names, rule]) => superfluous('dev', names, rule);"
    )
    found = asked(program, [list(case) for case in cases])
    wanted = [superfluous("dev", names, Rule(**rule)) for names, rule in cases]
    assert found == wanted
    assert sum(map(len, wanted)) > 100


def test_a_run_that_is_ended_while_its_manifest_is_written_leaves_nothing(tmp_path: Path) -> None:
    objects: dict[str, bytes] = {}
    running: list[subprocess.Popen[str]] = []

    class Store(BaseHTTPRequestHandler):
        """A bucket. A manifest gets there only some time after the run was ended."""

        def answer(self, text: str = "") -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def do_GET(self) -> None:
            keys = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in sorted(objects))
            self.answer(f"<ListBucketResult>{keys}</ListBucketResult>")

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path.endswith("/manifest.json.sealed"):
                running[0].send_signal(signal.SIGTERM)
                time.sleep(1)
            objects[self.path.removeprefix("/archives/")] = body
            self.answer()

        def do_DELETE(self) -> None:
            del objects[self.path.removeprefix("/archives/")]
            self.answer()

        def log_message(self, format: str, *words: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "place").write_text("[default]\naws_access_key_id = some\naws_secret_access_key = planted\n")
    (tmp_path / "documents").mkdir()
    where = {
        "endpoint": f"http://127.0.0.1:{server.server_port}",
        "region": "r",
        "credentials": str(tmp_path / "place"),
    }
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
    with server, subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        running.append(process)
        said, _ = process.communicate(timeout=60)
        server.shutdown()
    assert process.returncode == 1, said
    assert objects == {}
    assert json.loads(said.splitlines()[-1])["reason"] == "SIGTERM"
