"""The benchmarks measure and tell what they say; no time is asserted here."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import policies, recording, registration, rendering
from benchmarks.recording import Growth, Step
from benchmarks.registration import Alike
from benchmarks.report import BEGIN, DOCUMENT, END, Report, update
from benchmarks.sample import Ratio
from tests.programs.registration_contract import CLASSES

ROOT = Path(__file__).resolve().parents[2]
RATIO = Ratio("apply", "an empty ConfigMap", (4.0, 6.0, 9.0), (2.0, 2.0, 1.0))


def test_a_ratio_is_of_what_was_measured_in_the_same_round() -> None:
    assert RATIO.each == [2.0, 3.0, 9.0]
    assert RATIO.as_json() == {
        "name": "apply",
        "against": "an empty ConfigMap",
        "rounds": 3,
        "seconds": 6.0,
        "minimum_seconds": 2.0,
        "ratio": {"median": 3.0, "least": 2.0, "most": 9.0},
    }


@pytest.mark.parametrize(("seconds", "minimum"), [((), ()), ((1.0, 2.0), (1.0,))])
def test_a_round_without_its_minimum_is_refused(seconds: tuple[float, ...], minimum: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="apply: every round"):
        Ratio("apply", "nothing", seconds, minimum)


def test_growth_is_told_for_each_stack_and_for_the_last_ones() -> None:
    """The first stack takes 3 s and every other one 1 s, and each keeps 2 MiB."""
    steps = tuple(Step(seconds=3.0 + number, megabytes=100.0 + 2 * number) for number in range(5))
    rows = {row["stacks"]: row for row in Growth((steps, steps)).rows()}
    assert list(rows) == [1, 2, 5]
    assert [rows[count]["seconds"] for count in rows] == [3.0, 4.0, 7.0]
    assert [rows[count]["seconds_for_each"] for count in rows] == [3.0, 2.0, 1.4]
    assert [rows[count]["ratio_of_each_to_the_first"]["median"] for count in rows] == [1.0, 0.667, 0.467]
    assert [rows[count]["ratio_of_the_last_to_the_first"]["median"] for count in rows] == [1.0, 0.333, 0.333]
    assert [rows[count]["megabytes_for_each_more"] for count in rows] == [0.0, 2.0, 2.0]


def test_up_is_measured_against_the_sdks_that_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The minimum imports all of them, and none of our own modules. The stack of this checkout is left alone."""
    own = [path.stat().st_mtime_ns for path in (ROOT / "state" / "dev.json", ROOT / "build" / "dev") if path.exists()]
    measured: list[tuple[str, str]] = []
    said: dict[str, str] = {}

    def run(what: str, folder: Path) -> float:
        measured.append((what, folder.name))
        if what == "modules":
            rendering.run("rendering", what, str(folder))
            said[what] = (folder / "modules").read_text()
            assert (folder / "state" / "dev.json").is_file()
            assert (folder / "build" / "dev" / "kustomization.yaml").is_file()
        elif what == "import":
            program = (
                "import sys\nfrom pathlib import Path\nfrom benchmarks import rendering\n"
                f"rendering.PARTS['import'](Path({str(folder)!r}))\nprint('\\n'.join(sys.modules))"
            )
            done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
            said[what] = done.stdout
        else:
            assert what in rendering.PARTS
        return float(len(measured))

    monkeypatch.setattr(rendering, "_run", run)
    again, first = rendering.measure(1)
    assert measured == [("modules", "kept"), ("import", "kept"), ("up", "kept"), ("up", "new-0")]
    assert (again.seconds, again.minimum, first.seconds, first.minimum) == ((3.0,), (2.0,), (4.0,), (2.0,))
    assert (again.name, first.name) == ("`up` of stack dev, nothing changed", "`up` of stack dev for the first time")
    after = [path.stat().st_mtime_ns for path in (ROOT / "state" / "dev.json", ROOT / "build" / "dev") if path.exists()]
    assert after == own
    modules, loaded = set(said["modules"].split()), set(said["import"].split())
    packages = {name.partition(".")[0] for name in modules}
    assert {"pulumi", "pulumi_kubernetes", "pulumi_random", "pulumi_tls", "pydantic", "yaml"} <= packages
    assert modules <= loaded
    ours = {name for name in loaded if name.partition(".")[0] in {"components", "config", "render", "cli"}}
    assert ours == set()


def test_a_part_of_up_takes_the_processor_time_of_its_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rendering, "run", lambda *words: subprocess.run([sys.executable, "-c", "sum(range(10**6))"]))
    assert 0 < rendering._run("import", tmp_path) < 60


def test_the_policy_pack_is_measured_against_its_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "PODS", 16)
    monkeypatch.setattr(policies, "CHARACTERS", 160)
    monkeypatch.setattr("gc.collect", lambda: None)  # of a process that has tests in it, eighteen times
    ratios = [ratio.as_json() for ratio in policies.measure(1)]
    assert len(ratios) == 2
    for ratio in ratios:
        assert ratio["ratio"]["median"] > 0


def test_recording_is_measured_for_every_stack() -> None:
    growth = recording.measure(1, stacks=2)
    rows = growth.rows()
    assert [row["stacks"] for row in rows] == [1, 2]
    for row in rows:
        assert row["seconds"] > 0
        assert row["ratio_of_the_last_to_the_first"]["least"] > 0
    assert all(step.megabytes > 0 for step in growth.runs[0])


def test_json_has_the_machine_and_all_measurements(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _stand_in(monkeypatch, cluster=[RATIO])
    assert command.main(["--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert set(told) == {"machine", "ratios", "growth", "alike", "missing"}
    assert set(told["machine"]) == {"cores", "architecture", "python", "load"}
    assert [ratio["ratio"]["median"] for ratio in told["ratios"]] == [3.0] * 5
    assert [row["stacks"] for row in told["growth"]] == [1]
    assert told["missing"] == []


def test_what_this_machine_cannot_measure_is_said_and_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"{BEGIN}\n{END}\n")
    _stand_in(monkeypatch, cluster="needs root or user namespaces", document=document)
    assert command.main(["--update-docs"]) == 1
    assert "Not measured: cluster: needs root or user namespaces" in capsys.readouterr().out
    assert document.read_text() == f"{BEGIN}\n{END}\n"


def test_the_document_gets_the_tables_between_its_marks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"# Before\n\n{BEGIN}\nold\n{END}\n\nAfter\n")
    _stand_in(monkeypatch, cluster=[RATIO], document=document)
    assert command.main(["--update-docs"]) == 0
    text = document.read_text()
    assert text.startswith(f"# Before\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\nAfter\n")
    assert "old" not in text
    assert "| apply | an empty ConfigMap | 6.00 s | 2.00 s | **3.00** | 2.00 to 9.00 | 3 |" in text
    assert "| 1 | 3.00 s | 3.00 s | **1.00** (1.00 to 1.00) | **1.00** (1.00 to 1.00) | 0.00 MiB |" in text


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_document_without_its_marks_is_left_alone(tmp_path: Path, text: str) -> None:
    document = tmp_path / "performance.md"
    document.write_text(text)
    with pytest.raises(ValueError, match="does not have"):
        update(document, "tables")
    assert document.read_text() == text


def test_the_document_of_the_repository_holds_one_run() -> None:
    text = DOCUMENT.read_text()
    measured = text[text.index(BEGIN) : text.index(END)]
    for words in ("`up` of stack dev", "apply stack dev", "applied and ready", "| 50 |"):
        assert words in measured


@pytest.mark.parametrize("words", [["--rounds", "0"], ["speed"]])
def test_what_cannot_be_measured_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(words)


def _stand_in(monkeypatch: pytest.MonkeyPatch, *, cluster: list[Ratio] | str, document: Path = DOCUMENT) -> None:
    """Measurements of another day."""
    for part in ("cluster", "engine", "node"):
        monkeypatch.setattr(f"benchmarks.{part}.prepare", lambda: None)
    measured = {"cluster": cluster}
    monkeypatch.setattr("benchmarks.in_network.measure", lambda part, rounds: measured.get(part, [RATIO]))
    monkeypatch.setattr("benchmarks.rendering.measure", lambda rounds: [RATIO])
    monkeypatch.setattr("benchmarks.policies.measure", lambda rounds: [RATIO])
    monkeypatch.setattr("benchmarks.recording.measure", lambda runs: Growth(((Step(3.0, 100.0),),)))
    monkeypatch.setattr(command, "DOCUMENT", document)


def test_an_empty_report_has_its_machine_alone() -> None:
    assert Report().as_json()["ratios"] == Report().as_json()["growth"] == []
    assert "cores" in Report().as_markdown()


def _alike(difference: float) -> Alike:
    """A call whose answers take this much longer, in seconds, for who is invited."""
    source = random.Random(7)
    call = Alike("CheckVerificationCode")
    answer = CLASSES["LaterResponse"](session_metadata={"session_id": b"x", "e164": 12025550100, "verified": False})
    for _ in range(2000):
        call.add(True, 0.010 + difference + source.expovariate(1000), answer)
        call.add(False, 0.010 + source.expovariate(1000), answer)
    return call


def test_times_that_do_not_tell_are_not_told_apart() -> None:
    told = _alike(0).as_json()
    assert told["kolmogorov_smirnov_chance"] > 0.01
    assert told["guesser_chance"] > 0.01
    assert (told["tries"], told["same_contents"]) == (4000, True)


def test_a_tenth_of_a_millisecond_more_for_the_invited_is_seen() -> None:
    """With the spread of a millisecond: a tenth of it, in 2,000 tries of each kind."""
    told = _alike(0.0001).as_json()
    assert told["kolmogorov_smirnov_chance"] < 0.001
    assert told["guesser_chance"] < 0.001
    assert told["guessed_right"] > 0.5


def test_an_answer_that_says_something_else_is_seen() -> None:
    call = _alike(0)
    call.add(True, 0.01, CLASSES["LaterResponse"](session_metadata={"session_id": b"x", "may_check_code": True}))
    assert not call.as_json()["same_contents"]
    assert "DIFFERENT" in Report(alike=(call,)).as_markdown()


def test_the_answers_of_registration_are_compared() -> None:
    told = {call["call"]: call for call in Report(alike=tuple(registration.measure(8))).as_json()["alike"]}
    assert len(told) == 4
    assert all((call["tries"], call["same_contents"]) == (8, True) for call in told.values())


def test_registration_is_measured_only_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []
    _stand_in(monkeypatch, cluster=[RATIO])
    monkeypatch.setattr("benchmarks.registration.measure", lambda: measured.append("registration") or [])
    assert command.main([]) == 0
    assert not measured
    assert command.main(["registration"]) == 0
    assert measured == ["registration"]
