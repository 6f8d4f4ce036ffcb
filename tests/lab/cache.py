"""Things that tests fetch or build once per machine, kept in the cache directory and keyed by their definition."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

ROOT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flatline" / "lab"


def digest(*definition: str | bytes | Path) -> str:
    """A short hash of everything that defines an artefact: text, bytes, or the content of files."""
    total = hashlib.sha256()
    for part in definition:
        data = part.read_bytes() if isinstance(part, Path) else part.encode() if isinstance(part, str) else part
        total.update(hashlib.sha256(data).digest())
    return total.hexdigest()[:16]


def cached(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder `<cache>/<name>-<key>`, made by `build(folder)` the first time that it is asked for.

    Safe for parallel test workers: one builds, the others wait. A build that fails leaves nothing behind.
    """
    ROOT.mkdir(parents=True, exist_ok=True)
    target = ROOT / f"{name}-{key}"
    if target.exists():
        return target
    with (ROOT / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            partial = target.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            build(partial)
            partial.rename(target)
    return target
