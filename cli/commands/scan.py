"""`scan`: an independent scanner over the rendered stack."""

from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory

from cli import document, stacks
from cli.forms.checks import Scan
from cli.policy_errors import as_command_errors
from cli.recording import record_with_placeholders
from cli.terminal import Terminal
from policies import scan
from render import manifests


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Shows what fails and what is passed over; the exit status is the report's."""
    loaded = stacks.read(arguments.stack)
    with TemporaryDirectory() as folder, as_command_errors():
        rendered = Path(folder) / loaded.stack.name
        manifests.write(record_with_placeholders(loaded, terminal), rendered, redact=True)
        scan.environment()
        with terminal.step("Scanning"):
            report = scan.scan(rendered, scan.load_skips(profile=loaded.settings.target.kind))
    if arguments.json:
        document.show(Scan, {"stack": loaded.stack.name, **scan.as_document(report)}, terminal)
    else:
        terminal.verbatim(scan.as_text(report))
    return report.exit_code
