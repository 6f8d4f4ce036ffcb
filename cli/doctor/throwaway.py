"""Pods of the doctor's own: made, waited for, read, and removed again, whatever happens.

They are hardened as every pod of the stack, carry `flatline.org/doctor: <run>`, and have a name by chance. They carry
no label of the stack's, so no Service leads to them, and no list of the stack's objects has them. What a run that was
killed has left, the next one removes.
"""

import posixpath
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from cli import kubectl
from cli.doctor.model import Item, labels_of, short
from components.kubernetes.pod import USER
from components.programs import MOUNT, Program
from errors import FlatlineError

RUN_LABEL = "flatline.org/doctor"
MANAGER = "flatline-doctor"
LIFE_SECONDS = 90
"""Kubernetes itself ends a pod of ours after so long."""
LEFT_AFTER = timedelta(seconds=2 * LIFE_SECONDS)
"""Pods that are older than this belong to a run that was killed: none takes so long."""
POLL_SECONDS = 1.0
KINDS = "pods,configmaps,networkpolicies"
Found = TypeVar("Found")


@dataclass(frozen=True)
class Mounted:
    """A file of a Secret that is there already: the Secret, its key, and the path in the container."""

    secret: str
    key: str
    path: str

    @property
    def volume(self) -> str:
        """The name of its volume."""
        return posixpath.basename(self.path)


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod that runs a program of programs/."""

    role: str
    program: Program
    image: str
    arguments: Sequence[str]
    files: Sequence[Mounted] = ()
    env: Mapping[str, str] = field(default_factory=dict)


class Run:
    """The throw-away objects of one run of the doctor, in the namespaces where it makes them."""

    def __init__(self, context: str) -> None:
        self.name = f"flatline-doctor-{secrets.token_hex(4)}"
        self._context = context
        self._places: list[str] = []
        self._own: list[str] = []
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Nothing is made from now on, and no pod is waited for any longer."""
        self._stopped.set()

    def stopped(self) -> bool:
        """True if it was stopped."""
        return self._stopped.is_set()

    @property
    def labels(self) -> dict[str, str]:
        """On everything that it makes."""
        return {RUN_LABEL: self.name, "app.kubernetes.io/managed-by": MANAGER}

    def namespace(self) -> str:
        """Makes a namespace of its own, named as the run. Raises FlatlineError."""
        restricted = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
        metadata = {"name": self.name, "labels": {**self.labels, **restricted}}
        self._own.append(self.name)
        self._apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
        return self.name

    def make(self, namespace: str, pods: Sequence[Pod], policies: Sequence[Item] = ()) -> None:
        """Makes pods with their programs, and network policies, which may be of other namespaces.

        Raises FlatlineError.
        """
        items = [
            *policies,
            *(each for pod in pods for each in (self._files(namespace, pod), self._pod(namespace, pod))),
        ]
        self._places += [each["metadata"]["namespace"] for each in items]
        self._apply(items)

    def metadata(self, namespace: str, role: str) -> dict[str, Any]:
        """Of an object of this run."""
        return {"name": f"{self.name}-{role}", "namespace": namespace, "labels": {**self.labels, "role": role}}

    def pod(self, namespace: str, role: str) -> Item:
        """A pod as it is now. Raises FlatlineError."""
        found: Item = kubectl.read(self._context, "-n", namespace, "get", "pod", f"{self.name}-{role}")
        return found

    def wait(self, namespace: str, role: str, phases: frozenset[str], seconds: float) -> Item:
        """A pod once it is in a phase. Raises FlatlineError that says what keeps it."""
        return self._until(namespace, role, seconds, lambda pod: pod if _phase(pod) in phases else None)

    def answer(self, namespace: str, role: str, seconds: float) -> str:
        """The last line that a pod printed: a JSON object, or whatever it has ended well with. Raises FlatlineError.

        The end of a pod that has answered is not waited for: look-ups that no name server answers put it off.
        """

        def look(pod: Item) -> str | None:
            if _phase(pod) not in {"Running", "Succeeded", "Failed"}:
                return None
            said = kubectl.say(self._context, "-n", namespace, "logs", pod["metadata"]["name"])
            if _phase(pod) == "Failed":
                raise FlatlineError(f"the doctor's pod {role} has failed: {short(said) or _keeps(pod)}")
            line = said.strip().rpartition("\n")[2]
            return line if _phase(pod) == "Succeeded" or (line.startswith("{") and said.endswith("\n")) else None

        return self._until(namespace, role, seconds, look)

    def _until(self, namespace: str, role: str, seconds: float, look: Callable[[Item], Found | None]) -> Found:
        end = time.monotonic() + seconds
        while True:
            pod = self.pod(namespace, role)
            found = look(pod)
            if found is not None:
                return found
            if time.monotonic() > end:
                raise FlatlineError(f"the doctor's pod {role} did not get on in {seconds:.0f} s: {_keeps(pod)}")
            if self._stopped.wait(POLL_SECONDS):
                raise FlatlineError(f"the doctor's pod {role} was not waited for")

    def remove(self) -> list[str]:
        """Deletes everything of this run. Says what could not be deleted; the next run tries again."""
        own = f"{RUN_LABEL}={self.name}"
        deletions = [
            *(
                ("-n", place, "delete", KINDS, "--selector", own, "--grace-period", "0", "--force")
                for place in sorted(set(self._places) - set(self._own))
            ),
            *(("delete", "namespace", place) for place in self._own),
        ]
        with ThreadPoolExecutor(len(deletions) or 1) as pool:
            return [
                each for found in pool.map(lambda words: _deleted(self._context, *words), deletions) for each in found
            ]

    def _apply(self, items: Sequence[Item]) -> None:
        if self._stopped.is_set():
            raise FlatlineError("the doctor's pods were not made")
        try:
            listed = {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": list(items)}
            kubectl.apply(self._context, listed, manager=MANAGER)
        except FlatlineError as problem:
            raise FlatlineError("the doctor's pods could not be made", *problem.remedies) from None

    def _files(self, namespace: str, pod: Pod) -> Item:
        data = {path.replace("/", "."): text for path, text in pod.program.files.items()}
        metadata = self.metadata(namespace, pod.role)
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}

    def _pod(self, namespace: str, pod: Pod) -> Item:
        files = [{"key": path.replace("/", "."), "path": path} for path in pod.program.files]
        programs = {"name": "programs", "configMap": {"name": f"{self.name}-{pod.role}", "items": files}}
        given = [
            {"name": each.volume, "secret": {"secretName": each.secret, "defaultMode": 0o440}} for each in pod.files
        ]
        mounts = [
            {"name": each.volume, "mountPath": each.path, "subPath": each.key, "readOnly": True} for each in pod.files
        ]
        container = {
            "name": "doctor",
            "image": pod.image,
            "command": ["node", pod.program.path],
            "args": list(pod.arguments),
            "env": [{"name": name, "value": value} for name, value in pod.env.items()],
            "volumeMounts": [{"name": "programs", "mountPath": MOUNT, "readOnly": True}, *mounts],
            "resources": {"requests": {"cpu": "10m", "memory": "48Mi"}, "limits": {"memory": "192Mi"}},
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            },
        }
        spec = {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": LIFE_SECONDS,
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [programs, *given],
        }
        return {"apiVersion": "v1", "kind": "Pod", "metadata": self.metadata(namespace, pod.role), "spec": spec}


@contextmanager
def run(context: str, problems: list[str]) -> Iterator[Run]:
    """A run whose objects are removed at its end; what could not be removed is added to `problems`."""
    made = Run(context)
    try:
        yield made
    finally:
        problems += made.remove()


def remove_left(context: str, namespaces: Sequence[str], now: datetime) -> list[str]:
    """Removes what runs that were killed have left; the names of it. Raises FlatlineError."""
    found: list[str] = []
    for each in kubectl.read(context, "get", "namespaces", "--selector", RUN_LABEL).get("items", ()):
        if _old(each, now) and labels_of(each).get(RUN_LABEL) == each["metadata"]["name"]:
            _deleted(context, "delete", "namespace", each["metadata"]["name"])
            found.append(f"namespace {each['metadata']['name']}")
    for namespace in namespaces:
        items = kubectl.read(context, "-n", namespace, "get", KINDS, "--selector", RUN_LABEL).get("items", ())
        for name in sorted({labels_of(each)[RUN_LABEL] for each in items if _old(each, now)}):
            words = ("-n", namespace, "delete", KINDS, "--selector", f"{RUN_LABEL}={name}")
            _deleted(context, *words, "--grace-period", "0", "--force")
            found.append(f"{name} in {namespace}")
    return found


def _phase(pod: Item) -> str:
    return str(pod["status"].get("phase"))


def _old(item: Item, now: datetime) -> bool:
    return now - datetime.fromisoformat(item["metadata"]["creationTimestamp"]) > LEFT_AFTER


def _deleted(context: str, *words: str) -> list[str]:
    try:
        kubectl.say(context, *words, "--ignore-not-found", "--wait=false")
    except FlatlineError as problem:
        return [problem.in_a_line]
    return []


def _keeps(pod: Item) -> str:
    """The reason that keeps a pod from its end, in Kubernetes' words."""
    status = pod["status"]
    for each in status.get("containerStatuses") or ():
        waiting = each["state"].get("waiting")
        if waiting:
            return short(f"{waiting.get('reason', '')} {waiting.get('message', '')}".strip())
    for each in status.get("conditions") or ():
        if each.get("status") == "False" and each.get("message"):
            return short(each["message"])
    return str(status.get("reason") or status.get("phase") or "nothing is known of it")
