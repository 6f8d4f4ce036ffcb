"""Values that an update would issue again: pins, host names and certificates. Clients notice: a person must agree."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from cli.objects import Object
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from client_kit.pins import name_of
from errors import FlatlineError

_MEANINGS = {
    "caCertificates": "clients that do not trust the new authority cannot connect",
    "serverPublicParams": "existing groups and profiles become unreadable, and clients must be built again",
    "genericServerPublicParams": "calls need clients that are built again",
    "backupServerPublicParams": "backups need clients that are built again",
    "unidentifiedSenderTrustRoot": "sealed messages are refused by clients that are not built again",
    "noisePublicKey": "clients that are not built again cannot open the noise tunnel",
    "urls": "clients connect to the old names until they are built again",
}
NOT_PINS = frozenset({"lostOnRestart", "servedCertificate", "version"})
"""Outputs that no client is built with. The first one is of earlier versions."""
_SAME = "caCertificatesDer"
"""The pin `caCertificates` in another form."""


@dataclass(frozen=True)
class Reissue:
    """Changes between two times: `pins` by name with their meaning; `hosts` and `certificates`, before and after.

    `older` says that the certificate which would be served is older than the one that is.
    """

    pins: Mapping[str, str]
    hosts: tuple[tuple[str, str], ...]
    certificate: tuple[str, str] | None
    older: bool

    @property
    def needs_agreement(self) -> bool:
        """True if clients would notice. A renewed certificate of the same authority is no change for them."""
        return bool(self.pins or self.hosts or self.older)


def between(
    before: Mapping[str, Any] | None, after: Mapping[str, Any], old: Iterable[Object], new: Iterable[Object]
) -> Reissue:
    """Differences in the stack outputs and in the served certificate; none on a first run."""
    if before is None:
        return Reissue({}, (), None, older=False)
    pins = {
        name: _meaning(name, before[name], after[name])
        for name in sorted(before.keys() & after.keys() - NOT_PINS - {_SAME})
        if before[name] != after[name]
    }
    hosts: tuple[tuple[str, str], ...] = ()
    if "urls" in pins:
        hosts = tuple((before["urls"][each], url) for each, url in after["urls"].items() if each in before["urls"])
    served, wanted = _served(old), _served(new)
    if served is None or wanted is None or served == wanted:
        return Reissue(pins, hosts, None, older=False)
    return Reissue(
        pins, hosts, (_about(served), _about(wanted)), wanted.not_valid_before_utc < served.not_valid_before_utc
    )


def of_settings(loaded: LoadedStack, before: Mapping[str, Any]) -> Reissue:
    """Differences that the settings alone show against the outputs of the last `up`: the host names."""
    urls = before.get("urls")
    if not isinstance(urls, Mapping):
        return Reissue({}, (), None, older=False)
    after = {service: f"https://{loaded.settings.host(service)}" for service in urls}
    hosts = tuple((urls[each], url) for each, url in after.items() if urls[each] != url)
    return Reissue({"urls": _MEANINGS["urls"]} if hosts else {}, hosts, None, older=False)


def agree(loaded: LoadedStack, found: Reissue, confirmed: str | None, terminal: Terminal) -> None:
    """Shows what would be issued again. Raises FlatlineError unless the stack's name was, or is now, typed."""
    name = loaded.stack.name
    if confirmed is not None and confirmed != name:
        raise FlatlineError(f"--confirm names {confirmed}, but the stack is {name}: nothing was written")
    show(loaded, found, terminal)
    if not found.needs_agreement or confirmed == name:
        return
    if terminal.ask(f"Type {name} to agree:") != name:
        raise FlatlineError(
            f"nothing was written: nobody agreed to what stack {name} would issue again",
            f"If {loaded.stack.file.name} is not as you want it, restore it.",
            f"To agree without a terminal, add: --confirm {name}",
        )


def show(loaded: LoadedStack, found: Reissue, terminal: Terminal) -> None:
    """Says what would be issued again, and what that means for clients; nothing where they would not notice."""
    if not found.needs_agreement:
        return
    name = loaded.stack.name
    terminal.warn(f"With this configuration, stack {name} issues again what clients depend on:")
    lines = [f"{before} becomes {after}" for before, after in found.hosts]
    if found.certificate:
        before, after = found.certificate
        lines.append(f"the certificate that is served: {before} becomes {after}")
    lines += [f"pin {pin}: {meaning}" for pin, meaning in found.pins.items()]
    for line in lines:
        terminal.note(f"- {line}")


def _meaning(name: str, before: Any, after: Any) -> str:
    if name == "caCertificates" and str(before).strip() in str(after):
        return "an authority is added; clients that trust the earlier one go on, new ones must be built with both"
    return _MEANINGS.get(name, "clients must be built again")


def _served(objects: Iterable[Object]) -> x509.Certificate | None:
    """The certificate that Traefik would serve, from its Secret."""
    for each in objects:
        if each.kind == "Secret" and each.content.get("type") == "kubernetes.io/tls":
            pem = str(each.content.get("stringData", {}).get("tls.crt", ""))
            return x509.load_pem_x509_certificates(pem.encode())[0] if pem else None
    return None


def _about(certificate: x509.Certificate) -> str:
    return f"{name_of(certificate.subject)} (until {certificate.not_valid_after_utc:%Y-%m-%d})"
