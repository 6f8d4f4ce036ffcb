"""S3: objects, bytes and requests a second, by the prefix under which S3 limits them."""

from dataclasses import dataclass

from capacity.bigtable import BigtableDemand
from capacity.dynamodb import IDENTITIES, ONE_TIME_KEYS, REFILL
from capacity.installation import Installation
from capacity.traffic import Traffic, per_second
from capacity.workload import DAY, KIB, Workload

PAGE_BYTES = 8 + 1641 * ONE_TIME_KEYS
"""A page of pre-keys: a header, and 1641 bytes (id, Kyber-1024 key, signature) for each."""

UPLOAD_PUTS, UPLOAD_GETS = 5, 4
"""tusd's S3 store: begins a multipart upload, writes a part, completes it, writes the .info twice; reads it back."""

AVATAR_READERS = 15
"""People who fetch a changed avatar."""


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """Objects below a prefix. `puts` are PUT, COPY, POST, LIST; `gets` are GET and HEAD; each a second."""

    bucket: str
    prefix: str
    objects: float
    bytes: float
    source: str
    puts_mean: float
    puts_peak: float
    gets_mean: float
    gets_peak: float

    @property
    def name(self) -> str:
        """Bucket and prefix."""
        return f"{self.bucket}/{self.prefix}"


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Bytes a day between clients, AWS and Google Cloud, where somebody pays for them; what comes in is free."""

    attachments: float
    avatars: float
    messages: float
    bigtable_writes: float
    bigtable_reads: float

    @property
    def from_aws(self) -> float:
        """To clients, and to Bigtable."""
        return self.attachments + self.avatars + self.messages + self.bigtable_writes

    @property
    def from_google(self) -> float:
        """What Storage reads."""
        return self.bigtable_reads


def demand(workload: Workload, traffic: Traffic, installation: Installation, pods: float) -> tuple[Prefix, ...]:
    """What each prefix holds and is asked for. `pods` are Whisper's, which look for new configuration."""
    w, t = workload, traffic
    pages, takes = t.devices * IDENTITIES, t.bundles * IDENTITIES / 2
    new_pages = takes / REFILL + (t.registrations + t.links) * IDENTITIES
    avatar = w.avatar_kib * KIB
    group_avatar_changes = t.group_changes * 0.1

    def prefix(
        bucket: str, name: str, objects: float, size: float, source: str, puts: float, gets: float, peak: float
    ) -> Prefix:
        return Prefix(
            bucket=bucket,
            prefix=name,
            objects=objects,
            bytes=objects * size,
            source=source,
            puts_mean=per_second(puts),
            puts_peak=per_second(puts, peak),
            gets_mean=per_second(gets),
            gets_peak=per_second(gets, peak),
        )

    days = installation.attachment_days
    return (
        prefix(
            "uploads",
            "",
            t.uploads * days,
            t.attachment_bytes,
            f"attachments, kept {days} days",
            t.uploads * UPLOAD_PUTS,
            t.uploads * UPLOAD_GETS + t.downloads * 2,
            w.peak,
        ),
        prefix(
            "cdn0",
            "profiles/",
            w.users * w.avatars,
            avatar,
            "profile avatars",
            t.avatar_changes,
            t.avatar_changes * AVATAR_READERS,
            w.peak,
        ),
        prefix(
            "cdn0",
            "groups/",
            t.groups * w.avatars,
            avatar,
            "group avatars",
            group_avatar_changes,
            group_avatar_changes * w.group_size,
            w.peak,
        ),
        prefix(
            "pre-keys",
            "",
            pages,
            PAGE_BYTES,
            "a page of 100 for each device and identity",
            # orphaned pages are looked for every week, 1000 names a LIST
            new_pages + pages / 1000 / 7,
            takes,
            w.peak,
        ),
        prefix(
            "dynamic-config",
            "",
            1,
            2.0 * KIB,
            "one object, which every Whisper pod asks for every ten seconds",
            0,
            pods * DAY / 10,
            1,
        ),
    )


FRAME_BYTES = 150
"""What WebSocket, HTTP and TLS add to an envelope."""


def transfer(workload: Workload, traffic: Traffic, bigtable: BigtableDemand, prefixes: tuple[Prefix, ...]) -> Transfer:
    """What leaves each cloud in a day."""
    avatars = sum(prefix.gets_mean for prefix in prefixes if prefix.bucket == "cdn0") * DAY
    return Transfer(
        attachments=traffic.downloads * traffic.attachment_bytes,
        avatars=avatars * workload.avatar_kib * KIB,
        messages=(traffic.envelopes + traffic.ephemeral) * (workload.envelope_bytes + FRAME_BYTES),
        bigtable_writes=sum(table.writes_mean * table.row_bytes for table in bigtable.tables) * DAY,
        bigtable_reads=sum(table.reads_mean * table.row_bytes for table in bigtable.tables) * DAY,
    )
