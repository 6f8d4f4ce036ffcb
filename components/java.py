"""How a Java service runs in a container."""

from typing import Any

from components.kubernetes.pod import Resources
from config.services.java import Jvm

CLASS_PATH = "/app/resources:/app/classes:/app/libs/*"
"""Where Jib, which builds all three service images, puts a program."""

EMPTY_DIRS = {"/tmp": "512Mi"}
"""Libraries unpack native code here: 124 MiB in Whisper, 103 MiB in Storage."""


def command(jvm: Jvm, flags: tuple[str, ...], main: str, *arguments: str, prepare: str = "") -> tuple[str, ...]:
    """The command of a container: `java` with the heap of `jvm`, and the class `main` with its arguments.

    A process that is killed leaves what it unpacked in `/tmp`, and the volume there outlives the container: without
    clearing it first, a few kills fill it and the service never starts again. `prepare` is a shell script that runs
    before, too. Java replaces the shell, so signals reach it.
    """
    script = f'rm -rf /tmp/* /tmp/.[!.]*\n{prepare}exec "$@"\n'
    java = ("java", "-server", "-Djava.awt.headless=true", *jvm.options, *flags, "-cp", CLASS_PATH, main, *arguments)
    return ("sh", "-c", script, "start-java", *java)


def resources(jvm: Jvm, *, cpu: str, busy_cpu: str = "") -> Resources:
    """Memory as measured. `busy_cpu` is the CPU request where the number of pods follows their load."""
    return Resources(
        cpu=cpu,
        memory=f"{jvm.request}Mi",
        memory_limit=f"{jvm.limit}Mi",
        busy=(busy_cpu, f"{jvm.busy_request}Mi") if busy_cpu else None,
    )


def request_log(shown: bool) -> dict[str, Any]:
    """Settings of Dropwizard's request log, which has the client's address and the path of every request."""
    return {"requestLog": {"appenders": [{"type": "console"}] if shown else []}}
