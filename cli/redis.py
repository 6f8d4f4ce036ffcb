"""Reads from a cluster which damaged files Redis' nodes found, and what their membership program waits for."""

import json
from collections.abc import Mapping
from typing import Any

from cli import kubectl
from cli.objects import SELECTOR
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from components.programs import REDIS_PROBE
from components.redis import COMPONENT
from errors import FlatlineError

REDIS = f"{SELECTOR},app.kubernetes.io/component={COMPONENT}"
NAME, NODES, MEMBERSHIP = "app.kubernetes.io/name", "redis", "redis-membership"
LOG_LINES = "50"
PROBE = ("sh", "-c", f"sh {REDIS_PROBE.path} damage || true")


def look(loaded: LoadedStack, context: str, terminal: Terminal) -> None:
    """Says what a person should know or do; nothing when all is well, or when there is no Redis."""
    lines = found(loaded, context, terminal)
    if lines:
        terminal.heading("Redis")
        terminal.points(lines, "yellow")


def found(loaded: LoadedStack, context: str, terminal: Terminal) -> list[str]:
    """Facts that a person should know or act on, a line each. Warns of everything that this user may not read."""
    namespace = loaded.settings.namespace
    try:
        with terminal.step("Asking Redis for damage"):
            pods = kubectl.read(context, "-n", namespace, "get", "pods", "--selector", REDIS).get("items", ())
            return [line for pod in pods if pod.get("kind") == "Pod" for line in _lines(context, namespace, pod)]
    except FlatlineError as problem:
        terminal.warn(f"whether Redis is well is not known: {problem.in_a_line}")
        return []


def _lines(context: str, namespace: str, pod: Mapping[str, Any]) -> list[str]:
    name, role = pod["metadata"]["name"], pod["metadata"]["labels"][NAME]
    if role == MEMBERSHIP:
        said = _waiting(kubectl.say(context, "-n", namespace, "logs", name, "--tail", LOG_LINES))
        return [f"{name} waits: {said}"] if said else []
    if role != NODES:
        return []
    if not any("running" in each.get("state", {}) for each in pod.get("status", {}).get("containerStatuses", ())):
        last = kubectl.say(context, "-n", namespace, "logs", name, "--tail", "1")
        return [f"{name} does not run. The end of its log: {last.strip() or 'nothing'}"]
    return [
        f"{name}: {line}" for line in kubectl.say(context, "-n", namespace, "exec", name, "--", *PROBE).splitlines()
    ]


def _waiting(log: str) -> str:
    """The condition that the membership program waits for, by the last event in its log; empty if it does not wait."""
    events = [json.loads(line) for line in log.splitlines() if line.startswith('{"event":')]
    return str(events[-1].get("for", "")) if events else ""
