"""Nothing that a report says is a value: not in a message, not in a table, not in JSON, not in SARIF."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from policies import output
from policies.check import check
from policies.report import Report
from tests.unit.policies.cases import CASES, Edit
from tests.unit.policies.good import ABSENT, STACKS, Path, Plain, changed, check_edit, config, resources
from tests.unit.policies.test_rules import edited

PLANTED = "Zk93vRr1pXw8sLq2Tn5YbHc7Md4Fg6Jx"
NAMES = {"name", "namespace"}
"""What messages are made of: names of objects, containers, volumes, ports and variables."""


def texts(report: Report) -> str:
    """Everything that a report can be turned into."""
    said = "\n".join(line.text for line in output.lines(report))
    return said + json.dumps(output.as_document(report)) + output.as_sarif(report, program="Pulumi.test.yaml")


def said(report: Report) -> str:
    """The parts of a report that are made from resources."""
    undecided = [f"{outcome.where} {outcome.path}" for outcome in report.undecided]
    return "\n".join(
        [f"{found.where}: {found.message}" for found in report.findings] + undecided + list(report.problems)
    )


def leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    """The paths of all plain values."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from leaves(entry, (*path, key))
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from leaves(entry, (*path, index))
    else:
        yield path


def repeating(stack: str, edited: dict[str, Plain], places: Iterable[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """The places of a stack, by resource and path, whose value a report says."""
    good = resources(STACKS[stack])

    def is_said(name: str, path: Path) -> bool:
        return PLANTED in said(check_edit(good, resources(changed(edited, name, path, PLANTED)), config()))

    return [(name, path) for name, path in places if path[-1] not in NAMES and is_said(name, path)]


@pytest.mark.parametrize("stack", STACKS)
def test_no_value_of_a_good_example_is_said(stack: str) -> None:
    places = [
        (name, ("properties", *path)) for name, each in STACKS[stack].items() for path in leaves(each["properties"])
    ]
    assert repeating(stack, STACKS[stack], places) == []


def test_no_value_that_a_rule_looks_at_is_said() -> None:
    for name, case in CASES.items():
        for edit in (case.bad, *case.more):
            if edit.value is not ABSENT and edit.path[:1] == ("properties",):
                places = [(edit.resource, path) for path in leaves(edit.value, edit.path)]
                assert repeating(edit.stack, edited(edit), places) == [], name


def test_a_secret_is_found_and_not_repeated_in_any_form_of_the_report() -> None:
    places = [
        Edit(resource="web", path=(*CASES["pod-secret-values"].bad.path, "value"), value=PLANTED),
        Edit(resource="files", path=("properties", "data", "shop.yaml"), value=f"key: {PLANTED}\n"),
        Edit(resource="web", path=CASES["pod-image-version"].bad.path, value=f"{PLANTED}.test/{PLANTED}:{PLANTED}"),
    ]
    for edit in places:
        report = check(resources(edited(edit)), config())
        assert report.mandatory
        assert PLANTED not in texts(report)


def test_names_are_said() -> None:
    report = check(resources(edited(CASES["pod-privileged"].bad)), config())
    assert "Deployment/shop/web: container web" in said(report)
    assert "container web" in texts(report)
