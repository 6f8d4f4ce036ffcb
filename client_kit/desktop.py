"""The files of a Desktop build."""

import json
from collections.abc import Mapping
from typing import Any

from client_kit.nowhere import ENCLAVE, url
from client_kit.pins import Pins

CONFIGURATION = "config.json"


def files(pins: Pins) -> Mapping[str, bytes]:
    """By name: the keys of the configuration."""
    return {CONFIGURATION: (json.dumps(_configuration(pins), indent=2) + "\n").encode()}


def _configuration(pins: Pins) -> Mapping[str, Any]:
    return {
        "serverUrl": pins.urls["whisper"],
        "storageUrl": pins.urls["storage"],
        "cdn": {"0": pins.urls["cdn0"], "2": pins.urls["cdn3"], "3": pins.urls["cdn3"]},
        "sfuUrl": f"{pins.sfu}/",
        "directoryUrl": url("cdsi"),
        "directoryMRENCLAVE": ENCLAVE,
        "challengeUrl": url("captcha", "/challenge"),
        "registrationChallengeUrl": url("captcha", "/registration"),
        "contentProxyUrl": url("contentproxy"),
        "resourcesUrl": url("resources"),
        "artCreatorUrl": url("create"),
        "updatesUrl": url("updates"),
        "updatesEnabled": False,
        "certificateAuthority": pins.pem,
        "serverPublicParams": pins.server_public_params,
        "genericServerPublicParams": pins.generic_server_public_params,
        "backupServerPublicParams": pins.backup_server_public_params,
        "serverTrustRoots": [pins.trust_root],
        "serverTrustRoot": pins.trust_root,
    }
