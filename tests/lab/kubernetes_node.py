"""One real Kubernetes node, as k3s makes one, on a machine of its own, with a client outside: pods run there.

etcd, the control plane, kubelet, kube-proxy, containerd, runc, CNI, kube-router (which enforces network policies, as
in k3s), CoreDNS, local-path volumes and Traefik are the real ones. Only images are composed (tests.lab.images).
"""

import base64
import fcntl
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.lab import cache, k3s_images
from tests.lab.go import go_build
from tests.lab.kubernetes import (
    CLIENT_RATES,
    LESS_COLLECTION,
    SERVICE_NETWORK,
    account_key,
    etcd_flags,
    server_binary,
)
from tests.lab.kubernetes_client import Client, KubectlError
from tests.lab.machine import ADDRESS, Machine
from tests.lab.process import Process, wait_until
from tests.lab.traefik_crds import crds, traefik_version

LAB = Path(__file__).resolve().parent
CONFIGURATION = LAB / "k3s"
NAME = "node"
HIGHER = 10
"""Steps of priority (nice values) that it is above the rest."""
API_PORT, KUBELET_PORT = 6443, 10250
SYSTEM = "kube-system"
KUBECONFIG = "/etc/kubernetes/kubeconfig"
ETCD = "http://127.0.0.1:2379"
FILES = {
    "etc/cni/net.d/10-pods.conflist": "cni.json",
    "etc/containerd/config.toml": "containerd.toml",
    "etc/kubernetes/kubelet.yaml": "kubelet.yaml",
    "etc/local-path/config.json": "local-path.json",
    "etc/local-path/helper-pod.yaml": "helper-pod.yaml",
}


def router_binary() -> Path:
    """kube-router, built once (about a minute). Raises `Missing`."""
    return go_build(
        "kube-router", LAB / "kube-router", package="github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"
    )


def provisioner_binary() -> Path:
    """The provisioner of k3s' storage class, built once (about 1.5 minutes). Raises `Missing`."""
    module = "github.com/rancher/local-path-provisioner"
    return go_build("local-path-provisioner", LAB / "local-path", package=module)


def prepare() -> None:
    """Builds and fetches all of it, before there is no network."""
    server_binary()
    router_binary()
    provisioner_binary()
    k3s_images.store()


class KubernetesNode(Client):
    """A cluster of one node; `with KubernetesNode(folder) as node:` boots and removes it. Raises `Missing`.

    kubectl runs on the client outside, as everything that talks to `kubeconfig` must (`prefix`). One node runs at a
    time: another one waits for its turn, since two with all pods of a stack take each other's processors. It goes
    before what else the machine does: its tests are mostly waits, and the longest of all.
    """

    def __init__(self, folder: Path) -> None:
        programs = {
            "kubernetes": server_binary(),
            "kube-router": router_binary(),
            "local-path-provisioner": provisioner_binary(),
        }
        k3s_images.store()
        files = {place: (CONFIGURATION / name).read_text() for place, name in FILES.items()}
        folder.mkdir(parents=True, exist_ok=True)
        account_key(folder / "accounts.pem")
        self._token = secrets.token_hex(16)
        files |= {
            "etc/kubernetes/tokens.csv": f'{self._token},admin,admin,"system:masters"\n',
            "etc/kubernetes/accounts.pem": (folder / "accounts.pem").read_text(),
            "etc/resolv.conf": "nameserver 10.99.0.2\n",
            "etc/hostname": f"{NAME}\n",
            "etc/hosts": "127.0.0.1 localhost\n",
        }
        self.machine = Machine(folder, files=files, programs=programs)
        super().__init__(folder, prefix=self.machine.outside)
        self.servers: dict[str, Process] = {}
        self._has_services = False

    def start(self) -> None:
        """Installs it: the first boot, and what k3s brings. Returns when CoreDNS and Traefik are ready."""
        k3s_images.provide(self.machine)
        self.boot()
        self.apply(crds())
        addons = (CONFIGURATION / "addons.yaml").read_text().replace("TRAEFIK_VERSION", traefik_version())
        self.apply(list(yaml.safe_load_all(addons)))
        self.wait_ready(120, SYSTEM)

    def boot(self) -> None:
        """Switches the machine on and starts its servers; returns when the API answers and the node is ready."""
        self.machine.switch_on()
        self.servers.clear()
        self._run("etcd", "kubernetes", "etcd", *etcd_flags(Path("/var/lib/etcd"), 2379, 2380))
        self._run("kube-apiserver", "kubernetes", "kube-apiserver", *self._api_flags())
        self.servers["containerd"] = k3s_images.start_containerd(self.machine)
        if not self._has_services:  # before the kubelet, which lists images at its start and each half minute after it
            k3s_images.load_services(self.machine)
            self._has_services = True
        authority = self.machine.disk / "upper" / "etc" / "kubernetes" / "serving" / "apiserver.crt"
        self.servers["kube-apiserver"].wait_ready(authority.exists, 60)
        self._write_kubeconfigs(authority)
        self.servers["kube-apiserver"].wait_ready(self._answers, 60)
        self._start_agents()
        wait_until(self._ready, 60, "the node is ready")
        for server in self.servers.values():
            server.wait_ready(lambda: True)

    def power_cut(self) -> None:
        """Kills all that runs on the machine at once."""
        self.machine.power_cut()
        for server in self.servers.values():
            server.kill()

    def stop(self) -> None:
        """Ends and deletes all of it."""
        self.machine.remove()

    def __enter__(self) -> Self:
        self._turn = (cache.ROOT / "node.turn").open("w")
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        self._running = ExitStack()
        self._running.callback(self._turn.close)
        self._running.enter_context(_first())
        self._running.callback(self.stop)
        try:
            self.start()
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def connection(self, host: str, port: int) -> socket.socket:
        return self.machine.connect(host, port)

    def execute(self, namespace: str, pod: str, *command: str, container: str = "", stdin: str | None = None) -> str:
        """What a command in a container prints. Raises `KubectlError`."""
        chosen = ["-c", container] if container else []
        return self.kubectl(
            "exec", *(["-i"] if stdin else []), "-n", namespace, pod, *chosen, "--", *command, stdin=stdin
        )

    # --- its servers

    def _start_agents(self) -> None:
        connect = f"--kubeconfig={KUBECONFIG}"
        named = f"--hostname-override={NAME}"
        self._run(
            *("kube-controller-manager", "kubernetes", "kube-controller-manager", connect, *CLIENT_RATES),
            *("--leader-elect=false", "--secure-port=0", "--use-service-account-credentials=false"),
            "--service-account-private-key-file=/etc/kubernetes/accounts.pem",
            "--root-ca-file=/etc/kubernetes/serving/apiserver.crt",
        )
        self._run(
            *("kube-scheduler", "kubernetes", "kube-scheduler", connect, *CLIENT_RATES),
            *("--leader-elect=false", "--secure-port=0"),
        )
        self._run(
            *("kubelet", "kubernetes", "kubelet", connect, named, f"--node-ip={ADDRESS}"),
            *("--config=/etc/kubernetes/kubelet.yaml", f"--cgroup-root=/{self.machine.cgroup}"),
        )
        self._run(
            *("kube-proxy", "kubernetes", "kube-proxy", connect, named),
            *("--proxy-mode=iptables", "--cluster-cidr=10.42.0.0/16"),
            # settings of the kernel that a network namespace does not have
            *("--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0s"),
            "--conntrack-tcp-timeout-close-wait=0s",
        )
        self._run(
            *("local-path-provisioner", "local-path-provisioner", "start", "--kubeconfig", KUBECONFIG),
            *("--config", "/etc/local-path/config.json", "--helper-pod-file", "/etc/local-path/helper-pod.yaml"),
            *("--helper-image", k3s_images.HELPER, "--namespace", SYSTEM, "--configmap-name", "local-path-config"),
            *("--provisioner-name", "rancher.io/local-path", "--service-account-name", "default"),
        )

        # It ends where its node is not known yet: that is at the first boot.
        wait_until(lambda: bool(self.get("nodes")), 60, "the node is registered")
        self.start_router()

    def start_router(self) -> None:
        """Starts what enforces network policies; the boot does, and whoever has stopped it."""
        self._run(
            *("kube-router", "kube-router", f"--kubeconfig={KUBECONFIG}", f"--hostname-override={NAME}"),
            *("--run-firewall=true", "--run-router=false", "--run-service-proxy=false", "--run-loadbalancer=false"),
            *(f"--service-cluster-ip-range={SERVICE_NETWORK}", "--metrics-port=0"),
            environment={"NODE_NAME": NAME},
        )

    def _api_flags(self) -> list[str]:
        return [
            f"--etcd-servers={ETCD}",
            f"--bind-address={ADDRESS}",
            f"--advertise-address={ADDRESS}",
            f"--secure-port={API_PORT}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--cert-dir=/etc/kubernetes/serving",
            "--token-auth-file=/etc/kubernetes/tokens.csv",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-key-file=/etc/kubernetes/accounts.pem",
            "--service-account-signing-key-file=/etc/kubernetes/accounts.pem",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--kubelet-preferred-address-types=InternalIP",
        ]

    def _run(self, name: str, *command: str, environment: dict[str, str] | None = None) -> None:
        self.servers[name] = self.machine.server(name, command, {**LESS_COLLECTION, **(environment or {})})

    def _write_kubeconfigs(self, authority: Path) -> None:
        text = yaml.safe_dump(_kubeconfig(authority.read_text(), self._token))
        for place in (self.kubeconfig, authority.parents[1] / "kubeconfig"):
            place.touch(mode=0o600)
            place.write_text(text)

    def _answers(self) -> bool:
        with suppress(KubectlError):
            return self.read_text("/readyz") == "ok"
        return False

    def _ready(self) -> bool:
        conditions = [each for node in self.get("nodes") for each in node["status"]["conditions"]]
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


@contextmanager
def _first() -> Iterator[None]:
    """What is started meanwhile has a higher priority, if this process may give one (`CAP_SYS_NICE`)."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, max(before - HIGHER, -20))
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


def _kubeconfig(authority: str, token: str) -> dict[str, Any]:
    data = base64.b64encode(authority.encode()).decode()
    server = {"server": f"https://{ADDRESS}:{API_PORT}", "certificate-authority-data": data}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": server}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}],
        "current-context": "lab",
    }
