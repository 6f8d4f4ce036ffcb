"""A recorded stack, as questions that invariants ask."""

import runpy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from render import manifests, stack_file
from render.model import RecordedResource, Recording
from render.recorder import record
from render.values import SeededValues
from tests.graph import recordings

ROOT = Path(__file__).parent.parent.parent
PROJECT = "flatline"
POD_KINDS = {"Deployment", "StatefulSet", "Job", "CronJob"}

Object = dict[str, Any]


@dataclass(frozen=True)
class Mounted:
    """A file that a container sees: its text, and whether it comes from a Secret."""

    path: str
    text: str
    secret: bool


@dataclass(frozen=True)
class Pod:
    """A pod template with its owner and its files by container."""

    owner: Object
    namespace: str
    labels: Mapping[str, str]
    spec: Object
    files: Mapping[str, tuple[Mounted, ...]] = field(repr=False)

    @property
    def name(self) -> str:
        return f"{self.owner['kind']}/{self.owner['metadata']['name']}"

    def containers(self) -> Iterator[Object]:
        """All containers, those of the start included."""
        yield from self.spec.get("initContainers", ())
        yield from self.spec["containers"]


def flags(container: Object) -> dict[str, str]:
    """The flags of a container: `--name=value` and `--name value`; of a repeated one the last."""
    pairs = [(word.partition("="), after) for word, after in pairwise([*container.get("args", ()), ""])]
    return {name[2:]: value if equals else after for (name, equals, value), after in pairs if name[:2] == "--"}


class Stack:
    """The Kubernetes half of a recording."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.resources: tuple[RecordedResource, ...] = recording.resources
        self.objects: list[Object] = [dict(resource.outputs) for resource in manifests.kubernetes_objects(recording)]

    def of(self, *kinds: str) -> list[Object]:
        """The objects of some kinds."""
        return [found for found in self.objects if found["kind"] in kinds]

    def get(self, kind: str, name: str) -> Object:
        """The one object of a kind and a name; auto-named ones by the name before their hash."""
        own = [o for o in self.of(kind) if o["metadata"]["name"] == name]
        (found,) = own or (o for o in self.of(kind) if _stem(o) == name)
        return found

    def pods(self) -> list[Pod]:
        """Every pod template."""
        return list(self._pods)

    @cached_property
    def _pods(self) -> list[Pod]:
        return [self._pod(owner) for owner in self.of(*POD_KINDS)]

    def pod(self, name: str) -> Pod:
        """The pods of one workload or task."""
        (found,) = (pod for pod in self.pods() if pod.labels["app.kubernetes.io/name"] == name)
        return found

    def file(self, pod: str, path: str) -> str:
        """The text of a file that some container of a pod sees."""
        found = self.pod(pod)
        (text,) = {m.text for mounts in found.files.values() for m in mounts if m.path == path}
        return text

    def files(self) -> list[Mounted]:
        """Every file of every container, but for what commands put into the cluster later."""
        return [mounted for pod in self.pods() for mounts in pod.files.values() for mounted in mounts]

    def _pod(self, owner: Object) -> Pod:
        spec = owner["spec"]["jobTemplate"]["spec"] if owner["kind"] == "CronJob" else owner["spec"]
        template, namespace = spec["template"], owner["metadata"]["namespace"]
        volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", ())}
        containers = [*template["spec"].get("initContainers", ()), *template["spec"]["containers"]]
        return Pod(
            owner=owner,
            namespace=namespace,
            labels=template["metadata"]["labels"],
            spec=template["spec"],
            files={container["name"]: tuple(self._mounted(namespace, volumes, container)) for container in containers},
        )

    def _mounted(self, namespace: str, volumes: Mapping[str, Object], container: Object) -> Iterator[Mounted]:
        for mount in container.get("volumeMounts", ()):
            volume = volumes.get(mount["name"], {})
            if "configMap" in volume:
                source = self._named("ConfigMap", namespace, volume["configMap"]["name"])
                for item in volume["configMap"].get("items", ()):
                    yield Mounted(f"{mount['mountPath']}/{item['path']}", source["data"][item["key"]], secret=False)
                if "subPath" in mount:
                    yield Mounted(mount["mountPath"], source["data"][mount["subPath"]], secret=False)
            if "secret" in volume and not volume["secret"].get("optional"):
                source = self._named("Secret", namespace, volume["secret"]["secretName"])
                yield Mounted(mount["mountPath"], source["stringData"][mount["subPath"]], secret=True)

    def _named(self, kind: str, namespace: str, name: str) -> Object:
        (found,) = (
            o for o in self.of(kind) if o["metadata"]["name"] == name and o["metadata"]["namespace"] == namespace
        )
        return found


def _stem(found: Object) -> str:
    return str(found["metadata"]["name"]).rpartition("-")[0]


def program() -> None:
    """The program as the engine runs it."""
    runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")


def recorded(config: Mapping[str, str], *, stack: str = "dev", seed: str = "seed", preview: bool = False) -> Recording:
    """A recording of the program with some configuration, made once for all tests and processes."""
    key = (sorted(config.items()), stack, seed, preview)
    return recordings.shared(key, lambda: recorded_anew(config, stack=stack, seed=seed, preview=preview))


def recorded_anew(
    config: Mapping[str, str], *, stack: str = "dev", seed: str = "seed", preview: bool = False
) -> Recording:
    """The same, made by this call: for tests that record twice, or that change the program."""
    return record(program, project=PROJECT, stack=stack, config=config, values=SeededValues(seed), preview=preview)


def stack_files() -> list[str]:
    """The stacks that are in the repository."""
    return sorted(path.name.split(".")[1] for path in ROOT.glob("Pulumi.*.yaml"))


def _no_passphrase() -> str:
    raise AssertionError("a stack file of the repository holds a secret value")


@cache
def configuration(stack: str) -> Mapping[str, str]:
    """The configuration of a stack file, as the engine would hand it over."""
    return stack_file.read(ROOT / f"Pulumi.{stack}.yaml", _no_passphrase).config


@cache
def load(stack: str) -> Stack:
    """A stack of the repository, recorded once a process."""
    return Stack(recorded(configuration(stack), stack=stack))
