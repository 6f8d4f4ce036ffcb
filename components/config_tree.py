"""Trees of configuration: merging constants with wiring, and writing them as stable text."""

import json
from collections.abc import Mapping
from functools import reduce
from typing import Any

import pulumi
import yaml


class ConflictError(ValueError):
    """The same path has a value in two places."""


def nested(paths: Mapping[str, Any]) -> dict[str, Any]:
    """A tree from dotted paths: `{"a.b": 1}` is `{"a": {"b": 1}}`."""
    tree: dict[str, Any] = {}
    for path, value in paths.items():
        branch = reduce(lambda inner, part: {part: inner}, reversed(path.split(".")), value)
        tree = merged(tree, branch)
    return tree


def merged(*trees: Mapping[str, Any]) -> dict[str, Any]:
    """All trees in one. A path that has a value in two of them raises ConflictError: one of them is not its origin."""
    result: dict[str, Any] = {}
    for tree in trees:
        _merge(result, tree, ())
    return result


def _merge(into: dict[str, Any], tree: Mapping[str, Any], path: tuple[str, ...]) -> None:
    for key, value in tree.items():
        here = (*path, key)
        if key not in into:
            into[key] = merged(value) if isinstance(value, Mapping) else value
        elif isinstance(into[key], dict) and isinstance(value, Mapping):
            _merge(into[key], value, here)
        else:
            raise ConflictError(f"{'.'.join(here)} has two values: it is defined as a constant and wired")


_LINE_BREAKS = {"\x85", "\u2028", "\u2029"}
"""Characters that YAML takes for the end of a line; only a double-quoted text escapes them."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = '"' if _LINE_BREAKS & set(value) else "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def to_yaml(tree: Any) -> str:
    """Stable YAML: sorted keys, no aliases, no folded lines."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=10_000)


def to_json(tree: Any) -> str:
    """Stable JSON: sorted keys, indented, with a final newline."""
    return json.dumps(tree, sort_keys=True, indent=2) + "\n"


def yaml_of(tree: pulumi.Input[Any]) -> pulumi.Output[str]:
    """The YAML of a tree that holds Outputs; secret if any of them is."""
    return pulumi.Output.from_input(tree).apply(to_yaml)


def json_of(tree: pulumi.Input[Any]) -> pulumi.Output[str]:
    """The JSON of a tree that holds Outputs; secret if any of them is."""
    return pulumi.Output.from_input(tree).apply(to_json)


def shared_credentials(access_key_id: pulumi.Input[str], secret: pulumi.Input[str]) -> pulumi.Output[str]:
    """A key pair in the form of AWS's shared credentials file, in its profile `default`."""
    return pulumi.Output.concat(
        "[default]\naws_access_key_id = ", access_key_id, "\naws_secret_access_key = ", secret, "\n"
    )
