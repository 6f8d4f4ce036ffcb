"""The recordings that tests share are made once, and again when anything changes that they are made by."""

from pathlib import Path

import pytest

from render.model import RecordedResource, Recording
from tests.graph import recordings
from tests.graph.stack import configuration, recorded, recorded_anew


def recording(domain: str = "example.org") -> Recording:
    resource = RecordedResource(urn="urn", type="a:b:C", name="it", custom=True, inputs={"domain": domain})
    return Recording(
        project="flatline", stack="dev", preview=False, resources=(resource,), outputs={}, secret_outputs=frozenset()
    )


def never() -> Recording:
    raise AssertionError("it is made again")


def test_it_is_made_once_and_each_caller_has_a_copy(tmp_path: Path) -> None:
    made = recordings.shared(("dev", 1), recording, tmp_path)
    again = recordings.shared(("dev", 1), never, tmp_path)
    assert again == made == recording()
    assert again is not made


def test_another_key_is_another_recording(tmp_path: Path) -> None:
    recordings.shared(("dev", 1), recording, tmp_path)
    assert recordings.shared(("dev", 2), lambda: recording("other"), tmp_path) == recording("other")


def test_a_failure_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="made again"):
        recordings.shared("dev", never, tmp_path)
    assert recordings.shared("dev", recording, tmp_path) == recording()


def test_what_the_program_reads_makes_other_recordings(tmp_path: Path) -> None:
    for name in ("components/redis.py", "programs/cdn0/gate.mjs", "uv.lock", "tests/test_it.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("one")
    seen = {recordings.sources(tmp_path)}
    (tmp_path / "tests" / "test_it.py").write_text("two")
    assert recordings.sources(tmp_path) in seen, "a test is not read by the program"
    for name in ("components/redis.py", "programs/cdn0/gate.mjs", "uv.lock"):
        (tmp_path / name).write_text("two")
        assert recordings.sources(tmp_path) not in seen
        seen.add(recordings.sources(tmp_path))
    (tmp_path / "uv.lock").rename(tmp_path / "other.lock")
    assert recordings.sources(tmp_path) not in seen


def test_a_shared_recording_is_what_the_program_registers() -> None:
    config = configuration("dev")
    assert recorded(config) == recorded_anew(config)
