"""Runs the rules over resources: the entry point of the command line and of tests.

    config = policies.config.load("dev", profile="local")
    report = check(from_recording(recording), config)

Pure: nothing here reads a stack, an engine or the clock. Sources are `from_recording` and `manifests.read`, whose
result `check_manifests` takes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from policies.config import Config, Exemption
from policies.manifests import Manifests
from policies.model import Resource, Stack, UndecidedError
from policies.report import Finding, Gap, Report
from policies.rule import Level, ResourceRule, Rule, Settings, StackRule, Violation
from policies.rules import RULES


def check(resources: Iterable[Resource], config: Config, rules: Sequence[Rule] = RULES) -> Report:
    """What the rules find in some resources. An exemption of its own that covers nothing is a problem of the report."""
    stack = Stack(tuple(resources))
    findings: list[Finding] = []
    gaps: list[Gap] = []
    for rule in rules:
        level = config.level(rule)
        if level is Level.DISABLED:
            continue
        for outcome in evaluate(rule, stack, config.settings(rule)):
            if isinstance(outcome, Gap):
                gaps.append(outcome)
            else:
                findings.append(_finding(rule, level, outcome, config))
    used = {found.exemption for found in findings if found.exemption}
    return Report(
        profile=config.profile,
        resources=len(stack.resources),
        rules=sum(1 for rule in rules if config.level(rule) is not Level.DISABLED),
        findings=tuple(found for found in findings if found.exemption is None),
        exempted=tuple(found for found in findings if found.exemption is not None),
        gaps=tuple(gaps),
        problems=tuple(
            f"exemption {exemption} matches nothing: remove it"
            for exemption in config.exemptions
            if exemption not in used and exemption not in config.shared
        ),
        weakened={
            rule.name: f"{config.level(rule)}: {config.rules[rule.name]['reason']}"
            for rule in rules
            if "reason" in config.rules.get(rule.name, {})
        },
    )


def check_manifests(found: Manifests, config: Config) -> Report:
    """What the rules find in objects from files, and what of the files was not read."""
    return replace(check(found.resources, config), unread=found.unread, others=found.others)


def evaluate(rule: Rule, stack: Stack, settings: Settings) -> Iterator[Violation | Gap]:
    """The violations of one rule, each with its resource; a gap where a value is not known."""
    if isinstance(rule, ResourceRule):
        for resource in stack:
            try:
                for violation in rule.check(resource, settings):
                    yield Violation(message=violation.message, resource=resource, subject=violation.subject)
            except UndecidedError as unknown:
                yield Gap(rule=rule, resource=resource, path=str(unknown))
    elif isinstance(rule, StackRule):
        try:
            yield from rule.check(stack, settings)
        except UndecidedError as unknown:
            yield Gap(rule=rule, resource=None, path=str(unknown))


def exemption_of(rule: Rule, violation: Violation, config: Config) -> Exemption | None:
    """Why a violation is not held against the stack, if so."""
    covering = (e for e in config.exemptions if e.covers(rule.name, violation.resource, violation.subject))
    return next(covering, None)


def _finding(rule: Rule, level: Level, violation: Violation, config: Config) -> Finding:
    return Finding(
        rule=rule,
        level=level,
        resource=violation.resource,
        message=violation.message,
        exemption=exemption_of(rule, violation, config),
    )


def from_recording(recording: Iterable[Any]) -> list[Resource]:
    """The resources of a recording: anything with the attributes of a registration.

    `urn`, `type`, `name`, `inputs`, `outputs`, `protect`, `retain_on_delete`, `provider`, `property_dependencies`.
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
