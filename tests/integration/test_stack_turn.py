"""The TURN server as it is rendered, in its pod: who gets a relay, and to whom it relays."""

import asyncio
import ipaddress
import random
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.doctor import outside
from cli.doctor.outside import Tried
from config.services.coturn import ALLOCATIONS_PER_CREDENTIAL, CERTIFICATE, CONFIG, DENIED_IPV4
from connectivity import relay
from connectivity.check import Host
from connectivity.stun import Address, Credentials
from connectivity.turn import RefusedError, Relay, Transport, credentials, opened
from tests.graph.stack import Stack, recorded
from tests.graph.test_turn import ADDRESS, with_turn
from tests.integration.rendered_pod import Pods, RenderedPod
from tests.lab.coturn import turnserver
from tests.lab.fetch import skip_if_missing
from tests.lab.namespace import require_private_namespace
from tests.lab.process import Process, wait_until
from tests.unit.cli.doctor_evidence import Plant
from tests.unit.cli.doctor_evidence import host as healthy

pytestmark = pytest.mark.integration

PORT, TLS_PORT = 30478, 30479
PUBLIC, OTHER = "9.9.9.9", "9.9.9.10"
"""Addresses of the internet, which this machine has here."""
UNAUTHORIZED, FORBIDDEN, UNSUPPORTED_FAMILY, OTHER_FAMILY, QUOTA = 401, 403, 440, 443, 486
DAY = 86400


class Server:
    """A pod of the rendered stack that runs, and its clients."""

    def __init__(self, stack: Stack, pod: RenderedPod) -> None:
        self.stack, self.pod = stack, pod
        (line,) = (each for each in stack.file("turn", CONFIG).splitlines() if each.startswith("static-auth-secret="))
        self.secret = line.partition("=")[2]

    def whisper(self, *, expiry: float = DAY, secret: str = "") -> Credentials:
        """Credentials as Whisper would hand out now."""
        return credentials(secret or self.secret, int(time.time() + expiry))

    def opened(self, given: Credentials, transport: Transport = "udp", port: int = PORT, **more: Any) -> Any:
        return opened((self.pod.address, port), transport, given, **more)


@pytest.fixture(scope="module")
def internet() -> Iterator[None]:
    require_private_namespace()
    for address in (PUBLIC, OTHER):
        subprocess.run(["ip", "address", "replace", f"{address}/32", "dev", "lo"], check=True)
    yield
    for address in (PUBLIC, OTHER):
        subprocess.run(["ip", "address", "delete", f"{address}/32", "dev", "lo"], check=True)


def started(folder: Path, worker: int, stack: Stack) -> Iterator[Server]:
    with skip_if_missing(), Pods(folder, stack, worker) as pods:
        pod = pods.pod("turn").start()
        pod.wait_ready()
        yield Server(stack, pod)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, worker_number: int, internet: None) -> Iterator[Server]:
    yield from started(tmp_path_factory.mktemp("turn"), worker_number, Stack(recorded(with_turn("dev"))))


def refusal(attempt: Callable[[], Awaitable[object]]) -> int:
    """The code with which something is refused; 0 where it is not."""

    async def tried() -> int:
        return await code_of(attempt())

    return asyncio.run(tried())


async def code_of(attempt: Awaitable[object]) -> int:
    try:
        await attempt
    except RefusedError as refused:
        return refused.code
    return 0


def authority(server: Server) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=str(server.stack.recording.outputs["caCertificates"]))


class Peer(asyncio.DatagramProtocol):
    """A device at an address of the internet, which sends back what it gets."""

    def __init__(self) -> None:
        self.heard: list[tuple[Address, bytes]] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.heard.append((addr[:2], data))
        self.transport.sendto(b"back: " + data, addr)

    @property
    def address(self) -> Address:
        host, port = self.transport.get_extra_info("sockname")
        return host, port


async def listens(address: str) -> Peer:
    _, peer = await asyncio.get_running_loop().create_datagram_endpoint(Peer, local_addr=(address, 0))
    return peer


@pytest.mark.parametrize(("transport", "port"), [("udp", PORT), ("tcp", PORT), ("tls", TLS_PORT)])
def test_credentials_of_whispers_get_a_relay_that_carries_data_both_ways(
    server: Server, transport: Transport, port: int
) -> None:
    async def call() -> tuple[Address, Peer, tuple[Address, bytes]]:
        peer = await listens(PUBLIC)
        secure = {"context": authority(server), "host": "turn.flatline.internal"} if transport == "tls" else {}
        async with server.opened(server.whisper(), transport, port, **secure) as relay:
            await relay.allocate()
            await relay.permit(peer.address)
            relay.send(peer.address, b"hello")
            return relay.relayed, peer, await relay.receive()

    relayed, peer, (sender, data) = asyncio.run(call())
    assert relayed[0] == ADDRESS, "the address that other devices can reach"
    assert relayed[1] in range(30500, 30600)
    assert [data for _, data in peer.heard] == [b"hello"]
    assert [source[1] for source, _ in peer.heard] == [relayed[1]]
    assert (sender[0], data) == (PUBLIC, b"back: hello")


def test_tls_is_the_installation_s_alone(server: Server) -> None:
    async def seen(context: ssl.SSLContext, host: str) -> None:
        async with server.opened(server.whisper(), "tls", TLS_PORT, context=context, host=host):
            pass

    with pytest.raises(ssl.SSLCertVerificationError):
        asyncio.run(seen(ssl.create_default_context(), "turn.flatline.internal"))
    with pytest.raises(ssl.SSLCertVerificationError):
        asyncio.run(seen(authority(server), "turn.example.org"))
    assert server.stack.file("turn", CERTIFICATE) in server.stack.recording.outputs["servedCertificate"]


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda server: server.whisper(secret="00" * 32), id="of another secret"),
        pytest.param(lambda server: server.whisper(expiry=-60), id="of yesterday"),
        pytest.param(lambda _: Credentials("flatline", "flatline"), id="of a user that there is not"),
    ],
)
def test_other_credentials_get_none(server: Server, made: Callable[[Server], Credentials]) -> None:
    async def ask() -> None:
        async with server.opened(made(server)) as relay:
            await relay.allocate()

    assert refusal(ask) == UNAUTHORIZED


def of_network(cidr: str, chance: random.Random) -> Iterator[str]:
    """Its first and last addresses, and some between them."""
    network = ipaddress.ip_network(cidr)
    last = network.num_addresses - 1
    for at in {0, last, *(chance.randint(0, last) for _ in range(3))}:
        yield str(network[at])


async def refused_peers(relay: Relay, addresses: list[str]) -> dict[str, int]:
    return {address: await code_of(relay.permit((address, 4444))) for address in addresses}


def test_no_network_but_the_public_internet_is_relayed_to(server: Server) -> None:
    """The node, the cluster, its neighbours and the metadata services of clouds among them."""
    chance = random.Random(16)
    named = [
        "10.42.0.10",
        "10.43.0.1",
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "192.168.1.1",
        "172.20.0.1",
    ]
    named += [
        "127.0.0.1",
        "0.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.5",
        "255.255.255.255",
    ]
    addresses = [*named, *(each for cidr in DENIED_IPV4 for each in of_network(cidr, chance))]
    public = ["1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0"]

    async def ask() -> dict[str, int]:
        async with server.opened(server.whisper()) as relay:
            await relay.allocate()
            return await refused_peers(relay, [*addresses, *public])

    found = asyncio.run(ask())
    assert {each for each in addresses if found[each] != FORBIDDEN} == set()
    assert {each: found[each] for each in public if found[each]} == {}


def test_relayed_addresses_and_peers_are_of_ipv4(server: Server) -> None:
    async def ask() -> tuple[int, dict[str, int]]:
        async with server.opened(server.whisper()) as six, server.opened(server.whisper()) as four:
            await four.allocate()
            peers = ["2606:4700::1111", "::1", "::ffff:10.0.0.1", "::ffff:9.9.9.9", "64:ff9b::a00:1"]
            return await code_of(six.allocate(family=6)), await refused_peers(four, peers)

    family, peers = asyncio.run(ask())
    assert family == UNSUPPORTED_FAMILY
    assert {each: code for each, code in peers.items() if code != OTHER_FAMILY} == {}


def test_a_pod_of_ipv6_relays_to_nobody(server: Server, tmp_path: Path) -> None:
    """The configuration as rendered, in a server that has an IPv6 address: it hands out one, which is of no use."""
    own = "2a00:5::1"
    subprocess.run(["ip", "address", "replace", f"{own}/128", "dev", "lo"], check=True)
    rendered = server.stack.file("turn", CONFIG).replace("/run/turnserver", str(tmp_path))
    lines = [line for line in rendered.splitlines() if not line.startswith(("cert=", "pkey="))]
    (tmp_path / "conf").write_text("\n".join([*lines, "no-tls", "no-dtls"]))
    flags = ["-c", str(tmp_path / "conf"), f"--listening-ip={own}", f"--relay-ip={own}"]
    running = Process("turn", [str(turnserver()), *flags], tmp_path)
    chance = random.Random(17)
    addresses = [
        "::1",
        "ff02::1",
        "2001:db8::1",
        "fec0::1",
        "100::1",
        "fd00:ec2::254",
        "fe80::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::1",
        "::",
        "::10.0.0.1",
        "::ffff:9.9.9.9",
        "2606:4700::1111",
        "2a00:6::1",
        own,
        *(each for cidr in ("::/0", "::/96", "2000::/3", "fc00::/7") for each in of_network(cidr, chance)),
    ]

    async def ask() -> dict[str, int]:
        async with opened((own, PORT), "udp", server.whisper()) as relay:
            await relay.allocate(family=6)
            return await refused_peers(relay, addresses)

    try:
        found = asyncio.run(ask())
    finally:
        running.stop()
    assert {each: code for each, code in found.items() if code != FORBIDDEN} == {}


def test_two_devices_of_this_server_reach_each_other(server: Server) -> None:
    """Both have no other way out, such as where only TCP is let through."""

    async def call() -> tuple[Relay, Relay, tuple[Address, bytes], tuple[Address, bytes]]:
        async with (
            server.opened(server.whisper(), "tcp") as one,
            server.opened(server.whisper(), "tcp") as two,
        ):
            await one.allocate()
            await two.allocate()
            await one.permit(two.relayed)
            await two.permit(one.relayed)
            one.send(two.relayed, b"ring")
            heard = await two.receive()
            two.send(heard[0], b"hello")
            return one, two, heard, await one.receive()

    one, two, heard, answered = asyncio.run(call())
    assert heard == (one.relayed, b"ring")
    assert answered == (two.relayed, b"hello")


def test_nobody_sends_to_a_device_that_it_has_not_called(server: Server) -> None:
    async def call() -> list[tuple[Address, bytes]]:
        stranger, friend = await listens(OTHER), await listens(PUBLIC)
        async with server.opened(server.whisper()) as relay:
            await relay.allocate()
            await relay.permit(friend.address)
            relayed = (server.pod.address, relay.relayed[1])
            stranger.transport.sendto(b"unasked", relayed)
            friend.transport.sendto(b"asked", relayed)
            return [await relay.receive()]

    (only,) = asyncio.run(call())
    assert only[1] == b"asked"


def test_the_log_names_nobody(server: Server) -> None:
    given = server.whisper()

    async def call() -> None:
        peer = await listens(PUBLIC)
        async with server.opened(given) as relay:
            await relay.allocate()
            await relay.permit(peer.address)
            relay.send(peer.address, b"hello")
            await relay.receive()
            assert await code_of(relay.permit(("10.1.2.3", 4444))) == FORBIDDEN

    asyncio.run(call())
    assert refusal(lambda: _allocated(server, server.whisper(secret="11" * 32))) == UNAUTHORIZED
    text = server.pod.text("turn")
    assert "listener" in text.lower()
    for private in (given.username, given.username.partition(":")[2], PUBLIC, server.secret, "10.244.255"):
        assert private not in text, private


def device(server: Server, **changed: Any) -> Host:
    """What `connect` finds."""
    pins = str(server.stack.recording.outputs["caCertificates"])
    known = relay.Server(
        host="turn.flatline.internal", port=PORT, tls_port=TLS_PORT, secret=server.secret, authorities=pins
    )
    return asyncio.run(relay.tried(replace(known, **changed), address=server.pod.address))


def test_connect_gets_a_relay_by_each_way(server: Server) -> None:
    found = device(server)
    assert found.served, found
    assert [step.found.count(f"gives {ADDRESS}:") for step in found.steps] == [0, 2, 1, 0]


def test_connect_tells_a_wrong_secret_a_closed_port_and_another_authority_apart(server: Server) -> None:
    rotated = device(server, secret="00" * 32)
    assert "refused with 401" in (rotated.steps[1].cause or "")
    assert "turn config" in (rotated.steps[1].cure or "")
    closed = device(server, tls_port=TLS_PORT + 5)
    assert (closed.steps[1].passed, closed.steps[2].passed) == (True, False)
    assert "cannot be reached" in (closed.steps[2].cause or "")
    other = device(server, host="turn.example.org")
    assert "TLS with the pinned authority" in (other.steps[2].cause or "")


def told(*hosts: Host) -> list[str]:
    """The doctor's symptoms where these are the TURN servers that it has tried, and all else is well."""
    plant = Plant()
    plant.readings["outside"] = Tried((healthy("whisper"),), relay=hosts)
    return [each.symptom for each in outside.connections(plant.evidence())]


def test_the_doctor_tells_of_each_way_in_which_it_fails(server: Server) -> None:
    assert told(device(server)) == []
    assert told(device(server, secret="00" * 32)) == ["relay-refuses", "relay-refuses"]
    assert told(device(server, port=PORT + 5)) == ["relay-unreachable"]
    assert told(device(server, tls_port=TLS_PORT + 5)) == ["relay-unreachable"]
    assert told(device(server, host="turn.example.org")) == ["relay-tls"]


@pytest.mark.parametrize(
    ("wanted", "answered", "symptoms"),
    [
        (ADDRESS, PUBLIC, ["relay-name"]),
        (PUBLIC, OTHER, ["relay-name"]),
        ("192.168.1.5", PUBLIC, ["relay-name"]),
        (PUBLIC, PUBLIC, []),
        (PUBLIC, "192.168.1.5", []),
    ],
)
def test_a_name_that_leads_to_another_machine_is_told(wanted: str, answered: str, symptoms: list[str]) -> None:
    """A private address in its place is that of a home network, from inside of it."""

    async def resolve(_: str) -> list[str]:
        return [answered]

    known = relay.Server(host="turn.example.org", port=1, tls_port=0, secret="", authorities="", address=wanted)
    found = asyncio.run(relay.tried(known, resolve=resolve))
    assert told(found)[: len(symptoms)] == symptoms
    assert ("relay-name" in told(found)) == bool(symptoms)


def test_the_doctor_tells_of_a_relay_into_private_networks(server: Server, tmp_path: Path) -> None:
    """The rendered configuration without what it denies, in a server of the same."""
    rendered = server.stack.file("turn", CONFIG).replace("/run/turnserver", str(tmp_path))
    lines = [line for line in rendered.splitlines() if not line.startswith(("cert=", "pkey=", "denied-peer-ip="))]
    (tmp_path / "conf").write_text("\n".join([*lines, "no-tls", "no-dtls"]))
    flags = ["-c", str(tmp_path / "conf"), f"--listening-ip={OTHER}", f"--relay-ip={OTHER}"]
    running = Process("turn", [str(turnserver()), *flags], tmp_path)
    known = relay.Server(host="turn.example.org", port=PORT, tls_port=0, secret=server.secret, authorities="")
    try:
        wait_until(lambda: told(asyncio.run(relay.tried(known, address=OTHER))) == ["relay-open"], 20, "a relay")
    finally:
        running.stop()


def test_the_doctor_tells_of_a_relay_without_ports(tmp_path: Path, worker_number: int, internet: None) -> None:
    few = Stack(recorded(with_turn("dev", relayPorts={"first": 30500, "last": 30509})))

    async def fill(server: Server) -> Host:
        async with AsyncExitStack() as open_ones:
            for _ in range(10):
                one: Relay = await open_ones.enter_async_context(server.opened(server.whisper()))
                await one.allocate()
            known = relay.Server(
                host="turn.flatline.internal", port=PORT, tls_port=0, secret=server.secret, authorities=""
            )
            return await relay.tried(known, address=server.pod.address)

    for server in started(tmp_path, worker_number, few):
        assert told(asyncio.run(fill(server))) == ["relay-full"]


async def _allocated(server: Server, given: Credentials) -> None:
    async with server.opened(given) as relay:
        await relay.allocate()


@pytest.fixture
def on_node(tmp_path: Path, worker_number: int, internet: None) -> Iterator[Server]:
    stack = Stack(recorded(with_turn("dev", network="host", deniedNetworks=["8.8.8.0/24"])))
    yield from started(tmp_path, worker_number, stack)


def test_in_the_node_s_network_its_own_addresses_are_closed(on_node: Server) -> None:
    """Each UDP port of the node, such as that of the overlay network, would answer behind its firewall."""
    own, denied, other = on_node.pod.address, "8.8.8.8", "8.8.9.9"

    async def ask() -> dict[str, int]:
        async with on_node.opened(on_node.whisper(), port=3478) as relay:
            await relay.allocate()
            return await refused_peers(relay, [ADDRESS, own, denied, other])

    assert asyncio.run(ask()) == {ADDRESS: FORBIDDEN, own: FORBIDDEN, denied: FORBIDDEN, other: 0}


def test_one_credential_has_a_quota_and_all_have_one_together(on_node: Server) -> None:
    async def fill() -> tuple[int, int, int]:
        async with AsyncExitStack() as open_ones:

            async def allocated(given: Credentials, most: int) -> int:
                for count in range(most):
                    relay: Relay = await open_ones.enter_async_context(on_node.opened(given, port=3478))
                    if refused := await code_of(relay.allocate()):
                        assert refused == QUOTA
                        return count
                return most

            one = await allocated(on_node.whisper(), ALLOCATIONS_PER_CREDENTIAL + 1)
            others = [await allocated(on_node.whisper(), 20) for _ in range(5)]
            return one, sum(others), others[-1]

    one, others, last = asyncio.run(fill())
    assert one == ALLOCATIONS_PER_CREDENTIAL
    assert one + others == 100, "as many as there are ports"
    assert last < 20
