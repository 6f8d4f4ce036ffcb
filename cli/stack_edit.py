"""Writes values into a stack's file and leaves every other line as it was, comments included."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

import files
from cli.stacks import ROOT, LoadedStack
from config.loading import load
from config.settings import PROJECT
from errors import FlatlineError
from render import stack_file

_INDENT = 2

Values = Mapping[tuple[str, ...], int | str | list[Any]]
"""Plain values by their path below `flatline:`, such as `("certificates", "leaf", "epoch")`."""
Secrets = Mapping[tuple[str, ...], str]
"""Values that are written encrypted."""
_NONE: Secrets = {}


def with_secret(text: str, path: Sequence[str], encrypted: str, salt: str) -> str:
    """The file's text with an encrypted value at a path below `flatline:`, and the salt if it had none.

    What stands beside it stays. Raises FlatlineError where the file is written in a form that cannot be edited.
    """
    try:
        text = _with_value(text, (*path, "secure"), encrypted)
    except FlatlineError:  # there is a plain value
        text = _with_value(text, path, f"{{ secure: {encrypted} }}")
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert root is not None, "it has at least the secret"
    return text if _entry(root, "encryptionsalt") else _inserted(text, root, 0, ["encryptionsalt"], salt)


_Pair = tuple[yaml.Node, yaml.Node]


def _entry(mapping: yaml.Node | None, *keys: str) -> _Pair | None:
    pairs: Sequence[_Pair] = mapping.value if isinstance(mapping, yaml.MappingNode) else ()
    return next((pair for pair in pairs if pair[0].value in keys), None)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _end(lines: Sequence[str], node: yaml.Node) -> int:
    """The line after a value's last one. A block ends, for PyYAML, where the next token begins."""
    block = isinstance(node, yaml.CollectionNode) and not node.flow_style
    literal = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
    end = node.end_mark.line if block or literal else node.end_mark.line + 1
    while end - 1 > node.start_mark.line and lines[end - 1].strip()[:1] in ("", "#"):
        end -= 1
    return end


def with_values(loaded: LoadedStack, values: Values, secrets: Secrets = _NONE) -> str:
    """The text of a stack's file with these values set, read back and checked as the engine would read it.

    Raises FlatlineError where the file is written in a form that cannot be edited, SettingsError for a value that the
    settings refuse. Writes nothing.
    """
    text = loaded.stack.file.read_text(encoding="utf-8")
    for path, value in values.items():
        text = _with_value(text, path, _written(value))
    salt = loaded.config.encryption_salt
    for path, secret in secrets.items():
        encrypted, salt = stack_file.encrypt(secret, loaded.passphrase(), salt)
        text = with_secret(text, path, encrypted, salt)
    read, expected = read_back(loaded, text), _with_all(loaded.config.config, {**values, **secrets})
    if _decoded(read) != _decoded(expected):
        plain, hidden = (", ".join(f"{PROJECT}:{'.'.join(path)}" for path in paths) for paths in (values, secrets))
        raise FlatlineError(
            f"{loaded.stack.file.name} is written in a form that this command cannot edit; it is as it was",
            *([f"Write there yourself: {plain}. Anchors and keys in quotes are such a form."] if plain else []),
            *([f"Set {hidden} with `pulumi config set --secret --path`."] if hidden else []),
        )
    load(expected)
    return text


def _written(value: int | str | list[Any]) -> str:
    """A value as it is written, in quotes where YAML would take it for something else."""
    if isinstance(value, str) and not re.search(r"[,\[\]{}]", value):
        with suppress(yaml.YAMLError):
            if yaml.safe_load(value) == value:
                return value
    return json.dumps(value)


def _with_value(text: str, path: Sequence[str], value: str) -> str:
    """The text with a plain value at a path below `config`; a flow mapping (in braces) stays one."""
    first = (path[0], f"{PROJECT}:{path[0]}", f"{PROJECT}:config:{path[0]}")
    spellings = [("config",), first, *((key,) for key in path[1:])]
    written = ["config", f"{PROJECT}:{path[0]}", *path[1:]]
    text = text if not text or text.endswith("\n") else text + "\n"
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is None:
        return text + _nested(0, written, value)
    column = -_INDENT
    for depth, keys in enumerate(spellings):
        found = _entry(node, *keys)
        if found is None:
            return _inserted(text, node, column + _INDENT, written[depth:], value)
        node, column = found[1], found[0].start_mark.column
    start = node.start_mark.index
    end = start + len(text[start : node.end_mark.index].rstrip())  # a block ends where the next token begins
    return f"{text[:start]}{'' if start < end else ' '}{value}{text[end:]}"


def _inserted(text: str, node: yaml.Node, indent: int, keys: Sequence[str], value: str) -> str:
    """The text with `keys`, each inside of the one before, as a new entry of a mapping or in place of nothing."""
    start, end = node.start_mark.index, node.end_mark.index
    if isinstance(node, yaml.MappingNode) and node.flow_style:
        entry = value
        for key in reversed(keys[1:]):
            entry = f"{{ {key}: {entry} }}"
        entry = f"{keys[0]}: {entry}"
        if not node.value:
            return f"{text[:start]}{{ {entry} }}{text[end:]}"
        at = node.value[0][0].start_mark.index
        return f"{text[:at]}{entry}, {text[at:]}"
    if isinstance(node, yaml.MappingNode):
        indent = node.value[0][0].start_mark.column
    elif _is_null(node):
        text = text[:start] + text[end:]
    else:
        raise FlatlineError(f"{keys[0]} cannot be written: what is in its place is no block of keys")
    lines = text.splitlines(keepends=True)
    at = _end(lines, node)
    return "".join([*lines[:at], _nested(indent, keys, value), *lines[at:]])


def _nested(indent: int, keys: Sequence[str], value: str) -> str:
    """A block of keys, each inside of the one before."""
    *outer, last = [f"{' ' * (indent + _INDENT * depth)}{key}:" for depth, key in enumerate(keys)]
    return "".join(f"{line}\n" for line in [*outer, f"{last} {value}"])


def _with_all(config: Mapping[str, str], values: Values) -> dict[str, str]:
    """A stack's configuration with these values."""
    changed = dict(config)
    for path, value in values.items():
        key = f"{PROJECT}:{path[0]}"
        block = inner = json.loads(changed.get(key) or "{}") or {}
        for name in path[1:-1]:
            inner[name] = inner.get(name) or {}
            inner = inner[name]
        inner[path[-1]] = value
        changed[key] = json.dumps(block)
    return changed


def _decoded(config: Mapping[str, str]) -> dict[str, Any]:
    """Values without what their JSON looks like."""

    def decoded(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text

    return {key: decoded(text) for key, text in config.items()}


def read_back(loaded: LoadedStack, text: str) -> dict[str, str]:
    """The configuration of a stack's file if it had this text, as the engine would read it."""
    with TemporaryDirectory(prefix="flatline-") as folder:
        copy = Path(folder) / loaded.stack.file.name
        copy.write_text(text, encoding="utf-8")
        (Path(folder) / "Pulumi.yaml").write_bytes((ROOT / "Pulumi.yaml").read_bytes())
        return dict(stack_file.read(copy, loaded.passphrase).config)


def replace(path: Path, text: str) -> None:
    """Gives a file another text, whole or not at all, under its own mode."""
    files.write(path, text.encode(), path.stat().st_mode & 0o777)
