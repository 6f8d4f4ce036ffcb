"""`stack list`: the stacks of this checkout."""

from argparse import Namespace

from cli import document, engine, stacks
from cli.forms.stack import Stacks
from cli.terminal import Terminal
from config.settings import PROJECT, Settings
from render import stack_file
from render.stack_file import StackFileError


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Prints them; a file that cannot be read is said so in its line."""
    cli, _reason = engine.installed()
    found = [(name, *_domain(stacks.named(name)), _keeper(stacks.named(name), cli)) for name in stacks.existing()]
    if arguments.json:
        listed = [
            {"name": name, "domain": domain, "problem": problem, "secretsKeptBy": keeper}
            for name, domain, problem, keeper in found
        ]
        document.show(Stacks, {"stacks": listed}, terminal)
        return 0
    rows = [(name, domain or f"unreadable: {problem}", keeper or "none yet") for name, domain, problem, keeper in found]
    terminal.table(("Stack", "Domain", "Secrets kept by"), rows, prose=frozenset({"Domain"}))
    return 0


def _keeper(stack: stacks.Stack, cli: engine.Cli | None) -> str | None:
    backend = engine.managing_backend(stack, cli)
    if backend is None and stack.state.exists():
        return stacks.display_path(stack.state)
    return backend


def _domain(stack: stacks.Stack) -> tuple[str | None, str | None]:
    """The domain, or why the file cannot be read."""
    try:
        config = stack_file.read(stack.file, stacks.Passphrase(stack, may_be_made=False)).config
    except StackFileError as problem:
        return None, str(problem)
    return config.get(f"{PROJECT}:domain") or str(Settings.model_fields["domain"].default), None
