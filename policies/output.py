"""A report for people (a table), for programs (JSON) and for code review (SARIF 2.1.0)."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from policies.report import Finding, Report
from policies.rule import Level, Rule
from policies.rules import RULES

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


def table(report: Report) -> RenderableType:
    """The findings by rule (rule, resource, problem, remedy), the exempted ones with their reasons, and a last line."""
    parts: list[RenderableType] = []
    if report.findings:
        shown = _first_of_each_rule(report.findings) if len(report.findings) > MOST_FINDINGS else report.findings
        parts.append(_findings(shown))
        if len(shown) < len(report.findings):
            parts.append(Text(f"shown are the first {SHOWN_OF_A_RULE} findings of each rule; --json has all of them"))
    if report.exempted:
        parts.append(_exempted(report.exempted))
    parts += [Text(f"{name} is {how}", style="yellow") for name, how in sorted(report.weakened.items())]
    parts += [Text(f"{g.rule.name}: {g.where}: {g.path} is not known yet", style="yellow") for g in report.gaps]
    parts += [Text(others, style="yellow") for others in _others(report.others)]
    parts += [Text(f"not read: {unread}", style="red") for unread in report.unread]
    parts += [Text(problem, style="red") for problem in report.problems]
    parts.append(Text(summary(report), style="red" if report.exit_code else "green"))
    return Group(*parts)


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


def _findings(findings: Iterable[Finding]) -> Table:
    shown = Table(title="Findings", title_justify="left", show_lines=True)
    for column in ("Rule", "Resource", "Problem", "Remedy"):
        shown.add_column(column, overflow="fold")
    for found in findings:
        rule = Text(found.rule.name, style=STYLES[found.level])
        rule.append(f"\n{found.level}")
        shown.add_row(rule, Text(_place(found)), Text(found.message), Text(found.rule.remedy))
    return shown


def _place(found: Finding) -> str:
    source = found.resource.source if found.resource else None
    return f"{found.where}\n{source[0]}:{source[1]}" if source else found.where


def _exempted(findings: Iterable[Finding]) -> Table:
    shown = Table(title="Exempted", title_justify="left")
    for column in ("Rule", "Resource", "Reason"):
        shown.add_column(column, overflow="fold")
    for found in findings:
        assert found.exemption is not None
        shown.add_row(found.rule.name, Text(found.where), Text(found.exemption.reason))
    return shown


def as_json(report: Report) -> str:
    """The whole report as one object."""
    document = {
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
