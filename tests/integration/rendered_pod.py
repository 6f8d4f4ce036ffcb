"""The pods of a rendered stack, run as processes: the containers' commands, files, environment, users and probes.

Nothing of the pod templates is rewritten. Each pod has its own network namespace with its own address, each container
a file system of its own in which the rendered paths exist (tests.lab.sandbox), and `/etc/hosts` has the names that the
rendered Services and StatefulSets give to the pods that run. Only images are replaced, by what tests.lab.images names.
"""

import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

from tests.graph.stack import Object, Pod, Stack
from tests.lab.images import IMAGES
from tests.lab.process import EndedError, listening, wait_until
from tests.lab.sandbox import Bind, Contained, PodNetwork, Running, require_sandbox

FIRST_BLOCK = 12  # 10.244.<block>.0/24 to <block + 3>: the clusters of tests.integration.conftest use others
BLOCKS_PER_WORKER = 16


class Names:
    """The name service: the file /etc/hosts of all pods, replaced as a whole at each change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self._lock = threading.Lock()
        self._known: dict[str, list[str]] = {}
        self._publish()

    def add(self, address: str, names: Sequence[str]) -> None:
        with self._lock:
            self._known[address] = list(names)
            self._publish()

    def remove(self, address: str) -> None:
        with self._lock:
            self._known.pop(address, None)
            self._publish()

    def _publish(self) -> None:
        lines = ["127.0.0.1 localhost", *(f"{address} {' '.join(names)}" for address, names in self._known.items())]
        partial = self.folder / "hosts.new"
        partial.write_text("\n".join(lines) + "\n")
        partial.replace(self.folder / "hosts")


class Pods:
    """The pods of one stack below `folder`. `with Pods(...)` ends all that run. Raises `Missing` where none can run."""

    def __init__(self, folder: Path, stack: Stack, worker: int) -> None:
        require_sandbox()
        self.folder, self.stack = folder, stack
        self.names = Names(folder / "names")
        self.all: list[RenderedPod] = []
        self._addresses = _addresses(worker)

    def pod(self, workload: str, *, name: str = "", address: str = "") -> "RenderedPod":
        """One pod of a workload or a task; of a StatefulSet `name` tells which. It runs nothing yet."""
        made = RenderedPod(self, self.stack.pod(workload), name or workload, address or self.new_address())
        self.all.append(made)
        return made

    def new_address(self) -> str:
        """One that no pod of this test process had before."""
        return next(self._addresses)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pod in self.all:
            pod.kill()


_COUNTERS: dict[int, Iterator[str]] = {}


def _addresses(worker: int) -> Iterator[str]:
    first = FIRST_BLOCK + BLOCKS_PER_WORKER * worker
    blocks = (f"10.244.{block}.{last}" for block in range(first, first + 4) for last in range(1, 255))
    return _COUNTERS.setdefault(worker, blocks)


class RenderedPod:
    """One pod: `start` and `run` its containers, ask their probes, `stop` or `kill` it. Its disks outlive it."""

    def __init__(self, pods: Pods, template: Pod, name: str, address: str) -> None:
        self._pods, self.template, self.name, self.address = pods, template, name, address
        self.folder = pods.folder / f"{template.namespace}-{name}-{address.replace(':', '-')}"  # overlays end at colons
        self.folder.mkdir(parents=True)
        self._specs = {container["name"]: container for container in template.containers()}
        self._network: PodNetwork | None = None
        self.containers: dict[str, Running] = {}

    # --- running it

    def start(self, *containers: str) -> Self:
        """Starts some containers, or all but those of the start; returns at once."""
        for container in containers or [each["name"] for each in self.template.spec["containers"]]:
            self.containers[container] = Running(self._contained(container), self._joined(), self.folder)
        return self

    def run(self, container: str, seconds: float = 60) -> tuple[int, str]:
        """Starts one and waits for its end: its exit status and all that it wrote."""
        self.start(container)
        status = self.containers[container].wait(seconds)
        return status, self.containers[container].text()

    def stop(self) -> None:
        """As the kubelet deletes a pod: preStop commands (sleeps are left out), SIGTERM, SIGKILL after the grace."""
        deadline = time.monotonic() + self.template.spec["terminationGracePeriodSeconds"]
        for name, running in self.containers.items():
            hook = self._specs[name].get("lifecycle", {}).get("preStop", {}).get("exec")
            if hook and running.running():
                done = running.execute(hook["command"], deadline - time.monotonic())
                if done.returncode:
                    raise RuntimeError(f"{self.name}: preStop of {name}: {done.stdout}{done.stderr}")
            running.terminate()
        try:
            for running in self.containers.values():
                running.wait(max(0, deadline - time.monotonic()))
        finally:
            self.kill()

    def kill(self) -> None:
        """Ends all at once; the address is nobody's any more."""
        for running in self.containers.values():
            running.kill()
        self._pods.names.remove(self.address)
        if self._network:
            self._network.close()
            self._network = None

    def successor(self, address: str = "") -> "RenderedPod":
        """The pod that Kubernetes makes in place of this one: with the same claims and a new address."""
        return self._pods.pod(self.template.labels["app.kubernetes.io/name"], name=self.name, address=address)

    # --- asking it

    def ready(self, container: str, probe: str = "readinessProbe") -> bool:
        """Whether one of a container's probes succeeds now."""
        spec = self._specs[container]
        asked = spec[probe]
        if "exec" in asked:
            try:
                done = self.containers[container].execute(asked["exec"]["command"], asked["timeoutSeconds"])
            except (subprocess.TimeoutExpired, ProcessLookupError):
                return False
            return done.returncode == 0
        if "tcpSocket" in asked:
            return listening(self.address, self.port(container, asked["tcpSocket"]["port"]))
        get = asked["httpGet"]
        host = f"[{self.address}]" if ":" in self.address else self.address
        url = f"http://{host}:{self.port(container, get['port'])}{get['path']}"
        try:
            with urllib.request.urlopen(url, timeout=asked["timeoutSeconds"]) as answer:
                return 200 <= int(answer.status) < 400
        except (urllib.error.URLError, OSError):
            return False

    def wait_ready(self, *containers: str, seconds: float = 60) -> None:
        """Returns when the readiness probes of these containers, or of all that run, succeed.

        Raises `EndedError` with a container's last words when one ends or takes too long.
        """
        for name in containers or [each for each in self.containers if "readinessProbe" in self._specs[each]]:
            running, settled = self.containers[name], False
            with suppress(TimeoutError):
                wait_until(partial(self._settled, name), seconds, name)
                settled = True
            if not settled or not running.running():
                raise EndedError(f"{self.name}/{name} is not ready\n{running.text()[-3000:]}")

    def _settled(self, name: str) -> bool:
        return not self.containers[name].running() or self.ready(name)

    def port(self, container: str, port: int | str) -> int:
        """The number of a container's port."""
        if isinstance(port, int):
            return port
        (number,) = (each["containerPort"] for each in self._specs[container]["ports"] if each["name"] == port)
        return int(number)

    def text(self, container: str) -> str:
        """All that a container has written."""
        return self.containers[container].text()

    def disk(self, volume: str) -> Path:
        """What is on one of its disks, as this machine sees it."""
        (found,) = (each for each in self.template.spec["volumes"] if each["name"] == volume)
        return self._disk(volume, found)

    # --- what its template says

    def _joined(self) -> PodNetwork:
        if not self._network:
            self._network = PodNetwork(self.address)
            self._pods.names.add(self.address, [*self.hostnames(), self.name])
        return self._network

    def hostnames(self) -> Iterator[str]:
        """The names of the Services that select it, and its own one of a StatefulSet.

        There are no Service addresses here: a Service whose ports are not those of its pods raises ValueError.
        """
        for service in self._pods.stack.of("Service"):
            selector, namespace = service["spec"].get("selector", {}), service["metadata"]["namespace"]
            if namespace != self.template.namespace or not selector.items() <= self.template.labels.items():
                continue
            numbers = {each["name"]: each["containerPort"] for spec in self._specs.values() for each in _ports(spec)}
            for port in service["spec"]["ports"]:
                if port["port"] != numbers.get(port["targetPort"], port["targetPort"]):
                    raise ValueError(f"Service {service['metadata']['name']} translates port {port['port']}")
            yield f"{service['metadata']['name']}.{namespace}.svc"
        if self.template.owner["kind"] == "StatefulSet":
            yield f"{self.name}.{self.template.owner['spec']['serviceName']}.{self.template.namespace}.svc"

    def _contained(self, name: str) -> Contained:
        spec, pod = self._specs[name], self.template.spec.get("securityContext", {})
        security = {**pod, **spec.get("securityContext", {})}
        environment = {each["name"]: self._value(each) for each in spec.get("env", ())}
        return Contained(
            name=name,
            image=IMAGES[spec["image"].rpartition(":")[0]](),
            command=[_expanded(word, environment) for word in (*spec.get("command", ()), *spec.get("args", ()))],
            environment=environment,
            binds=[self._bind(name, mount) for mount in spec.get("volumeMounts", ())],
            hosts=self._pods.names.folder,
            user=security.get("runAsUser", 0),
            group=security.get("runAsGroup", 0),
            read_only_root=security.get("readOnlyRootFilesystem", False),
        )

    def _value(self, variable: Object) -> str:
        if "value" in variable:
            return str(variable["value"])
        fields = {
            "metadata.name": self.name,
            "metadata.namespace": self.template.namespace,
            "status.podIP": self.address,
            "status.hostIP": self.address,
        }
        return fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]

    def _bind(self, container: str, mount: Object) -> Bind:
        volumes: Mapping[str, Object] = {each["name"]: each for each in self.template.spec.get("volumes", ())}
        volume = volumes.get(mount["name"], {})
        source = volume.get("configMap") or volume.get("secret")
        place = mount["mountPath"]
        if source and "subPath" not in mount:
            real = self._folder(container, place, source)
        else:
            real = self._file(container, place, source) if source else self._disk(mount["name"], volume)
        return Bind(place=place, source=real, read_only=mount.get("readOnly", False))

    def _file(self, container: str, place: str, source: Object) -> Path:
        (text,) = (each.text for each in self.template.files[container] if each.path == place)
        path = self.folder / f"{container}-files" / place.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.chown(path, 0, self._file_group())
        path.chmod(source["defaultMode"])
        return path

    def _folder(self, container: str, place: str, source: Object) -> Path:
        for item in source["items"]:
            self._file(container, f"{place}/{item['path']}", source)
        return self.folder / f"{container}-files" / place.lstrip("/")

    def _disk(self, name: str, volume: Object) -> Path:
        """A claim's folder belongs to the stack, an emptyDir to the pod."""
        if "emptyDir" in volume:
            path = self.folder / f"volume-{name}"
        else:
            claim = volume["persistentVolumeClaim"]["claimName"] if volume else f"{name}-{self.name}"
            path = self._pods.folder / "claims" / f"{self.template.namespace}-{claim}"
        if not path.exists():
            path.mkdir(parents=True)
            os.chown(path, 0, self._file_group())
            path.chmod(0o2777 if self._file_group() else 0o777)
        return path

    def _file_group(self) -> int:
        return int(self.template.spec.get("securityContext", {}).get("fsGroup", 0))


def _expanded(word: str, environment: Mapping[str, str]) -> str:
    """A word of a command, as the kubelet hands it over: `$(NAME)` is a variable of the container."""
    for name, value in environment.items():
        word = word.replace(f"$({name})", value)
    return word


def _ports(container: Object) -> Sequence[Any]:
    ports: Sequence[Any] = container.get("ports", ())
    return ports
