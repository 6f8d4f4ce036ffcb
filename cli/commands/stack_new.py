"""`stack new`: the file of a new stack."""

import os
from argparse import Namespace

from cli import ownership, stacks
from cli.terminal import Terminal
from config.loading import load
from config.settings import PROJECT
from errors import FlatlineError

TEMPLATE = """\
# yaml-language-server: $schema=config/stack.schema.json
# Everything not said here has its default (docs/configuration.md).
config:
  {project}:domain: {domain}
  {project}:namespace: {namespace}
  {project}:target:
    kind: local
{context}  pulumi:disable-default-providers: ["*"]
"""


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Writes the file, after checking what was typed, and says what comes next."""
    stack = stacks.named(arguments.name)
    settings = load({f"{PROJECT}:domain": arguments.domain})
    namespace = ownership.namespace_for(stack.name)
    ownership.check_free(stack.name, namespace, arguments.context, "local")
    context = _quoted(arguments.context)
    text = TEMPLATE.format(
        project=PROJECT,
        domain=settings.domain,
        namespace=namespace,
        context=f"    context: {context}\n" if context else "",
    )
    try:
        descriptor = os.open(stack.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise FlatlineError(
            f"{stack.file.name} is there already", f"Change it: {stacks.display_path(stack.file)}"
        ) from None
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    terminal.say(f"Wrote {stacks.display_path(stack.file)}.")
    terminal.say("Next:")
    terminal.command(["./flatline", "up", "--stack", stack.name])
    return 0


def _quoted(context: str | None) -> str | None:
    """A context's name as a YAML scalar."""
    if context is None:
        return None
    if not context or not context.isprintable():
        raise FlatlineError(f"--context {context!r} is no name")
    escaped = context.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
