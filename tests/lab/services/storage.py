"""A stand-in of Storage: it reads its configuration, and a row of each of its tables whenever it is asked."""

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.lab.services import memory, stores, web

REST = 125
"""MiB outside of the heap, measured with the real service."""
TABLES = ("contactsTableId", "contactManifestsTableId", "groupsTableId", "groupLogsTableId")
MANDATORY = (
    ("authentication", "key"),
    *(("bigtable", key) for key in ("projectId", "instanceId", *TABLES)),
    *(("cdn", key) for key in ("accessKey", "accessSecret", "bucket", "region")),
    ("datadog", "apiKey"),
    *(("group", key) for key in ("externalServiceSecret", "maxGroupSize")),
    ("warmup", "count"),
    ("zkConfig", "serverSecret"),
)


def main(arguments: list[str], properties: dict[str, str], heap: int) -> None:
    """Serves until SIGTERM."""
    command, path = arguments
    if command != "server":
        raise SystemExit(f"unknown command {command}")
    settings = yaml.safe_load(Path(path).read_text())
    for section, key in MANDATORY:
        if not settings[section][key]:
            raise SystemExit(f"{path}: {section}.{key} may not be empty")
    bytes.fromhex(settings["authentication"]["key"])
    base64.b64decode(settings["zkConfig"]["serverSecret"], validate=True)
    memory.start(heap, REST)
    bigtable = settings["bigtable"]
    found = stores.Bigtable(os.environ["BIGTABLE_EMULATOR_HOST"], bigtable["projectId"], bigtable["instanceId"])

    def admin(method: str, path: str, body: bytes, headers: Mapping[str, str]) -> web.Answer:
        return (200, b"{}") if path == "/healthcheck" else (404, b"")

    def requests(method: str, path: str, body: bytes, headers: Mapping[str, str]) -> web.Answer:
        if path != "/_ready":
            return (401 if path == "/v1/groups" else 404), b""
        for key in TABLES:
            found.read(bigtable[key], "nothing")
        return 200, b""

    web.serve({_port(settings, "applicationConnectors"): requests, _port(settings, "adminConnectors"): admin})


def _port(settings: dict[str, Any], kind: str) -> int:
    return int(settings["server"][kind][0]["port"])
