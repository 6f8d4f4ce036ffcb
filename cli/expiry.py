"""When the certificates of a stack expire: what clients pin, and what Traefik serves."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509

from cli import objects
from cli.stacks import Loaded
from cli.terminal import Terminal
from config.certificate_chain import EXPIRY_WARNING


@dataclass(frozen=True)
class Certificate:
    """A certificate that is in use: what it is for, until when it is valid, how it is renewed."""

    what: str
    ends: datetime
    renewal: str

    def left(self, now: datetime) -> timedelta:
        """Time until it expires; negative afterwards."""
        return self.ends - now

    def warning(self, now: datetime) -> str | None:
        """What to say from 30 days before its end on."""
        left = self.left(now)
        if left >= EXPIRY_WARNING:
            return None
        state = "has expired" if left < timedelta() else f"expires in {left.days} days"
        return f"{self.what} {state}: {self.renewal}."


def certificates(loaded: Loaded, outputs: Mapping[str, Any]) -> list[Certificate]:
    """The served certificate, where it can be read on this machine, then the authorities of the stack's outputs."""
    brought = loaded.settings.certificates.provided is not None
    found = []
    chain = _served(loaded)
    if chain is not None:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        renewal = "bring the next one" if brought else "raise flatline:certificates.leaf.epoch by one and run up"
        found.append(Certificate(f"served for {_name(leaf)}", leaf.not_valid_after_utc, renewal))
    renewal = "bring the next one" if brought else "raise flatline:certificates.authority.epoch (docs/operations.md)"
    pinned = str(outputs.get("caCertificates", ""))
    authorities = x509.load_pem_x509_certificates(pinned.encode()) if pinned else []
    found += [Certificate(f"authority {_name(each)}", each.not_valid_after_utc, renewal) for each in authorities]
    return found


def warn(loaded: Loaded, terminal: Terminal, outputs: Mapping[str, Any] | None = None) -> None:
    """A warning for each certificate that ends within 30 days. `outputs`: those of the last `up` without it."""
    known = outputs if outputs is not None else objects.outputs(loaded.stack.build) or {}
    now = datetime.now(UTC)
    for each in certificates(loaded, known):
        warning = each.warning(now)
        if warning:
            terminal.warn(f"The certificate {warning}")


def _served(loaded: Loaded) -> bytes | None:
    """The chain that Traefik serves, from the rendered Secret or from the configuration."""
    for each in objects.of_kind(objects.read(loaded.stack.build), "Secret"):
        if each.content.get("type") == "kubernetes.io/tls":
            plain: Mapping[str, str] = each.content.get("stringData", {})
            if "tls.crt" in plain:
                return plain["tls.crt"].encode()
            return base64.b64decode(each.content["data"]["tls.crt"])
    brought = loaded.settings.certificates.provided
    return brought.certificate.encode() if brought else None


def _name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string()
