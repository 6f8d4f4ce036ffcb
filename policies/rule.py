"""The types of a rule, and the decorators that make rules.

    @resource_rule(of=[KEY], remedy="Set enableKeyRotation to true.", frameworks=("CKV_AWS_7",))
    def kms_rotation(resource: Resource, settings: Settings) -> Iterator[str]: ...

A rule is a pure function. Its name with hyphens is the rule's name (`kms-rotation`), and its docstring is the
requirement, in one sentence. policies/rules has the rules of each module in the order of their definitions.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import wraps
from typing import Any, Required, TypedDict, TypeVar, Unpack

from policies.model import Resource, Stack

R = TypeVar("R")
Settings = Mapping[str, Any]


class Level(StrEnum):
    """The effect of a violation: it stops the deployment, it is only reported, or the rule does not run."""

    MANDATORY = "mandatory"
    ADVISORY = "advisory"
    DISABLED = "disabled"


@dataclass(frozen=True)
class Violation:
    """A violation. The message names fields, containers and objects, and never repeats a value, which may be secret.

    `resource` is None for the whole stack, and in a ResourceRule, which is about a single resource anyway. An exemption
    can match `subject` (an image, a host) in addition to the resource; it is not printed.
    """

    message: str
    resource: Resource | None = None
    subject: str = ""


def violation(found: str | Violation) -> Violation:
    """The violation that a check yields, for which a message is enough where there is no subject."""
    return Violation(found) if isinstance(found, str) else found


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting of a rule: its JSON Schema (`type`, and the type of entries) and its default."""

    description: str
    schema: Mapping[str, Any]
    default: Any


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule. `name` is lower-case words with hyphens. `description` is the requirement and `remedy` is the correction,
    in one sentence each. `frameworks` lists the same requirement in other catalogues (PSS, CKV, FSBP, NSA/CISA)."""

    name: str
    description: str
    remedy: str
    frameworks: tuple[str, ...] = ()
    level: Level = Level.MANDATORY
    settings: Mapping[str, Setting] = field(default_factory=dict)

    def with_defaults(self, settings: Settings) -> Settings:
        """Adds the default of each missing setting."""
        return {**{name: setting.default for name, setting in self.settings.items()}, **settings}


ResourceCheck = Callable[[Resource, Settings], Iterable[str | Violation]]
StackCheck = Callable[[Stack, Settings], Iterable[Violation]]


@dataclass(frozen=True, kw_only=True)
class ResourceRule(Rule):
    """A rule for single resources. `check` yields messages, or a Violation where an exemption can match a subject."""

    check: ResourceCheck


@dataclass(frozen=True, kw_only=True)
class StackRule(Rule):
    """A rule that needs all resources of a stack at once."""

    check: StackCheck


class Texts(TypedDict, total=False):
    """The fields of a Rule that do not follow from its function."""

    remedy: Required[str]
    frameworks: tuple[str, ...]
    level: Level
    settings: Mapping[str, Setting]


def resource_rule(*, of: Collection[str] = (), **texts: Unpack[Texts]) -> Callable[[ResourceCheck], ResourceRule]:
    """Makes a rule of a check of single resources. `of` limits it to these types of resources and kinds of objects."""

    def rule(check: ResourceCheck) -> ResourceRule:
        @wraps(check)
        def limited(resource: Resource, settings: Settings) -> Iterable[str | Violation]:
            is_one = resource.type in of or (resource.is_object and resource.kind in of)
            return check(resource, settings) if is_one else ()

        return made(ResourceRule, limited if of else check, texts)

    return rule


def stack_rule(**texts: Unpack[Texts]) -> Callable[[StackCheck], StackRule]:
    """Makes a rule of a check of whole stacks."""
    return lambda check: made(StackRule, check, texts)


def made(kind: Callable[..., R], check: Callable[..., object], texts: Texts) -> R:
    """A rule with the name and the docstring of its check."""
    name, description = check.__name__.replace("_", "-"), " ".join((check.__doc__ or "").split())
    return kind(name=name, description=description, check=check, **texts)


def strings(description: str, default: tuple[str, ...] = ()) -> Setting:
    """A setting that is a list of strings."""
    return Setting(
        description=description, schema={"type": "array", "items": {"type": "string"}}, default=list(default)
    )


def whole_number(description: str, default: int) -> Setting:
    """A setting that is an integer."""
    return Setting(description=description, schema={"type": "integer"}, default=default)


def switch(description: str, default: bool = False) -> Setting:
    """A setting that is true or false."""
    return Setting(description=description, schema={"type": "boolean"}, default=default)
