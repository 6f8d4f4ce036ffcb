"""Pods: which are pending and why, which cannot start, which were killed, restarted or ended."""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from cli.doctor.model import Check, Evidence, Finding, Item, condition, finding, is_ready, labels_of, moment, short

PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"})
CONFIGURATION = frozenset({"CreateContainerConfigError", "CreateContainerError"})
RESTARTS = 3
DAY = timedelta(days=1)
NOT_READY = timedelta(minutes=3)
"""Longer than any probe's first success takes but LocalStack's, which may take 300 s."""
SLOW_NOT_READY = {"localstack": timedelta(minutes=6)}
ENDING = timedelta(minutes=10)
"""After its grace period; the longest is Redis' 300 s."""
EVENTS = timedelta(minutes=15)
UNBOUND = re.compile(r"unbound|persistentvolumeclaim|volume node affinity|node\(s\) had volume", re.I)


def pending(evidence: Evidence) -> Iterator[Finding]:
    """Pods that no node takes, by what is lacking."""
    for pod in evidence.items("stack", "Pod"):
        scheduled = condition(pod, "PodScheduled")
        if scheduled.get("reason") != "Unschedulable":
            continue
        message = str(scheduled.get("message", "")).split(" preemption:")[0]
        if "Insufficient cpu" in message:
            symptom = "pod-no-cpu"
        elif "Insufficient memory" in message:
            symptom = "pod-no-memory"
        else:
            symptom = "pod-no-volume" if UNBOUND.search(message) else "pod-no-node"
        yield finding(symptom, pod, short(message))


def containers(evidence: Evidence) -> Iterator[Finding]:
    """Containers that do not start, end again and again, or were killed."""
    for pod in evidence.items("stack", "Pod"):
        if pod["status"].get("phase") in {"Succeeded", "Failed"} or pod["metadata"].get("deletionTimestamp"):
            continue
        status = pod["status"]
        for each in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
            yield from _container(evidence, pod, each)


def readiness(evidence: Evidence) -> Iterator[Finding]:
    """Pods that run and are not ready, and pods that do not end."""
    for pod in evidence.items("stack", "Pod"):
        name, status = labels_of(pod).get("app.kubernetes.io/name", ""), pod["status"]
        deleted = pod["metadata"].get("deletionTimestamp")
        if deleted:
            late = evidence.now - datetime.fromisoformat(deleted)
            if late > ENDING:
                yield finding("pod-terminating", pod, f"it should have ended {int(late.total_seconds() // 60)} min ago")
            continue
        ready = condition(pod, "Ready")
        states = [each["state"] for each in status.get("containerStatuses") or ()]
        runs = status.get("phase") == "Running" and all("running" in each for each in states)
        patience = SLOW_NOT_READY.get(name, NOT_READY)
        since = ready.get("lastTransitionTime", "")
        if runs and ready.get("status") == "False" and evidence.now - datetime.fromisoformat(since) > patience:
            yield finding("pod-not-ready", pod, f"{short(ready.get('message', ''))} since {since}")


def ended(evidence: Evidence) -> Iterator[Finding]:
    """Records of pods that a node ended because it was short of something."""
    for pod in evidence.items("stack", "Pod"):
        status = pod["status"]
        if status.get("phase") == "Failed" and status.get("reason") in {"Evicted", "Preempting", "NodeShutdown"}:
            yield finding("pod-evicted", pod, short(status.get("message") or status["reason"]), _again(pod))


def refused(evidence: Evidence) -> Iterator[Finding]:
    """Findings from events, which the status of pods does not have: mounts that fail, and pods that may not be made."""
    ready = {
        (pod["metadata"]["namespace"], pod["metadata"]["name"])
        for pod in evidence.items("stack", "Pod")
        if is_ready(pod)
    }
    for event in evidence.items("stack", "Event"):
        about = event["involvedObject"]
        place = (about.get("namespace", ""), about.get("name", ""))
        if place in ready or evidence.now - moment(event) > EVENTS:
            continue
        symptom = {"FailedMount": "volume-mount", "FailedAttachVolume": "volume-mount"}.get(event.get("reason", ""))
        if event.get("reason") == "FailedCreate" and re.search(r"forbidden|exceeded quota|denied", event["message"]):
            symptom = "pod-forbidden"
        if symptom:
            kind = about["kind"].lower()
            yield Finding(
                symptom=symptom,
                about=f"{kind} {'/'.join(place)}",
                found=short(event["message"]),
                names={"namespace": place[0], "name": place[1], "kind": kind},
            )


def _container(evidence: Evidence, pod: Item, status: Item) -> Iterator[Finding]:
    name = status["name"]
    waiting: Item = status["state"].get("waiting") or {}
    reason, message = waiting.get("reason", ""), short(waiting.get("message", ""))
    last: Item = (status.get("lastState") or {}).get("terminated") or status["state"].get("terminated") or {}
    if reason in PULL:
        yield finding("image-pull", pod, f"{status['image']}: {message or reason}", _again(pod), container=name)
    elif reason in CONFIGURATION:
        yield finding("container-config", pod, f"container {name}: {message or reason}", container=name)
    elif reason == "CrashLoopBackOff":
        times = f"container {name} has restarted {status['restartCount']} times"
        yield finding("crash-loop", pod, f"{times}, the last time with {last.get('exitCode', '?')}", container=name)
    recent = bool(last.get("finishedAt")) and evidence.now - datetime.fromisoformat(last["finishedAt"]) < DAY
    if last.get("reason") == "OOMKilled" and recent:
        yield finding("oom-killed", pod, f"container {name}, at {last['finishedAt']}", container=name)
    elif status["restartCount"] >= RESTARTS and recent and reason != "CrashLoopBackOff":
        times = f"container {name} has restarted {status['restartCount']} times"
        why = f"{last.get('reason', 'ended')}, exit code {last.get('exitCode', '?')}"
        yield finding("restarts", pod, f"{times}, the last time at {last['finishedAt']} ({why})", container=name)


def _again(pod: Item) -> tuple[str, ...]:
    """kubectl's words after which its workload makes a pod again."""
    return "delete", "pod", pod["metadata"]["name"]


CHECKS: Iterable[Check] = (
    Check("pending", "pods that wait for a node", ("stack",), pending, running=True),
    Check("containers", "containers that cannot start, end or were killed", ("stack",), containers, running=True),
    Check("readiness", "pods that are not ready, or do not end", ("stack",), readiness, running=True),
    Check("ended", "pods that a node has ended", ("stack",), ended, running=True),
    Check("refused", "events of the last quarter of an hour", ("stack",), refused, running=True),
)
