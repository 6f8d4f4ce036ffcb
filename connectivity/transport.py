"""TCP and TLS to one address, as a client opens them: TLS 1.3, and no authorities but the pinned ones."""

import asyncio
import errno
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cryptography import x509

from client_kit.pins import Pins
from connectivity import certificates
from connectivity.problem import LOOK_AT_TRAEFIK, SOMETHING_BETWEEN, Problem

CONNECT_SECONDS, HANDSHAKE_SECONDS = 5.0, 8.0

_NO_WAY = {errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_OLD_TLS = ("TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "WRONG_SSL_VERSION")


class NoRouteError(Exception):
    """This machine has no way to addresses of this kind: nothing is known of the server."""


@dataclass(frozen=True)
class Connection:
    """An open TLS connection and the certificate that the server has shown."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    certificate: x509.Certificate


@dataclass(frozen=True, kw_only=True)
class Target:
    """One address of one host."""

    host: str
    address: str
    port: int
    authorities: tuple[x509.Certificate, ...]
    trusted: ssl.SSLContext

    @property
    def place(self) -> str:
        """Address and port as one text."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[socket.socket]:
        """A TCP connection. Raises Problem, or NoRouteError for an IPv6 address on a machine without IPv6."""
        version = ipaddress.ip_address(self.address).version
        with socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET) as plain:
            plain.setblocking(False)
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await asyncio.get_running_loop().sock_connect(plain, (self.address, self.port))
            except TimeoutError:
                raise Problem(
                    f"{self.place} does not answer a TCP connection within {CONNECT_SECONDS:g} s",
                    f"Open TCP port {self.port} in the firewall of the node and of the provider, and look whether "
                    f"{self.address} is the address of the node or of the load balancer.",
                ) from None
            except ConnectionRefusedError:
                raise Problem(
                    f"{self.place} refuses TCP connections: nothing listens there",
                    f"{LOOK_AT_TRAEFIK}. Its entry point for TLS must be port {self.port} of {self.address}.",
                ) from None
            except OSError as error:
                if version == 6 and error.errno in _NO_WAY:
                    raise NoRouteError(self.address) from None
                raise Problem(
                    f"{self.place} cannot be reached: {error.strerror}",
                    f"Look whether {self.address} is the right address, and at the routes between this machine and it.",
                ) from None
            yield plain

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Connection]:
        """A TLS connection that a client takes. Raises Problem or NoRouteError."""
        async with self.connected() as plain:
            try:
                streams = await _handshake(plain, self.host, self.trusted)
            except OSError as error:
                raise await self._problem(error) from None
            try:
                yield Connection(*streams, _shown(streams[1]))
            finally:
                streams[1].transport.abort()  # no farewell, which a peer may not answer

    async def _problem(self, error: OSError) -> Problem:
        """The cause of a handshake that failed; looks once more, without verification, at what the server shows."""
        if isinstance(error, ssl.SSLCertVerificationError):
            shown = await self._shown()
            return certificates.problem(error, shown, self.host, self.authorities)
        reason = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
        if reason in _NOT_TLS:
            return Problem(
                f"{self.place} answers, but not in TLS: plain HTTP or another protocol is on this port",
                f"Look which port Traefik's entry point for TLS has, and whether a load balancer in front of it takes "
                f"TLS away. {LOOK_AT_TRAEFIK}",
            )
        cut = isinstance(error, ConnectionError)
        if reason in _OLD_TLS or (cut and await self._shown(ssl.TLSVersion.TLSv1_2) is not None):
            return Problem(
                f"{self.place} speaks no TLS 1.3, which libsignal needs",
                "Something in front of Traefik may end TLS, or Traefik's static configuration limits it: the stack's "
                "own TLSOption allows TLS 1.3. Take `maxVersion` away, and pass TLS through load balancers as it is.",
            )
        if "UNRECOGNIZED_NAME" in reason or "ALERT" in reason:
            return Problem(
                f"{self.place} refuses TLS for the name {self.host} ({reason})",
                "It has no certificate for this name: the stack's routes are not applied, or this is another Traefik. "
                "Bring the stack up again, and look whether the address is right.",
            )
        return self._broken(error)

    def _broken(self, error: OSError) -> Problem:
        if isinstance(error, TimeoutError):
            return Problem(
                f"{self.place} takes the connection, and does not answer in TLS within {HANDSHAKE_SECONDS:g} s",
                f"It is overloaded, or a firewall lets the connection through and no data. {LOOK_AT_TRAEFIK}",
            )
        if isinstance(error, ConnectionError):
            return Problem(
                f"{self.place} takes the connection, and cuts it during the TLS handshake",
                f"{SOMETHING_BETWEEN} A filter may cut connections by the name in the handshake.",
            )
        return Problem(f"{self.place} does not complete the TLS handshake: {error}", SOMETHING_BETWEEN)

    async def _shown(self, newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED) -> x509.Certificate | None:
        """The certificate that the server shows to whoever asks; None where it shows none now."""
        anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anyone.check_hostname, anyone.verify_mode, anyone.maximum_version = False, ssl.CERT_NONE, newest
        try:
            async with self.connected() as plain:
                _, writer = await _handshake(plain, self.host, anyone)
                found = _shown(writer)
                writer.transport.abort()
                return found
        except (Problem, NoRouteError, OSError):
            return None


def targets(pins: Pins, host: str, addresses: Sequence[str], port: int) -> list[Target]:
    """One for each address. The authorities are those of the pins alone, not of this machine."""
    trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusted.minimum_version = ssl.TLSVersion.TLSv1_3
    trusted.load_verify_locations(cadata=pins.pem)
    trusted.set_alpn_protocols(["http/1.1"])
    return [
        Target(host=host, address=each, port=port, authorities=pins.authorities, trusted=trusted) for each in addresses
    ]


async def _handshake(
    plain: socket.socket, host: str, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The streams have a descriptor of their own: asyncio closes it some time after the connection has ended."""
    own = plain.dup()
    async with asyncio.timeout(HANDSHAKE_SECONDS):
        return await asyncio.open_connection(sock=own, ssl=context, server_hostname=host)


def _shown(writer: asyncio.StreamWriter) -> x509.Certificate:
    return x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
