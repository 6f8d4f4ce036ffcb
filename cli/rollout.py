"""Shows during a deployment why pods do not run. The engine alone waits for minutes without a word."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from cli import kubectl
from cli.doctor.model import condition, is_ready, moment, name_of, short
from cli.doctor.pods import CONFIGURATION, PULL
from cli.terminal import Terminal
from errors import FlatlineError

LOOK_SECONDS = 5.0
PATIENCE_LOOKS = 3
"""A problem that is seen fewer times is ordinary: a volume is being made, a first attempt failed."""
GONE_LOOKS = 4
"""A problem that is not seen for so many looks has gone. One that ends and starts is not seen at each look."""

_START = CONFIGURATION | {"RunContainerError", "StartError", "PostStartHookError"}
_EVENTS = frozenset(
    {"FailedCreate", "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "ProvisioningFailed"}
)


def problems(items: Iterable[Mapping[str, Any]], since: datetime) -> dict[str, str]:
    """Reasons why pods among `items` (pods and events) do not run: a line for each, by the problem's identity.

    A container that ends again and again is one problem, whatever its status and its number of restarts say at a look.
    Events tell of what a pod's status does not: of pods that could not even be made, of volumes and of networks;
    those from before `since`, and those about pods that have become ready, are passed over.
    """
    objects = list(items)
    pods = [each for each in objects if each["kind"] == "Pod"]
    found = {f"{name_of(pod)} {kind}": f"{name_of(pod)}: {line}" for pod in pods for kind, line in _reasons(pod)}
    ready = {name_of(pod) for pod in pods if is_ready(pod)}
    told = {line.split(": ", 1)[0] for line in found.values()}
    for event in objects:
        if event["kind"] != "Event" or event.get("reason") not in _EVENTS or moment(event) < since:
            continue
        about = event["involvedObject"]
        name = f"{about['kind'].lower()} {about['namespace']}/{about['name']}"
        if name not in ready | told:
            found[f"{name} {event['reason']}"] = f"{name}: {_short(event['message'])}"
    return dict(sorted(found.items()))


class Watch:
    """Says each problem once, when it has been seen often enough; and again when it comes back after it had gone."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}
        self._looks = 0

    def look(self, found: Mapping[str, str]) -> list[str]:
        """The lines among `found` that are to be said now."""
        self._looks += 1
        recent = {each: seen for each, seen in self._seen.items() if self._looks - seen[1] <= GONE_LOOKS}
        self._seen = recent | {each: (recent.get(each, (0, 0))[0] + 1, self._looks) for each in found}
        return [line for each, line in found.items() if self._seen[each][0] == PATIENCE_LOOKS]


@contextmanager
def watched(context: str, namespaces: Sequence[str], since: datetime, terminal: Terminal) -> Iterator[None]:
    """While this lasts, looks at the pods of `namespaces` and warns of those that cannot run."""
    ended = threading.Event()
    looking = threading.Thread(target=_look, args=(context, namespaces, since, terminal, ended), daemon=True)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()


def _look(context: str, namespaces: Sequence[str], since: datetime, terminal: Terminal, ended: threading.Event) -> None:
    watch, blind = Watch(), False
    while not ended.wait(LOOK_SECONDS):
        try:
            answers = [kubectl.read(context, "-n", each, "get", "pods,events") for each in namespaces]
        except FlatlineError as problem:
            if not blind:
                terminal.note(f"Pods that cannot run are not named while this waits: {problem.problem}.")
            blind = True
            continue
        for line in watch.look(problems([item for each in answers for item in each["items"]], since)):
            terminal.warn(line)


def _reasons(pod: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The identity of each problem of a pod, and its line."""
    status = pod["status"]
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("reason") == "Unschedulable":
        yield "schedule", f"cannot be scheduled: {_short(scheduled['message'].split(' preemption:')[0])}"
    for container in [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]:
        state, name = container["state"], container["name"]
        waiting = state.get("waiting", {})
        reason, message = waiting.get("reason", ""), _short(waiting.get("message", ""))
        if reason in PULL:
            yield f"image of {name}", f"image {container['image']} cannot be pulled: {message or reason}"
        elif reason in _START:
            yield f"run of {name}", f"container {name} cannot start: {message or reason}"
        elif reason == "CrashLoopBackOff":
            yield f"run of {name}", _ended(container, container.get("lastState", {}).get("terminated", {}))
        elif state.get("terminated", {}).get("exitCode"):
            yield f"run of {name}", _ended(container, state["terminated"])


def _ended(container: Mapping[str, Any], last: Mapping[str, Any]) -> str:
    text = (last.get("message") or "").strip().splitlines()[-1:]
    why = last.get("reason", "")
    return ": ".join(
        [
            f"container {container['name']} has ended {max(container['restartCount'], 1)} times, the last time with "
            f"{last.get('exitCode', '?')}{f' ({why})' if why not in {'', 'Error'} else ''}",
            *map(_short, text),
        ]
    )


def _short(text: str) -> str:
    return short(text, 300)
