"""`stack list`: the stacks of this checkout."""

from argparse import Namespace

from cli import engine, stacks
from cli.terminal import Terminal
from config.settings import PROJECT, Settings
from render import stack_file
from render.stack_file import StackFileError


def run(_: Namespace, terminal: Terminal) -> int:
    """Prints them; a file that cannot be read is said so in its line."""
    cli, _reason = engine.installed()
    rows = []
    for name in stacks.existing():
        stack = stacks.named(name)
        rows.append((name, _domain(stack), _keeper(stack, cli)))
    terminal.table(("Stack", "Domain", "Secrets kept by"), rows)
    return 0


def _keeper(stack: stacks.Stack, cli: engine.Cli | None) -> str:
    backend = engine.keeps(stack, cli)
    if backend is None and stack.state.exists():
        return stacks.shown(stack.state)
    return backend or "none yet"


def _domain(stack: stacks.Stack) -> str:
    try:
        config = stack_file.read(stack.file, stacks.Passphrase(stack, may_be_made=False)).config
    except StackFileError as problem:
        return f"unreadable: {problem}"
    return config.get(f"{PROJECT}:domain") or str(Settings.model_fields["domain"].default)
