"""The files of a build of libsignal, which opens the connection to Whisper in every client."""

from collections.abc import Mapping

from client_kit.nowhere import host
from client_kit.pins import Pins

CERTIFICATES, HOSTS = "certs.rs", "env.rs"

_PORT = "DEFAULT_HTTPS_PORT"
_DOMAIN = """const {name}: DomainConfig = DomainConfig {{
    ip_v4: &[],
    ip_v6: &[],
    connect: ConnectionConfig {{
        hostname: "{hostname}",
        port: {port},
        cert: INTERNAL_DEV_CERTIFICATE,
        min_tls_version: Some(SslVersion::TLS1_3),
        confirmation_header_name: {confirmation},
        proxy: None,
    }},
}};
"""


def files(pins: Pins) -> Mapping[str, bytes]:
    """By name: each authority as DER, the list of certificates, and the table of hosts."""
    ders = dict(zip(der_names(pins), pins.ders, strict=True))
    return {**ders, CERTIFICATES: _certificates(pins).encode(), HOSTS: _hosts(pins).encode()}


def der_names(pins: Pins) -> tuple[str, ...]:
    """`internal.cer`, and `internal-2.cer` while an authority is being replaced."""
    return tuple(f"internal{'' if number == 1 else f'-{number}'}.cer" for number in range(1, len(pins.authorities) + 1))


def _certificates(pins: Pins) -> str:
    included = "".join(f'    include_bytes!("../res/{name}"),\n' for name in der_names(pins))
    return (
        "// In place of the constant of this name in rust/net/src/certs.rs.\n"
        "pub const INTERNAL_DEV_CERTIFICATE: RootCertificates = RootCertificates::FromStaticDers(&[\n"
        f"{included}"
        "]);\n"
    )


def _hosts(pins: Pins) -> str:
    chat = _DOMAIN.format(
        name="DOMAIN_CONFIG_CHAT_DEV",
        hostname=pins.host("whisper"),
        port=_PORT,
        confirmation="Some(TIMESTAMP_HEADER_NAME)",
    )
    others = (
        _DOMAIN.format(name=f"DOMAIN_CONFIG_{name}_DEV", hostname=host(name.lower()), port=_PORT, confirmation="None")
        for name in ("CDSI", "SVR2", "SVRB")
    )
    return "\n".join(("// In place of the constants of these names in rust/net/src/env.rs.", chat, *others))
