"""The programs of our own that run in the cluster, as texts. The file that is tested is the file that is shipped."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "programs"


@dataclass(frozen=True)
class Program:
    """A file of `programs/`."""

    name: str

    @property
    def path(self) -> str:
        """Where containers find it."""
        return f"/opt/flatline/{self.name}"

    @property
    def text(self) -> str:
        """Its content."""
        return _text(self.name)


@cache
def _text(name: str) -> str:
    return (FOLDER / name).read_text()


WAIT = Program("wait.mjs")
AWS_CLIENT = Program("aws.mjs")
CLIENTS = Program("clients.mjs")
CDN0_GATE = Program("cdn0-gate.mjs")
CDN3_HOOK = Program("cdn3-hook.mjs")
CDN3_DOWNLOAD = Program("cdn3-download.mjs")
CDN3_RESUME = Program("cdn3-resume.mjs")
CDN3_EXPIRY = Program("cdn3-expiry.mjs")
BIGTABLE_SEED = Program("bigtable-seed.mjs")
LOCALSTACK_SEED = Program("localstack-seed.py")
OBJECT_STORE_START = Program("object-store-start.sh")
REDIS_START = Program("redis-start.sh")
REDIS_STOP = Program("redis-stop.sh")
REDIS_PROBE = Program("redis-probe.sh")
REDIS_CLUSTER_CONF = Program("redis-cluster.conf")
REDIS_PUBSUB_CONF = Program("redis-pubsub.conf")
REDIS_MEMBERSHIP = Program("redis-membership.mjs")
