"""The JSON Schema of stack files."""

import json
from typing import Any

import jsonschema
import pytest
import yaml

from config import json_schema
from config.loading import ENGINE_NAMESPACE, PROVIDER_NAMESPACES, SettingsError, load
from tests.unit.cli.checkout import REPOSITORY, Checkout


def problems(content: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(json_schema.schema())
    return [error.message for error in validator.iter_errors(content)]


def test_the_committed_file_is_current() -> None:
    committed = (REPOSITORY / "config" / "stack.schema.json").read_text()
    assert committed == json_schema.text(), "run ./flatline schema"


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema.schema())


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("Pulumi.*.yaml")), ids=lambda path: path.name)
def test_the_stack_files_fit(path: Any) -> None:
    assert problems(yaml.safe_load(path.read_text())) == []


@pytest.mark.parametrize(
    "config",
    [
        {"flatline:domian": "a.b"},
        {"flatline:redis": {"masters": "3"}},
        {"flatline:redis": {"master": 3}},
        {"flatline:redis": {"masters": 2}},
        {"flatline:target": {"kind": "moon"}},
        {"flatline:secrets": {"turn": {"epoch": 0}}},
        {"flatlin:domain": "a.b"},
        {"flatline:images": {"digests": {"whisperr": "sha256:0"}}},
    ],
    ids=str,
)
def test_editors_find_the_mistakes_that_the_program_finds(config: dict[str, Any]) -> None:
    assert problems({"config": config})
    with pytest.raises(SettingsError):
        load({key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()})


def test_keys_of_the_engine_are_free() -> None:
    assert problems({"config": {f"{ENGINE_NAMESPACE}:anything": {"a": 1}}}) == []
    load({f"{ENGINE_NAMESPACE}:anything": "x"})


@pytest.mark.parametrize("namespace", PROVIDER_NAMESPACES)
def test_keys_of_default_providers_are_mistakes(namespace: str) -> None:
    assert problems({"config": {f"{namespace}:anything": {"a": 1}}})
    with pytest.raises(SettingsError):
        load({f"{namespace}:anything": "x"})


def test_a_secret_may_be_plain_or_encrypted_and_nothing_else() -> None:
    for value in ("plain", {"secure": "v1:a:b"}):
        assert problems({"config": {"flatline:secrets": {"turn": {"value": value}}}}) == []
    assert problems({"config": {"flatline:secrets": {"turn": {"value": {"secret": "x"}}}}})


def test_keys_are_described() -> None:
    described = json_schema.schema()["properties"]["config"]["properties"]["flatline:domain"]["description"]
    assert described == "Clients reach whisper., storage., cdn0. and cdn3. below it."


def test_the_command_writes_and_checks(checkout: Checkout) -> None:
    name = "config/stack.schema.json"
    file = checkout.module(name)
    file.write_text("{}")
    assert f"{name} is not current" in checkout.fail("schema", "--check")
    assert file.read_text() == "{}"
    checkout.succeed("schema")
    assert file.read_text() == (REPOSITORY / name).read_text()
    checkout.succeed("schema", "--check")
