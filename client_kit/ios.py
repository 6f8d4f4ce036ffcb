"""The files of an iOS build."""

from collections.abc import Mapping

from client_kit.nowhere import ENCLAVE, host, url
from client_kit.pins import Pins

CONSTANTS = "TSConstantsFlatline.swift"


def files(pins: Pins) -> Mapping[str, bytes]:
    """By name: a class of constants, and each authority as DER."""
    return {**dict(zip(der_names(pins), pins.ders, strict=True)), CONSTANTS: _constants(pins).encode()}


def der_names(pins: Pins) -> tuple[str, ...]:
    """`flatline-1.cer` and so on: an app's certificates are resources by name."""
    return tuple(f"flatline-{number}.cer" for number in range(1, len(pins.authorities) + 1))


def _constants(pins: Pins) -> str:
    lines = [
        f"// The constants of an app whose server is {pins.domain}.",
        "import Foundation",
        "public import LibSignalClient",
        "",
        "public class TSConstantsFlatline: TSConstantsProtocol {",
        "",
        "    public init() {}",
        "",
        *(f"    public let {name} = {_swift(value)}" for name, value in _texts(pins).items()),
        f"    public let kUDTrustRoots = [{_swift(pins.trust_root)}]",
        "",
        "    // There is no enclave behind this.",
        f"    public let svr2Enclave = MrEnclave({_swift(ENCLAVE)})",
        "    public let svr2PreviousEnclaves: [MrEnclave] = []",
        "",
        '    public let applicationGroup = "group." + Bundle.main.bundleIdPrefix + ".signal.group"',
        "",
        *(f"    public let {name} = Data(base64Encoded: {_swift(value)})!" for name, value in _params(pins).items()),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _texts(pins: Pins) -> Mapping[str, str]:
    sfu, reflector = pins.sfu, host("reflector")
    prefixes = ("service", "cdn0", "cdn2", "cdn3", "storageService", "svr2")
    return {
        "mainServiceURL": pins.urls["whisper"],
        "textSecureCDN0ServerURL": pins.urls["cdn0"],
        "textSecureCDN2ServerURL": pins.urls["cdn3"],
        "textSecureCDN3ServerURL": pins.urls["cdn3"],
        "storageServiceURL": pins.urls["storage"],
        "sfuURL": sfu,
        "sfuTestURL": sfu,
        "svr2URL": f"wss://{host('svr2')}",
        "registrationCaptchaURL": url("captcha", "/registration"),
        "challengeCaptchaURL": url("captcha", "/challenge"),
        "updatesURL": url("updates"),
        "updates2URL": url("updates2"),
        "censorshipFReflectorHost": reflector,
        "censorshipGReflectorHost": reflector,
        **{f"{name}CensorshipPrefix": "none" for name in prefixes},
    }


def _params(pins: Pins) -> Mapping[str, str]:
    return {
        "serverPublicParams": pins.server_public_params,
        "callLinkPublicParams": pins.generic_server_public_params,
        "backupServerPublicParams": pins.backup_server_public_params,
    }


def _swift(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
