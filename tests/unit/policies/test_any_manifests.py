"""No text ends or hangs a check: whatever is written, a report says what was found and what was not read."""

import json
import tempfile
from pathlib import Path
from typing import Any, Final

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from policies import output, yaml_text
from policies.check import check_manifests
from policies.config import load
from policies.manifests import ManifestError, read
from policies.pods import TEMPLATES
from policies.report import Report
from policies.yaml_text import Document
from tests.unit.policies.good import CLUSTER

CONFIG: Final = load(profile="manifests")
EXAMPLES: Final = settings(deadline=None, suppress_health_check=list(HealthCheck))
OBJECTS: Final = [
    {
        "apiVersion": resource["type"].split(":")[1].removeprefix("core/"),
        "kind": resource["type"].split(":")[2],
        **resource["properties"],
    }
    for resource in CLUSTER.values()
    if resource["type"].startswith("kubernetes:")
]
SCALARS: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "=", "2024-13-45", "22:22", "<<", "*a", "&a", "0777", "\x1b[31m", "\ud83d", "{{ .a }}", "%"]),
)
VALUES: Final = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
KINDS: Final = st.sampled_from([*TEMPLATES, "Service", "NetworkPolicy", "ConfigMap", "Ingress", "IngressRoute", "List"])
FRAGMENTS: Final = st.one_of(
    st.sampled_from(
        ["\n", "---\n", "...\n", "- ", "  ", ": ", "? ", "|\n", ">\n", '"', "'", "{", "}", "[", "]", ",", "#"]
    ),
    st.sampled_from(
        ["&a ", "*a", "<<: ", "!!int ", "!x ", "%", "\t", "\r\n", "\ufeff", "\x00", "\x85", "\u2028", "\\ud83d"]
    ),
    st.sampled_from(["a", "=", "~", "0x", "1e999", ".nan", "apiVersion: v1\n", "metadata: {name: a}\n", "items:\n"]),
    st.sampled_from(["kind: Pod\n", "kind: PodList\n", "spec: {containers: [{name: a}]}\n", "{{ .a }}"]),
)


def checked(content: str, name: str = "a.yaml") -> Report | None:
    """The report of a file with this text, in its three forms; None where nothing in it is an object."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).write_bytes(content.encode("utf-8", "surrogatepass"))
        try:
            report = check_manifests(read(Path(folder)), CONFIG)
        except ManifestError:
            return None
    assert list(output.lines(report))
    for written in (json.dumps(output.as_document(report)), output.as_sarif(report, program=name)):
        json.loads(written.encode())
    assert all("\n" not in line and line.startswith(name) for line in report.unread)
    return report


@EXAMPLES
@given(st.lists(FRAGMENTS | st.text(max_size=5), max_size=40).map("".join))
@example("a: &a [*a]\n---\nkind: Pod\n")
def test_any_text_is_a_report(content: str) -> None:
    checked(content)


@EXAMPLES
@given(st.data())
def test_an_object_with_anything_anywhere_is_checked(data: st.DataObject) -> None:
    """A value of a good object is replaced; as JSON, and as YAML where YAML can have it."""
    mutated = json.loads(json.dumps(data.draw(st.sampled_from(OBJECTS))))
    for _ in range(data.draw(st.integers(1, 3))):
        _mutate(data, mutated)
    report = checked(json.dumps(mutated, allow_nan=False, default=str) if _is_json(mutated) else _yaml(mutated))
    assert report is None or report.resources or report.unread


def _mutate(data: st.DataObject, value: Any) -> None:
    inner = value
    while isinstance(inner, (dict, list)) and inner:
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(inner[key], (dict, list)) or data.draw(st.integers(0, 4)) == 0:
            inner[key] = data.draw(VALUES)
            return
        inner = inner[key]


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _yaml(value: Any) -> str:
    text: str = yaml.safe_dump(value, allow_unicode=True)
    return text


@EXAMPLES
@given(KINDS, st.dictionaries(st.sampled_from(["metadata", "spec", "data", "items", "rules", "subjects"]), VALUES))
def test_an_object_of_anything_is_checked(kind: str, fields: dict[str, Any]) -> None:
    if _is_json(fields):
        checked(json.dumps({"apiVersion": "v1", "kind": kind, **fields}))


@EXAMPLES
@given(
    st.integers(0, 10**6),
    st.sampled_from(OBJECTS),
    st.sampled_from(["", "\n", "---\n", "\x00", "'", "[", "*a", "\ufeff"]),
)
def test_a_file_that_was_cut_or_damaged_is_a_report(place: int, whole: dict[str, Any], damage: str) -> None:
    text = _yaml(whole)
    at = place % len(text)
    checked(text[:at] + damage)
    checked(text[:at] + damage + text[at:])


@EXAMPLES
@given(VALUES)
def test_what_yaml_writes_is_read_as_it_was(value: Any) -> None:
    if not _is_json(value) or not _is_text(value):
        return
    found = list(yaml_text.documents(json.dumps({"a": value}, ensure_ascii=False)))
    assert [each.value for each in found if isinstance(each, Document)] == [{"a": value}]


def _is_text(value: Any) -> bool:
    return "\\ud8" not in json.dumps(value) and "\\udf" not in json.dumps(value)
