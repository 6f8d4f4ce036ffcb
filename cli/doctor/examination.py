"""Every check, in the order in which people read them, and what their results say: as text, and for programs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cli.doctor import cloud, cluster, entry, logs, outside, pods, stores, workloads
from cli.doctor.model import Check, Evidence, Finding, Result, Symptom, examine
from cli.doctor.symptoms import SYMPTOMS

CHECKS: tuple[Check, ...] = (
    *cluster.CHECKS,
    *entry.CHECKS,
    *outside.CHECKS,
    *workloads.CHECKS,
    *pods.CHECKS,
    *stores.CHECKS,
    *cloud.CHECKS,
    *logs.CHECKS,
)
FINE, WRONG, BLIND = 0, 1, 2
"""Exit statuses."""


class _Placeholders(dict[str, str]):
    """A name that a finding does not know stays a placeholder."""

    def __missing__(self, key: str) -> str:
        return f"<{key}>"


@dataclass(frozen=True)
class Examination:
    """All results of one run, of a stack on the cluster of a context, if one is named."""

    evidence: Evidence
    results: tuple[Result, ...]

    @classmethod
    def of(cls, evidence: Evidence) -> "Examination":
        """Looks through everything that was read."""
        return cls(evidence, tuple(examine(CHECKS, evidence)))

    @property
    def findings(self) -> list[Finding]:
        """All that was found, in the order of the checks."""
        return [each for result in self.results for each in result.findings]

    @property
    def status(self) -> int:
        """The exit status: something is wrong, else something could not be looked at, else all is well."""
        if any(SYMPTOMS[each.symptom].severity == "wrong" for each in self.findings):
            return WRONG
        blind = self.evidence.context is None or any(result.unread for result in self.results)
        return BLIND if blind else FINE

    def mend(self, finding: Finding) -> str:
        """The remedy, with the names of this stack. Commands stand between backticks."""
        return filled(SYMPTOMS[finding.symptom].mend, self._names(finding))

    def document(self) -> dict[str, Any]:
        """The form of docs/json.md."""
        return {
            "stack": self.evidence.stack,
            "context": self.evidence.context,
            "status": {FINE: "fine", WRONG: "wrong", BLIND: "blind"}[self.status],
            "checks": [
                {
                    "name": result.check.name,
                    "looksAt": result.check.looks,
                    "result": result_of(result),
                    "reason": result.unread or None,
                }
                for result in self.results
            ],
            "findings": [self._document(each) for each in self.findings],
        }

    def _document(self, finding: Finding) -> dict[str, Any]:
        symptom = SYMPTOMS[finding.symptom]
        return {
            "symptom": symptom.name,
            "severity": symptom.severity,
            "title": symptom.title,
            "about": finding.about,
            "found": finding.found,
            "means": symptom.means,
            "mend": self.mend(finding),
            "canFix": bool(finding.fix),
        }

    def _names(self, finding: Finding) -> Mapping[str, str]:
        settings = self.evidence.settings
        known = {
            "stack": self.evidence.stack,
            "context": self.evidence.context or "<context>",
            "namespace": settings.namespace,
            "emulators": settings.emulator_namespace,
        }
        return {**known, **finding.names}


def filled(text: str, names: Mapping[str, str]) -> str:
    """A text of the table with names in place of its placeholders; those that are not known stay, as `<name>`."""
    return text.format_map(_Placeholders(names))


def result_of(result: Result) -> str:
    """`fine`, `found`, `unread` or `passedOver`."""
    if result.unread:
        return "unread"
    if result.passed_over:
        return "passedOver"
    return "found" if result.findings else "fine"


def document_of(symptoms: Iterable[Symptom]) -> str:
    """docs/symptoms.md."""
    lines = [
        "# Symptoms",
        "",
        "Generated from `cli/doctor/symptoms/` by `.venv/bin/python -m docs.generate`: everything that `doctor`",
        "looks for. A *notice* is shown and does not change the exit status. `doctor` puts the real names in place of",
        "`<stack>`, `<name>` and the like; `<cure>`, `<renewal>` and `<command>` are what mends this very case.",
    ]
    area = ""
    for symptom in symptoms:
        if symptom.area != area:
            area = symptom.area
            lines += ["", f"## {AREAS[area]}"]
        notice = " (notice)" if symptom.severity == "notice" else ""
        lines += ["", f"### `{symptom.name}`{notice}", "", f"{symptom.title}. {symptom.means}", ""]
        lines += [f"**What mends it**: {filled(symptom.mend, {})}"]
        if symptom.fix:
            lines += ["", f"`--fix` {symptom.fix}."]
    return "\n".join([*lines, ""])


AREAS = {
    "cluster": "The cluster",
    "edge": "Traefik",
    "outside": "As clients see it",
    "secrets": "Secrets and certificates",
    "pods": "Workloads and pods",
    "stores": "Stores",
    "logs": "Logs of the last hour",
}
