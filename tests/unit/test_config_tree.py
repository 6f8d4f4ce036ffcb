"""Configuration trees: merging refuses two origins, and texts are stable."""

import json

import pulumi
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from components.config_tree import ConflictError, merged, nested, to_json, to_yaml, yaml_of
from render.recorder import record
from render.values import SeededValues

KEYS = st.text(alphabet="abc", min_size=1, max_size=2)
LEAVES = st.integers() | st.text(max_size=8) | st.booleans() | st.lists(st.integers(), max_size=2)
TREES = st.recursive(LEAVES, lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=8)


def test_trees_are_joined() -> None:
    assert merged({"a": {"b": 1}}, {"a": {"c": 2}}, {"d": 3}) == {"a": {"b": 1, "c": 2}, "d": 3}


@pytest.mark.parametrize("other", [{"a": {"b": 1}}, {"a": 2}, {"a": {"b": {"c": 1}}}])
def test_a_value_with_two_origins_is_an_error(other: dict[str, object]) -> None:
    with pytest.raises(ConflictError, match=r"^a(\.b)? has two values"):
        merged({"a": {"b": 1}}, other)


@given(st.dictionaries(KEYS, TREES, max_size=3))
def test_merging_changes_none_of_its_arguments(tree: dict[str, object]) -> None:
    before = json.dumps(tree)
    into = merged(tree)
    assert into == tree
    merged(into, {"new": {"x": 1}})
    assert json.dumps(tree) == before


def test_paths_become_trees() -> None:
    assert nested({"a.b.c": 1, "a.d": 2}) == {"a": {"b": {"c": 1}, "d": 2}}


@example("\x85")
@example({"a": "x\u2028y\nz"})
@given(TREES)
def test_yaml_reads_back(tree: object) -> None:
    assert yaml.safe_load(to_yaml(tree)) == tree


def test_texts_are_stable() -> None:
    one, other = {"b": 1, "a": [1]}, {"a": [1], "b": 1}
    assert to_yaml(one) == to_yaml(other) == "a:\n- 1\nb: 1\n"
    assert to_json(one) == to_json(other)
    shared = [1]
    assert "&" not in to_yaml({"a": shared, "b": shared})
    assert to_yaml({"pem": "x\ny\n"}) == "pem: |\n  x\n  y\n"


def test_a_secret_stays_secret_in_a_text() -> None:
    def program() -> None:
        pulumi.export("secret", yaml_of({"password": pulumi.Output.secret("hidden"), "user": "me"}))
        pulumi.export("plain", yaml_of({"user": pulumi.Output.from_input("me")}))

    recording = record(program, project="flatline", stack="unit", config={}, values=SeededValues())
    assert recording.secret_outputs == {"secret"}
    assert recording.outputs["secret"] == "password: hidden\nuser: me\n"
