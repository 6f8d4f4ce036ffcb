"""`./flatline capacity`."""

import io
import json
import re
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from capacity.estimate import Estimate
from capacity.installation import Installation
from capacity.limits import limits
from capacity.workload import Workload
from cli.__main__ import main
from cli.capacity_report import count, measured, size
from config.loading import load
from config.schema.dynamodb import TABLES
from config.target import Cloud
from tests.unit.cli.checkout import REPOSITORY, Checkout

CALLS: dict[str, Any] = {"turn": {"address": "203.0.113.10"}, "groups": {"addresses": ["203.0.113.10"]}}
CALLING = Estimate.of(
    Workload(users=20_000, messages_per_day=50), Installation.of(load({"flatline:calls": json.dumps(CALLS)}))
)
SETTINGS = "Settings for the stack's file, below config"
WORDS = ("capacity", "--users", "1000000", "--messages-per-day", "50")


@cache
def shown(*words: str) -> str:
    """What the command prints; it says nothing aside."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        assert main([*WORDS, *words]) == 0
    assert err.getvalue() == ""
    return out.getvalue()


def as_json(*words: str) -> dict[str, Any]:
    """Its JSON form."""
    found = json.loads(shown("--json", *words))
    assert isinstance(found, dict)
    return found


def texts(config: dict[str, Any]) -> dict[str, str]:
    """A configuration as Pulumi gives it to a program."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}


def part(text: str, heading: str) -> str:
    found = re.search(rf"^{heading}\n(.*?)(?=\n\n[A-Z]|\Z)", text, re.M | re.S)
    assert found, heading
    return found[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--users", "0"), "argument --users: 0 is out of bounds; write a whole number, 1 to 10,000,000,000"),
        (("--users", "-5"), "argument --users: -5 is out of bounds"),
        (("--users", "many"), "argument --users: 'many' is none; write a whole number"),
        (("--users", "1.5"), "argument --users: '1.5' is none; write a whole number"),
        (("--users", "10000000001"), "argument --users: 10000000001 is out of bounds"),
        (("--messages-per-day", "-1"), "argument --messages-per-day: -1 is out of bounds; write a number, 0 to 10,000"),
        (("--messages-per-day", "nan"), "argument --messages-per-day: nan is out of bounds"),
        (("--messages-per-day", "1e9"), "argument --messages-per-day: 1e9 is out of bounds"),
        (("--offline", "2"), "argument --offline: 2 is out of bounds; write a number, 0 to 1"),
        (("--group", "5"), "there is no option --group; did you mean --groups?"),
    ],
)
def test_a_typing_mistake_ends_with_2(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*WORDS, *words])
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err


@pytest.mark.parametrize("missing", ["--users", "--messages-per-day"])
def test_users_and_messages_must_be_typed(missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for pair in (WORDS[1:3], WORDS[3:5]) if pair[0] != missing for word in pair]
    with pytest.raises(SystemExit) as ended:
        main(["capacity", *words])
    assert ended.value.code == 2
    assert f"the following arguments are required: {missing}" in capsys.readouterr().err


def test_text_has_every_part() -> None:
    text = shown()
    headings = re.findall(r"^([A-Z][^\n]*)\n(?=[A-Z-]| {2}flatline)", text, re.M)
    for wanted in (
        "Traffic",
        "DynamoDB",
        "Redis",
        "Bigtable",
        "S3",
        "Kubernetes",
        "Cost of a month, US dollars",
        "Limits",
        "What to change",
        "Settings for the stack's file, below config",
        "Assumptions",
        "Sizes",
        "Prices",
    ):
        assert wanted in headings
    assert text.startswith("1,000,000 users, each sending 50 messages a day: about $")
    assert all(table.name in text for table in TABLES.values())


@pytest.mark.parametrize("width", [80, 120])
def test_tables_fit(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = shown.__wrapped__()
    blocks = [block for block in text.split("\n\n") if "───" in block]
    assert len(blocks) >= 9
    for block in blocks:
        rule = max(len(line) for line in block.splitlines() if line.startswith("───"))
        assert rule <= width
    assert "\x1b" not in text, "no colours without a terminal"


def test_the_settings_can_be_pasted() -> None:
    text, _, last = part(shown(), SETTINGS).rpartition("\n")
    assert all(line.startswith("  ") for line in text.splitlines())
    assert yaml.safe_load(text) == as_json()["settings"]
    assert last == "With --stack also flatline:target."


@pytest.mark.parametrize("stack", ["dev", "prod"])
@pytest.mark.parametrize("named", [True, False])
def test_a_stack_loads_with_what_was_pasted(stack: str, named: bool) -> None:
    """Each key replaces the one of its name; nothing else of the stack changes."""
    before = yaml.safe_load((REPOSITORY / f"Pulumi.{stack}.yaml").read_text())["config"]
    found = yaml.safe_load(part(shown(*(["--stack", stack] if named else [])), SETTINGS).rpartition("\n")[0])
    assert ("flatline:target" in found) is named
    after, own = load(texts({**before, **found})), load(texts(before))
    assert after.target.kind == own.target.kind
    assert after.scaling != own.scaling
    if isinstance(after.target, Cloud) and isinstance(own.target, Cloud):
        assert after.target.aws.account == own.target.aws.account
        assert after.target.gcp.project == own.target.gcp.project
        assert (after.target != own.target) is named


def test_what_is_exceeded_is_explained() -> None:
    found = as_json("--users", "2000000")
    text = part(shown("--users", "2000000"), "What to change")
    exceeded = [limit for limit in found["limits"] if limit["exceeded"]]
    assert "dynamodb-table-writes" in [limit["id"] for limit in exceeded]
    for limit in exceeded:
        assert limit["remedy"] in text
        assert limit["source"] in text
    assert len(text.splitlines()) == len(exceeded)


def test_every_assumption_is_printed() -> None:
    text = part(shown(), "Assumptions")
    for each in as_json()["assumptions"]:
        assert f"- {each['meaning']}: " in text
        assert each["source"] in text


def test_json_and_text_say_the_same() -> None:
    found = as_json()
    text = shown()
    assert f"about ${found['cost']['total']:,.0f} a month" in text
    assert f"Nodes at the peak: {found['kubernetes']['nodes']}." in text
    assert sum(line["dollars"] for line in found["cost"]["lines"]) == pytest.approx(found["cost"]["total"])


def test_options_reach_the_model() -> None:
    found = as_json("--devices", "2", "--attachment-kib", "10", "--group-size", "50")
    assert found["workload"]["devices"] == 2
    assert found["workload"]["attachmentKib"] == 10
    assert found["traffic"]["recipients"] == pytest.approx(0.7 + 0.3 * 49)


def test_the_last_of_two_options_counts() -> None:
    assert as_json("--users", "5")["workload"]["users"] == 5


# --- prices and settings ----------------------------------------------------------------------------------


def test_prices_of_your_own(tmp_path: Path) -> None:
    content = yaml.safe_load((REPOSITORY / "config" / "prices.yaml").read_text())
    content["families"]["us"]["bigtable"]["nodeHour"] = 1000
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump(content, sort_keys=False))
    before, after = as_json(), as_json("--prices", str(mine))
    assert after["cost"]["total"] - before["cost"]["total"] == pytest.approx((1000 - 0.65) * 730)


def test_wrong_prices_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("families: {us: {regions: [us-east-1], dynamodb: {readMillion: free}}}")
    assert main([*WORDS, "--prices", str(mine)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert 'families.us.dynamodb.readMillion is "free"; write a number' in captured.err
    assert "families.us.s3 is missing; write it" in captured.err


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read: No such file or directory"), (b"\xff\xfe", "cannot be read: it is not UTF-8 text")],
)
def test_prices_that_cannot_be_read(
    content: bytes | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prices.yaml"
    if content is not None:
        path.write_bytes(content)
    assert main([*WORDS, "--prices", str(path)]) == 1
    assert said in capsys.readouterr().err


def test_a_region_without_prices_is_said() -> None:
    assert "The price file has no prices for eu-central-1; those of us stand in." in shown("--region", "eu-central-1")
    assert "stand in" not in shown("--region", "us-west-2")


def test_a_stack_gives_its_settings(checkout: Checkout) -> None:
    path = checkout.root / "Pulumi.dev.yaml"
    path.write_text("config:\n  flatline:cdn: {retentionDays: 90}\n  flatline:redis: {masters: 12}\n")
    found = json.loads(checkout.succeed(*WORDS, "--stack", "dev", "--json"))
    assert found["installation"]["attachmentDays"] == 90
    assert found["installation"]["masters"] == 12
    text = checkout.succeed(*WORDS, "--stack", "dev")
    assert "attachments 90 days" in text
    assert "The stack is local" in text
    assert "elasticache" not in part(text, SETTINGS)


def test_a_stack_with_calls_is_told_what_they_need(checkout: Checkout) -> None:
    calls = {**CALLS, "turn": {**CALLS["turn"], "nodeLabels": {"edge": "yes"}}}
    path = checkout.root / "Pulumi.dev.yaml"
    path.write_text(yaml.safe_dump({"config": {"flatline:calls": calls}}))
    found = json.loads(checkout.succeed(*WORDS, "--users", "20000", "--stack", "dev", "--json"))
    ports = found["calls"]["relayed"]["ports"]
    assert ports > 100
    assert found["calls"]["groups"]["streams"] > 0
    text = checkout.succeed(*WORDS, "--users", "20000", "--stack", "dev")
    assert f"{ports:,} relay ports" in part(text, "Calls at the busiest time")
    assert "raise flatline:calls.turn.relayPorts" in part(text, "What to change")
    pasted = yaml.safe_load(part(text, SETTINGS).rpartition("\n")[0])["flatline:calls"]
    relay = pasted["turn"].pop("relayPorts")
    assert relay["last"] - relay["first"] + 1 >= ports
    assert pasted == calls, "the rest of the block stays"
    assert "Calls at the busiest time" not in shown()


def test_it_needs_no_stack_file(checkout: Checkout) -> None:
    for path in checkout.root.glob("Pulumi.*.yaml"):
        path.write_text("config: {flatline:domain: 3}\n")
    assert "the settings' defaults" in checkout.succeed(*WORDS)


def test_a_stack_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--stack", "nowhere"]) == 1
    assert "there is no stack nowhere" in capsys.readouterr().err


# --- numbers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.001, "<0.01"),
        (0.0234, "0.023"),
        (7.514, "7.51"),
        (99.94, "99.9"),
        (99.96, "100"),
        (1250, "1,250"),
        (9994, "9,994"),
        (9996, "10k"),
        (12_544, "12.5k"),
        (999_400, "999k"),
        (999_600, "1M"),
        (3.41e6, "3.41M"),
        (2e9, "2G"),
        (5e15, "5,000T"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (1023, "1,023 B"), (1536, "1.5 KiB"), (20 * 1024**3, "20 GiB"), (200 * 1024**2, "200 MiB")],
)
def test_sizes_have_units(value: float, text: str) -> None:
    assert size(value) == text


# --- the document -----------------------------------------------------------------------------------------


def test_the_document_has_every_limit_with_its_source() -> None:
    document = (REPOSITORY / "docs" / "capacity.md").read_text()
    of_calls: list[dict[str, Any]] = [
        asdict(limit) for limit in limits(CALLING) if limit.id.startswith(("relay", "group"))
    ]
    assert of_calls
    for limit in [*as_json()["limits"], *of_calls]:
        if limit["kind"] != "stack":
            row = next((line for line in document.splitlines() if line.startswith(f"| {limit['what']} |")), None)
            assert row is not None, limit["id"]
            assert f"| {limit['kind']} |" in row
            assert measured(limit["bound"], limit["unit"]) in row
            if limit["source"].startswith("https"):
                assert limit["source"] in row


def test_what_the_document_says_of_the_defaults_is_so() -> None:
    begins = {limit["id"]: limit["begins"] for limit in as_json()["limits"]}
    assert begins["volume-attachments"] == pytest.approx(370, rel=0.02)
    assert begins["dynamodb-table-writes"] == pytest.approx(1.5e6, rel=0.02)
    assert begins["upload-pod"] == pytest.approx(9.4e6, rel=0.02)
    fixed = {limit["begins"] for limit in as_json()["limits"] if limit["kind"] == "fixed" and limit["begins"]}
    assert min(fixed) == begins["upload-pod"]
