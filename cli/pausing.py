"""Stops the services that write to a stack's stores, in the order in which they pass data on, and starts them again."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cli import kubectl
from cli.objects import SELECTOR
from cli.redis import NAME, NODES, REDIS
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from errors import FlatlineError
from migration import endpoints
from render.interruption import Interruption

PERSISTER = "whisper-persister"
LOOK_SECONDS = 2.0
STOP_SECONDS = 180.0
QUEUES_SECONDS = 600.0
"""The persister moves a message a minute after it came plus one round over all slots (config/services/whisper.py)."""
BLIND_SECONDS = 300.0
START_SECONDS = 600
QUEUES = """
REDISCLI_AUTH=$(cat "$REDIS_PASSWORD_FILE") && export REDISCLI_AUTH
redis-cli -h "$POD_IP" -p "$REDIS_PORT" --scan --pattern 'user_queue::*' | wc -l
"""
"""How many queues of undelivered messages a node has (MessagesCache.java)."""


@dataclass
class Stopped:
    """Replicas that Deployments had, and CronJobs that were not suspended."""

    replicas: dict[str, int] = field(default_factory=dict)
    cron_jobs: list[str] = field(default_factory=list)


def writers(context: str, namespace: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The Deployments that run and write to the stores, and the CronJobs that are not suspended."""
    found = kubectl.read(context, "get", "deployments.apps,cronjobs.batch", "--namespace", namespace)["items"]
    running = [each for each in found if name(each) in endpoints.WRITERS and _pods(each)]
    scheduled = [each for each in found if each["kind"] == "CronJob" and not each["spec"].get("suspend")]
    return running, scheduled


def name(found: dict[str, Any]) -> str:
    """`metadata.name`."""
    return str(found["metadata"]["name"])


@contextmanager
def paused(context: str, loaded: LoadedStack, terminal: Terminal) -> Iterator[None]:
    """While this lasts nothing writes to the stores, and no message is in Redis. Then everything runs again.

    Whatever fails, what was stopped is started. Where nothing does, this waits for it to be ready.
    """
    namespace = loaded.settings.namespace
    running, scheduled = writers(context, namespace)
    before = Stopped()
    try:
        for job in scheduled:
            before.cron_jobs.append(name(job))
            _suspend(context, namespace, name(job), True)
        first = [each for each in running if name(each) != PERSISTER]
        with terminal.step("Stopping the services"):
            for each in first:
                _scale(context, namespace, each, before)
            _wait_stopped(context, namespace, [name(each) for each in first])
        if len(first) != len(running):
            with terminal.step("Waiting for the persister: it moves undelivered messages from Redis to DynamoDB"):
                _wait_moved(context, loaded)
            for each in running:
                if name(each) == PERSISTER:
                    _scale(context, namespace, each, before)
            _wait_stopped(context, namespace, [PERSISTER])
        yield
    finally:
        with Interruption():  # another signal waits until everything was started
            _start(context, namespace, before, terminal)
    if before.replicas:
        with terminal.step("Starting the services"):
            for each in before.replicas:
                words = ("-n", namespace, "rollout", "status", f"deployment/{each}", "--timeout", f"{START_SECONDS}s")
                with kubectl.streamed(context, *words) as lines:
                    list(lines)


def _scale(context: str, namespace: str, deployment: dict[str, Any], before: Stopped) -> None:
    """Stops a Deployment. One that was stopped already, and whose pods still end, stays stopped afterwards."""
    replicas = int(deployment["spec"].get("replicas", 1))
    if replicas == 0:
        return
    before.replicas[name(deployment)] = replicas
    kubectl.merge(context, namespace, f"deployment.apps/{name(deployment)}", {"spec": {"replicas": 0}})


def _suspend(context: str, namespace: str, job: str, suspended: bool) -> None:
    kubectl.merge(context, namespace, f"cronjob.batch/{job}", {"spec": {"suspend": suspended}})


def _start(context: str, namespace: str, before: Stopped, terminal: Terminal) -> None:
    """Starts what was stopped, all of it even if one fails. Raises FlatlineError with the command for what did not."""
    changes: dict[str, dict[str, Any]] = {
        f"deployment.apps/{each}": {"replicas": replicas} for each, replicas in before.replicas.items()
    }
    changes |= {f"cronjob.batch/{job}": {"suspend": False} for job in before.cron_jobs}
    problems: list[FlatlineError] = []
    for each, spec in changes.items():
        for last in (False, True):  # the signal of a terminal also ends the kubectl that runs at the moment
            try:
                kubectl.merge(context, namespace, each, {"spec": spec})
                break
            except FlatlineError as problem:
                if last:
                    problems.append(problem)
    if problems:
        still = FlatlineError(
            f"services of namespace {namespace} are still stopped: {problems[0].problem}",
            "Start them again: `./flatline up`",
        )
        terminal.warn(still.in_a_line)  # a signal that waits would hide the error
        raise still from problems[0]


def _wait_stopped(context: str, namespace: str, names: list[str]) -> None:
    end = time.monotonic() + STOP_SECONDS
    while True:
        words = ("-n", namespace, "get", "pods", "--selector", SELECTOR)
        pods = kubectl.read(context, *words)["items"]
        left = sorted({str(each["metadata"]["labels"].get(NAME)) for each in pods} & set(names))
        if not left:
            return
        if time.monotonic() > end:
            raise FlatlineError(
                f"pods of {', '.join(left)} do not end", "They run again. Look with `./flatline doctor`."
            )
        time.sleep(LOOK_SECONDS)


def _wait_moved(context: str, loaded: LoadedStack) -> None:
    if loaded.in_cloud:
        time.sleep(BLIND_SECONDS)  # Redis cannot be asked from here
        return
    end = time.monotonic() + QUEUES_SECONDS
    while queues(context, loaded.settings.namespace):
        if time.monotonic() > end:
            raise FlatlineError(
                "the persister has not moved all messages from Redis",
                "Everything runs again. Look with `./flatline doctor`, or back up without --pause.",
            )
        time.sleep(LOOK_SECONDS)


def queues(context: str, namespace: str) -> int:
    """How many queues of undelivered messages Redis has, counted once for each copy."""
    pods = kubectl.read(context, "-n", namespace, "get", "pods", "--selector", f"{REDIS},{NAME}={NODES}")["items"]
    if not pods:
        raise FlatlineError(f"there is no pod of Redis in namespace {namespace}", "Bring the stack up first.")
    return sum(
        int(kubectl.say(context, "-n", namespace, "exec", name(pod), "--", "sh", "-c", QUEUES).strip()) for pod in pods
    )


def _pods(deployment: dict[str, Any]) -> int:
    """Those that are wanted, and those that are still there."""
    wanted: int = deployment.get("spec", {}).get("replicas", 1)
    return wanted + int(deployment.get("status", {}).get("replicas", 0))
