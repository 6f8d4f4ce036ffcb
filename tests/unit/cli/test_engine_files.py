"""What a killed engine left half written in a file backend is removed, and nothing else."""

from pathlib import Path

import pytest

from cli import engine_files, engine_state

WHOLE = '{"user.cache_control":"","md5":"1B2M2Y8AsgTpgAmY7PhCfg=="}'


def put(root: Path, name: str, text: str) -> Path:
    file = root / "backend" / ".pulumi" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize("name", ["meta.yaml", "stacks/flatline/dev.json", "locks/organization/flatline/dev/1.json"])
@pytest.mark.parametrize("text", ["", '{"user.cache'])
def test_a_note_that_was_cut_off_is_removed_and_what_it_is_about_stays(tmp_path: Path, name: str, text: str) -> None:
    state, other = put(tmp_path, name, "{}"), put(tmp_path, "stacks/flatline/other.json.attrs", WHOLE)
    broken = put(tmp_path, f"{name}.attrs", text)
    assert engine_files.mend(f"file://{tmp_path}/backend?metadata=skip", Path("/")) == [broken]
    assert not broken.exists()
    assert state.read_text() == "{}"
    assert other.read_text() == WHOLE
    assert engine_files.mend("file://backend", tmp_path) == []


def test_a_state_that_is_no_json_is_left_alone(tmp_path: Path) -> None:
    state = put(tmp_path, "stacks/flatline/dev.json", "")
    assert engine_files.mend(f"file://{tmp_path}/backend", Path("/")) == []
    assert state.exists()


@pytest.mark.parametrize("backend", ["s3://bucket", "https://api.pulumi.com", "file:///not/there"])
def test_other_backends_have_no_files_here(backend: str) -> None:
    assert engine_files.mend(backend, Path("/")) == []


def test_a_component_that_was_cut_off_has_left_nothing_behind() -> None:
    component = {
        "urn": "urn:pulumi:dev::flatline::flatline:kubernetes:Files::config",
        "type": "flatline:kubernetes:Files",
    }
    table = {"urn": "urn:pulumi:dev::flatline::aws:dynamodb/table:Table::keys", "type": "aws:dynamodb/table:Table"}
    operations = [{"type": "creating", "resource": each} for each in (component, {**table, "custom": True})]
    found = engine_state.unfinished({"pending_operations": operations})
    assert (found.count, found.unknown) == (2, ("aws:dynamodb/table:Table keys",))
