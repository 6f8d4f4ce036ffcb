"""The schema of the component package: what every other language is generated from."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from config.version import VERSION
from docs import settings_table
from package.component import may_be_output
from tests.graph.stack import ROOT, load
from tests.unit.package.provider_process import asked

KEYS = {row.key.removeprefix("flatline:") for row in settings_table.rows()}


@cache
def schema() -> dict[str, Any]:
    found: dict[str, Any] = asked()["schema"]
    return found


def component() -> dict[str, Any]:
    found: dict[str, Any] = schema()["resources"]["flatline:index:Flatline"]
    return found


def inputs() -> dict[tuple[str, ...], dict[str, Any]]:
    return dict(properties(component()["inputProperties"]))


def properties(found: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every property below some, by its path as docs/configuration.md writes it."""
    for key, value in found.items():
        yield (*path, key), value
        inner, at = value, (*path, key)
        while "additionalProperties" in inner or "items" in inner:
            at = (*at[:-1], at[-1] + ("[]" if "items" in inner else ""), *(() if "items" in inner else ("<name>",)))
            inner = inner.get("items") or inner["additionalProperties"]
        reference = inner.get("$ref", "")
        if reference.startswith("#/types/"):
            yield from properties(schema()["types"][reference.removeprefix("#/types/")]["properties"], at)


def property_of(key: str) -> str:
    """The property that a key of the reference is, or is in: without what stands for names and items at its end."""
    return re.sub(r"(\.<name>|\[\])+$", "", key)


def test_it_is_one_component_of_our_name_and_version() -> None:
    assert (schema()["name"], schema()["version"]) == ("flatline", VERSION)
    assert list(schema()["resources"]) == ["flatline:index:Flatline"]
    assert component()["isComponent"]


def test_the_arguments_are_the_settings() -> None:
    """Each key of the configuration reference is one, and each is a key or a block of keys there."""
    ours = {".".join(path) for path in inputs()}
    wanted = {property_of(key) for key in KEYS}
    assert wanted - ours == set()
    blocks = {property_of(key[: found.start()]) for key in KEYS for found in re.finditer(r"\.", key)}
    assert {each for each in ours - wanted if not each.endswith(".kind")} <= blocks


@pytest.mark.parametrize("part", ["inputProperties", "properties"])
def test_everything_is_typed_and_described(part: str) -> None:
    found = dict(properties(component()[part]))
    assert len(found) > 10
    for path, value in found.items():
        assert len(value["description"].split()) > 1, path
        assert "\n" not in value["description"], path
        assert value.get("type") or value.get("$ref"), path
    assert [path for path, value in found.items() if "Any" in json.dumps(value)] == (
        [("telemetry", "exporters")] if part == "inputProperties" else []
    )
    assert all(each["description"] for each in schema()["types"].values())


def test_only_secrets_and_a_certificate_of_one_s_own_may_be_outputs() -> None:
    found = inputs()
    taken = {path for path, value in found.items() if not value.get("plain")}
    assert taken == {
        ("secrets", "<name>", "value"),
        *(("certificates", "provided", part) for part in ("certificate", "privateKey", "authority")),
    }
    assert {path for path in found if may_be_output(path)} == taken


def test_what_a_block_needs_is_required() -> None:
    assert component()["requiredInputs"] == []
    assert schema()["types"]["flatline:index:Turn"]["required"] == ["host"]
    assert schema()["types"]["flatline:index:Aws"]["required"] == ["account", "identity", "networks", "redis", "region"]
    assert schema()["types"]["flatline:index:AwsIdentity"]["required"] == ["kind"], "the others are for one kind each"


def test_the_outputs_are_those_of_a_stack() -> None:
    assert component()["properties"].keys() == load("dev").recording.outputs.keys()
    assert component()["required"] == sorted(component()["properties"])


def test_pulumi_finds_the_package() -> None:
    folder = ROOT / "package"
    assert (folder / "PulumiPlugin.yaml").is_file()
    assert (folder / "__main__.py").is_file()
