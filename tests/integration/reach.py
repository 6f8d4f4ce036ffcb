"""Who reaches whom on the node: real connections and datagrams between real pods, from within their networks."""

import os
import select
import selectors
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.kubernetes_node import KubernetesNode
from tests.lab.machine import entered

CONNECT_SECONDS = 3.0
ARRIVE_SECONDS = 1.0
HEADER = 20
UDP = 17


@dataclass(frozen=True)
class Place:
    """A pod, or another place: what it is called, its address, its network namespace."""

    name: str
    address: str
    network: Path


def pods(node: KubernetesNode, *namespaces: str) -> list[Place]:
    """The running pods of some namespaces, named by their workload."""
    found = [each for namespace in namespaces for each in node.get("pods", namespace)]
    running = [each for each in found if each["status"]["phase"] == "Running"]
    return [
        Place(workload(each), each["status"]["podIP"], node.machine.network_of(each["metadata"]["uid"]))
        for each in running
        if "deletionTimestamp" not in each["metadata"]
    ]


def workload(pod: Mapping[str, Any]) -> str:
    """The name of the workload that a pod is of."""
    labels = pod["metadata"].get("labels", {})
    return str(labels.get("app.kubernetes.io/name") or labels.get("k8s-app") or pod["metadata"]["name"])


def listening_ports(place: Place) -> set[int]:
    """The TCP ports that a pod listens on, for others than itself."""
    ports = set()
    pid = place.network.parents[1]  # /proc/PID
    for table in ("tcp", "tcp6"):
        for line in (pid / "net" / table).read_text().splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            host, port = address.split(":")
            if state == "0A" and not host.endswith(("0100007F", "00000000000001000000")):
                ports.add(int(port, 16))
    return ports


def connected(source: Place, targets: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
    """Those of the targets (address and port) that take a TCP connection from there, all tried at once."""
    opened: set[tuple[str, int]] = set()
    with ExitStack() as held, selectors.DefaultSelector() as waiting:
        with entered(source.network):
            for target in targets:
                one = held.enter_context(socket.socket())
                one.setblocking(False)
                with suppress(OSError):
                    one.connect_ex(target)
                    waiting.register(one, selectors.EVENT_WRITE, target)
        deadline = time.monotonic() + CONNECT_SECONDS
        while waiting.get_map() and time.monotonic() < deadline:
            for key, _ in waiting.select(deadline - time.monotonic()):
                tried = key.fileobj
                assert isinstance(tried, socket.socket)
                waiting.unregister(tried)
                if tried.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    opened.add(key.data)
    return opened


class Datagrams:
    """Sees which UDP datagrams arrive at places, whether or not somebody listens there."""

    def __init__(self, places: Iterable[Place]) -> None:
        self._mark = os.urandom(8)
        self._watched: dict[int, tuple[socket.socket, str]] = {}
        for place in places:
            with entered(place.network):
                watching = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
            self._watched[watching.fileno()] = (watching, place.address)

    def send(self, source: Place, targets: Iterable[tuple[str, int]]) -> None:
        """One datagram from a place to each of the targets."""
        with entered(source.network), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for target in targets:
                with suppress(OSError):  # an earlier one was refused
                    sender.sendto(self._mark, target)

    def arrived(self) -> set[tuple[str, str, int]]:
        """Address of the source, address of the target and port of each that came so far."""
        found, deadline = set(), time.monotonic() + ARRIVE_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            for descriptor in select.select(list(self._watched), [], [], left)[0]:
                watching, address = self._watched[descriptor]
                packet = watching.recv(2048)
                source, target = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
                if packet[9] == UDP and target == address and packet.endswith(self._mark):
                    found.add((source, target, int(struct.unpack("!H", packet[HEADER + 2 : HEADER + 4])[0])))
        return found

    def close(self) -> None:
        for watching, _ in self._watched.values():
            watching.close()
