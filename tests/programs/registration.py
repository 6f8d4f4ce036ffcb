"""Registration as a process, the Secret of its invitations, and numbers that nobody has."""

import base64
import hashlib
import itertools
import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.programs import FOLDER, REGISTRATION
from tests.lab.node import NODE
from tests.lab.process import Process

PROGRAM = FOLDER / REGISTRATION.name
COST = {"n": 256, "r": 8, "p": 1}
"""Of scrypt, as low as a test can bear; the command that invites has a higher one."""
WEEK_SECONDS = 7 * 86_400

_numbers = itertools.count(12025550100)


def number() -> str:
    """A number that no other test has, of a range that nobody owns, and beyond."""
    return str(next(_numbers))


def invitation(code: str, *, seconds: float = WEEK_SECONDS, again: bool = False, **other: Any) -> dict[str, Any]:
    """What the Secret has for a number; two codes are typed together here."""
    salt = secrets.token_bytes(16)
    cost = other.pop("cost", COST)
    key = hashlib.scrypt(code.encode(), salt=salt, **cost, maxmem=128 * 2**20, dklen=32)
    return {
        "version": 1,
        "id": secrets.token_hex(16),
        "salt": base64.b64encode(salt).decode(),
        "hash": base64.b64encode(key).decode(),
        "scrypt": cost,
        "expires": int(time.time() + seconds),
        "again": again,
        "codes": len(code) // 6,
        **other,
    }


@dataclass
class Secret:
    """A folder as kubelet mounts a Secret: `..data` leads to a folder of the files, and is replaced as a whole."""

    folder: Path
    entries: dict[str, str] = field(default_factory=dict)
    versions: "itertools.count[int]" = field(default_factory=itertools.count)

    def put(self, of: str, value: dict[str, Any] | str) -> None:
        self.entries[of] = value if isinstance(value, str) else json.dumps(value)
        self.mount()

    def remove(self, of: str) -> None:
        del self.entries[of]
        self.mount()

    def mount(self) -> None:
        self.folder.mkdir(exist_ok=True)
        content = self.folder / f"..{next(self.versions)}"
        content.mkdir()
        for name, text in self.entries.items():
            (content / name).write_text(text)
        link = self.folder / "..data_tmp"
        link.symlink_to(content.name)
        link.rename(self.folder / "..data")
        for path in self.folder.iterdir():
            if not path.name.startswith("..") and path.name not in self.entries:
                path.unlink()
        for name in self.entries:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")

    def invite(self, code: str = "123456", **options: Any) -> str:
        """Invites a new number, and returns it."""
        invited = number()
        self.put(invited, invitation(code, **options))
        return invited


@dataclass
class Service:
    process: Process
    port: int
    health: int
    secret: Secret
    state: Path

    def page(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health}{path}", timeout=15) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def told(self, of: str) -> dict[str, Any]:
        """What the operator is told of an invited number."""
        known = json.loads(self.page("/invitations")[1])
        assert known["version"] == 1
        return next(one for one in known["invitations"] if one["number"] == f"+{of}")

    def metric(self, name: str) -> float:
        found = [line for line in self.page("/metrics")[1].splitlines() if line.startswith(f"{name} ")]
        return float(found[0].rsplit(" ", 1)[1])

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.process.text().splitlines() if line.startswith("{")]


def flags(secret: Secret, state: Path, *more: str, node: Sequence[str] = ()) -> list[str]:
    own = ("--listen=127.0.0.1:0", "--health-listen=127.0.0.1:0", f"--invitations={secret.folder}", f"--state={state}")
    return [NODE, *node, str(PROGRAM), *own, *more]


@contextmanager
def running(folder: Path, *more: str, secret: Secret | None = None, node: Sequence[str] = ()) -> Iterator[Service]:
    """The program with its state below `folder`; started there again, it finds what it left."""
    state = folder / "state"
    state.mkdir(exist_ok=True)
    if secret is None:
        secret = Secret(folder / "invitations")
        secret.mount()
    with Process(f"registration-{time.monotonic_ns()}", flags(secret, state, *more, node=node), folder) as process:
        process.wait_ready(lambda: len(_ports(process.text())) == 2)
        health, port = _ports(process.text())
        yield Service(process, port, health, secret, state)


def _ports(log: str) -> Sequence[int]:
    lines = [json.loads(line) for line in log.splitlines() if line.startswith('{"time"') and line.endswith("}")]
    return [line["port"] for line in lines if line["event"] == "listening"]
