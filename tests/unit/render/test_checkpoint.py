"""A recording becomes a checkpoint for an engine, and an exported stack becomes the same recording."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pulumi
import pulumi_random as random
import pytest

from render import checkpoint
from render.checkpoint import ExportedResource
from render.model import Recording, RecordingError
from render.passphrase import unlock
from render.recorder import record
from render.state import State
from render.values import StateValues
from tests.graph.stack import configuration, program
from tests.unit.render.programs import Providers, named, run, shown

pytestmark = pytest.mark.usefixtures("quick")

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


def opened(folder: Path, **arguments: Any) -> State:
    return State(folder / "dev.json", project="flatline", stack="dev", passphrase=lambda: "correct horse", **arguments)


def flatline(values: StateValues, stack: str = "dev", **changes: str) -> Recording:
    """Records the real program with the configuration of a stack's file."""
    return record(program, project="flatline", stack="dev", config={**configuration(stack), **changes}, values=values)


def written(state: State, recording: Recording, **arguments: Any) -> dict[str, Any]:
    made = checkpoint.deployment(recording, state.crypter, state.salt, now=NOW, engine="3.276.0", **arguments)
    read: dict[str, Any] = json.loads(json.dumps(made))
    return read


def read_back(exported: Mapping[str, Any]) -> dict[str, ExportedResource]:
    """Reads a checkpoint with the passphrase only, as an engine does."""
    salt = exported["deployment"]["secrets_providers"]["state"]["salt"]
    return checkpoint.generated_resources(shown(exported, unlock("correct horse", salt).decrypt))


def problems(exported: Mapping[str, Any]) -> Iterator[str]:
    """The checks of an engine before it accepts a checkpoint (pulumi/pulumi, pkg/resource/deploy/snapshot.go)."""
    content = exported["deployment"]
    manifest = content["manifest"]
    if manifest["magic"] != hashlib.sha256(manifest["version"].encode()).hexdigest():
        yield "the magic is wrong"
    seen: set[str] = set()
    providers: set[str] = set()
    for each in content["resources"]:
        urn, kind = each["urn"], each["type"]
        if urn in seen:
            yield f"{urn} is there twice"
        if bool(each.get("id")) is not each["custom"]:
            yield f"{urn}: an ID is for custom resources"
        before = [each.get("parent"), *each.get("dependencies", ())]
        before += [urn for urns in each.get("propertyDependencies", {}).values() for urn in urns]
        yield from (
            f"{urn} refers to {other}, which comes later or not at all"
            for other in before
            if other not in {None, *seen}
        )
        own_provider = each["custom"] and not kind.startswith("pulumi:providers:")
        if own_provider and each.get("provider") not in providers:
            yield f"{urn} has no provider"
        if kind.startswith("pulumi:providers:"):
            providers.add(f"{urn}::{each['id']}")
        if kind != "pulumi:pulumi:Stack" and "parent" not in each:
            yield f"{urn} has no parent"
        seen.add(urn)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> tuple[State, Recording]:
    """The stack dev with generated secrets. Tests must not change it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("render.passphrase.ITERATIONS", 10)
        state = opened(tmp_path_factory.mktemp("dev"))
        return state, flatline(StateValues(state))


def test_every_value_of_the_state_comes_back(dev: tuple[State, Recording]) -> None:
    state, recording = dev
    back = read_back(written(state, recording))
    kept = state.values()
    assert len(kept) > 30
    assert back.keys() == kept.keys()
    for urn, value in kept.items():
        resource = recording.by_urn()[urn]
        assert back[urn].generated.id == value.id
        assert {**back[urn].inputs, **back[urn].generated.outputs} == dict(resource.outputs)
        assert back[urn].generated.secrets == value.secrets
        assert back[urn].inputs == dict(resource.inputs)
        assert back[urn].protect is resource.protect


def test_an_import_gives_the_same_stack(dev: tuple[State, Recording], tmp_path: Path) -> None:
    state, recording = dev
    with opened(tmp_path) as other:
        values = StateValues(other, exported=read_back(written(state, recording)))
        again = flatline(values)
        values.import_unused()
        other.save()
        assert values.created == []
    assert again.outputs == recording.outputs
    assert _secret_objects(again) == _secret_objects(recording)
    assert _generated(again) == _generated(recording)
    with opened(tmp_path) as other:
        assert _secret_objects(flatline(StateValues(other))) == _secret_objects(recording)


def test_the_same_state_stays_byte_for_byte(dev: tuple[State, Recording], tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        recording = flatline(StateValues(state))
        state.save()
        exported = written(state, recording)
    before = (tmp_path / "dev.json").read_bytes()
    with opened(tmp_path) as state:
        flatline(StateValues(state, exported=read_back(exported)))
        assert not state.save()
    assert (tmp_path / "dev.json").read_bytes() == before


def test_an_engine_accepts_it(dev: tuple[State, Recording]) -> None:
    exported = written(*dev)
    assert list(problems(exported)) == []
    assert {each["urn"] for each in exported["deployment"]["resources"][1:]} == {each.urn for each in dev[1]}
    assert written(*dev)["deployment"]["resources"][1]["urn"] == exported["deployment"]["resources"][1]["urn"]


def test_no_secret_is_plain(dev: tuple[State, Recording]) -> None:
    _, recording = dev
    text = json.dumps(written(*dev), ensure_ascii=False)
    secrets = set(_secrets(recording))
    assert len(secrets) > 40
    assert not [secret[:8] for secret in secrets if secret in text]


def test_an_object_keeps_its_name_and_its_manager(dev: tuple[State, Recording]) -> None:
    exported = written(*dev)
    kept = {each["urn"]: each for each in exported["deployment"]["resources"]}
    for resource in dev[1]:
        if resource.package != "kubernetes" or not resource.custom:
            continue
        entry = kept[resource.urn]
        name = resource.outputs["metadata"]["name"]
        assert entry["id"].rpartition("/")[2] == entry["inputs"]["metadata"]["name"] == name
        assert entry["outputs"]["__fieldManager"] == "flatline"
        annotations = entry["inputs"]["metadata"].get("annotations", {})
        unnamed = "name" not in resource.inputs["metadata"]
        assert (annotations.get("pulumi.com/autonamed") == "true") is unnamed
        assert entry.get("protect", False) is resource.protect


def test_objects_are_read_as_they_were_applied(dev: tuple[State, Recording]) -> None:
    state, recording = dev
    exported = written(state, recording)
    objects = checkpoint.kubernetes_objects(shown(exported, state.crypter.decrypt))
    rendered = [dict(each.outputs) for each in recording if each.package == "kubernetes" and each.custom]
    assert sorted(map(_identity, objects)) == sorted(map(_identity, rendered))
    assert all(each in rendered for each in objects)


def test_new_resources_are_excluded(dev: tuple[State, Recording]) -> None:
    _, recording = dev
    leaf = {each.urn for each in recording if each.name == "leaf-1"}
    exported = written(*dev, exclude=leaf)
    assert list(problems(exported)) == []
    assert not leaf & {each["urn"] for each in exported["deployment"]["resources"]}


def test_without_objects_there_are_values_alone(dev: tuple[State, Recording]) -> None:
    exported = written(*dev, include_kubernetes=False)
    assert list(problems(exported)) == []
    kinds = {each["type"].partition(":")[0] for each in checkpoint.custom_resources(exported)}
    assert kinds == {"random", "tls"}
    assert read_back(exported).keys() == dev[0].values().keys()


def test_an_empty_one_is_of_the_same_stack(dev: tuple[State, Recording]) -> None:
    exported = written(*dev)
    nothing = checkpoint.without_resources(exported)
    assert nothing["deployment"]["resources"] == []
    assert nothing["deployment"]["secrets_providers"] == exported["deployment"]["secrets_providers"]
    assert list(problems(nothing)) == []


class TestReading:
    """The exports have the form of a real provider: with defaults, and with outputs that are not rendered."""

    URN = "urn:pulumi:dev::flatline::random:index/randomPassword:RandomPassword::it"

    def exported(self, **changes: Any) -> dict[str, Any]:
        secret = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}
        resource = {
            "urn": self.URN,
            "custom": True,
            "id": "none",
            "type": "random:index/randomPassword:RandomPassword",
            "inputs": {"__defaults": ["special"], "length": 20, "special": True},
            "outputs": {
                "__meta": '{"schema_version":"3"}',
                "bcryptHash": {**secret, "plaintext": '"$2a$10$hash"'},
                "id": "none",
                "length": 20,
                "lower": True,
                "result": {**secret, "plaintext": '"the value, <&> ü"'},
                "special": True,
            },
            "protect": True,
            **changes,
        }
        return {"version": 3, "deployment": {"resources": [resource]}}

    def program(self, length: int = 20) -> None:
        password = random.RandomPassword(
            "it",
            length=length,
            opts=pulumi.ResourceOptions.merge(Providers().random, pulumi.ResourceOptions(protect=True)),
        )
        pulumi.export("result", password.result)

    def test_the_value_is_the_provider_s(self, tmp_path: Path) -> None:
        with opened(tmp_path) as state:
            values = StateValues(state, exported=checkpoint.generated_resources(self.exported()))
            assert run(self.program, values=values).outputs == {"result": "the value, <&> ü"}
            assert values.created == []
            state.save()
        assert "the value" not in (tmp_path / "dev.json").read_text()
        with opened(tmp_path) as state:
            assert run(self.program, values=StateValues(state)).outputs == {"result": "the value, <&> ü"}
            assert state.values()[self.URN].outputs["bcryptHash"] == "$2a$10$hash"

    def test_a_protected_value_is_not_replaced_for_other_inputs(self, tmp_path: Path) -> None:
        with opened(tmp_path) as state, pytest.raises(RecordingError, match="is protected"):
            run(
                lambda: self.program(30),
                values=StateValues(state, exported=checkpoint.generated_resources(self.exported())),
            )

    def test_resources_pending_deletion_are_ignored(self) -> None:
        assert checkpoint.generated_resources(self.exported(delete=True)) == {}

    def test_hidden_secrets_are_an_error(self) -> None:
        resource = self.exported()["deployment"]["resources"][0]
        hidden = {"result": {**resource["outputs"]["result"]}}
        del hidden["result"]["plaintext"]
        hidden["result"]["ciphertext"] = "v1:a:b"
        with pytest.raises(ValueError, match="does not show its secrets"):
            checkpoint.generated_resources(self.exported(outputs=hidden))

    def test_resources_that_the_program_dropped_are_kept(self, tmp_path: Path) -> None:
        with opened(tmp_path) as state:
            values = StateValues(state, exported=checkpoint.generated_resources(self.exported()))
            run(lambda: None, values=values)
            values.import_unused()
            state.save()
        with opened(tmp_path) as state:
            assert named(run(self.program, values=StateValues(state)), "it").outputs["result"] == "the value, <&> ü"


def _identity(content: Mapping[str, Any]) -> tuple[str, str, str]:
    metadata = content["metadata"]
    return content["kind"], metadata.get("namespace", ""), metadata["name"]


def _secret_objects(recording: Recording) -> dict[str, Any]:
    """The content that pods read, by URN. Names of Secrets are left out: they depend on a key of the state."""
    return {each.urn: each.outputs["stringData"] for each in recording.of_type("kubernetes:core/v1:Secret")}


def _generated(recording: Recording) -> dict[str, Any]:
    return {each.urn: (each.id, dict(each.outputs)) for each in recording if each.package in ("random", "tls")}


def _secrets(recording: Recording) -> Iterator[str]:
    """The generated secrets: passwords, and the second line of private keys, which JSON does not change."""
    for resource in recording:
        if resource.package in ("random", "tls"):
            for name, *_ in resource.secret_output_paths:
                lines = str(resource.outputs.get(str(name), "")).splitlines()
                yield from lines[1:2] or lines
