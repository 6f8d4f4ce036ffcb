"""`check`: the policy pack over a stack, or over manifests from anywhere."""

from argparse import Namespace
from pathlib import Path

from cli import document, expiry, stacks
from cli.forms.checks import Check
from cli.policy_errors import as_command_errors
from cli.recording import record_with_placeholders
from cli.terminal import Terminal
from policies import check, config, manifests, output
from policies.report import Report

IMAGE_VERSION = "pod-image-version"


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Shows the findings; the exit status is the report's."""
    with as_command_errors():
        report, source = _report(arguments, terminal)
    if arguments.json:
        document.show(Check, output.as_document(report), terminal)
    elif arguments.sarif:
        terminal.verbatim(output.as_sarif(report, program=source))
    else:
        for line in output.lines(report):
            terminal.say(line.text, line.style, line.indent)
        _say_digests(arguments, report, terminal)
    return report.exit_code


def _say_digests(arguments: Namespace, report: Report, terminal: Terminal) -> None:
    """One line for all that digests would end."""
    if arguments.manifests is None and any(found.rule.name == IMAGE_VERSION for found in report.findings):
        moving = stacks.read(arguments.stack).settings.moving_images
        keys = " and ".join(f"flatline:images.digests.{name}" for name in moving)
        terminal.say(f"For {IMAGE_VERSION}, write the digests of the images that you pull: {keys}")


def _report(arguments: Namespace, terminal: Terminal) -> tuple[Report, str]:
    """The report, and the file or folder that it is about."""
    if arguments.manifests is not None:
        found = manifests.read(Path(arguments.manifests), namespace=arguments.namespace)
        return check.check_manifests(found, config.load(profile="manifests")), arguments.manifests
    loaded = stacks.read(arguments.stack)
    expiry.warn(loaded, terminal)
    wanted = config.load(loaded.stack.name, profile=loaded.settings.target.kind)
    recording = record_with_placeholders(loaded, terminal)
    return check.check(check.from_recording(recording), wanted), f"Pulumi.{loaded.stack.name}.yaml"
