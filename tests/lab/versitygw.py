"""versitygw itself: the S3 server that keeps the cluster's own objects on a disk."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from botocore.config import Config  # type: ignore[import-untyped]
from botocore.session import Session  # type: ignore[import-untyped]

from tests.lab.fetch import Missing
from tests.lab.go import go_build, required_version
from tests.lab.namespace import why_not_private
from tests.lab.process import Process, free_ports, listening

SOURCES = Path(__file__).resolve().parent / "versitygw"
PROGRAM = Path(__file__).parents[2] / "programs" / "object-store-start.sh"
MODULE = "github.com/versity/versitygw"
ROOT = "flatline-root"


def versitygw_version() -> str:
    """The release that SOURCES requires, such as "v1.8.0"."""
    return required_version(SOURCES, MODULE)


def versitygw_binary() -> Path:
    """The executable of the module that SOURCES requires, built once (about 2 minutes). Raises `Missing`."""
    return go_build("versitygw", SOURCES, package=f"{MODULE}/cmd/versitygw")


def prepare() -> None:
    """Builds it, before there is no network."""
    versitygw_binary()


class Versitygw:
    """One server with programs/object-store-start.sh, outside of a pod; `owners` maps buckets to accounts.

    Secrets are `secret-of-<account>`. It listens on every address. Raises `Missing` outside of a private network
    namespace.
    """

    def __init__(self, folder: Path, owners: Mapping[str, str]) -> None:
        if reason := why_not_private():
            raise Missing(f"versitygw listens on every address: {reason}")
        self._binary, self._folder, self._owners = versitygw_binary(), folder, owners
        self._process: Process | None = None
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when it takes connections."""
        self._folder.mkdir(parents=True, exist_ok=True)
        secret, accounts = self._folder / "root-secret", self._folder / "users.json"
        secret.write_text(self.secret(ROOT))
        listed = {name: {"access": name, "secret": self.secret(name), "role": "user"} for name in self._owners.values()}
        accounts.write_text(json.dumps({"accessAccounts": listed}))
        pairs = [f"{bucket}={owner}" for bucket, owner in self._owners.items()]
        command = ["sh", PROGRAM, str(self.port), self._folder / "buckets", secret, accounts, *pairs]
        environment = {"PATH": f"{self._binary.parent}:{os.environ['PATH']}"}
        self._process = Process(f"versitygw-{self.port}", command, self._folder, environment=environment)
        self._process.wait_ready(lambda: listening("127.0.0.1", self.port) and self._serving())

    def _serving(self) -> bool:
        """Whether what listens is for everybody, and not the first run, which gives the buckets their owners."""
        return "have their owners" in self._text()

    def _text(self) -> str:
        return self._process.text() if self._process else ""

    @staticmethod
    def secret(account: str) -> str:
        """The secret access key of an account."""
        return f"secret-of-{account}"

    def client(self, account: str = ROOT) -> Any:
        """A client for S3."""
        return s3_client(self.url, account, self.secret(account))

    def stop(self) -> None:
        """Ends it."""
        if self._process:
            self._process.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def s3_client(url: str, access_key_id: str, secret_access_key: str) -> Any:
    """botocore's client for an S3 server of one's own, which tries once."""
    return Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )
