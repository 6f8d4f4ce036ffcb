"""The programs of our own that run in the cluster, as texts. The file that is tested is the file that is shipped."""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "programs"
MOUNT = "/opt/flatline"
"""Where containers find this folder: a program has the same path below it as here, and so has what it imports."""

_IMPORT = {
    ".mjs": re.compile(r"""^(?:import|export)\b[^;]*?\bfrom '(\.[^']+)'""", re.MULTILINE),
    ".sh": re.compile(r"""^\. "\$\{0%/\*\}/([^"]+)"$""", re.MULTILINE),
    ".py": re.compile(r"^\s*from localstack_seed\.(\w+) import", re.MULTILINE),
}
"""How a file names another one of ours: relative to its own folder, but for the modules of LocalStack's seed."""


@dataclass(frozen=True)
class Program:
    """A file of `programs/` that containers start or read, named by its path there."""

    name: str

    @property
    def path(self) -> str:
        """Where containers find it."""
        return posixpath.join(MOUNT, self.name)

    @property
    def text(self) -> str:
        """Its content."""
        return _text(self.name)

    @property
    def files(self) -> dict[str, str]:
        """The texts of this file and of all that it imports, by their paths in `programs/`."""
        return {name: _text(name) for name in _closure(self.name)}

    @property
    def imported(self) -> dict[str, str]:
        """The same without the file itself."""
        return {name: text for name, text in self.files.items() if name != self.name}


@cache
def _text(name: str) -> str:
    return (FOLDER / name).read_text()


@cache
def _closure(name: str) -> tuple[str, ...]:
    found, new = {name}, [name]
    while new:
        new = [each for each in _imports(new.pop()) if each not in found] + new
        found.update(new)
    return tuple(sorted(found))


def _imports(name: str) -> Iterator[str]:
    kind = posixpath.splitext(name)[1]
    for match in _IMPORT[kind].finditer(_text(name)) if kind in _IMPORT else ():
        if kind == ".py":
            yield f"seed/localstack_seed/{match[1]}.py"
        else:
            yield posixpath.normpath(posixpath.join(posixpath.dirname(name), match[1]))


WAIT = Program("wait.mjs")
CDN0_GATE = Program("cdn0/gate.mjs")
CDN3_HOOK = Program("cdn3/hook.mjs")
CDN3_DOWNLOAD = Program("cdn3/download.mjs")
CDN3_RESUME = Program("cdn3/resume.mjs")
CDN3_EXPIRY = Program("cdn3/expiry.mjs")
CALLING_START = Program("calling/start.sh")
CALLING_CREDENTIALS = Program("calling/credentials.sh")
BIGTABLE_SEED = Program("seed/bigtable.mjs")
LOCALSTACK_SEED = Program("seed/localstack.py")
OBJECT_STORE_START = Program("object-store/start.sh")
REDIS_START = Program("redis/start.sh")
REDIS_STOP = Program("redis/stop.sh")
REDIS_PROBE = Program("redis/probe.sh")
REDIS_CLUSTER_CONF = Program("redis/cluster.conf")
REDIS_PUBSUB_CONF = Program("redis/pubsub.conf")
REDIS_MEMBERSHIP = Program("redis/membership.mjs")
BACKUP = Program("backup/archive.mjs")
BACKUP_FILES = Program("backup/files.mjs")
REGISTRATION = Program("registration/service.mjs")
DOCTOR_NETWORK = Program("doctor/network.mjs")
DOCTOR_STORES = Program("doctor/stores.mjs")
