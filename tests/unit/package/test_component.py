"""The component makes the same as a stack does, refuses what a stack refuses, and takes Outputs where secrets go."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import pytest
import yaml

from config.loading import SettingsError
from package.component import Flatline, FlatlineArgs
from render.manifests import kubernetes_objects
from render.recorder import Recording, record
from render.values import SeededValues
from tests.graph.stack import PROJECT, ROOT, configuration, load, stack_files
from tests.unit.authority import SERVER, issue
from tests.unit.package.provider_process import OUTPUT, asked

OWN = "5f3a" * 16
HOSTS = ("*.chat.example.org", "chat.example.org")
OUTPUTS = [name for name in vars(Flatline)["__annotations__"] if not name.startswith("_")]


def sent(value: Any) -> Any:
    """A value as it comes from the engine, which has one type of numbers."""
    if isinstance(value, dict):
        return {key: sent(each) for key, each in value.items()}
    if isinstance(value, list):
        return [sent(each) for each in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def arguments(stack: str) -> dict[str, Any]:
    """The settings of a stack's file as arguments."""
    found = {}
    for key, text in configuration(stack).items():
        if key.startswith("flatline:"):
            try:
                found[key.removeprefix("flatline:")] = sent(json.loads(text))
            except json.JSONDecodeError:
                found[key.removeprefix("flatline:")] = text
    return found


def constructed(args: Callable[[], Mapping[str, Any]], stack: str = "dev") -> Recording:
    """What a program with the component makes; `args` is called where Outputs can be made."""

    def program() -> None:
        Flatline("flatline", FlatlineArgs(args()))

    return record(program, project=PROJECT, stack=stack, config={}, values=SeededValues("seed"))


@pytest.mark.parametrize("stack", stack_files())
def test_it_makes_what_a_stack_makes(stack: str) -> None:
    ours, theirs = constructed(lambda: arguments(stack), stack), load(stack).recording
    assert {each.urn: each.outputs for each in kubernetes_objects(ours)} == {
        each.urn: each.outputs for each in kubernetes_objects(theirs)
    }
    assert len(ours.resources) == len(theirs.resources)


def test_every_output_has_a_value() -> None:
    def program() -> None:
        made = Flatline("flatline", FlatlineArgs(domain="chat.example.org"))
        for name in OUTPUTS:
            pulumi.export(name, getattr(made, name))

    found = record(program, project=PROJECT, stack="dev", config={}, values=SeededValues("seed")).outputs
    assert len(OUTPUTS) == 10
    assert found["urls"]["whisper"] == "https://whisper.chat.example.org"
    assert found["ca_certificates"].startswith("-----BEGIN CERTIFICATE-----")
    assert all(found.values())


def texts(recording: Recording, kind: str) -> str:
    return json.dumps([each.outputs for each in kubernetes_objects(recording) if each.outputs["kind"] == kind])


def test_a_secret_may_be_an_output() -> None:
    recording = constructed(lambda: {"secrets": {"turn": {"epoch": 2.0, "value": pulumi.Output.from_input(OWN)}}})
    assert OWN in texts(recording, "Secret")
    assert OWN not in texts(recording, "ConfigMap")
    assert any(each.name == "turn-2" for each in recording.resources)


def test_a_certificate_may_be_an_output_and_only_its_key_is_secret() -> None:
    authority = issue("Somebody's CA")
    leaf = authority.signs("chat.example.org", authority=False, names=HOSTS, usages=SERVER)
    provided = {"certificate": leaf.pem, "privateKey": leaf.private_pem, "authority": authority.pem}
    made: dict[str, Any] = {}

    def program(provided: dict[str, Any]) -> None:
        args = {"domain": "chat.example.org", "certificates": {"provided": provided}}
        made["flatline"] = Flatline("flatline", FlatlineArgs(args))
        pulumi.export("pinned", made["flatline"].ca_certificates)

    def recorded(wrap: Callable[[str], Any]) -> Recording:
        wrapped = lambda: program({key: wrap(text) for key, text in provided.items()})  # noqa: E731
        return record(wrapped, project=PROJECT, stack="dev", config={}, values=SeededValues("seed"))

    plain, outputs = recorded(str), recorded(pulumi.Output.from_input)
    assert outputs.outputs["pinned"] == authority.pem
    assert outputs.secret_outputs == frozenset()
    assert texts(outputs, "Secret") == texts(plain, "Secret")


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (lambda: {"redis": {"masters": 2.0}}, "redis.masters is 2; write 3 or more"),
        (lambda: {"redis": {"mastres": 5.0}}, "redis.mastres is no known key; did you mean masters?"),
        (lambda: {"domain": pulumi.Output.from_input("a.example.org")}, "domain: is an Output; write a value"),
        (lambda: {"target": pulumi.Output.from_input({"kind": "cloud"})}, "target: is an Output; write a value"),
        (lambda: {"target": {"kind": "cloud", "aws": {}}}, "target.gcp is missing; write it"),
        (lambda: {"secrets": {"tunr": {"value": pulumi.Output.from_input(OWN)}}}, "secrets: tunr is no secret;"),
        (lambda: {"secrets": {"turn": {"value": pulumi.Output.from_input("short")}}}, "secrets.turn: value"),
        (lambda: {"certificates": {"provided": {"privateKey": pulumi.Output.from_input("x")}}}, "is missing; write it"),
    ],
)
def test_mistakes_are_those_of_the_settings(args: Callable[[], dict[str, Any]], problem: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(problem)) as raised:
        constructed(args)
    assert "flatline:" not in str(raised.value)
    assert "short" not in str(raised.value)


def test_the_engine_learns_which_argument_is_wrong_but_nothing_of_secrets() -> None:
    """It shows the value of an argument that an error names. The SDK would drop a key, and take {} for an Output."""
    keys, block, secrets = asked(
        {"redis": {"masters": 2.0}, "nothing": 1.0},
        {"target": {OUTPUT: {"kind": "cloud"}}},
        {"secrets": {"turn": {"value": "short"}}, "certificates": {"provided": {}}},
    )["refused"]
    assert {each["property_path"] for each in keys["errors"]} == {"nothing", "redis.masters"}
    assert "is 2; write 3 or more" in [each["reason"] for each in keys["errors"]]
    assert [each["property_path"] for each in block["errors"]] == ["target"]
    assert secrets["errors"] == []
    assert "secrets.turn: value is not hex" in secrets["message"]


def test_a_cluster_that_the_machine_chooses_must_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []
    monkeypatch.setattr("cli.under_engine.check_cluster", asked.append)
    constructed(lambda: {"target": {"context": "my-k3s"}})
    assert asked == ["my-k3s"]
    test_given_providers_are_used_and_the_others_are_made()
    assert asked == ["my-k3s"], "a given provider has its own cluster"


def test_given_providers_are_used_and_the_others_are_made() -> None:
    def program() -> None:
        mine = kubernetes.Provider("mine", kubeconfig="{}")
        Flatline("chat", FlatlineArgs(), pulumi.ResourceOptions(providers={"kubernetes": mine}))

    recording = record(program, project=PROJECT, stack="dev", config={}, values=SeededValues("seed"))
    providers = {each.name for each in recording if each.type.startswith("pulumi:providers:")}
    assert providers == {"mine", "chat-random", "chat-tls"}
    assert {str(each.provider).split("::")[3] for each in kubernetes_objects(recording)} == {"mine"}


def test_the_example_of_the_document_is_taken() -> None:
    document = (ROOT / "docs" / "component.md").read_text()
    (example,) = re.findall(r"^```yaml\n(.*?)^```", document, re.M | re.S)
    resources = yaml.safe_load(example)["resources"]

    def args() -> dict[str, Any]:
        found: dict[str, Any] = resources["flatline"]["properties"]
        found["secrets"]["turn"]["value"] = pulumi.Output.secret(OWN)
        return found

    assert resources["flatline"]["type"] == Flatline.TYPE
    assert OWN in texts(constructed(args), "Secret")
