"""Why a certificate does not verify against the pins, in words."""

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509

from client_kit.pins import name_of
from connectivity.problem import SOMETHING_BETWEEN, Problem

_EXPIRED, _NOT_YET_VALID, _WRONG_NAME = 10, 9, 62
_BAD_SIGNATURE, _UNKNOWN_ISSUER = 7, {18, 19, 20, 21, 30}
"""Of X.509 verification, as OpenSSL numbers them (x509_vfy.h)."""
_TRAEFIKS_OWN = "TRAEFIK DEFAULT CERT"
_OURS = "Flatline"
"""The organisation of the authorities that Flatline makes (components/certificates.py)."""
_RENEW = "`./flatline status` says how to renew it"


def problem(
    error: ssl.SSLCertVerificationError,
    shown: x509.Certificate | None,
    host: str,
    authorities: Sequence[x509.Certificate],
) -> Problem:
    """The cause that verification found for `host`; `shown` is the certificate that the server has shown."""
    if shown is None:
        return Problem(f"the certificate does not verify: {error.verify_message}", SOMETHING_BETWEEN)
    if error.verify_code == _EXPIRED:
        return _expired(shown, authorities)
    if error.verify_code == _NOT_YET_VALID:
        begins = max(each.not_valid_before_utc for each in (shown, *authorities))
        return Problem(
            f"the certificate is not valid before {_when(begins)}, and this machine's clock says "
            f"{_when(datetime.now(UTC))}",
            "Set the clock of this machine. If it is right, the certificate was made on a machine with a wrong clock: "
            "make it again by raising flatline:certificates.leaf.epoch by one, and `./flatline up`.",
        )
    if error.verify_code == _WRONG_NAME:
        names = ", ".join(_names(shown)) or "no name"
        return Problem(
            f"the certificate is for {names}, and not for {host}",
            "The stack's domain is another one than the pins', or the address is another server's. Compare "
            "flatline:domain with the pins, and write the kit again if the domain has changed.",
        )
    if error.verify_code == _BAD_SIGNATURE or error.verify_code in _UNKNOWN_ISSUER:
        return _unknown_issuer(shown, host, authorities)
    return Problem(
        f"the certificate of {name_of(shown.subject)} does not verify: {error.verify_message}",
        "A certificate of your own must be one for servers, with its intermediate certificates (docs/operations.md).",
    )


def served(certificate: x509.Certificate) -> str:
    """The sentence about one that verifies."""
    names = ", ".join(_names(certificate))
    return f"TLS 1.3, {names} by {name_of(certificate.issuer)} until {_when(certificate.not_valid_after_utc)}"


def _expired(shown: x509.Certificate, authorities: Sequence[x509.Certificate]) -> Problem:
    if shown.not_valid_after_utc < datetime.now(UTC):
        return Problem(
            f"the certificate expired on {_when(shown.not_valid_after_utc)}",
            f"{_RENEW}: raise flatline:certificates.leaf.epoch by one, and `./flatline up`. Clients need no new build.",
        )
    ends = ", ".join(f"{name_of(each.subject)} on {_when(each.not_valid_after_utc)}" for each in authorities)
    return Problem(
        f"the certificate is valid, and an authority of its chain has expired (pinned: {ends})",
        "Replace the authority (docs/operations.md), and build the clients with the new pins. If the dates are to "
        "come, set the clock of this machine.",
    )


def _unknown_issuer(shown: x509.Certificate, host: str, authorities: Sequence[x509.Certificate]) -> Problem:
    issuer, pinned = name_of(shown.issuer), " and ".join(name_of(each.subject) for each in authorities)
    if name_of(shown.subject) == _TRAEFIKS_OWN:
        return Problem(
            f"Traefik has no certificate and no route for {host}: it shows its own default certificate",
            "The stack's routes or its certificate are not applied, or its domain is another one than the pins have. "
            "Compare flatline:domain with them, bring the stack up again, and look at Traefik's log.",
        )
    if any(shown.issuer == each.subject for each in authorities):
        return Problem(
            f"the certificate is by an authority of the pinned name ({issuer}) with another key",
            "The pins are of another installation, or this one was made again. Write the pins again, and build the "
            "clients with them; or restore the stack's secrets, if it should be the one that the clients know.",
        )
    if shown.issuer == shown.subject:
        return Problem(
            f"the certificate signs itself ({issuer}): no pinned authority has issued it (pinned: {pinned})",
            f"This is another server, or another certificate was put in place of the stack's. {SOMETHING_BETWEEN}",
        )
    if _of_flatline(shown.issuer):
        return Problem(
            f"the certificate is by {issuer}, and the pins have {pinned}",
            "The pins are of an earlier or a later time than the certificate. Take today's pins "
            "(`./flatline pins`), or sign with the authority that clients know (flatline:certificates.authority).",
        )
    return Problem(
        f"the certificate is by {issuer}, which is not pinned (pinned: {pinned})",
        f"{SOMETHING_BETWEEN} If it is a certificate of your own, its authority must be the stack's pin "
        "(flatline:certificates.provided).",
    )


def _of_flatline(name: x509.Name) -> bool:
    return any(each.value == _OURS for each in name.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME))


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return found.get_values_for_type(x509.DNSName)


def _when(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
