"""The pack as Pulumi runs it: `pulumi preview --policy-pack policies`. The only place that makes a PolicyPack.

Rules for one resource are resource policies, rules for all are stack policies. Two policies more tell what the
configuration leaves out (`exempted`, advisory), and that it is right (`pack-configuration`, mandatory).
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
from policies.report import Gap
from policies.rule import ResourceRule, Rule, Settings, StackRule, Violation
from policies.rules import RULES
from policies.unknown import guarded

TARGET = "flatline:target"
"""The configuration key whose `kind` is the profile of a stack."""

UNKNOWNS = frozenset(
    value for name, value in vars(proxy).items() if name.startswith("UNKNOWN_") and name.endswith("_VALUE")
)
"""What the engine sends in place of a value that is not known yet."""


@cache
def config_of(stack: str) -> Config:
    """The pack's configuration for a stack, by its name and the kind of its target."""
    target = json.loads(os.environ.get("PULUMI_CONFIG") or "{}").get(TARGET)  # objects are their JSON there
    kind = (json.loads(target) if target else {}).get("kind")
    return load(stack, profile=kind or "local")


def stack_of(urn: str) -> str:
    """The stack that a URN (`urn:pulumi:<stack>::...`) belongs to."""
    return urn.split("::")[0].removeprefix("urn:pulumi:")


def resource_of(args: ResourceValidationArgs | PolicyResource) -> Resource:
    """A resource as rules see it. The engine does not tell whether one is retained."""
    dependencies: Mapping[str, list[PolicyResource]] = getattr(args, "property_dependencies", {})
    return Resource(
        urn=args.urn,
        type=args.resource_type,
        name=args.name,
        properties=guarded(serialize_properties(args.props), unknown=UNKNOWNS),
        protect=args.opts.protect,
        provider=args.provider.urn if args.provider else None,
        dependencies={name: [found.urn for found in several] for name, several in dependencies.items()},
    )


def settings_of(rule: Rule, config: Config, given: Mapping[str, Any] | None) -> Settings:
    """The settings of a rule: its defaults, config.yaml, and last --policy-pack-config."""
    return {**config.settings(rule), **(given or {})}


def report(rule: Rule, outcomes: Iterator[Violation | Gap], config: Config, tell: ReportViolation) -> None:
    """Tells the engine what counts. What could not be decided is told as the engine expects it, at the end."""
    gaps: list[Gap] = []
    for outcome in outcomes:
        if isinstance(outcome, Gap):
            gaps.append(outcome)
        elif check.exemption_of(rule, outcome, config) is None:
            where = outcome.resource
            tell(f"{where.label if where else 'stack'}: {outcome.message}. {rule.remedy}", where.urn if where else None)
    if gaps:
        raise proxy.UnknownValueError(proxy.UNKNOWN_STRING_VALUE, gaps[0].path.split("."))


def resource_policy(rule: ResourceRule) -> Policy:
    """A rule for single resources."""

    def validate(args: ResourceValidationArgs, tell: ReportViolation) -> None:
        config = config_of(stack_of(args.urn))
        stack = Stack([resource_of(args)])
        report(rule, check.evaluate(rule, stack, settings_of(rule, config, args.get_config())), config, tell)

    return ResourceValidationPolicy(**described(rule), validate=validate)


def stack_policy(rule: StackRule) -> Policy:
    """A rule for all resources at once."""

    def validate(args: StackValidationArgs, tell: ReportViolation) -> None:
        stack = stack_in(args)
        config = config_of(name_of(stack))
        report(rule, check.evaluate(rule, stack, settings_of(rule, config, args.get_config())), config, tell)

    return StackValidationPolicy(**described(rule), validate=validate)


def described(rule: Rule) -> dict[str, Any]:
    """The words and the level of a rule, as both classes of policies take them."""
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


def exempted(args: StackValidationArgs, tell: ReportViolation) -> None:
    """Tells every finding that an exemption covers, with its reason."""
    stack = stack_in(args)
    for found in check.check(stack, config_of(name_of(stack))).exempted:
        assert found.exemption is not None
        urn = found.resource.urn if found.resource else None
        tell(f"{found.where}: {found.rule.name}: {found.message}. Reason: {found.exemption.reason}", urn)


def configuration(args: StackValidationArgs, tell: ReportViolation) -> None:
    """Tells what is wrong with the exemptions: one that covers nothing hides what comes next."""
    stack = stack_in(args)
    for problem in check.check(stack, config_of(name_of(stack))).problems:
        tell(problem, None)


LEVELS = config_of(os.environ.get("PULUMI_STACK", ""))

PolicyPack(
    name="flatline",
    policies=[
        *(resource_policy(rule) for rule in RULES if isinstance(rule, ResourceRule)),
        *(stack_policy(rule) for rule in RULES if isinstance(rule, StackRule)),
        StackValidationPolicy(
            name="exempted",
            description="Findings that config.yaml does not hold against this stack.",
            validate=exempted,
            enforcement_level=EnforcementLevel.ADVISORY,
        ),
        StackValidationPolicy(
            name="pack-configuration",
            description="Each exemption in config.yaml covers something.",
            validate=configuration,
            enforcement_level=EnforcementLevel.MANDATORY,
        ),
    ],
)
