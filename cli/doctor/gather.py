"""Reads everything that the checks need: each thing once, several at a time, each with its own limit of time.

What cannot be read is noted with the reason, and the checks that need it say that they could not look.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cli import continuity, edge, expiry, invitations, kubectl, stacks, turn
from cli.commands import connect, outputs
from cli.doctor import cloud, outside, probe, throwaway
from cli.doctor.model import Evidence, Item, is_ready, labels_of
from cli.doctor.throwaway import RUN_LABEL, Run
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from client_kit.pins import Pins
from config.target import Cloud
from connectivity.relay import Server
from errors import FlatlineError
from render.passphrase import PassphraseError, unlock

AT_ONCE = 8
AGAIN_SECONDS = 4.0
"""How often a line tells what goes on, once it has lasted two seconds."""
READING_SECONDS = 33.0
"""All that asks somebody has so long together. What has not been read then is told as such."""
KUBECTL_SECONDS = 7.0
"""After so long kubectl is ended: one that lists everything took 6 s on a busy machine. A run asks it before and after
the readings, which it may outlast by as much."""
LOG_LINES = "2000"
STACK_KINDS = (
    "pods,events,deployments,statefulsets,jobs,cronjobs,persistentvolumeclaims,networkpolicies,horizontalpodautoscalers"
)
LEASES = "kube-node-lease"

Read = Callable[[], Any]


class Readings:
    """The evidence that was read so far, and why the rest was not."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.unread: dict[str, str] = {}

    def take(self, name: str, read: Read) -> None:
        """One reading; a FlatlineError is the reason why there is none."""
        try:
            self.found[name] = read()
        except FlatlineError as problem:
            self.unread.setdefault(name, problem.in_a_line)
        except (ValueError, KeyError, TypeError) as problem:  # an answer of another form
            self.unread.setdefault(name, f"what the cluster answered cannot be read ({type(problem).__name__})")


@dataclass(frozen=True)
class Gathering:
    """Readings that are made at the same time, until an end that is the same for all."""

    readings: Readings
    pool: ThreadPoolExecutor
    terminal: Terminal
    end: float

    def begin(self, name: str, read: Read) -> Future[None]:
        """Begins a reading, which `all` waits for."""
        return self.pool.submit(self.readings.take, name, read)

    def all(self, doing: str, reads: Iterable[tuple[str, Read]]) -> None:
        """Makes readings, and says of which there are none yet."""
        self.wait(doing, {self.begin(name, read): name for name, read in reads})

    def wait(self, doing: str, begun: Mapping[Future[None], str]) -> None:
        """Waits for readings; those that are not there at the end are unread."""
        left = set(begun)
        with self.terminal.step(doing, AGAIN_SECONDS) as says:
            while left and (seconds := self.end - time.monotonic()) > 0:
                says(f"{doing}: {', '.join(sorted({begun[each] for each in left}))}")
                done, left = wait(left, seconds, FIRST_COMPLETED)
                for each in done:
                    each.result()
        for each in left:
            self.readings.unread[begun[each]] = f"it was not there after {READING_SECONDS:.0f} s"


def local(loaded: LoadedStack, terminal: Terminal) -> Readings:
    """Evidence of this machine alone: secrets, passphrase and certificates."""
    readings = Readings()
    with terminal.step("Reading the stack's secrets and certificates", AGAIN_SECONDS):
        readings.take("continuity", lambda: _lost(loaded))
        readings.take("passphrase", lambda: _locked(loaded))
        if loaded.stack.build.is_dir() or loaded.stack.backend.is_file():
            readings.take("certificates", lambda: expiry.certificates(loaded, outputs.of(loaded)))
    return readings


def everything(loaded: LoadedStack, context: str, terminal: Terminal, *, trials: bool = True) -> Evidence:
    """Local readings and those of a cluster that answers. Throw-away pods are left out without `trials`."""
    readings = local(loaded, terminal)
    now = datetime.now(UTC)
    namespaces = loaded.settings.namespaces
    problems: list[str] = []
    with kubectl.limited(KUBECTL_SECONDS), throwaway.run(context, problems) as run, _workers(run) as pool:
        gathering = Gathering(readings, pool, terminal, time.monotonic() + READING_SECONDS)
        trial: dict[Future[None], str] = {}
        if trials:
            trial = {
                gathering.begin("network", lambda: probe.network(run, loaded.settings)): "network",
                gathering.begin("left", lambda: throwaway.remove_left(context, namespaces, now)): "left",
            }
        gathering.all("Reading the cluster", _cluster(loaded, context))
        evidence = _evidence(loaded, context, now, readings)
        people = _people(run, loaded, evidence, terminal) if evidence.deployed else []
        stores: list[tuple[str, Read]] = []
        if evidence.deployed and loaded.in_cloud:
            stores = _cloud(loaded, run.stopped)
        elif evidence.deployed and trials:
            stores = [("stores", lambda: probe.stores(run, evidence))]
        gathering.all(
            "Trying the stores, reading disks and logs, connecting as clients do",
            [*stores, *people, *_second(evidence, context)],
        )
        gathering.wait("Trying the network with two throw-away pods", trial)
    for each in readings.found.pop("left", []):
        terminal.note(f"Removed what an earlier run of the doctor had left: {each}")
    readings.unread.pop("left", None)
    for problem in problems:
        terminal.warn(f"The doctor's own pods could not be removed; the next run removes them: {problem}")
    _unfold(readings)
    return _evidence(loaded, context, now, readings)


def _unfold(readings: Readings) -> None:
    """The two things that the trial of the network tells."""
    if "network" in readings.found:
        readings.found["trial"], readings.found["clock"] = readings.found.pop("network")
    if "network" in readings.unread:
        readings.unread["trial"] = readings.unread["clock"] = readings.unread.pop("network")


@contextmanager
def _workers(run: Run) -> Iterator[ThreadPoolExecutor]:
    """Threads that end before the run's objects are removed, also when a signal ends this."""
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        yield pool
    finally:
        run.stop()
        pool.shutdown(wait=True, cancel_futures=True)


def _evidence(loaded: LoadedStack, context: str | None, now: datetime, readings: Readings) -> Evidence:
    return Evidence(
        settings=loaded.settings,
        stack=loaded.stack.name,
        context=context,
        now=now,
        readings=readings.found,
        unread=readings.unread,
    )


def without_cluster(loaded: LoadedStack, terminal: Terminal) -> Evidence:
    """Evidence where no cluster is named."""
    return _evidence(loaded, None, datetime.now(UTC), local(loaded, terminal))


def _cluster(loaded: LoadedStack, context: str) -> list[tuple[str, Read]]:
    settings = loaded.settings

    def listed(*words: str) -> list[Item]:
        found: list[Item] = kubectl.read(context, *words).get("items", [])
        return [each for each in found if RUN_LABEL not in labels_of(each)]

    def stack() -> list[Item]:
        places = settings.namespaces
        every = [item for place in places for item in listed("-n", place, "get", STACK_KINDS)]
        return [each for each in every if not _about_doctor(each)]

    def system() -> list[Item]:
        places = sorted({settings.ingress.namespace, settings.cluster_dns.namespace})
        return [item for place in places for item in listed("-n", place, "get", "pods,services,daemonsets")]

    def charts() -> list[Item] | None:
        """HelmChartConfigs; None on a cluster that knows none."""
        chosen = f"metadata.name={edge.HELM_CHART_CONFIGS}"
        if not listed("get", "customresourcedefinitions", "--field-selector", chosen):
            return None
        return listed("-n", edge.K3S_NAMESPACE, "get", edge.HELM_CHART_CONFIGS)

    return [
        ("version", lambda: json.loads(kubectl.say(context, "get", "--raw", "/version"))),
        ("stack", stack),
        ("system", system),
        ("nodes", lambda: listed("get", "nodes")),
        ("leases", lambda: listed("-n", LEASES, "get", "leases")),
        ("storageclasses", lambda: listed("get", "storageclasses")),
        ("namespaces", lambda: listed("get", "namespaces")),
        ("definitions", lambda: listed("get", "customresourcedefinitions")),
        ("charts", charts),
    ]


def _second(evidence: Evidence, context: str) -> list[tuple[str, Read]]:
    """Evidence that needs the names of nodes and pods: kubelets' own counts, and logs."""

    def summaries() -> list[Any]:
        """Of the nodes that are ready: of the others another check tells."""
        names = [node["metadata"]["name"] for node in evidence.items("nodes") if is_ready(node)]
        paths = [f"/api/v1/nodes/{name}/proxy/stats/summary" for name in names]
        return [json.loads(kubectl.say(context, "get", "--raw", path)) for path in paths]

    lock, logs = threading.Lock(), []  # each thread adds those that it has read

    def log(pod: Item) -> Any:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        words = ("-n", namespace, "logs", name, "--all-containers", "--since", "1h", "--tail", LOG_LINES)
        text = kubectl.say(context, *words)
        with lock:
            logs.append({"namespace": namespace, "name": name, "app": labels_of(pod).get(probe.NAME, ""), "text": text})
        return logs

    pods = [each for each in evidence.items("stack", "Pod") if each["status"].get("phase") == "Running"]
    return [("summaries", summaries), *(("logs", lambda pod=pod: log(pod)) for pod in pods)]


def _people(run: Run, loaded: LoadedStack, evidence: Evidence, terminal: Terminal) -> list[tuple[str, Read]]:
    """Evidence from outside: the public names, where their pins are known here, and the invitations."""
    context = evidence.context or ""
    found: list[tuple[str, Read]] = [("invitations", lambda: invitations.cared(loaded, context, terminal))]
    if loaded.stack.build.is_dir() or loaded.stack.backend.is_file():
        found.append(("outside", lambda: outside.tried(*_server(loaded, context), evidence, run.stopped)))
    return found


def _server(loaded: LoadedStack, context: str) -> tuple[Pins, Server | None]:
    """What clients are built with, and the TURN server that they are told of."""
    pins = connect.pins_of(loaded)
    return pins, turn.server(loaded, pins, lambda: turn.in_cluster(loaded, context))


def _cloud(loaded: LoadedStack, stopped: Callable[[], bool]) -> list[tuple[str, Read]]:
    """Each store of AWS and Google Cloud, by the credentials of whoever runs this."""
    target = loaded.settings.target
    assert isinstance(target, Cloud)
    aws = cache(lambda: cloud.client(target, stopped=stopped))
    group_calls = loaded.settings.calls.groups is not None
    return [
        ("cloudTables", lambda: cloud.tables(target, aws(), group_calls=group_calls)),
        ("cloudBuckets", lambda: cloud.buckets(target, aws())),
        ("cloudCaches", lambda: cloud.caches(target, aws())),
        ("cloudBigtable", lambda: cloud.rows(target)),
    ]


def _about_doctor(item: Item) -> bool:
    about = item.get("involvedObject") or {}
    return str(about.get("name", "")).startswith("flatline-doctor-")


def _lost(loaded: LoadedStack) -> str | None:
    problem = continuity.judge(continuity.gather(loaded))
    return problem.problem if problem is not None else None


def _locked(loaded: LoadedStack) -> str | None:
    """Why the state cannot be decrypted, None if it can, or if there is nothing to decrypt here."""
    if not loaded.stack.state.is_file():
        return None
    try:
        salt = json.loads(loaded.stack.state.read_text())["encryptionsalt"]
        unlock(stacks.Passphrase(loaded.stack, may_be_made=False)(), salt)
    except PassphraseError as problem:
        return str(problem)
    except (ValueError, KeyError, OSError) as problem:
        return f"{stacks.display_path(loaded.stack.state)} cannot be read ({type(problem).__name__}): restore it"
    return None
