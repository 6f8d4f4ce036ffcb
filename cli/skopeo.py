"""Runs skopeo, which reads and copies images. It finds credentials and mirrors where the operator has put them."""

import shutil
import subprocess
from pathlib import Path

from errors import FlatlineError

SECONDS = 60
COPY_SECONDS = 3600


def is_installed() -> bool:
    """True if it is on the PATH."""
    return shutil.which("skopeo") is not None


def require() -> None:
    """Raises FlatlineError where it is missing."""
    if not is_installed():
        raise FlatlineError(
            "skopeo is not on the PATH: it asks registries for images",
            "Debian, Ubuntu, Fedora: install the package skopeo (version 1.9 or later). "
            "Others: https://github.com/containers/skopeo",
        )


def manifest(reference: str, seconds: float = SECONDS) -> bytes:
    """The manifest or the index behind a reference, byte for byte. Raises FlatlineError with what skopeo said."""
    return _run(["inspect", "--raw", f"docker://{reference}"], f"cannot read {reference}", seconds)


def copy(reference: str, folder: Path) -> None:
    """One image into a folder, byte for byte: `manifest.json`, and each blob under its digest. Raises FlatlineError."""
    words = ["copy", "--quiet", "--preserve-digests", f"docker://{reference}", f"dir:{folder}"]
    _run(words, f"cannot copy {reference}", COPY_SECONDS)


def _run(words: list[str], problem: str, seconds: float) -> bytes:
    require()
    try:
        done = subprocess.run(["skopeo", *words], capture_output=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise FlatlineError(f"{problem}: no answer within {seconds:.0f} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"status {done.returncode}"]
        raise FlatlineError(f"{problem}: {said[-1]}")
    return done.stdout
