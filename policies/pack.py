"""The pack for Pulumi's engine: `pulumi preview --policy-pack policies`. The only module that makes a PolicyPack.

A ResourceRule becomes a resource policy, a StackRule becomes a stack policy. Two more policies report the exempted
findings (`exempted`, advisory) and mistakes in the configuration (`pack-configuration`, mandatory).
"""

import json
import os
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyConfigSchema,
    PolicyPack,
    PolicyResource,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
    proxy,
)
from pulumi_policy.deserialize import serialize_properties

from policies import check
from policies.config import Config, load
from policies.model import Resource, Stack
from policies.report import Undecided
from policies.rule import ResourceRule, Rule, Settings, StackRule, Violation
from policies.rules import RULES
from policies.unknown import guarded

TARGET = "flatline:target"
"""The configuration key of a stack's target. The target's `kind` is the profile."""

UNKNOWNS = frozenset(
    value for name, value in vars(proxy).items() if name.startswith("UNKNOWN_") and name.endswith("_VALUE")
)
"""The placeholders that the engine sends for values that are not known yet."""


@cache
def config_of(stack: str) -> Config:
    """The pack's configuration for a stack, by its name and the kind of its target."""
    target = json.loads(os.environ.get("PULUMI_CONFIG") or "{}").get(TARGET)  # objects are JSON there
    kind = (json.loads(target) if target else {}).get("kind")
    return load(stack, profile=kind or "local")


def stack_of(urn: str) -> str:
    """The stack that a URN (`urn:pulumi:<stack>::...`) belongs to."""
    return urn.split("::")[0].removeprefix("urn:pulumi:")


def resource_of(args: ResourceValidationArgs | PolicyResource) -> Resource:
    """Converts a resource of the engine. The engine does not say whether it is retained on deletion."""
    dependencies: Mapping[str, list[PolicyResource]] = getattr(args, "property_dependencies", {})
    return Resource(
        urn=args.urn,
        type=args.resource_type,
        name=args.name,
        properties=guarded(serialize_properties(args.props), unknown=UNKNOWNS),
        protect=args.opts.protect,
        provider=args.provider.urn if args.provider else None,
        dependencies={name: [source.urn for source in sources] for name, sources in dependencies.items()},
    )


def settings_of(rule: Rule, config: Config, overrides: Mapping[str, Any] | None) -> Settings:
    """The settings of a rule: its defaults, then config.yaml, then --policy-pack-config."""
    return {**config.settings(rule), **(overrides or {})}


def report(
    rule: Rule, outcomes: Iterator[Violation | Undecided], config: Config, report_violation: ReportViolation
) -> None:
    """Reports violations without an exemption to the engine, then raises for a value that is not known yet."""
    undecided: list[Undecided] = []
    for outcome in outcomes:
        if isinstance(outcome, Undecided):
            undecided.append(outcome)
        elif check.exemption_of(rule, outcome, config) is None:
            resource = outcome.resource
            label, urn = (resource.label, resource.urn) if resource else ("stack", None)
            report_violation(f"{label}: {outcome.message}. {rule.remedy}", urn)
    if undecided:
        raise proxy.UnknownValueError(proxy.UNKNOWN_STRING_VALUE, undecided[0].path.split("."))


def resource_policy(rule: ResourceRule) -> Policy:
    """Converts a rule for single resources."""

    def validate(args: ResourceValidationArgs, report_violation: ReportViolation) -> None:
        config = config_of(stack_of(args.urn))
        stack = Stack([resource_of(args)])
        settings = settings_of(rule, config, args.get_config())
        report(rule, check.evaluate(rule, stack, settings), config, report_violation)

    return ResourceValidationPolicy(**described(rule), validate=validate)


def stack_policy(rule: StackRule) -> Policy:
    """Converts a rule for all resources at once."""

    def validate(args: StackValidationArgs, report_violation: ReportViolation) -> None:
        stack = stack_in(args)
        config = config_of(name_of(stack))
        settings = settings_of(rule, config, args.get_config())
        report(rule, check.evaluate(rule, stack, settings), config, report_violation)

    return StackValidationPolicy(**described(rule), validate=validate)


def described(rule: Rule) -> dict[str, Any]:
    """The arguments that both classes of policies take: a rule's texts, level and settings."""
    schema = {name: {**setting.schema, "description": setting.description} for name, setting in rule.settings.items()}
    return {
        "name": rule.name,
        "description": rule.description,
        "enforcement_level": EnforcementLevel(str(LEVELS.level(rule))),
        "config_schema": PolicyConfigSchema(properties=schema) if schema else None,
        "tags": list(rule.frameworks),
        "remediation_steps": rule.remedy,
    }


def stack_in(args: StackValidationArgs) -> Stack:
    return Stack([resource_of(resource) for resource in args.resources])


def name_of(stack: Stack) -> str:
    return stack_of(stack.resources[0].urn) if stack.resources else ""


def exempted(args: StackValidationArgs, report_violation: ReportViolation) -> None:
    """Reports every exempted finding, with the reason of its exemption."""
    stack = stack_in(args)
    for finding in check.check(stack, config_of(name_of(stack))).exempted:
        assert finding.exemption is not None
        urn = finding.resource.urn if finding.resource else None
        reason = finding.exemption.reason
        report_violation(f"{finding.where}: {finding.rule.name}: {finding.message}. Reason: {reason}", urn)


def configuration(args: StackValidationArgs, report_violation: ReportViolation) -> None:
    """Reports exemptions that match nothing, because they would hide a later finding."""
    stack = stack_in(args)
    for problem in check.check(stack, config_of(name_of(stack))).problems:
        report_violation(problem, None)


LEVELS = config_of(os.environ.get("PULUMI_STACK", ""))

PolicyPack(
    name="flatline",
    policies=[
        *(resource_policy(rule) for rule in RULES if isinstance(rule, ResourceRule)),
        *(stack_policy(rule) for rule in RULES if isinstance(rule, StackRule)),
        StackValidationPolicy(
            name="exempted",
            description="Findings that config.yaml exempts for this stack.",
            validate=exempted,
            enforcement_level=EnforcementLevel.ADVISORY,
        ),
        StackValidationPolicy(
            name="pack-configuration",
            description="Each exemption in config.yaml matches a finding.",
            validate=configuration,
            enforcement_level=EnforcementLevel.MANDATORY,
        ),
    ],
)
