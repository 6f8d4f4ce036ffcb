"""When the certificates of a stack expire: what clients pin, and what Traefik serves."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509

from cli import objects
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from client_kit.pins import name_of
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
        """The warning to show from 30 days before the end of validity on."""
        left = self.left(now)
        if left >= EXPIRY_WARNING:
            return None
        state = "has expired" if left < timedelta() else f"expires in {left.days} days"
        return f"{self.what} {state}: {self.renewal}."


def certificates(loaded: LoadedStack, outputs: Mapping[str, Any]) -> list[Certificate]:
    """The served certificate, then the authorities: all of them from the stack's outputs."""
    brought = loaded.settings.certificates.provided is not None
    renewal = "bring the next one" if brought else "run `./flatline rotate authority` (docs/operations.md)"
    authorities = _of(outputs, "caCertificates")
    return served(loaded, outputs) + [
        Certificate(f"authority {name_of(each.subject)}", each.not_valid_after_utc, renewal) for each in authorities
    ]


def served(loaded: LoadedStack, outputs: Mapping[str, Any]) -> list[Certificate]:
    """The served certificate; none before the first `up`."""
    brought = loaded.settings.certificates.provided is not None
    renewal = "bring the next one" if brought else "run `./flatline rotate certificate`"
    return [
        Certificate(f"served for {name_of(leaf.subject)}", leaf.not_valid_after_utc, renewal)
        for leaf in _of(outputs, "servedCertificate")[:1]
    ]


def warn(loaded: LoadedStack, terminal: Terminal, outputs: Mapping[str, Any] | None = None) -> None:
    """A warning for each certificate that ends within 30 days. `outputs`: those of the last `up` without it."""
    known = outputs if outputs is not None else objects.outputs(loaded.stack.build) or {}
    now = datetime.now(UTC)
    for each in certificates(loaded, known):
        warning = each.warning(now)
        if warning:
            terminal.warn(f"The certificate {warning}")


def _of(outputs: Mapping[str, Any], name: str) -> list[x509.Certificate]:
    """The certificates of one output; none where an earlier release did not export it."""
    pem = str(outputs.get(name, ""))
    return x509.load_pem_x509_certificates(pem.encode()) if pem else []
