"""The report of a check: findings, what is undecided, what was not read, and the exit status."""

from collections.abc import Mapping
from dataclasses import dataclass

from policies.config import Exemption
from policies.model import Resource
from policies.rule import Level, Rule


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A violation with its rule, its level for this stack and its resource. An exempted one does not count."""

    rule: Rule
    level: Level
    resource: Resource | None
    message: str
    exemption: Exemption | None = None

    @property
    def where(self) -> str:
        """The label of the resource; `stack` if the violation is about the whole stack."""
        return self.resource.label if self.resource else "stack"


@dataclass(frozen=True, kw_only=True)
class Undecided:
    """A rule that cannot decide about a resource, because the value at `path` is not known before deployment."""

    rule: Rule
    resource: Resource | None
    path: str

    @property
    def where(self) -> str:
        return self.resource.label if self.resource else "stack"


@dataclass(frozen=True, kw_only=True)
class Report:
    """The result of a check. `problems` are mistakes in the configuration that only a check of resources can find.

    `unread` has a line for each document that could not be read; `passed_over` names documents without objects.
    """

    profile: str
    resources: int
    rules: int
    findings: tuple[Finding, ...] = ()
    exempted: tuple[Finding, ...] = ()
    undecided: tuple[Undecided, ...] = ()
    problems: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    weakened: Mapping[str, str]
    """Rules whose level the configuration lowered, with that level and the reason."""

    @property
    def mandatory(self) -> tuple[Finding, ...]:
        """The findings that stop a deployment."""
        return tuple(finding for finding in self.findings if finding.level is Level.MANDATORY)

    @property
    def advisory(self) -> tuple[Finding, ...]:
        """The findings that are reported and do not stop a deployment."""
        return tuple(finding for finding in self.findings if finding.level is Level.ADVISORY)

    @property
    def exit_code(self) -> int:
        """1 if there is a mandatory finding, a problem of the configuration or an unread document, else 0."""
        return 1 if self.mandatory or self.problems or self.unread else 0
