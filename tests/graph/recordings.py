"""Recordings that tests share: each is made once, by one process, and kept for the next run of the same sources.

They are in pytest's cache (`--cache-clear` removes them). A change of any file that the program can read, of the locked
packages or of Python makes all of them again.
"""

import fcntl
import gzip
import hashlib
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from render.model import Recording

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".pytest_cache" / "d" / "recordings"
NOT_READ = {"tests", "docs", "benchmarks", "state", "build", "node_modules", "__pycache__"}
"""Folders that the program reads nothing of."""


def shared(key: object, make: Callable[[], Recording], folder: Path | None = None) -> Recording:
    """The recording that `make` gives, from the cache if there is one of this key. `key` says all that it depends on.

    It is a copy of the caller's own.
    """
    folder = folder or _folder()
    path = folder / hashlib.sha256(repr(key).encode()).hexdigest()
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            found: Recording = pickle.loads(gzip.decompress(path.read_bytes()))
            return found
        made = make()
        partial = path.with_suffix(".partial")
        partial.write_bytes(gzip.compress(pickle.dumps(made), compresslevel=1))
        partial.rename(path)
        return made


@cache
def _folder() -> Path:
    """The folder of the present sources. Those of earlier ones are removed."""
    folder = CACHE / sources(ROOT)
    folder.mkdir(parents=True, exist_ok=True)
    for other in CACHE.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    return folder


def sources(root: Path) -> str:
    """A digest of what a recording is made by."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(_files(root)):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in NOT_READ and not name.startswith(".")]
        yield from (Path(folder, name) for name in names)
