"""docs/configuration.md says of every key what it is, once, in the form that one types."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from config import descriptions
from config.loading import SettingsError, load
from config.settings import Settings
from docs import generate, settings_table
from docs.settings_table import FREE_NAMES, ITEM, NAME
from render import stack_file

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
ROWS = settings_table.rows()
NAMES = dict(settings_table.names())
PRODUCT = ("capacity", "cli", "client_kit", "components", "config", "connectivity", "migration", "render")


def test_the_generated_documents_are_current() -> None:
    stale = [path.name for path, text in generate.documents().items() if path.read_text() != text]
    assert not stale, "run python -m docs.generate"


def test_no_key_is_there_twice_and_every_key_has_a_meaning() -> None:
    keys = [row.key for row in ROWS]
    assert len(keys) > 150
    assert len(set(keys)) == len(keys)
    assert not [row.key for row in ROWS if len(row.meaning.split()) < 2 or row.meaning.count("`") % 2]
    assert not [row.key for row in ROWS if not row.form or not row.default]


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A block and all blocks below it."""
    yield model
    for field in model.model_fields.values():
        for kind in settings_table.shape(field.annotation)[1]:
            if settings_table.is_block(kind):
                yield from models(kind)


def test_a_key_that_a_text_names_is_one() -> None:
    """In documents, and in messages of the product: `flatline:calls.turn`, `flatline:scaling.whisper`."""
    known = [row.key.replace(ITEM, "").split(".") for row in ROWS]
    for path in [*DOCUMENTS, *(path for folder in PRODUCT for path in (ROOT / folder).rglob("*.py"))]:
        for text in re.findall(r"flatline:\w[\w.<>\[\]-]*(?![\w:])", path.read_text()):
            named = text.rstrip(".").replace(ITEM, "").split(".")
            assert any(
                len(named) <= len(key) and all(each in {part, "<name>"} for part, each in zip(named, key, strict=False))
                for key in known
            ), f"{path.name}: {text}"


def test_every_key_of_every_block_is_there() -> None:
    last = {re.sub(r"(\[\]|\.<name>)*$", "", row.key).rpartition(".")[2].rpartition(":")[2] for row in ROWS}
    for model in models(Settings):
        for name, field in model.model_fields.items():
            inner = settings_table.shape(field.annotation)[1]
            plain = isinstance(field.default, BaseModel) and len(inner) == 1  # its keys are there instead
            key = field.alias or name
            assert plain or key == "kind" or key in last, f"{model.__name__}.{name}"


def test_every_key_of_a_block_with_kinds_says_for_which() -> None:
    unions = [row.key for row in ROWS if "`kind: " in row.form]
    assert {"flatline:target", "flatline:registration", "flatline:target.aws.redis"} <= set(unions)
    for row in ROWS:
        inside = [union for union in unions if row.key.startswith(f"{union}.")]
        if inside:
            known = re.findall(r"`kind: ([a-z-]+)`", next(each for each in ROWS if each.key == inside[-1]).form)
            told = row.kinds or re.findall(r"`kind: ([a-z-]+)`", row.meaning)
            assert told, row.key
            assert set(told) <= set(known), row.key


def test_every_name_is_listed() -> None:
    wanted = {row.key[: found.end()] for row in ROWS for found in re.finditer(re.escape(NAME), row.key)}
    assert wanted == {key for key in NAMES if key.endswith(NAME)}
    assert set(FREE_NAMES) < {key.removesuffix(NAME) for key in NAMES}, "what is not checked any more"
    assert all(f"`{each}`" in NAMES["flatline:scaling.<name>"] for each in ("whisper", "cdn3"))
    document = (ROOT / "docs" / "configuration.md").read_text()
    assert all(f"| `{key}` | {names} |" in document for key, names in NAMES.items())


@pytest.mark.parametrize(
    ("block", "key"),
    [
        ({"secrets": {"nobody": {"epoch": 2}}}, "flatline:secrets.<name>"),
        ({"scaling": {"nobody": {"replicas": 2}}}, "flatline:scaling.<name>"),
        ({"egress": {"nobody": [{"cidr": "203.0.113.7/32", "ports": [1]}]}}, "flatline:egress.<name>"),
        ({"images": {"digests": {"nobody": f"sha256:{'a' * 64}"}}}, "flatline:images.digests.<name>"),
        ({"whisper": {"dynamicConfig": {"limits": {"nobody": {}}}}}, "flatline:whisper.dynamicConfig.limits.<name>"),
        ({"telemetry": {"exporters": {"nobody": {}}}}, "flatline:telemetry.exporters.<name>"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_name_that_is_not_listed_is_refused(block: dict[str, Any], key: str) -> None:
    assert "`nobody`" not in NAMES[key]
    ((name, content),) = block.items()
    with pytest.raises(SettingsError):
        load({f"flatline:{name}": yaml.safe_dump(content)})


def test_defaults_are_as_one_types_them() -> None:
    for row in ROWS:
        if not re.fullmatch(r"`(?!kind: ).*`", row.default):
            assert row.default in {"none", "required"} or row.default.startswith("`kind: "), row
            continue
        assert not re.search(r"True|False|None|[{[]'", row.default), "as Python writes it"
        assert yaml.safe_load(row.default[1:-1]) == default_of(row.key), row.key


def default_of(key: str) -> Any:
    """What the models have for a key of the table."""
    found = []

    def search(model: type[BaseModel], prefix: str) -> None:
        for name, field in model.model_fields.items():
            suffix, kinds, _ = settings_table.shape(field.annotation)
            here = f"{prefix}{field.alias or name}{suffix}"
            if here == key:
                found.append(field.default)
            for kind in kinds:
                if settings_table.is_block(kind):
                    search(kind, f"{here}.")

    search(Settings, "flatline:")
    assert found, key
    return found[0]


BLOCKS = [
    (path, block)
    for path in DOCUMENTS
    for block in re.findall(r"^ *```yaml\n(.*?)^ *```", path.read_text(), re.M | re.S)
    if block.startswith("config:")
]


@pytest.mark.parametrize(("path", "block"), BLOCKS, ids=[path.name for path, _ in BLOCKS])
def test_examples_of_stack_files_are_taken(path: Path, block: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "Pulumi.yaml", tmp_path)
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(block)
    load(stack_file.read(file, lambda: "none").config)


def test_there_are_examples() -> None:
    assert {path.name for path, _ in BLOCKS} >= {"README.md", "configuration.md", "operations.md"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_no_example_is_written_with_dots(path: Path) -> None:
    """`flatline:target.context: k3s` is how a document names a key, and nothing that a file takes."""
    assert not re.findall(r"`(?:flatline:)?[a-zA-Z]+\.[a-zA-Z.]+: [^`]+`", path.read_text())


def test_types_of_names_are_known() -> None:
    for model in models(Settings):
        for field in model.model_fields.values():
            for _, kind in settings_table.shape(field.annotation)[2]:
                assert get_origin(kind) is not None or kind is str, (model, get_args(kind))
    assert ITEM in "".join(row.key for row in ROWS)


def test_descriptions_are_read_when_they_are_asked_for() -> None:
    """pydantic would look for them each time that a command starts, for a third of a second."""
    assert not [name for model in models(Settings) for name, field in model.model_fields.items() if field.description]
    assert "domain" in descriptions.of(Settings)
    assert descriptions.of(Settings).keys() <= Settings.model_fields.keys()
