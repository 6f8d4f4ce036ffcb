"""A client of a TURN server: it asks for a relay, says to whom, and sends and receives through it."""

import asyncio
import base64
import hashlib
import hmac
import ssl
import struct
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Literal, Protocol

from connectivity.stun import HEADER, Address, Attribute, Credentials, Kind, Message, NoStunError, decoded, peer

SECONDS = 5.0
"""The most that an answer takes."""
TRIES = 3
"""Datagrams get lost: a request is sent again so often."""
UNAUTHORIZED, STALE_NONCE = 401, 438

Transport = Literal["udp", "tcp", "tls"]


class RefusedError(Exception):
    """The server refuses a request. `code` is that of RFC 8656: 401 credentials, 403 this peer, 486 a quota."""

    def __init__(self, code: int) -> None:
        super().__init__(f"refused with {code}")
        self.code = code


def credentials(secret: str, expiry: int, name: str = "") -> Credentials:
    """Credentials as Whisper makes them: good until `expiry` (seconds since 1970), the text of the secret is the key.

    `name` is a random UUID without it. Source: Whisper's CoturnTurnCredentialsManager.
    """
    username = f"{expiry}:{name or uuid.uuid4()}"
    password = base64.b64encode(hmac.digest(secret.encode(), username.encode(), hashlib.sha1)).decode()
    return Credentials(username, password)


class _Channel(Protocol):
    def send(self, data: bytes) -> None: ...

    async def receive(self) -> bytes: ...

    def close(self) -> None: ...


class Relay:
    """One client of a server, and its relayed address once `allocate` has returned."""

    def __init__(self, channel: _Channel, given: Credentials) -> None:
        self._channel, self._credentials = channel, given
        self._received: list[tuple[Address, bytes]] = []
        self.relayed: Address = ("", 0)
        self.seen_as: Address = ("", 0)
        """The address under which the server sees this client."""

    async def allocate(self, *, family: Literal[4, 6] = 4) -> Address:
        """Asks for a relayed address. Raises RefusedError, or TimeoutError."""
        wanted = [(Attribute.TRANSPORT, bytes([17, 0, 0, 0])), (Attribute.FAMILY, bytes([family // 2 - 1, 0, 0, 0]))]
        answer = await self._asked(Kind.ALLOCATE, wanted if family == 6 else wanted[:1])
        self.relayed = answer.address(Attribute.RELAYED) or ("", 0)
        self.seen_as = answer.address(Attribute.MAPPED) or ("", 0)
        return self.relayed

    async def permit(self, address: Address) -> None:
        """Lets an address send to the relayed one, and be sent to. Raises RefusedError, or TimeoutError."""
        await self._asked(Kind.PERMIT, [], address)

    def send(self, address: Address, data: bytes) -> None:
        """Sends from the relayed address. Nothing says whether it arrives."""
        message = Message(Kind.SEND)
        self._channel.send(
            replace(message, attributes=(peer(address, message.transaction), (Attribute.DATA, data))).encoded()
        )

    async def receive(self) -> tuple[Address, bytes]:
        """What comes next to the relayed address, and from where. Raises TimeoutError."""
        async with asyncio.timeout(SECONDS):
            while not self._received:
                self._keep(await self._channel.receive())
        return self._received.pop(0)

    async def release(self) -> None:
        """Gives the relayed address back, so that it does not count until it expires."""
        with suppress(RefusedError, TimeoutError):
            await self._asked(Kind.REFRESH, [(Attribute.LIFETIME, bytes(4))])

    async def _asked(self, kind: Kind, wanted: list[tuple[Attribute, bytes]], to: Address | None = None) -> Message:
        """The answer to a request; one without credentials tells the realm and the nonce."""
        for _ in range(3):
            message = Message(kind)
            attributes = [*wanted, *([peer(to, message.transaction)] if to else [])]
            message = replace(message, attributes=tuple(attributes))
            known = self._credentials if self._credentials.nonce else None
            answer = await self._answer(message.encoded(known), message.transaction)
            fresh = answer.get(Attribute.NONCE)
            if answer.error in (UNAUTHORIZED, STALE_NONCE) and fresh and fresh != self._credentials.nonce:
                again = answer.error == STALE_NONCE or known is None
                realm = answer.get(Attribute.REALM) or self._credentials.realm
                self._credentials = replace(self._credentials, realm=realm, nonce=fresh)
                if again:
                    continue
            break
        if answer.error:
            raise RefusedError(answer.error)
        return answer

    async def _answer(self, request: bytes, transaction: bytes) -> Message:
        for attempt in range(TRIES):
            self._channel.send(request)
            try:
                async with asyncio.timeout(SECONDS / TRIES):
                    while True:
                        message = self._keep(await self._channel.receive())
                        if message is not None and message.transaction == transaction:
                            return message
            except (TimeoutError, ConnectionRefusedError) as error:
                if attempt == TRIES - 1:
                    raise
                if isinstance(error, ConnectionRefusedError):  # at once, so a server that starts had no time
                    await asyncio.sleep(SECONDS / TRIES / 2)
        raise TimeoutError

    def _keep(self, data: bytes) -> Message | None:
        """Keeps data of others, and returns every other message."""
        try:
            message = decoded(data)
        except (NoStunError, struct.error):
            return None
        sender, content = message.address(Attribute.PEER), message.get(Attribute.DATA)
        if message.kind == Kind.DATA and sender is not None and content is not None:
            self._received.append((sender, content))
            return None
        return message


@asynccontextmanager
async def opened(
    address: Address,
    transport: Transport,
    given: Credentials,
    *,
    context: ssl.SSLContext | None = None,
    host: str = "",
    source: str | None = None,
) -> AsyncIterator[Relay]:
    """A client of the server at an address; its relayed address is given back at the end.

    For `tls`, `context` decides whom to trust, and `host` is the name that the certificate must have. `source` is the
    address to connect from. Raises OSError, ssl.SSLError or TimeoutError where there is no connection.
    """
    channel: _Datagrams | _Stream
    async with asyncio.timeout(SECONDS):
        if transport == "udp":
            loop, local = asyncio.get_running_loop(), (source, 0) if source else None
            _, channel = await loop.create_datagram_endpoint(_Datagrams, remote_addr=address, local_addr=local)
        else:
            secure = context if transport == "tls" else None
            name = host if secure is not None else None
            local = (source, 0) if source else None
            reader, writer = await asyncio.open_connection(*address, ssl=secure, server_hostname=name, local_addr=local)
            channel = _Stream(reader, writer)
    relay = Relay(channel, given)
    try:
        yield relay
    finally:
        if relay.relayed[1]:
            await relay.release()
        channel.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._queue.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        self._queue.put_nowait(exc)

    def send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.sendto(data)

    async def receive(self) -> bytes:
        found = await self._queue.get()
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class _Stream:
    """Messages one after the other; the length of each is in its header."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def receive(self) -> bytes:
        try:
            header = await self._reader.readexactly(HEADER)
            return header + await self._reader.readexactly(struct.unpack("!H", header[2:4])[0])
        except asyncio.IncompleteReadError:
            raise ConnectionResetError("the server has closed the connection") from None

    def close(self) -> None:
        self._writer.close()
