"""`connect --call`: the way of a client into a group call, against an edge and media ports in this process."""

import asyncio
import base64
import hmac
import json
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client_kit.pins import Pins
from connectivity import call
from connectivity.call import Call
from errors import FlatlineError
from tests.lab.services.calling import Media
from tests.unit import authority
from tests.unit.authority import Issued
from tests.unit.connectivity.test_check import LOCAL, flatline_authority, pinned, typed
from tests.unit.edge import DOMAIN, Edge, chain, http

KEY = bytes(range(32))
HOSTS = {"sfu": f"https://sfu.{DOMAIN}"}


@pytest.fixture(scope="module")
def ours() -> Issued:
    return flatline_authority()


@pytest.fixture
def known(ours: Issued) -> Pins:
    pins = pinned(ours)
    return replace(pins, urls={**pins.urls, **HOSTS})


@pytest.fixture
def media(monkeypatch: pytest.MonkeyPatch) -> Media:
    """Media ports that answer whom the frontend let in."""
    monkeypatch.setattr(call, "MEDIA_SECONDS", 0.7)
    monkeypatch.setattr(call, "AGAIN_SECONDS", 0.1)
    found = Media(LOCAL, 0, 0)
    found.start()
    return found  # its threads keep its sockets: a number that is used again would be somebody else's


class Frontend:
    """The frontend's half of joining; `faults` change its answer."""

    def __init__(self, media: Media, **faults: Any) -> None:
        self.media, self.faults = media, faults
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = json.loads(await reader.readexactly(int(lines["Content-Length"])))
        assert head.startswith("PUT /v2/conference/participants HTTP/1.1")
        token = base64.b64decode(lines["Authorization"].removeprefix("Basic ")).decode().partition(":")[2]
        self.asked.append((token, body))
        ufrag, password = self.media.let_in(body["iceUfrag"])
        answer = {
            "ips": [LOCAL],
            "port": self.media.datagrams.getsockname()[1],
            "portTcp": self.media.listener.getsockname()[1],
            "iceUfrag": ufrag,
            "icePwd": password,
            **self.faults,
        }
        status = self.faults.get("status", "200 OK")
        writer.write(http(status, json.dumps(answer).encode() if status == "200 OK" else b""))
        await writer.drain()


def joined(frontend: Frontend, known: Pins, ours: Issued, folder: Path) -> Call:
    edge = Edge(chain(authority.leaf(ours, DOMAIN), folder), within=frontend)
    with edge.running() as port:
        return asyncio.run(call.tried(known, KEY, address=LOCAL, port=port))


def failure(found: Call) -> tuple[str, str]:
    """The first step that failed, and its cause."""
    assert not found.served
    step = next(each for each in found.steps if each.passed is False)
    assert step.cure
    return step.name, step.cause or ""


def test_a_call_is_joined_by_udp_and_tcp(media: Media, known: Pins, ours: Issued, tmp_path: Path) -> None:
    frontend = Frontend(media)
    found = joined(frontend, known, ours, tmp_path)
    assert found.served, found
    assert [each.name for each in found.steps] == ["join", "udp", "tcp"]
    assert found.addresses == (LOCAL,)
    ((token, body),) = frontend.asked
    version, member, group, moment, permission, signature = token.split(":")
    assert (version, permission, len(member), len(group)) == ("2", "1", 64, 64)
    assert abs(int(moment) - time.time()) < 60
    text = f"2:{member}:{group}:{moment}:1".encode()
    assert signature == hmac.digest(KEY, text, "sha256")[:10].hex()
    assert len(bytes.fromhex(body["dhePublicKey"])) == 32


def test_two_calls_are_of_two_groups(media: Media, known: Pins, ours: Issued, tmp_path: Path) -> None:
    frontend = Frontend(media)
    for _ in range(2):
        joined(frontend, known, ours, tmp_path)
    assert len({token.split(":")[2] for token, _ in frontend.asked}) == 2


@pytest.mark.parametrize(
    ("fault", "step", "cause"),
    [
        ({"status": "401 Unauthorized"}, "join", "another key than Storage"),
        ({"status": "500 Internal Server Error"}, "join", "backend or its table"),
        ({"status": "503 Service Unavailable"}, "join", "no ready pod for the calling service"),
        ({"ips": None}, "join", "where media goes"),
        ({"icePwd": "another"}, "udp", "answers nothing"),
        ({"portTcp": 1}, "tcp", "TCP port 1 of 127.0.0.1 cannot be reached"),
    ],
)
def test_each_fault_is_told_by_its_step(
    media: Media, known: Pins, ours: Issued, tmp_path: Path, fault: dict[str, Any], step: str, cause: str
) -> None:
    name, told = failure(joined(Frontend(media, **fault), known, ours, tmp_path))
    assert name == step
    assert cause in told


def test_a_port_that_is_closed_for_udp_alone_is_told(known: Pins, ours: Issued, tmp_path: Path, media: Media) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((LOCAL, 0))
        found = joined(Frontend(media, port=silent.getsockname()[1]), known, ours, tmp_path)
    assert failure(found)[0] == "udp"
    assert {each.name: each.passed for each in found.steps} == {"join": True, "udp": False, "tcp": True}


def test_what_is_typed_wrong_is_told() -> None:
    with pytest.raises(FlatlineError, match="--context and --pins exclude each other"):
        typed("--context", "home", "--pins", "pins.json")
    with pytest.raises(FlatlineError, match="--call and --pins exclude each other"):
        typed("--call", "--pins", "pins.json")
    with pytest.raises(FlatlineError, match="stack dev has no group calls"):
        typed("--call", "--context", "home")
