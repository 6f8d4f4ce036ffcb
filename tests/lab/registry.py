"""A registry of images (CNCF Distribution), and skopeo, which reads and copies them: Debian's packages of both."""

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.lab.cache import digest
from tests.lab.debian import WRAPPER, unpack, wrap
from tests.lab.fetch import fetched
from tests.lab.process import Process, Server, free_ports, listening

SUITE, PACKAGES = "trixie", ("skopeo", "docker-registry")
UNUSED = ("usr/share/doc", "usr/share/locale", "usr/share/man", "usr/share/info", "var/lib")
POLICY = {"default": [{"type": "insecureAcceptAnything"}]}


def binaries() -> Path:
    """The folder with `skopeo` and `docker-registry`, fetched once (about 100 MB). Raises `Missing`."""
    return fetched("registry", digest(SUITE, *PACKAGES, *UNUSED, WRAPPER, json.dumps(POLICY)), _build)


prepare = binaries


def _build(target: Path) -> None:
    unpack(target / "root", SUITE, PACKAGES, dependencies=True)
    for folder in UNUSED:
        shutil.rmtree(target / "root" / folder, ignore_errors=True)
    wrap(target, PACKAGES)


class Registry(Server):
    """A registry on loopback, with its images below `folder`. `tls` is a file with its certificate and key."""

    def __init__(self, folder: Path, *, tls: Path | None = None) -> None:
        self._folder, self._tls, (port,) = folder, tls, free_ports(1)
        self.address = f"127.0.0.1:{port}"

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        configuration: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(self._folder / "images")}},
            "http": {"addr": self.address},
        }
        if self._tls is not None:
            configuration["http"]["tls"] = {"certificate": str(self._tls), "key": str(self._tls)}
        file = self._folder / "config.yml"
        file.write_text(yaml.safe_dump(configuration))
        self._process = Process("registry", [str(binaries() / "docker-registry"), "serve", str(file)], self._folder)
        host, _, port = self.address.partition(":")
        self._process.wait_ready(lambda: listening(host, int(port)))
