"""`java` in the images of the three services: a stand-in of each, chosen by its main class, with the rendered command.

What it takes from the command: the heap's limit, system properties, the class and its arguments. It fails as Java does
where an option is not one of Java's.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.services import memory, registration, storage, web, whisper

MAIN = {
    "org.whispersystems.textsecuregcm.WhisperServerService": whisper.main,
    "org.signal.storageservice.StorageService": storage.main,
    "org.signal.registration.Application": registration.main,
}
FLAGS = ("-server", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-Xss512k")
LIMIT = Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")
DEFAULT_PERCENTAGE = 25.0
"""Of the container's memory, where nothing sets the heap's limit."""


@dataclass
class Command:
    """What the words after `java` say. `heap` in MiB."""

    heap: int = 0
    properties: dict[str, str] = field(default_factory=dict)
    main: str = ""
    arguments: list[str] = field(default_factory=list)


def parsed(words: list[str]) -> Command:
    """Raises ValueError for an option that is not known."""
    command, percentage, left = Command(), DEFAULT_PERCENTAGE, list(words)
    while left and left[0].startswith("-"):
        word = left.pop(0)
        if word == "-cp":
            left.pop(0)
        elif word.startswith("-D"):
            name, _, text = word[2:].partition("=")
            command.properties[name] = text
        elif word.startswith("-Xmx") and word.endswith("m"):
            command.heap = int(word[4:-1])
        elif word.startswith("-XX:MaxRAMPercentage="):
            percentage = float(word.partition("=")[2])
        elif word not in FLAGS:
            raise ValueError(f"Unrecognized option: {word}")
    if not command.heap:
        command.heap = int(int(LIMIT.read_text()) * percentage / 100) // memory.MIB
    command.main, command.arguments = left[0], left[1:]
    return command


def main() -> None:
    """Runs the stand-in until it is told to end."""
    web.hold_signal()
    command = parsed(sys.argv[1:])
    if command.main not in MAIN:
        raise SystemExit(f"Could not find or load main class {command.main}")
    print(f"stand-in of {command.main}, heap {command.heap} MiB", flush=True)
    MAIN[command.main](command.arguments, command.properties, command.heap)


main()
