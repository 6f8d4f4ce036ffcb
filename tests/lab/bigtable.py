"""Google's Bigtable emulator, whose API cbtemulator has too, and Google's client for Python to look into it."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.lab.cache import digest
from tests.lab.fetch import fetched, fetching, packaged
from tests.lab.go import go_build
from tests.lab.process import Process, Server, free_ports, listening

SOURCES = Path(__file__).resolve().parent / "bigtable"
REQUIREMENTS = SOURCES / "requirements.txt"
CLIENT = SOURCES / "client.py"


def emulator_binary() -> Path:
    """Google's emulator with a journal, built once (about half a minute). Raises `Missing`."""
    return go_build("bigtable-emulator", SOURCES)


def client_packages() -> Path:
    """The folder with Google's client and what it imports, fetched once. Raises `Missing`."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"

    def build(target: Path) -> None:
        where = ["--python", sys.executable, "--target", str(target)]
        fetching([packaged("uv", "uv"), "pip", "install", "--quiet", *where, "--requirement", REQUIREMENTS])

    return fetched("bigtable-client", digest(REQUIREMENTS, version), build)


def prepare() -> None:
    """Builds and fetches both, before there is no network."""
    emulator_binary()
    client_packages()


class BigtableEmulator(Server):
    """An emulator on a port of 127.0.0.1, in memory: each start is empty. Raises `Missing`, where it can't be had."""

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self._binary = emulator_binary()
        self._client = client_packages()
        self._folder = folder
        self.port = port or free_ports(1)[0]
        self.address = f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it, and returns when it takes connections."""
        command: list[str | Path] = [self._binary, "-host", "127.0.0.1", "-port", str(self.port)]
        self._process = Process(f"bigtable-{self.port}", command, self._folder)
        self._process.wait_ready(lambda: listening("127.0.0.1", self.port))

    def ask(self, project: str, instance: str, *actions: Sequence[str]) -> list[Any]:
        """What Google's client answers to each of some actions (CLIENT tells them), one after the other."""
        command = [sys.executable, str(CLIENT), self.address, project, instance]
        environment = {**os.environ, "PYTHONPATH": str(self._client), "BIGTABLE_EMULATOR_HOST": self.address}
        done = subprocess.run(
            command,
            env=environment,
            input=json.dumps(actions),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if done.returncode:
            raise RuntimeError(f"Google's client: {done.stderr}")
        answers: list[Any] = json.loads(done.stdout)
        return answers

    def __enter__(self) -> Self:
        return self
