"""Each rule on good examples of which one field is changed. The cases are in `cases`, the examples in `good`."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from policies.check import check
from policies.config import ConfigError, Exemption, parse
from policies.report import Report
from policies.rules import BY_NAME, RULES
from tests.unit.policies.cases import CASES, Case, Edit, web
from tests.unit.policies.good import ABSENT, STACKS, Plain, changed, check_edit, config, resources, without


def edited(edit: Edit) -> dict[str, Plain]:
    """The stack of an edit, with it."""
    stack = STACKS[edit.stack]
    if edit.value is ABSENT:
        return without(stack, edit.resource, edit.path)
    if not edit.path:  # a second one of the same identity
        return {**stack, f"{edit.resource}-again": {**stack[edit.resource], **edit.value}}
    return changed(stack, edit.resource, edit.path, edit.value)


def report_of(edit: Edit) -> Report:
    return check_edit(resources(STACKS[edit.stack]), resources(edited(edit)), config())


def found(edit: Edit) -> set[str]:
    """The rules that find something after an edit."""
    return rules_in(report_of(edit))


def rules_in(report: Report) -> set[str]:
    return {finding.rule.name for finding in report.findings}


@pytest.mark.parametrize("stack", STACKS)
def test_good_examples_pass(stack: str) -> None:
    report = check(resources(STACKS[stack]), config())
    assert [(finding.rule.name, finding.where, finding.message) for finding in report.findings] == []
    assert report.undecided == ()
    assert report.exit_code == 0


def misjudged(edits: Iterable[tuple[str, Edit, set[str]]]) -> list[tuple[str, Edit, set[str]]]:
    """Those of cases, edits and the rules that must find them that others find: the case, the edit, who found it."""
    judged = ((name, edit, found(edit) - CASES[name].also, expected) for name, edit, expected in edits)
    return [(name, edit, rules) for name, edit, rules, expected in judged if rules != expected]


def test_one_changed_field_is_found_by_exactly_this_rule() -> None:
    assert misjudged((name, case.bad, {name}) for name, case in CASES.items()) == []


def test_so_is_every_other_way_to_break_it() -> None:
    assert misjudged((name, edit, {name}) for name, case in CASES.items() for edit in case.more) == []


@pytest.mark.parametrize(
    ("claim", "known"), [("data-cache-0", True), ("data-cache-x", False), ("data-web-0", False), ("cache-0", False)]
)
def test_a_claim_that_a_stateful_set_makes_is_of_the_stack(claim: str, known: bool) -> None:
    (edit,) = web("pod volumes 1 persistentVolumeClaim claimName", claim)
    rules = found(edit)
    assert ("pod-references" not in rules) is known


def test_leaving_the_property_out_is_found_too_unless_the_default_is_safe() -> None:
    assert misjudged((name, case.absent, set() if case.safe else {name}) for name, case in CASES.items()) == []


def test_an_exemption_covers_it_and_nothing_else() -> None:
    for name, case in CASES.items():
        stack, rules = resources(edited(case.bad)), [BY_NAME[name]]
        where = {finding.where for finding in check(stack, config(), rules).findings}
        assert where, name
        exemptions = [Exemption(rule=name, resource=place, reason="for a test") for place in where]
        report = check(stack, config(*exemptions), rules)
        assert report.findings == ()
        assert {finding.rule.name for finding in report.exempted} == {name}
        assert report.problems == (), name
        assert report.exit_code == 0, name
        elsewhere = check(stack, config(*(replace(e, resource="Nothing/of/this") for e in exemptions)), rules)
        assert rules_in(elsewhere) == {name}
        assert len(elsewhere.problems) == len(exemptions), name
        assert elsewhere.exit_code == 1, name


@pytest.mark.parametrize("reason", [{}, {"reason": ""}, {"reason": " "}], ids=str)
def test_an_exemption_needs_a_reason(reason: dict[str, str]) -> None:
    for name in CASES:
        part = {"exemptions": [{"rule": name, "resource": "*", **reason}]}
        with pytest.raises(ConfigError, match=r"profiles\.p\.exemptions\[0\]\.reason: is missing"):
            parse({"profiles": {"p": part}}, profile="p")


def test_a_mandatory_violation_fails_and_an_advisory_one_does_not() -> None:
    for name, case in CASES.items():
        stack, rules = resources(edited(case.bad)), [BY_NAME[name]]
        settings = config().settings(BY_NAME[name])
        assert check(stack, config(**{name: {"level": "mandatory", **settings}}), rules).exit_code == 1, name
        advisory = check(stack, config(**{name: {"level": "advisory", **settings}}), rules)
        assert advisory.exit_code == 0, name
        assert {finding.rule.name for finding in advisory.advisory} == {name}
        disabled = check(stack, config(**{name: {"level": "disabled"}}), rules)
        assert disabled.findings == ()
        assert disabled.rules == 0, name


def lacking(cases: dict[str, Case], names: set[str]) -> set[str]:
    """Rules without a complete case: a failing edit, an absent property with its outcome, and a field to change."""
    return {
        name
        for name in names
        if name not in cases
        or cases[name].bad.value is ABSENT
        or (cases[name].absent.value is not ABSENT and cases[name].absent == cases[name].bad)
        or cases[name].bad.resource not in STACKS[cases[name].bad.stack]
    }


def test_every_rule_has_a_case() -> None:
    assert lacking(CASES, set(BY_NAME)) == set()
    assert set(CASES) == set(BY_NAME)
    assert len(BY_NAME) == len(RULES)


def test_a_rule_without_a_case_is_noticed() -> None:
    assert lacking(CASES, {*BY_NAME, "a-new-rule"}) == {"a-new-rule"}
    incomplete = {**CASES, "pod-privileged": replace(CASES["pod-privileged"], bad=CASES["pod-privileged"].absent)}
    assert lacking(incomplete, set(BY_NAME)) == {"pod-privileged"}
