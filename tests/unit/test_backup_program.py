"""The program of the CronJob writes lines, checksums and retention as the commands do."""

import json
import os
import random
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.retention import PERIODS, Rule, superfluous
from migration import items
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
