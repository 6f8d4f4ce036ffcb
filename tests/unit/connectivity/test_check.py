"""What `connect` finds: an edge that is whole is served, and each planted fault is told by its cause."""

import asyncio
import base64
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cli import arguments
from cli.commands import connect
from cli.terminal import Terminal
from client_kit import pins
from client_kit.pins import Pins
from connectivity import check as checking
from connectivity import names, services, transport
from connectivity.check import Host, check
from errors import FlatlineError
from tests.unit import authority
from tests.unit.authority import NOW, Issued, issue
from tests.unit.edge import DOMAIN, TRAEFIKS_404, Edge, chain, http

LOCAL = "127.0.0.1"
ANOTHER_DOMAIN = "elsewhere.example.net"


def flatline_authority(name: str = "Flatline CA 1", **options: Any) -> Issued:
    return issue(name, organisation="Flatline", **options)


@pytest.fixture(scope="module")
def ours() -> Issued:
    """The authority that the pins have."""
    return flatline_authority()


@pytest.fixture(scope="module")
def whole(ours: Issued, tmp_path_factory: pytest.TempPathFactory) -> Edge:
    return Edge(chain(authority.leaf(ours, DOMAIN), tmp_path_factory.mktemp("edge")))


def typed(*words: str) -> int:
    """The status of the command line `connect` with these words."""
    return connect.run(arguments.parse(["connect", *words]), Terminal())


def outputs(*authorities: Issued) -> dict[str, Any]:
    """Pins with these authorities."""
    filled = {"serverPublicParams": 673, "genericServerPublicParams": 225, "backupServerPublicParams": 225}
    keys = dict.fromkeys(("unidentifiedSenderTrustRoot", "noisePublicKey"), 33)
    return {
        "urls": {service: f"https://{service}.{DOMAIN}" for service in pins.SERVICES},
        "caCertificates": "".join(each.pem for each in authorities),
        **{name: base64.b64encode(b"\x05" * length).decode() for name, length in (filled | keys).items()},
    }


def pinned(*authorities: Issued) -> Pins:
    return pins.of(outputs(*authorities))


def found(edge: Edge, known: Pins, seconds: float = checking.SECONDS) -> list[Host]:
    with edge.running() as port:
        return asyncio.run(check(known, address=LOCAL, port=port, seconds=seconds))


def failures(hosts: Sequence[Host]) -> dict[str, tuple[str, str]]:
    """By service: the step that failed, and its cause."""
    failed = {}
    for host in hosts:
        bad = [step for step in host.steps if step.passed is False]
        assert len(bad) == (0 if host.served else 1), host
        for step in bad:
            assert step.cure
            failed[host.service] = (step.name, step.cause or "")
    return failed


def test_a_whole_edge_is_served(whole: Edge, ours: Issued) -> None:
    hosts = found(whole, pinned(ours))
    assert failures(hosts) == {}
    assert [host.service for host in hosts] == ["whisper", "storage", "cdn0", "cdn3"]
    assert all([step.name for step in host.steps] == ["name", "connection", "tls", "answer"] for host in hosts)
    assert "Flatline CA 1" in hosts[0].steps[2].found


@pytest.mark.parametrize("at", [0, 1])
def test_while_an_authority_is_replaced_either_is_taken(ours: Issued, tmp_path: Path, at: int) -> None:
    both = (ours, flatline_authority("Flatline CA 2"))
    served = Edge(chain(authority.leaf(both[at], DOMAIN), tmp_path))
    assert failures(found(served, pinned(*both))) == {}


CERTIFICATES: dict[str, tuple[Callable[[Issued], Issued], str]] = {
    "expired": (lambda ca: authority.leaf(ca, DOMAIN, ends=NOW - timedelta(hours=1)), "the certificate expired on "),
    "not yet valid": (
        lambda ca: authority.leaf(ca, DOMAIN, begins=NOW + timedelta(days=2)),
        "is not valid before",
    ),
    "of another name": (
        lambda ca: authority.leaf(ca, ANOTHER_DOMAIN),
        f"the certificate is for *.{ANOTHER_DOMAIN}, {ANOTHER_DOMAIN}, and not for ",
    ),
    "of an earlier authority": (
        lambda _: authority.leaf(flatline_authority("Flatline CA 0"), DOMAIN),
        "the certificate is by Flatline CA 0, and the pins have Flatline CA 1",
    ),
    "of an authority that was made anew": (
        lambda _: authority.leaf(flatline_authority(), DOMAIN),
        "by an authority of the pinned name (Flatline CA 1) with another key",
    ),
    "of one that intercepts": (
        lambda _: authority.leaf(issue("Office Gateway", organisation="Example Ltd"), DOMAIN),
        "the certificate is by Office Gateway, which is not pinned (pinned: Flatline CA 1)",
    ),
    "that signs itself": (
        lambda _: issue("router", authority=False, names=(f"*.{DOMAIN}",)),
        "the certificate signs itself (router)",
    ),
    "of Traefik itself": (
        lambda _: issue("TRAEFIK DEFAULT CERT", authority=False, names=("x.traefik.default",)),
        "Traefik has no certificate and no route for ",
    ),
}


@pytest.mark.parametrize("fault", CERTIFICATES)
def test_a_certificate(fault: str, whole: Edge, ours: Issued, tmp_path: Path) -> None:
    make, cause = CERTIFICATES[fault]
    failed = failures(found(replace(whole, chain=chain(make(ours), tmp_path)), pinned(ours)))
    assert len(failed) == 4
    for step, text in failed.values():
        assert step == "tls"
        assert cause in text


def test_an_authority_that_has_expired(whole: Edge, tmp_path: Path) -> None:
    old = flatline_authority(ends=NOW - timedelta(hours=1))
    failed = failures(found(replace(whole, chain=chain(authority.leaf(old, DOMAIN), tmp_path)), pinned(old)))
    assert "an authority of its chain has expired (pinned: Flatline CA 1 on " in failed["whisper"][1]


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def cutting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    plain: socket.socket = writer.get_extra_info("socket")
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def plain_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(http("400 Bad Request"))


async def other_protocol(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example.org ESMTP\r\n")
    await writer.drain()


EVERYWHERE: dict[str, tuple[dict[str, Any], str, str]] = {
    "TLS 1.2 only": ({"newest": ssl.TLSVersion.TLSv1_2}, "tls", "speaks no TLS 1.3"),
    "plain HTTP on the port of TLS": ({"raw": plain_http}, "tls", "answers, but not in TLS"),
    "closed in the handshake": ({"raw": cutting}, "tls", "cuts it during the TLS handshake"),
    "reset in the handshake": ({"raw": resetting}, "tls", "cuts it during the TLS handshake"),
    "silent after the connection": ({"raw": silent}, "tls", "does not answer in TLS within"),
    "closed within TLS": ({"within": cutting}, "answer", "cuts the connection instead of answering"),
    "reset within TLS": ({"within": resetting}, "answer", "cuts the connection instead of answering"),
    "slow": ({"within": silent}, "answer", "does not answer within"),
}


@pytest.mark.parametrize("fault", EVERYWHERE)
def test_a_fault_of_the_whole_edge(fault: str, whole: Edge, ours: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "HANDSHAKE_SECONDS", 1.5)
    monkeypatch.setattr(services, "ANSWER_SECONDS", 1.5)
    change, step, cause = EVERYWHERE[fault]
    failed = failures(found(replace(whole, **change), pinned(ours)))
    assert {name for name, _ in failed.values()} == {step}
    assert len(failed) == 4
    assert [text for _, text in failed.values() if cause not in text] == []


NOT_FOUND = http("404 Not Found", TRAEFIKS_404, "Content-Type: text/plain; charset=utf-8")
ANSWERS = {
    "no route": (NOT_FOUND, "Traefik has no route for "),
    "backend not reachable": (http("502 Bad Gateway", b"Bad Gateway"), "Traefik cannot reach "),
    "no pod": (http("503 Service Unavailable", b"no available server\n"), "Traefik has no ready pod for "),
    "backend does not answer": (http("504 Gateway Timeout"), "Traefik gets no answer from "),
    "limited": (http("429 Too Many Requests"), "too many (429)"),
}


@pytest.mark.parametrize("first", range(len(ANSWERS)))
def test_one_service(first: int, whole: Edge, ours: Issued) -> None:
    """Each service has another fault at a time, until each has had all."""
    edge, causes = whole, {}
    for place, service in enumerate(pins.SERVICES):
        answer, causes[service] = list(ANSWERS.values())[(first + place) % len(ANSWERS)]
        edge = replace(edge, web_socket=answer) if service == "whisper" else edge.with_answer(service, answer)
    failed = failures(found(edge, pinned(ours)))
    assert failed.keys() == causes.keys()
    for service, (step, text) in failed.items():
        assert step == "answer"
        assert causes[service] in text


@pytest.mark.parametrize(
    ("service", "answer", "cause"),
    [
        ("storage", http("200 OK", b"<html>"), "answers 200, and Storage would answer 401"),
        ("cdn0", http("403 Forbidden", b"<Error/>"), "answers 403, and CDN0 would answer 404"),
        ("cdn3", http("302 Found", b"", "Location: https://login.example.net/"), "answers 302, and CDN3"),
        ("cdn3", b"SSH-2.0-OpenSSH_9.6\r\n", "answers within TLS, and not in HTTP"),
    ],
)
def test_another_server_behind_tls(service: str, answer: bytes, cause: str, whole: Edge, ours: Issued) -> None:
    failed = failures(found(whole.with_answer(service, answer), pinned(ours)))
    assert failed.keys() == {service}
    assert cause in failed[service][1]


WEB_SOCKETS = {
    "upgrade taken away, answered by a proxy": (http("426 Upgrade Required"), "with 426 instead of 101, and not by Wh"),
    "upgrade taken away, answered by Whisper": (
        http("404 Not Found", b"", "X-Signal-Timestamp: 1"),
        "Whisper answers a WebSocket with 404 instead of 101",
    ),
    "wrong proof of the upgrade": (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: eA==\r\n\r\n",
        "does not complete the handshake of a WebSocket",
    ),
    "cut after the upgrade": (cutting, "opens, and is cut at once"),
    "dead after the upgrade": (silent, "opens, and carries no data"),
}


@pytest.mark.parametrize("fault", WEB_SOCKETS)
def test_a_proxy_that_drops_web_sockets(fault: str, whole: Edge, ours: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "ANSWER_SECONDS", 1.5)
    change, cause = WEB_SOCKETS[fault]
    failed = failures(found(replace(whole, web_socket=change), pinned(ours)))
    assert failed.keys() == {"whisper"}
    assert cause in failed["whisper"][1]


def test_a_closed_port(ours: Issued) -> None:
    with socket.socket() as unused:
        unused.bind((LOCAL, 0))
        port = unused.getsockname()[1]
        hosts = asyncio.run(check(pinned(ours), address=LOCAL, port=port))
    failed = failures(hosts)
    assert len(failed) == 4
    assert failed["whisper"] == ("connection", f"{LOCAL}:{port} refuses TCP connections: nothing listens there")
    assert [step.passed for step in hosts[0].steps] == [True, False, None, None]


def test_a_port_that_drops_packets(ours: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener whose queue is full: the kernel answers no further connection, as a firewall that drops does."""
    monkeypatch.setattr(transport, "CONNECT_SECONDS", 0.5)
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind((LOCAL, 0))
        full.listen(0)
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        failed = failures(asyncio.run(check(pinned(ours), address=LOCAL, port=full.getsockname()[1])))
    assert {step for step, _ in failed.values()} == {"connection"}
    assert "does not answer a TCP connection within" in failed["cdn3"][1]


class Dns:
    """Answers of the resolver of this machine, by host."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: str | Exception) -> None:
        self._answers = {f"{service}.{DOMAIN}": answer for service, answer in answers.items()}
        self._asked = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: Any, *rest: Any, **options: Any) -> Any:
        if host not in self._answers:
            return self._asked(host, *rest, **options)
        answer = self._answers[host]
        if isinstance(answer, Exception):
            raise answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 0)) for each in answer.split()]


EVERY = dict.fromkeys(pins.SERVICES, LOCAL)


def by_name(edge: Edge, known: Pins) -> list[Host]:
    with edge.running() as port:
        return asyncio.run(check(known, port=port))


def test_names_are_looked_up(whole: Edge, ours: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    Dns(monkeypatch, **EVERY)
    hosts = by_name(whole, pinned(ours))
    assert failures(hosts) == {}
    assert "is this machine itself" in hosts[0].remarks[0]


UNKNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
BROKEN = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.mark.parametrize(
    ("answers", "begins"),
    [
        ({"cdn0": UNKNOWN}, f"DNS has no address for cdn0.{DOMAIN}"),
        (dict.fromkeys(pins.SERVICES, BROKEN), "the resolver of this machine cannot be asked"),
    ],
    ids=["a name that DNS does not know", "no DNS at all"],
)
def test_what_dns_answers(
    answers: dict[str, Any], begins: str, whole: Edge, ours: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    Dns(monkeypatch, **EVERY | answers)
    failed = failures(by_name(whole, pinned(ours)))
    assert failed.keys() == answers.keys()
    assert all(text.startswith(begins) for _, text in failed.values())


def test_a_resolver_that_hangs_holds_nothing_up(ours: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "SECONDS", 0.3)
    over = threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        over.wait(30)
        raise BROKEN

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    began = time.monotonic()
    failed = failures(asyncio.run(check(pinned(ours))))
    assert time.monotonic() - began < 20
    over.set()
    assert "does not answer for" in failed["whisper"][1]


def test_one_name_that_leads_elsewhere(whole: Edge, ours: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    Dns(monkeypatch, **EVERY | {"storage": "127.0.0.99"})
    hosts = by_name(whole, pinned(ours))
    failed = failures(hosts)
    assert failed.keys() == {"storage"}
    assert f"its name leads to 127.0.0.99, and the names of the other hosts lead to {LOCAL}" in failed["storage"][1]
    (cure,) = (step.cure for step in hosts[1].steps if step.cure)
    assert cure.startswith(f"Look at the DNS record of storage.{DOMAIN} first.")


def test_one_of_two_addresses_that_is_dead(whole: Edge, ours: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    Dns(monkeypatch, **EVERY | {"whisper": f"{LOCAL} 127.0.0.99"})
    failed = failures(by_name(whole, pinned(ours)))
    assert failed.keys() == {"whisper"}
    assert failed["whisper"][1].startswith("127.0.0.99:")


def test_a_host_that_takes_too_long_in_all(whole: Edge, ours: Issued) -> None:
    failed = failures(found(replace(whole, within=silent), pinned(ours), seconds=0.4))
    assert {text for _, text in failed.values()} == {"the whole takes longer than 0.4 s"}


def test_the_limit_of_the_whole_is_a_minute() -> None:
    assert checking.SECONDS < 60


def test_the_command_tells_and_ends_with_a_status(
    whole: Edge, ours: Issued, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pins.json"
    file.write_text(json.dumps({"version": 1, "stack": "home", "pins": outputs(ours)}))
    with whole.running() as port:
        words = ["--pins", str(file), "--address", LOCAL, "--port", str(port)]
        assert typed(*words) == 0
        assert "A client with these pins would be served." in capsys.readouterr().out
    assert typed(*words) == 1
    shown = capsys.readouterr()
    assert "refuses TCP connections" in shown.out
    assert "To mend it: " in shown.out
    assert f"error: a client with these pins would not be served: whisper.{DOMAIN}, " in shown.err
    assert typed(*words, "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["version"], document["served"]) == (1, False)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "it is not JSON"),
        ("[]", 'it has no object "pins"'),
        ('{"version": 2, "pins": {}}', "its version is 2, and this Flatline reads version 1"),
        ('{"version": 1, "pins": {}}', "pin serverPublicParams is missing"),
    ],
)
def test_a_file_that_has_no_pins(content: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "pins.json"
    file.write_text(content)
    with pytest.raises(FlatlineError) as failed:
        typed("--pins", str(file))
    assert failed.value.problem.startswith(f"--pins {file}: {reason}")


@pytest.mark.parametrize("words", [["--port", "0"], ["--port", "65536"], ["--port", "x"], ["--address", "example.org"]])
def test_what_cannot_be_connected_to(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        typed(*words)
    assert ended.value.code == 2
    assert words[1] in capsys.readouterr().err


def test_many_checks_after_one_another_mix_no_connections_up(whole: Edge, ours: Issued) -> None:
    """A descriptor that is closed while asyncio still has it goes to the next connection."""
    old = replace(whole, newest=ssl.TLSVersion.TLSv1_2)
    with old.running() as broken, whole.running() as port:

        async def checks() -> None:
            for _ in range(8):
                assert len(failures(await check(pinned(ours), address=LOCAL, port=broken))) == 4
                assert failures(await check(pinned(ours), address=LOCAL, port=port)) == {}

        asyncio.run(checks())
