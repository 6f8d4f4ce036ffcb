"""`schema`: the JSON Schema of stack files, which follows from the settings' models."""

from argparse import Namespace

from cli.stacks import ROOT, display_path
from cli.terminal import Terminal
from config import json_schema
from errors import FlatlineError

PATH = ROOT / "config" / "stack.schema.json"


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Writes it, or says whether it is current."""
    text = json_schema.text()
    current = PATH.is_file() and PATH.read_text(encoding="utf-8") == text
    if arguments.check and not current:
        raise FlatlineError(f"{display_path(PATH)} is not current", "Write it again: `./flatline schema`")
    if not current:
        PATH.write_text(text, encoding="utf-8")
    terminal.say(f"{display_path(PATH)} {'is current' if current else 'written'}.")
    return 0
