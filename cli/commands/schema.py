"""`schema`: the JSON Schema of stack files."""

from argparse import Namespace

from cli.failure import Failure
from cli.stacks import ROOT, shown
from cli.terminal import Terminal
from config import json_schema

FILE = ROOT / "config" / "stack.schema.json"


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Writes it, or says whether it is current."""
    text = json_schema.text()
    current = FILE.is_file() and FILE.read_text(encoding="utf-8") == text
    if arguments.check and not current:
        raise Failure(f"{shown(FILE)} is not current", "Write it again: `./flatline schema`")
    if not current:
        FILE.write_text(text, encoding="utf-8")
    terminal.say(f"{shown(FILE)} {'is current' if current else 'written'}.")
    return 0
