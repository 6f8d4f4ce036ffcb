"""Rendered pods whose only address is of IPv6, as in a cluster of IPv6 alone: every declared port answers there."""

import socket
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from tests.graph.stack import load
from tests.integration.rendered_pod import Pods, RenderedPod
from tests.lab.fetch import skip_if_missing
from tests.lab.process import wait_until
from tests.lab.redis import Client, info
from tests.lab.sandbox import Running

pytestmark = pytest.mark.integration

READY_SECONDS = 60
SERVERS = ("cbtemulator", "cdn0-gate", "cdn3", "localstack", "object-store", "otel-collector", "redis-pubsub")


@pytest.fixture(scope="module")
def addresses() -> Iterator[str]:
    return (f"fd44::{number:x}" for number in count(16))


@pytest.fixture
def pods(tmp_path: Path, worker_number: int) -> Iterator[Pods]:
    with skip_if_missing():
        made = Pods(tmp_path / "pods", load("dev"), worker_number)
    with made as pods:
        yield pods


def answers(address: str, port: int) -> bool:
    """Whether something accepts a connection."""
    try:
        with socket.create_connection((address, port), 1):
            return True
    except OSError:
        return False


def wait_for_ports(pod: RenderedPod) -> None:
    """Every TCP port that its containers declare; of UDP, what the kernel has open in its namespace."""
    for spec in pod.template.spec["containers"]:
        running = pod.containers[spec["name"]]
        for port in spec.get("ports", ()):
            number = port["containerPort"]
            udp = port.get("protocol") == "UDP"
            there = partial(bound, running, number) if udp else partial(answers, pod.address, number)
            wait_until(partial(settled, running, there), READY_SECONDS, f"port {number}")
            assert there(), f"{spec['name']} has ended, or does not answer at port {number}:\n{running.text()[-2000:]}"


def settled(running: Running, there: Callable[[], bool]) -> bool:
    return there() or not running.running()


def bound(running: Running, port: int) -> bool:
    """Whether a datagram socket of IPv6 is bound to it."""
    return f":{port:04X} " in running.execute(["cat", "/proc/net/udp6"]).stdout


@pytest.mark.parametrize("name", SERVERS)
def test_a_pod_answers_at_its_only_address(pods: Pods, addresses: Iterator[str], name: str) -> None:
    pod = pods.pod(name, address=next(addresses))
    with skip_if_missing():
        pod.start()
    try:
        wait_for_ports(pod)
    finally:
        for container in pod.containers:
            print(pod.text(container)[-3000:])


def test_redis_makes_a_cluster(pods: Pods, addresses: Iterator[str]) -> None:
    password = pods.stack.file("redis", "/etc/flatline/redis-password")
    with skip_if_missing():
        membership = pods.pod("redis-membership", address=next(addresses)).start()
        nodes = [pods.pod("redis", name=f"redis-{n}", address=next(addresses)).start() for n in range(3)]
    wait_for_ports(membership)
    for pod in nodes:
        pod.wait_ready()

    def whole() -> bool:
        with Client(nodes[0].address, password=password) as client:
            state = info(client)
        return (state["cluster_state"], state["cluster_slots_ok"]) == ("ok", "16384")

    try:
        wait_until(whole, READY_SECONDS, "a cluster")
        nodes[1].kill()
        nodes[1] = nodes[1].successor(next(addresses)).start()
        nodes[1].wait_ready()
        wait_until(whole, READY_SECONDS, "a cluster with another address")
    finally:
        print(membership.text("membership")[-3000:])
