"""Runs the rules over resources: the entry point of the command line and of tests.

    config = policies.config.load("dev", profile="local")
    report = check(from_recording(recording), config)

Pure: nothing here reads a stack, an engine or the clock. Resources come from `from_recording`, or from
`manifests.read`, whose result is for `check_manifests`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from policies.config import Config, Exemption
from policies.manifests import Manifests
from policies.model import Resource, Stack, UndecidedError
from policies.report import Finding, Report, Undecided
from policies.rule import Level, ResourceRule, Rule, Settings, StackRule, Violation, violation
from policies.rules import RULES


def check(resources: Iterable[Resource], config: Config, rules: Sequence[Rule] = RULES) -> Report:
    """Runs the rules over resources. A stack's own exemption that matches nothing is a problem of the report."""
    stack = Stack(tuple(resources))
    enabled = [rule for rule in rules if config.level(rule) is not Level.DISABLED]
    outcomes = [(rule, outcome) for rule in enabled for outcome in evaluate(rule, stack, config.settings(rule))]
    findings = [_finding(rule, outcome, config) for rule, outcome in outcomes if isinstance(outcome, Violation)]
    used = {finding.exemption for finding in findings}
    unused = [entry for entry in config.exemptions if entry not in used and entry not in config.shared]
    return Report(
        profile=config.profile,
        resources=len(stack.resources),
        rules=len(enabled),
        findings=tuple(finding for finding in findings if finding.exemption is None),
        exempted=tuple(finding for finding in findings if finding.exemption is not None),
        undecided=tuple(outcome for _, outcome in outcomes if isinstance(outcome, Undecided)),
        problems=tuple(f"exemption {exemption} matches nothing: remove it" for exemption in unused),
        weakened={
            rule.name: f"{config.level(rule)}: {config.rules[rule.name]['reason']}"
            for rule in rules
            if "reason" in config.rules.get(rule.name, {})
        },
    )


def check_manifests(manifests: Manifests, config: Config) -> Report:
    """Runs the rules over objects from files. The report includes the documents that were not read."""
    report = check(manifests.resources, config)
    return replace(report, unread=manifests.unread, passed_over=manifests.passed_over)


def evaluate(rule: Rule, stack: Stack, settings: Settings) -> Iterator[Violation | Undecided]:
    """Yields the violations of one rule, each with its resource, and what it cannot decide for want of a value."""
    if isinstance(rule, ResourceRule):
        for resource in stack:
            try:
                for found in rule.check(resource, settings):
                    yield replace(violation(found), resource=resource)
            except UndecidedError as unknown:
                yield Undecided(rule=rule, resource=resource, path=str(unknown))
    elif isinstance(rule, StackRule):
        try:
            yield from rule.check(stack, settings)
        except UndecidedError as unknown:
            yield Undecided(rule=rule, resource=None, path=str(unknown))


def exemption_of(rule: Rule, found: Violation, config: Config) -> Exemption | None:
    """The first exemption that covers a violation, or None."""
    covering = (entry for entry in config.exemptions if entry.covers(rule.name, found.resource, found.subject))
    return next(covering, None)


def _finding(rule: Rule, found: Violation, config: Config) -> Finding:
    return Finding(
        rule=rule,
        level=config.level(rule),
        resource=found.resource,
        message=found.message,
        exemption=exemption_of(rule, found, config),
    )


def from_recording(recording: Iterable[Any]) -> list[Resource]:
    """Converts the registrations of a recording to resources.

    A registration has `urn`, `type`, `name`, `inputs`, `outputs`, `protect`, `retain_on_delete`, `provider` and
    `property_dependencies`. Its class belongs to the audited program, so nothing here imports it.
    """
    return [
        Resource(
            urn=recorded.urn,
            type=recorded.type,
            name=recorded.name,
            properties={**recorded.inputs, **recorded.outputs},
            protect=recorded.protect,
            retain_on_delete=recorded.retain_on_delete,
            provider=recorded.provider,
            dependencies=recorded.property_dependencies,
        )
        for recorded in recording
    ]
