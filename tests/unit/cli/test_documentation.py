"""docs/commands.md and the help texts say what there is."""

import argparse
import re
from collections.abc import Iterator

import pytest

from cli import arguments
from tests.unit.cli.checkout import REPOSITORY

REFERENCE = (REPOSITORY / "docs" / "reference.md").read_text()
DOCUMENT = (REPOSITORY / "docs" / "commands.md").read_text()


def commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that can be run, by its words."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield name, parser
    for group in groups:
        for word, inner in group.choices.items():
            yield from commands(inner, f"{name} {word}".strip())


COMMANDS = dict(commands(arguments.parser()))


def test_every_command_is_in_the_table_with_its_line_and_its_part_of_the_reference() -> None:
    """Both are generated; `unit/test_configuration_document.py` says that they are current."""
    listed = dict(re.findall(r"^\| \[`([a-z ]+)`\]\(reference.md#([a-z-]+)\) \|", DOCUMENT, re.M))
    assert set(listed) == set(COMMANDS)
    parts = dict(re.findall(r"^## `([a-z ]+)`\n(.*?)(?=^## |\Z)", REFERENCE, re.M | re.S))
    assert set(parts) == set(COMMANDS)
    for name, parser in COMMANDS.items():
        assert listed[name] == name.replace(" ", "-")
        options = set(parser._option_string_actions) - {"-h", "--help"}
        assert all(f"`{option}" in parts[name] for option in options)
        assert (parser.description or "").splitlines()[0] in parts[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_that_decides_something_is_explained(name: str) -> None:
    own = {option for action in COMMANDS[name]._actions for option in action.option_strings if option.startswith("--")}
    everyday = {"--help", "--output", "--check", "--domain"}
    assert {option for option in own if option not in DOCUMENT} <= everyday


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_and_fits_80_columns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = COMMANDS[name].format_help()
    assert f"./flatline {name}" in text.partition("example")[2]
    assert max(len(line) for line in text.splitlines()) <= 80
    assert all(action.help for action in COMMANDS[name]._actions if action.option_strings)


def test_examples_can_be_typed() -> None:
    for name, parser in COMMANDS.items():
        for line in parser.format_help().partition("example")[2].splitlines():
            words = re.match(r"  (?:.* \| )?\./flatline (\S.*?)(?:   | > |$)", line)
            if words:
                parsed = arguments.parse(words[1].split())
                assert parsed.command == name.replace(" ", "-"), line
