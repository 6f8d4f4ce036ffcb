"""Pages that are made of the commands: each with its options (cli/arguments.py), and the form of its JSON (cli/forms).

Both are read as Python has them, so that the help, the pages and what is printed cannot differ.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from cli import arguments
from cli.forms import FORMS
from config import descriptions
from docs import settings_table

JSON_INTRODUCTION = """
# JSON for programs

Generated from `cli/forms/` by `.venv/bin/python -m docs.generate`. [json.schema.json](json.schema.json) is the same as
a JSON Schema, with a definition for each command.

Every command that shows something takes `--json` and then prints one JSON object on standard output, and nothing else:
progress, questions and warnings go to standard error, and the exit status is the same. No object holds a secret.

`version` is 1. It is raised when a key goes away or means something else; new keys may come at any time, so pass over
what you do not know. Times are ISO 8601 with their zone; what is not known, or not there, is null.

In the tables a dot leads into an object, and `[]` is each item of a list.

```sh
./flatline status --json
```
"""


def commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Every command that can be run: its words, its line in the list of commands, and its parser."""
    for group in _groups(parser):
        lines = {action.dest: action.help or "" for action in group._choices_actions}
        for word, inner in group.choices.items():
            words = f"{name} {word}".strip()
            if _groups(inner):
                yield from commands(inner, words)
            else:
                yield words, lines[word], inner


def table() -> str:
    """The list of commands, for docs/commands.md."""
    rows = [f"| [`{name}`](reference.md#{anchor(name)}) | {line} |" for name, line, _ in commands(arguments.parser())]
    return "\n".join(["| command | what it does |", "| --- | --- |", *rows, ""])


def anchor(name: str) -> str:
    """That of a command's part in both pages."""
    return name.replace(" ", "-")


def reference() -> str:
    """docs/reference.md."""
    lines = [
        "# Every command with its options",
        "",
        "Generated from `cli/arguments.py` by `.venv/bin/python -m docs.generate`: what `./flatline <command> --help`",
        "says. [commands.md](commands.md) explains how commands behave together.",
    ]
    for name, line, parser in commands(arguments.parser()):
        lines += ["", f"## `{name}`", "", f"{line[0].upper()}{line[1:]}.", "", *_description(parser.description or "")]
        lines += ["", "| option | what it does |", "| --- | --- |", *_options(parser)]
        if name in FORMS:
            lines += ["", f"[json.md](json.md#{anchor(name)}) has the keys of `--json`."]
    return "\n".join([*lines, ""])


def _description(text: str) -> Iterator[str]:
    """Paragraphs as they are; indented lines, which are examples, as blocks."""
    for indented, several in groupby(text.strip().splitlines(), lambda line: line.startswith(" ")):
        lines = [line.rstrip() for line in several]
        if indented:
            yield from ("```text", *(line.removeprefix("  ") for line in lines), "```")
        else:
            yield from ((f"**{line.capitalize()}**\n" if line in {"example:", "examples:"} else line) for line in lines)


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if action.dest == "help":
            continue
        values = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest)
        takes = action.nargs != 0
        names = [f"{each} {values}" if takes else each for each in action.option_strings] or [str(values)]
        text = (action.help or "") % {**vars(action), "prog": parser.prog}
        required = " (required)" if action.required and action.option_strings else ""
        yield f"| {', '.join(f'`{each}`' for each in names)} | {_cell(text)}{required} |"


def _groups(parser: argparse.ArgumentParser) -> list[Any]:
    return [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]


def json_page() -> str:
    """docs/json.md."""
    lines = [JSON_INTRODUCTION.strip()]
    for name, forms in FORMS.items():
        lines += ["", f"## `{name}`"]
        for form in forms:
            lines += ["", " ".join((form.__doc__ or "").split()), "", "| key | form | meaning |", "| --- | --- | --- |"]
            lines += [f"| `{key}` | {kind} | {_cell(text)} |" for key, kind, text in keys(form)]
    return "\n".join([*lines, ""])


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Every key of a form with the form of its value, and what it means."""
    texts = descriptions.of(model)
    for name, field in model.model_fields.items():
        suffix, kinds, _ = settings_table.shape(field.annotation)
        key = f"{prefix}{field.alias or name}"
        nullable = type(None) in get_args(field.annotation)
        yield key, _form(suffix, kinds) + (" or null" if nullable else ""), texts.get(name, "")
        for kind in kinds:
            if settings_table.is_block(kind):
                yield from keys(kind, f"{key}{suffix}.")


def _form(suffix: str, kinds: Sequence[Any]) -> str:
    one = " or ".join(map(_kind, kinds))
    if suffix.startswith(settings_table.NAME):
        return f"object: {one} by name"
    if suffix:
        return "list of lists" if suffix == settings_table.ITEM * 2 else f"list, each {one}"
    return one


def _kind(kind: Any) -> str:
    if settings_table.is_block(kind) or get_origin(kind) is dict:
        return "object"
    if get_origin(kind) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(kind))
    return {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "value"}[kind]


def json_schema() -> str:
    """docs/json.schema.json: a definition for each command, and for each block. Keys that come later are allowed."""
    found: dict[str, Any] = {}
    for name, forms in FORMS.items():
        made = [descriptions.schema(form) for form in forms]
        for block, content in (item for each in made for item in each.pop("$defs", {}).items()):
            assert found.setdefault(block, content) == content, f"two blocks are called {block}"
        found[name] = made[0] if len(made) == 1 else {"anyOf": made}
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": found}
    return json.dumps(_open(schema), indent=1) + "\n"


def _open(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            key: _open(value)
            for key, value in schema.items()
            if key not in {"additionalProperties", "title"} or not isinstance(value, (bool, str))
        }
    return [_open(each) for each in schema] if isinstance(schema, list) else schema


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
