"""A value that is not known yet makes a rule undecided for that resource, and nothing else."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from policies.check import check
from policies.model import Resource, UndecidedError
from policies.unknown import UNKNOWN, guarded
from tests.unit.policies.good import CLUSTER, Path, changed, config, resource


def known(stack: Mapping[str, Any]) -> list[Resource]:
    found = [resource(plain) for plain in stack.values()]
    return [replace(entry, properties=guarded(entry.properties)) for entry in found]


def test_reading_one_tells_its_path() -> None:
    value = guarded({"a": [{"b": UNKNOWN, "c": 1}]})
    assert value["a"][0]["c"] == 1
    for method, arguments in (("__getitem__", ["b"]), ("get", ["b"]), ("items", []), ("values", [])):
        with pytest.raises(UndecidedError, match=r"^a\.0\.b$"):
            getattr(value["a"][0], method)(*arguments)
    with pytest.raises(UndecidedError, match=r"^1$"):
        list(guarded([1, UNKNOWN]))


def test_a_text_may_mean_that_nobody_knows() -> None:
    value = guarded({"a": ["?", "!"]}, unknown={"?"})
    assert value["a"][1] == "!"
    with pytest.raises(UndecidedError, match=r"^a\.0$"):
        value["a"][0]


def test_what_is_known_is_as_it_was() -> None:
    assert known(CLUSTER)[0].properties == CLUSTER["namespace"]["properties"]
    report = check(known(CLUSTER), config())
    assert report.findings == ()
    assert report.undecided == ()


@pytest.mark.parametrize(
    ("path", "rules"),
    [
        (("spec", "template", "spec", "hostNetwork"), {"pod-host-namespaces"}),
        (("spec", "replicas"), {"disruption-budget", "volume-one-writer"}),
    ],
)
def test_only_rules_that_need_it_are_undecided(path: Path, rules: set[str]) -> None:
    report = check(known(changed(CLUSTER, "web", ("properties", *path), UNKNOWN)), config())
    assert {outcome.rule.name for outcome in report.undecided} == rules
    assert {outcome.path for outcome in report.undecided} == {".".join(map(str, path))}
    assert report.findings == ()
    assert report.exit_code == 0


def test_other_resources_are_judged_all_the_same() -> None:
    stack = changed(CLUSTER, "web", ("properties", "spec", "template", "spec", "hostNetwork"), UNKNOWN)
    stack = changed(stack, "cache", ("properties", "spec", "template", "spec", "hostNetwork"), True)
    report = check(known(stack), config())
    assert [found.where for found in report.findings] == ["StatefulSet/shop/cache"]
    assert [outcome.where for outcome in report.undecided] == ["Deployment/shop/web"]


def test_a_name_that_is_not_known_yet_is_the_logical_one() -> None:
    stack = changed(CLUSTER, "files", ("properties", "metadata", "name"), UNKNOWN)
    report = check(known(stack), config())
    assert report.undecided == ()
    assert "ConfigMap/shop/files" in {entry.label for entry in known(stack)}
