"""`schema`: what follows from the settings' models: the JSON Schema of stack files, and the component's arguments."""

from argparse import Namespace

from cli.stacks import ROOT, display_path
from cli.terminal import Terminal
from config import json_schema
from errors import FlatlineError
from package import generate

FILES = {
    ROOT / "config" / "stack.schema.json": json_schema.text,
    ROOT / "package" / "arguments.py": generate.text,
}


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Writes them, or says whether they are current."""
    for path, written in FILES.items():
        text = written()
        current = path.is_file() and path.read_text(encoding="utf-8") == text
        if arguments.check and not current:
            raise FlatlineError(f"{display_path(path)} is not current", "Write it again: `./flatline schema`")
        if not current:
            path.write_text(text, encoding="utf-8")
        terminal.say(f"{display_path(path)} {'is current' if current else 'written'}.")
    return 0
