"""The pins of a stack, read and checked: what a client must be built with. None of it is secret."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

VERSION = 1
"""Of the document that `pins --json` prints (docs/json.md)."""
SERVICES = ("whisper", "storage", "cdn0", "cdn3")
OPTIONAL = ("sfu",)
"""Hosts that only an installation with group calls has."""

_LENGTHS = {
    "serverPublicParams": 673,
    "genericServerPublicParams": 225,
    "backupServerPublicParams": 225,
    "unidentifiedSenderTrustRoot": 33,
    "noisePublicKey": 33,
}
"""Bytes of each public value: libsignal's serialised forms. A public key has the type byte 05 first."""
_KEYS = ("unidentifiedSenderTrustRoot", "noisePublicKey")
_KEY_TYPE = 0x05


class PinsError(ValueError):
    """The pins are not of the form that `pins --json` prints. The message names the pin and what is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class Pins:
    """The pins of one stack. Public values are padded base64 texts, as clients' sources have them.

    `urls` are those of `SERVICES`, and of `OPTIONAL` where the installation has them.
    """

    urls: Mapping[str, str]
    authorities: tuple[x509.Certificate, ...]
    """Two while an authority is being replaced: a client must trust both."""
    server_public_params: str
    generic_server_public_params: str
    backup_server_public_params: str
    trust_root: str
    noise_public_key: str

    @property
    def domain(self) -> str:
        """The common end of the hosts' names."""
        return self.host("whisper").removeprefix("whisper.")

    def host(self, service: str) -> str:
        """The host name of a service."""
        return urlsplit(self.urls[service]).hostname or ""

    @property
    def sfu(self) -> str:
        """The URL for group calls, the same before an installation has them: a client needs no new build for them."""
        return self.urls.get("sfu", f"https://sfu.{self.domain}")

    @property
    def pem(self) -> str:
        """All authorities as one PEM text."""
        return "".join(each.public_bytes(Encoding.PEM).decode() for each in self.authorities)

    @property
    def ders(self) -> tuple[bytes, ...]:
        """Each authority as DER."""
        return tuple(each.public_bytes(Encoding.DER) for each in self.authorities)


def read(text: str) -> Pins:
    """The pins in a document of `pins --json`. Raises PinsError."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise PinsError(f"it is not JSON ({error}); write what `./flatline pins --json` prints") from None
    if not isinstance(document, dict) or not isinstance(document.get("pins"), dict):
        raise PinsError('it has no object "pins"; write what `./flatline pins --json` prints')
    if document.get("version") != VERSION:
        raise PinsError(
            f"its version is {document.get('version')!r}, and this Flatline reads version {VERSION}; "
            "write it again with `./flatline pins --json` of the same Flatline"
        )
    return of(document["pins"])


def of(outputs: Mapping[str, Any]) -> Pins:
    """The pins among the outputs of a stack (components/pins.py); other outputs are passed over. Raises PinsError."""
    for name in _LENGTHS:
        _check(name, _text(outputs, name))
    return Pins(
        urls=_urls(outputs.get("urls")),
        authorities=_authorities(_text(outputs, "caCertificates")),
        server_public_params=outputs["serverPublicParams"],
        generic_server_public_params=outputs["genericServerPublicParams"],
        backup_server_public_params=outputs["backupServerPublicParams"],
        trust_root=outputs["unidentifiedSenderTrustRoot"],
        noise_public_key=outputs["noisePublicKey"],
    )


def name_of(certificate: x509.Name) -> str:
    """The common name of a subject or an issuer, or else all of it."""
    names = certificate.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.rfc4514_string()


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER form, as pairs of hexadecimal digits."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _text(outputs: Mapping[str, Any], name: str) -> str:
    found = outputs.get(name)
    if not isinstance(found, str) or not found:
        raise PinsError(f"pin {name} is missing")
    return found


def _check(name: str, text: str) -> None:
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise PinsError(f"pin {name} is not padded base64") from None
    if len(content) != _LENGTHS[name]:
        raise PinsError(f"pin {name} has {len(content)} bytes, and must have {_LENGTHS[name]}")
    if name in _KEYS and content[0] != _KEY_TYPE:
        raise PinsError(f"pin {name} does not begin with the type byte 05")


def _urls(found: Any) -> Mapping[str, str]:
    urls = found if isinstance(found, dict) else {}
    services = (*SERVICES, *(each for each in OPTIONAL if each in urls))
    for service in services:
        try:
            parts = urlsplit(str(urls.get(service, "")))
            whole = parts.scheme == "https" and parts.hostname and parts.netloc == parts.hostname and not parts.path
        except ValueError:
            whole = False
        if not whole:
            raise PinsError(f"pin urls.{service} is {urls.get(service)!r}, and must be https:// and a host name")
    return {service: str(urls[service]) for service in services}


def _authorities(pem: str) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(pem.encode()))
    except ValueError as error:
        raise PinsError(f"pin caCertificates is no PEM text of certificates: {error}") from None
