"""The files of an Android build: Molly, Signal, and what derives from them."""

from collections.abc import Mapping, Sequence

from client_kit import bks
from client_kit.nowhere import ENCLAVE, host, url
from client_kit.pins import Pins

STORE, PASSWORD = "whisper.store", "whisper"
"""The name and the password are constants of the clients."""
FIELDS = "flatline.gradle.kts"

_ADDRESSES = ("SERVICE", "STORAGE", "CDN", "CDN2", "CDN3", "SFU", "CONTENT_PROXY", "CDSI", "SVR2")


def files(pins: Pins) -> Mapping[str, bytes]:
    """By name: the trust store, and the fields of BuildConfig."""
    aliases = {f"authority-{number}": each for number, each in enumerate(pins.authorities, 1)}
    return {STORE: bks.trust_store(aliases, PASSWORD), FIELDS: _fields(pins).encode()}


def _fields(pins: Pins) -> str:
    lines = [
        "// The fields of BuildConfig that tell this client its server. Put these lines at the end of",
        "// android { defaultConfig { ... } }, and take lines with the same names out of the flavour that you build.",
        "",
        *(_text(name, value) for name, value in _servers(pins).items()),
        "",
        "// Signal's own addresses, for where DNS fails. Molly has no such fields and does not read them.",
        *(_texts(f"SIGNAL_{name}_IPS", ()) for name in _ADDRESSES),
        "",
        _text("ZKGROUP_SERVER_PUBLIC_PARAMS", pins.server_public_params),
        _text("GENERIC_SERVER_PUBLIC_PARAMS", pins.generic_server_public_params),
        _text("BACKUP_SERVER_PUBLIC_PARAMS", pins.backup_server_public_params),
        "",
        "// Sources since 2025 read the array, older ones the single text.",
        _texts("UNIDENTIFIED_SENDER_TRUST_ROOTS", (pins.trust_root,)),
        _text("UNIDENTIFIED_SENDER_TRUST_ROOT", pins.trust_root),
        "",
        "// There is no enclave behind these.",
        _text("SVR2_MRENCLAVE", ENCLAVE),
        _text("SVR2_MRENCLAVE_LEGACY", ENCLAVE),
        "",
        "// Of a libsignal that is built with the kit for libsignal.",
        _field(
            "org.signal.libsignal.net.Network.Environment",
            "LIBSIGNAL_NET_ENV",
            "org.signal.libsignal.net.Network.Environment.DEV",
        ),
    ]
    return "\n".join(lines) + "\n"


def _servers(pins: Pins) -> Mapping[str, str]:
    return {
        "SIGNAL_URL": pins.urls["whisper"],
        "STORAGE_URL": pins.urls["storage"],
        "SIGNAL_CDN_URL": pins.urls["cdn0"],
        "SIGNAL_CDN2_URL": pins.urls["cdn3"],
        "SIGNAL_CDN3_URL": pins.urls["cdn3"],
        "SIGNAL_SFU_URL": pins.sfu,
        "SIGNAL_STAGING_SFU_URL": pins.sfu,
        "SIGNAL_CDSI_URL": url("cdsi"),
        "SIGNAL_SVR2_URL": url("svr2"),
        "SIGNAL_SERVICE_STATUS_URL": host("status"),
        "CONTENT_PROXY_HOST": host("contentproxy"),
        "SIGNAL_CAPTCHA_URL": url("captcha", "/registration"),
        "RECAPTCHA_PROOF_URL": url("captcha", "/challenge"),
        "BADGE_STATIC_ROOT": url("badges", "/"),
        "FDROID_UPDATE_URL": url("updates", "/fdroid/repo"),
    }


def _text(name: str, value: str) -> str:
    return _field("String", name, _java(value))


def _texts(name: str, values: Sequence[str]) -> str:
    return _field("String[]", name, f"new String[]{{{', '.join(map(_java, values))}}}")


def _field(kind: str, name: str, java: str) -> str:
    """One field of a class in Java; its value is a Java expression, within a text of Kotlin."""
    return f'buildConfigField("{kind}", "{name}", {_kotlin(java)})'


def _java(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _kotlin(text: str) -> str:
    return _java(text).replace("$", "\\$")
