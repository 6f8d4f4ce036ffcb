"""`doctor` as people and programs run it: what is shown, exit statuses, and what `--fix` does and does not."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from cli import arguments as known
from cli import kubectl
from cli.commands import doctor
from cli.doctor import gather
from cli.doctor.examination import Examination
from cli.kubeconfig import PATIENCE_SECONDS
from cli.stacks import LoadedStack, Stack
from cli.terminal import Terminal
from cli.watch import picture, until_ready
from config.loading import load
from render.stack_file import StackConfig
from tests.unit.cli.checkout import Checkout, calls, kubeconfig
from tests.unit.cli.doctor_evidence import FLATLINE, Plant, item
from tests.unit.cli.test_json import as_documented


def planted() -> Plant:
    """With what `--fix` mends, and with what it does not."""
    plant = Plant()
    plant.add(item("CronJob", "whisper-remove-expired-accounts", FLATLINE, spec={"suspend": True}))
    plant.store("bigtable", problem="ECONNREFUSED")
    return plant


@pytest.fixture
def kubectl_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], str | None]]:
    made: list[tuple[list[str], str | None]] = []

    class Done:
        returncode, stdout, stderr = 0, "cronjob.batch/whisper-remove-expired-accounts patched", ""

    def ran(words: list[str], *, input: str | None = None, **_: Any) -> Done:
        made.append((words, input))
        return Done()

    monkeypatch.setattr(doctor.subprocess, "run", ran)
    monkeypatch.setattr(doctor, "_silence", lambda context, terminal: None)
    monkeypatch.setattr(gather, "everything", lambda loaded, context, terminal: planted().evidence())
    return made


def run(*words: str) -> int:
    return doctor.run(known.parse(["doctor", "--context", "my-k3s", *words]), Terminal())


def test_what_is_wrong_is_told_with_what_it_means_and_what_mends_it(
    kubectl_calls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 1
    said = capsys.readouterr().out
    assert "!! A row cannot be written to Bigtable and read back [bigtable]" in said
    assert "table group-logs: ECONNREFUSED" in said
    assert "Groups cannot be read or changed." in said
    assert "`kubectl --context my-k3s -n flatline logs deployment/cbtemulator --tail 50`" in said
    assert "ok Nodes, and the processors that images are for" in said
    assert "2 wrong" in said
    assert kubectl_calls == []


def test_fix_asks_and_does_nothing_where_nobody_answers(
    kubectl_calls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--fix") == 1
    assert kubectl_calls == []
    assert "Left as it is." in capsys.readouterr().err


def test_fix_does_what_is_safe_and_nothing_else(kubectl_calls: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--fix", "--yes") == 1
    ((words, given),) = kubectl_calls
    patch = ["patch", "cronjob", "whisper-remove-expired-accounts", "--patch", '{"spec":{"suspend":false}}']
    assert words == kubectl.command("my-k3s", "-n", FLATLINE, *patch)
    assert given is None
    assert "lets it run again by its schedule" in capsys.readouterr().err


def test_the_document_has_the_form_that_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    for evidence in (Plant().evidence(), planted().evidence(), Plant().evidence(readings={}, context=None)):
        found = {"version": 1, **Examination.of(evidence).document()}
        assert as_documented("doctor", found)


def test_json_is_the_whole_of_standard_output(kubectl_calls: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["version"] == 1
    assert [each["symptom"] for each in found["findings"]] == ["cron-job-suspended", "bigtable"]
    assert [each["canFix"] for each in found["findings"]] == [True, False]


def test_without_a_cluster_it_looks_at_what_is_here_and_says_so(brought_up: Checkout) -> None:
    result = brought_up.run("doctor", "--json")
    assert (result.returncode, json.loads(result.stdout)["status"]) == (2, "blind")
    brought_up.state().unlink()
    said = brought_up.run("doctor")
    assert said.returncode == 1
    assert "[secrets-lost]" in said.stdout
    assert "the cluster was not looked at: name it with --context" in said.stdout


def test_a_wrong_passphrase_is_found(brought_up: Checkout) -> None:
    said = brought_up.run("doctor", PULUMI_CONFIG_PASSPHRASE="another one than it was made with")
    assert said.returncode == 1
    assert "[passphrase]" in said.stdout


def test_a_cluster_that_does_not_answer_is_one_error(brought_up: Checkout) -> None:
    (brought_up.home / "kubeconfig").write_text(kubeconfig({"mine": "https://127.0.0.1:9"}))
    kubectl_file = brought_up.program("kubectl", "record(arguments=sys.argv[1:])")
    said = brought_up.fail("doctor", "--context", "mine", status=2)
    assert "does not answer" in said
    assert not kubectl_file.exists() or calls(kubectl_file) == []


def test_a_cluster_that_stops_answering_ends_in_under_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run takes no longer than its parts, each of which has an end; they are shorter here."""
    parts = PATIENCE_SECONDS + 3 * gather.KUBECTL_SECONDS + gather.READING_SECONDS
    assert parts < 60
    assert gather.AGAIN_SECONDS <= 5
    monkeypatch.setattr(gather, "READING_SECONDS", 3.0)
    monkeypatch.setattr(gather, "KUBECTL_SECONDS", 3.0)
    hanging = tmp_path / "hanging"
    hanging.write_text("#!/bin/sh\nexec sleep 300\n")
    hanging.chmod(0o700)
    monkeypatch.setattr(kubectl, "program", lambda: str(hanging))
    loaded = LoadedStack(Stack("dev"), StackConfig("flatline", "dev", {}), load({}))
    began = time.monotonic()
    evidence = gather.everything(loaded, "mine", Terminal())
    assert time.monotonic() - began < 150
    unread = {each.check.name for each in Examination.of(evidence).results if each.unread}
    assert unread >= {"version", "nodes", "network", "clocks", "images", "storage", "workloads"}
    assert re.search(r"no answer from context mine after 3 s|not there after 3 s", evidence.unread["nodes"])
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(r"Reading the cluster: [a-z]+(, [a-z]+)* \([2-9] s\)", said), said
    assert "could not be removed" in said


# ---- status --watch


def workload(name: str, ready: int, wanted: int = 2) -> dict[str, Any]:
    return {"name": name, "namespace": FLATLINE, "ready": ready, "wanted": wanted}


def test_the_picture_of_what_is_ready() -> None:
    assert picture([workload("redis", 1), workload("cdn3", 1, 1)]) == [
        "redis  [############............] 1/2",
        "cdn3   [########################] 1/1",
        "pods   [################........] 2/3",
    ]


def test_watch_shows_changes_and_ends_when_everything_is_ready(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cli.watch.PAUSE_SECONDS", 0)
    looks = iter([[], [workload("redis", 0)], [workload("redis", 0)], [workload("redis", 2)]])
    until_ready(lambda: next(looks), Terminal())
    said = capsys.readouterr().out
    assert said.index("no workloads yet") < said.index("0/2") < said.index("2/2") < said.index("Everything is ready")
    assert said.count("0/2") == 2  # the workload, and the sum


def test_watch_needs_a_cluster(brought_up: Checkout) -> None:
    assert "--watch needs a cluster" in brought_up.fail("status", "--watch")
