"""A report for people (lines of text), for programs (JSON) and for code review (SARIF 2.1.0)."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Final, NamedTuple

from policies.report import Finding, Report
from policies.rule import Level, Rule
from policies.rules import RULES

JSON_VERSION: Final = 1
"""Raised when a key of the JSON form goes away or means something else."""

STYLES: Final = {Level.MANDATORY: "red", Level.ADVISORY: "yellow"}
SARIF_LEVELS: Final = {Level.MANDATORY: "error", Level.ADVISORY: "warning", Level.DISABLED: "none"}
SHOWN_OTHERS: Final = 5
MOST_FINDINGS: Final = 500
SHOWN_OF_A_RULE: Final = 20
SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def summary(report: Report) -> str:
    """One line: what was looked at, and what was found."""
    return (
        f"{report.resources} resources, {report.rules} rules: {len(report.mandatory)} mandatory, "
        f"{len(report.advisory)} advisory, {len(report.exempted)} exempted"
    )


class Line(NamedTuple):
    """A paragraph, so many columns to the right, in a colour or in none."""

    indent: int
    text: str
    style: str = ""


def lines(report: Report) -> Iterator[Line]:
    """The findings by rule, each rule with its remedy; the exempted ones with their reasons; and a last line."""
    shown = _first_of_each_rule(report.findings) if len(report.findings) > MOST_FINDINGS else report.findings
    yield from _findings(shown)
    if len(shown) < len(report.findings):
        yield Line(0, f"shown are the first {SHOWN_OF_A_RULE} findings of each rule; --json has all of them")
    yield from _exempted(report.exempted)
    yield from (Line(0, f"{name} is {how}", "yellow") for name, how in sorted(report.weakened.items()))
    yield from (Line(0, f"{g.rule.name}: {g.where}: {g.path} is not known yet", "yellow") for g in report.gaps)
    yield from (Line(0, others, "yellow") for others in _others(report.others))
    yield from (Line(0, f"not read: {unread}", "red") for unread in report.unread)
    yield from (Line(0, problem, "red") for problem in report.problems)
    yield Line(0, summary(report), "red" if report.exit_code else "green")


def _others(others: tuple[str, ...]) -> Iterator[str]:
    """One line that names the first of what holds no objects."""
    if others:
        more = f"; and {len(others) - SHOWN_OTHERS} more" if len(others) > SHOWN_OTHERS else ""
        yield f"passed over, since they are no Kubernetes objects: {'; '.join(others[:SHOWN_OTHERS])}{more}"


def _first_of_each_rule(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """What people can read of many findings, and a terminal can lay out in a second."""
    counts: Counter[str] = Counter()
    shown = []
    for found in findings:
        counts[found.rule.name] += 1
        if counts[found.rule.name] <= SHOWN_OF_A_RULE:
            shown.append(found)
    return tuple(shown)


def _findings(findings: Iterable[Finding]) -> Iterator[Line]:
    for (level, name), group in groupby(_by_rule(findings), lambda found: (found.level, found.rule.name)):
        several = list(group)
        yield Line(0, f"{level}: {name}", STYLES[level])
        yield from (Line(2, f"{_place(found)}: {found.message}") for found in several)
        yield Line(2, f"Remedy: {several[0].rule.remedy}")


def _by_rule(findings: Iterable[Finding]) -> list[Finding]:
    """Mandatory ones first, then by rule; those of one rule keep their order."""
    levels = list(STYLES)
    return sorted(findings, key=lambda found: (levels.index(found.level), found.rule.name))


def _place(found: Finding) -> str:
    source = found.resource.source if found.resource else None
    return f"{found.where} ({source[0]}:{source[1]})" if source else found.where


def _exempted(findings: Iterable[Finding]) -> Iterator[Line]:
    for (name, reason), group in groupby(sorted(findings, key=_exemption), _exemption):
        yield Line(0, f"exempted: {name}: {reason}")
        yield from (Line(2, found.where) for found in group)


def _exemption(found: Finding) -> tuple[str, str]:
    return found.rule.name, found.exemption.reason if found.exemption else ""


def as_json(report: Report) -> str:
    """The whole report as one object."""
    document = {
        "version": JSON_VERSION,
        "profile": report.profile,
        "resources": report.resources,
        "rules": report.rules,
        "mandatory": len(report.mandatory),
        "advisory": len(report.advisory),
        "findings": [_as_object(found) for found in report.findings],
        "exempted": [_as_object(found) for found in report.exempted],
        "undecided": [{"rule": g.rule.name, "resource": g.where, "path": g.path} for g in report.gaps],
        "weakened": dict(sorted(report.weakened.items())),
        "problems": list(report.problems),
        "unread": list(report.unread),
        "passedOver": list(report.others),
    }
    return json.dumps(document, indent=2) + "\n"


def _as_object(found: Finding) -> dict[str, Any]:
    source = found.resource.source if found.resource else None
    return {
        "rule": found.rule.name,
        "level": str(found.level),
        "resource": found.where,
        "urn": found.resource.urn if found.resource else None,
        "file": source[0] if source else None,
        "line": source[1] if source else None,
        "problem": found.message,
        "remedy": found.rule.remedy,
        "frameworks": list(found.rule.frameworks),
        **({"reason": found.exemption.reason} if found.exemption else {}),
    }


def as_sarif(report: Report, *, program: str, rules: Iterable[Rule] = RULES) -> str:
    """A SARIF log with one run, for code review.

    `program` is the file that a finding without a file of its own is attached to (a stack's configuration), as a
    path relative to the repository. Exempted findings are results with an external suppression.
    """
    known = tuple(rules)
    index = {rule.name: number for number, rule in enumerate(known)}
    results = [_as_result(found, index, program) for found in (*report.findings, *report.exempted)]
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


def _as_result(found: Finding, index: Mapping[str, int], program: str) -> dict[str, Any]:
    file, line = (found.resource.source if found.resource else None) or (program, 1)
    identity = "\n".join((found.rule.name, found.where, found.message))
    result: dict[str, Any] = {
        "ruleId": found.rule.name,
        "ruleIndex": index[found.rule.name],
        "level": SARIF_LEVELS[found.level],
        "message": {"text": f"{found.where}: {found.message}. {found.rule.remedy}"},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": file}, "region": {"startLine": line}},
                "logicalLocations": [{"fullyQualifiedName": found.where, "kind": "resource"}],
            }
        ],
        "partialFingerprints": {"finding/v1": hashlib.sha256(identity.encode()).hexdigest()[:32]},
    }
    if found.exemption:
        result["suppressions"] = [{"kind": "external", "justification": found.exemption.reason}]
    return result
