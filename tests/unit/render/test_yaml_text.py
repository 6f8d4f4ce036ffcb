"""YAML for manifests: exact text, and the same value back from a YAML 1.1 reader."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from render.yaml_text import dump

TEXTS = st.text() | st.text(st.sampled_from(" \n\t:#-'\"{}[]&*!|>%@`,?y~=<1.e0\r\x85\u2028\ufeff\x7f"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_reads_back(value: dict[str, Any]) -> None:
    text = dump(value)
    for loader in (yaml.SafeLoader, yaml.CSafeLoader):
        assert yaml.load(text, Loader=loader) == value


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_keys_are_sorted_at_every_depth(value: dict[str, Any]) -> None:
    def keys(node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            names = [key.value for key, _ in node.value]
            assert names == sorted(names)
        for child in node.value if isinstance(node, yaml.CollectionNode) else ():
            for part in child if isinstance(child, tuple) else (child,):
                keys(part)

    document = yaml.compose(dump(value), Loader=yaml.CSafeLoader)
    assert document is not None
    keys(document)


def test_form() -> None:
    value = {
        "kind": "ConfigMap",
        "data": {
            "config.yaml": "a: 1\n\n  b: 2\n",
            "indented": "  x\ny",
            "kept": "x\n\n\n",
            "script": "#!/bin/sh\nexit",
        },
        "list": [{"name": "a", "args": ["--port", "80", 80]}, [], {}, [[1], [2]], "x\ny\n"],
        "shared": [{"a": 1}] * 2,
        "long": "word " * 60 + "end",
        "none": None,
    }
    assert dump(value) == (
        "data:\n"
        "  config.yaml: |\n"
        "    a: 1\n"
        "\n"
        "      b: 2\n"
        "  indented: |2-\n"
        "      x\n"
        "    y\n"
        "  kept: |+\n"
        "    x\n"
        "\n"
        "\n"
        "  script: |-\n"
        "    #!/bin/sh\n"
        "    exit\n"
        "kind: ConfigMap\n"
        "list:\n"
        "- args:\n"
        '  - "--port"\n'
        '  - "80"\n'
        "  - 80\n"
        "  name: a\n"
        "- []\n"
        "- {}\n"
        "- - - 1\n"
        "  - - 2\n"
        "- |\n"
        "  x\n"
        "  y\n"
        f"long: {'word ' * 60}end\n"
        "none: null\n"
        "shared:\n"
        "- a: 1\n"
        "- a: 1\n"
    )


@pytest.mark.parametrize(
    "text",
    ["yes", "No", "on", "OFF", "true", "null", "~", "1", "0x1", "1e3", "1:30", "2024-01-01", ".5", "", "=", "<<"],
)
def test_text_that_looks_like_something_else_is_quoted(text: str) -> None:
    assert dump({"key": text}) == f'key: "{text}"\n'


@pytest.mark.parametrize(
    "text",
    [
        "docker.io/library/redis:8.10.2",
        "/etc/x",
        "a b",
        "Host=x",
        "redis://x:6379/0",
        "a,b",
        "e5",
        "nan",
        "latest@sha256",
    ],
)
def test_plain_where_plain_is_safe(text: str) -> None:
    assert dump({"key": text}) == f"key: {text}\n"


@pytest.mark.parametrize(
    ("number", "text"), [(1e21, "1.0e+21"), (1e-7, "1.0e-07"), (1.5e30, "1.5e+30"), (0.5, "0.5"), (3, "3")]
)
def test_numbers(number: float, text: str) -> None:
    assert dump({"key": number}) == f"key: {text}\n"
    assert yaml.safe_load(dump({"key": number})) == {"key": number}


def test_values_that_json_does_not_have() -> None:
    with pytest.raises(TypeError, match="cannot write a set"):
        dump({"key": {1}})
    with pytest.raises(ValueError, match="JSON compliant"):
        dump({"key": float("nan")})
