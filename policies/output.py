"""Renders a report for people (lines of text), for programs (JSON) and for code review (SARIF 2.1.0)."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Final, NamedTuple

from policies.report import Finding, Report
from policies.rule import Level, Rule
from policies.rules import RULES

STYLES: Final = {Level.MANDATORY: "red", Level.ADVISORY: "yellow"}
SARIF_LEVELS: Final = {Level.MANDATORY: "error", Level.ADVISORY: "warning", Level.DISABLED: "none"}
SHOWN_PASSED_OVER: Final = 5
MOST_FINDINGS: Final = 500
SHOWN_OF_A_RULE: Final = 20
SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def summary(report: Report) -> str:
    """A line with the numbers of resources, rules and findings."""
    return (
        f"{report.resources} resources, {report.rules} rules: {len(report.mandatory)} mandatory, "
        f"{len(report.advisory)} advisory, {len(report.exempted)} exempted"
    )


class Line(NamedTuple):
    """A paragraph with its indent in columns and its colour."""

    indent: int
    text: str
    style: str = ""


def lines(report: Report) -> Iterator[Line]:
    """The findings by rule, with the rule's remedy; exempted findings with their reasons; and a summary at the end."""
    shown = _first_of_each_rule(report.findings) if len(report.findings) > MOST_FINDINGS else report.findings
    yield from _findings(shown)
    if len(shown) < len(report.findings):
        yield Line(0, f"only the first {SHOWN_OF_A_RULE} findings of each rule are shown; --json has all of them")
    yield from _exempted(report.exempted)
    yield from (Line(0, f"{name} is {how}", "yellow") for name, how in sorted(report.weakened.items()))
    for outcome in report.undecided:
        yield Line(0, f"{outcome.rule.name}: {outcome.where}: {outcome.path} is not known yet", "yellow")
    if report.passed_over:
        yield Line(0, _passed_over(report.passed_over), "yellow")
    yield from (Line(0, f"not read: {unread}", "red") for unread in report.unread)
    yield from (Line(0, problem, "red") for problem in report.problems)
    yield Line(0, summary(report), "red" if report.exit_code else "green")


def _passed_over(documents: tuple[str, ...]) -> str:
    """A line that names the first documents without objects."""
    rest = len(documents) - SHOWN_PASSED_OVER
    more = f"; and {rest} more" if rest > 0 else ""
    return f"passed over, because they are not Kubernetes objects: {'; '.join(documents[:SHOWN_PASSED_OVER])}{more}"


def _first_of_each_rule(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """As many findings as people can read, and a terminal can lay out in a second."""
    counts: Counter[str] = Counter()
    shown = []
    for finding in findings:
        counts[finding.rule.name] += 1
        if counts[finding.rule.name] <= SHOWN_OF_A_RULE:
            shown.append(finding)
    return tuple(shown)


def _findings(findings: Iterable[Finding]) -> Iterator[Line]:
    for (level, name), group in groupby(_by_rule(findings), lambda finding: (finding.level, finding.rule.name)):
        members = list(group)
        yield Line(0, f"{level}: {name}", STYLES[level])
        yield from (Line(2, f"{_place(finding)}: {finding.message}") for finding in members)
        yield Line(2, f"Remedy: {members[0].rule.remedy}")


def _by_rule(findings: Iterable[Finding]) -> list[Finding]:
    """Mandatory findings first, then by rule. Findings of one rule keep their order."""
    levels = list(STYLES)
    return sorted(findings, key=lambda finding: (levels.index(finding.level), finding.rule.name))


def _place(finding: Finding) -> str:
    source = finding.resource.source if finding.resource else None
    return f"{finding.where} ({source[0]}:{source[1]})" if source else finding.where


def _exempted(findings: Iterable[Finding]) -> Iterator[Line]:
    for (name, reason), group in groupby(sorted(findings, key=_exemption), _exemption):
        yield Line(0, f"exempted: {name}: {reason}")
        yield from (Line(2, finding.where) for finding in group)


def _exemption(finding: Finding) -> tuple[str, str]:
    return finding.rule.name, finding.exemption.reason if finding.exemption else ""


def as_document(report: Report) -> dict[str, Any]:
    """The whole report as one object for JSON."""
    return {
        "profile": report.profile,
        "resources": report.resources,
        "rules": report.rules,
        "mandatory": len(report.mandatory),
        "advisory": len(report.advisory),
        "findings": [_as_object(finding) for finding in report.findings],
        "exempted": [_as_object(finding) for finding in report.exempted],
        "undecided": [
            {"rule": outcome.rule.name, "resource": outcome.where, "path": outcome.path} for outcome in report.undecided
        ],
        "weakened": dict(sorted(report.weakened.items())),
        "problems": list(report.problems),
        "unread": list(report.unread),
        "passedOver": list(report.passed_over),
    }


def _as_object(finding: Finding) -> dict[str, Any]:
    source = finding.resource.source if finding.resource else None
    return {
        "rule": finding.rule.name,
        "level": str(finding.level),
        "resource": finding.where,
        "urn": finding.resource.urn if finding.resource else None,
        "file": source[0] if source else None,
        "line": source[1] if source else None,
        "problem": finding.message,
        "remedy": finding.rule.remedy,
        "frameworks": list(finding.rule.frameworks),
        **({"reason": finding.exemption.reason} if finding.exemption else {}),
    }


def as_sarif(report: Report, *, program: str, rules: Iterable[Rule] = RULES) -> str:
    """A SARIF log with one run, for code review.

    A finding without a file of its own is attached to `program` (a stack's configuration), a path relative to the
    repository. Exempted findings are results with an external suppression.
    """
    known = tuple(rules)
    index = {rule.name: number for number, rule in enumerate(known)}
    results = [_as_result(finding, index, program) for finding in (*report.findings, *report.exempted)]
    run: dict[str, Any] = {
        "tool": {"driver": {"name": "flatline-policies", "rules": [_as_descriptor(rule) for rule in known]}},
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": not report.problems and not report.unread,
                "toolConfigurationNotifications": _notifications(report.problems),
                "toolExecutionNotifications": _notifications(report.unread),
            }
        ],
        "results": results,
    }
    return json.dumps({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _notifications(lines: Iterable[str]) -> list[dict[str, Any]]:
    return [{"level": "error", "message": {"text": line}} for line in lines]


def _as_descriptor(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.name,
        "shortDescription": {"text": rule.description},
        "help": {"text": rule.remedy},
        "defaultConfiguration": {"level": SARIF_LEVELS[rule.level]},
        "properties": {"tags": list(rule.frameworks)},
    }


def _as_result(finding: Finding, index: Mapping[str, int], program: str) -> dict[str, Any]:
    file, line = (finding.resource.source if finding.resource else None) or (program, 1)
    identity = "\n".join((finding.rule.name, finding.where, finding.message))
    result: dict[str, Any] = {
        "ruleId": finding.rule.name,
        "ruleIndex": index[finding.rule.name],
        "level": SARIF_LEVELS[finding.level],
        "message": {"text": f"{finding.where}: {finding.message}. {finding.rule.remedy}"},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": file}, "region": {"startLine": line}},
                "logicalLocations": [{"fullyQualifiedName": finding.where, "kind": "resource"}],
            }
        ],
        "partialFingerprints": {"finding/v1": hashlib.sha256(identity.encode()).hexdigest()[:32]},
    }
    if finding.exemption:
        result["suppressions"] = [{"kind": "external", "justification": finding.exemption.reason}]
    return result
