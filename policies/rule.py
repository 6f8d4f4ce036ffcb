"""The types of a rule: a named constant with a pure function, its texts for people, and its settings."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from policies.model import Resource, Stack

Settings = Mapping[str, Any]


class Level(StrEnum):
    """The effect of a violation: it stops the deployment, it is only reported, or the rule does not run."""

    MANDATORY = "mandatory"
    ADVISORY = "advisory"
    DISABLED = "disabled"


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A violation. The message names fields, containers and objects, and never repeats a value, which may be secret.

    `resource` is None for the whole stack, and in a ResourceRule, which is about a single resource anyway. An exemption
    can match `subject` (an image, a host) in addition to the resource; it is not printed.
    """

    message: str
    resource: Resource | None = None
    subject: str = ""


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


@dataclass(frozen=True, kw_only=True)
class ResourceRule(Rule):
    """A rule for single resources. `check` yields nothing for resources of other types."""

    check: Callable[[Resource, Settings], Iterable[Violation]]


@dataclass(frozen=True, kw_only=True)
class StackRule(Rule):
    """A rule that needs all resources of a stack at once."""

    check: Callable[[Stack, Settings], Iterable[Violation]]


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
