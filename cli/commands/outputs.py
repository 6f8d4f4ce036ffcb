"""`outputs`: what a stack exports."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from cli import continuity, document, engine, objects, stacks
from cli.forms.stack import Outputs, Pins
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from errors import FlatlineError
from render.manifests import REDACTED

README = "readme"
"""The page of a stack in Pulumi Cloud, which would hide the outputs that people look for."""


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Prints all outputs."""
    loaded = stacks.read(arguments.stack)
    continuity.check(loaded)
    show(loaded, Outputs, of(loaded), arguments.json, terminal)
    return 0


def of(loaded: LoadedStack) -> dict[str, Any]:
    """The outputs of the last `up`; the value of a secret one is hidden. Raises FlatlineError before the first."""
    stack = loaded.stack
    backend, cli, no_cli = engine.managing_cli(stack)
    if backend is not None and cli is None:
        raise engine.without_cli(stack, backend, no_cli)
    if backend is not None and cli is not None:
        with engine.opened(loaded, cli, None) as opened, engine.engine_errors("pulumi cannot read the outputs"):
            found = opened.outputs()
        shown = ((name, output) for name, output in sorted(found.items()) if name != README)
        return {name: REDACTED if output.secret else output.value for name, output in shown}
    written = objects.outputs(stack.build)
    if written is None:
        raise FlatlineError(
            f"stack {stack.name} has no outputs yet",
            f"Bring it up first: `./flatline up --stack {stack.name}`",
        )
    return written


def show(
    loaded: LoadedStack, form: type[Outputs | Pins], values: Mapping[str, Any], as_json: bool, terminal: Terminal
) -> None:
    """As JSON for machines, or name by name for people."""
    if as_json:
        what = "outputs" if form is Outputs else "pins"
        document.show(form, {"stack": loaded.stack.name, what: dict(sorted(values.items()))}, terminal)
        return
    for name, value in values.items():
        terminal.say(name, "bold")
        terminal.verbatim("\n".join(f"  {line}" for line in _lines(value)))


def _lines(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        width = max((len(key) for key in value), default=0)
        return [f"{key:<{width}}  {line}" for key, item in value.items() for line in _lines(item)]
    if isinstance(value, list):
        return [line for item in value for line in _lines(item)]
    return str(value).strip().splitlines()
