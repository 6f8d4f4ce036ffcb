"""versitygw itself: the S3 server that keeps the cluster's own objects on a disk."""

import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.session import Session

from tests.lab.fetch import Missing
from tests.lab.go import go_build, required_version
from tests.lab.namespace import why_not_private
from tests.lab.process import Process, Server, free_ports, listening

SOURCES = Path(__file__).resolve().parent / "versitygw"
PROGRAM = Path(__file__).parents[2] / "programs" / "object-store" / "start.sh"
MODULE = "github.com/versity/versitygw"
ROOT = "flatline-root"
REGION = "us-east-1"


def versitygw_version() -> str:
    """The release that SOURCES requires, such as "v1.8.0"."""
    return required_version(SOURCES, MODULE)


def versitygw_binary() -> Path:
    """The executable of the module that SOURCES requires, built once (about 2 minutes). Raises `Missing`."""
    return go_build("versitygw", SOURCES, package=f"{MODULE}/cmd/versitygw")


prepare = versitygw_binary


class Versitygw(Server):
    """One server as its pod has it, outside of one: the arguments of its start step, and the files that it mounts.

    `arguments` and `files` (text by path) are those that are rendered; their paths are put below `folder`, and the port
    is a free one. It listens on every address. Raises `Missing` outside of a private network namespace.
    """

    def __init__(
        self, folder: Path, arguments: Sequence[str], files: Mapping[str, str], *, region: str = REGION
    ) -> None:
        if reason := why_not_private():
            raise Missing(f"versitygw listens on every address: {reason}")
        self._binary, self._folder, self._files, self._region = versitygw_binary(), folder, files, region
        _, _, _, data, _, self._root_secret, _, self._accounts, *pairs = arguments
        self.port, _ = free_ports(2)  # the start step takes the next one as well
        self.url = f"http://127.0.0.1:{self.port}"
        self._command: list[str | Path] = [
            *("sh", PROGRAM, "--port", str(self.port)),
            *("--data-dir", self._inside(data)),
            *("--root-secret-file", self._inside(self._root_secret)),
            *("--accounts-file", self._inside(self._accounts)),
            *pairs,
        ]

    def _inside(self, path: str) -> Path:
        return self._folder / path.lstrip("/")

    def start(self) -> None:
        """Returns when it takes connections."""
        for path, text in self._files.items():
            self._inside(path).parent.mkdir(parents=True, exist_ok=True)
            self._inside(path).write_text(text)
        environment = {
            "PATH": f"{self._binary.parent}:{os.environ['PATH']}",
            "VGW_REGION": self._region,
            "ADMIN_REGION": self._region,
        }
        process = Process(f"versitygw-{self.port}", self._command, self._folder, environment=environment)
        # What listens before is the first run, which gives the buckets their owners.
        process.wait_ready(lambda: "have their owners" in process.text() and listening("127.0.0.1", self.port))
        self._process = process

    def secret(self, account: str = ROOT) -> str:
        """The secret access key of an account."""
        if account == ROOT:
            return self._files[self._root_secret]
        return str(json.loads(self._files[self._accounts])["accessAccounts"][account]["secret"])

    def client(self, account: str = ROOT) -> Any:
        """A client for S3."""
        return s3_client(self.url, account, self.secret(account), region=self._region)


def s3_client(url: str, access_key_id: str, secret_access_key: str, *, region: str = REGION) -> Any:
    """botocore's client for an S3 server of one's own, which tries once."""
    return _session().create_client(
        "s3",
        region_name=region,
        endpoint_url=url,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


@cache
def _session() -> Session:
    """It reads the description of S3 once, which takes longer than most requests."""
    return Session()
