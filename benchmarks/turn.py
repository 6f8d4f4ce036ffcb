"""python -m benchmarks.turn: what the TURN server relays with one core, with the configuration that the stack renders.

One device sends datagrams of a video call's size to another address, in both directions. Told is what arrived, by the
CPU time that the server took for it, so a busy machine changes the figure little. Needs root for a network namespace.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from config.services.coturn import Coturn
from connectivity.stun import Attribute, Credentials, Kind, Message, decoded, peer
from connectivity.turn import credentials
from tests.lab.coturn import turnserver
from tests.lab.private_network import enter
from tests.lab.process import Process, listening

SERVER, DEVICE = "9.9.9.8", "9.9.9.9"
PORT = 3478
DATAGRAMS, BYTES, BURST = 40_000, 1000, 20


def main() -> int:
    """Prints one JSON object."""
    turnserver()
    enter()
    for address in (SERVER, DEVICE):
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    secret = secrets.token_hex(32)
    with tempfile.TemporaryDirectory() as folder:
        configuration = Coturn(
            realm="turn.flatline.internal",
            port=PORT,
            tls_port=0,
            relay_first=49152,
            relay_last=49251,
            max_kbit_per_second=1_000_000,
            secret=secret,
            written=folder,
            addresses=(f"listening-ip={SERVER}", f"relay-ip={SERVER}"),
        )
        file = Path(folder) / "turnserver.conf"
        file.write_text(configuration.text())
        running = Process("turn", [str(turnserver()), "-c", str(file)], Path(folder))
        try:
            running.wait_ready(lambda: listening(SERVER, PORT))
            print(json.dumps(measured(running.pid, secret), indent=2))
        finally:
            running.kill()
    return 0


def measured(server: int, secret: str) -> dict[str, float]:
    """Datagrams to the device and back, and the server's CPU time for them."""
    device, client = bound(DEVICE), bound(SERVER)
    client.connect((SERVER, PORT))
    given = credentials(secret, int(time.time()) + 3600)
    first = asked(client, Message(Kind.ALLOCATE, ((Attribute.TRANSPORT, bytes([17, 0, 0, 0])),)))
    known = replace(given, realm=first.get(Attribute.REALM) or b"", nonce=first.get(Attribute.NONCE) or b"")
    asked(client, Message(Kind.ALLOCATE, ((Attribute.TRANSPORT, bytes([17, 0, 0, 0])),)), known)
    permit = Message(Kind.PERMIT)
    to_device = device.getsockname()
    asked(client, replace(permit, attributes=(peer(to_device, permit.transaction),)), known)
    message = Message(Kind.SEND)
    datagram = replace(
        message, attributes=(peer(to_device, message.transaction), (Attribute.DATA, bytes(BYTES)))
    ).encoded()
    before, arrived = cpu_seconds(server), 0
    for _ in range(DATAGRAMS // BURST):
        for _ in range(BURST):
            client.send(datagram)
        arrived += exchanged(device, client)
    used = cpu_seconds(server) - before
    relayed = arrived * BYTES * 8 / 1e6
    return {
        "datagrams": arrived,
        "megabit": round(relayed),
        "server_cpu_seconds": round(used, 2),
        "megabit_per_core_second": round(relayed / used),
        "datagrams_per_core_second": round(arrived / used),
    }


def exchanged(device: socket.socket, client: socket.socket) -> int:
    """The device answers each datagram that comes, and the client takes the answers: how many of both arrived."""
    came = 0
    try:
        while came < BURST:
            data, sender = device.recvfrom(2048)
            device.sendto(data, sender)
            came += 1
    except TimeoutError:
        pass
    back = 0
    try:
        while back < came:
            client.recv(2048)
            back += 1
    except TimeoutError:
        pass
    return came + back


def asked(client: socket.socket, message: Message, known: Credentials | None = None) -> Message:
    """The server's answer; the first one is a refusal that names the realm."""
    client.send(message.encoded(known))
    answer = decoded(client.recv(2048))
    if known is not None and answer.error:
        raise RuntimeError(f"the server refuses with {answer.error}")
    return answer


def bound(address: str) -> socket.socket:
    """A UDP socket of an address."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, 0))
    made.settimeout(0.5)
    return made


def cpu_seconds(process: int) -> float:
    """What a process has used so far (proc(5): fields 14 and 15)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
