"""Runs checkov over rendered objects as a second opinion, in an environment of its own and without a network.

report = scan(folder)         # objects as `./flatline render --redact` writes them
print(as_text(report)); sys.exit(report.exit_code)
"""

import json
import os
import runpy
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import yaml

from policies import manifests
from policies.model import text

PACK: Final = Path(__file__).parent
LAUNCHER: Final = PACK.parent / "flatline"
SKIPS: Final = PACK / "scan.yaml"
TIMEOUT_SECONDS: Final = 600
_FIELDS: Final = {"check", "resource", "reason"}
PROFILE: Final = "profile"
OPTION: Final = "option"


class ScanError(Exception):
    """The scanner could not be installed, did not read every object, or the list of skips has a mistake."""


@dataclass(frozen=True)
class Skip:
    """A check that is skipped for resources (a pattern of `<kind>.<namespace>.<name>`), with the reason.

    `option` is the setting that brings the resources, where not every stack has them.
    """

    check: str
    resource: str
    reason: str
    option: str = ""


@dataclass(frozen=True)
class Failed:
    """A check that a resource failed. It does not count if it has a skip."""

    check: str
    title: str
    resource: str
    file: str
    skip: Skip | None = None


@dataclass(frozen=True, kw_only=True)
class ScanReport:
    """The result of a scan. `unused` are the skips that match nothing, but for those of an option."""

    version: str
    objects: int
    passed: int
    failed: tuple[Failed, ...]
    skipped: tuple[Failed, ...]
    unused: tuple[Skip, ...]

    @property
    def exit_code(self) -> int:
        """1 if a check failed or a skip matches nothing, else 0."""
        return 1 if self.failed or self.unused else 0


def load_skips(path: Path = SKIPS, profile: str = "") -> tuple[Skip, ...]:
    """Reads the skips of a file, without those of other profiles. Raises ScanError for an incomplete one."""
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError):
        raise ScanError(f"{path.name} cannot be read") from None
    entries = document.get("skips") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ScanError(f"{path.name}: skips must be a list")
    for index, entry in enumerate(entries):
        is_complete = isinstance(entry, dict) and set(entry) - {PROFILE, OPTION} == _FIELDS
        if not is_complete or not all(text(value).strip() for value in entry.values()):
            raise ScanError(
                f"{path.name}: skips[{index}] must have check, resource and reason, and may have profile and option"
            )
    return tuple(
        Skip(**{field: text for field, text in entry.items() if field != PROFILE})
        for entry in entries
        if entry.get(PROFILE, profile) == profile
    )


def scan(folder: Path, skips: tuple[Skip, ...] = ()) -> ScanReport:
    """Runs checkov over the Kubernetes objects of a folder. The first run downloads it (about 300 MB).

    Raises ScanError if checkov cannot be installed, fails, or did not read every object; ManifestError for a folder
    without objects.
    """
    objects = len(manifests.read(folder).resources)
    return judge(_run(environment(), folder), objects, skips)


def judge(output: Mapping[str, Any], objects: int, skips: tuple[Skip, ...]) -> ScanReport:
    """Converts checkov's JSON output to a report. `objects` is the number of objects that it must have read."""
    summary = output.get("summary") or output
    if summary.get("parsing_errors") or summary.get("resource_count", 0) < objects:
        raise ScanError(f"checkov read {summary.get('resource_count', 0)} of {objects} objects")
    checks = [
        Failed(check["check_id"], check["check_name"], check["resource"], check["file_path"].rpartition("/")[2])
        for check in (output.get("results") or {}).get("failed_checks", [])
    ]
    judged = [_judged(failed, skips) for failed in checks]
    used = {failed.skip for failed in judged}
    return ScanReport(
        version=str(summary.get("checkov_version", "")),
        objects=objects,
        passed=int(summary.get("passed", 0)),
        failed=tuple(failed for failed in judged if failed.skip is None),
        skipped=tuple(failed for failed in judged if failed.skip is not None),
        unused=tuple(skip for skip in skips if skip not in used and not skip.option),
    )


def _judged(failed: Failed, skips: tuple[Skip, ...]) -> Failed:
    for skip in skips:
        if skip.check == failed.check and fnmatchcase(failed.resource, skip.resource):
            return Failed(failed.check, failed.title, failed.resource, failed.file, skip)
    return failed


def as_text(report: ScanReport) -> str:
    """The report as lines: failed checks, skips with their reason and number of matches, and a summary at the end."""
    lines = [f"{failed.check}  {failed.resource}  {failed.title}  ({failed.file})" for failed in report.failed]
    for skip in sorted({failed.skip for failed in report.skipped if failed.skip}, key=lambda skip: skip.check):
        number = sum(1 for failed in report.skipped if failed.skip == skip)
        lines.append(f"skipped {number} x {skip.check} for {skip.resource}: {skip.reason}")
    lines += [f"the skip of {skip.check} for {skip.resource} matches nothing: remove it" for skip in report.unused]
    lines.append(
        f"checkov {report.version}: {report.objects} objects, {report.passed} checks passed,"
        f" {len(report.failed)} failed, {len(report.skipped)} skipped with a reason"
    )
    return "\n".join(lines) + "\n"


def as_document(report: ScanReport) -> dict[str, Any]:
    """The report for programs, with every failed and every skipped check."""
    return {
        "checkov": report.version,
        "objects": report.objects,
        "passed": report.passed,
        "failed": [_as_object(failed) for failed in report.failed],
        "skipped": [_as_object(failed) for failed in report.skipped],
        "unused": [{"check": each.check, "resource": each.resource, "reason": each.reason} for each in report.unused],
    }


def _as_object(failed: Failed) -> dict[str, Any]:
    entry = {"check": failed.check, "title": failed.title, "resource": failed.resource, "file": failed.file}
    return {**entry, **({"reason": failed.skip.reason} if failed.skip else {})}


def environment() -> Path:
    """The folder of an environment with checkov, which ./flatline makes once. Raises ScanError where it cannot."""
    try:
        return Path(runpy.run_path(str(LAUNCHER))["prepared"]("scan")).parents[1]
    except SystemExit as stopped:
        raise ScanError(str(stopped.code)) from None


def installed() -> bool:
    """True if `environment` exists already, so that no network is needed."""
    launcher = runpy.run_path(str(LAUNCHER))
    return bool(launcher["complete"](launcher["environment"]("scan")))


def _run(environment: Path, folder: Path) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory() as home:  # without the user's own configuration of checkov
        command = [
            str(environment / "bin" / "python"),
            str(environment / "bin" / "checkov"),
            *("--directory", str(folder.absolute()), "--framework", "kubernetes"),
            *("--output", "json", "--quiet", "--compact", "--skip-download", "--skip-results-upload"),
        ]
        variables = {"PATH": os.environ.get("PATH", os.defpath), "HOME": home, "LOG_LEVEL": "ERROR"}
        result = subprocess.run(
            command, cwd=home, env=variables, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    try:
        output = json.loads(result.stdout)
    except ValueError:
        last = "\n".join(result.stderr.splitlines()[-5:])
        raise ScanError(f"checkov ended with status {result.returncode}:\n{last}") from None
    if not isinstance(output, dict):
        raise ScanError("checkov's output is not a single report")
    return output
