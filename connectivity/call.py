"""A group call that this machine alone joins: what a client does up to the point where WebRTC begins.

The frontend of the calling service is asked to let somebody into a call of a group that there is not. Its answer says
where media goes, and with which name and password a client proves that it was let in: those are tried by UDP and by
TCP, with a STUN binding request as in ICE (RFC 8445, RFC 8489; frames of RFC 4571 on TCP). The call ends by itself when
its one member says nothing for half a minute.
"""

import asyncio
import base64
import hashlib
import hmac
import http
import json
import secrets
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from client_kit.pins import Pins
from connectivity import names, services, transport
from connectivity.check import Host, Step, recorded
from connectivity.names import Resolver
from connectivity.problem import Problem
from connectivity.stun import HEADER, Attribute, Kind, Message

SERVICE, STEPS = "call", ("join", "udp", "tcp")
PATH = "/v2/conference/participants"
MEDIA_SECONDS, AGAIN_SECONDS = 5.0, 0.5

Ask = Callable[[str, int, "Joined"], Awaitable[None]]


class Call(Host):
    """The result of the call."""

    @property
    def served(self) -> bool:
        """True if a client could send media."""
        return len(self.steps) == len(STEPS) and all(each.passed for each in self.steps)


@dataclass(frozen=True)
class Joined:
    """Where media goes, and what a client shows there. `username` is that of binding requests to the server."""

    addresses: tuple[str, ...]
    udp: int
    tcp: int
    username: str
    password: str


async def tried(
    pins: Pins, key: bytes, *, address: str | None = None, port: int = 443, resolve: Resolver = names.resolved
) -> Call:
    """Joins a call; `key` is the one that Storage signs the tokens of group members with."""
    call = Call(SERVICE, pins.host("sfu"))
    joined: Joined | None = None
    with recorded(call, "join") as found:
        places = [address] if address is not None else list(await resolve(call.name))[:1]
        (target,) = transport.targets(pins, call.name, places, port)
        async with target.opened() as connection:
            joined = await _joined(connection, call.name, key)
        found.append(f"the backend takes media at {', '.join(joined.addresses)}")
    if joined is not None:
        call.addresses = joined.addresses
        for name, number, ask in (("udp", joined.udp, _by_udp), ("tcp", joined.tcp, _by_tcp)):
            with recorded(call, name) as found:
                for each in joined.addresses:
                    await _answered(ask, name, each, number, joined)
                    found.append(f"{name.upper()} port {number} of {each} answers who was let in")
    call.steps += [Step(name, passed=None) for name in STEPS[len(call.steps) :]]
    return call


def token(key: bytes, now: float) -> str:
    """A token of a member who may begin a call, in the form of Storage's `GET /v2/groups/token`, for nobody's group."""
    member, group = hashlib.sha256(secrets.token_bytes(32)).hexdigest(), secrets.token_hex(32)
    text = f"2:{member}:{group}:{int(now)}:1"
    return f"{text}:{hmac.digest(key, text.encode(), 'sha256')[:10].hex()}"


async def _joined(connection: transport.Connection, host: str, key: bytes) -> Joined:
    ufrag, password = secrets.token_hex(4), secrets.token_hex(16)
    request = {
        "iceUfrag": ufrag,
        "icePwd": password,
        "dhePublicKey": X25519PrivateKey.generate().public_key().public_bytes_raw().hex(),
    }
    credentials = base64.b64encode(f"connect:{token(key, time.time())}".encode()).decode()
    answer = await services.asked(
        connection,
        host,
        PATH,
        method="PUT",
        headers={"Authorization": f"Basic {credentials}", "Content-Type": "application/json"},
        body=json.dumps(request).encode(),
    )
    if answer.status == http.HTTPStatus.UNAUTHORIZED:
        raise Problem(
            "the calling service refuses a member's token: it verifies with another key than Storage signs with, or "
            "its clock is more than a day away from this machine's",
            "Bring the stack up again, which gives both the same key; look at the clocks of the nodes.",
        )
    if answer.status == http.HTTPStatus.INTERNAL_SERVER_ERROR:
        raise Problem(
            "the calling service cannot begin a call (500): its frontend reaches its backend or its table not",
            "Look at the log of deployment/calling-frontend, and whether calling-backend is ready.",
        )
    if answer.status != http.HTTPStatus.OK:
        raise services.unexpected(answer, host, "the calling service", "200 for a member who begins a call")
    try:
        return _read(json.loads(answer.body), ufrag)
    except (ValueError, KeyError, TypeError):
        raise services.unexpected(answer, host, "the calling service", "where media goes, as JSON") from None


def _read(answer: Any, ufrag: str) -> Joined:
    return Joined(
        addresses=tuple(str(each) for each in answer["ips"]),
        udp=int(answer["port"]),
        tcp=int(answer["portTcp"]),
        username=f"{answer['iceUfrag']}:{ufrag}",
        password=str(answer["icePwd"]),
    )


async def _answered(ask: Ask, name: str, address: str, port: int, joined: Joined) -> None:
    try:
        async with asyncio.timeout(MEDIA_SECONDS):
            await ask(address, port, joined)
    except TimeoutError:
        raise _silent(name, address, port, f"answers nothing within {MEDIA_SECONDS:g} s") from None
    except OSError as error:
        raise _silent(name, address, port, f"cannot be reached ({error.strerror or error})") from None


def _silent(name: str, address: str, port: int, what: str) -> Problem:
    return Problem(
        f"{name.upper()} port {port} of {address} {what}",
        f"Open {name.upper()} port {port} in the firewalls of the node and of the provider; see that {address} leads "
        "to the node of pod calling-backend with the port as it is, and that calls.groups.addresses are right.",
    )


async def _by_udp(address: str, port: int, joined: Joined) -> None:
    loop = asyncio.get_running_loop()
    answers: asyncio.Queue[bytes] = asyncio.Queue()

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            answers.put_nowait(data)

    sender, _ = await loop.create_datagram_endpoint(Receiver, remote_addr=(address, port))
    try:
        request = binding_request(joined.username, joined.password)
        while True:
            sender.sendto(request)
            try:
                async with asyncio.timeout(AGAIN_SECONDS):
                    while not is_answer(await answers.get(), request):
                        pass
                return
            except TimeoutError:
                continue
    finally:
        sender.close()


async def _by_tcp(address: str, port: int, joined: Joined) -> None:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        request = binding_request(joined.username, joined.password)
        writer.write(struct.pack("!H", len(request)) + request)
        await writer.drain()
        while True:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            if is_answer(await reader.readexactly(length), request):
                return
    except asyncio.IncompleteReadError:
        raise OSError("it ends the connection") from None
    finally:
        writer.transport.abort()


def binding_request(username: str, password: str) -> bytes:
    """A connectivity check of ICE: username, role, priority, message integrity and fingerprint."""
    attributes = (
        (Attribute.USERNAME, username.encode()),
        (Attribute.ICE_CONTROLLING, secrets.token_bytes(8)),
        (Attribute.PRIORITY, struct.pack("!I", 1)),
    )
    return Message(Kind.BINDING, attributes).checked(password)


def is_answer(message: bytes, request: bytes) -> bool:
    """True for a success response to this very request."""
    kind, identity = message[:2], message[4:HEADER]
    return kind == struct.pack("!H", Kind.BOUND) and identity == request[4:HEADER]
