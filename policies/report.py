"""What a check found, and what follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass

from policies.config import Exemption
from policies.model import Resource
from policies.rule import Level, Rule


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A violation: of which rule, how serious here, where, and what is wrong. `exemption` is why it does not count."""

    rule: Rule
    level: Level
    resource: Resource | None
    message: str
    exemption: Exemption | None = None

    @property
    def where(self) -> str:
        """The resource as people call it; `stack` for all of it."""
        return self.resource.label if self.resource else "stack"


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A rule that could not look: a value that it needs is not known before deployment."""

    rule: Rule
    resource: Resource | None
    path: str

    @property
    def where(self) -> str:
        return self.resource.label if self.resource else "stack"


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that a check found. `problems` are mistakes of the configuration that only the resources show.

    `unread` has a line for each text that should have been read and was not; `others` names what holds no objects.
    """

    profile: str
    resources: int
    rules: int
    findings: tuple[Finding, ...] = ()
    exempted: tuple[Finding, ...] = ()
    gaps: tuple[Gap, ...] = ()
    problems: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    weakened: Mapping[str, str]
    """Rules that the configuration made weaker, with their level and the reason."""

    @property
    def mandatory(self) -> tuple[Finding, ...]:
        """The findings that stop a deployment."""
        return tuple(found for found in self.findings if found.level is Level.MANDATORY)

    @property
    def advisory(self) -> tuple[Finding, ...]:
        """The findings that are told."""
        return tuple(found for found in self.findings if found.level is Level.ADVISORY)

    @property
    def exit_code(self) -> int:
        """1 where something must be mended (in the resources, or in the configuration) or was not read, else 0."""
        return 1 if self.mandatory or self.problems or self.unread else 0
