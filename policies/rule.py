"""What a rule is: a named constant with a pure function, the words that go with it, and what can be set."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from policies.model import Resource, Stack

Settings = Mapping[str, Any]


class Level(StrEnum):
    """What a violation does: stops the deployment, is told, or is not looked for."""

    MANDATORY = "mandatory"
    ADVISORY = "advisory"
    DISABLED = "disabled"


@dataclass(frozen=True, kw_only=True)
class Violation:
    """Something wrong, in words that name fields, containers and objects, and never repeat a value.

    `resource` is None where the whole stack is meant, or, from a rule for single resources, that resource.
    `subject` is what an exemption may name besides the resource (an image, a host); it is not printed.
    """

    message: str
    resource: Resource | None = None
    subject: str = ""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A value that can be set: its JSON Schema (`type` and, for arrays, `items`), and what it is by itself."""

    description: str
    schema: Mapping[str, Any]
    default: Any


@dataclass(frozen=True, kw_only=True)
class Rule:
    """`name` is lower-case words with hyphens, `description` what must be so in one sentence, `remedy` how to get
    there in one. `frameworks` are the ids of the same demand elsewhere (PSS, CKV, FSBP, NSA/CISA)."""

    name: str
    description: str
    remedy: str
    frameworks: tuple[str, ...] = ()
    level: Level = Level.MANDATORY
    settings: Mapping[str, Setting] = field(default_factory=dict)

    def with_defaults(self, given: Settings) -> Settings:
        """The settings, with the default of each that is not given."""
        return {**{name: setting.default for name, setting in self.settings.items()}, **given}


@dataclass(frozen=True, kw_only=True)
class ResourceRule(Rule):
    """Looks at one resource at a time; yields nothing for those that it is not about."""

    check: Callable[[Resource, Settings], Iterable[Violation]]


@dataclass(frozen=True, kw_only=True)
class StackRule(Rule):
    """Looks at everything at once."""

    check: Callable[[Stack, Settings], Iterable[Violation]]


def strings(description: str, default: tuple[str, ...] = ()) -> Setting:
    """A setting that is a list of texts."""
    return Setting(
        description=description, schema={"type": "array", "items": {"type": "string"}}, default=list(default)
    )


def whole_number(description: str, default: int) -> Setting:
    """A setting that is an integer."""
    return Setting(description=description, schema={"type": "integer"}, default=default)


def switch(description: str, default: bool = False) -> Setting:
    """A setting that is true or false."""
    return Setting(description=description, schema={"type": "boolean"}, default=default)
