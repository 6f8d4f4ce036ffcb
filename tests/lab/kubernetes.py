"""A Kubernetes API with its real controllers and simulated nodes, for tests.

etcd, kube-apiserver, kube-controller-manager and kube-scheduler are the real ones. The nodes are kwok's: no container
runs, every pod becomes ready at once with an address of its own, and the pods of Jobs complete. So admission (Pod
Security), scheduling, rollouts, endpoints, volume binding and garbage collection are real. NetworkPolicies are stored
and not enforced; there is no kube-proxy, and no exec, logs or port-forward.
"""

import secrets
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.lab.go import go_build, required_version
from tests.lab.kubernetes_client import Client, KubectlError, kubectl_binary
from tests.lab.kubernetes_ready import Object
from tests.lab.process import Process, Server, free_ports, wait_until

SOURCES = Path(__file__).resolve().parent / "kubernetes"
SERVICE_NETWORK = "10.43.0.0/16"  # as in k3s
HOST_PATHS = Path("/tmp/hostpath_pv")  # where the host-path provisioner makes volumes, not configurable
CLIENT_RATES = ("--kube-api-qps=300", "--kube-api-burst=600")  # with the default rates the start takes 7 s
LESS_COLLECTION = {"GOGC": "400"}
"""Go's servers look for garbage a quarter as often, and take more memory."""
STORAGE_CLASS = "local-path"  # its name in k3s


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
    kubectl_binary()


class Kubernetes(Client, Server):
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
        super().__init__(folder)
        self._binary = server_binary()
        self._first_pod_address = first_pod_address
        self._nodes = [_node(f"node-{number}", cpu, memory) for number in range(1, nodes + 1)]
        self.servers: list[Process] = []
        self.start_api_server: Callable[[], None]

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

    def _start(self) -> None:
        api_port, etcd_port, etcd_peer_port = free_ports(3)
        self._run("etcd", *etcd_flags(self.folder / "etcd", etcd_port, etcd_peer_port))
        token, signing_key = secrets.token_hex(16), account_key(self.folder / "service-accounts.pem")
        tokens = _private(self.folder / "tokens.csv", f'{token},admin,admin,"system:masters"\n')
        api_flags = _api_server_flags(self.folder, api_port, etcd_port, tokens, signing_key)
        authority = self.folder / "serving" / "apiserver.crt"  # made by the API server itself

        def start_api_server() -> None:
            ready = self._run("kube-apiserver", *api_flags)
            ready.wait_ready(lambda: authority.exists() and _answers(api_port, authority, token), seconds=60)

        self.start_api_server = start_api_server
        self.start_api_server()
        _private(self.kubeconfig, yaml.safe_dump(_kubeconfig(api_port, authority, token)))
        connect = f"--kubeconfig={self.kubeconfig}"
        self._run("kube-controller-manager", connect, *_controller_flags(signing_key, authority))
        self._run("kube-scheduler", connect, "--leader-elect=false", "--secure-port=0", *CLIENT_RATES)
        self._run("kwok", connect, *_kwok_flags(self._first_pod_address))
        self.apply([_STORAGE_CLASS, *self._nodes])
        wait_until(self._usable, 60, "nodes ready and service accounts made")

    def _run(self, program: str, *flags: str) -> Process:
        process = Process(program, [self._binary, program, *flags], self.folder, environment=LESS_COLLECTION)
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


def etcd_flags(data: Path, port: int, peer_port: int) -> list[str]:
    """Of an etcd for one client on this machine, which does not wait for its disk."""
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


def _api_server_flags(folder: Path, port: int, etcd_port: int, tokens: Path, signing_key: Path) -> list[str]:
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
        f"--service-account-key-file={signing_key}",
        f"--service-account-signing-key-file={signing_key}",
        "--authorization-mode=Node,RBAC",
        "--profiling=false",
    ]


def _controller_flags(signing_key: Path, authority: Path) -> list[str]:
    return [
        "--leader-elect=false",
        "--secure-port=0",
        f"--service-account-private-key-file={signing_key}",
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


def account_key(path: Path) -> Path:
    """Writes a key that signs the tokens of service accounts."""
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


def _remove_host_paths(volumes: Iterable[Object]) -> None:
    paths = [Path(volume["spec"]["hostPath"]["path"]) for volume in volumes if "hostPath" in volume["spec"]]
    for path in paths:
        if path.parent == HOST_PATHS:
            shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):  # another cluster still has volumes there
        HOST_PATHS.rmdir()
