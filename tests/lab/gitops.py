"""The tools that hide Secrets in a git repository and open them again, and the definitions of what they make."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests.lab.cache import digest
from tests.lab.fetch import fetched
from tests.lab.go import go_build, go_module_dir, required_version

LAB = Path(__file__).resolve().parent
SOPS, SEALED = LAB / "sops", LAB / "sealed-secrets"
SEALED_SECRETS = "github.com/bitnami-labs/sealed-secrets"
"""0.27.1 is the newest in the module proxy that the Go of the tests builds: 0.40.0 needs a newer one."""

EXTERNAL_SECRETS = ("github.com/external-secrets/external-secrets", "v1.3.2")
"""The definitions alone; its operator is too large to build for the tests."""


def sops() -> Path:
    """The executable, built once (about 4 minutes). Raises `Missing`."""
    return go_build("sops", SOPS, package="github.com/getsops/sops/v3/cmd/sops")


def age_keygen() -> Path:
    """The executable, built once. Raises `Missing`."""
    return go_build("age-keygen", SOPS, package="filippo.io/age/cmd/age-keygen")


def kubeseal() -> Path:
    """The executable, built once (about a minute). Raises `Missing`."""
    return go_build("kubeseal", SEALED, package=f"{SEALED_SECRETS}/cmd/kubeseal")


def definitions() -> list[dict[str, Any]]:
    """The CustomResourceDefinitions of SealedSecrets and ExternalSecrets. Raises `Missing`."""
    sources = (
        (
            SEALED_SECRETS,
            required_version(SEALED, SEALED_SECRETS),
            "helm/sealed-secrets/crds/bitnami.com_sealedsecrets.yaml",
        ),
        (*EXTERNAL_SECRETS, "config/crds/bases/external-secrets.io_externalsecrets.yaml"),
    )

    def extract(target: Path) -> None:
        for number, (module, version, path) in enumerate(sources):
            with go_module_dir(module, version) as unpacked:
                (target / f"{number}.yaml").write_text((unpacked / path).read_text())

    folder = fetched("gitops-crds", digest(repr(sources)), extract)
    return [yaml.safe_load(path.read_text()) for path in sorted(folder.iterdir())]


def prepare() -> None:
    """Builds and fetches all of them, before there is no network."""
    for each in (age_keygen, kubeseal, definitions, sops):
        each()


def age_key(folder: Path) -> tuple[str, Path]:
    """A public key of age, and the file with its other half."""
    file = folder / "age.key"
    done = subprocess.run([age_keygen(), "-o", file], capture_output=True, text=True, check=True)
    return done.stderr.split()[-1], file


def sealing_key(folder: Path) -> tuple[Path, Path]:
    """A certificate as the controller of SealedSecrets makes it (RSA 4096, self-signed), and its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=4096)
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sealed")]), datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=365))
    certificate, private = folder / "sealed.pem", folder / "sealed.key"
    certificate.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form, plain = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    return certificate, private


def opened_by_sops(file: Path, key: Path) -> dict[str, Any]:
    """The object of a file that sops encrypted for `key`."""
    environment = {"SOPS_AGE_KEY_FILE": str(key), "HOME": "/nonexistent"}
    done = subprocess.run([sops(), "decrypt", file], env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found


def opened_by_kubeseal(file: Path, key: Path) -> dict[str, Any]:
    """The Secret that the controller with `key` makes of a SealedSecret: the same code, without a cluster."""
    words = [kubeseal(), "--recovery-unseal", "--recovery-private-key", key, "--format", "json"]
    done = subprocess.run(words, input=file.read_bytes(), capture_output=True, check=True)
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found
